//! A real handshake, then a look at each packet's header. For the many who listen in a load test.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, rand};
use campanile_media::peer::srtp::{DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender, from_dtls};
use campanile_media::peer::{Kind, demux};
use campanile_media::rtcp::{self, ReceptionStats};
use campanile_media::rtp::{self, RtpHeader};
use campanile_wire::signaling::TrackMapping;
use dimpl::DtlsCertificate;
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};

use super::{AudioOut, EngineCounters, Offer, Output, Wish};
use crate::media::{Media, PacketHeader};

const OPUS_PT: u8 = 111;
const LEVEL_EXTENSION: u8 = 1;
/// How often we tell what we received (RFC 3550 section 6.2 asks for five seconds at most rates; browsers take one).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// For what `dimpl` hands out; it insists on room for the longest certificate it may have queued.
const DTLS_OUTPUT_BYTES: usize = 64 * 1024;

/// The codecs and extensions of a browser's video section, as far as a service cares.
const VIDEO_LINES: &str = "a=rtcp-mux\r\na=rtcp-rsize\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
    a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\n\
    a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
    a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";

struct Section {
    mid: u32,
    stream_id: u32,
    stopped: bool,
    /// From the answer.
    ssrc: Option<u32>,
}

pub(crate) struct Light {
    ice: IceAgent,
    dtls: dimpl::Dtls,
    dtls_due: Option<Instant>,
    dtls_buffer: Vec<u8>,
    fingerprint_seen: Option<[u8; 32]>,
    fingerprint_wanted: Option<[u8; 32]>,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    audio: bool,
    audio_ssrc: u32,
    remote_audio_ssrc: Option<u32>,
    sequence: u16,
    /// After the audio; the camera's comes first.
    sections: Vec<Section>,
    version: u32,
    /// By SSRC; one for each stream that ever came, so no more than sections.
    reception: Vec<(u32, ReceptionStats)>,
    report_due: Option<Instant>,
    verify_one_in: u32,
    since_verified: u32,
    counters: EngineCounters,
    outputs: VecDeque<Output>,
    spare: Vec<u8>,
}

/// One identity for all light connections of a process: making one costs more than a handshake.
fn identity() -> Result<&'static DtlsCertificate, String> {
    static IDENTITY: OnceLock<Option<DtlsCertificate>> = OnceLock::new();
    let made = IDENTITY.get_or_init(|| dimpl::certificate::generate_self_signed_certificate().ok());
    made.as_ref().ok_or_else(|| "no DTLS certificate could be made".to_owned())
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    digest::digest(&digest::SHA256, bytes).as_ref().first_chunk().copied()
}

impl Light {
    pub(super) fn new(now: Instant, local: SocketAddr, verify_one_in: u32) -> Result<Light, String> {
        let name = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let creds = IceCreds { ufrag: name(&random::<4>()?), pass: name(&random::<12>()?) };
        let mut ice = IceAgent::new(creds);
        ice.set_controlling(true);
        ice.add_local_candidate(Candidate::host(local, Protocol::Udp).map_err(|error| error.to_string())?);
        let mut dtls = dimpl::Dtls::new_12(Arc::new(dimpl::Config::default()), identity()?.clone(), now);
        dtls.set_active(true);
        Ok(Light {
            ice,
            dtls,
            dtls_due: None,
            dtls_buffer: vec![0; DTLS_OUTPUT_BYTES],
            fingerprint_seen: None,
            fingerprint_wanted: None,
            srtp: None,
            local,
            remote: None,
            audio: false,
            audio_ssrc: u32::from_be_bytes(random()?),
            remote_audio_ssrc: None,
            sequence: u16::from_be_bytes(random()?) & 0x7fff,
            sections: Vec::new(),
            version: 0,
            reception: Vec::new(),
            report_due: None,
            verify_one_in,
            since_verified: 0,
            counters: EngineCounters::default(),
            outputs: VecDeque::new(),
            spare: Vec::new(),
        })
    }

