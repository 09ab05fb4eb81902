//! A real handshake, then a look at each packet's header. For the many who listen in a load test.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_media::rtcp::{self, ReceptionStats, RtcpItem, SenderInfo};
use campanile_media::rtp::{self, RtpHeader};
use campanile_wire::signaling::TrackMapping;

use super::{AudioOut, EngineCounters, Offer, Output, VideoOut, Wish};
use crate::dependency;
use crate::media::{Codec, Media, PacketHeader, VideoSource};
use crate::payload::Packetizer;
use crate::transport::{PeerDescription, Received, Transport, TransportOutput, random};

const OPUS_PT: u8 = 111;
const LEVEL_EXTENSION: u8 = 1;
const MID_EXTENSION: u8 = 4;
const RID_EXTENSION: u8 = 10;
const DEPENDENCY_EXTENSION: u8 = 12;
/// How often we tell what we received and sent (RFC 3550 section 6.2 asks for five seconds at most rates; browsers take one).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between the NTP epoch (1900) and Unix's (1970) (RFC 5905).
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

/// The codecs and extensions of a browser's video section, as far as a service cares.
const VIDEO_LINES: &str = "a=rtcp-mux\r\na=rtcp-rsize\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
    a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\n\
    a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
    a=rtpmap:98 VP9/90000\r\na=rtcp-fb:98 goog-remb\r\na=rtcp-fb:98 transport-cc\r\na=rtcp-fb:98 ccm fir\r\n\
    a=rtcp-fb:98 nack\r\na=rtcp-fb:98 nack pli\r\na=fmtp:98 profile-id=0\r\n\
    a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
    a=rtpmap:45 AV1/90000\r\na=rtcp-fb:45 goog-remb\r\na=rtcp-fb:45 transport-cc\r\na=rtcp-fb:45 ccm fir\r\n\
    a=rtcp-fb:45 nack\r\na=rtcp-fb:45 nack pli\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n\
    a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n";

/// `VIDEO_LINES`, and the extension with a name of its own.
fn video_lines() -> String {
    format!("{VIDEO_LINES}a=extmap:{DEPENDENCY_EXTENSION} {}\r\n", dependency::URI)
}

/// The payload types of `VIDEO_LINES`.
const fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Vp8 => 96,
        Codec::H264 => 102,
        Codec::Vp9 => 98,
        Codec::Av1 => 45,
    }
}

struct Section {
    mid: u32,
    stream_id: u32,
    stopped: bool,
    /// From the answer.
    ssrc: Option<u32>,
}

/// One layer of our camera on its way out.
struct Outgoing {
    rid: Option<&'static str>,
    ssrc: u32,
    sequence: u16,
    packetizer: Packetizer,
    packets: u32,
    bytes: u32,
    /// RTP time of the last frame, and when that was.
    last: Option<(u32, Instant)>,
}

pub(crate) struct Light {
    transport: Transport,
    connected: bool,
    audio: bool,
    audio_ssrc: u32,
    remote_audio_ssrc: Option<u32>,
    sequence: u16,
    /// Our camera's layers; empty without a camera.
    camera: Vec<Outgoing>,
    /// The service takes dependency descriptors.
    takes_dependencies: bool,
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
}

impl Light {
    pub(super) fn new(now: Instant, local: SocketAddr, verify_one_in: u32) -> Result<Light, String> {
        Ok(Light {
            transport: Transport::new(now, local)?,
            connected: false,
            audio: false,
            audio_ssrc: u32::from_be_bytes(random()?),
            remote_audio_ssrc: None,
            sequence: u16::from_be_bytes(random()?) & 0x7fff,
            camera: Vec::new(),
            takes_dependencies: false,
            sections: Vec::new(),
            version: 0,
            reception: Vec::new(),
            report_due: None,
            verify_one_in,
            since_verified: 0,
            counters: EngineCounters::default(),
            outputs: VecDeque::new(),
        })
    }

