//! One simulated client: what a browser page with the unmodified client library does, without the browser.
//!
//! It speaks real signaling frames and bare RTP, and behaves as section 2 to 8 of the signaling specification say the
//! library does, its blind spots included: a clean close that it was not warned of goes unnoticed. Sans-IO like the
//! server: `world.rs` carries what waits in `out`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_media::mix::SILENCE;
use campanile_media::peer::sdp::{Direction, Offer, PlainSection, SectionKind, SimulcastRid, plain_offer};
use campanile_media::rtcp::{self, ReceptionStats, ReportBlock, RtcpItem, SenderInfo, TwccRecorder};
use campanile_media::rtp::{self, RtpHeader};
use campanile_meeting::ids::{AttendeeKey, CONTENT_SUFFIX, MeetingId, SessionId};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{
    Adaption, AudioStatus, AudioStreamIdInfo, ClientDetails, ClientFrame, DeliveredMessage, Duplex,
    FrameKind, Index, Join, MediaType, QualityPreference, Sdp, ServerFrame, StreamDescriptor, Subscribe,
    SubscribeAck, VideoSubscription,
};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::link::share;
use crate::picture::{Camera, Screen, Seen, Sender, Wire};
use crate::sound::{Ear, Microphone};

/// The library's own: between pings, before an answer is given up, and within which it tries to come back.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const RECONNECT_WINDOW: Duration = Duration::from_secs(120);
/// Pings that may be unanswered.
const MISSED_PONGS_MAX: u32 = 4;
/// What all subscriptions may take together; sources beyond are passed over.
const SUBSCRIBED_KBPS_MAX: u32 = 15_000;
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_SAMPLES: u32 = 960;
const OPUS: u8 = 111;
const AUDIO_LEVEL: u8 = 1;
const TRANSPORT_CC: u8 = 3;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Which of the streams on offer a client receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Of everybody the largest stream: what the library does by default.
    Highest,
    /// Of everybody this stream, counted from the smallest; the largest if there are fewer.
    Layer(usize),
    /// Of everybody what the server finds fit, up to this many kilobits per second (server-side adaption, 4).
    Server(u32),
    /// Nothing.
    Nothing,
}

/// Where a client stands, as it believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It has no socket, and may be waiting to open one.
    Away,
    /// Its socket is opening or open, and it has not got an index yet.
    Joining,
    /// In the meeting; media is being set up.
    Starting,
    /// In the meeting.
    Started,
    /// It was told the end, or wants to leave, and waits for LEAVE_ACK.
    Leaving,
    /// Gone for good.
    Over,
}

/// Why a client's session has ended for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It left.
    Left,
    /// An AUDIO_STATUS said so.
    Status(AudioStatus),
    /// An error on some frame said so.
    Error(u32),
    /// The socket was closed with this code while joining.
    Closed(u16),
    /// It tried to come back for two minutes.
    GaveUp,
}

/// Who came, who went, as a client's application is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// When.
    pub at: Instant,
    /// The attendee's id.
    pub attendee: String,
    /// Came, or else went.
    pub here: bool,
    /// Went by a lost connection.
    pub dropped: bool,
}

/// One entry of the roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterEntry {
    /// The roster's number of the attendee.
    pub audio_stream_id: u32,
    /// The caller's own name for the attendee.
    pub external_user_id: String,
    /// The microphone is muted.
    pub muted: bool,
}

/// What a client wants carried.
#[derive(Debug)]
pub(crate) enum Out {
    Frame(Box<ClientFrame>),
    Bytes(Vec<u8>),
    Datagram(Vec<u8>),
    /// It closes this socket.
    Close(SessionId),
    /// It opens a socket.
    Open,
}

/// One simulated client. Its public fields are what its user and its application have seen.
pub struct Client {
    /// What the caller calls the attendee.
    pub name: String,
    /// The attendee, or its content share.
    pub attendee: AttendeeKey,
    /// Where it stands.
    pub state: State,
    /// Why it is [`State::Over`], or soon will be.
    pub ending: Option<Ending>,
    /// Its socket was closed cleanly and unannounced while in the meeting: the unmodified library does not notice.
    pub zombie: bool,
    /// Times that it came back after losing its connection.
    pub reconnects: u32,
    /// All frames received but levels and bitrates, with their time.
    pub frames: Vec<(Instant, ServerFrame)>,
    /// Levels, with their time.
    pub levels: Vec<(Instant, Vec<campanile_wire::signaling::AudioAttendeeState>)>,
    /// Closes received, with their time.
    pub closes: Vec<(Instant, u16)>,
    /// Everybody in the meeting, by attendee id, oneself included.
    pub roster: BTreeMap<String, RosterEntry>,
    /// How the roster came about.
    pub presence: Vec<Presence>,
    /// The latest index.
    pub index: Index,
    /// Data messages received, of others or thrown back.
    pub messages: Vec<DeliveredMessage>,
    /// The camera was refused.
    pub view_only: bool,
    /// SUBSCRIBE frames sent.
    pub subscribes: u32,
    /// Audio packets received, their sequence gaps, and the longest time between two.
    pub audio_packets: u64,
    /// Audio packets that were not exact digital silence.
    pub audible_packets: u64,
    /// Gaps in the sequence of audio packets, and timestamps that do not go with them.
    pub audio_breaks: u64,
    /// NACKs and keyframe requests that the server sent for the camera.
    pub nacks_received: u64,
    /// Keyframe requests that the server sent for the camera.
    pub plis_received: u64,
    /// What the server said last that the camera's receivers bear; the camera does not follow.
    pub told_kbps: Option<u64>,
    /// What the answers said, last first section first.
    pub answers: Vec<String>,
    /// What the allocations said.
    pub allocations: Vec<campanile_wire::signaling::StreamAllocation>,

