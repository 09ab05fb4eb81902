//! Reads an offer. The grammar is RFC 8866's, relaxed where browsers and phones differ; every length is checked before
//! anything is kept.

use std::net::{IpAddr, SocketAddr};

use super::{
    Codec, Direction, EXTENSIONS_MAX, FMTP_BYTES_MAX, Feedback, LINE_BYTES_MAX, MID_BYTES_MAX,
    OFFER_BYTES_MAX, OFFER_LINES_MAX, Offer, OfferTransport, OfferedCodec, OfferedExtension, RIDS_MAX,
    SECTIONS_MAX, SSRCS_MAX, SdpError, Section, SectionKind, SimulcastRid, fmtp_parameter,
};

impl Offer {
    /// Reads an offer, with CRLF or bare LF line ends.
    ///
    /// # Errors
    /// [`SdpError`] when it breaks the grammar or a bound, or asks for a transport campanile does not have. Sections,
    /// codecs and attributes that are merely unknown are no error: they are answered port 0 or left out.
    pub fn parse(text: &str) -> Result<Offer, SdpError> {
        if text.len() > OFFER_BYTES_MAX {
            return Err(SdpError::TooLong { bytes: text.len() });
        }
        let mut session = Session::default();
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        let text = text.strip_suffix('\n').unwrap_or(text);
        for (index, raw) in text.split('\n').enumerate() {
            let line = index + 1;
            check_max(line, line <= OFFER_LINES_MAX, "lines", OFFER_LINES_MAX)?;
            let content = raw.strip_suffix('\r').unwrap_or(raw);
            check_max(line, content.len() <= LINE_BYTES_MAX, "bytes in a line", LINE_BYTES_MAX)?;
            // Parts of lines are echoed in the answer: a stray CR or NUL must not get there.
            if content.contains(char::is_control) {
                return Err(malformed(line, "character"));
            }
            let Some((kind, value)) = content.split_once('=') else {
                return Err(malformed(line, "line"));
            };
            match (kind, drafts.last_mut()) {
                _ if (line == 1) != (kind == "v") => return Err(malformed(line, "version")),
                ("v", _) if value != "0" => return Err(malformed(line, "version")),
                ("m", _) => {
                    check_max(line, drafts.len() < SECTIONS_MAX, "m-sections", SECTIONS_MAX)?;
                    drafts.push(Draft::begin(line, value)?);
                }
                ("c", None) => session.connection = Some((line, value)),
                ("c", Some(draft)) => draft.connection = Some((line, value)),
                ("a", None) => session.attribute(line, value)?,
                ("a", Some(draft)) => draft.attribute(line, value)?,
                _ => {}
            }
        }
        finish(session, drafts)
    }

    /// The video codecs the offerer said it can decode, each once, in the order first named: from sections it would
    /// receive in. Empty means it has not said, not that it can decode nothing: a client's first offer has only an
    /// inactive camera section.
    pub fn decodable_video_codecs(&self) -> Vec<Codec> {
        let mut decodable = Vec::new();
        let sections = self.sections.iter().filter(|s| {
            s.kind == SectionKind::Video && !s.rejected && s.shares_transport && s.direction.receives()
        });
        for offered in sections.flat_map(|section| &section.codecs) {
            if !matches!(offered.codec, Codec::Other | Codec::Red) && !decodable.contains(&offered.codec) {
                decodable.push(offered.codec);
            }
        }
        decodable
    }
}

const fn malformed(line: usize, what: &'static str) -> SdpError {
    SdpError::Malformed { line, what }
}

const fn check_max(line: usize, fits: bool, what: &'static str, max: usize) -> Result<(), SdpError> {
    if fits { Ok(()) } else { Err(SdpError::TooMany { line, what, max }) }
}

/// Something said on a line.
type Said<'a> = Option<(usize, &'a str)>;

/// Keeps what is said; saying it twice is an error.
fn say_once<'a>(
    place: &mut Said<'a>,
    line: usize,
    what: &'static str,
    value: &'a str,
) -> Result<(), SdpError> {
    if place.replace((line, value)).is_some() { Err(SdpError::Duplicate { line, what }) } else { Ok(()) }
}

/// What a session or a section says of its transport.
#[derive(Clone, Copy, Default)]
struct TransportLines<'a> {
    ufrag: Said<'a>,
    pwd: Said<'a>,
    setup: Said<'a>,
    /// The first fingerprint by SHA-256.
    fingerprint: Option<[u8; 32]>,
    /// Line of a fingerprint by something else.
    other_fingerprint: Option<usize>,
}

