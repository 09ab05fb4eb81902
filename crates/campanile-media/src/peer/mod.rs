//! The media link to one attendee: one flow, by UDP or TCP, that carries ICE checks, a DTLS handshake and SRTP, or bare RTP.
//!
//! Datagrams go in, plaintext RTP and RTCP come out; what is to be sent is sealed at once and waits in the [`Outbox`].
//! The socket is the shell's, finding the peer for a datagram the service's, what the packets mean `forward`'s and
//! `mix`'s. A stranger's bytes are dropped and counted and never end a peer.

mod address;
mod dtls;
pub mod framing;
mod ice;
mod outbox;
mod pacer;
mod plain;
pub mod sdp;
pub mod srtp;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use address::{PeerAddr, Transport};
pub use dtls::{Certificate, CertificateError, DtlsFailure};
pub use ice::{IceCredentials, stun_username_local_ufrag};
pub use outbox::{OUTBOX_BYTES_MAX, Outbox, Run};
pub use pacer::Urgency;

use dtls::{Dtls, DtlsEvent};
use ice::Ice;
use pacer::Pacer;
use plain::Plain;
use srtp::{SrtpError, SrtpReceiver, SrtpSender};

use crate::estimate::Estimator;
use crate::rtcp::TransportFeedback;
use crate::rtp::{self, RtpHeader};
use crate::units::Bitrate;

/// Without an authentic packet for this long, a peer is [`Disconnected`](PeerState::Disconnected) and sending stops:
/// six of the checks that browsers make every 2.5 seconds. RFC 7675 5.1 allows 30 seconds without consent.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What a datagram is by its first byte, when everything shares one port (RFC 7983).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 0..=3.
    Stun,
    /// 20..=63.
    Dtls,
    /// 128..=191: RTP or RTCP, encrypted or not.
    Rtp,
    /// ZRTP, TURN channels, and what nobody has defined.
    Unknown,
}

/// What kind of datagram begins with this byte.
pub const fn demux(first_byte: u8) -> Kind {
    match first_byte {
        0..=3 => Kind::Stun,
        20..=63 => Kind::Dtls,
        128..=191 => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

/// Whether a datagram of [`Kind::Rtp`] is RTCP (RFC 5761 4), which needs at least its eight-byte header.
fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1])
}

/// What a datagram held for the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received<'a> {
    /// It was for the link itself, or not worth anything.
    Nothing,
    /// A plaintext RTP packet and its header.
    Rtp(RtpHeader, &'a [u8]),
    /// A plaintext RTCP compound of at least eight bytes.
    Rtcp(&'a [u8]),
}

/// How far the link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// There is no address to send to yet.
    New,
    /// There is an address to send to, but no keys yet.
    IceConnected,
    /// Media can flow.
    Connected,
    /// Was connected, but nothing authentic has been heard for 15 seconds. Sending has stopped; the next authentic
    /// packet makes it connected again.
    Disconnected,
    /// There will be no media; the reason says why. Final.
    Failed(DtlsFailure),
    /// Closed by either side. Final.
    Closed,
}

/// What became of datagrams that brought the caller nothing, since the peer's birth.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PeerCounters {
    /// STUN that is not an authentic check: another type, a foreign ufrag, wrong or no MESSAGE-INTEGRITY, malformed.
    pub stun_dropped: u64,
    /// DTLS from an address that ICE has not validated, oversized, or after the association was over.
    pub dtls_dropped: u64,
    /// DTLS handshakes begun anew after a fatal error.
    pub dtls_restarts: u64,
    /// SRTP or SRTCP before there were keys.
    pub srtp_early: u64,
    /// SRTP or SRTCP whose tag does not match.
    pub srtp_auth_failed: u64,
    /// SRTP or SRTCP that was received before, or is too old to tell.
    pub srtp_replayed: u64,
    /// RTP or RTCP from an address that is not the peer's.
    pub unvalidated: u64,
    /// RTP or RTCP that contradicts itself.
    pub malformed: u64,
    /// Datagrams of no kind we know, or after the peer was closed or had failed.
    pub unknown: u64,
    /// Packets of ours that were not sent: the outbox was full, or the sender used a sequence number twice.
    pub send_refused: u64,
}