    pub(crate) addr: SocketAddr,
    born: Instant,
    pub(crate) session: Option<SessionId>,
    pub(crate) capabilities: Capabilities,
    /// The replica it joins, instead of the meeting itself.
    pub(crate) replica: Option<MeetingId>,
    pub(crate) audio_session_id: u64,
    pub(crate) join_by_hand: bool,
    pub(crate) comes_back: bool,
    pub(crate) dead: bool,
    pub(crate) out: Vec<Out>,
    pub(crate) watch: Watch,
    pub(crate) muted: bool,
    pub(crate) audio: bool,
    pub(crate) feedback: bool,
    pub(crate) microphone: Microphone,
    pub(crate) ear: Option<Ear>,
    pub(crate) camera: Option<Camera>,
    pub(crate) rng: ChaCha8Rng,
    connection: Connection,
    old_screens: Vec<Screen>,
    lost_at: Option<Instant>,
    reopen_at: Option<Instant>,
    attempts: u32,
}

/// What begins anew with every socket.
#[derive(Default)]
struct Connection {
    next_ping: u32,
    ping_due: Option<Instant>,
    missed_pongs: u32,
    has_join_ack: bool,
    server_side: bool,
    roster_seen: bool,
    answer_due: Option<Instant>,
    update_wanted: bool,
    sections: Vec<VideoSection>,
    next_mid: u32,
    /// The camera as last described to the server.
    camera_sent: Option<Camera>,
    audio_out: Option<AudioOut>,
    audio_in: Option<AudioIn>,
    sender: Option<Sender>,
    screens: Vec<Screen>,
    transport_sequence: u16,
    report_due: Option<Instant>,
    receptions: Vec<(u32, ReceptionStats)>,
    arrivals: TwccRecorder,
    ssrc: u32,
}

/// A section in which this client receives, or could.
#[derive(Clone, Debug)]
struct VideoSection {
    mid: String,
    /// What it shows; `None` once stopped.
    shows: Option<Wanted>,
    /// It was offered as stopped: its place may be used again.
    settled: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    attendee: String,
    group_id: u32,
    stream_id: u32,
}

#[derive(Debug)]
struct AudioOut {
    due: Instant,
    sequence: u16,
    timestamp: u32,
    packets: u32,
    bytes: u32,
}

#[derive(Debug)]
struct AudioIn {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Client {
    pub(crate) fn new(
        name: &str,
        attendee: AttendeeKey,
        addr: SocketAddr,
        born: Instant,
        audio_session_id: u64,
        rng: ChaCha8Rng,
    ) -> Client {
        Client {
            name: name.to_owned(),
            attendee,
            state: State::Away,
            ending: None,
            zombie: false,
            reconnects: 0,
            frames: Vec::new(),
            levels: Vec::new(),
            closes: Vec::new(),
            roster: BTreeMap::new(),
            presence: Vec::new(),
            index: Index::default(),
            messages: Vec::new(),
            view_only: false,
            subscribes: 0,
            audio_packets: 0,
            audible_packets: 0,
            audio_breaks: 0,
            nacks_received: 0,
            plis_received: 0,
            told_kbps: None,
            answers: Vec::new(),
            allocations: Vec::new(),
            addr,
            born,
            session: None,
            capabilities: Capabilities::ALL,
            replica: None,
            audio_session_id,
            join_by_hand: false,
            comes_back: true,
            dead: false,
            out: Vec::new(),
            watch: if attendee.content { Watch::Nothing } else { Watch::Highest },
            muted: false,
            audio: true,
            feedback: true,
            microphone: Microphone::default(),
            ear: None,
            camera: None,
            rng,
            connection: Connection::default(),
            old_screens: Vec::new(),
            lost_at: None,
            reopen_at: None,
            attempts: 0,
        }
    }

    /// True while it believes to be in the meeting.
    pub fn is_in(&self) -> bool {
        matches!(self.state, State::Starting | State::Started)
    }

    /// True once its machine has been switched off.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether it comes back after losing its connection.
    pub fn comes_back(&self) -> bool {
        self.comes_back
    }

    /// Whether it is muted.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether its camera is on, as far as it knows.
    pub fn camera_is_on(&self) -> bool {
        self.camera.is_some()
    }

