//! Writes the answer: which sections, codecs and extensions we take, in the words clients need to hear.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Codec, Direction, Feedback, Offer, OfferTransport, OfferedCodec, OfferedExtension, Section, SectionKind,
    SimulcastRid, uri,
};

/// Our end of the transport. It must stay the same in every answer to one client: clients never restart ICE.
#[derive(Clone, Copy)]
pub struct LocalTransport<'a> {
    /// Our ICE user name fragment. Not used in a plain answer, nor are the other two secrets of WebRTC.
    pub ufrag: &'a str,
    /// Our ICE password.
    pub pwd: &'a str,
    /// SHA-256 of the certificate we show in DTLS.
    pub fingerprint: &'a [u8; 32],
    /// Where we are reached.
    pub candidates: Candidates,
}

/// Where we are reached, as the client sees it; one of them at least, or nobody is ever connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Candidates {
    /// Over UDP.
    pub udp: Option<SocketAddr>,
    /// Where we accept TCP (RFC 6544).
    pub tcp: Option<SocketAddr>,
}

impl Candidates {
    /// What stands in the m-line, which clients read no more.
    fn default_address(&self) -> Option<SocketAddr> {
        self.udp.or(self.tcp)
    }
}

impl fmt::Debug for LocalTransport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTransport")
            .field("ufrag", &self.ufrag)
            .field("pwd", &"<redacted>")
            .field("candidates", &self.candidates)
            .finish_non_exhaustive()
    }
}

/// What we do with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Take the attendee's microphone and send the mix.
    Audio {
        /// The mix's SSRC.
        ssrc: u32,
        /// Ask the client to send nothing while there is nothing to say (DTX: `usedtx`, RFC 7587 section 6.1).
        dtx: bool,
    },
    /// Nothing for now: a camera that is off, a subscription to a stream that is gone.
    Inactive,
    /// Take the attendee's camera or content share.
    ReceiveVideo {
        /// Say that we could send too, though nothing ever comes. Clients read their codec preferences only from a
        /// section answered so; but Firefox takes what comes under an SSRC that it does not know yet for this section's,
        /// if no other has its payload type, and then never shows it. Whoever is not told so is to send VP8, which all
        /// decode: told what others decode, it would not switch.
        both_ways: bool,
    },
    /// Send a source the attendee has subscribed to.
    SendVideo {
        /// The video's SSRC.
        ssrc: u32,
        /// Its retransmissions' SSRC; announced only when the section has retransmission.
        rtx_ssrc: u32,
    },
}

/// The answer and what it agreed to.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The session description, with CRLF line ends. Holds the ICE password: never log it.
    pub text: String,
    /// One for each section of the offer, in its order.
    pub sections: Vec<Negotiated>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("text", &"<redacted>").field("sections", &self.sections).finish()
    }
}

/// What was agreed for one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The section's name.
    pub mid: String,
    /// What it carries.
    pub kind: SectionKind,
    /// Answered port 0; everything below is then empty.
    pub rejected: bool,
    /// Which way media flows, as **we** see it.
    pub direction: Direction,
    /// Codecs agreed on, in the offer's order. Send no payload type that is not here.
    pub codecs: Vec<NegotiatedCodec>,
    /// Header extensions agreed on.
    pub extensions: Extensions,
    /// Restriction ids the attendee may send with, in the offer's order.
    pub rids: Vec<String>,
}

/// A codec agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// RTP payload type.
    pub pt: u8,
    /// Payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
    /// Which codec.
    pub codec: Codec,
    /// Format parameters as answered.
    pub fmtp: Option<String>,
}

/// Ids of the header extensions agreed on, 1 to 14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Loudness of an audio packet (RFC 6464).
    pub audio_level: Option<u8>,
    /// When the packet left the sender.
    pub abs_send_time: Option<u8>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u8>,
    /// The section a packet belongs to (RFC 8843 section 15).
    pub mid: Option<u8>,
    /// The simulcast stream a packet belongs to (RFC 8852).
    pub rid: Option<u8>,
    /// The simulcast stream a retransmission belongs to (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// Which way up the camera is (3GPP TS 26.114 section 7.4.5).
    pub video_orientation: Option<u8>,
    /// Which of its layers the attendee is sending, in the section where it sends.
    pub layers_allocation: Option<u8>,
    /// What a frame is needed for, and what it needs (AV1 RTP specification, appendix A), whatever its codec.
    pub dependency_descriptor: Option<u8>,
}

