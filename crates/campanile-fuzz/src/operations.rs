//! Everything at once: hostile sessions do whatever the input says, frame by frame and packet by packet, in one meeting
//! with a listener who does nothing wrong, and beside a meeting of which they know nothing.
//!
//! Whatever they do, the service must not panic, must not pile up output for anyone, and must go on serving those two.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use campanile_media::peer::Certificate;
use campanile_media::peer::sdp::{
    Candidates, Direction, PlainSection, SectionKind, SimulcastRid, plain_offer,
};
use campanile_media::{rtcp, rtp};
use campanile_meeting::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use campanile_meeting::registry::Admission;
use campanile_meeting::service::{Command, Limits, MediaService, Output, ServiceConfig, WallClock};
use campanile_wire::api::{Capabilities, MeetingFeatures};
use campanile_wire::signaling::{
    Adaption, ClientDetails, ClientFrame, DataMessage, Duplex, Join, MediaType, QualityPreference, Sdp,
    ServerFrame, StreamDescriptor, Subscribe, VideoSubscription, decode,
};
use uuid::Uuid;

/// Operations read of one input, so that an input takes milliseconds.
const OPERATIONS_MAX: usize = 512;
/// Virtual time of one input, for the same reason.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Frames that one session may be sent within a second of virtual time, and at one stroke. The shell keeps 512 for a
/// socket, beyond which it takes its client for one that does not read.
const FRAMES_PER_SECOND_MAX: u32 = 400;
/// Bytes of datagrams that one input may set off: a keyframe's repairs to one, or one packet to each.
const BYTES_PER_OPERATION_MAX: usize = 2 << 20;

/// The meeting under attack, and the other one.
const ATTACKED: MeetingId = MeetingId(Uuid::from_u128(0xA));
const OTHER: MeetingId = MeetingId(Uuid::from_u128(0xB));
/// Numbers of attendees and of the addresses they are at: the innocent, then the hostile.
const LISTENER: u8 = 0;
const NEIGHBOUR: u8 = 1;
const HOSTILE: [u8; 4] = [2, 3, 4, 5];

static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::generate().expect("the system has randomness"));

/// Reads operations off `data` and does them.
pub fn operations(data: &[u8]) {
    let mut world = World::new();
    let mut input = Input(data);
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.byte() else { break };
        world.operate(operation, &mut input);
        world.drain();
    }
    world.check_the_innocent();
}