    pub(super) fn offer(&mut self, _now: Instant, wish: &Wish<'_>) -> Option<Offer> {
        let first = self.version == 0;
        self.audio = wish.audio;
        if first {
            self.sections.push(Section { mid: 1, stream_id: 0, stopped: false, ssrc: None });
        }
        let mut changed = first | self.point_camera(wish.camera);
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

    /// Takes over the layers to send; whether they are others than before.
    fn point_camera(&mut self, source: Option<&VideoSource>) -> bool {
        let layers = source.map_or(&[][..], |source| &source.layers);
        let same = layers.iter().map(|layer| layer.rid).eq(self.camera.iter().map(|layer| layer.rid));
        if let (false, Some(source)) = (same, source) {
            let outgoing = |layer: &crate::media::VideoLayer| Outgoing {
                rid: layer.rid,
                // Without random numbers there would be no connection to send it on.
                ssrc: u32::from_be_bytes(random().unwrap_or_default()),
                sequence: 0,
                packetizer: Packetizer::new(source.codec, layer.scalability, layer.size),
                packets: 0,
                bytes: 0,
                last: None,
            };
            self.camera = layers.iter().map(outgoing).collect();
        } else if source.is_none() {
            self.camera.clear();
        }
        !same
    }

    fn write_offer(&self) -> String {
        let live = self.sections.iter().filter(|section| !section.stopped).map(|section| section.mid);
        let mids: Vec<String> =
            self.audio.then_some(0).into_iter().chain(live).map(|mid| mid.to_string()).collect();
        let (local, transport) = (self.transport.local(), self.transport.sdp_lines("actpass"));
        let ip = local.ip();
        let mut sdp = format!(
            "v=0\r\no=mozilla-campanile 1 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
            self.version,
            mids.join(" ")
        );
        if self.audio {
            let (port, ssrc) = (local.port(), self.audio_ssrc);
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
                (false, 0) if self.camera.is_empty() => (9, "inactive"),
                (false, 0) => (9, "sendrecv"),
                (false, _) => (9, "recvonly"),
            };
            let _ = write!(
                sdp,
                "m=video {port} UDP/TLS/RTP/SAVPF 96 97 102 103 98 99 45 46\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:{}\r\na={direction}\r\n{}",
                section.mid,
                video_lines()
            );
            if place == 0 {
                self.describe_camera(&mut sdp);
            }
        }
        sdp
    }

    /// Layers by their rids; a single one by its SSRC.
    fn describe_camera(&self, sdp: &mut String) {
        let rids: Vec<&str> = self.camera.iter().filter_map(|layer| layer.rid).collect();
        for rid in &rids {
            let _ = write!(sdp, "a=rid:{rid} send\r\n");
        }
        if !rids.is_empty() {
            let _ = write!(sdp, "a=simulcast:send {}\r\n", rids.join(";"));
        } else if let Some(layer) = self.camera.first() {
            let _ = write!(sdp, "a=msid:camera camera\r\na=ssrc:{} cname:campanile\r\n", layer.ssrc);
        }
    }

    pub(super) fn answer(&mut self, now: Instant, sdp: &str, _tracks: &[TrackMapping]) -> Result<(), String> {
        let answer = PeerDescription::parse(sdp);
        for (mid, ssrc) in &answer.ssrcs {
            if *mid == "0" {
                self.remote_audio_ssrc = Some(*ssrc);
            }
            if let Some(section) = self.sections.iter_mut().find(|section| section.mid.to_string() == *mid) {
                section.ssrc = Some(*ssrc);
            }
        }
        self.takes_dependencies = sdp.contains(dependency::URI);
        self.transport.accept(now, &answer)?;
        self.collect(now);
        Ok(())
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        match self.transport.receive(now, from, bytes) {
            Received::Rtp => self.rtp(now, bytes),
            Received::Rtcp if !self.camera.is_empty() => self.rtcp(bytes),
            Received::Rtcp => {}
            Received::Own => self.collect(now),
            Received::Unknown => self.counters.unknown += 1,
        }
    }

    /// What the transport has to say becomes what we have to say.
    fn collect(&mut self, now: Instant) {
        while let Some(output) = self.transport.poll() {
            self.outputs.push_back(match output {
                TransportOutput::Transmit { to, bytes } => Output::Transmit { to, bytes },
                TransportOutput::Connected => {
                    self.connected = true;
                    self.report_due = Some(now + REPORT_INTERVAL);
                    Output::Connected
                }
                TransportOutput::Failed(why) => Output::Failed(why),
            });
        }
    }

    /// Of what the service tells publishers, only the wish for a keyframe matters here: the network is a local one.
    fn rtcp(&mut self, bytes: &mut [u8]) {
        let Some(length) = self.transport.open_rtcp(bytes) else {
            self.counters.unauthentic += 1;
            return;
        };
        for item in rtcp::parse(&bytes[..length]) {
            if let Ok(RtcpItem::Pli { ssrc } | RtcpItem::Fir { ssrc, .. }) = item
                && let Some(layer) = self.camera.iter().find(|layer| layer.ssrc == ssrc)
            {
                let rid = layer.rid.map(str::to_owned);
                self.outputs.push_back(Output::KeyframeWanted { rid });
            }
        }
    }

