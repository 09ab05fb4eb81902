//! One attendee's signaling, from connection to leave.

use std::time::{Duration, Instant};

use campanile_media::forward::PictureSize;
use campanile_wire::api::{Capabilities, MeetingFeatures};
use campanile_wire::signaling::Adaption;

use crate::audience::Promotion;
use crate::bucket::TokenBucket;
use crate::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use crate::link::MediaLink;
use crate::registry::{Admission, Subject};
use crate::resolution::largest_picture;
use crate::trace::{Cause, JoinTrace};

/// A socket may idle this long before it joins: a client that connects early sends neither pings nor JOIN.
const JOIN_DEADLINE: Duration = Duration::from_secs(120);
/// A joined client speaks at least every ten seconds (its pings). Silence for this long is a half-open socket.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long an attendee whose socket is gone keeps its place, so that a reconnect goes unnoticed by others.
pub(crate) const LOST_GRACE: Duration = Duration::from_secs(10);
/// How long a client that was told the end may take to say LEAVE and close; its own patience is 15 s.
const ENDED_DEADLINE: Duration = Duration::from_secs(20);
/// Frames of all kinds: the documented hard limit of data messages, and far above what else a client sends.
const FRAMES_PER_SECOND: f64 = 200.0;
const FRAMES_BURST: f64 = 2000.0;
/// SUBSCRIBE costs the most (an answer of up to 77 KB); a client has at most one outstanding.
const SUBSCRIBES_PER_SECOND: f64 = 10.0;
const SUBSCRIBES_BURST: f64 = 60.0;

/// JOIN tells everybody, and replays up to 2 MB to its sender. A page sends one in each life of its socket, and one more
/// in each reconnection that the socket outlives.
const JOINS_PER_SECOND: f64 = 1.0;
const JOINS_BURST: f64 = 10.0;
/// Mutings told to everybody at once; fingers are no faster. Beyond that they are told five times a second.
const MUTES_PER_SECOND: f64 = 5.0;
const MUTES_BURST: f64 = 10.0;

/// One signaling connection and what hangs on it.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) attendee: AttendeeKey,
    pub(crate) external_user_id: String,
    /// As events name it.
    pub(crate) subject: Subject,
    pub(crate) capabilities: Capabilities,
    /// What its meeting offers.
    features: MeetingFeatures,
    /// The replica meeting that it has joined: without a promotion it is audience, perceived by nobody.
    pub(crate) replica: Option<MeetingId>,
    /// As whom it takes part in the meeting for the time being, if it came from a replica.
    pub(crate) promotion: Option<Promotion>,
    pub(crate) phase: Phase,
    /// Its leg in the mixer, and its place in the roster of its own meeting; rises with every join.
    pub(crate) audio_stream_id: u32,
    /// Chosen once by the client's page: tells its reconnection from another device.
    pub(crate) audio_session_id: Option<u64>,
    /// Others have been told that it is here.
    pub(crate) present: bool,
    /// The roster entry of the session that this one replaces, until others have been told.
    pub(crate) replaces: Option<u32>,
    pub(crate) muted: bool,
    /// What others have been told about that.
    pub(crate) told_muted: bool,
    /// Muted by a moderator, and not unmuted since: its client believes otherwise.
    pub(crate) silenced: bool,
    /// Whether it may unmute itself.
    pub(crate) may_unmute: bool,
    pub(crate) adaption: Adaption,
    /// When something of what it watches was last paused for want of bandwidth, or came back.
    pub(crate) settling_since: Option<Instant>,
    /// The client asked not to be asked for keyframes of its content every ten seconds.
    pub(crate) disable_periodic_keyframes: bool,
    /// Its client runs in Firefox, which must not be told of a camera's section as going both ways.
    pub(crate) is_firefox: bool,
    pub(crate) link: Option<MediaLink>,
    pub(crate) last_heard: Instant,
    pub(crate) next_ping_id: u32,
    pub(crate) frames: TokenBucket,
    pub(crate) subscribes: TokenBucket,
    pub(crate) joins: TokenBucket,
    pub(crate) mutes: TokenBucket,
    /// How it got in so far.
    pub(crate) trace: Box<JoinTrace>,
    /// Why it is sent away, once it is.
    pub(crate) cause: Option<Cause>,
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Connected, not yet joined.
    Waiting { until: Instant },
    /// In the meeting.
    Joined,
    /// Joined, but its socket is gone: kept for a moment.
    Lost { until: Instant },
    /// Told that it is over. Only LEAVE and pings are still answered.
    Ended { until: Instant },
}