/// What is left of the input; zeros when there is no more.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u8(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// A number that is small, or anything.
    fn number(&mut self) -> u32 {
        match self.u8() {
            small @ 0..=200 => u32::from(small),
            _ => u32::from(self.u16()) << 16 | u32::from(self.u16()),
        }
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

struct World {
    service: MediaService,
    start: Instant,
    now: Instant,
    /// Which connection each attendee has now; connections are never numbered twice.
    connections: BTreeMap<u8, SessionId>,
    next_session: u64,
    /// Frames to each connection within the current second.
    frames: BTreeMap<SessionId, u32>,
    second: u64,
    /// SSRCs under which the hostile receive video.
    ssrcs: Vec<u32>,
    /// Datagrams to each port since it was last asked.
    datagrams: BTreeMap<u16, u32>,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let config = ServiceConfig {
            certificate: CERTIFICATE.clone(),
            candidates: Candidates { udp: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7000))), tcp: None },
            allow_plain: true,
            limits: Limits::default(),
        };
        let clock = WallClock { instant: now, unix: Duration::ZERO }; // ids of streams begin with 1
        let mut world = World {
            service: MediaService::new(config, clock, [7; 32]),
            start: now,
            now,
            connections: BTreeMap::new(),
            next_session: 1,
            frames: BTreeMap::new(),
            second: 0,
            ssrcs: Vec::new(),
            datagrams: BTreeMap::new(),
        };
        for innocent in [LISTENER, NEIGHBOUR] {
            world.connect(innocent, false);
            world.frame(innocent, ClientFrame::Join(join(u64::from(innocent), Adaption::Default)));
            let sections = vec![PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv)];
            let offer = plain_offer(address(innocent), &sections);
            world.frame(innocent, subscribe(offer, Vec::new(), Vec::new(), Vec::new(), false));
        }
        world.drain();
        world
    }

    fn connect(&mut self, who: u8, content: bool) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let id = AttendeeId(Uuid::from_u128(u128::from(who)));
        let admission = Admission {
            meeting: if who == NEIGHBOUR { OTHER } else { ATTACKED },
            primary: None,
            attendee: AttendeeKey { id, content },
            account: "123456789012".parse().expect("twelve digits"),
            external_user_id: format!("user-{who}"),
            external_meeting_id: "meeting".to_owned(),
            media_region: "us-east-1".into(),
            capabilities: Capabilities::ALL,
            may_unmute: true,
            features: MeetingFeatures::default(),
        };
        self.connections.insert(who, session);
        self.service.connect(self.now, session, admission);
    }

    fn frame(&mut self, who: u8, frame: ClientFrame) {
        if let Some(&session) = self.connections.get(&who) {
            self.service.handle_frame(self.now, session, frame);
        }
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let who = HOSTILE[usize::from(operation >> 6)];
        match operation & 0x0f {
            0 => self.connect(who, input.u8() & 3 == 0),
            1 => {
                if let Some(session) = self.connections.remove(&who) {
                    self.service.disconnected(self.now, session);
                }
            }
            2 => {
                let adaption = if input.u8() & 1 == 0 {
                    Adaption::Default
                } else {
                    Adaption::BandwidthProbingAndVideoQuality
                };
                self.frame(who, ClientFrame::Join(join(u64::from(input.u8()), adaption)));
            }
            3 | 4 => {
                let frame = subscription(who, input);
                self.frame(who, frame);
            }
            5 => {
                let frame = small_frame(input);
                self.frame(who, frame);
            }
            6 => {
                let length = usize::from(input.u16());
                if let Ok(frame) = decode(input.bytes(length)) {
                    self.frame(who, frame);
                }
            }
            7 => {
                let length = usize::from(input.u8()) * 8;
                self.datagram(who, input.bytes(length).to_vec());
            }
            8 | 9 => self.rtp(who, input),
            10 | 11 => self.rtcp(who, input),
            12 => {
                let id = AttendeeId(Uuid::from_u128(u128::from(who)));
                self.service.handle_command(self.now, Command::RemoveAttendee(ATTACKED, id));
            }
            13 => self.pass(Duration::from_millis(u64::from(input.u8()))),
            14 => self.pass(Duration::from_millis(20 * u64::from(input.u8()))),
            _ => {
                // The same thing many times over.
                let times = usize::from(input.u8());
                let frame = small_frame(input);
                for _ in 0..times {
                    self.frame(who, frame.clone());
                }
            }
        }
    }

    fn datagram(&mut self, who: u8, mut bytes: Vec<u8>) {
        self.service.handle_datagram(self.now, address(who), &mut bytes);
    }

    /// A packet as a browser sends it, with any numbers in it.
    fn rtp(&mut self, who: u8, input: &mut Input<'_>) {
        let payload_type = [111, 96, 97, 102, 103, 98, 99, 45, 46][usize::from(input.u8() % 9)];
        let choices = input.u8();
        let sequence = input.u16();
        let transport_wide = input.u16().to_be_bytes();
        let rid = [b"low".as_slice(), b"mid", b"hi", b"x"][usize::from(choices & 3)];
        let rid_id = if matches!(payload_type, 97 | 103) { 11 } else { 10 };
        let mut extensions: Vec<(u8, &[u8])> = vec![(3, &transport_wide)];
        match choices >> 6 {
            0 => extensions.push((rid_id, rid)),
            1 => extensions.extend([(4, b"1".as_slice()), (rid_id, rid)]),
            2 => extensions.push((4, b"0")),
            _ => {}
        }
        let mut packet = Vec::new();
        let timestamp = u32::from(sequence).wrapping_mul(3000);
        // Some of few SSRCs, some of many.
        let ssrc = if choices & 0x20 == 0 { u32::from(choices >> 2 & 7) } else { u32::from(sequence) };
        rtp::write_header(
            &mut packet,
            payload_type,
            choices & 4 != 0,
            sequence,
            timestamp,
            ssrc,
            &extensions,
        );
        if matches!(payload_type, 97 | 103) {
            packet.extend_from_slice(&input.u16().to_be_bytes());
        }
        let length = usize::from(input.u8());
        packet.extend_from_slice(input.bytes(length));
        self.datagram(who, packet);
    }

    /// Feedback on what we send: mostly asking for repairs and keyframes.
    fn rtcp(&mut self, who: u8, input: &mut Input<'_>) {
        let mut compound = Vec::new();
        for _ in 0..input.u8() % 16 {
            let ssrc = match self.ssrcs.len() {
                0 => 1,
                known => self.ssrcs[usize::from(input.u8()) % known],
            };
            match input.u8() % 4 {
                0 => rtcp::pli(&mut compound, 1, ssrc),
                1 => rtcp::fir(&mut compound, 1, ssrc, input.u8()),
                2 => {
                    let (first, count) = (input.u16(), u16::from(input.u8()));
                    rtcp::nack(&mut compound, 1, ssrc, (0..count).map(|at| first.wrapping_add(at)));
                }
                _ => {
                    let info = rtcp::SenderInfo { ntp: u64::from(input.number()), ..Default::default() };
                    rtcp::sender_report(&mut compound, input.number(), &info, &[]);
                }
            }
        }
        self.datagram(who, compound);
    }

    /// Lets time pass as the worker does: from timeout to timeout.
    fn pass(&mut self, span: Duration) {
        let until = (self.now + span).min(self.start + TIME_MAX);
        while let Some(due) = self.service.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.service.handle_timeout(self.now);
            assert!(self.service.poll_timeout().is_none_or(|next| next > self.now), "time must move on");
            self.drain();
        }
        self.now = self.now.max(until);
        for innocent in [LISTENER, NEIGHBOUR] {
            self.frame(innocent, ClientFrame::Ping { id: 1 });
        }
    }

    /// Takes what the service has decided, as the worker does.
    fn drain(&mut self) {
        let second = (self.now - self.start).as_secs();
        if self.second != second {
            self.second = second;
            self.frames.clear();
        }
        let mut bytes_sent = 0;
        loop {
            match self.service.poll_output() {
                None => break,
                Some(Output::Datagrams { to, segment_size, bytes }) => {
                    assert!(!bytes.is_empty() && segment_size > 0 && bytes.len() < 65_536);
                    bytes_sent += bytes.len();
                    *self.datagrams.entry(to.addr.port()).or_default() +=
                        bytes.len().div_ceil(segment_size) as u32;
                }
                Some(Output::Frame { session, frame }) => self.note_frame(session, &frame),
                Some(Output::Frames { sessions, frame }) => {
                    sessions.into_iter().for_each(|session| self.note_frame(session, &frame));
                }
                Some(Output::Event(_)) => {}
                Some(Output::Close { session, reason, .. }) => {
                    assert!(
                        !is_innocent(&self.connections, session),
                        "an innocent session was closed: {reason}"
                    );
                }
            }
        }
        assert!(bytes_sent < BYTES_PER_OPERATION_MAX, "{bytes_sent} bytes set off by one input");
    }

    fn note_frame(&mut self, session: SessionId, frame: &ServerFrame) {
        let innocent = is_innocent(&self.connections, session);
        let ended = matches!(frame, ServerFrame::AudioStatus(_) | ServerFrame::Error { .. });
        assert!(!(innocent && ended), "an innocent session was ended: {frame:?}");
        let frames = self.frames.entry(session).or_default();
        *frames += 1;
        assert!(
            !innocent || *frames < FRAMES_PER_SECOND_MAX,
            "too many frames for a client to take: {frame:?}"
        );
        if let ServerFrame::SubscribeAck(ack) = frame {
            self.ssrcs.extend(ack.tracks.iter().map(|track| track.ssrc));
            self.ssrcs.drain(..self.ssrcs.len().saturating_sub(64));
        }
        frame.encode(1);
    }

    /// A second later, both still get their fifty packets of audio, and nobody has lost anyone.
    fn check_the_innocent(&mut self) {
        self.start = self.now;
        self.second = u64::MAX;
        self.datagrams.clear();
        self.pass(Duration::from_secs(1));
        self.drain();
        for innocent in [LISTENER, NEIGHBOUR] {
            let packets = self.datagrams.get(&address(innocent).port()).copied().unwrap_or(0);
            assert!(packets >= 49, "{innocent} got {packets} packets in a second");
        }
        let (meetings, sessions) = self.service.population();
        assert!(meetings == 2 && sessions >= 2);
    }
}

