//! A media connection to one peer without any media in it: ICE, DTLS and SRTP, without socket, clock or task. What the light
//! engine stands on, and any other client that writes its SDP itself.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, rand};
use campanile_media::peer::srtp::{DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender, from_dtls};
use campanile_media::peer::{Kind, demux};
use campanile_media::rtcp;
use campanile_media::rtp::RtpHeader;
use dimpl::DtlsCertificate;
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};

/// For what `dimpl` hands out; it insists on room for the longest certificate it may have queued.
const DTLS_OUTPUT_BYTES: usize = 64 * 1024;

/// Until a handshake's first message is sent again, doubled each time. Browsers begin with 50 ms, or twice the round trip.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(100);
/// 100 ms doubled this often makes half a minute.
const RETRANSMISSIONS_MAX: usize = 8;

/// What a transport has to say, from [`Transport::poll`].
#[derive(Debug)]
pub enum TransportOutput {
    /// A datagram to send.
    Transmit {
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// ICE and DTLS are done.
    Connected,
    /// Neither will be, or the peer has closed; why, for people.
    Failed(&'static str),
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// For the transport itself.
    Own,
    /// A sealed RTP packet.
    Rtp,
    /// A sealed RTCP packet.
    Rtcp,
    /// Nothing expected.
    Unknown,
}

/// ICE as the controlling side, DTLS as the client, and SRTP.
pub struct Transport {
    ice: IceAgent,
    dtls: dimpl::Dtls,
    dtls_due: Option<Instant>,
    dtls_buffer: Vec<u8>,
    fingerprint_seen: Option<[u8; 32]>,
    fingerprint_wanted: Option<[u8; 32]>,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    outputs: VecDeque<TransportOutput>,
}

/// One identity for all light connections of a process: making one costs more than a handshake.
fn identity() -> Result<&'static DtlsCertificate, String> {
    static IDENTITY: OnceLock<Option<DtlsCertificate>> = OnceLock::new();
    let made = IDENTITY.get_or_init(|| dimpl::certificate::generate_self_signed_certificate().ok());
    made.as_ref().ok_or_else(|| "no DTLS certificate could be made".to_owned())
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    digest::digest(&digest::SHA256, bytes).as_ref().first_chunk().copied()
}

impl Transport {
    /// For a socket bound to `local`.
    ///
    /// # Errors
    /// No random numbers or no certificate could be had; why, for people.
    pub fn new(now: Instant, local: SocketAddr) -> Result<Transport, String> {
        let name = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let creds = IceCreds { ufrag: name(&random::<4>()?), pass: name(&random::<12>()?) };
        let mut ice = IceAgent::new(creds);
        ice.set_controlling(true);
        ice.add_local_candidate(Candidate::host(local, Protocol::Udp).map_err(|error| error.to_string())?);
        let config = dimpl::Config::builder()
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(RETRANSMISSIONS_MAX)
            .build();
        let config = config.map_err(|error| error.to_string())?;
        let mut dtls = dimpl::Dtls::new_12(Arc::new(config), identity()?.clone(), now);
        dtls.set_active(true);
        Ok(Transport {
            ice,
            dtls,
            dtls_due: None,
            dtls_buffer: vec![0; DTLS_OUTPUT_BYTES],
            fingerprint_seen: None,
            fingerprint_wanted: None,
            srtp: None,
            local,
            remote: None,
            outputs: VecDeque::new(),
        })
    }

    /// The address that it was made for.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The lines of SDP that tell the peer how to reach us, with `a=setup:` as given: `active`, or `actpass` in an offer
    /// to a peer that is known to choose `passive`.
    pub fn sdp_lines(&self, setup: &str) -> String {
        let creds = self.ice.local_credentials();
        let fingerprint =
            identity().ok().and_then(|identity| sha256(&identity.certificate)).unwrap_or_default();
        let fingerprint = fingerprint.map(|byte| format!("{byte:02X}")).join(":");
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n",
            creds.ufrag, creds.pass
        )
    }