    pub(super) fn offer(&mut self, _now: Instant, wish: &Wish<'_>) -> Option<Offer> {
        let first = self.version == 0;
        self.audio = wish.audio;
        if first {
            self.sections.push(Section { mid: 1, stream_id: 0, stopped: false, ssrc: None });
        }
        let mut changed = first;
        for section in self.sections.iter_mut().skip(1) {
            if !section.stopped && !wish.receive.contains(&section.stream_id) {
                (section.stopped, section.stream_id, changed) = (true, 0, true);
            }
        }
        for stream_id in wish.receive {
            if !self.sections.iter().any(|section| section.stream_id == *stream_id) {
                let mid = self.sections.len() as u32 + 1;
                self.sections.push(Section { mid, stream_id: *stream_id, stopped: false, ssrc: None });
                changed = true;
            }
        }
        if !changed {
            return None;
        }
        self.version += 1;
        Some(Offer {
            sdp: self.write_offer(),
            receive_stream_ids: self.sections.iter().map(|section| section.stream_id).collect(),
            mids: self
                .sections
                .iter()
                .filter(|section| section.stream_id != 0)
                .map(|section| (section.stream_id, section.mid.to_string()))
                .collect(),
        })
    }

    fn write_offer(&self) -> String {
        let live = self.sections.iter().filter(|section| !section.stopped).map(|section| section.mid);
        let mids: Vec<String> =
            self.audio.then_some(0).into_iter().chain(live).map(|mid| mid.to_string()).collect();
        let creds = self.ice.local_credentials();
        let fingerprint =
            identity().ok().and_then(|identity| sha256(&identity.certificate)).unwrap_or_default();
        let fingerprint = fingerprint.map(|byte| format!("{byte:02X}")).join(":");
        let ip = self.local.ip();
        let transport = format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n",
            creds.ufrag, creds.pass
        );
        let mut sdp = format!(
            "v=0\r\no=mozilla-campanile 1 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
            self.version,
            mids.join(" ")
        );
        if self.audio {
            let (port, ssrc) = (self.local.port(), self.audio_ssrc);
            // Writing to a String does not fail.
            let _ = write!(
                sdp,
                "m=audio {port} UDP/TLS/RTP/SAVPF {OPUS_PT}\r\nc=IN IP4 {ip}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
                 a=candidate:1 1 udp 2122260223 {ip} {port} typ host generation 0\r\n{transport}a=mid:0\r\n\
                 a=extmap:{LEVEL_EXTENSION} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\n\
                 a=msid:audio microphone\r\na=rtcp-mux\r\na=rtpmap:{OPUS_PT} opus/48000/2\r\n\
                 a=fmtp:{OPUS_PT} minptime=10;useinbandfec=1\r\na=ssrc:{ssrc} cname:campanile\r\n"
            );
        }
        for (place, section) in self.sections.iter().enumerate() {
            let (port, direction) = match (section.stopped, place) {
                (true, _) => (0, "inactive"),
                (false, 0) => (9, "inactive"),
                (false, _) => (9, "recvonly"),
            };
            let _ = write!(
                sdp,
                "m=video {port} UDP/TLS/RTP/SAVPF 96 97 102 103\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:{}\r\na={direction}\r\n{VIDEO_LINES}",
                section.mid
            );
        }
        sdp
    }

    pub(super) fn answer(&mut self, now: Instant, sdp: &str, _tracks: &[TrackMapping]) -> Result<(), String> {
        let answer = Answer::parse(sdp);
        for (mid, ssrc) in &answer.ssrcs {
            if *mid == "0" {
                self.remote_audio_ssrc = Some(*ssrc);
            }
            if let Some(section) = self.sections.iter_mut().find(|section| section.mid.to_string() == *mid) {
                section.ssrc = Some(*ssrc);
            }
        }
        if self.fingerprint_wanted.is_some() {
            return Ok(());
        }
        let (Some(ufrag), Some(pwd)) = (answer.ufrag, answer.pwd) else {
            return Err("the answer has no ICE credentials".to_owned());
        };
        self.fingerprint_wanted = Some(answer.fingerprint.ok_or("the answer has no SHA-256 fingerprint")?);
        self.ice.set_remote_credentials(IceCreds { ufrag: ufrag.to_owned(), pass: pwd.to_owned() });
        if answer.candidates.is_empty() {
            return Err("the answer has no candidate".to_owned());
        }
        for candidate in answer.candidates {
            self.ice.add_remote_candidate(
                Candidate::host(candidate, Protocol::Udp).map_err(|error| error.to_string())?,
            );
        }
        self.handle_timeout(now);
        Ok(())
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        match bytes.first().map(|first| demux(*first)) {
            Some(Kind::Rtp) => self.rtp(now, bytes),
            Some(Kind::Stun) => {
                if let Ok(message) = StunMessage::parse(bytes) {
                    let packet =
                        StunPacket { proto: Protocol::Udp, source: from, destination: self.local, message };
                    self.ice.handle_packet(now, packet);
                }
                self.advance(now);
            }
            Some(Kind::Dtls) => {
                let taken = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(bytes));
                if taken.is_err() && self.srtp.is_none() {
                    self.outputs.push_back(Output::Failed("the DTLS handshake failed"));
                }
                self.advance(now);
            }
            _ => self.counters.unknown += 1,
        }
    }

    fn rtp(&mut self, now: Instant, bytes: &mut [u8]) {
        if rtcp::is_rtcp(bytes) {
            return;
        }
        let Ok(header) = RtpHeader::parse_sealed(bytes) else {
            self.counters.unknown += 1;
            return;
        };
        let stream_id = if self.remote_audio_ssrc == Some(header.ssrc) {
            None
        } else {
            match self.sections.iter().find(|section| section.ssrc == Some(header.ssrc)) {
                Some(section) => Some(section.stream_id),
                // Retransmissions come on an SSRC of their own, and are not asked for.
                None => {
                    self.counters.unknown += 1;
                    return;
                }
            }
        };
        self.since_verified += 1;
        if self.verify_one_in != 0 && self.since_verified >= self.verify_one_in {
            self.since_verified = 0;
            self.counters.verified += 1;
            let opened =
                self.srtp.as_mut().is_some_and(|(_, srtp)| srtp.unprotect_rtp(bytes, &header).is_ok());
            self.counters.unauthentic += u64::from(!opened);
        }
        let clock_hz = if stream_id.is_none() { 48_000 } else { 90_000 };
        let place = self.reception.iter().position(|(ssrc, _)| *ssrc == header.ssrc);
        let place = place.unwrap_or_else(|| {
            self.reception.push((header.ssrc, ReceptionStats::new(header.ssrc, clock_hz)));
            self.reception.len() - 1
        });
        self.reception[place].1.record(header.sequence, header.timestamp, now);
        self.outputs.push_back(Output::Media(Media::Header(PacketHeader {
            arrival: now,
            stream_id,
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            bytes: bytes.len(),
        })));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        self.advance(now);
        if self.report_due.is_some_and(|due| due <= now) {
            self.report_due = Some(now + REPORT_INTERVAL);
            self.report(now);
        }
    }

    fn report(&mut self, now: Instant) {
        let blocks: Vec<_> = self.reception.iter_mut().filter_map(|(_, stats)| stats.report(now)).collect();
        let ssrc = self.audio_ssrc;
        self.send(|srtp, out| {
            rtcp::receiver_report(out, ssrc, &blocks);
            rtcp::sdes_cname(out, ssrc, "campanile");
            srtp.protect_rtcp(out, 0).is_ok()
        });
    }

    /// Lets ICE and, once a path is there, DTLS say what they have to.
    fn advance(&mut self, now: Instant) {
        while let Some(transmit) = self.ice.poll_transmit() {
            let bytes = Vec::from(transmit.contents);
            self.outputs.push_back(Output::Transmit { to: transmit.destination, bytes });
        }
        while let Some(event) = self.ice.poll_event() {
            if let IceAgentEvent::NominatedSend { destination, .. } = event {
                self.remote = Some(destination);
            }
        }
        let Some(remote) = self.remote else { return };
        if self.dtls_due.is_none_or(|due| due <= now) && self.dtls.handle_timeout(now).is_err() {
            if self.srtp.is_none() {
                self.outputs.push_back(Output::Failed("the DTLS handshake timed out"));
            }
            self.dtls_due = Some(now + Duration::from_secs(3600));
            return;
        }
        loop {
            match self.dtls.poll_output(&mut self.dtls_buffer) {
                dimpl::Output::Packet(packet) => {
                    self.outputs.push_back(Output::Transmit { to: remote, bytes: packet.to_vec() });
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
                    if believed && self.srtp.is_some() {
                        self.report_due = Some(now + REPORT_INTERVAL);
                        self.outputs.push_back(Output::Connected);
                    } else {
                        self.outputs.push_back(Output::Failed("the certificate does not match the answer"));
                    }
                }
                dimpl::Output::CloseNotify => {
                    self.outputs.push_back(Output::Failed("the peer closed"));
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

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let ice = self.ice.poll_timeout();
        [ice, self.remote.and(self.dtls_due), self.report_due].into_iter().flatten().min()
    }

    pub(super) fn send_audio(&mut self, _now: Instant, audio: AudioOut<'_>) {
        if !self.audio {
            return;
        }
        let (sequence, ssrc) = (self.sequence, self.audio_ssrc);
        let level = [audio.level_db & 0x7f | u8::from(audio.level_db < 60) << 7];
        let sent = self.send(|srtp, out| {
            let extensions: [(u8, &[u8]); 1] = [(LEVEL_EXTENSION, &level)];
            rtp::write_header(out, OPUS_PT, false, sequence, audio.time as u32, ssrc, &extensions);
            out.extend_from_slice(audio.payload);
            srtp.protect_rtp(out, 0).is_ok()
        });
        if sent {
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    fn send(&mut self, write: impl FnOnce(&mut SrtpSender, &mut Vec<u8>) -> bool) -> bool {
        let (Some((srtp, _)), Some(to)) = (&mut self.srtp, self.remote) else { return false };
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        let written = write(srtp, &mut bytes);
        if written {
            self.outputs.push_back(Output::Transmit { to, bytes });
        }
        written
    }

    pub(super) fn request_keyframe(&mut self, stream_id: u32) {
        let section = self.sections.iter().find(|section| section.stream_id == stream_id);
        let (Some(media_ssrc), ssrc) = (section.and_then(|section| section.ssrc), self.audio_ssrc) else {
            return;
        };
        self.send(|srtp, out| {
            rtcp::receiver_report(out, ssrc, &[]);
            rtcp::pli(out, ssrc, media_ssrc);
            srtp.protect_rtcp(out, 0).is_ok()
        });
    }

    pub(super) fn counters(&self) -> EngineCounters {
        self.counters
    }
}

/// The few lines of an answer that matter here.
#[derive(Default)]
struct Answer<'a> {
    ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
    fingerprint: Option<[u8; 32]>,
    candidates: Vec<SocketAddr>,
    /// Each section's mid and first SSRC.
    ssrcs: Vec<(&'a str, u32)>,
}

impl<'a> Answer<'a> {
    fn parse(sdp: &'a str) -> Answer<'a> {
        let mut answer = Answer::default();
        let mut mid = None;
        for line in sdp.lines() {
            if line.starts_with("m=") {
                mid = None;
            } else if let Some(value) = line.strip_prefix("a=mid:") {
                mid = Some(value);
            } else if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
                answer.ufrag.get_or_insert(value);
            } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
                answer.pwd.get_or_insert(value);
            } else if let Some(value) = line.strip_prefix("a=fingerprint:sha-256 ") {
                answer.fingerprint = fingerprint(value).or(answer.fingerprint);
            } else if let Some(value) = line.strip_prefix("a=candidate:") {
                let words: Vec<&str> = value.split(' ').collect();
                if let [_, "1", protocol, _, ip, port, "typ", "host", ..] = words[..]
                    && protocol.eq_ignore_ascii_case("udp")
                    && let (Ok(ip), Ok(port)) = (ip.parse(), port.parse())
                {
                    let candidate = SocketAddr::new(ip, port);
                    if !answer.candidates.contains(&candidate) {
                        answer.candidates.push(candidate);
                    }
                }
            } else if let (Some(value), Some(mid)) = (line.strip_prefix("a=ssrc:"), mid)
                && let Some(ssrc) = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok())
                && !answer.ssrcs.iter().any(|(known, _)| *known == mid)
            {
                answer.ssrcs.push((mid, ssrc));
            }
        }
        answer
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
    fn an_answer_is_read() {
        let print = ["0A"; 32].join(":");
        let text = format!(
            "v=0\r\nm=audio 9 X 111\r\na=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host generation 0\r\n\
             a=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 {print}\r\na=mid:0\r\na=ssrc:7 cname:x\r\n\
             m=video 9 X 96\r\na=mid:2\r\na=ssrc-group:FID 8 9\r\na=ssrc:8 cname:x\r\na=ssrc:9 cname:x\r\n"
        );
        let answer = Answer::parse(&text);
        assert_eq!((answer.ufrag, answer.pwd), (Some("u"), Some("p")));
        assert_eq!(answer.fingerprint, Some([10; 32]));
        assert_eq!(answer.candidates, ["192.0.2.1:3478".parse().unwrap()]);
        assert_eq!(answer.ssrcs, [("0", 7), ("2", 8)]);
    }
}