impl<'a> TransportLines<'a> {
    /// Takes the attribute if it is one of the transport's.
    fn attribute(&mut self, line: usize, name: &str, value: &'a str) -> Result<bool, SdpError> {
        match name {
            "ice-ufrag" => say_once(&mut self.ufrag, line, "ice-ufrag", value)?,
            "ice-pwd" => say_once(&mut self.pwd, line, "ice-pwd", value)?,
            "setup" => say_once(&mut self.setup, line, "setup", value)?,
            "fingerprint" => {
                // RFC 8122 section 5 allows several fingerprints, by different hashes; one we can check is enough.
                let (algorithm, hash) = value.split_once(' ').ok_or(malformed(line, "fingerprint"))?;
                if algorithm.eq_ignore_ascii_case("sha-256") {
                    let hash = parse_fingerprint(hash).ok_or(malformed(line, "fingerprint"))?;
                    self.fingerprint.get_or_insert(hash);
                } else {
                    self.other_fingerprint = Some(line);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is not said here is as said for the whole session.
    fn or(self, session: &TransportLines<'a>) -> TransportLines<'a> {
        let own_fingerprint = self.fingerprint.is_some() || self.other_fingerprint.is_some();
        let fingerprint_from = if own_fingerprint { &self } else { session };
        TransportLines {
            ufrag: self.ufrag.or(session.ufrag),
            pwd: self.pwd.or(session.pwd),
            setup: self.setup.or(session.setup),
            fingerprint: fingerprint_from.fingerprint,
            other_fingerprint: fingerprint_from.other_fingerprint,
        }
    }

    /// Checks the lines; `line` is where their section begins.
    fn finish(self, line: usize) -> Result<OfferTransport, SdpError> {
        let missing = |what| SdpError::Missing { line, what };
        let (ufrag_line, ufrag) = self.ufrag.ok_or(missing("ice-ufrag"))?;
        let (pwd_line, pwd) = self.pwd.ok_or(missing("ice-pwd"))?;
        // Lengths by RFC 8839 section 5.4. A colon would make the STUN user name "ours:theirs" ambiguous.
        let is_ice = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !(4..=256).contains(&ufrag.len()) || !is_ice(ufrag) {
            return Err(malformed(ufrag_line, "ice-ufrag"));
        }
        if !(22..=256).contains(&pwd.len()) || !is_ice(pwd) {
            return Err(malformed(pwd_line, "ice-pwd"));
        }
        let fingerprint = match (self.fingerprint, self.other_fingerprint) {
            (Some(hash), _) => hash,
            (None, Some(line)) => return Err(SdpError::UnsupportedFingerprint { line }),
            (None, None) => return Err(missing("fingerprint")),
        };
        let (setup_line, setup) = self.setup.ok_or(missing("setup"))?;
        if !matches!(setup, "actpass" | "active") {
            return Err(SdpError::UnsupportedSetup { line: setup_line });
        }
        Ok(OfferTransport::WebRtc { ufrag: ufrag.to_owned(), pwd: pwd.to_owned(), fingerprint })
    }
}

/// 32 bytes in hexadecimal, colons between.
fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let mut parts = text.trim().split(':');
    for byte in &mut hash {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = parse_hex(part)? as u8;
    }
    parts.next().is_none().then_some(hash)
}

/// Hexadecimal digits and nothing else (`from_str_radix` alone would take a sign).
fn parse_hex(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u32::from_str_radix(text, 16).ok() } else { None }
}

/// Decimal digits and nothing else (`parse` alone would take a sign).
fn parse_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Lines before the first m-section.
#[derive(Default)]
struct Session<'a> {
    connection: Said<'a>,
    transport: TransportLines<'a>,
    bundle: Option<&'a str>,
    direction: Option<Direction>,
    extmap_allow_mixed: bool,
}

impl<'a> Session<'a> {
    fn attribute(&mut self, line: usize, attribute: &'a str) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "group" => {
                // Several BUNDLE groups would be several transports: the first one has ours, the others get port 0.
                if let Some(mids) = value.strip_prefix("BUNDLE ") {
                    self.bundle.get_or_insert(mids);
                }
            }
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            _ if self.transport.attribute(line, name, value)? => {}
            _ => self.direction = Direction::from_name(name).or(self.direction),
        }
        Ok(())
    }
}

