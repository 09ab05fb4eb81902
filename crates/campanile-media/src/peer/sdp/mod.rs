//! Session descriptions: reads the client's offer, writes our answer.
//!
//! An [`Offer`] is what a stranger sent, checked once and bounded everywhere. [`answer`] says yes or no to each of its
//! sections, given a [`Role`] for each, and tells what was agreed as [`Negotiated`]. Who plays which role, and which
//! SSRCs are ours, is the caller's to decide, and to keep the same for a mid from one answer to the next: clients drop
//! a tile whose msid or SSRC changes.
//!
//! Campanile is always the answerer, ICE-lite, the DTLS server, and has one transport per attendee (BUNDLE, RFC 8843).
//! A section that cannot share that transport is answered port 0. Sections are known by their mid, never by their
//! place: clients recycle places.
//!
//! An offer whose profile is bare RTP (`RTP/AVP`) gets a bare answer: no ICE, no DTLS, one address for everything.
//! That is for simulators and gateways inside the operator's network. It has no encryption and no proof of address, so
//! whoever accepts [`OfferTransport::Plain`] from outside lets strangers aim media at third parties.

mod answer;
mod offer;
mod plain_offer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

pub use answer::{Answer, Candidates, Extensions, LocalTransport, Negotiated, NegotiatedCodec, Role, answer};
pub use plain_offer::{PlainSection, plain_offer};

/// Longest offer read, in bytes. Chrome spends about 5 KiB on each subscribed source, so this has room for some 100.
pub const OFFER_BYTES_MAX: usize = 512 * 1024;
/// Most lines read: what fills [`OFFER_BYTES_MAX`] at the length Chrome's lines have (about 30 bytes).
pub const OFFER_LINES_MAX: usize = 20_000;
/// Longest line read, in bytes: a BUNDLE group naming [`SECTIONS_MAX`] mids is the longest honest one.
pub const LINE_BYTES_MAX: usize = 4096;
/// Most m-sections: audio, camera, 25 subscribed videos, a few content shares, and stopped ones not yet recycled.
pub const SECTIONS_MAX: usize = 128;
/// Longest mid and rid, in bytes: what a one-byte RTP header extension can carry (RFC 8285 section 4.2).
pub const MID_BYTES_MAX: usize = 16;
/// Most rids in a section. Clients send three simulcast layers; nobody has found a use for more than a few.
pub const RIDS_MAX: usize = 8;
/// Most SSRCs in a section: three layers, each with its rtx, twice over.
pub const SSRCS_MAX: usize = 16;
/// Most header extensions in a section. Browsers offer about a dozen.
pub const EXTENSIONS_MAX: usize = 32;
/// Longest format parameters (`a=fmtp`) of a codec, in bytes. Real ones stay below 200; they are echoed in the answer.
pub const FMTP_BYTES_MAX: usize = 512;

/// Why an offer was not understood. It names the line (counted from 1) and the rule, never the line's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More bytes than [`OFFER_BYTES_MAX`].
    #[error("the offer is {bytes} bytes long; at most {OFFER_BYTES_MAX} are read")]
    TooLong {
        /// How long it was.
        bytes: usize,
    },
    /// More of something than is kept.
    #[error("line {line}: more than {max} {what}")]
    TooMany {
        /// Where the first one too many stands.
        line: usize,
        /// Of what.
        what: &'static str,
        /// How many are kept.
        max: usize,
    },
    /// A line that breaks its grammar.
    #[error("line {line}: bad {what}")]
    Malformed {
        /// Where it stands.
        line: usize,
        /// What could not be read.
        what: &'static str,
    },
    /// Something that may be said only once, said again.
    #[error("line {line}: {what} given twice")]
    Duplicate {
        /// Where the second one stands.
        line: usize,
        /// Of what.
        what: &'static str,
    },
    /// Something an offer, or the m-section beginning on `line`, cannot go without.
    #[error("line {line}: no {what}")]
    Missing {
        /// Where the section begins; 1 for the offer as a whole.
        line: usize,
        /// What is not there.
        what: &'static str,
    },
    /// A certificate fingerprint, but none by SHA-256.
    #[error("line {line}: the fingerprint must be by sha-256")]
    UnsupportedFingerprint {
        /// Where the fingerprint stands.
        line: usize,
    },
    /// The offerer does not want to be the DTLS client (RFC 5763 section 5): we are always the server.
    #[error("line {line}: setup must be actpass or active")]
    UnsupportedSetup {
        /// Where the setup attribute stands.
        line: usize,
    },
    /// Both secure and bare RTP in one offer.
    #[error("line {line}: secure and bare RTP in one offer")]
    MixedTransports {
        /// Where the section begins.
        line: usize,
    },
}

