//! Writes plain offers, for the simulator's attendees and other bots: what a browser would offer, without ICE and DTLS.

use std::net::SocketAddr;

use super::answer::{Lines, address_family, rtpmap_name};
use super::{Codec, Direction, SectionKind, SimulcastRid, uri};

/// One section of a plain offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainSection {
    /// Audio or video; nothing else is written.
    pub kind: SectionKind,
    /// The section's name: a token of at most [`super::MID_BYTES_MAX`] bytes.
    pub mid: String,
    /// Which way media flows, as the offerer sees it.
    pub direction: Direction,
    /// Simulcast streams to send, in order; empty without simulcast.
    pub rids: Vec<SimulcastRid>,
    /// Stopped: port 0.
    pub rejected: bool,
    /// SSRC the offerer will send with, announced when given. Its retransmissions use [`PlainSection::rtx_ssrc`].
    pub ssrc: Option<u32>,
    /// SSRC of retransmissions, announced together with `ssrc`.
    pub rtx_ssrc: Option<u32>,
}

impl PlainSection {
    /// A section without simulcast or announced SSRCs.
    pub fn new(kind: SectionKind, mid: impl Into<String>, direction: Direction) -> PlainSection {
        let mid = mid.into();
        PlainSection { kind, mid, direction, rids: Vec::new(), rejected: false, ssrc: None, rtx_ssrc: None }
    }
}

const AUDIO_EXTENSIONS: &[(u8, &str)] =
    &[(1, uri::AUDIO_LEVEL), (2, uri::ABS_SEND_TIME), (3, uri::TRANSPORT_CC), (4, uri::MID)];
const VIDEO_EXTENSIONS: &[(u8, &str)] = &[
    (2, uri::ABS_SEND_TIME),
    (13, uri::VIDEO_ORIENTATION),
    (3, uri::TRANSPORT_CC),
    (4, uri::MID),
    (10, uri::RID),
    (11, uri::REPAIRED_RID),
    (9, uri::LAYERS_ALLOCATION),
    (12, uri::DEPENDENCY_DESCRIPTOR),
];
/// Constrained Baseline at level 3.1, what every browser decodes.
const H264: Codec = Codec::H264 { profile_level_id: 0x42_E0_1F, packetization_mode: 1 };

/// An offer of bare RTP at `addr` for all sections: Opus as 111; VP8 as 96, H.264 as 102, VP9 as 98 and AV1 as 45, each with
/// rtx one above; header extensions under the ids Chrome gives them.
pub fn plain_offer(addr: SocketAddr, sections: &[PlainSection]) -> String {
    let mut lines = Lines { text: String::with_capacity(256 + 1024 * sections.len()) };
    let (ip, family) = (addr.ip(), address_family(addr.ip()));
    lines.put("v=0");
    lines.put(format_args!("o=- 0 0 IN {family} {ip}"));
    lines.put("s=-");
    lines.put(format_args!("c=IN {family} {ip}"));
    lines.put("t=0 0");
    for section in sections {
        let port = if section.rejected { 0 } else { addr.port() };
        let is_audio = section.kind == SectionKind::Audio;
        let (media, formats) =
            if is_audio { ("audio", "111") } else { ("video", "96 97 102 103 98 99 45 46") };
        lines.put(format_args!("m={media} {port} RTP/AVP {formats}"));
        lines.put(format_args!("a=mid:{}", section.mid));
        for (id, uri) in if is_audio { AUDIO_EXTENSIONS } else { VIDEO_EXTENSIONS } {
            lines.put(format_args!("a=extmap:{id} {uri}"));
        }
        lines.put(format_args!("a={}", section.direction.name()));
        lines.put("a=rtcp-mux");
        lines.put("a=rtcp-rsize");
        if is_audio {
            lines.put(format_args!("a=rtpmap:111 {}", rtpmap_name(Codec::Opus)));
            lines.put("a=rtcp-fb:111 transport-cc");
            lines.put("a=fmtp:111 minptime=10;useinbandfec=1");
        } else {
            video_codec(&mut lines, 96, Codec::Vp8, "x-google-start-bitrate=1000");
            let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f;\
                        x-google-start-bitrate=1000";
            video_codec(&mut lines, 102, H264, fmtp);
            video_codec(&mut lines, 98, Codec::Vp9 { profile: 0 }, "profile-id=0");
            video_codec(&mut lines, 45, Codec::Av1, "level-idx=5;profile=0;tier=0");
        }
        for SimulcastRid { rid, .. } in &section.rids {
            lines.put(format_args!("a=rid:{rid} send"));
        }
        if !section.rids.is_empty() {
            let streams: Vec<String> = section.rids.iter().map(SimulcastRid::to_string).collect();
            lines.put(format_args!("a=simulcast:send {}", streams.join(";")));
        }
        if let Some(ssrc) = section.ssrc {
            lines.ssrcs(ssrc, section.rtx_ssrc, "bot");
        }
    }
    lines.text
}

/// A codec, its feedback and, one payload type up, its retransmissions.
fn video_codec(lines: &mut Lines, pt: u8, codec: Codec, fmtp: &str) {
    lines.put(format_args!("a=rtpmap:{pt} {}", rtpmap_name(codec)));
    for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
        lines.put(format_args!("a=rtcp-fb:{pt} {feedback}"));
    }
    lines.put(format_args!("a=fmtp:{pt} {fmtp}"));
    lines.put(format_args!("a=rtpmap:{} rtx/90000", pt + 1));
    lines.put(format_args!("a=fmtp:{} apt={pt}", pt + 1));
}