/// The media link to one attendee.
#[repr(C)] // What each packet needs comes first: between two of one peer's, all others' go through the processor's cache.
pub struct Peer {
    link: Link,
    counters: PeerCounters,
    outbox: Outbox,
    pacer: Pacer,
    estimator: Estimator,
}

/// What a paced packet says of its departure, in its first header extension element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Nothing.
    Unmarked,
    /// Its number on this transport, of 2 bytes: the peer reports its arrival.
    Numbered,
    /// When it left, of 3 bytes (`abs-send-time`), on the clock that began then.
    Timed(Instant),
}

enum Link {
    WebRtc(Box<WebRtc>),
    Plain(Plain),
    Closed,
}

#[repr(C)] // As in [`Peer`].
struct WebRtc {
    srtp: Option<Box<(SrtpSender, SrtpReceiver)>>,
    /// When the latest authentic packet came.
    heard_at: Instant,
    silent: bool,
    /// The peer has said goodbye.
    closed: bool,
    failure: Option<DtlsFailure>,
    ice: Ice,
    dtls: Dtls,
}

impl Peer {
    /// A link to a WebRTC client: ICE-lite, passive in DTLS 1.2. The peer must present the certificate with this SHA-256
    /// fingerprint, and send its checks under `local`'s ufrag.
    pub fn webrtc(
        now: Instant,
        certificate: &Certificate,
        local: IceCredentials,
        remote: IceCredentials,
        remote_fingerprint: [u8; 32],
    ) -> Peer {
        Peer::with_link(Link::WebRtc(Box::new(WebRtc {
            ice: Ice::new(now, local, remote),
            dtls: Dtls::new(now, certificate.clone(), remote_fingerprint),
            srtp: None,
            failure: None,
            closed: false,
            heard_at: now,
            silent: false,
        })))
    }

    /// Bare RTP to and from one address; connected at birth.
    pub fn plain(remote: SocketAddr) -> Peer {
        Peer::with_link(Link::Plain(Plain { remote: remote.into() }))
    }

    fn with_link(link: Link) -> Peer {
        Peer {
            link,
            outbox: Outbox::default(),
            pacer: Pacer::default(),
            estimator: Estimator::default(),
            counters: PeerCounters::default(),
        }
    }