/// A payload type of the m-line and what has been said about it so far.
struct Format<'a> {
    pt: u8,
    /// Name, clock rate in Hz, channels.
    encoding: Option<(&'a str, u32, u8)>,
    fmtp: Option<&'a str>,
    feedback: Vec<Feedback>,
}

/// An m-section being read.
struct Draft<'a> {
    line: usize,
    port: u16,
    is_plain: bool,
    is_rtp: bool,
    bundle_only: bool,
    connection: Said<'a>,
    transport: TransportLines<'a>,
    formats: Vec<Format<'a>>,
    simulcast: Said<'a>,
    direction: Option<Direction>,
    section: Section,
}

impl<'a> Draft<'a> {
    /// `<media> <port>[/<count>] <profile> <format>...`
    fn begin(line: usize, value: &'a str) -> Result<Draft<'a>, SdpError> {
        let mut words = value.split(' ');
        let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(malformed(line, "m-line"));
        let (media, port, profile, first_format) = (word()?, word()?, word()?, word()?);
        let port = port.split_once('/').map_or(port, |(port, _)| port);
        let port = parse_number(port).ok_or(malformed(line, "port"))?;
        // What is echoed in an answer is a token of RFC 8866, as mids are: nothing can be smuggled through it.
        if ![media, first_format].iter().all(|word| is_token(word)) || !profile.split('/').all(is_token) {
            return Err(malformed(line, "m-line"));
        }
        let is_plain = matches!(profile, "RTP/AVP" | "RTP/AVPF");
        // All the spellings of secure RTP mean the same (RFC 9429 section 5.1.2); without a fingerprint it fails later.
        let is_rtp = is_plain || profile.ends_with("RTP/SAVPF") || profile.ends_with("RTP/SAVP");
        let kind = match media {
            "audio" if is_rtp => SectionKind::Audio,
            "video" if is_rtp => SectionKind::Video,
            _ => SectionKind::Other,
        };
        let mut formats: Vec<Format<'a>> = Vec::new();
        if is_rtp {
            for format in std::iter::once(first_format).chain(words) {
                let pt =
                    parse_number(format).filter(|pt| *pt <= 127).ok_or(malformed(line, "payload type"))?;
                if formats.iter().any(|known| known.pt == pt) {
                    return Err(SdpError::Duplicate { line, what: "payload type" });
                }
                formats.push(Format { pt, encoding: None, fmtp: None, feedback: Vec::new() });
            }
        }
        Ok(Draft {
            line,
            port,
            is_plain,
            is_rtp,
            bundle_only: false,
            connection: None,
            transport: TransportLines::default(),
            formats,
            simulcast: None,
            direction: None,
            section: Section {
                kind,
                mid: String::new(),
                rejected: port == 0,
                shares_transport: false,
                direction: Direction::SendRecv,
                codecs: Vec::new(),
                extensions: Vec::new(),
                rids: Vec::new(),
                simulcast: Vec::new(),
                ssrcs: Vec::new(),
                rtx_pairs: Vec::new(),
                media: media.to_owned(),
                profile: profile.to_owned(),
                first_format: first_format.to_owned(),
                rtcp_mux: false,
                rtcp_reduced_size: false,
                extmap_allow_mixed: false,
            },
        })
    }

    /// Whether the section asks for media over RTP; the others are answered port 0 whatever they say.
    fn is_usable(&self) -> bool {
        !self.section.rejected && self.section.kind != SectionKind::Other
    }

    fn attribute(&mut self, line: usize, attribute: &'a str) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let section = &mut self.section;
        match name {
            "mid" => {
                if !section.mid.is_empty() {
                    return Err(SdpError::Duplicate { line, what: "mid" });
                }
                if value.len() > MID_BYTES_MAX || !is_token(value) {
                    return Err(malformed(line, "mid"));
                }
                value.clone_into(&mut section.mid);
            }
            "rtcp-mux" => section.rtcp_mux = true,
            "rtcp-rsize" => section.rtcp_reduced_size = true,
            "bundle-only" => self.bundle_only = true,
            "extmap-allow-mixed" => section.extmap_allow_mixed = true,
            "rtpmap" if self.is_rtp => self.rtpmap(line, value)?,
            "fmtp" if self.is_rtp => {
                let (pt, parameters) = split_pt(line, value, "fmtp")?;
                check_max(line, parameters.len() <= FMTP_BYTES_MAX, "bytes of fmtp", FMTP_BYTES_MAX)?;
                if let Some(format) = self.format(pt)
                    && format.fmtp.replace(parameters).is_some()
                {
                    return Err(SdpError::Duplicate { line, what: "fmtp" });
                }
            }
            "rtcp-fb" if self.is_rtp => self.feedback(line, value)?,
            "extmap" => self.extension(line, value)?,
            "rid" => self.rid(line, value)?,
            "simulcast" => say_once(&mut self.simulcast, line, "simulcast", value)?,
            "ssrc" => {
                let ssrc = value.split(' ').next().and_then(parse_number).ok_or(malformed(line, "ssrc"))?;
                if !section.ssrcs.contains(&ssrc) {
                    check_max(line, section.ssrcs.len() < SSRCS_MAX, "ssrcs in a section", SSRCS_MAX)?;
                    section.ssrcs.push(ssrc);
                }
            }
            "ssrc-group" => {
                if let Some(pair) = value.strip_prefix("FID ") {
                    let pair =
                        pair.split_once(' ').and_then(|(a, b)| Some((parse_number(a)?, parse_number(b)?)));
                    let pair = pair.ok_or(malformed(line, "ssrc-group"))?;
                    check_max(
                        line,
                        section.rtx_pairs.len() < SSRCS_MAX,
                        "ssrc-groups in a section",
                        SSRCS_MAX,
                    )?;
                    section.rtx_pairs.push(pair);
                }
            }
            _ if self.transport.attribute(line, name, value)? => {}
            _ => self.direction = Direction::from_name(name).or(self.direction),
        }
        Ok(())
    }

    /// What is known of a payload type; `None` when the m-line does not list it (said about nothing, so ignored).
    fn format(&mut self, pt: u8) -> Option<&mut Format<'a>> {
        self.formats.iter_mut().find(|format| format.pt == pt)
    }