/// A parsed offer: how to reach the offerer, and its sections in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The one transport all accepted sections share.
    pub transport: OfferTransport,
    /// Every m-section, in the offer's order, also rejected and unusable ones. At most [`SECTIONS_MAX`].
    pub sections: Vec<Section>,
    /// Mids of the sections in use in the BUNDLE group, in its order; empty without a group, and in plain offers.
    bundle: Vec<String>,
    /// Whether one- and two-byte header extensions may be mixed (RFC 8285 section 6), said for the whole session.
    extmap_allow_mixed: bool,
}

/// How the offerer is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum OfferTransport {
    /// ICE, DTLS and SRTP. Candidates are not kept: an ICE-lite answerer learns addresses from connectivity checks.
    WebRtc {
        /// The offerer's ICE user name fragment.
        ufrag: String,
        /// The offerer's ICE password.
        pwd: String,
        /// SHA-256 of the certificate the offerer will show in DTLS.
        fingerprint: [u8; 32],
    },
    /// Bare RTP to one address.
    Plain {
        /// From the c= line and the port of the first section in use.
        addr: SocketAddr,
    },
}

impl fmt::Debug for OfferTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebRtc { ufrag, .. } => f
                .debug_struct("WebRtc")
                .field("ufrag", ufrag)
                .field("pwd", &"<redacted>")
                .finish_non_exhaustive(),
            Self::Plain { addr } => f.debug_struct("Plain").field("addr", addr).finish(),
        }
    }
}

/// One m-section of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the section carries.
    pub kind: SectionKind,
    /// The section's name (RFC 5888). Unique among sections in use; may be empty in a rejected or a plain one.
    pub mid: String,
    /// Offered as stopped: port 0, and not merely bundle-only (RFC 8843 section 6).
    pub rejected: bool,
    /// Whether the section can share the offer's one transport. What cannot is answered port 0.
    pub shares_transport: bool,
    /// Which way media flows, as the offerer sees it.
    pub direction: Direction,
    /// Codecs in the offer's order. Retransmission is no codec here but a codec's `rtx_pt`.
    pub codecs: Vec<OfferedCodec>,
    /// Header extensions in the offer's order; ids are unique within the section.
    pub extensions: Vec<OfferedExtension>,
    /// Restriction ids the offerer would send (RFC 8851), in the offer's order.
    pub rids: Vec<String>,
    /// Simulcast streams the offerer would send (RFC 8853), in the offer's order; all are among `rids`.
    pub simulcast: Vec<SimulcastRid>,
    /// SSRCs the offerer announced, in the offer's order, without repetition.
    pub ssrcs: Vec<u32>,
    /// FID groups: a stream's SSRC and its retransmissions' (RFC 4588).
    pub rtx_pairs: Vec<(u32, u32)>,
    /// The m-line's media and profile, and the first of its formats: what an answer must repeat.
    media: String,
    profile: String,
    first_format: String,
    rtcp_mux: bool,
    rtcp_reduced_size: bool,
    extmap_allow_mixed: bool,
}

/// What an m-section carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `m=audio` over RTP.
    Audio,
    /// `m=video` over RTP.
    Video,
    /// Anything else (data channels, text): always answered port 0.
    Other,
}