impl Session {
    pub(crate) fn new(now: Instant, unix: Duration, id: SessionId, admission: Admission) -> Session {
        Session {
            trace: Box::new(JoinTrace::new(now, unix, id, &admission)),
            cause: None,
            id,
            subject: admission.subject(),
            attendee: admission.attendee,
            external_user_id: admission.external_user_id,
            capabilities: admission.capabilities,
            features: admission.features,
            replica: admission.primary.map(|_| admission.meeting),
            promotion: None,
            phase: Phase::Waiting { until: now + JOIN_DEADLINE },
            audio_stream_id: 0,
            audio_session_id: None,
            present: false,
            replaces: None,
            muted: false,
            told_muted: false,
            silenced: false,
            may_unmute: admission.may_unmute,
            adaption: Adaption::Default,
            settling_since: None,
            disable_periodic_keyframes: false,
            is_firefox: false,
            link: None,
            last_heard: now,
            next_ping_id: 1,
            frames: TokenBucket::new(now, FRAMES_PER_SECOND, FRAMES_BURST),
            subscribes: TokenBucket::new(now, SUBSCRIBES_PER_SECOND, SUBSCRIBES_BURST),
            joins: TokenBucket::new(now, JOINS_PER_SECOND, JOINS_BURST),
            mutes: TokenBucket::new(now, MUTES_PER_SECOND, MUTES_BURST),
        }
    }

    /// In the meeting, with or without a socket at the moment.
    pub(crate) fn is_in(&self) -> bool {
        matches!(self.phase, Phase::Joined | Phase::Lost { .. })
    }

    /// Not waiting to join any more.
    pub(crate) fn has_joined(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. })
    }

    /// In the meeting, and its socket lives: gets frames.
    pub(crate) fn is_listening(&self) -> bool {
        self.phase == Phase::Joined
    }

    /// Marks the end: from here on the session only waits for its client to close.
    pub(crate) fn end(&mut self, now: Instant) {
        // A client that says LEAVE again and again gets no more time by it.
        if !matches!(self.phase, Phase::Ended { .. }) {
            self.phase = Phase::Ended { until: now + ENDED_DEADLINE };
        }
        self.link = None;
        self.present = false;
    }

    /// Whether others perceive it: it has joined the meeting itself, or is promoted to it.
    pub(crate) fn is_on_stage(&self) -> bool {
        self.replica.is_none() || self.promotion.is_some()
    }

    /// Its number in everybody's roster, unless it is audience.
    pub(crate) fn stage_number(&self) -> Option<u32> {
        match &self.promotion {
            Some(promotion) => Some(promotion.audio_stream_id),
            None => self.replica.is_none().then_some(self.audio_stream_id),
        }
    }

    /// As whom others perceive it, and the caller's own name for that attendee.
    pub(crate) fn appears_as(&self) -> (AttendeeKey, &str) {
        match &self.promotion {
            Some(promotion) => (promotion.attendee, &promotion.external_user_id),
            None => (self.attendee, &self.external_user_id),
        }
    }

    /// Whether this attendee is itself, or its own content share.
    pub(crate) fn is_own(&self, attendee: AttendeeId) -> bool {
        self.attendee.id == attendee || self.appears_as().0.id == attendee
    }

    /// By what it may send, unless it is audience.
    fn sender(&self) -> Option<&Capabilities> {
        match &self.promotion {
            Some(promotion) => Some(&promotion.capabilities),
            None => self.replica.is_none().then_some(&self.capabilities),
        }
    }

    /// Whether it may be heard. A content share's sound goes with its picture.
    pub(crate) fn may_speak(&self) -> bool {
        if self.attendee.content {
            self.may_show()
        } else {
            self.sender().is_some_and(|may| may.audio.sends())
        }
    }

    /// Whether it may publish: a camera, or, for a content share, the content.
    pub(crate) fn may_show(&self) -> bool {
        let content = self.attendee.content;
        self.sender().is_some_and(|may| if content { may.content.sends() } else { may.video.sends() })
    }

    /// The largest picture that it may publish.
    pub(crate) fn largest_picture(&self) -> PictureSize {
        let features = self.promotion.as_ref().map_or(&self.features, |promotion| &promotion.features);
        largest_picture(features, self.attendee.content)
    }

    /// Whether it may receive somebody's camera or content.
    pub(crate) fn may_see(&self, content: bool) -> bool {
        if content { self.capabilities.content.receives() } else { self.capabilities.video.receives() }
    }

    /// True when the server picks this subscriber's layers.
    pub(crate) fn server_picks_layers(&self) -> bool {
        self.adaption == Adaption::BandwidthProbingAndVideoQuality
    }
}
