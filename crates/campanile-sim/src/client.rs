//! One simulated client: what a browser page with the unmodified client library does, without the browser.
//!
//! It speaks real signaling frames and bare RTP, and behaves as section 2 to 8 of the signaling specification say the
//! library does, its blind spots included: a clean close that it was not warned of goes unnoticed. Sans-IO like the
//! server: `world.rs` carries what waits in `out`.

mod media;
mod signaling;
mod subscribe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_media::rtcp::{self, ReceptionStats, SenderInfo, TwccRecorder};
use campanile_meeting::ids::{AttendeeKey, MeetingId, SessionId};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{AudioStatus, ClientFrame, DeliveredMessage, Index, ServerFrame};
use rand_chacha::ChaCha8Rng;

use self::media::{AudioIn, AudioOut};
use self::subscribe::VideoSection;
use crate::picture::{Camera, Screen, Seen, Sender};
use crate::sound::{Ear, Microphone};

/// How long the media path may be silent.
const MEDIA_SILENCE_MAX: Duration = Duration::from_secs(25);
/// Pings that may be unanswered.
const MISSED_PONGS_MAX: u32 = 4;

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
    /// The first packet after silence that was not silent: when it came, and its RTP timestamp.
    pub(crate) sound_began: Option<(Instant, u32)>,
    /// The newest sender report on the sound that it hears.
    pub(crate) sound_report: Option<SenderInfo>,
    /// Gaps in the sequence of audio packets, and timestamps that do not go with them.
    pub audio_breaks: u64,
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
    pub(crate) asleep_until: Option<Instant>,
    pub(crate) out: Vec<Out>,
    /// The browser that it calls itself.
    pub(crate) platform: String,
    pub(crate) watch: Watch,
    /// Its first SUBSCRIBE asks for video already.
    pub(crate) watches_at_once: bool,
    /// How much whose video matters, where it was said.
    pub(crate) priorities: BTreeMap<String, u32>,
    pub(crate) muted: bool,
    pub(crate) audio: bool,
    pub(crate) feedback: bool,
    /// What it says with its reports that it can receive (REMB).
    pub(crate) bears_kbps: Option<u64>,
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
    /// When something came last on the media path; `None` before media is on.
    media_heard_at: Option<Instant>,
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
            sound_began: None,
            sound_report: None,
            audio_breaks: 0,
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
            asleep_until: None,
            out: Vec::new(),
            watch: if attendee.content { Watch::Nothing } else { Watch::Highest },
            platform: "simulator".to_owned(),
            watches_at_once: false,
            priorities: BTreeMap::new(),
            muted: false,
            audio: true,
            feedback: true,
            bears_kbps: None,
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

    /// NACKs and keyframe requests received for each layer.
    pub fn asked_of_layers(&self) -> Vec<[u64; 2]> {
        let layers = self.connection.sender.iter().flat_map(|sender| &sender.layers);
        layers.map(|layer| [layer.nacks, layer.plis]).collect()
    }

    /// Keyframe requests received.
    pub fn plis_received(&self) -> u64 {
        self.asked_of_layers().iter().map(|[_, plis]| plis).sum()
    }

    /// The SSRCs of its camera: of each layer its own and its repairs'.
    pub fn camera_ssrcs(&self) -> Vec<[u32; 2]> {
        let layers = self.connection.sender.iter().flat_map(|sender| &sender.layers);
        layers.map(|layer| [layer.ssrc, layer.rtx_ssrc]).collect()
    }

    /// The SSRC of its microphone.
    pub fn microphone_ssrc(&self) -> u32 {
        self.connection.ssrc
    }

    /// PLI for each of its sections that receives, as often.
    pub(crate) fn beg(&mut self, times: usize) {
        for screen in &self.connection.screens {
            let mut pli = Vec::new();
            rtcp::pli(&mut pli, self.connection.ssrc, screen.ssrc);
            self.out.extend((0..times).map(|_| Out::Datagram(pli.clone())));
        }
    }

    /// How loud a tone is in what was heard in the last half second, in dB of a full-scale sine. Needs `listen`.
    pub fn hears_db(&self, hz: u32) -> f32 {
        self.ear.as_ref().map_or(-200.0, |ear| ear.level_db(hz))
    }

    /// The loudest sample of the last half second. Needs `listen`.
    pub fn peak(&self) -> f32 {
        self.ear.as_ref().map_or(0.0, Ear::peak)
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
            connection.media_heard_at.map(|at| at + MEDIA_SILENCE_MAX).filter(|_| media),
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
        due.map(|due| self.asleep_until.map_or(due, |until| due.max(until)))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.dead || self.asleep_until.is_some_and(|until| now < until) {
            return;
        }
        if self.asleep_until.take().is_some()
            && let Some(audio) = &mut self.connection.audio_out
        {
            audio.due = now; // what was not said then is not said now
        }
        if self.connection.media_is_on(self.state)
            && self.connection.media_heard_at.is_some_and(|at| now >= at + MEDIA_SILENCE_MAX)
        {
            return self.give_up_connection(now);
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
}

impl Connection {
    fn media_is_on(&self, state: State) -> bool {
        state == State::Started
    }
}