    fn rtp(&mut self, now: Instant, bytes: &mut [u8]) {
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
            self.counters.unauthentic += u64::from(!self.transport.open_rtp(bytes, &header));
        }
        let clock_hz = if stream_id.is_none() { 48_000 } else { 90_000 };
        let place = self.reception.iter().position(|(ssrc, _)| *ssrc == header.ssrc);
        let place = place.unwrap_or_else(|| {
            self.reception.push((header.ssrc, ReceptionStats::new(header.ssrc, clock_hz)));
            self.reception.len() - 1
        });
        self.reception[place].1.record(header.sequence, header.timestamp, now);
        self.counters.described += u64::from(
            stream_id.is_some()
                && header.extension(bytes, DEPENDENCY_EXTENSION).is_some_and(|it| !it.is_empty()),
        );
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
        self.transport.handle_timeout(now);
        if self.report_due.is_some_and(|due| due <= now) {
            self.report_due = Some(now + REPORT_INTERVAL);
            self.report(now);
        }
        self.collect(now);
    }

    /// What was received, and of each of our layers what was sent.
    fn report(&mut self, now: Instant) {
        let blocks: Vec<_> = self.reception.iter_mut().filter_map(|(_, stats)| stats.report(now)).collect();
        let ssrc = self.audio_ssrc;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent = |layer: &Outgoing| {
            let (time, at) = layer.last?;
            let since = (now.saturating_duration_since(at).as_micros() * 90 / 1000) as u32;
            let ntp = rtcp::ntp(NTP_TO_UNIX + unix);
            let rtp_timestamp = time.wrapping_add(since);
            Some((layer.ssrc, SenderInfo { ntp, rtp_timestamp, packets: layer.packets, octets: layer.bytes }))
        };
        let sent: Vec<_> = self.camera.iter().filter_map(sent).collect();
        self.transport.send_rtcp(|out| {
            for (ssrc, info) in &sent {
                rtcp::sender_report(out, *ssrc, info, &[]);
            }
            rtcp::receiver_report(out, ssrc, &blocks);
            rtcp::sdes_cname(out, ssrc, "campanile");
        });
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.transport.poll_timeout().into_iter().chain(self.report_due).min()
    }

    pub(super) fn send_audio(&mut self, now: Instant, audio: AudioOut<'_>) {
        if !self.audio {
            return;
        }
        let (sequence, ssrc) = (self.sequence, self.audio_ssrc);
        let level = [audio.level_db & 0x7f | u8::from(audio.level_db < 60) << 7];
        let sent = self.transport.send_rtp(|out| {
            let extensions: [(u8, &[u8]); 1] = [(LEVEL_EXTENSION, &level)];
            rtp::write_header(out, OPUS_PT, false, sequence, audio.time as u32, ssrc, &extensions);
            out.extend_from_slice(audio.payload);
        });
        if sent {
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.collect(now);
    }

    pub(super) fn send_video(&mut self, now: Instant, video: &VideoOut) {
        let mid = self.sections.first().map(|section| section.mid.to_string()).unwrap_or_default();
        let Some(layer) = self.camera.iter_mut().find(|layer| layer.rid == video.rid) else { return };
        let (payload_type, time) = (payload_type(video.codec), video.time as u32);
        let takes_dependencies = self.takes_dependencies;
        let mut extensions: Vec<(u8, &[u8])> = vec![(MID_EXTENSION, mid.as_bytes())];
        extensions.extend(layer.rid.map(|rid| (RID_EXTENSION, rid.as_bytes())));
        for payload in layer.packetizer.packetize(&video.data) {
            let (sequence, ssrc) = (layer.sequence, layer.ssrc);
            let sent = self.transport.send_rtp(|out| {
                let dependency = Some((DEPENDENCY_EXTENSION, &payload.dependency[..]))
                    .filter(|(_, descriptor)| takes_dependencies && !descriptor.is_empty());
                let extensions: Vec<(u8, &[u8])> = extensions.iter().copied().chain(dependency).collect();
                rtp::write_header(out, payload_type, payload.marker, sequence, time, ssrc, &extensions);
                out.extend_from_slice(&payload.bytes);
            });
            if sent {
                layer.sequence = layer.sequence.wrapping_add(1);
                layer.packets = layer.packets.wrapping_add(1);
                layer.bytes = layer.bytes.wrapping_add(payload.bytes.len() as u32);
            }
        }
        layer.last = Some((time, now));
        self.collect(now);
    }

    pub(super) fn request_keyframe(&mut self, now: Instant, stream_id: u32) {
        let section = self.sections.iter().find(|section| section.stream_id == stream_id);
        let (Some(media_ssrc), ssrc) = (section.and_then(|section| section.ssrc), self.audio_ssrc) else {
            return;
        };
        self.transport.send_rtcp(|out| {
            rtcp::receiver_report(out, ssrc, &[]);
            rtcp::pli(out, ssrc, media_ssrc);
        });
        self.collect(now);
    }

    pub(super) fn counters(&self) -> EngineCounters {
        self.counters
    }
}