    /// Follows an offer with other ICE credentials than before: from now on only checks under these count. Keys stay,
    /// and media keeps flowing to the old address until the client nominates one.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        if let Link::WebRtc(link) = &mut self.link {
            link.ice.restart(now, local, remote);
        }
    }

    /// Takes one datagram that belongs to this peer by its source address or, the first time, by the ufrag of its
    /// check ([`stun_username_local_ufrag`]). Decrypts in place.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        from: impl Into<PeerAddr>,
        bytes: &'a mut [u8],
    ) -> Received<'a> {
        let from = from.into();
        match &mut self.link {
            Link::WebRtc(link) => {
                link.handle_datagram(now, from, bytes, &mut self.outbox, &mut self.counters)
            }
            Link::Plain(link) => link.handle_datagram(from, bytes, &mut self.counters),
            Link::Closed => {
                self.counters.unknown += 1;
                Received::Nothing
            }
        }
    }

    /// Lets time pass: DTLS retransmissions, and noticing silence.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Link::WebRtc(link) = &mut self.link {
            link.handle_timeout(now, &mut self.outbox);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.link {
            Link::WebRtc(link) => link.poll_timeout(),
            Link::Plain(_) | Link::Closed => None,
        }
    }

    /// How far the link is.
    pub fn state(&self) -> PeerState {
        match &self.link {
            Link::WebRtc(link) => link.state(),
            Link::Plain(_) => PeerState::Connected,
            Link::Closed => PeerState::Closed,
        }
    }

    /// Where we send: what the peer nominated last, or before that where it was first heard from. A roaming client
    /// moves it.
    pub fn remote_addr(&self) -> Option<PeerAddr> {
        match &self.link {
            Link::WebRtc(link) => link.ice.selected(),
            Link::Plain(link) => Some(link.remote),
            Link::Closed => None,
        }
    }

    /// Whether datagrams from there are this peer's: an authentic check has come from there lately. Only then may the
    /// address be kept as a key for finding the peer.
    pub fn is_validated(&self, addr: impl Into<PeerAddr>) -> bool {
        let addr = addr.into();
        match &self.link {
            Link::WebRtc(link) => link.ice.is_validated(addr),
            Link::Plain(link) => link.remote == addr,
            Link::Closed => false,
        }
    }

    /// What was dropped.
    pub fn counters(&self) -> PeerCounters {
        let mut counters = self.counters;
        if let Link::WebRtc(link) = &self.link {
            counters.dtls_restarts = u64::from(link.dtls.restarts());
        }
        counters
    }

    /// Puts one RTP packet into an outbox that peers share: what goes to all of them at once is written, and read again, in
    /// one place. `write` appends it in plaintext, and it is sealed in place. False, and nothing written, when the peer is
    /// not [`Connected`](PeerState::Connected); false too when the packet would use a sequence number of its SSRC a second
    /// time (which SRTP forbids: retransmit by rtx). How much waits there is for the caller to bound.
    pub fn send_rtp(&mut self, shared: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(to) = self.connected_addr() else { return false };
        let link = &mut self.link;
        let sent = shared.append(to, |out, start| seal(link, out, start, write, SrtpSender::protect_rtp));
        self.counters.send_refused += u64::from(!sent);
        sent
    }

    /// Puts an RTCP compound into the peer's own outbox. False likewise, and when that is full.
    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(to) = self.connected_addr() else { return false };
        let Peer { link, outbox, .. } = self;
        let sent = outbox.push(to, |out, start| seal(link, out, start, write, SrtpSender::protect_rtcp));
        self.counters.send_refused += u64::from(!sent);
        sent
    }

    /// Reads what sealing a packet for this peer needs, and does nothing with it. Between two packets for one peer, those for
    /// all others go through the processor's cache: whoever sends to many calls this for a number of them first, and waits
    /// for all their memory at once, which is shorter than for each one's in turn.
    pub fn fetch(&self) {
        if let Link::WebRtc(link) = &self.link
            && let Some(srtp) = &link.srtp
        {
            srtp.0.fetch();
        }
        black_box(self.connected_addr());
    }

    /// The same for video, which is paced.
    pub fn fetch_for_video(&self, now: Instant) {
        self.fetch();
        let is_clear = self.pacer.is_clear(now, self.estimator.pacing_rate());
        black_box((is_clear, self.outbox.is_empty()));
    }

    fn connected_addr(&self) -> Option<PeerAddr> {
        self.remote_addr().filter(|_| self.state() == PeerState::Connected)
    }

    /// Sends one packet of video, at once or when the network bears it: `write` appends it in plaintext, with room in its
    /// first header extension element for what `departure` says. False as with [`send_rtcp`](Self::send_rtcp), and when too
    /// much waits already.
    pub fn send_video(
        &mut self,
        now: Instant,
        urgency: Urgency,
        departure: Departure,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if urgency == Urgency::Repair && !self.pacer.takes_repair(now) {
            return false;
        }
        let rate = self.estimator.pacing_rate();
        let mut bytes = 0;
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            write(out);
            bytes = out.len() - start;
        };
        let taken = if self.pacer.is_clear(now, rate) {
            let sent = self.depart(now, departure, write);
            self.pacer.left(now, sent.unwrap_or(0), rate);
            sent.is_some()
        } else {
            let held = self.state() == PeerState::Connected && self.pacer.hold(urgency, departure, write);
            self.counters.send_refused += u64::from(!held);
            held
        };
        if urgency == Urgency::Repair {
            self.pacer.repaired(now, bytes, rate);
        }
        taken
    }

    /// Seals a packet that leaves now; returns its bytes.
    fn depart(
        &mut self,
        now: Instant,
        departure: Departure,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let to = self.connected_addr()?;
        let estimator = &mut self.estimator;
        let mut bytes = 0;
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            write(out);
            bytes = out.len() - start;
            match departure {
                Departure::Unmarked => {}
                Departure::Numbered => {
                    let number = estimator.sent(now, bytes);
                    rtp::set_first_extension(&mut out[start..], &number.to_be_bytes());
                }
                Departure::Timed(since) => {
                    let time = abs_send_time(now.saturating_duration_since(since));
                    rtp::set_first_extension(&mut out[start..], &time);
                }
            }
        };
        let Peer { link, outbox, .. } = self;
        let sent = outbox.push(to, |out, start| seal(link, out, start, write, SrtpSender::protect_rtp));
        self.counters.send_refused += u64::from(!sent);
        sent.then_some(bytes)
    }

    /// Lets paced packets go that may leave now.
    pub fn release(&mut self, now: Instant) {
        let rate = self.estimator.pacing_rate();
        while let Some((departure, packet)) = self.pacer.next(now, rate) {
            self.depart(now, departure, |out| out.extend_from_slice(&packet));
            self.pacer.recycle(packet);
        }
    }

    /// When [`release`](Self::release) has something to do, or a probe wants padding; `None` when nothing waits.
    pub fn next_release(&self, now: Instant) -> Option<Instant> {
        let waiting = !self.pacer.is_empty() || self.estimator.wants_padding();
        waiting.then(|| self.pacer.next_at(now))
    }

    /// Whether a packet of padding should be sent now, to probe: nothing better waits.
    pub fn wants_padding(&self, now: Instant) -> bool {
        self.estimator.wants_padding() && self.pacer.is_clear(now, self.estimator.pacing_rate())
    }

    /// Drops the packets of this SSRC that wait to leave.
    pub fn discard(&mut self, ssrc: u32) {
        self.pacer.discard(ssrc);
    }

    /// How long the paced packets that wait will take to leave.
    pub fn backlog(&self) -> Duration {
        self.pacer.backlog(self.estimator.pacing_rate())
    }

    /// When so many bytes of video more would have left.
    pub fn time_to_send(&self, bytes: u64) -> Duration {
        let rate = self.estimator.pacing_rate();
        self.backlog() + rate.map_or(Duration::ZERO, |rate| rate.time_for(bytes))
    }

    /// Takes the peer's report on what arrived of the numbered packets.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        self.estimator.feedback(now, feedback);
    }

    /// Takes the peer's own estimate of what it can receive.
    pub fn handle_remb(&mut self, bitrate: Bitrate) {
        self.estimator.remb(bitrate);
    }

    /// What the network to the peer bears.
    pub fn estimator(&mut self) -> &mut Estimator {
        &mut self.estimator
    }

    /// What waits to be sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Ends the link; a WebRTC client is told by a DTLS `close_notify`, which waits in the outbox.
    pub fn close(&mut self, now: Instant) {
        if let Link::WebRtc(link) = &mut self.link {
            let to = link.ice.selected();
            link.dtls.close(now, |packet| push(&mut self.outbox, to, packet));
        }
        self.link = Link::Closed;
    }
}