impl Extensions {
    /// The place of an extension; `None` for those campanile does not take. Taking an extension promises to act on it:
    /// a client that has the layers allocation, say, stops announcing layers by signaling.
    fn place(&mut self, uri: &str) -> Option<&mut Option<u8>> {
        Some(match uri {
            uri::AUDIO_LEVEL => &mut self.audio_level,
            uri::ABS_SEND_TIME => &mut self.abs_send_time,
            uri::TRANSPORT_CC => &mut self.transport_cc,
            uri::MID => &mut self.mid,
            uri::RID => &mut self.rid,
            uri::REPAIRED_RID => &mut self.repaired_rid,
            uri::VIDEO_ORIENTATION => &mut self.video_orientation,
            uri::LAYERS_ALLOCATION => &mut self.layers_allocation,
            uri::DEPENDENCY_DESCRIPTOR => &mut self.dependency_descriptor,
            _ => return None,
        })
    }
}

/// Answers an offer, asking `role_of` for the role of each section that is not rejected. A role that does not fit what
/// the section offers (video in an audio section, sending where only sending is offered) comes down to the part that
/// does, at least to inactive. `cname` names us in RTCP and must be the same in all answers to a client.
///
/// Transport-wide feedback and REMB are both taken: a client that can gives the former.
pub fn answer(
    offer: &Offer,
    local: &LocalTransport<'_>,
    mut role_of: impl FnMut(&Section) -> Role,
    cname: &str,
) -> Answer {
    let sections: Vec<(Negotiated, Role)> = offer
        .sections
        .iter()
        .map(|section| {
            let role = if section.shares_transport { role_of(section) } else { Role::Inactive };
            (negotiate(section, role), role)
        })
        .collect();

    // Whoever is first in the BUNDLE group carries the transport's candidates (RFC 8843 section 7.3.1).
    let is_taken = |mid: &str| sections.iter().any(|(s, _)| s.mid == mid && !s.rejected);
    let bundle: Vec<&str> = offer.bundle.iter().map(String::as_str).filter(|mid| is_taken(mid)).collect();
    let tagged = bundle.first().copied();
    let tagged = tagged.or_else(|| sections.iter().find(|(s, _)| !s.rejected).map(|(s, _)| s.mid.as_str()));

    let mut lines = Lines { text: String::with_capacity(512 + 4096 * offer.sections.len()) };
    let is_plain = matches!(offer.transport, OfferTransport::Plain { .. });
    lines.put("v=0");
    lines.put("o=- 0 0 IN IP4 127.0.0.1");
    lines.put("s=-");
    lines.put("t=0 0");
    if !bundle.is_empty() {
        lines.put(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
    }
    if offer.extmap_allow_mixed {
        lines.put("a=extmap-allow-mixed");
    }
    if !is_plain {
        lines.put("a=msid-semantic: WMS *");
        lines.put("a=ice-lite");
    }
    for (section, (negotiated, role)) in offer.sections.iter().zip(&sections) {
        if negotiated.rejected {
            lines.rejected(section);
            continue;
        }
        let is_tagged = tagged == Some(negotiated.mid.as_str());
        lines.media(
            section,
            negotiated,
            if is_tagged || is_plain { local.candidates.default_address() } else { None },
        );
        if !is_plain {
            lines.transport(local, is_tagged);
        }
        lines.description(section, negotiated, *role, cname);
    }
    Answer { text: lines.text, sections: sections.into_iter().map(|(negotiated, _)| negotiated).collect() }
}

/// What we agree to in a section.
fn negotiate(section: &Section, role: Role) -> Negotiated {
    let mut taken: Vec<&OfferedCodec> =
        section.codecs.iter().filter(|codec| is_taken(section.kind, codec)).collect();
    if section.kind == SectionKind::Audio {
        // One Opus is enough, and the first is the one preferred.
        taken.truncate(1);
        // Clients send redundant audio only when it comes first.
        let red = taken.first().and_then(|opus| red_of(section, opus.pt));
        taken.splice(0..0, red);
    }
    let mut negotiated = Negotiated {
        mid: section.mid.clone(),
        kind: section.kind,
        rejected: !section.shares_transport || taken.is_empty(),
        direction: Direction::Inactive,
        codecs: Vec::new(),
        extensions: Extensions::default(),
        rids: Vec::new(),
    };
    if negotiated.rejected {
        return negotiated;
    }
    let (we_send, we_receive) = match (section.kind, role) {
        (SectionKind::Audio, Role::Audio { .. }) => (true, true),
        (SectionKind::Video, Role::ReceiveVideo { both_ways }) => {
            (both_ways && section.direction == Direction::SendRecv, true)
        }
        (SectionKind::Video, Role::SendVideo { .. }) => (true, false),
        _ => (false, false),
    };
    negotiated.direction =
        Direction::new(we_send && section.direction.receives(), we_receive && section.direction.sends());
    for offered in taken {
        negotiated.codecs.push(NegotiatedCodec {
            pt: offered.pt,
            rtx_pt: offered.rtx_pt.filter(|pt| is_usable_pt(*pt)),
            codec: offered.codec,
            fmtp: answered_fmtp(offered, role),
        });
    }
    if role == (Role::ReceiveVideo { both_ways: false }) {
        negotiated.codecs.sort_by_key(|codec| codec.codec != Codec::Vp8);
    }
    for extension in &section.extensions {
        if takes_extension(section, role, extension)
            && let Some(place) = negotiated.extensions.place(&extension.uri)
        {
            place.get_or_insert(extension.id);
        }
    }
    // Also while the camera is off: Chrome disables for good what an answer leaves out, and its next offer would come
    // with every layer paused.
    if section.kind == SectionKind::Video && !is_downlink(section, role) {
        negotiated.rids.clone_from(&section.rids);
    }
    negotiated
}

/// The redundant audio (RFC 2198) offered for this Opus, if any: its format parameters list what may be in a packet.
fn red_of(section: &Section, opus_pt: u8) -> Option<&OfferedCodec> {
    let is_of_opus = |fmtp: &str| fmtp.split('/').all(|pt| pt.trim().parse() == Ok(opus_pt));
    section.codecs.iter().find(|offered| {
        offered.codec == Codec::Red
            && is_usable_pt(offered.pt)
            && offered.fmtp.as_deref().is_some_and(is_of_opus)
    })
}

/// Whether campanile handles a codec offered in a section of this kind by itself.
fn is_taken(kind: SectionKind, offered: &OfferedCodec) -> bool {
    is_usable_pt(offered.pt)
        && match kind {
            SectionKind::Audio => offered.codec == Codec::Opus,
            SectionKind::Video => matches!(
                offered.codec,
                Codec::Vp8 | Codec::H264 { .. } | Codec::Vp9 { profile: 0 } | Codec::Av1
            ),
            SectionKind::Other => false,
        }
}

/// With RTP and RTCP on one port, these payload types would read as RTCP packet types (RFC 5761 section 4).
fn is_usable_pt(pt: u8) -> bool {
    !(64..=95).contains(&pt)
}

/// Whether this is a section in which we might send video: such a section keeps its extensions while it has nothing
/// to send.
fn is_downlink(section: &Section, role: Role) -> bool {
    section.kind == SectionKind::Video
        && (matches!(role, Role::SendVideo { .. }) || section.direction == Direction::RecvOnly)
}

fn takes_extension(section: &Section, role: Role, extension: &OfferedExtension) -> bool {
    let is_for_other_kind = match section.kind {
        SectionKind::Audio => {
            matches!(
                extension.uri.as_str(),
                uri::RID
                    | uri::REPAIRED_RID
                    | uri::VIDEO_ORIENTATION
                    | uri::LAYERS_ALLOCATION
                    | uri::DEPENDENCY_DESCRIPTOR
            )
        }
        _ => extension.uri == uri::AUDIO_LEVEL,
    };
    // We write one-byte headers, which have room for ids 1 to 14 (RFC 8285 section 4.2).
    (1..=14).contains(&extension.id)
        && extension.direction != Direction::Inactive
        && !is_for_other_kind
        && !(extension.uri == uri::LAYERS_ALLOCATION && is_downlink(section, role))
}

/// Chrome begins sending video at this bitrate only when the answer says so.
const START_BITRATE: &str = "x-google-start-bitrate=1000";

/// The format parameters to answer with. Clients compare them with their own letter by letter, apart from the start
/// bitrate and what a receiver may wish of Opus, so they go back exactly as they came.
pub(super) fn answered_fmtp(offered: &OfferedCodec, role: Role) -> Option<String> {
    match (offered.codec, offered.fmtp.as_deref()) {
        (Codec::Opus, fmtp) => {
            // Clients add their audio profile to this line, and only where there is one.
            let fmtp = fmtp.filter(|fmtp| !fmtp.is_empty()).unwrap_or("minptime=10;useinbandfec=1");
            let says = super::fmtp_parameter(fmtp, "usedtx").is_some();
            let asks = matches!(role, Role::Audio { dtx: true, .. }) && !says;
            Some(if asks { format!("{};usedtx=1", fmtp.trim_end_matches(';')) } else { fmtp.to_owned() })
        }
        // With a line, a client sending AV1 subscribes again on every index.
        (Codec::Av1, _) => None,
        (Codec::Vp8 | Codec::Vp9 { .. } | Codec::H264 { .. }, fmtp) => Some(match fmtp {
            None | Some("") => START_BITRATE.to_owned(),
            Some(fmtp) if super::fmtp_parameter(fmtp, "x-google-start-bitrate").is_some() => fmtp.to_owned(),
            Some(fmtp) => format!("{};{START_BITRATE}", fmtp.trim_end_matches(';')),
        }),
        (_, fmtp) => fmtp.map(str::to_owned),
    }
}

/// The text being written, line by line.
pub(super) struct Lines {
    pub(super) text: String,
}

impl Lines {
    pub(super) fn put(&mut self, line: impl fmt::Display) {
        write!(self.text, "{line}\r\n").expect("writing to a String cannot fail");
    }

    fn put_connection(&mut self, ip: IpAddr) {
        self.put(format_args!("c=IN {} {ip}", address_family(ip)));
    }

    /// A section we do not take: port 0 and no transport (RFC 9429 section 5.3.1).
    fn rejected(&mut self, section: &Section) {
        self.put(format_args!("m={} 0 {} {}", section.media, section.profile, section.first_format));
        self.put_connection(Ipv4Addr::UNSPECIFIED.into());
        if !section.mid.is_empty() {
            self.put(format_args!("a=mid:{}", section.mid));
        }
        self.put("a=inactive");
    }

    /// The m-line and the default address: ours where this section speaks for the transport, port 9 elsewhere.
    fn media(&mut self, section: &Section, negotiated: &Negotiated, addr: Option<SocketAddr>) {
        let port = addr.map_or(9, |addr| addr.port());
        let ip = addr.map_or(Ipv4Addr::UNSPECIFIED.into(), |addr| addr.ip());
        write!(self.text, "m={} {port} {}", section.media, section.profile).expect("a String");
        for codec in &negotiated.codecs {
            for pt in std::iter::once(codec.pt).chain(codec.rtx_pt) {
                write!(self.text, " {pt}").expect("a String");
            }
        }
        self.put("");
        self.put_connection(ip);
        if section.rtcp_mux && addr.is_some() {
            self.put(format_args!("a=rtcp:{port} IN {} {ip}", address_family(ip)));
        }
    }

    /// ICE and DTLS. Candidates are `host` whatever they are: clients strike out the others.
    fn transport(&mut self, local: &LocalTransport<'_>, is_tagged: bool) {
        if is_tagged {
            // Priorities by RFC 8445 section 5.1.2.1, TCP lowered as RFC 6544 section 4.2 asks.
            if let Some(udp) = local.candidates.udp {
                let (ip, port) = (udp.ip(), udp.port());
                self.put(format_args!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host generation 0"));
            }
            if let Some(tcp) = local.candidates.tcp {
                let (ip, port) = (tcp.ip(), tcp.port());
                self.put(format_args!(
                    "a=candidate:2 1 tcp 1015021823 {ip} {port} typ host tcptype passive generation 0"
                ));
            }
            self.put("a=end-of-candidates");
        }
        self.put(format_args!("a=ice-ufrag:{}", local.ufrag));
        self.put(format_args!("a=ice-pwd:{}", local.pwd));
        let fingerprint: Vec<String> = local.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        self.put(format_args!("a=fingerprint:sha-256 {}", fingerprint.join(":")));
        self.put("a=setup:passive");
    }

    /// What flows in a section, and what it is called.
    fn description(&mut self, section: &Section, negotiated: &Negotiated, role: Role, cname: &str) {
        let mid = &negotiated.mid;
        if !mid.is_empty() {
            self.put(format_args!("a=mid:{mid}"));
        }
        if section.extmap_allow_mixed {
            self.put("a=extmap-allow-mixed");
        }
        let mut extensions = negotiated.extensions;
        for OfferedExtension { id, direction, uri } in &section.extensions {
            if extensions.place(uri).is_none_or(|taken| *taken != Some(*id)) {
                continue;
            }
            match direction.reversed() {
                Direction::SendRecv => self.put(format_args!("a=extmap:{id} {uri}")),
                direction => self.put(format_args!("a=extmap:{id}/{} {uri}", direction.name())),
            }
        }
        self.put(format_args!("a={}", negotiated.direction.name()));
        if negotiated.direction.sends() {
            // Clients play only audio that belongs to a stream, and know a video's section by its stream's name.
            match negotiated.kind {
                SectionKind::Audio => self.put("a=msid:audio audio"),
                _ => self.put(format_args!("a=msid:v_{mid} track_{mid}")),
            }
        }
        if section.rtcp_mux {
            self.put("a=rtcp-mux");
        }
        if section.rtcp_reduced_size {
            self.put("a=rtcp-rsize");
        }
        for codec in &negotiated.codecs {
            self.codec(section, codec);
        }
        for rid in &negotiated.rids {
            self.put(format_args!("a=rid:{rid} recv"));
        }
        if !negotiated.rids.is_empty() && !section.simulcast.is_empty() {
            let streams: Vec<String> = section.simulcast.iter().map(SimulcastRid::to_string).collect();
            self.put(format_args!("a=simulcast:recv {}", streams.join(";")));
        }
        if negotiated.direction.sends() {
            let has_rtx = negotiated.codecs.iter().any(|codec| codec.rtx_pt.is_some());
            match role {
                Role::Audio { ssrc, .. } => self.ssrcs(ssrc, None, cname),
                Role::SendVideo { ssrc, rtx_ssrc } => self.ssrcs(ssrc, has_rtx.then_some(rtx_ssrc), cname),
                Role::ReceiveVideo { .. } | Role::Inactive => {}
            }
        }
    }

    fn codec(&mut self, section: &Section, codec: &NegotiatedCodec) {
        let pt = codec.pt;
        self.put(format_args!("a=rtpmap:{pt} {}", rtpmap_name(codec.codec)));
        let offered = section.codecs.iter().find(|offered| offered.pt == pt);
        for feedback in offered.map_or(&[][..], |offered| &offered.feedback) {
            let is_declined = match (section.kind, feedback) {
                (SectionKind::Video, _) | (_, Feedback::TransportCc) => false,
                // Nothing lost from the mix is worth sending again: it would come too late.
                _ => true,
            };
            if !is_declined {
                self.put(format_args!("a=rtcp-fb:{pt} {}", feedback.name()));
            }
        }
        if let Some(fmtp) = &codec.fmtp {
            self.put(format_args!("a=fmtp:{pt} {fmtp}"));
        }
        if let Some(rtx_pt) = codec.rtx_pt {
            self.put(format_args!("a=rtpmap:{rtx_pt} rtx/90000"));
            self.put(format_args!("a=fmtp:{rtx_pt} apt={pt}"));
        }
    }

    /// Announces what we send: the stream and, if there is one, the stream repairing it.
    pub(super) fn ssrcs(&mut self, ssrc: u32, rtx_ssrc: Option<u32>, cname: &str) {
        if let Some(rtx_ssrc) = rtx_ssrc {
            self.put(format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
        }
        for ssrc in std::iter::once(ssrc).chain(rtx_ssrc) {
            self.put(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        }
    }
}

pub(super) fn address_family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IP4" } else { "IP6" }
}

pub(super) fn rtpmap_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 { .. } => "VP9/90000",
        Codec::H264 { .. } => "H264/90000",
        Codec::Av1 => "AV1/90000",
        Codec::Other => unreachable!("only codecs we know are taken"),
    }
}