/// Which way media flows, as the writer of the description sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the writer only.
    SendOnly,
    /// To the writer only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Made of its two halves.
    pub const fn new(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Whether the writer would send.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the writer would receive.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same, as the other side sees it.
    pub const fn reversed(self) -> Direction {
        Direction::new(self.receives(), self.sends())
    }

    fn from_name(name: &str) -> Option<Direction> {
        Some(match name {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            "inactive" => Direction::Inactive,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// A codec, with what tells two of one name apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Opus at 48 kHz (RFC 7587).
    Opus,
    /// Redundant audio or video (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9 {
        /// `profile-id`, 0 when not given.
        profile: u8,
    },
    /// H.264 (RFC 6184), packetization modes 0 and 1 only.
    H264 {
        /// Three bytes: profile_idc, constraint flags, level_idc.
        profile_level_id: u32,
        /// 0 single NAL unit, 1 non-interleaved.
        packetization_mode: u8,
    },
    /// AV1, main profile.
    Av1,
    /// Something campanile does not know.
    Other,
}

/// The H.264 profiles clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum H264Profile {
    /// Baseline without the tools Main lacks: what every browser decodes.
    ConstrainedBaseline,
    /// Baseline.
    Baseline,
    /// Main.
    Main,
    /// High without interlacing and B slices.
    ConstrainedHigh,
    /// High.
    High,
}

impl Codec {
    /// The H.264 profile, from `profile_level_id` by the patterns of RFC 6184 section 8.1, table 5; `None` for other
    /// codecs and for profiles clients cannot name.
    pub const fn h264_profile(self) -> Option<H264Profile> {
        let Codec::H264 { profile_level_id, .. } = self else { return None };
        let (profile_idc, constraints) = ((profile_level_id >> 16) as u8, (profile_level_id >> 8) as u8);
        // The low four constraint bits are reserved in the baseline family and must be zero there.
        Some(match (profile_idc, constraints) {
            (0x42, c) if c & 0b0100_1111 == 0b0100_0000 => H264Profile::ConstrainedBaseline,
            (0x4D, c) if c & 0b1000_1111 == 0b1000_0000 => H264Profile::ConstrainedBaseline,
            (0x58, c) if c & 0b1100_1111 == 0b1100_0000 => H264Profile::ConstrainedBaseline,
            (0x42, c) if c & 0b0100_1111 == 0 => H264Profile::Baseline,
            (0x58, c) if c & 0b1100_1111 == 0b1000_0000 => H264Profile::Baseline,
            (0x4D, c) if c & 0b1010_1111 == 0 => H264Profile::Main,
            (0x64, 0) => H264Profile::High,
            (0x64, 0b0000_1100) => H264Profile::ConstrainedHigh,
            _ => return None,
        })
    }

    /// Whether the two may carry the same stream: equal but for H.264's level, which either side may exceed
    /// (`level-asymmetry-allowed`).
    pub fn is_same_format(self, other: Codec) -> bool {
        match (self, other) {
            (
                Codec::H264 { packetization_mode: a, profile_level_id: p },
                Codec::H264 { packetization_mode: b, profile_level_id: q },
            ) => {
                a == b
                    && (p >> 8 == q >> 8
                        || self.h264_profile().is_some_and(|p| other.h264_profile() == Some(p)))
            }
            _ => self == other,
        }
    }
}

/// A codec as offered in one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedCodec {
    /// RTP payload type, 0 to 127, unique within the section.
    pub pt: u8,
    /// Which codec.
    pub codec: Codec,
    /// RTP clock, in Hz; 0 when the offer left a static payload type unexplained.
    pub clock_rate_hz: u32,
    /// Audio channels; 1 when not said, and for video.
    pub channels: u8,
    /// Format parameters, exactly as offered.
    pub fmtp: Option<String>,
    /// RTCP feedback offered for the codec, without what campanile does not know.
    pub feedback: Vec<Feedback>,
    /// Payload type of the codec's retransmissions (RFC 4588).
    pub rtx_pt: Option<u8>,
}