    /// What was seen of this attendee (`<id>` or `<id>#content`), over all sections that ever showed it: of the latest
    /// of them, with the frames of all.
    pub fn seen(&self, attendee: &str) -> Seen {
        let screens = self.old_screens.iter().chain(&self.connection.screens);
        let mut all = Seen::default();
        for screen in screens.filter(|screen| screen.attendee == attendee) {
            let before = std::mem::replace(&mut all, screen.seen.clone());
            all.frames += before.frames;
            all.packets += before.packets;
            all.corrupt += before.corrupt;
            all.picture_breaks += before.picture_breaks;
            all.clock_breaks += before.clock_breaks;
            all.sequence_jumps += before.sequence_jumps;
        }
        all
    }

    /// What was seen of everybody, ever.
    pub fn all_seen(&self) -> impl Iterator<Item = &Seen> {
        self.old_screens.iter().chain(&self.connection.screens).map(|screen| &screen.seen)
    }

    /// The attendees it is subscribed to, by the section's mid.
    pub fn subscriptions(&self) -> Vec<(String, String)> {
        let sections = self.connection.sections.iter();
        sections.filter_map(|s| Some((s.mid.clone(), s.shows.as_ref()?.attendee.clone()))).collect()
    }

    /// Keyframes sent of each layer.
    pub fn keyframes_sent(&self) -> Vec<u64> {
        let layers = self.connection.sender.iter().flat_map(|sender| &sender.layers);
        layers.map(|layer| layer.keyframes).collect()
    }

    /// How loud a tone is in what was heard in the last half second, in dB of a full-scale sine. Needs `listen`.
    pub fn hears_db(&self, hz: u32) -> f32 {
        self.ear.as_ref().map_or(-200.0, |ear| ear.level_db(hz))
    }

    /// The loudest sample of the last half second. Needs `listen`.
    pub fn peak(&self) -> f32 {
        self.ear.as_ref().map_or(0.0, Ear::peak)
    }

    /// A layer of the camera stops, or goes on: its encoder, not its announcement.
    pub(crate) fn let_flow(&mut self, layer: usize, flows: bool) {
        if let Some(layer) = self.connection.sender.as_mut().and_then(|sender| sender.layers.get_mut(layer)) {
            layer.flows = flows;
            if flows {
                layer.begin_again_with_keyframe();
            }
        }
    }

    /// All layers begin anew, under new SSRCs.
    pub(crate) fn change_ssrcs(&mut self) {
        let rng = &mut self.rng;
        for layer in self.connection.sender.iter_mut().flat_map(|sender| &mut sender.layers) {
            layer.begin_anew(|| rng.next_u32());
        }
    }

    /// The socket is open.
    pub(crate) fn opened(&mut self, now: Instant, session: SessionId) {
        self.session = Some(session);
        self.state = State::Joining;
        self.old_screens.append(&mut self.connection.screens);
        self.connection = Connection {
            next_ping: 1,
            ping_due: Some(now),
            next_mid: 2,
            answer_due: Some(now + ANSWER_TIMEOUT),
            transport_sequence: self.rng.next_u32() as u16,
            ssrc: self.rng.next_u32(),
            ..Connection::default()
        };
        if self.join_by_hand {
            // Connected early: neither pings nor JOIN yet, nor any hurry.
            (self.connection.ping_due, self.connection.answer_due) = (None, None);
        } else {
            self.ping(now);
            self.join(now);
        }
    }

    pub(crate) fn join(&mut self, now: Instant) {
        self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
        let server_side = matches!(self.watch, Watch::Server(_));
        use Adaption::{BandwidthProbing, BandwidthProbingAndVideoQuality, Default, None as NoAdaption};
        self.say(ClientFrame::Join(Join {
            protocol_version: 2,
            flags: 2,
            client: ClientDetails {
                platform_name: "simulator".to_owned(),
                client_source: "campanile-sim".to_owned(),
                ..ClientDetails::default()
            },
            audio_session_id: Some(self.audio_session_id),
            wants_compressed_sdp: true,
            adaption: if server_side { BandwidthProbingAndVideoQuality } else { Default },
            supported_adaptions: if server_side {
                vec![NoAdaption, BandwidthProbing, BandwidthProbingAndVideoQuality]
            } else {
                Vec::new()
            },
            wants_all_temporal_layers: server_side,
            disable_periodic_keyframes: false,
            max_videos: None,
        }));
    }

    fn ping(&mut self, now: Instant) {
        let id = self.connection.next_ping;
        self.connection.next_ping += 1;
        self.connection.ping_due = Some(now + PING_INTERVAL);
        self.connection.missed_pongs += 1;
        self.say(ClientFrame::Ping { id });
    }

    pub(crate) fn say(&mut self, frame: ClientFrame) {
        self.out.push(Out::Frame(Box::new(frame)));
    }

    /// LEAVE, and no more.
    pub(crate) fn leave(&mut self, now: Instant, ending: Ending) {
        self.ending.get_or_insert(ending);
        if self.session.is_none() {
            self.state = State::Over;
            self.reopen_at = None;
            return;
        }
        if !matches!(self.state, State::Leaving | State::Over) {
            self.state = State::Leaving;
            self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
            self.say(ClientFrame::Leave);
        }
    }

