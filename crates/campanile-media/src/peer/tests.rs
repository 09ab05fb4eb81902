//! The link against a whole client in memory: `is` in control, `dimpl` active, our own SRTP with the roles turned round.

use std::sync::Arc;

use dimpl::Output;
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::srtp::DtlsRole;
use super::*;
use crate::rtp::write_header;

const SERVER: &str = "192.0.2.10:3478";
const CLIENT: &str = "198.51.100.20:50000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The only clock of these tests is the one they turn themselves.
#[allow(clippy::disallowed_methods, reason = "an Instant has no other source, and any will do")]
fn start() -> Instant {
    Instant::now()
}

/// What a browser is, seen from the wire.
struct Client {
    ice: IceAgent,
    dtls: dimpl::Dtls,
    addr: SocketAddr,
    writable: bool,
    dtls_due: Option<Instant>,
    server_fingerprint: Option<[u8; 32]>,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    closed: bool,
    /// Plaintext of what arrived.
    received: Vec<Vec<u8>>,
    sequence: u16,
}

struct World {
    now: Instant,
    peer: Peer,
    /// What it sends by the outbox that peers share.
    sound: Outbox,
    client: Client,
    /// Every datagram that either side sent, in order: true when by the client.
    wire: Vec<(bool, Vec<u8>)>,
    /// Lets a datagram pass: true when it may.
    network: fn(from_client: bool, bytes: &[u8]) -> bool,
    server_certificate: Certificate,
}

impl World {
    fn new() -> World {
        World::with_fingerprint(|fingerprint| fingerprint)
    }

    /// `claim` turns the client's fingerprint into what its offer says.
    fn with_fingerprint(claim: fn([u8; 32]) -> [u8; 32]) -> World {
        let now = start();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let local = IceCredentials::generate(&mut rng);
        let remote = IceCredentials { ufrag: "abcd".into(), pwd: "theclientspasswordof22".into() };
        let creds = |of: &IceCredentials| IceCreds { ufrag: of.ufrag.clone(), pass: of.pwd.clone() };

        let mut ice = IceAgent::new(creds(&remote));
        ice.set_controlling(true);
        ice.set_remote_credentials(creds(&local));
        ice.add_local_candidate(Candidate::host(addr(CLIENT), Protocol::Udp).unwrap());
        ice.add_remote_candidate(Candidate::host(addr(SERVER), Protocol::Udp).unwrap());

        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let fingerprint = *certificate.fingerprint().first_chunk().unwrap();
        let mut dtls = dimpl::Dtls::new_12(Arc::new(dimpl::Config::default()), certificate, now);
        dtls.set_active(true);

        let server_certificate = Certificate::generate().unwrap();
        let client = Client {
            ice,
            dtls,
            addr: addr(CLIENT),
            writable: false,
            dtls_due: None,
            server_fingerprint: None,
            srtp: None,
            closed: false,
            received: vec![],
            sequence: 65_530,
        };
        let peer = Peer::webrtc(now, &server_certificate, local, remote, claim(fingerprint));
        let (sound, wire) = (Outbox::default(), vec![]);
        World { now, peer, sound, client, wire, network: |_, _| true, server_certificate }
    }

    fn connected() -> World {
        let mut world = World::new();
        world.run_until(|world| world.peer.state() == PeerState::Connected && world.client.srtp.is_some());
        world
    }

    /// To the server, from the client's address. What the caller would get.
    fn deliver(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.deliver_from(self.client.addr, bytes)
    }

    fn deliver_from(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.peer.handle_datagram(self.now, from, &mut bytes.to_vec()) {
            Received::Nothing => None,
            Received::Rtp(_, packet) | Received::Rtcp(packet) => Some(packet.to_vec()),
        }
    }

    /// Lets both sides say what they have to say now.
    fn exchange(&mut self) {
        loop {
            let from_client = self.client.poll(self.now);
            let from_server = self.drain();
            if from_client.is_empty() && from_server.is_empty() {
                return;
            }
            for bytes in from_client {
                self.wire.push((true, bytes.clone()));
                if (self.network)(true, &bytes) {
                    self.deliver(&bytes);
                }
            }
            for (to, bytes) in from_server {
                self.wire.push((false, bytes.clone()));
                if to == self.client.addr && (self.network)(false, &bytes) {
                    self.client.handle(self.now, &bytes);
                }
            }
        }
    }

