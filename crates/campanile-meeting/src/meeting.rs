//! One live meeting: who is in it, what each is told, and when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use campanile_media::mix::{LegId, Mixer};
use campanile_media::peer::{Peer, PeerAddr, PeerState};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{
    Adaption, AudioStatus, AudioStreamIdInfo, ClientFrame, FrameKind, Index, Join, JoinAck, ServerFrame,
    TurnCredentials, VideoCodec, close_code,
};
use tracing::info;

use crate::attendance::Attendance;
use crate::audience::Demotion;
use crate::data::DataMessages;
use crate::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use crate::registry::Admission;
use crate::roster::Levels;
use crate::service::{Cx, Event, Limits};
use crate::session::{LOST_GRACE, Phase, SILENCE_MAX, Session};
use crate::source::Source;
use crate::trace::{Cause, JoinStep};

/// The heartbeat while media flows: one packet of audio.
const TICK: Duration = Duration::from_millis(20);
/// The heartbeat while nobody has media: deadlines only.
const SLOW_TICK: Duration = Duration::from_secs(1);
/// A worker that was held up sends no burst of old audio: it skips ahead to this much in the past.
const LAG_MAX: Duration = Duration::from_millis(60);
/// Every so many ticks: transport feedback, levels and layer choice, reports and deadlines, bitrates, pings.
const FEEDBACK_TICKS: u64 = 3;
const LEVEL_TICKS: u64 = 10;
const SECOND_TICKS: u64 = 50;
const BITRATES_TICKS: u64 = 100;
const PING_TICKS: u64 = 500;
/// Between two indexes: each goes to everybody, and whatever changes meanwhile can wait this long.
const INDEX_INTERVAL: Duration = Duration::from_millis(100);
/// Connections of one attendee (or content share) at once: the one in use, and others that a bad network has left behind.
const CONNECTIONS_MAX: usize = 8;
/// The client's own limit on subscriptions is applied by lowest stream id, so it must not bind: above all cameras
/// and shares (signaling specification, trap 39).
const SUBSCRIPTION_HEADROOM: usize = 3;

/// Data messages in one frame of a replay: up to 64 KB. One by one, a full store would overflow a socket's mailbox.
const REPLAYED_AT_ONCE: usize = 32;
/// Ids of a meeting begin at a number that rises this fast, so they are higher than in an earlier life of the same meeting,
/// before everybody was gone for a moment or the worker started anew: clients keep the highest they know. Nobody joins one
/// meeting faster for long.
const FIRST_IDS_PER_SECOND: u64 = 50;
/// The number begins again every 2.5 years, which only a meeting that starts anew on that day would notice.
const FIRST_IDS_END: u64 = 4_000_000_000;

/// Statuses of an error (signaling specification, section 9.2).
pub(crate) mod status {
    pub(crate) const BAD_REQUEST: u32 = 400;
    pub(crate) const FORBIDDEN: u32 = 403;
    pub(crate) const AT_CAPACITY: u32 = 409;
    pub(crate) const VIEW_ONLY: u32 = 206;
}

/// One live meeting.
pub(crate) struct Meeting {
    pub(crate) id: MeetingId,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) sources: BTreeMap<u32, Source>,
    pub(crate) mixer: Mixer,
    pub(crate) next_stream_id: u32,
    pub(crate) next_group_id: u32,
    /// The streams that the last index named.
    pub(crate) offered: Vec<u32>,
    pub(crate) index_due: bool,
    next_index: Instant,
    pub(crate) levels: Levels,
    pub(crate) last_common_codecs: Vec<VideoCodec>,
    pub(crate) seconds: u64,
    pub(crate) data: DataMessages,
    next_audio_stream_id: u32,
    /// Numbers that stand for attendees in the mixer, so that nobody hears their own content share.
    owners: BTreeMap<AttendeeId, u32>,
    next_tick: Instant,
    /// When paced packets may leave.
    pub(crate) release_at: Option<Instant>,
    ticks: u64,
    over: bool,
    /// Somebody's presence has changed since the registry was told.
    pub(crate) presence_due: bool,
    /// What it was told.
    present_told: usize,
    pub(crate) attendance: Attendance,
    /// How many participants the indexes count.
    participants_counted: usize,
}