    /// Its socket is gone; with `None` without a close frame.
    pub(crate) fn closed(&mut self, now: Instant, code: Option<u16>) {
        self.session = None;
        if let Some(code) = code {
            self.closes.push((now, code));
        }
        let may_return = match code {
            None => true,
            Some(code) => (4500..4600).contains(&code),
        };
        match (self.state, code) {
            (State::Leaving, _) => self.finish(),
            (State::Joining, Some(code)) if !may_return => {
                self.ending = Some(Ending::Closed(code));
                self.finish();
            }
            (State::Joining | State::Starting | State::Started, _) if may_return => self.come_back(now),
            (State::Starting | State::Started, _) => self.zombie = true,
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.state = State::Over;
        self.connection.audio_out = None;
        self.connection.sender = None;
    }

    /// Tries again after a while: up to 1 s, then 2, 4, 5.
    pub(crate) fn come_back(&mut self, now: Instant) {
        self.state = State::Away;
        self.connection.audio_out = None;
        self.connection.sender = None;
        let lost_at = *self.lost_at.get_or_insert(now);
        if !self.comes_back {
            self.state = State::Over;
        } else if now - lost_at > RECONNECT_WINDOW {
            self.ending = Some(Ending::GaveUp);
            self.state = State::Over;
        } else {
            let longest = Duration::from_secs(1 << self.attempts.min(3)).min(Duration::from_secs(5));
            self.attempts += 1;
            self.reopen_at = Some(now + longest.mul_f64(share(&mut self.rng)));
        }
    }

    fn close_socket(&mut self) {
        self.out.extend(self.session.take().map(Out::Close));
    }

    /// Gives its connection up, and comes back. The socket is closed, if one is open.
    pub(crate) fn give_up_connection(&mut self, now: Instant) {
        self.close_socket();
        self.come_back(now);
    }

    pub(crate) fn handle_frame(&mut self, now: Instant, frame: ServerFrame) {
        match frame {
            ServerFrame::AudioMetadata(states) => return self.levels.push((now, states)),
            ServerFrame::Bitrates { .. } => return,
            _ => self.frames.push((now, frame.clone())),
        }
        match frame {
            ServerFrame::Ping { id } => self.say(ClientFrame::Pong { id }),
            ServerFrame::Pong { id } if id + 1 == self.connection.next_ping => {
                self.connection.missed_pongs = 0
            }
            ServerFrame::JoinAck(ack) => {
                self.connection.has_join_ack = true;
                self.connection.server_side =
                    ack.default_adaption == Some(Adaption::BandwidthProbingAndVideoQuality);
            }
            ServerFrame::Index(index) => self.handle_index(now, index),
            ServerFrame::SubscribeAck(ack) => self.handle_subscribe_ack(now, &ack),
            ServerFrame::AudioStreamIdInfo(entries) => self.handle_roster(now, entries),
            ServerFrame::DataMessages(messages) => self.messages.extend(messages),
            ServerFrame::LeaveAck if self.state == State::Leaving => {
                self.close_socket();
                self.finish();
            }
            ServerFrame::AudioStatus(status) => match status {
                AudioStatus::Ok => {}
                AudioStatus::InternalServerError | AudioStatus::ServiceUnavailable => {
                    self.give_up_connection(now);
                }
                status => self.leave(now, Ending::Status(status)),
            },
            ServerFrame::Error { status, on, .. } => match status {
                206 => {
                    // Told so, it stops; no SUBSCRIBE follows.
                    self.view_only = true;
                    self.camera = None;
                    self.connection.camera_sent = None;
                    self.connection.sender = None;
                }
                200..300 => {}
                500..600 if status != 509 => self.give_up_connection(now),
                _ if on == FrameKind::Notification => {}
                status => self.leave(now, Ending::Error(status)),
            },
            _ => {}
        }
    }

    fn handle_index(&mut self, now: Instant, index: Index) {
        self.index = index;
        match self.state {
            State::Joining if self.connection.has_join_ack => {
                self.state = State::Starting;
                self.subscribe(now);
            }
            State::Started => self.update_video(now),
            _ => {}
        }
    }

    fn handle_roster(&mut self, now: Instant, entries: Vec<AudioStreamIdInfo>) {
        let myself = self.attendee.to_string();
        if !std::mem::replace(&mut self.connection.roster_seen, true) {
            // The first roster of a connection is the whole one: whoever is not in it has gone.
            let listed = |who: &String| {
                entries.iter().any(
                    |e| matches!(e, AudioStreamIdInfo::Present { attendee_id, .. } if attendee_id == who),
                )
            };
            let gone: Vec<_> =
                self.roster.keys().filter(|who| **who != myself && !listed(who)).cloned().collect();
            for attendee in gone {
                self.roster.remove(&attendee);
                self.presence.push(Presence { at: now, attendee, here: false, dropped: false });
            }
        }
        for entry in entries {
            match entry {
                AudioStreamIdInfo::Present { audio_stream_id, attendee_id, external_user_id, muted } => {
                    let entry = RosterEntry { audio_stream_id, external_user_id, muted };
                    if self.roster.insert(attendee_id.clone(), entry).is_none() {
                        let attendee = attendee_id;
                        self.presence.push(Presence { at: now, attendee, here: true, dropped: false });
                    }
                }
                AudioStreamIdInfo::Mute { audio_stream_id, muted } => {
                    let found = self.roster.values_mut().find(|e| e.audio_stream_id == audio_stream_id);
                    if let Some(entry) = found {
                        entry.muted = muted;
                    }
                }
                AudioStreamIdInfo::Left { audio_stream_id, dropped } => {
                    let found = self.roster.iter().find(|(_, e)| e.audio_stream_id == audio_stream_id);
                    if let Some(attendee) = found.map(|(attendee, _)| attendee.clone()) {
                        self.roster.remove(&attendee);
                        self.presence.push(Presence { at: now, attendee, here: false, dropped });
                    }
                }
            }
        }
    }

    /// What the policy wants of the index: one stream of each attendee's newest group.
    fn wanted(&self) -> Vec<Wanted> {
        if self.watch == Watch::Nothing {
            return Vec::new();
        }
        let base = self.attendee.id.to_string();
        let content = format!("{base}{CONTENT_SUFFIX}");
        let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
        for source in &self.index.sources {
            let newest = newest.entry(&source.attendee_id).or_default();
            *newest = source.group_id.max(*newest);
        }
        let mut wanted = Vec::new();
        let mut total_kbps = 0;
        for (attendee, group_id) in newest {
            if attendee == base || attendee == content {
                continue;
            }
            let mut streams: Vec<_> = self
                .index
                .sources
                .iter()
                .filter(|s| s.group_id == group_id && s.media_type == MediaType::Video)
                .collect();
            streams.sort_by_key(|stream| stream.max_bitrate_kbps);
            let at = match self.watch {
                Watch::Layer(at) => at.min(streams.len().saturating_sub(1)),
                _ => streams.len().saturating_sub(1),
            };
            let Some(stream) = streams.get(at) else { continue };
            total_kbps += stream.max_bitrate_kbps;
            if total_kbps <= SUBSCRIBED_KBPS_MAX {
                wanted.push(Wanted { attendee: attendee.to_owned(), group_id, stream_id: stream.stream_id });
            }
        }
        wanted
    }

    /// Compares what is wanted with what is negotiated, and says the difference in the cheapest way.
    pub(crate) fn update_video(&mut self, now: Instant) {
        if self.state != State::Started {
            return;
        }
        if self.connection.answer_due.is_some() {
            self.connection.update_wanted = true;
            return;
        }
        let wanted = self.wanted();
        let mut removed = false;
        for section in &mut self.connection.sections {
            let Some(shows) = &section.shows else { continue };
            if !wanted.iter().any(|w| w.attendee == shows.attendee && w.group_id == shows.group_id) {
                section.shows = None;
                section.settled = false;
                removed = true;
            }
        }
        let mut added = false;
        let mut updated = Vec::new();
        for wish in wanted {
            let shown = self.connection.sections.iter_mut().find_map(|section| {
                let shows = section.shows.as_mut().filter(|shows| shows.group_id == wish.group_id)?;
                Some((section.mid.clone(), shows))
            });
            match shown {
                Some((mid, shows)) if *shows != wish => {
                    *shows = wish.clone();
                    updated.push(self.wish_for(&mid, &wish));
                }
                Some(_) => {}
                None => {
                    added = true;
                    self.add_section(wish);
                }
            }
        }
        if added || removed || self.connection.camera_sent != self.camera {
            self.subscribe(now);
        } else if !updated.is_empty() && !self.connection.server_side {
            self.say(ClientFrame::RemoteVideoUpdate { updated, removed_mids: Vec::new() });
        }
    }

    /// A new target for all that the server chooses.
    pub(crate) fn watch(&mut self, now: Instant, watch: Watch) {
        let before = std::mem::replace(&mut self.watch, watch);
        if matches!((before, watch), (Watch::Server(_), Watch::Server(_))) && self.connection.server_side {
            let sections = self.connection.sections.clone();
            let updated = sections
                .iter()
                .filter_map(|section| Some(self.wish_for(&section.mid, section.shows.as_ref()?)))
                .collect();
            self.say(ClientFrame::RemoteVideoUpdate { updated, removed_mids: Vec::new() });
        } else {
            self.update_video(now);
        }
    }

    fn wish_for(&self, mid: &str, wanted: &Wanted) -> VideoSubscription {
        let target = match self.watch {
            Watch::Server(kbps) => Some(kbps),
            _ => None,
        };
        let server_side = self.connection.server_side && target.is_some();
        VideoSubscription {
            mid: mid.to_owned(),
            attendee_id: Some(wanted.attendee.clone()),
            stream_id: (!server_side).then_some(wanted.stream_id),
            group_id: server_side.then_some(wanted.group_id),
            priority: server_side.then_some(u32::MAX - 1),
            target_bitrate_kbps: target.filter(|_| server_side),
            preference: QualityPreference::Balanced,
        }
    }

    /// A stopped section's place is used again, under a new mid.
    fn add_section(&mut self, wish: Wanted) {
        let mid = self.connection.next_mid.to_string();
        self.connection.next_mid += 1;
        let section = VideoSection { mid, shows: Some(wish), settled: false };
        let free = self.connection.sections.iter_mut().find(|s| s.shows.is_none() && s.settled);
        match free {
            Some(place) => *place = section,
            None => self.connection.sections.push(section),
        }
    }

    /// SUBSCRIBE with a whole offer.
    fn subscribe(&mut self, now: Instant) {
        self.subscribes += 1;
        self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
        self.connection.update_wanted = false;
        // The first SUBSCRIBE is for audio alone.
        let camera = self.camera.clone().filter(|_| self.state == State::Started);
        self.connection.camera_sent = camera.clone();
        if self.connection.sender.as_ref().is_some_and(|sender| Some(&sender.camera) != camera.as_ref()) {
            self.connection.sender = None;
        }
        let mut sections = Vec::new();
        if self.audio {
            sections.push(PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv));
        }
        let direction = if camera.is_some() { Direction::SendRecv } else { Direction::Inactive };
        let mut section = PlainSection::new(SectionKind::Video, "1", direction);
        if let Some(camera) = &camera {
            let rids = camera.rids().iter().zip(&camera.layers_kbps);
            section.rids =
                rids.map(|(rid, kbps)| SimulcastRid { rid: (*rid).to_owned(), paused: *kbps == 0 }).collect();
        }
        sections.push(section);
        let mut receive_stream_ids = vec![0];
        let mut video_subscriptions = Vec::new();
        for section in &self.connection.sections {
            let direction = if section.shows.is_some() { Direction::RecvOnly } else { Direction::Inactive };
            let mut offered = PlainSection::new(SectionKind::Video, &*section.mid, direction);
            offered.rejected = section.shows.is_none();
            sections.push(offered);
            receive_stream_ids.push(section.shows.as_ref().map_or(0, |shows| shows.stream_id));
            if let (Some(shows), true) = (&section.shows, self.connection.server_side) {
                video_subscriptions.push(self.wish_for(&section.mid, shows));
            }
        }
        let mut send_streams = Vec::new();
        if self.audio {
            send_streams.push(descriptor(
                1,
                1,
                MediaType::Audio,
                "AmazonChimeExpressAudio",
                600,
                self.attendee,
            ));
        }
        if let Some(camera) = &camera {
            let simulcast = camera.layers_kbps.len() > 1;
            for (at, kbps) in camera.layers_kbps.iter().enumerate() {
                let (stream_id, group_id) = match self.allocations.get(at) {
                    Some(known) if simulcast => (known.stream_id, known.group_id),
                    _ if simulcast => (0, 0),
                    _ => (2, 2), // the client's constants
                };
                let label = if simulcast { "" } else { "AmazonChimeExpressVideo" };
                let video = MediaType::Video;
                send_streams.push(descriptor(stream_id, group_id, video, label, *kbps, self.attendee));
            }
        }
        self.say(ClientFrame::Subscribe(Box::new(Subscribe {
            duplex: if camera.is_some() { Duplex::Both } else { Duplex::Receive },
            send_streams,
            receive_stream_ids,
            sdp: Sdp::Plain(plain_offer(self.addr, &sections)),
            audio_host: self.audio.then(|| "sim".to_owned()),
            audio_muted: self.muted,
            video_subscriptions,
        })));
    }

