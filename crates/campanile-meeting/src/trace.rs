//! How one connection's way into its meeting went: each step's time, and, if it ended early, why and what helps.

use std::time::{Duration, Instant};

use campanile_wire::signaling::proto;
use tracing::warn;

use crate::ids::{AccountId, AttendeeKey, MeetingId, SessionId};
use crate::registry::{Admission, Refusal};

/// The steps of getting in, in the order in which a client takes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum JoinStep {
    /// The signaling socket is open, and its token admitted. All times count from here.
    Opened,
    /// JOIN came; JOIN_ACK and INDEX left in the same turn.
    Joined,
    /// The first SUBSCRIBE came; its answer left in the same turn.
    Subscribed,
    /// An authentic check came from an address of the client's.
    IceConnected,
    /// DTLS is done: there are keys.
    DtlsConnected,
    /// The client's first packet of media came.
    FirstPacketIn,
    /// The first packet of the mix left.
    FirstPacketOut,
}

/// How many there are.
const STEPS: usize = JoinStep::ALL.len();
/// Of a client's metrics, one frame in so many is told: they come every second.
const METRICS_TOLD_EVERY: u32 = 10;

impl JoinStep {
    /// All, in order.
    pub const ALL: [JoinStep; 7] = [
        JoinStep::Opened,
        JoinStep::Joined,
        JoinStep::Subscribed,
        JoinStep::IceConnected,
        JoinStep::DtlsConnected,
        JoinStep::FirstPacketIn,
        JoinStep::FirstPacketOut,
    ];

    /// What helps a client that got no further than the step before this one, if nobody sent it away.
    fn remedy(self) -> &'static str {
        match self {
            JoinStep::Opened => "give the client the join token of an attendee of this meeting",
            JoinStep::Joined => {
                "the page opened the socket and went no further: look at its own log, and whether it was closed meanwhile"
            }
            JoinStep::Subscribed => {
                "the client got its INDEX and offered no media: look at its own log, and whether it may use the microphone"
            }
            JoinStep::IceConnected => {
                "nothing came on the client's media path: check that the announced media address is the one that clients \
                 reach, and that UDP to its port is open on every firewall between, or at least TCP to the same port"
            }
            JoinStep::DtlsConnected => {
                "checks arrive and the DTLS handshake does not end: look for a path that drops larger packets, or a \
                 client whose certificate is not the one it offered"
            }
            JoinStep::FirstPacketIn | JoinStep::FirstPacketOut => {
                "the connection stands: look at the client's devices"
            }
        }
    }
}

/// Why a client did not get in.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinFailure {
    /// The step that it did not reach.
    pub step: JoinStep,
    /// What happened instead.
    pub cause: String,
    /// What helps.
    pub remedy: &'static str,
}

/// What ended a connection.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Cause {
    /// Its socket broke or closed, and nobody said why.
    Lost,
    /// It said LEAVE.
    Left,
    /// The server's word: what was wrong with what the client sent, or why it may not be here.
    SentAway(String),
    /// DTLS failed for good.
    Dtls(String),
}