    fn drain(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut packets = vec![];
        for outbox in [&mut self.sound, self.peer.outbox()] {
            while let Some(run) = outbox.next_run() {
                packets.extend(run.bytes.chunks(run.segment_size).map(|bytes| (run.to.addr, bytes.to_vec())));
            }
        }
        packets
    }

    fn send(&mut self, sequence: u16) -> bool {
        self.peer.send_rtp(&mut self.sound, |out| out.extend_from_slice(&rtp(sequence)))
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        self.client.ice.handle_timeout(self.now);
        if self.peer.poll_timeout().is_some_and(|due| due <= self.now) {
            self.peer.handle_timeout(self.now);
            assert!(self.peer.poll_timeout().is_none_or(|due| due > self.now), "asks for the past");
        }
        self.exchange();
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.now < end, "not within a minute: {:?}", self.peer.state());
            self.step();
        }
    }

    /// The client's next media packet, sealed.
    fn client_packet(&mut self) -> (Vec<u8>, Vec<u8>) {
        let client = &mut self.client;
        client.sequence = client.sequence.wrapping_add(1);
        let plain = rtp(client.sequence);
        let mut sealed = plain.clone();
        client.srtp.as_mut().unwrap().0.protect_rtp(&mut sealed, 0).unwrap();
        (plain, sealed)
    }

    fn media_flows(&mut self) {
        let (plain, sealed) = self.client_packet();
        assert_eq!(self.deliver(&sealed), Some(plain));
        let sequence = self.client.sequence;
        assert!(self.send(sequence));
        self.exchange();
        assert_eq!(self.client.received.pop(), Some(rtp(sequence)));
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![];
    write_header(&mut packet, 111, false, sequence, 960, 0x1234, &[]);
    packet.extend_from_slice(b"voice");
    packet
}