    fn handle_subscribe_ack(&mut self, now: Instant, ack: &SubscribeAck) {
        self.connection.answer_due = None;
        let Sdp::Plain(text) = &ack.sdp else { panic!("compressed SDP was not agreed on") };
        // An answer reads like an offer, only the other way round.
        let answer = Offer::parse(text).expect("the server writes what it reads");
        self.answers.push(text.clone());
        self.allocations.clone_from(&ack.allocations);
        for section in self.connection.sections.iter_mut().filter(|section| section.shows.is_none()) {
            section.settled = true;
        }
        let connection = &mut self.connection;
        let tracks: Vec<_> = ack
            .tracks
            .iter()
            .filter_map(|track| {
                let mid = track.track_label.strip_prefix("v_")?;
                let shows = connection.sections.iter().find(|s| s.mid == mid)?.shows.as_ref()?;
                Some((mid.to_owned(), track.ssrc, shows.attendee.clone()))
            })
            .collect();
        let gone = connection.screens.extract_if(.., |screen| {
            !tracks
                .iter()
                .any(|(mid, ssrc, who)| (mid, *ssrc, who) == (&screen.mid, screen.ssrc, &screen.attendee))
        });
        self.old_screens.extend(gone);
        for (mid, ssrc, attendee) in tracks {
            if connection.screens.iter().any(|screen| screen.mid == mid) {
                continue;
            }
            let section = answer.sections.iter().find(|section| section.mid == mid);
            let pairs = section.into_iter().flat_map(|section| &section.rtx_pairs);
            let rtx = pairs.copied().find(|(main, _)| *main == ssrc).map(|(_, rtx)| rtx);
            connection.screens.push(Screen::new(now, &mid, &attendee, ssrc, rtx));
        }
        if self.state == State::Starting {
            self.state = State::Started;
            if self.lost_at.take().is_some() {
                self.reconnects += 1;
            }
            self.attempts = 0;
            let connection = &mut self.connection;
            connection.report_due = Some(now + REPORT_INTERVAL);
            if self.audio {
                connection.audio_out = Some(AudioOut {
                    due: now,
                    sequence: self.rng.next_u32() as u16,
                    timestamp: self.rng.next_u32(),
                    packets: 0,
                    bytes: 0,
                });
            }
        }
        if self.connection.sender.is_none()
            && let Some(camera) = self.connection.camera_sent.clone()
        {
            let rng = &mut self.rng;
            self.connection.sender = Some(Sender::new(now, self.born, camera, "1", || rng.next_u32()));
        }
        self.update_video(now);
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) {
        if rtcp::is_rtcp(bytes) {
            return self.handle_rtcp(bytes);
        }
        let header = RtpHeader::parse(bytes).expect("the server writes RTP");
        let payload = &bytes[header.payload.clone()];
        if header.payload_type == OPUS {
            return self.hear(&header, payload);
        }
        if let Some(&[high, low]) = header.extension(bytes, TRANSPORT_CC) {
            self.connection.arrivals.record(u16::from_be_bytes([high, low]), now);
        }
        let screens = &mut self.connection.screens;
        let screen = screens.iter_mut().find(|s| s.ssrc == header.ssrc || s.rtx_ssrc == Some(header.ssrc));
        // Packets of a subscription that has just ended may still be under way.
        let Some(screen) = screen else { return };
        let repairs = screen.rtx_ssrc == Some(header.ssrc);
        screen.receive(now, &header, payload, repairs);
        if !repairs {
            self.connection.count(now, &header);
        }
    }