/// One connection's way in.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinTrace {
    /// Whose meeting it is.
    pub account: AccountId,
    /// The meeting that it has a token for: the replica's, if it is one.
    pub meeting: MeetingId,
    /// Who joins; `None` for one whose token was never given out.
    pub attendee: Option<AttendeeKey>,
    /// Its number.
    pub session: SessionId,
    /// When the socket opened, since the Unix epoch.
    pub opened_unix: Duration,
    /// When each of [`JoinStep::ALL`] was reached, since the socket opened.
    pub reached: [Option<Duration>; STEPS],
    /// Why it did not get in; `None` while it tries, and once its media stood.
    pub failure: Option<JoinFailure>,
    /// Why what it showed last was refused, if it was.
    pub refused_video: Option<String>,
    /// The client's own times of its first connection, in milliseconds since its start (MEETING_SESSION_TIMING).
    pub client_timings: Vec<(&'static str, i64)>,
    /// What the client measured last of the connection as a whole (CLIENT_METRIC), by the protocol's names.
    pub client_metrics: Vec<(&'static str, f64)>,
    opened: Instant,
    metrics_frames: u32,
}

impl JoinTrace {
    pub(crate) fn new(now: Instant, unix: Duration, session: SessionId, admission: &Admission) -> JoinTrace {
        let mut reached = [None; STEPS];
        reached[JoinStep::Opened as usize] = Some(Duration::ZERO);
        JoinTrace {
            account: admission.account,
            meeting: admission.meeting,
            attendee: Some(admission.attendee),
            session,
            opened_unix: unix,
            reached,
            failure: None,
            refused_video: None,
            client_timings: Vec::new(),
            client_metrics: Vec::new(),
            opened: now,
            metrics_frames: 0,
        }
    }

    /// Of a join that was refused at the door. `session` is its number among the connections all the same.
    pub fn refused(now: Instant, unix: Duration, session: SessionId, refusal: Refusal) -> JoinTrace {
        let Refusal { account, meeting, attendee, why } = refusal;
        let (cause, remedy) = (why.to_string(), why.remedy());
        JoinTrace {
            account,
            meeting,
            attendee,
            session,
            opened_unix: unix,
            reached: [None; STEPS],
            failure: Some(JoinFailure { step: JoinStep::Opened, cause, remedy }),
            refused_video: None,
            client_timings: Vec::new(),
            client_metrics: Vec::new(),
            opened: now,
            metrics_frames: 0,
        }
    }

    /// When it reached this step, if it did.
    pub fn at(&self, step: JoinStep) -> Option<Duration> {
        self.reached[step as usize]
    }

    /// True the first time.
    pub(crate) fn reach(&mut self, now: Instant, step: JoinStep) -> bool {
        let reached = &mut self.reached[step as usize];
        let first = reached.is_none();
        reached.get_or_insert(now.saturating_duration_since(self.opened));
        first
    }

    /// The connection is over. True the first time, if it had not come so far that media could flow.
    pub(crate) fn end(&mut self, cause: Cause) -> bool {
        if self.failure.is_some() {
            return false;
        }
        let missing = JoinStep::ALL.into_iter().find(|step| self.at(*step).is_none());
        let Some(step) = missing.filter(|step| *step <= JoinStep::DtlsConnected) else { return false };
        let (cause, remedy) = match cause {
            Cause::Lost => ("the connection was lost, or the client closed it".to_owned(), step.remedy()),
            Cause::Left => ("the client left".to_owned(), step.remedy()),
            Cause::Dtls(why) => (why, step.remedy()),
            Cause::SentAway(why) => (why, "the server sent it away: the cause says what to mend"),
        };
        let attendee_id = self.attendee.map(tracing::field::display);
        warn!(meeting_id = %self.meeting, attendee_id, phase = ?step, cause, remedy, "a join failed");
        self.failure = Some(JoinFailure { step, cause, remedy });
        true
    }

    pub(crate) fn note_refused_video(&mut self, why: &str) {
        self.refused_video = Some(why.to_owned());
    }

    /// Takes the client's own times. True if they are the first.
    pub(crate) fn note_timings(&mut self, frame: &proto::SdkMeetingSessionTimingFrame) -> bool {
        let Some(signaling) = frame.signaling.first().filter(|_| self.client_timings.is_empty()) else {
            return false;
        };
        let Some(start) = signaling.start_ms else { return false };
        let audio = frame.remote_audio.first();
        let own_audio = frame.local_audio.first();
        let times = [
            ("JoinSent", signaling.join_sent_ms),
            ("JoinAckReceived", signaling.join_ack_received_ms),
            ("TransportConnected", signaling.transport_connected_ms),
            ("CreateOffer", signaling.create_offer_ms),
            ("SetLocalDescription", signaling.set_local_description_ms),
            ("SetRemoteDescription", signaling.set_remote_description_ms),
            ("IceGatheringStart", signaling.ice_gathering_start_ms),
            ("IceGatheringComplete", signaling.ice_gathering_complete_ms),
            ("IceConnected", signaling.ice_connected_ms),
            ("SubscribeSent", signaling.subscribe_sent_ms),
            ("SubscribeAck", signaling.subscribe_ack_ms),
            ("FirstAudioReceived", audio.and_then(|audio| audio.first_packet_received_ms)),
            ("FirstAudioRendered", audio.and_then(|audio| audio.first_frame_rendered_ms)),
            ("FirstAudioCaptured", own_audio.and_then(|audio| audio.first_frame_captured_ms)),
            ("FirstAudioSent", own_audio.and_then(|audio| audio.first_packet_sent_ms)),
        ];
        self.client_timings =
            times.into_iter().filter_map(|(name, at)| Some((name, at?.saturating_sub(start)))).collect();
        true
    }

    /// Takes the client's own measurements. True if they are to be told.
    pub(crate) fn note_metrics(&mut self, frame: &proto::SdkClientMetricFrame) -> bool {
        let known = |metric: &proto::SdkMetric| {
            let kind = proto::sdk_metric::Type::try_from(metric.r#type?).ok()?;
            Some((kind.as_str_name(), metric.value.filter(|value| value.is_finite())?))
        };
        self.client_metrics = frame.global_metrics.iter().filter_map(known).collect();
        self.metrics_frames = self.metrics_frames.wrapping_add(1);
        self.metrics_frames % METRICS_TOLD_EVERY == 1
    }
}