impl Client {
    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        match demux(bytes[0]) {
            Kind::Stun => {
                let message = StunMessage::parse(bytes).unwrap();
                self.writable |= message.is_successful_binding_response();
                self.ice.handle_packet(
                    now,
                    StunPacket {
                        proto: Protocol::Udp,
                        source: addr(SERVER),
                        destination: addr(CLIENT),
                        message,
                    },
                );
            }
            Kind::Dtls => {
                self.dtls.handle_timeout(now).unwrap();
                self.dtls.handle_packet(bytes).unwrap();
            }
            Kind::Rtp => {
                let mut packet = bytes.to_vec();
                let (_, receiver) = self.srtp.as_mut().unwrap();
                let len = if is_rtcp(&packet) {
                    receiver.unprotect_rtcp(&mut packet)
                } else {
                    let header = RtpHeader::parse_sealed(&packet).unwrap();
                    receiver.unprotect_rtp(&mut packet, &header)
                };
                packet.truncate(len.unwrap());
                self.received.push(packet);
            }
            Kind::Unknown => panic!("the server sent {bytes:?}"),
        }
    }

    fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent: Vec<Vec<u8>> = vec![];
        while let Some(transmit) = self.ice.poll_transmit() {
            sent.push(transmit.contents.into());
        }
        while self.ice.poll_event().is_some() {}
        if !self.writable {
            return sent;
        }
        if self.dtls_due.is_none_or(|due| due <= now) {
            // Errors are the client's own affair: a test that makes some looks at the server.
            let _ = self.dtls.handle_timeout(now);
        }
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => sent.push(packet.to_vec()),
                Output::PeerCert(der) => {
                    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
                    self.server_fingerprint = Some(*digest.as_ref().first_chunk().unwrap());
                }
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => srtp::SrtpProfile::AeadAes256Gcm,
                        other => panic!("not the best profile: {other}"),
                    };
                    self.srtp = Some(srtp::from_dtls(profile, &material, DtlsRole::Client).unwrap());
                }
                Output::CloseNotify => self.closed = true,
                Output::Timeout(due) => {
                    self.dtls_due = Some(due);
                    return sent;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_client_connects_and_media_flows_both_ways() {
    let mut world = World::new();
    let born = world.now;
    assert_eq!((world.peer.state(), world.peer.remote_addr()), (PeerState::New, None));
    assert!(!world.peer.send_rtp(&mut Outbox::default(), |_| panic!("must not be asked")));
    world.run_until(|world| world.client.srtp.is_some());
    assert_eq!(world.peer.state(), PeerState::Connected);
    assert_eq!(world.peer.remote_addr(), Some(addr(CLIENT).into()));
    assert!(world.now - born < Duration::from_millis(500), "took {:?}", world.now - born);
    assert_eq!(world.client.server_fingerprint, Some(world.server_certificate.fingerprint()));
    for _ in 0..10 {
        world.media_flows(); // the sequence number wraps on the way
    }
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    assert!(world.peer.send_rtcp(|out| out.extend_from_slice(&report)));
    world.exchange();
    assert_eq!(world.client.received, [report]);
    let mut sealed = report.to_vec();
    world.client.srtp.as_mut().unwrap().0.protect_rtcp(&mut sealed, 0).unwrap();
    assert_eq!(world.deliver(&sealed), Some(report.to_vec()));
    assert_eq!(world.peer.counters(), PeerCounters::default());
}

#[test]
fn a_lossy_handshake_still_ends_well() {
    let mut world = World::new();
    // The server loses sight of three handshake datagrams in four, by their content.
    world.network = |_, bytes| demux(bytes[0]) != Kind::Dtls || bytes.iter().fold(0, |a, b| a ^ b) % 4 == 0;
    world.run_for(Duration::from_secs(2));
    world.network = |_, _| true;
    world.run_until(|world| world.client.srtp.is_some() && world.peer.state() == PeerState::Connected);
    world.media_flows();
}

#[test]
fn another_certificate_than_the_offers_is_refused() {
    let mut world = World::with_fingerprint(|mut fingerprint| {
        fingerprint[31] ^= 1;
        fingerprint
    });
    world.run_until(|world| matches!(world.peer.state(), PeerState::Failed(_)));
    assert_eq!(world.peer.state(), PeerState::Failed(DtlsFailure::Fingerprint));
    assert_eq!(world.peer.poll_timeout(), None);
    assert!(!world.peer.send_rtp(&mut Outbox::default(), |_| panic!("must not be asked")));
    world.run_for(Duration::from_secs(2));
    assert!(world.client.srtp.is_none());
}

#[test]
fn dtls_is_heard_only_from_where_ice_has_been() {
    let mut world = World::new();
    world.client.writable = true;
    world.network = |_, bytes| demux(bytes[0]) != Kind::Stun;
    world.run_for(Duration::from_secs(3));
    assert!(world.peer.counters().dtls_dropped > 0 && world.drain().is_empty());
    world.network = |_, _| true;
    world.run_until(|world| world.client.srtp.is_some());
    let hello = world.wire.iter().find(|(_, bytes)| demux(bytes[0]) == Kind::Dtls).unwrap().1.clone();
    let before = world.peer.counters().dtls_dropped;
    world.deliver_from(addr("203.0.113.66:1"), &hello);
    assert_eq!(world.peer.counters().dtls_dropped, before + 1);
    world.media_flows();
}

#[test]
fn a_replayed_packet_is_dropped() {
    let mut world = World::connected();
    let (plain, sealed) = world.client_packet();
    assert_eq!(world.deliver(&sealed), Some(plain));
    assert_eq!(world.deliver(&sealed), None);
    assert_eq!(world.deliver_from(addr("203.0.113.66:1"), &sealed), None);
    let counters = world.peer.counters();
    assert_eq!((counters.srtp_replayed, counters.unvalidated), (1, 1));
    world.media_flows();
}

#[test]
fn bad_packets_are_counted_and_end_nothing() {
    let mut world = World::connected();
    world.media_flows(); // a stream's first packets must arrive before its number wraps (RFC 3711 3.3.1)
    let dropped = |world: &mut World, bytes: &[u8]| assert_eq!(world.deliver(bytes), None);
    for round in 0..200 {
        let (_, mut forged) = world.client_packet();
        *forged.last_mut().unwrap() ^= 1;
        dropped(&mut world, &forged);
        dropped(&mut world, &[0x80, 200, 0, 1, 0, 0, 0, round]); // SRTCP shorter than its trailer
        dropped(&mut world, &[0x9F, 111, 0, 1]);
        dropped(&mut world, &[22, 254, 253, 0, 0, 0, round]); // DTLS of a kind
        dropped(&mut world, &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, round, 0, 2, 2, 40]); // a fatal alert in clear
        dropped(&mut world, &[70; 20]);
        dropped(&mut world, &[]);
    }
    let counters = world.peer.counters();
    assert_eq!((counters.srtp_auth_failed, counters.malformed, counters.unknown), (200, 400, 400));
    assert_eq!(counters.dtls_restarts, 0);
    assert_eq!(world.peer.state(), PeerState::Connected);
    world.exchange();
    world.media_flows();
}

