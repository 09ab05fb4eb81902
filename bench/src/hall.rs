//! One meeting without sockets, threads or a clock: the core as the shell drives it, in virtual time, with people over bare
//! RTP. For sizes that no machine here could serve for real, and for work that can be counted to the instruction.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_media::peer::Certificate;
use campanile_media::peer::sdp::{Candidates, Direction, PlainSection, SectionKind, plain_offer};
use campanile_media::rtp;
use campanile_meeting::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use campanile_meeting::registry::Admission;
use campanile_meeting::service::{Limits, MediaService, Output, ServiceConfig, WallClock};
use campanile_wire::api::{Capabilities, MeetingFeatures};
use campanile_wire::signaling::{
    Adaption, ClientDetails, ClientFrame, Duplex, Join, MediaType, Sdp, ServerFrame, StreamDescriptor,
    Subscribe,
};
use uuid::Uuid;

use crate::Failure;

const OPUS: u8 = 111;
const VP8: u8 = 96;
const AUDIO_LEVEL: u8 = 1;
/// The camera's stream, in the sender's own words and as SSRC.
const CAMERA_SSRC: u32 = 0x00ca_3e7a;
/// As often as a client's.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The meeting, its people and its time.
pub(crate) struct Hall {
    service: MediaService,
    began: Instant,
    now: Instant,
    people: usize,
    /// What went out so far.
    pub(crate) sent: Sent,
    /// The cameras that somebody was told of last.
    cameras: Vec<u32>,
    refused: Option<String>,
}

/// Counted on the way out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) frames: u64,
}

/// What person number n brings to the worker's door.
pub(crate) fn admission(meeting: usize, number: usize) -> Admission {
    let id =
        |kind: u128, number: usize| Uuid::from_u128((kind << 64) | (0x9e37_79b9_7f4a_7c15 * number as u128));
    Admission {
        meeting: MeetingId(id(1, meeting)),
        primary: None,
        attendee: AttendeeKey { id: AttendeeId(id(2, number)), content: false },
        account: "123456789012".parse().expect("twelve digits"),
        external_user_id: format!("person-{number}"),
        external_meeting_id: format!("meeting-{meeting}"),
        media_region: "us-east-1".into(),
        capabilities: Capabilities::ALL,
        may_unmute: true,
        features: MeetingFeatures::default(),
    }
}

/// The first thing that person number n says.
pub(crate) fn join(number: usize) -> ClientFrame {
    ClientFrame::Join(Join {
        protocol_version: 2,
        flags: 2,
        client: ClientDetails::default(),
        audio_session_id: Some(number as u64 + 1),
        wants_compressed_sdp: false,
        adaption: Adaption::Default,
        supported_adaptions: Vec::new(),
        wants_all_temporal_layers: false,
        disable_periodic_keyframes: false,
        max_videos: None,
    })
}

/// The second: sound both ways at this address, and these videos.
fn subscribe(addr: SocketAddr, sends_camera: bool, watches: &[u32]) -> ClientFrame {
    let mut sections = vec![PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv)];
    let mut own = PlainSection::new(SectionKind::Video, "1", Direction::Inactive);
    if sends_camera {
        (own.direction, own.ssrc) = (Direction::SendRecv, Some(CAMERA_SSRC));
    }
    if sends_camera || !watches.is_empty() {
        sections.push(own);
    }
    let mids = (2..).map(|mid: usize| mid.to_string()).take(watches.len());
    sections.extend(mids.map(|mid| PlainSection::new(SectionKind::Video, mid, Direction::RecvOnly)));
    ClientFrame::Subscribe(Box::new(subscription(plain_offer(addr, &sections), sends_camera, watches)))
}

/// An offer whose first section is sound; the second, if there are more, the own camera, and the others what is watched.
pub(crate) fn subscription(offer: String, sends_camera: bool, watches: &[u32]) -> Subscribe {
    let camera = || StreamDescriptor {
        stream_id: 1,
        group_id: 1,
        framerate: 30,
        max_bitrate_kbps: 1500,
        avg_bitrate_bps: 1_400_000,
        track_label: "AmazonChimeExpressVideo".to_owned(),
        attendee_id: String::new(),
        external_user_id: String::new(),
        media_type: MediaType::Video,
        width: 1280,
        height: 720,
    };
    let own = (sends_camera || !watches.is_empty()).then_some(0);
    Subscribe {
        duplex: if sends_camera { Duplex::Both } else { Duplex::Receive },
        send_streams: sends_camera.then(camera).into_iter().collect(),
        receive_stream_ids: own.into_iter().chain(watches.iter().copied()).collect(),
        sdp: Sdp::Plain(offer),
        audio_host: Some("bench".to_owned()),
        audio_muted: false,
        video_subscriptions: Vec::new(),
    }
}