    /// `<pt> <name>/<clock>[/<channels>]`
    fn rtpmap(&mut self, line: usize, value: &'a str) -> Result<(), SdpError> {
        let (pt, encoding) = split_pt(line, value, "rtpmap")?;
        let mut parts = encoding.split('/');
        let name = parts.next().filter(|name| is_token(name) && name.len() <= 32);
        let clock = parts.next().and_then(parse_number);
        let channels = parts.next().map_or(Some(1), parse_number);
        let (Some(name), Some(clock), Some(channels), None) = (name, clock, channels, parts.next()) else {
            return Err(malformed(line, "rtpmap"));
        };
        if let Some(format) = self.format(pt)
            && format.encoding.replace((name, clock, channels)).is_some()
        {
            return Err(SdpError::Duplicate { line, what: "rtpmap" });
        }
        Ok(())
    }

    /// `<pt> <what>`, or `* <what>` for every format.
    fn feedback(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let (pt, name) = match value.strip_prefix("* ") {
            Some(name) => (None, name),
            None => split_pt(line, value, "rtcp-fb").map(|(pt, name)| (Some(pt), name))?,
        };
        let Some(feedback) = Feedback::from_name(name) else { return Ok(()) };
        for format in self.formats.iter_mut().filter(|format| pt.is_none_or(|pt| format.pt == pt)) {
            if !format.feedback.contains(&feedback) {
                format.feedback.push(feedback);
            }
        }
        Ok(())
    }