#[test]
fn media_before_keys_is_dropped() {
    let mut world = World::new();
    world.network = |_, bytes| demux(bytes[0]) != Kind::Dtls;
    world.run_until(|world| world.peer.state() == PeerState::IceConnected);
    assert_eq!(world.deliver(&rtp(1)), None);
    assert_eq!(world.peer.counters().srtp_early, 1);
}

#[test]
fn a_forged_alert_during_the_handshake_ends_nothing() {
    let mut world = World::new();
    world.network = |_, bytes| demux(bytes[0]) != Kind::Dtls;
    world.run_until(|world| world.peer.state() == PeerState::IceConnected);
    world.deliver(&[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40]);
    assert_eq!(world.peer.counters().dtls_restarts, 1);
    world.network = |_, _| true;
    world.run_until(|world| world.client.srtp.is_some());
    world.media_flows();
}

#[test]
fn a_storm_of_broken_handshakes_is_bounded_and_the_peer_recovers() {
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    let mut world = World::new();
    world.network = |_, bytes| demux(bytes[0]) != Kind::Dtls;
    world.run_until(|world| world.peer.state() == PeerState::IceConnected);
    let end = world.now + Duration::from_secs(5);
    while world.now < end {
        for _ in 0..100 {
            world.deliver(&alert);
        }
        world.run_for(Duration::from_millis(20));
    }
    let restarts = world.peer.counters().dtls_restarts;
    assert!((5..=20).contains(&restarts), "{restarts}");
    world.network = |_, _| true;
    world.run_until(|world| world.client.srtp.is_some());
    world.media_flows();
}

#[test]
fn a_peer_whose_handshakes_never_succeed_fails_after_half_a_minute() {
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    let mut world = World::new();
    world.network = |_, bytes| demux(bytes[0]) != Kind::Dtls;
    world.run_until(|world| world.peer.state() == PeerState::IceConnected);
    let began = world.now;
    while world.peer.state() == PeerState::IceConnected {
        assert!(world.now - began < Duration::from_secs(32));
        world.deliver(&alert);
        world.run_for(Duration::from_millis(20));
    }
    assert_eq!(world.peer.state(), PeerState::Failed(DtlsFailure::Handshake));
    assert!(world.now - began >= Duration::from_secs(29));
}

#[test]
fn a_handshake_that_stalls_times_out_without_spinning() {
    let mut world = World::new();
    // The server's flights never arrive, and the client asks once.
    world.network = |from_client, bytes| from_client || demux(bytes[0]) != Kind::Dtls;
    world.run_until(|world| world.wire.iter().any(|(client, b)| *client && demux(b[0]) == Kind::Dtls));
    let mut wakes = 0;
    while let Some(due) = world.peer.poll_timeout() {
        assert!(due > world.now, "asks for the past");
        world.now = due;
        world.peer.handle_timeout(due);
        while world.peer.outbox().next_run().is_some() {}
        wakes += 1;
        assert!(wakes < 100);
    }
    assert_eq!(world.peer.state(), PeerState::Failed(DtlsFailure::Timeout));
}