fn is_innocent(connections: &BTreeMap<u8, SessionId>, session: SessionId) -> bool {
    [LISTENER, NEIGHBOUR].iter().any(|who| connections.get(who) == Some(&session))
}

/// The innocent are where no corpus says.
fn address(who: u8) -> SocketAddr {
    match who {
        LISTENER | NEIGHBOUR => SocketAddr::from(([198, 51, 100, 201], 61_233 + u16::from(who))),
        _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, who)), 5000 + u16::from(who)),
    }
}

fn join(audio_session_id: u64, adaption: Adaption) -> Join {
    Join {
        protocol_version: 2,
        flags: 0,
        client: ClientDetails::default(),
        audio_session_id: Some(audio_session_id),
        wants_compressed_sdp: false,
        adaption,
        supported_adaptions: vec![Adaption::Default, adaption],
        wants_all_temporal_layers: false,
        disable_periodic_keyframes: false,
        max_videos: None,
    }
}

fn subscribe(
    offer: String,
    send_streams: Vec<StreamDescriptor>,
    receive_stream_ids: Vec<u32>,
    video_subscriptions: Vec<VideoSubscription>,
    audio_muted: bool,
) -> ClientFrame {
    ClientFrame::Subscribe(Box::new(Subscribe {
        duplex: Duplex::Both,
        send_streams,
        receive_stream_ids,
        sdp: Sdp::Plain(offer),
        audio_host: None,
        audio_muted,
        video_subscriptions,
    }))
}