    /// Takes in how to reach the peer. Only the first description counts.
    ///
    /// # Errors
    /// Something is missing in it; what, for people.
    pub fn accept(&mut self, now: Instant, peer: &PeerDescription<'_>) -> Result<(), String> {
        if self.fingerprint_wanted.is_some() {
            return Ok(());
        }
        let (Some(ufrag), Some(pwd)) = (peer.ufrag, peer.pwd) else {
            return Err("the answer has no ICE credentials".to_owned());
        };
        self.fingerprint_wanted = Some(peer.fingerprint.ok_or("the answer has no SHA-256 fingerprint")?);
        self.ice.set_remote_credentials(IceCreds { ufrag: ufrag.to_owned(), pass: pwd.to_owned() });
        if peer.candidates.is_empty() {
            return Err("the answer has no candidate".to_owned());
        }
        for candidate in &peer.candidates {
            self.ice.add_remote_candidate(
                Candidate::host(*candidate, Protocol::Udp).map_err(|error| error.to_string())?,
            );
        }
        self.handle_timeout(now);
        Ok(())
    }

    /// Takes a datagram. Media is left sealed in `bytes`, for [`Transport::open_rtp`] and [`Transport::open_rtcp`].
    pub fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Received {
        match bytes.first().map(|first| demux(*first)) {
            Some(Kind::Rtp) if rtcp::is_rtcp(bytes) => Received::Rtcp,
            Some(Kind::Rtp) => Received::Rtp,
            Some(Kind::Stun) => {
                if let Ok(message) = StunMessage::parse(bytes) {
                    let packet =
                        StunPacket { proto: Protocol::Udp, source: from, destination: self.local, message };
                    self.ice.handle_packet(now, packet);
                }
                self.advance(now);
                Received::Own
            }
            Some(Kind::Dtls) => {
                let taken = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(bytes));
                if taken.is_err() && self.srtp.is_none() {
                    self.outputs.push_back(TransportOutput::Failed("the DTLS handshake failed"));
                }
                self.advance(now);
                Received::Own
            }
            _ => Received::Unknown,
        }
    }

    /// Opens an RTP packet in place; false when it is not authentic.
    pub fn open_rtp(&mut self, bytes: &mut [u8], header: &RtpHeader) -> bool {
        self.srtp.as_mut().is_some_and(|(_, srtp)| srtp.unprotect_rtp(bytes, header).is_ok())
    }

    /// Opens an RTCP packet in place; its length then, or `None` when it is not authentic.
    pub fn open_rtcp(&mut self, bytes: &mut [u8]) -> Option<usize> {
        self.srtp.as_mut()?.1.unprotect_rtcp(bytes).ok()
    }

    /// Sends the RTP packet that `write` writes. False before the connection stands.
    pub fn send_rtp(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.send(write, SrtpSender::protect_rtp)
    }

    /// Sends the RTCP packet that `write` writes. False before the connection stands.
    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.send(write, SrtpSender::protect_rtcp)
    }

    fn send<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        seal: impl FnOnce(&mut SrtpSender, &mut Vec<u8>, usize) -> Result<(), E>,
    ) -> bool {
        let (Some((srtp, _)), Some(to)) = (&mut self.srtp, self.remote) else { return false };
        let mut bytes = Vec::new();
        write(&mut bytes);
        let sealed = seal(srtp, &mut bytes, 0).is_ok();
        if sealed {
            self.outputs.push_back(TransportOutput::Transmit { to, bytes });
        }
        sealed
    }

    /// To be called when [`Transport::poll_timeout`] says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        self.advance(now);
    }

    /// Lets ICE and, once a path is there, DTLS say what they have to.
    fn advance(&mut self, now: Instant) {
        while let Some(transmit) = self.ice.poll_transmit() {
            let bytes = Vec::from(transmit.contents);
            self.outputs.push_back(TransportOutput::Transmit { to: transmit.destination, bytes });
        }
        while let Some(event) = self.ice.poll_event() {
            if let IceAgentEvent::NominatedSend { destination, .. } = event {
                self.remote = Some(destination);
            }
        }
        let Some(remote) = self.remote else { return };
        if self.dtls_due.is_none_or(|due| due <= now) && self.dtls.handle_timeout(now).is_err() {
            if self.srtp.is_none() {
                self.outputs.push_back(TransportOutput::Failed("the DTLS handshake timed out"));
            }
            self.dtls_due = Some(now + Duration::from_secs(3600));
            return;
        }
        loop {
            match self.dtls.poll_output(&mut self.dtls_buffer) {
                dimpl::Output::Packet(packet) => {
                    let bytes = packet.to_vec();
                    self.outputs.push_back(TransportOutput::Transmit { to: remote, bytes });
                }
                dimpl::Output::PeerCert(der) => self.fingerprint_seen = sha256(der),
                dimpl::Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        _ => SrtpProfile::AesCm128HmacSha1_80,
                    };
                    self.srtp = from_dtls(profile, &material, DtlsRole::Client).ok();
                    let believed =
                        self.fingerprint_seen.is_some() && self.fingerprint_seen == self.fingerprint_wanted;
                    self.outputs.push_back(if believed && self.srtp.is_some() {
                        TransportOutput::Connected
                    } else {
                        TransportOutput::Failed("the certificate does not match the answer")
                    });
                }
                dimpl::Output::CloseNotify => {
                    self.outputs.push_back(TransportOutput::Failed("the peer closed"));
                }
                dimpl::Output::Timeout(due) => {
                    self.dtls_due = Some(due.max(now + Duration::from_millis(1)));
                    break;
                }
                _ => {}
            }
        }
        if self.srtp.is_some() && self.dtls_buffer.len() > 2048 {
            // Hundreds of these live in one process, and all that may still come is an alert.
            self.dtls_buffer = vec![0; 2048];
        }
    }

    /// To be called until `None` after everything else.
    pub fn poll(&mut self) -> Option<TransportOutput> {
        self.outputs.pop_front()
    }

    /// When [`Transport::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        [self.ice.poll_timeout(), self.remote.and(self.dtls_due)].into_iter().flatten().min()
    }
}