/// What a session takes over from the one that it supersedes.
struct Superseded {
    /// The roster entry that others have to be told about once the new session is present.
    entry: Option<u32>,
    muted: bool,
}

impl Meeting {
    pub(crate) fn new(id: MeetingId, now: Instant, unix: Duration, limits: &Limits) -> Meeting {
        let mut mixer = Mixer::new();
        mixer.set_voices_max(limits.voices);
        let age = unix.as_millis() as u64 * FIRST_IDS_PER_SECOND / 1000;
        let first_id = 1 + (age % FIRST_IDS_END) as u32;
        // Meetings' ticks are spread over the interval by their ids, so that a worker's load is even.
        let phase = Duration::from_micros(id.0.as_u128() as u64 % TICK.as_micros() as u64);
        Meeting {
            id,
            sessions: BTreeMap::new(),
            sources: BTreeMap::new(),
            mixer,
            next_stream_id: first_id,
            next_group_id: first_id,
            offered: Vec::new(),
            index_due: false,
            next_index: now,
            levels: Levels::default(),
            last_common_codecs: Vec::new(),
            seconds: 0,
            data: DataMessages::new(now),
            next_audio_stream_id: first_id,
            owners: BTreeMap::new(),
            next_tick: now + phase,
            release_at: None,
            ticks: 0,
            over: false,
            presence_due: false,
            present_told: 0,
            attendance: Attendance::default(),
            participants_counted: 0,
        }
    }

