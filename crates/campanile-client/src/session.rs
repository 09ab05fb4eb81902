//! The application's end of a session.

use std::fmt;
use std::time::Instant;

use campanile_wire::signaling::{Adaption, DataMessage, DeliveredMessage, SignalStrength, StreamDescriptor};
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::Driver;
use crate::engine::EngineKind;
use crate::join::JoinInfo;
use crate::media::{AudioSource, Media, Subscriptions, VideoSource};
use crate::network::NetworkProfile;
use crate::roster::RosterChange;
use crate::stats::{JoinTimings, Stats};
use crate::status::SessionStatus;
use crate::tls::Trust;

/// Events waiting for the application. Two seconds of sound and 25 videos; who takes no events for longer loses some.
const EVENTS_MAX: usize = 2048;
/// Commands waiting for the session.
const COMMANDS_MAX: usize = 256;

/// Takes media where it comes in, in the session's own task, instead of [`Event::Media`]. It should be quick.
pub type MediaSink = Box<dyn FnMut(Media) + Send>;

/// Told of each packet of an [`AudioSource::Loop`] that is sent: its place in the loop, and when. It should be quick.
pub type LoopTap = Box<dyn FnMut(usize, Instant) + Send>;

/// How to be in a meeting.
pub struct Config {
    /// How media is treated.
    pub engine: EngineKind,
    /// Join with the microphone muted.
    pub muted: bool,
    /// What to say.
    pub audio: AudioSource,
    /// What to show.
    pub video: Option<VideoSource>,
    /// What to watch.
    pub subscriptions: Subscriptions,
    /// Who chooses the layers: [`Adaption::Default`] for the client, `BandwidthProbingAndVideoQuality` for the service.
    pub adaption: Adaption,
    /// Whom to believe.
    pub trust: Trust,
    /// Makes the network worse.
    pub network: NetworkProfile,
    /// Where media goes; `None` makes events of it.
    pub sink: Option<MediaSink>,
    /// Who follows the loop that is said, for measuring how long it takes to be heard.
    pub tap: Option<LoopTap>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            engine: EngineKind::Full,
            muted: false,
            audio: AudioSource::Application,
            video: None,
            subscriptions: Subscriptions::Chosen,
            adaption: Adaption::Default,
            trust: Trust::system(),
            network: NetworkProfile::default(),
            sink: None,
            tap: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("engine", &self.engine)
            .field("muted", &self.muted)
            .finish_non_exhaustive()
    }
}

/// How loud an attendee is, and how well the service hears them.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Who; `None` for someone not in the roster.
    pub attendee_id: Option<String>,
    /// 0 silent to 1 loud, as applications show it.
    pub volume: Option<f32>,
    /// How well the service hears them.
    pub signal_strength: Option<SignalStrength>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Media flows, for the first time or again.
    Started(JoinTimings),
    /// The connection is lost; the session tries to come back.
    Reconnecting(SessionStatus),
    /// Over. The last event.
    Ended(SessionStatus),
    /// Someone came, went, muted or unmuted; oneself too.
    Roster(RosterChange),
    /// Five times a second while someone speaks.
    Levels(Vec<Level>),
    /// The videos on offer, all of them.
    Sources(Vec<StreamDescriptor>),
    /// A data message; `ingest_time_ns` 0 says that one's own was throttled.
    Message(DeliveredMessage),
    /// One's video was refused: the meeting has no room for more.
    ViewOnly,
    /// Something arrived.
    Media(Media),
    /// Someone needs a keyframe of one's layer of this rid.
    KeyframeWanted {
        /// `None` for the only layer.
        rid: Option<String>,
    },
}

/// Joining did not succeed and will not by trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session could not start: {0:?}")]
pub struct JoinError(pub SessionStatus);

pub(crate) enum Command {
    Mute(bool),
    Message(DataMessage),
    Audio { payload: Vec<u8>, level_db: u8 },
    PlayAudio(AudioSource),
    Publish(Option<VideoSource>),
    VideoFrame { layer: usize, data: Vec<u8> },
    Watch(Subscriptions, Vec<u32>),
    Pause(Vec<u32>),
    Resume(Vec<u32>),
    RequestKeyframe(u32),
    Leave(oneshot::Sender<()>),
    Vanish,
    Cut,
}

/// A session that goes on in a task of its own. Cheap to clone; when the last one is dropped, the session leaves.
#[derive(Clone, Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    stats: watch::Receiver<Stats>,
}