/// A header extension as offered (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedExtension {
    /// 1 to 255.
    pub id: u8,
    /// Which way the extension may be used, as the offerer sees it.
    pub direction: Direction,
    /// What the extension means.
    pub uri: String,
}

/// A simulcast stream the offerer would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulcastRid {
    /// The stream's name on the wire.
    pub rid: String,
    /// Whether it starts paused (`~`). An answer without the `~` makes Chrome switch the layer on.
    pub paused: bool,
}

impl fmt::Display for SimulcastRid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.paused { "~" } else { "" }, self.rid)
    }
}

/// RTCP feedback campanile knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// `transport-cc`: arrival times by transport-wide sequence number.
    TransportCc,
    /// `goog-remb`: the receiver's own estimate.
    GoogRemb,
    /// `nack` (RFC 4585).
    Nack,
    /// `nack pli` (RFC 4585).
    NackPli,
    /// `ccm fir` (RFC 5104).
    CcmFir,
}

impl Feedback {
    fn from_name(name: &str) -> Option<Feedback> {
        Some(match name {
            "transport-cc" => Feedback::TransportCc,
            "goog-remb" => Feedback::GoogRemb,
            "nack" => Feedback::Nack,
            "nack pli" => Feedback::NackPli,
            "ccm fir" => Feedback::CcmFir,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Feedback::TransportCc => "transport-cc",
            Feedback::GoogRemb => "goog-remb",
            Feedback::Nack => "nack",
            Feedback::NackPli => "nack pli",
            Feedback::CcmFir => "ccm fir",
        }
    }
}

/// URIs of the header extensions campanile understands.
mod uri {
    pub(super) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    pub(super) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    pub(super) const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    pub(super) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    pub(super) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    pub(super) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    pub(super) const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    pub(super) const LAYERS_ALLOCATION: &str =
        "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00";
    pub(super) const DEPENDENCY_DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
}

/// Whether an answer asks its reader to send nothing while there is nothing to say (DTX, RFC 7587 section 6.1).
pub fn asks_for_dtx(answer: &str) -> bool {
    let parameters = answer.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
    parameters.into_iter().any(|(_, fmtp)| fmtp_parameter(fmtp, "usedtx") == Some("1"))
}

/// The value of one of `name=value;...` format parameters; names are compared without regard to case.
fn fmtp_parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What mutation testing and libFuzzer call.
pub mod fuzz {
    use super::{LocalTransport, Offer, Role, answer};

    /// Reads any bytes as an offer and, when it is one, answers it in every role: the answer must have as many
    /// m-sections as the offer and only CRLF line ends.
    pub fn sdp(data: &[u8]) {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let Ok(offer) = Offer::parse(text) else { return };
        offer.decodable_video_codecs();
        let candidate = std::net::SocketAddr::from(([192, 0, 2, 1], 7000));
        let local = LocalTransport {
            ufrag: "ufragufrag",
            pwd: "passwordpasswordpassword",
            fingerprint: &[7; 32],
            candidates: super::Candidates { udp: Some(candidate), tcp: Some(candidate) },
        };
        let roles = [
            Role::Audio { ssrc: 1, dtx: true },
            Role::Inactive,
            Role::ReceiveVideo { both_ways: true },
            Role::SendVideo { ssrc: 2, rtx_ssrc: 3 },
        ];
        for role in roles {
            let answer = answer(&offer, &local, |_| role, "cname");
            assert_eq!(answer.sections.len(), offer.sections.len());
            assert_eq!(answer.text.matches("\r\nm=").count(), offer.sections.len());
            assert!(answer.text.ends_with("\r\n"));
            assert_eq!(answer.text.matches('\r').count(), answer.text.matches("\r\n").count());
            assert_eq!(answer.text.matches('\n').count(), answer.text.matches("\r\n").count());
        }
    }
}