    /// `<id>[/<direction>] <uri> [attributes]`
    fn extension(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let mut words = value.split(' ');
        let (id, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let id: u16 = parse_number(id).filter(|id| *id > 0).ok_or(malformed(line, "extmap"))?;
        let direction = Direction::from_name(direction).ok_or(malformed(line, "extmap"))?;
        if uri.is_empty() {
            return Err(malformed(line, "extmap"));
        }
        // Ids from 4096 on are placeholders for an answerer to choose from (RFC 8285 section 7); we need none of them.
        let Ok(id) = u8::try_from(id) else { return Ok(()) };
        let extensions = &mut self.section.extensions;
        if extensions.iter().any(|known| known.id == id) {
            return Err(SdpError::Duplicate { line, what: "extmap id" });
        }
        check_max(line, extensions.len() < EXTENSIONS_MAX, "extmaps in a section", EXTENSIONS_MAX)?;
        extensions.push(OfferedExtension { id, direction, uri: uri.to_owned() });
        Ok(())
    }

    /// `<rid> send|recv [restrictions]`
    fn rid(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let mut words = value.split(' ');
        let (rid, direction) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !is_rid(rid) || !matches!(direction, "send" | "recv") {
            return Err(malformed(line, "rid"));
        }
        if direction == "send" {
            let rids = &mut self.section.rids;
            if rids.iter().any(|known| known == rid) {
                return Err(SdpError::Duplicate { line, what: "rid" });
            }
            check_max(line, rids.len() < RIDS_MAX, "rids in a section", RIDS_MAX)?;
            rids.push(rid.to_owned());
        }
        Ok(())
    }

    /// `send <streams> [recv <streams>]` in either order: streams are separated by `;`, and of a stream's alternatives
    /// (separated by `,`) the first is taken. Rids without a line of their own do not count (RFC 8853 section 5.2).
    fn finish_simulcast(&mut self) -> Result<(), SdpError> {
        let Some((line, value)) = self.simulcast else { return Ok(()) };
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        while let Some(direction) = words.next() {
            let streams = words.next().ok_or(malformed(line, "simulcast"))?;
            match direction {
                "recv" => continue,
                "send" => {}
                _ => return Err(malformed(line, "simulcast")),
            }
            for stream in streams.split(';') {
                let first = stream.split(',').next().unwrap_or_default();
                let (rid, paused) = first.strip_prefix('~').map_or((first, false), |rid| (rid, true));
                if !is_rid(rid) {
                    return Err(malformed(line, "simulcast"));
                }
                let section = &mut self.section;
                if section.simulcast.iter().any(|known| known.rid == rid) {
                    return Err(SdpError::Duplicate { line, what: "simulcast rid" });
                }
                if section.rids.iter().any(|known| known == rid) {
                    section.simulcast.push(SimulcastRid { rid: rid.to_owned(), paused });
                }
            }
        }
        Ok(())
    }

    /// Turns what was said of the formats into codecs, retransmissions folded into the codec they repair.
    fn finish_codecs(&mut self) {
        let codecs = &mut self.section.codecs;
        let is_rtx =
            |format: &Format<'_>| format.encoding.is_some_and(|(name, ..)| name.eq_ignore_ascii_case("rtx"));
        for format in self.formats.iter().filter(|format| !is_rtx(format)) {
            let (_, clock_rate_hz, channels) = format.encoding.unwrap_or(("", 0, 1));
            codecs.push(OfferedCodec {
                pt: format.pt,
                codec: codec_of(format),
                clock_rate_hz,
                channels,
                fmtp: format.fmtp.map(str::to_owned),
                feedback: format.feedback.clone(),
                rtx_pt: None,
            });
        }
        for format in self.formats.iter().filter(|format| is_rtx(format)) {
            let repaired =
                format.fmtp.and_then(|fmtp| fmtp_parameter(fmtp, "apt")).and_then(parse_number::<u8>);
            if let Some(codec) = codecs.iter_mut().find(|codec| Some(codec.pt) == repaired) {
                codec.rtx_pt.get_or_insert(format.pt);
            }
        }
    }
}

fn codec_of(format: &Format<'_>) -> Codec {
    let Some((name, clock_rate_hz, channels)) = format.encoding else { return Codec::Other };
    let parameter = |name| format.fmtp.and_then(|fmtp| fmtp_parameter(fmtp, name));
    // A parameter with a value that cannot be read is not a codec we know, rather than the default one.
    let number = |name, default| parameter(name).map_or(Some(default), parse_number::<u8>);
    match (name.to_ascii_lowercase().as_str(), clock_rate_hz) {
        ("opus", 48_000) if channels == 2 => Codec::Opus,
        ("red", _) => Codec::Red,
        ("vp8", 90_000) => Codec::Vp8,
        ("vp9", 90_000) => number("profile-id", 0).map_or(Codec::Other, |profile| Codec::Vp9 { profile }),
        ("av1", 90_000) if number("profile", 0) == Some(0) => Codec::Av1,
        ("h264", 90_000) => {
            // RFC 6184 section 8.1: without the parameter, Baseline at level 1.
            let id = parameter("profile-level-id").unwrap_or("42000A");
            match (parse_hex(id).filter(|_| id.len() == 6), number("packetization-mode", 0)) {
                (Some(profile_level_id), Some(packetization_mode @ 0..=1)) => {
                    Codec::H264 { profile_level_id, packetization_mode }
                }
                _ => Codec::Other,
            }
        }
        _ => Codec::Other,
    }
}

/// `<pt> <rest>`
fn split_pt<'a>(line: usize, value: &'a str, what: &'static str) -> Result<(u8, &'a str), SdpError> {
    let (pt, rest) = value.split_once(' ').ok_or(malformed(line, what))?;
    let pt = parse_number(pt).filter(|pt| *pt <= 127).ok_or(malformed(line, "payload type"))?;
    let rest = rest.trim();
    if rest.is_empty() { Err(malformed(line, what)) } else { Ok((pt, rest)) }
}