/// A SUBSCRIBE of the right form: a microphone, perhaps a camera with up to four layers, and some videos received.
fn subscription(who: u8, input: &mut Input<'_>) -> ClientFrame {
    let choices = input.u8();
    let layers = usize::from(choices & 3) + 1;
    let mut sections = vec![PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv)];
    let mut stream_ids = Vec::new();
    let mut send_streams = Vec::new();
    if choices & 4 != 0 {
        let mut camera = PlainSection::new(SectionKind::Video, "1", Direction::SendRecv);
        if choices & 8 != 0 {
            let rids = ["low", "mid", "hi", "top"];
            camera.rids = rids[..layers]
                .iter()
                .map(|rid| SimulcastRid { rid: (*rid).to_owned(), paused: false })
                .collect();
        }
        sections.push(camera);
        stream_ids.push(0);
        for layer in 0..layers {
            send_streams.push(StreamDescriptor {
                stream_id: 0,
                group_id: 0,
                framerate: input.number(),
                max_bitrate_kbps: input.number(),
                avg_bitrate_bps: 0,
                track_label: format!("track{layer}"),
                attendee_id: String::new(),
                external_user_id: String::new(),
                media_type: MediaType::Video,
                width: 0,
                height: 0,
            });
        }
    }
    let mut wishes = Vec::new();
    for at in 0..choices >> 4 {
        let mid = format!("r{}", input.u8() % 24);
        let mut section = PlainSection::new(SectionKind::Video, mid, Direction::RecvOnly);
        section.rejected = at > 0 && choices & 8 == 0 && at % 5 == 0;
        wishes.push(wish(section.mid.clone(), input));
        stream_ids.push(input.number());
        sections.push(section);
    }
    if choices & 0x80 == 0 {
        wishes.clear();
    }
    subscribe(plain_offer(address(who), &sections), send_streams, stream_ids, wishes, choices & 2 == 0)
}

fn wish(mid: String, input: &mut Input<'_>) -> VideoSubscription {
    let choices = input.u8();
    let mut some = |bit: u8| (choices & bit != 0).then(|| input.number());
    VideoSubscription {
        mid,
        attendee_id: None,
        stream_id: some(1),
        group_id: some(2),
        priority: some(4),
        target_bitrate_kbps: some(8),
        preference: QualityPreference::Balanced,
    }
}

fn small_frame(input: &mut Input<'_>) -> ClientFrame {
    match input.u8() % 9 {
        0 => ClientFrame::Leave,
        1 => ClientFrame::Pause { stream_ids: vec![input.number(), input.number()] },
        2 => ClientFrame::Resume { stream_ids: vec![input.number(), input.number()] },
        3 => ClientFrame::AudioControl { muted: input.u8() & 1 == 0 },
        4 => ClientFrame::DataMessages(vec![
            DataMessage {
                topic: "chat".to_owned(),
                data: vec![0; usize::from(input.u8())],
                lifetime_ms: input.number()
            };
            usize::from(input.u8() % 16)
        ]),
        5 => {
            let mid = format!("r{}", input.u8() % 24);
            ClientFrame::RemoteVideoUpdate { updated: vec![wish(mid, input)], removed_mids: Vec::new() }
        }
        6 => ClientFrame::RemoteVideoUpdate {
            updated: Vec::new(),
            removed_mids: vec![format!("r{}", input.u8() % 24)],
        },
        7 => ClientFrame::Join(join(u64::from(input.u8()), Adaption::Default)),
        _ => ClientFrame::Ping { id: input.number() },
    }
}