/// What happens in a session, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` after [`Event::Ended`]. May be dropped while waiting.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Session {
    /// Joins, and returns once ICE and DTLS are done. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The status is terminal, or two minutes of trying have passed.
    pub async fn join(info: JoinInfo, config: Config) -> Result<(Session, Events), JoinError> {
        let (session, events, started) = Session::begin(info, config);
        started.await.unwrap_or(Err(SessionStatus::Left)).map_err(JoinError)?;
        Ok((session, events))
    }

    fn begin(
        info: JoinInfo,
        config: Config,
    ) -> (Session, Events, oneshot::Receiver<Result<(), SessionStatus>>) {
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (events, events_rx) = mpsc::channel(EVENTS_MAX);
        let (stats, stats_rx) = watch::channel(Stats::default());
        let (started, started_rx) = oneshot::channel();
        let driver = Driver::new(info, config, commands_rx, events, stats, started);
        tokio::spawn(driver.run());
        (Session { commands, stats: stats_rx }, Events(events_rx), started_rx)
    }

    /// Shares content as the same attendee: a session of its own, with `video` and perhaps the sound in `config`.
    ///
    /// # Errors
    /// As [`Session::join`]; a meeting has room for two shares.
    pub async fn share_content(
        info: &JoinInfo,
        video: VideoSource,
        config: Config,
    ) -> Result<(Session, Events), JoinError> {
        let config = Config { video: Some(video), subscriptions: Subscriptions::Chosen, ..config };
        Session::join(info.content(), config).await
    }

    /// Commands to a session that has ended, or has not taken 256 of them, are dropped.
    fn say(&self, command: Command) {
        let _ = self.commands.try_send(command);
    }

    /// Mutes or unmutes the microphone. A muted session sends silence.
    pub fn set_muted(&self, muted: bool) {
        self.say(Command::Mute(muted));
    }

    /// Sends a data message to everybody else. Topics have up to 36 letters, digits, `-` and `_`; bodies up to 2048
    /// bytes; late joiners receive it for `lifetime_ms`, at most five minutes.
    pub fn send_message(&self, topic: &str, data: Vec<u8>, lifetime_ms: u32) {
        self.say(Command::Message(DataMessage { topic: topic.to_owned(), data, lifetime_ms }));
    }

    /// Sends one Opus packet of 20 ms. `level_db` is 0 for the loudest sound there is, 127 for none.
    pub fn send_audio(&self, payload: Vec<u8>, level_db: u8) {
        self.say(Command::Audio { payload, level_db });
    }

    /// Says this from now on.
    pub fn play_audio(&self, source: AudioSource) {
        self.say(Command::PlayAudio(source));
    }

    /// Switches the camera on (or over), or off.
    pub fn publish_video(&self, source: Option<VideoSource>) {
        self.say(Command::Publish(source));
    }

    /// Sends one encoded frame on a layer of the published source, low to high.
    pub fn send_video(&self, layer: usize, data: Vec<u8>) {
        self.say(Command::VideoFrame { layer, data });
    }

    /// Watches by this rule from now on.
    pub fn subscribe(&self, subscriptions: Subscriptions) {
        self.say(Command::Watch(subscriptions, Vec::new()));
    }

    /// Watches these streams of the index and no others.
    pub fn watch(&self, stream_ids: Vec<u32>) {
        self.say(Command::Watch(Subscriptions::Chosen, stream_ids));
    }

    /// Keeps the subscriptions of these streams, but asks the service not to send them for now.
    pub fn pause(&self, stream_ids: Vec<u32>) {
        self.say(Command::Pause(stream_ids));
    }

    /// Undoes [`Session::pause`].
    pub fn resume(&self, stream_ids: Vec<u32>) {
        self.say(Command::Resume(stream_ids));
    }

    /// Asks for a keyframe of a watched stream.
    pub fn request_keyframe(&self, stream_id: u32) {
        self.say(Command::RequestKeyframe(stream_id));
    }

    /// Leaves, and waits until the service has heard it.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.commands.send(Command::Leave(done)).await.is_ok() {
            let _ = left.await;
        }
    }

    /// Is gone without a word, as when the power fails.
    pub fn vanish(&self) {
        self.say(Command::Vanish);
    }

    /// Breaks the signaling connection, as a changing network does; the session then comes back.
    pub fn cut(&self) {
        self.say(Command::Cut);
    }

    /// Counters, at most a second old.
    pub fn stats(&self) -> Stats {
        self.stats.borrow().clone()
    }

    /// Waits for the next counters, which come once a second and when something changes; `None` when the session is over.
    pub async fn next_stats(&self) -> Option<Stats> {
        let mut stats = self.stats.clone();
        stats.mark_unchanged();
        stats.changed().await.ok()?;
        Some(self.stats())
    }

    /// True until the session has ended.
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed()
    }
}