impl WebRtc {
    fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        from: PeerAddr,
        bytes: &'a mut [u8],
        outbox: &mut Outbox,
        counters: &mut PeerCounters,
    ) -> Received<'a> {
        let Some(first) = bytes.first() else {
            counters.unknown += 1;
            return Received::Nothing;
        };
        match demux(*first) {
            _ if matches!(self.state(), PeerState::Failed(_) | PeerState::Closed) => counters.unknown += 1,
            Kind::Stun => {
                if self.ice.handle_packet(now, from, bytes, |packet| push(outbox, Some(from), packet)) {
                    self.heard(now);
                } else {
                    counters.stun_dropped += 1;
                }
            }
            Kind::Dtls => {
                if self.ice.is_validated(from) {
                    let to = self.ice.selected();
                    match self.dtls.handle_packet(now, bytes, |packet| push(outbox, to, packet)) {
                        Ok(event) => self.apply(now, event),
                        Err(()) => counters.dtls_dropped += 1,
                    }
                } else {
                    counters.dtls_dropped += 1;
                }
            }
            Kind::Rtp => return self.handle_srtp(now, from, bytes, counters),
            Kind::Unknown => counters.unknown += 1,
        }
        Received::Nothing
    }

    fn handle_srtp<'a>(
        &mut self,
        now: Instant,
        from: PeerAddr,
        bytes: &'a mut [u8],
        counters: &mut PeerCounters,
    ) -> Received<'a> {
        if !self.ice.is_validated(from) {
            counters.unvalidated += 1;
            return Received::Nothing;
        }
        let Some((_, receiver)) = self.srtp.as_deref_mut() else {
            counters.srtp_early += 1;
            return Received::Nothing;
        };
        let opened = if is_rtcp(bytes) {
            receiver.unprotect_rtcp(bytes).map(|len| (len, None))
        } else {
            match RtpHeader::parse_sealed(bytes) {
                Ok(header) => receiver.unprotect_rtp(bytes, &header).map(|len| (len, Some(header))),
                Err(_) => Err(SrtpError::Malformed),
            }
        };
        let (len, header) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                match error {
                    SrtpError::Unauthentic => counters.srtp_auth_failed += 1,
                    SrtpError::Replayed => counters.srtp_replayed += 1,
                    _ => counters.malformed += 1,
                }
                return Received::Nothing;
            }
        };
        self.heard(now);
        let packet = &bytes[..len];
        let Some(mut header) = header else { return Received::Rtcp(packet) };
        if header.trim_padding(packet).is_err() {
            counters.malformed += 1;
            return Received::Nothing;
        }
        Received::Rtp(header, packet)
    }

    fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        if matches!(self.state(), PeerState::Failed(_) | PeerState::Closed) {
            return;
        }
        self.ice.handle_timeout(now);
        let to = self.ice.selected();
        let event = self.dtls.handle_timeout(now, |packet| push(outbox, to, packet));
        self.apply(now, event);
        self.silent = now >= self.heard_at + SILENCE_MAX;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state(), PeerState::Failed(_) | PeerState::Closed) {
            return None;
        }
        let silence = (!self.silent).then(|| self.heard_at + SILENCE_MAX);
        [self.ice.poll_timeout(), self.dtls.poll_timeout(), silence].into_iter().flatten().min()
    }

    fn state(&self) -> PeerState {
        match (self.failure, &self.srtp) {
            _ if self.closed => PeerState::Closed,
            (Some(failure), _) => PeerState::Failed(failure),
            (None, Some(_)) if self.silent => PeerState::Disconnected,
            (None, Some(_)) => PeerState::Connected,
            (None, None) if self.ice.selected().is_some() => PeerState::IceConnected,
            (None, None) => PeerState::New,
        }
    }

    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.silent = false;
    }

    fn apply(&mut self, now: Instant, event: Option<DtlsEvent>) {
        match event {
            Some(DtlsEvent::Keys(keys)) => {
                self.srtp = Some(keys);
                self.heard(now);
            }
            Some(DtlsEvent::Failed(failure)) => self.failure = Some(failure),
            Some(DtlsEvent::Closed) => self.closed = true,
            None => {}
        }
    }
}