/// Where person number n is.
fn address(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, a, b, c), 4000))
}

impl Hall {
    /// Empty.
    ///
    /// # Errors
    /// No key could be made.
    pub(crate) fn new() -> Result<Hall, Failure> {
        let now = Instant::now();
        let config = ServiceConfig {
            certificate: Certificate::generate().map_err(|error| error.to_string())?,
            candidates: Candidates { udp: Some((Ipv4Addr::LOCALHOST, 3478).into()), tcp: None },
            allow_plain: true,
            limits: Limits::default(),
        };
        let clock = WallClock { instant: now, unix: Duration::from_secs(1_800_000_000) };
        let service = MediaService::new(config, clock, [7; 32]);
        Ok(Hall {
            service,
            began: now,
            now,
            people: 0,
            sent: Sent::default(),
            cameras: Vec::new(),
            refused: None,
        })
    }

    /// One more, with a camera or watching all that there are.
    ///
    /// # Errors
    /// The service does not take them.
    pub(crate) fn enter(&mut self, sends_camera: bool, watches: bool) -> Result<usize, Failure> {
        let number = self.people;
        self.people += 1;
        let session = SessionId(number as u64);
        self.service.connect(self.now, session, admission(0, number));
        self.service.handle_frame(self.now, session, join(number));
        let watched = if watches { self.cameras.as_slice() } else { &[] };
        self.service.handle_frame(self.now, session, subscribe(address(number), sends_camera, watched));
        self.drain();
        match self.refused.take() {
            Some(why) => Err(format!("person {number} was turned away: {why}")),
            None => Ok(number),
        }
    }

    /// 20 ms of sound of one person.
    pub(crate) fn speak(&mut self, number: usize, tick: u32, payload: &[u8]) {
        let mut packet = Vec::with_capacity(200);
        let (sequence, time) = (tick as u16, tick * 960);
        rtp::write_header(
            &mut packet,
            OPUS,
            tick == 0,
            sequence,
            time,
            1000 + number as u32,
            &[(AUDIO_LEVEL, &[20])],
        );
        packet.extend_from_slice(payload);
        self.arrive(number, &mut packet);
    }

    /// One packet of the camera's video.
    pub(crate) fn show(&mut self, number: usize, sequence: u16, time: u32, marker: bool, payload: &[u8]) {
        let mut packet = Vec::with_capacity(1300);
        rtp::write_header(&mut packet, VP8, marker, sequence, time, CAMERA_SSRC, &[]);
        packet.extend_from_slice(payload);
        self.arrive(number, &mut packet);
    }

    /// Kept apart by name, so that instructions can be counted here and nowhere else.
    #[inline(never)]
    fn arrive(&mut self, number: usize, packet: &mut [u8]) {
        self.service.handle_datagram(self.now, address(number), packet);
        self.drain();
    }

    /// Lets so much time pass, with all that falls due in it; everybody pings in their turn.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let shares = (PING_INTERVAL.as_millis() / time.as_millis().max(1)).max(1) as usize;
        let turn = (self.now.duration_since(self.began).as_millis() / time.as_millis().max(1)) as usize;
        for number in (turn % shares..self.people).step_by(shares) {
            self.service.handle_frame(
                self.now,
                SessionId(number as u64),
                ClientFrame::Ping { id: turn as u32 },
            );
        }
        while let Some(due) = self.service.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.fall_due();
        }
        self.now = end;
        self.drain();
    }

    #[inline(never)]
    fn fall_due(&mut self) {
        self.service.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                Output::Datagrams { segment_size, bytes, .. } => {
                    self.sent.datagrams += bytes.len().div_ceil(segment_size.max(1)) as u64;
                }
                Output::Frame { frame, .. } => {
                    self.sent.frames += 1;
                    self.told(frame);
                }
                Output::Frames { sessions, frame } => {
                    self.sent.frames += sessions.len() as u64;
                    self.told(frame);
                }
                Output::Close { reason, .. } => self.refused = Some(reason.to_owned()),
                Output::Event(_) => {}
            }
        }
    }

    fn told(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Index(index) if !index.sources.is_empty() => {
                self.cameras = index.sources.iter().map(|source| source.stream_id).collect();
            }
            ServerFrame::Error { description, .. } => self.refused = Some(description),
            _ => {}
        }
    }
}