#[test]
fn stun_that_proves_nothing_is_dropped() {
    let mut world = World::connected();
    let check = world.wire.iter().find(|(client, b)| *client && demux(b[0]) == Kind::Stun).unwrap().1.clone();
    let stranger = addr("203.0.113.66:1");
    let mut dropped = 0;
    let mut refused = |world: &mut World, change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = check.clone();
        change(&mut message);
        world.deliver_from(stranger, &message);
        dropped += 1;
        assert_eq!(world.peer.counters().stun_dropped, dropped);
        assert!(world.drain().is_empty() && !world.peer.is_validated(stranger));
    };
    refused(&mut world, &|m| m[1] = 0x11); // an indication
    refused(&mut world, &|m| m[0] = 0x01); // a response
    refused(&mut world, &|m| m[25] ^= 1); // a foreign ufrag
    refused(&mut world, &|m| m[4] = 0); // not STUN of this century
    refused(&mut world, &|m| m.truncate(20));
    refused(&mut world, &|m| m.truncate(m.len() - 4));
    refused(&mut world, &|m| m.push(0));
    refused(&mut world, &|m| m[23] = 0xFF); // USERNAME overruns
    for at in 44..check.len() - 8 {
        // Everything up to the tag's last byte is covered; after it comes only FINGERPRINT.
        refused(&mut world, &|m| m[at] ^= 1);
    }
    // Without MESSAGE-INTEGRITY and FINGERPRINT.
    refused(&mut world, &|m| {
        m.truncate(m.len() - 32);
        let length = (m.len() - 20) as u16;
        m[2..4].copy_from_slice(&length.to_be_bytes());
    });
    assert_eq!(world.peer.remote_addr(), Some(addr(CLIENT).into()));
    world.media_flows();
}

#[test]
fn a_rebound_nat_moves_the_peer_at_its_next_check() {
    let mut world = World::connected();
    world.client.addr = addr("198.51.100.20:61234");
    let (_, early) = world.client_packet();
    assert_eq!(world.deliver(&early), None); // not validated yet
    let moved = world.client.addr;
    world.run_until(|world| world.peer.remote_addr() == Some(moved.into()));
    world.media_flows();
    assert!(world.peer.is_validated(addr(CLIENT)) && world.peer.is_validated(moved));
}

#[test]
fn an_ice_restart_moves_the_peer_without_new_keys() {
    let mut world = World::connected();
    let old = world.wire.iter().find(|(client, b)| *client && demux(b[0]) == Kind::Stun).unwrap().1.clone();
    let local = IceCredentials::generate(&mut ChaCha8Rng::seed_from_u64(8));
    let remote = IceCredentials { ufrag: "efgh".into(), pwd: "anotherpasswordof22chars".into() };
    world.peer.restart_ice(world.now, local.clone(), remote.clone());
    world.media_flows(); // before any new check
    world.deliver(&old);
    assert_eq!(world.peer.counters().stun_dropped, 1);
    world.client.ice.ice_restart(IceCreds { ufrag: remote.ufrag, pass: remote.pwd }, true);
    world.client.ice.set_remote_credentials(IceCreds { ufrag: local.ufrag, pass: local.pwd });
    world.client.ice.add_remote_candidate(Candidate::host(addr(SERVER), Protocol::Udp).unwrap());
    world.client.addr = addr("198.51.100.99:1024");
    let moved = world.client.addr;
    world.run_until(|world| world.peer.remote_addr() == Some(moved.into()));
    world.media_flows();
}

#[test]
fn silence_disconnects_and_the_next_packet_connects_again() {
    let mut world = World::connected();
    world.network = |_, _| false;
    world.run_for(Duration::from_secs(16));
    assert_eq!(world.peer.state(), PeerState::Disconnected);
    assert!(!world.peer.send_rtp(&mut Outbox::default(), |_| panic!("must not be asked")));
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.peer.state(), PeerState::Disconnected);
    world.network = |_, _| true;
    let (plain, sealed) = world.client_packet();
    assert_eq!(world.deliver(&sealed), Some(plain));
    assert_eq!(world.peer.state(), PeerState::Connected);
    world.media_flows();
}