/// Writes one packet to `out[start..]` and seals it there, if the link has keys.
fn seal(
    link: &mut Link,
    out: &mut Vec<u8>,
    start: usize,
    write: impl FnOnce(&mut Vec<u8>),
    protect: impl FnOnce(&mut SrtpSender, &mut Vec<u8>, usize) -> Result<(), SrtpError>,
) -> bool {
    write(out);
    let keys = match link {
        Link::WebRtc(link) => link.srtp.as_mut(),
        Link::Plain(_) | Link::Closed => None,
    };
    keys.is_none_or(|keys| protect(&mut keys.0, out, start).is_ok())
}

/// The `abs-send-time` extension: seconds in 6.18 fixed point, of any clock (the WebRTC extension of that name).
fn abs_send_time(since_start: Duration) -> [u8; 3] {
    // It wraps after 64 seconds, the product before would after years.
    let micros = since_start.as_micros() % 64_000_000;
    let fixed = (micros * (1 << 18) / 1_000_000) as u32;
    let [_, a, b, c] = fixed.to_be_bytes();
    [a, b, c]
}

fn push(outbox: &mut Outbox, to: Option<PeerAddr>, packet: &[u8]) {
    if let Some(to) = to {
        outbox.push(to, |out, _| {
            out.extend_from_slice(packet);
            true
        });
    }
}