/// The few lines of a peer's SDP that matter here.
#[derive(Clone, Debug, Default)]
pub struct PeerDescription<'a> {
    /// ICE username fragment.
    pub ufrag: Option<&'a str>,
    /// ICE password.
    pub pwd: Option<&'a str>,
    /// SHA-256 of its certificate.
    pub fingerprint: Option<[u8; 32]>,
    /// Where it can be reached by UDP.
    pub candidates: Vec<SocketAddr>,
    /// Each section's mid and first SSRC.
    pub ssrcs: Vec<(&'a str, u32)>,
}

impl<'a> PeerDescription<'a> {
    /// Reads it; what is not there stays empty.
    pub fn parse(sdp: &'a str) -> PeerDescription<'a> {
        let mut peer = PeerDescription::default();
        let mut mid = None;
        for line in sdp.lines() {
            if line.starts_with("m=") {
                mid = None;
            } else if let Some(value) = line.strip_prefix("a=mid:") {
                mid = Some(value);
            } else if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
                peer.ufrag.get_or_insert(value);
            } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
                peer.pwd.get_or_insert(value);
            } else if let Some(value) = line.strip_prefix("a=fingerprint:sha-256 ") {
                peer.fingerprint = fingerprint(value).or(peer.fingerprint);
            } else if let Some(value) = line.strip_prefix("a=candidate:") {
                let words: Vec<&str> = value.split(' ').collect();
                if let [_, "1", protocol, _, ip, port, "typ", "host", ..] = words[..]
                    && protocol.eq_ignore_ascii_case("udp")
                    && let (Ok(ip), Ok(port)) = (ip.parse(), port.parse())
                {
                    let candidate = SocketAddr::new(ip, port);
                    if !peer.candidates.contains(&candidate) {
                        peer.candidates.push(candidate);
                    }
                }
            } else if let (Some(value), Some(mid)) = (line.strip_prefix("a=ssrc:"), mid)
                && let Some(ssrc) = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok())
                && !peer.ssrcs.iter().any(|(known, _)| *known == mid)
            {
                peer.ssrcs.push((mid, ssrc));
            }
        }
        peer
    }
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut parts = text.trim().split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_description_is_read() {
        let print = ["0A"; 32].join(":");
        let text = format!(
            "v=0\r\nm=audio 9 X 111\r\na=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host generation 0\r\n\
             a=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 {print}\r\na=mid:0\r\na=ssrc:7 cname:x\r\n\
             m=video 9 X 96\r\na=mid:2\r\na=ssrc-group:FID 8 9\r\na=ssrc:8 cname:x\r\na=ssrc:9 cname:x\r\n"
        );
        let peer = PeerDescription::parse(&text);
        assert_eq!((peer.ufrag, peer.pwd), (Some("u"), Some("p")));
        assert_eq!(peer.fingerprint, Some([10; 32]));
        assert_eq!(peer.candidates, ["192.0.2.1:3478".parse().unwrap()]);
        assert_eq!(peer.ssrcs, [("0", 7), ("2", 8)]);
    }
}