#[test]
fn a_peer_that_hops_between_addresses_costs_no_memory() {
    let mut world = World::connected();
    let check =
        world.wire.iter().rfind(|(client, b)| *client && demux(b[0]) == Kind::Stun).unwrap().1.clone();
    for port in 1..5000 {
        let hop = SocketAddr::from(([203, 0, 113, 7], port));
        world.deliver_from(hop, &check);
        assert!(world.peer.is_validated(hop));
        assert_eq!(world.drain().len(), 1);
    }
    let Link::WebRtc(link) = &world.peer.link else { panic!("it is") };
    assert!(link.ice.address_count() <= 32);
    assert_eq!(world.peer.state(), PeerState::Connected);
}

#[test]
fn either_side_can_say_goodbye() {
    let mut world = World::connected();
    world.peer.close(world.now);
    world.exchange();
    assert!(world.client.closed);
    assert_eq!((world.peer.state(), world.peer.poll_timeout()), (PeerState::Closed, None));

    let mut world = World::connected();
    world.client.dtls.close().unwrap();
    world.exchange();
    assert_eq!((world.peer.state(), world.peer.poll_timeout()), (PeerState::Closed, None));
    assert!(!world.peer.send_rtp(&mut Outbox::default(), |_| panic!("must not be asked")));
}

#[test]
fn a_sequence_number_is_sent_once() {
    let mut world = World::connected();
    assert!(world.send(5));
    assert!(!world.send(5));
    assert!(world.send(4));
    assert_eq!(world.peer.counters().send_refused, 1);
    world.exchange();
    assert_eq!(world.client.received, [rtp(5), rtp(4)]);
}

#[test]
fn a_plain_peer_is_connected_at_birth_and_hears_one_address() {
    let (now, far, stranger) = (start(), addr("10.0.0.1:7"), addr("10.0.0.2:7"));
    let mut peer = Peer::plain(far);
    assert_eq!((peer.state(), peer.remote_addr()), (PeerState::Connected, Some(far.into())));
    let check = |peer: &mut Peer, from, bytes: &[u8], expected: bool| {
        let got = peer.handle_datagram(now, from, &mut bytes.to_vec()) != Received::Nothing;
        assert_eq!(got, expected, "{bytes:?}");
    };
    check(&mut peer, far, &rtp(1), true);
    check(&mut peer, far, &rtp(1), true); // no replay protection: nothing to protect it with
    check(&mut peer, far, &[0x80, 201, 0, 1, 0, 0, 0, 9], true);
    check(&mut peer, far, &[0x80, 201, 0, 1], false);
    check(&mut peer, far, &[], false);
    check(&mut peer, stranger, &rtp(1), false);
    assert_eq!((peer.counters().malformed, peer.counters().unvalidated), (2, 1));
    let mut outbox = Outbox::default();
    assert!(peer.send_rtp(&mut outbox, |out| out.extend_from_slice(&rtp(9))));
    assert_eq!(outbox.next_run().map(|run| (run.to.addr, run.bytes.to_vec())), Some((far, rtp(9))));
    peer.close(now);
    assert_eq!(peer.state(), PeerState::Closed);
    check(&mut peer, far, &rtp(1), false);
}

#[test]
fn datagrams_are_told_apart_by_their_first_byte() {
    fn check(first: u8, expected: Kind) {
        assert_eq!(demux(first), expected, "{first}");
    }
    check(0, Kind::Stun);
    check(3, Kind::Stun);
    check(4, Kind::Unknown);
    check(19, Kind::Unknown);
    check(20, Kind::Dtls);
    check(63, Kind::Dtls);
    check(64, Kind::Unknown);
    check(127, Kind::Unknown);
    check(128, Kind::Rtp);
    check(191, Kind::Rtp);
    check(192, Kind::Unknown);
}