/// Fuzz target of this module.
pub mod fuzz {
    use std::cell::RefCell;

    use aws_lc_rs::hmac;

    use super::*;

    struct Target {
        peer: Peer,
        now: Instant,
        certificate: Certificate,
    }

    thread_local! {
        static TARGET: RefCell<Target> = RefCell::new(Target::new());
    }

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: name.to_owned(), pwd: name.repeat(6) }
    }

    fn peer(now: Instant, certificate: &Certificate) -> Peer {
        let mut peer = Peer::webrtc(now, certificate, credentials("ours"), credentials("theirs"), [0; 32]);
        peer.handle_datagram(now, addr(), &mut check(&[0x00, 0x25, 0, 0]));
        assert_eq!(peer.state(), PeerState::IceConnected);
        peer
    }

    impl Target {
        #[allow(clippy::disallowed_methods, reason = "an Instant has no other source, and any will do")]
        fn new() -> Target {
            let now = Instant::now();
            let certificate = Certificate::generate().expect("the system has randomness");
            Target { peer: peer(now, &certificate), now, certificate }
        }
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 7], 40_000))
    }

    /// An authentic check of these attributes besides the necessary ones.
    fn check(attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        message.extend_from_slice(b"\x00\x06\x00\x0Bours:theirs\x00");
        message.extend_from_slice(&[0, 0x24, 0, 4, 0x6E, 0, 0x1E, 0xFF]); // PRIORITY
        message.extend_from_slice(attributes);
        message.resize(message.len().next_multiple_of(4), 0);
        let covered = message.len();
        let length = (covered + 24 - 20) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, credentials("ours").pwd.as_bytes());
        let tag = hmac::sign(&key, &message);
        message.extend_from_slice(&[0, 8, 0, 20]);
        message.extend_from_slice(tag.as_ref());
        message
    }

    /// Any bytes, as a datagram from a validated and from a foreign address, and as the attributes of an authentic
    /// check: a peer must not panic, and not ask to be woken in the past.
    pub fn stun_and_demux(data: &[u8]) {
        if let Some(first) = data.first() {
            demux(*first);
        }
        if let Some(ufrag) = stun_username_local_ufrag(data) {
            assert!(ufrag.len() < data.len());
        }
        TARGET.with_borrow_mut(|target| {
            let Target { peer, now, .. } = target;
            peer.handle_datagram(*now, addr(), &mut data.to_vec());
            peer.handle_datagram(*now, SocketAddr::from(([203, 0, 113, 9], 9)), &mut data.to_vec());
            // Longer attributes could not be told from the length field's wrap.
            peer.handle_datagram(*now, addr(), &mut check(&data[..data.len().min(1200)]));
            *now += Duration::from_millis(1);
            peer.handle_timeout(*now);
            assert!(peer.poll_timeout().is_none_or(|due| due > *now));
            while peer.outbox().next_run().is_some() {}
            // What comes in clear must not have made keys; what ended it is no reason to stop fuzzing.
            assert_ne!(peer.state(), PeerState::Connected);
            if matches!(peer.state(), PeerState::Failed(_) | PeerState::Closed) {
                *peer = self::peer(*now, &target.certificate);
            }
        });
    }
}

#[cfg(test)]
mod tests;