    /// When [`tick`](Self::tick) is due; `None` when nothing is left of the meeting. An empty one rests until the last
    /// data message kept for newcomers expires.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        match self.sessions.is_empty() {
            false => Some(self.release_at.map_or(self.next_tick, |at| at.min(self.next_tick))),
            true if self.over => None,
            true => self.data.kept_until(),
        }
    }

    /// Sessions whose sockets are open.
    pub(crate) fn connected_sessions(&self) -> Vec<SessionId> {
        let connected = self.sessions.values().filter(|s| !matches!(s.phase, Phase::Lost { .. }));
        connected.map(|session| session.id).collect()
    }

    /// Media begins: the heartbeat quickens at once.
    pub(crate) fn next_tick_soon(&mut self, now: Instant) {
        self.next_tick = self.next_tick.min(now + TICK);
    }

    pub(crate) fn peer(&mut self, session: SessionId) -> Option<&mut Peer> {
        Some(&mut self.sessions.get_mut(&session)?.link.as_mut()?.peer)
    }

    pub(crate) fn connect(&mut self, cx: &mut Cx<'_>, id: SessionId, admission: Admission) {
        let attendee = admission.attendee;
        self.next_tick = self.next_tick.max(cx.now);
        let theirs = self.sessions.values().filter(|session| session.attendee == attendee);
        if theirs.clone().count() >= CONNECTIONS_MAX
            && let Some(oldest) = theirs.filter(|session| !session.is_in()).map(|session| session.id).next()
        {
            self.send_away(cx, oldest, close_code::TOO_MUCH, "too many connections of one attendee");
            self.tell_end(cx, oldest);
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(id, Session::new(cx.now, cx.clock.unix(cx.now), id, admission));
        self.tell_trace(cx, id);
        if self.over {
            self.send_away(cx, id, close_code::MEETING_ENDED, "the meeting has ended");
        }
    }

    /// Closes a session's socket, and remembers why for its trace.
    pub(crate) fn send_away(&mut self, cx: &mut Cx<'_>, id: SessionId, code: u16, reason: &'static str) {
        self.note_cause(id, Cause::SentAway(reason.to_owned()));
        cx.close(id, code, reason);
    }

    /// The first cause counts: what follows from it says less.
    fn note_cause(&mut self, id: SessionId, cause: Cause) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.cause.get_or_insert(cause);
        }
    }

    /// A session has reached a step on its way in.
    pub(crate) fn reach(&mut self, cx: &mut Cx<'_>, id: SessionId, step: JoinStep) {
        if self.sessions.get_mut(&id).is_some_and(|session| session.trace.reach(cx.now, step)) {
            self.tell_trace(cx, id);
        }
    }

    fn tell_trace(&self, cx: &mut Cx<'_>, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            cx.event(Event::JoinTrace(session.trace.clone()));
        }
    }

    /// A session's socket is gone: if it was still on its way in, it has failed.
    fn tell_end(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.trace.end(session.cause.take().unwrap_or(Cause::Lost)) {
            self.tell_trace(cx, id);
        }
    }

    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        self.tell_end(cx, id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match session.phase {
            Phase::Joined => {
                info!(meeting_id = %self.id, attendee_id = %session.attendee, "connection lost");
                session.phase = Phase::Lost { until: cx.now + LOST_GRACE };
                self.demote(cx, id, Demotion::Dropped);
            }
            Phase::Waiting { .. } | Phase::Ended { .. } | Phase::Lost { .. } => {
                self.sessions.remove(&id);
            }
        }
    }

    pub(crate) fn handle_frame(&mut self, cx: &mut Cx<'_>, id: SessionId, frame: ClientFrame) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.last_heard = cx.now;
        if !session.frames.take(cx.now) {
            return self.send_away(cx, id, close_code::TOO_MUCH, "too many frames");
        }
        match (session.phase, frame) {
            (_, ClientFrame::Ping { id: ping }) => cx.frame(id, ServerFrame::Pong { id: ping }),
            (_, ClientFrame::Pong { .. } | ClientFrame::Unknown { .. }) => {}
            (_, ClientFrame::ClientMetric(frame)) => {
                if session.trace.note_metrics(&frame) {
                    self.tell_trace(cx, id);
                }
            }
            (_, ClientFrame::MeetingSessionTiming(frame)) => {
                if session.trace.note_timings(&frame) {
                    self.tell_trace(cx, id);
                }
            }
            (_, ClientFrame::Leave) => self.leave(cx, id),
            (Phase::Ended { .. } | Phase::Lost { .. }, _) => {}
            (_, ClientFrame::Join(join)) => self.join(cx, id, join),
            (Phase::Waiting { .. }, _) => self.refuse(cx, id, FrameKind::JoinAck, "JOIN comes first"),
            (Phase::Joined, frame) => self.handle_joined_frame(cx, id, frame),
        }
    }

    fn handle_joined_frame(&mut self, cx: &mut Cx<'_>, id: SessionId, frame: ClientFrame) {
        match frame {
            ClientFrame::Subscribe(subscribe) => self.subscribe(cx, id, *subscribe),
            ClientFrame::RemoteVideoUpdate { updated, removed_mids } => {
                self.update_subscriptions(cx, id, &updated, &removed_mids);
            }
            ClientFrame::Pause { stream_ids } => self.pause(cx, id, &stream_ids, true),
            ClientFrame::Resume { stream_ids } => self.pause(cx, id, &stream_ids, false),
            ClientFrame::AudioControl { muted } => self.mute_by_client(cx, id, muted),
            ClientFrame::DataMessages(messages) => {
                for message in messages {
                    if self.sessions.get(&id).is_some_and(Session::is_listening) {
                        self.data_message(cx, id, message);
                    }
                }
            }
            // PRIMARY_MEETING_JOIN takes the registry, and comes by `promote`.
            ClientFrame::PrimaryMeetingLeave => self.demote(cx, id, Demotion::Own),
            _ => {}
        }
    }

    /// JOIN: JOIN_ACK, INDEX, the roster and the replay leave in the same turn, in this order.
    fn join(&mut self, cx: &mut Cx<'_>, id: SessionId, join: Join) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let attendee = session.attendee;
        if !session.joins.take(cx.now) {
            return self.send_away(cx, id, close_code::TOO_MUCH, "too many JOIN frames");
        }
        if self.over {
            return self.send_away(cx, id, close_code::MEETING_ENDED, "the meeting has ended");
        }
        let in_replica = session.replica.is_some();
        let others = self.sessions.values().filter(|s| s.is_in() && s.id != id);
        let shares = others.filter(|s| s.attendee.content && s.attendee != attendee).count();
        if attendee.content && shares >= cx.config.limits.content_shares {
            info!(meeting_id = %self.id, attendee_id = %attendee, "content share refused: {shares} are on");
            let description = format!("{shares} content shares are on, and no more are allowed");
            return self.end_session_with_error(cx, id, status::AT_CAPACITY, description, FrameKind::JoinAck);
        }
        let promotion = if in_replica && attendee.content {
            let Some(promotion) = self.promotion_of_share(attendee) else {
                let description = "only who is promoted to the primary meeting can share content".to_owned();
                return self.end_session_with_error(
                    cx,
                    id,
                    status::AT_CAPACITY,
                    description,
                    FrameKind::JoinAck,
                );
            };
            Some(promotion)
        } else {
            None
        };
        if !in_replica && !attendee.content {
            self.demote_all_as(cx, attendee.id);
        }
        // A page that comes back begins in the audience again.
        self.demote(cx, id, Demotion::Own);
        let silenced =
            self.sessions.values().any(|s| s.attendee.id == attendee.id && s.is_in() && s.silenced);
        let superseded = self.supersede(cx, id, attendee, join.audio_session_id);
        let server_side = join.adaption == Adaption::BandwidthProbingAndVideoQuality
            && join.supported_adaptions.contains(&join.adaption);
        let audio_stream_id = self.new_audio_stream_id();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.audio_stream_id == 0 {
            session.audio_stream_id = audio_stream_id;
        }
        session.phase = Phase::Joined;
        session.promotion = promotion;
        session.silenced |= silenced;
        if let Some(superseded) = superseded {
            session.replaces = session.replaces.or(superseded.entry);
            session.muted = superseded.muted;
        }
        session.audio_session_id = join.audio_session_id;
        session.adaption = if server_side { join.adaption } else { Adaption::Default };
        session.disable_periodic_keyframes = join.disable_periodic_keyframes;
        info!(
            meeting_id = %self.id, attendee_id = %attendee,
            client = join.client.client_source, version = join.client.chime_sdk_version, "joined"
        );
        self.reach(cx, id, JoinStep::Joined);
        let limit = cx.config.limits.cameras + cx.config.limits.content_shares + SUBSCRIPTION_HEADROOM;
        cx.frame(
            id,
            ServerFrame::JoinAck(JoinAck {
                // Credentials without a URI: no relay, and the client goes on after its first candidate.
                turn: Some(TurnCredentials::default()),
                video_subscription_limit: limit as u32,
                // Absent would not be neutral: the client would take the choice back (section 3.2).
                default_adaption: server_side.then_some(join.adaption),
                wants_compressed_sdp: false,
            }),
        );
        cx.frame(id, ServerFrame::Index(self.index_for(cx, id)));
        let roster = self.roster_for(attendee.id);
        if !roster.is_empty() {
            cx.frame(id, ServerFrame::AudioStreamIdInfo(roster));
        }
        if !attendee.content {
            let replay: Vec<_> = self.data.replay(cx.clock.unix(cx.now).as_nanos() as i64).cloned().collect();
            for messages in replay.chunks(REPLAYED_AT_ONCE) {
                cx.frame(id, ServerFrame::DataMessages(messages.to_vec()));
            }
        }
        self.note_participants();
    }

    /// The same attendee is in already: the same page coming back, or another device taking over.
    fn supersede(
        &mut self,
        cx: &mut Cx<'_>,
        new: SessionId,
        attendee: AttendeeKey,
        audio_session_id: Option<u64>,
    ) -> Option<Superseded> {
        let old = self.sessions.values().find(|s| s.attendee == attendee && s.is_in() && s.id != new)?;
        let (old_id, listening) = (old.id, old.is_listening());
        let same_page = audio_session_id.is_some() && old.audio_session_id == audio_session_id;
        let entry = if old.present { Some(old.audio_stream_id) } else { old.replaces };
        let muted = old.muted;
        if let Some(event) = self.attendance.authorized(&old.subject) {
            cx.event(event);
        }
        self.demote(cx, old_id, Demotion::Own);
        self.detach(cx, old_id);
        if !listening {
            self.sessions.remove(&old_id);
        } else if same_page {
            self.send_away(cx, old_id, close_code::NORMAL, "the same client has reconnected");
        } else {
            info!(meeting_id = %self.id, attendee_id = %attendee, "joined from another device");
            cx.frame(old_id, ServerFrame::AudioStatus(AudioStatus::JoinedFromAnotherDevice));
        }
        if !same_page && !attendee.content {
            // What the old device shares goes with it; the new one has not begun to.
            let content = AttendeeKey { content: true, ..attendee };
            self.end_attendee(cx, content, AudioStatus::JoinedFromAnotherDevice);
        }
        Some(Superseded { entry, muted })
    }

    /// LEAVE: always acknowledged, whatever the phase, or the client waits 15 s.
    fn leave(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        cx.frame(id, ServerFrame::LeaveAck);
        self.note_cause(id, Cause::Left);
        self.depart(cx, id, false);
    }

    /// Takes a session out of the meeting and tells the others.
    pub(crate) fn depart(&mut self, cx: &mut Cx<'_>, id: SessionId, dropped: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (attendee, replica) = (session.attendee, session.replica);
        let entries: Vec<_> = (session.present.then_some(session.audio_stream_id).into_iter())
            .chain(session.replaces)
            .map(|audio_stream_id| AudioStreamIdInfo::Left { audio_stream_id, dropped })
            .collect();
        let was_in = session.is_in();
        self.attendance.note(&session.subject, dropped);
        self.demote(cx, id, if dropped { Demotion::Dropped } else { Demotion::Own });
        self.detach(cx, id);
        if !was_in {
            return;
        }
        info!(meeting_id = %self.id, attendee_id = %attendee, dropped, "left");
        match replica {
            None => self.tell_roster(cx, entries),
            Some(_) => self.tell_own(cx, attendee.id, entries),
        }
        self.note_participants();
        if !attendee.content {
            let content = AttendeeKey { content: true, ..attendee };
            self.end_attendee(cx, content, AudioStatus::AttendeeRemoved);
        }
    }

    /// Removes a session's media and publications; others are not told.
    fn detach(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        self.unpublish(id);
        for source in self.sources.values_mut() {
            source.subscribers.retain(|subscriber| subscriber.session != id);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.mixer.remove(LegId(session.audio_stream_id));
        if let Some(link) = &session.link {
            cx.directory.remove(link, id);
        }
        self.presence_due |= session.present;
        self.attendance.note(&session.subject, false);
        session.end(cx.now);
    }

    /// Ends whatever sessions this attendee has, with a status that its client understands.
    pub(crate) fn end_attendee(&mut self, cx: &mut Cx<'_>, attendee: AttendeeKey, audio_status: AudioStatus) {
        let theirs: Vec<_> =
            self.sessions.values().filter(|s| s.attendee == attendee).map(|s| s.id).collect();
        for id in theirs {
            self.end_session(cx, id, audio_status);
        }
    }

    fn end_session(&mut self, cx: &mut Cx<'_>, id: SessionId, audio_status: AudioStatus) {
        match self.sessions.get(&id).map(|session| session.phase) {
            Some(Phase::Joined) => {
                self.note_cause(id, Cause::SentAway(format!("AUDIO_STATUS {audio_status:?}")));
                cx.frame(id, ServerFrame::AudioStatus(audio_status));
                self.depart(cx, id, false);
            }
            Some(Phase::Waiting { .. }) => {
                let ended = audio_status == AudioStatus::MeetingEnded;
                let code = if ended { close_code::MEETING_ENDED } else { close_code::ATTENDEE_UNAVAILABLE };
                self.send_away(
                    cx,
                    id,
                    code,
                    if ended { "the meeting has ended" } else { "attendee unavailable" },
                );
            }
            Some(Phase::Lost { .. }) => {
                self.depart(cx, id, false);
                self.sessions.remove(&id);
            }
            Some(Phase::Ended { .. }) | None => {}
        }
    }

    /// The meeting is over: everybody is told.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) {
        info!(meeting_id = %self.id, "meeting ended");
        self.over = true;
        self.end_sessions(cx, |_| true);
    }

    /// The meeting of these sessions is over.
    pub(crate) fn end_sessions(&mut self, cx: &mut Cx<'_>, which: impl Fn(&Session) -> bool) {
        // Shares first: else they would be told that their attendee was removed.
        for content in [true, false] {
            let these = self.sessions.values().filter(|s| s.attendee.content == content && which(s));
            let these: Vec<_> = these.map(|session| session.id).collect();
            for id in these {
                self.end_session(cx, id, AudioStatus::MeetingEnded);
            }
        }
    }

    /// The attendee's record is gone: its sessions go, its content share with them. Who was promoted by it goes back to
    /// the audience.
    pub(crate) fn remove_attendee(&mut self, cx: &mut Cx<'_>, attendee: AttendeeId) {
        for content in [true, false] {
            self.end_attendee(cx, AttendeeKey { id: attendee, content }, AudioStatus::AttendeeRemoved);
        }
        self.demote_all_as(cx, attendee);
    }

    /// The attendee may do something else from now on. What it may no longer say, show, hear or see ends at once; its
    /// client learns of it from the index, and takes up what it newly may with its next SUBSCRIBE.
    pub(crate) fn set_capabilities(&mut self, cx: &Cx<'_>, attendee: AttendeeId, capabilities: Capabilities) {
        let theirs: Vec<_> =
            self.sessions.values().filter(|s| s.is_own(attendee)).map(|session| session.id).collect();
        for id in theirs {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            match &mut session.promotion {
                Some(promotion) if promotion.attendee.id == attendee => promotion.capabilities = capabilities,
                _ => session.capabilities = capabilities,
            }
            self.mixer.set_can_speak(LegId(session.audio_stream_id), session.may_speak());
            for source in self.sources.values_mut() {
                if !session.may_see(source.attendee.content) {
                    source.subscribers.retain(|subscriber| subscriber.session != id);
                }
            }
            if !session.may_show() {
                self.unpublish(id);
            }
            info!(meeting_id = %self.id, attendee_id = %attendee, "capabilities changed");
        }
        self.retarget_all(cx);
        self.index_due = true;
    }

    /// The client has sent what no such client sends: it is told so, and its session ends.
    pub(crate) fn refuse(&mut self, cx: &mut Cx<'_>, id: SessionId, on: FrameKind, why: &str) {
        self.end_session_with_error(cx, id, status::BAD_REQUEST, why.to_owned(), on);
        cx.close(id, close_code::BAD_FRAME, "bad frame");
    }

    fn end_session_with_error(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        status: u32,
        description: String,
        on: FrameKind,
    ) {
        self.note_cause(id, Cause::SentAway(description.clone()));
        cx.frame(id, ServerFrame::Error { status, description, on });
        self.depart(cx, id, false);
    }

    /// Tells everybody of those whose last (un)muting was not told at once.
    fn tell_late_mutes(&mut self, cx: &mut Cx<'_>) {
        let late = self.sessions.values_mut().filter(|s| s.present && s.told_muted != s.muted);
        let entry = |session: &mut Session| {
            session.told_muted = session.muted;
            let audio_stream_id = session.stage_number()?;
            Some(AudioStreamIdInfo::Mute { audio_stream_id, muted: session.muted })
        };
        let entries = late.filter_map(entry).collect();
        self.tell_roster(cx, entries);
    }

    /// A number in the roster that nobody had before.
    pub(crate) fn new_audio_stream_id(&mut self) -> u32 {
        self.next_audio_stream_id += 1;
        self.next_audio_stream_id - 1
    }

    /// The number that stands for this attendee in the mixer.
    pub(crate) fn owner_number(&mut self, attendee: AttendeeId) -> u32 {
        let next = self.owners.len() as u32;
        *self.owners.entry(attendee).or_insert(next)
    }

    pub(crate) fn handle_datagram(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        from: PeerAddr,
        bytes: &mut [u8],
    ) {
        self.receive_datagram(cx, id, from, bytes);
        self.note_connected(cx, id, Some(from));
    }

    /// Learns where the peer is, and announces the attendee once its media path stands.
    pub(crate) fn note_connected(&mut self, cx: &mut Cx<'_>, id: SessionId, from: Option<PeerAddr>) {
        let meeting = self.id;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(link) = &mut session.link else { return };
        if let Some(address) = from.or(link.peer.remote_addr()) {
            cx.directory.learn_address(cx.now, link, address, meeting, id);
        }
        cx.touch(meeting, id);
        if session.present {
            return;
        }
        if link.peer.remote_addr().is_some() {
            self.reach(cx, id, JoinStep::IceConnected);
        }
        match self.peer(id).map(|peer| peer.state()) {
            Some(PeerState::Connected) => self.reach(cx, id, JoinStep::DtlsConnected),
            Some(PeerState::Failed(why)) => return self.note_cause(id, Cause::Dtls(why.to_string())),
            _ => return,
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.present = true;
        session.told_muted = session.muted;
        self.presence_due = true;
        self.attendance.note(&session.subject, false);
        if let Some(promotion) = &session.promotion {
            self.attendance.note(&promotion.subject, false);
        }
        info!(meeting_id = %meeting, attendee_id = %session.attendee, "present");
        let mut entries = vec![session.entry(session.audio_stream_id)];
        // The new entry first: then nobody believes for a moment that the attendee has left (section 6.1).
        let left = session.replaces.take();
        entries
            .extend(left.map(|audio_stream_id| AudioStreamIdInfo::Left { audio_stream_id, dropped: false }));
        let promoted: Vec<_> = session.promoted_entry().into_iter().collect();
        match session.replica {
            None => self.tell_roster(cx, entries),
            Some(_) => {
                let attendee = session.attendee.id;
                self.tell_own(cx, attendee, entries);
                self.tell_roster(cx, promoted);
            }
        }
    }

    /// The heartbeat.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.sessions.is_empty() {
            return self.data.forget_expired(cx.now);
        }
        if self.release_at.is_some_and(|at| at <= cx.now) {
            self.release_paced(cx);
        }
        if cx.now < self.next_tick {
            return;
        }
        let has_media = self.sessions.values().any(|session| session.link.is_some());
        let interval = if has_media { TICK } else { SLOW_TICK };
        self.next_tick = (self.next_tick + interval).max(cx.now - LAG_MAX);
        let ticks = if has_media { 1 } else { SECOND_TICKS };
        self.ticks = (self.ticks / ticks + 1) * ticks;
        let every = |n: u64| self.ticks.is_multiple_of(n);
        let (feedback, levels, second, bitrates, ping) = (
            every(FEEDBACK_TICKS),
            every(LEVEL_TICKS),
            every(SECOND_TICKS),
            every(BITRATES_TICKS),
            every(PING_TICKS),
        );
        if has_media {
            self.send_audio(cx);
            self.repair_and_request(cx, feedback);
            self.release_paced(cx);
            if levels {
                self.send_levels(cx);
                self.tell_late_mutes(cx);
                self.retarget_all(cx);
                self.tell_pauses(cx);
            }
            if second {
                self.send_reports(cx);
                self.relay_estimates();
            }
            if bitrates {
                self.send_bitrates(cx);
            }
        }
        if second {
            self.check_deadlines(cx);
        }
        if ping {
            for session in self.sessions.values_mut().filter(|session| session.is_listening()) {
                let id = session.next_ping_id;
                session.next_ping_id = id.wrapping_add(1);
                cx.frame(session.id, ServerFrame::Ping { id });
            }
        }
    }

    fn check_deadlines(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let phases: Vec<_> = self.sessions.values().map(|s| (s.id, s.phase, s.last_heard)).collect();
        for (id, phase, last_heard) in phases {
            match phase {
                Phase::Waiting { until } if now >= until => {
                    self.send_away(cx, id, close_code::COME_BACK, "no JOIN came")
                }
                Phase::Ended { until } if now >= until => {
                    cx.close(id, close_code::NORMAL, "the session is over")
                }
                Phase::Joined if now.saturating_duration_since(last_heard) >= SILENCE_MAX => {
                    self.send_away(cx, id, close_code::COME_BACK, "nothing was heard for too long");
                }
                Phase::Lost { until } if now >= until => {
                    self.depart(cx, id, true);
                    self.sessions.remove(&id);
                }
                _ => {}
            }
        }
    }

    /// After each input: what changed for everybody is told once, and not too often.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.index_due && cx.now >= self.next_index {
            self.index_due = false;
            self.next_index = cx.now + INDEX_INTERVAL;
            self.send_index(cx);
        }
        if std::mem::take(&mut self.presence_due) {
            let on_stage = self.sessions.values().filter(|s| s.present && s.is_on_stage());
            let attendees = on_stage.filter(|session| !session.attendee.content).count();
            if attendees != self.present_told {
                self.present_told = attendees;
                cx.event(Event::Present { meeting: self.id, attendees });
            }
        }
        self.tell_attendance(cx);
    }

    /// The full list of streams that one session may receive.
    pub(crate) fn index_for(&self, cx: &Cx<'_>, id: SessionId) -> Index {
        let Some(session) = self.sessions.get(&id) else { return Index::default() };
        let cameras = self.sources.values().filter(|source| !source.attendee.content).count();
        let shows = self.sources.values().any(|source| source.owner == id);
        let may_see = |content: bool| session.may_see(content);
        let others = self
            .sources
            .values()
            .filter(|source| !session.is_own(source.attendee.id) && may_see(source.attendee.content));
        Index {
            at_capacity: (cameras >= cx.config.limits.cameras && !shows) || !session.may_show(),
            sources: others.flat_map(|source| source.describe(cx.now)).collect(),
            paused_at_source_ids: Vec::new(),
            num_participants: self.participants() as u32,
            supported_receive_codecs: self.common_codecs(),
        }
    }

    /// Somebody has come or gone: an index is due if that changes what it counts.
    fn note_participants(&mut self) {
        let participants = self.participants();
        self.index_due |= participants != std::mem::replace(&mut self.participants_counted, participants);
    }

    fn send_index(&mut self, cx: &mut Cx<'_>) {
        self.offered = self.offered_now(cx.now);
        for session in self.sessions.values().filter(|session| session.is_listening()) {
            cx.frame(session.id, ServerFrame::Index(self.index_for(cx, session.id)));
        }
    }

    /// The streams on offer at this moment.
    pub(crate) fn offered_now(&self, now: Instant) -> Vec<u32> {
        self.sources.values().flat_map(|s| s.on_offer(now).map(|layer| layer.stream_id)).collect()
    }
}