/// RFC 8866's token: what mids, media and encoding names are made of.
fn is_token(text: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_char)
}

/// A rid: letters, digits, `-` and `_` (RFC 8851 section 10), short enough for its header extension.
fn is_rid(text: &str) -> bool {
    let is_rid_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_rid_char)
}

/// Checks what only the whole offer can show, and finds the one transport.
fn finish(session: Session<'_>, mut drafts: Vec<Draft<'_>>) -> Result<Offer, SdpError> {
    for index in 0..drafts.len() {
        let (before, rest) = drafts.split_at_mut(index);
        let draft = &mut rest[0];
        draft.finish_simulcast()?;
        draft.finish_codecs();
        draft.section.direction = draft.direction.or(session.direction).unwrap_or(Direction::SendRecv);
        draft.section.rejected = draft.port == 0 && (draft.is_plain || !draft.bundle_only);
        if !draft.is_usable() {
            continue;
        }
        // Plain sections may have no mid (telephones), though only one of them: it is what they are known by.
        let mid = &draft.section.mid;
        if mid.is_empty() && !draft.is_plain {
            return Err(SdpError::Missing { line: draft.line, what: "mid" });
        }
        if before.iter().any(|other| other.is_usable() && other.section.mid == *mid) {
            return Err(SdpError::Duplicate { line: draft.line, what: "mid" });
        }
    }

    let mut usable = drafts.iter().filter(|draft| draft.is_usable());
    let mut bundle: Vec<String> = Vec::new();
    for mid in session.bundle.unwrap_or_default().split(' ') {
        if usable.clone().any(|draft| draft.section.mid == mid) && !bundle.iter().any(|known| known == mid) {
            bundle.push(mid.to_owned());
        }
    }
    // The section that speaks for the transport: first in the BUNDLE group (RFC 8843 section 7.2), or else first.
    let tagged = bundle.first().and_then(|mid| usable.clone().find(|draft| draft.section.mid == *mid));
    let Some(tagged) = tagged.or_else(|| usable.clone().next()) else {
        return Err(SdpError::Missing { line: 1, what: "audio or video section in use" });
    };
    if let Some(other) = usable.find(|draft| draft.is_plain != tagged.is_plain) {
        return Err(SdpError::MixedTransports { line: other.line });
    }

    let tagged_mid = tagged.section.mid.clone();
    let transport = if tagged.is_plain {
        OfferTransport::Plain { addr: plain_addr(tagged, &session)? }
    } else {
        if !tagged.section.rtcp_mux {
            return Err(SdpError::Missing { line: tagged.line, what: "rtcp-mux" });
        }
        tagged.transport.or(&session.transport).finish(tagged.line)?
    };
    for draft in &mut drafts {
        let mid = &draft.section.mid;
        let shares_transport = match transport {
            OfferTransport::Plain { addr } => plain_addr(draft, &session).is_ok_and(|other| other == addr),
            OfferTransport::WebRtc { .. } => {
                draft.section.rtcp_mux && (*mid == tagged_mid || bundle.contains(mid))
            }
        };
        draft.section.shares_transport = draft.is_usable() && shares_transport;
    }
    Ok(Offer {
        bundle: if matches!(transport, OfferTransport::Plain { .. }) { Vec::new() } else { bundle },
        transport,
        sections: drafts.into_iter().map(|draft| draft.section).collect(),
        extmap_allow_mixed: session.extmap_allow_mixed,
    })
}

/// Where bare RTP for a section goes: `IN IP4 <address>` of its c= line or the session's, and its m-line's port.
fn plain_addr(draft: &Draft<'_>, session: &Session<'_>) -> Result<SocketAddr, SdpError> {
    let connection = draft.connection.or(session.connection);
    let (line, value) = connection.ok_or(SdpError::Missing { line: draft.line, what: "c-line" })?;
    let ip: Option<IpAddr> = match *value.split(' ').collect::<Vec<_>>() {
        ["IN", "IP4", address] => address.parse().ok().map(IpAddr::V4),
        ["IN", "IP6", address] => address.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    // Nothing can be sent to an unspecified or multicast address: the one is an old way of saying "on hold".
    let ip = ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()).ok_or(malformed(line, "address"))?;
    Ok(SocketAddr::new(ip, draft.port))
}