    fn hear(&mut self, header: &RtpHeader, payload: &[u8]) {
        self.audio_packets += 1;
        self.audible_packets += u64::from(payload != SILENCE);
        if let Some(ear) = &mut self.ear {
            ear.hear(header.sequence, payload);
        }
        let newest = AudioIn { ssrc: header.ssrc, sequence: header.sequence, timestamp: header.timestamp };
        let before = self.connection.audio_in.replace(newest);
        // Of the connection before this one, some may still be under way.
        let Some(before) = before.filter(|before| before.ssrc == header.ssrc) else { return };
        let step = header.sequence.wrapping_sub(before.sequence) as i16;
        let ticks = header.timestamp.wrapping_sub(before.timestamp) as i32;
        self.audio_breaks += u64::from(i32::from(step) * AUDIO_SAMPLES as i32 != ticks);
        if step < 0 {
            self.connection.audio_in = Some(before);
        }
    }

    fn handle_rtcp(&mut self, bytes: &[u8]) {
        let Client { connection, out, .. } = self;
        for item in rtcp::parse(bytes) {
            match item.expect("the server writes RTCP") {
                RtcpItem::Nack { ssrc, lost } => {
                    self.nacks_received += 1;
                    let Some(sender) = &mut connection.sender else { continue };
                    let mut send = |packet| out.push(Out::Datagram(packet));
                    let transport_sequence = &mut connection.transport_sequence;
                    sender.repair(ssrc, lost, &mut Wire { transport_sequence, send: &mut send });
                }
                RtcpItem::Pli { ssrc } | RtcpItem::Fir { ssrc, .. } => {
                    self.plis_received += 1;
                    if let Some(sender) = &mut connection.sender {
                        sender.keyframe(ssrc);
                    }
                }
                RtcpItem::Remb { bitrate_bps, .. } => self.told_kbps = Some(bitrate_bps / 1000),
                _ => {}
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        let connection = &self.connection;
        let media = connection.media_is_on(self.state);
        let mut due = [
            self.reopen_at,
            connection.ping_due.filter(|_| self.session.is_some()),
            connection.answer_due.filter(|_| self.session.is_some()),
            connection.audio_out.as_ref().map(|audio| audio.due).filter(|_| media),
            connection.sender.as_ref().map(Sender::poll_timeout).filter(|_| media),
            connection.report_due.filter(|_| media),
            connection.arrivals.poll_timeout().filter(|_| media && self.feedback),
        ]
        .into_iter()
        .flatten()
        .min();
        if media {
            due = connection.screens.iter().filter_map(Screen::poll_timeout).chain(due).min();
        }
        due
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.dead {
            return;
        }
        if self.reopen_at.is_some_and(|due| now >= due) {
            self.reopen_at = None;
            self.out.push(Out::Open);
        }
        if self.session.is_some() {
            if self.connection.ping_due.is_some_and(|due| now >= due) {
                if self.connection.missed_pongs >= MISSED_PONGS_MAX {
                    return self.give_up_connection(now);
                }
                self.ping(now);
            }
            if self.connection.answer_due.is_some_and(|due| now >= due) {
                self.connection.answer_due = None;
                match self.state {
                    State::Leaving => {
                        self.close_socket();
                        self.finish();
                    }
                    _ => self.give_up_connection(now),
                }
            }
        }
        if self.connection.media_is_on(self.state) {
            self.send_audio(now);
            self.send_video(now);
            self.send_feedback(now);
            self.report(now);
        }
    }

    fn send_audio(&mut self, now: Instant) {
        let Client { connection, out, microphone, muted, .. } = self;
        let Some(audio) = &mut connection.audio_out else { return };
        while now >= audio.due {
            audio.due += AUDIO_INTERVAL;
            let (payload, level) = microphone.next(*muted);
            let mut packet = Vec::with_capacity(payload.len() + 20);
            let number = connection.transport_sequence.to_be_bytes();
            connection.transport_sequence = connection.transport_sequence.wrapping_add(1);
            let (first, level) = (audio.packets == 0, [level]);
            let extensions: [(u8, &[u8]); 2] = [(AUDIO_LEVEL, &level), (TRANSPORT_CC, &number)];
            let ssrc = connection.ssrc;
            rtp::write_header(&mut packet, OPUS, first, audio.sequence, audio.timestamp, ssrc, &extensions);
            packet.extend_from_slice(payload);
            audio.sequence = audio.sequence.wrapping_add(1);
            audio.timestamp = audio.timestamp.wrapping_add(AUDIO_SAMPLES);
            audio.packets += 1;
            audio.bytes += payload.len() as u32;
            out.push(Out::Datagram(packet));
        }
    }

    fn send_video(&mut self, now: Instant) {
        let Client { connection, out, .. } = self;
        if let Some(sender) = &mut connection.sender {
            let mut send = |packet| out.push(Out::Datagram(packet));
            let transport_sequence = &mut connection.transport_sequence;
            sender.handle_timeout(now, &mut Wire { transport_sequence, send: &mut send });
        }
        for screen in &mut connection.screens {
            if screen.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            let mut lost = Vec::new();
            let pli = screen.handle_timeout(now, &mut lost);
            let mut feedback = Vec::new();
            if !lost.is_empty() {
                rtcp::nack(&mut feedback, connection.ssrc, screen.ssrc, lost);
            }
            if pli {
                rtcp::pli(&mut feedback, connection.ssrc, screen.ssrc);
            }
            if !feedback.is_empty() {
                out.push(Out::Datagram(feedback));
            }
        }
    }

    /// Transport-wide feedback on what has arrived.
    fn send_feedback(&mut self, now: Instant) {
        let Client { connection, out, feedback, .. } = self;
        while *feedback && connection.arrivals.poll_timeout().is_some_and(|due| due <= now) {
            let mut packet = Vec::new();
            connection.arrivals.build(now, connection.ssrc, 0, &mut packet);
            out.push(Out::Datagram(packet));
        }
    }

    fn report(&mut self, now: Instant) {
        let Client { connection, out, .. } = self;
        if connection.report_due.is_none_or(|due| now < due) {
            return;
        }
        connection.report_due = Some(now + REPORT_INTERVAL);
        let blocks: Vec<ReportBlock> =
            connection.receptions.iter_mut().filter_map(|(_, stats)| stats.report(now)).take(31).collect();
        let mut compound = Vec::new();
        match &connection.audio_out {
            Some(audio) => {
                let info = SenderInfo {
                    ntp: 0,
                    rtp_timestamp: audio.timestamp,
                    packets: audio.packets,
                    octets: audio.bytes,
                };
                rtcp::sender_report(&mut compound, connection.ssrc, &info, &blocks);
            }
            None => rtcp::receiver_report(&mut compound, connection.ssrc, &blocks),
        }
        rtcp::sdes_cname(&mut compound, connection.ssrc, "sim");
        for layer in connection.sender.iter().flat_map(|sender| &sender.layers) {
            let info = SenderInfo {
                ntp: 0,
                rtp_timestamp: layer.timestamp,
                packets: layer.packets,
                octets: layer.bytes,
            };
            rtcp::sender_report(&mut compound, layer.ssrc, &info, &[]);
        }
        out.push(Out::Datagram(compound));
    }
}

impl Connection {
    fn media_is_on(&self, state: State) -> bool {
        state == State::Started
    }

    fn count(&mut self, now: Instant, header: &RtpHeader) {
        let at = match self.receptions.iter().position(|(ssrc, _)| *ssrc == header.ssrc) {
            Some(at) => at,
            None => {
                self.receptions.push((header.ssrc, ReceptionStats::new(header.ssrc, 90_000)));
                self.receptions.len() - 1
            }
        };
        self.receptions[at].1.record(header.sequence, header.timestamp, now);
    }
}

fn descriptor(
    stream_id: u32,
    group_id: u32,
    media_type: MediaType,
    track_label: &str,
    max_bitrate_kbps: u32,
    attendee: AttendeeKey,
) -> StreamDescriptor {
    StreamDescriptor {
        stream_id,
        group_id,
        framerate: 15,
        max_bitrate_kbps,
        avg_bitrate_bps: max_bitrate_kbps * 800,
        track_label: track_label.to_owned(),
        attendee_id: attendee.to_string(),
        external_user_id: String::new(),
        media_type,
        width: 0,
        height: 0,
    }
}