#[test]
fn the_local_ufrag_is_read_from_a_check_and_from_nothing_else() {
    /// A binding request with these attributes.
    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xA4, 0x42];
        message.extend_from_slice(&[0; 12]);
        message.extend_from_slice(attributes);
        message
    }
    fn check(attributes: &[u8], expected: Option<&str>) {
        assert_eq!(stun_username_local_ufrag(&request(attributes)), expected, "{attributes:?}");
    }
    check(b"\0\x06\0\x04ab:c", Some("ab"));
    check(b"\0\x06\0\x03a:c\0", Some("a"));
    check(b"\0\x06\0\x03a:c", Some("a")); // padding of the last may be missing
    check(b"\0\x24\0\x01p\0\0\0\0\x06\0\x04ab:c", Some("ab"));
    check(b"\0\x06\0\x04abcd", None);
    check(b"\0\x06\0\x05ab:c", None);
    check(b"\0\x06\0\x04a\xFF:c", None);
    check(b"\0\x08\0\0\0\x06\0\x04ab:c", None);
    check(b"\0\x24\xFF\xFF\0\x06\0\x04ab:c", None);
    check(b"\0\x06", None);
    check(b"", None);
    assert_eq!(stun_username_local_ufrag(&[]), None);
    assert_eq!(stun_username_local_ufrag(&request(b"\0\x06\0\x04ab:c")[..27]), None);
}

#[test]
fn credentials_are_of_ice_characters_and_stay_out_of_logs() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (one, two) = (IceCredentials::generate(&mut rng), IceCredentials::generate(&mut rng));
    assert_ne!(one, two);
    assert_eq!((one.ufrag.len(), one.pwd.len()), (8, 24));
    assert!(one.pwd.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/'));
    assert_eq!(
        format!("{one:?}"),
        format!("IceCredentials {{ ufrag: {:?}, pwd: \"<redacted>\" }}", one.ufrag)
    );
    let certificate = Certificate::generate().unwrap();
    let text = certificate.fingerprint_text();
    assert_eq!((text.len(), text.split(':').count()), (95, 32));
    assert_eq!(format!("{certificate:?}"), format!("Certificate {{ fingerprint: {text:?}, .. }}"));
}

#[test]
fn a_worker_may_be_given_its_peers() {
    fn is_send<T: Send>() {}
    is_send::<Peer>();
    is_send::<Certificate>();
}

#[test]
fn the_fuzz_target_holds_on_its_first_inputs() {
    for kind in [0, 20, 22, 64, 128, 200] {
        for len in [0, 1, 8, 20, 64] {
            fuzz::stun_and_demux(&vec![kind; len]);
        }
    }
    // Attributes of each kind that `is` reads, of each length that could upset it.
    for kind in [1, 6, 8, 9, 0xA, 0xC, 0xD, 0x12, 0x13, 0x14, 0x15, 0x16, 0x20, 0x22, 0x24, 0x25, 0x29, 0x2A]
    {
        for len in 0..24 {
            for high in [0, 0x80] {
                let mut attribute = vec![high, kind, 0, len];
                attribute.resize(4 + usize::from(len), 0x41);
                fuzz::stun_and_demux(&attribute);
            }
        }
    }
}

#[test]
fn the_same_address_by_tcp_is_another_place() {
    let mut world = World::connected();
    let by_tcp = PeerAddr::tcp(world.client.addr);
    assert!(!world.peer.is_validated(by_tcp));
    let (_, packet) = world.client_packet();
    let mut bytes = packet.clone();
    assert_eq!(world.peer.handle_datagram(world.now, by_tcp, &mut bytes), Received::Nothing);
    assert_eq!(world.peer.counters().unvalidated, 1);
    world.media_flows();
}

#[test]
fn send_times_are_six_bits_of_seconds_and_eighteen_of_fraction() {
    fn check(micros: u64, expected: [u8; 3]) {
        assert_eq!(abs_send_time(Duration::from_micros(micros)), expected);
    }
    check(0, [0, 0, 0]);
    check(1_000_000, [4, 0, 0]);
    check(500_000, [2, 0, 0]);
    check(64_000_000, [0, 0, 0]);
    check(u64::MAX / 64_000_000 * 64_000_000 + 500_000, [2, 0, 0]);
}
