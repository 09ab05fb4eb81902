//! One live meeting: who is in it, what each is told, and when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use campanile_media::mix::{LegId, Mixer};
use campanile_media::peer::{Peer, PeerAddr};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{
    AudioStreamIdInfo, ClientFrame, FrameKind, Index, ServerFrame, VideoCodec, close_code,
};
use tracing::info;

use crate::attendance::Attendance;
use crate::audience::Demotion;
use crate::awaited::Awaited;
use crate::data::DataMessages;
use crate::ids::{AttendeeId, MeetingId, SessionId};
use crate::roster::Levels;
use crate::service::{Cx, Event, Limits};
use crate::session::{Phase, SILENCE_MAX, Session};
use crate::source::Source;

/// The heartbeat while anybody hears, or a publisher's packets are missing: one packet of audio. With media, but without
/// either, it is every [`FEEDBACK_TICKS`].
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
/// Between two times that a client's wish to see something, or not, has everybody's bandwidth shared anew. That costs as much
/// as is watched in the meeting, and one client may wish 200 times a second; nobody sees so short a delay.
const RETARGET_INTERVAL: Duration = Duration::from_millis(50);
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
    /// The streams that the last index named, and whether as paused at their source.
    pub(crate) offered: Vec<(u32, bool)>,
    pub(crate) index_due: bool,
    next_index: Instant,
    /// Somebody wants to see something else than before.
    pub(crate) retarget_due: bool,
    next_retarget: Instant,
    pub(crate) levels: Levels,
    pub(crate) last_common_codecs: Vec<VideoCodec>,
    pub(crate) seconds: u64,
    pub(crate) data: DataMessages,
    next_audio_stream_id: u32,
    /// Numbers that stand for attendees in the mixer, so that nobody hears their own content share.
    owners: BTreeMap<AttendeeId, u32>,
    pub(crate) next_tick: Instant,
    /// How much sooner that may be if there is something to forward anyway: it spares a wake-up, and nobody hears it.
    early: Duration,
    /// Since when packets wait to be forwarded, which they are with the next tick: more may come with them.
    pub(crate) fresh_since: Option<Instant>,
    /// When paced packets may leave.
    pub(crate) release_at: Option<Instant>,
    /// The time of tick 0.
    began: Instant,
    /// The last tick that was due.
    ticks: u64,
    pub(crate) over: bool,
    /// Somebody's presence has changed since the registry was told.
    pub(crate) presence_due: bool,
    /// What it was told.
    present_told: usize,
    pub(crate) attendance: Attendance,
    pub(crate) awaited: Awaited,
    /// How many participants the indexes count.
    participants_counted: usize,
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
            retarget_due: false,
            next_retarget: now,
            levels: Levels::default(),
            last_common_codecs: Vec::new(),
            seconds: 0,
            data: DataMessages::new(now),
            next_audio_stream_id: first_id,
            owners: BTreeMap::new(),
            began: now + phase,
            next_tick: now + phase,
            early: Duration::ZERO,
            fresh_since: None,
            release_at: None,
            ticks: 0,
            over: false,
            presence_due: false,
            present_told: 0,
            attendance: Attendance::default(),
            awaited: Awaited::default(),
            participants_counted: 0,
        }
    }

    /// When [`tick`](Self::tick) is due; `None` when nothing is left of the meeting. An empty one rests until the last
    /// data message kept for newcomers expires, and until nobody is expected back any more.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        match self.sessions.is_empty() {
            false => [Some(self.next_tick), self.release_at, self.fresh_since].into_iter().flatten().min(),
            true if self.over => None,
            true => [self.data.kept_until(), self.awaited.until()].into_iter().flatten().min(),
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
        self.early = Duration::ZERO;
    }

    pub(crate) fn peer(&mut self, session: SessionId) -> Option<&mut Peer> {
        Some(&mut self.sessions.get_mut(&session)?.link.as_mut()?.peer)
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
                self.update_subscriptions(id, &updated, &removed_mids);
            }
            ClientFrame::Pause { stream_ids } => self.pause(id, &stream_ids, true),
            ClientFrame::Resume { stream_ids } => self.pause(id, &stream_ids, false),
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

    /// The attendee may do something else from now on. What it may no longer say, show, hear or see ends at once; its
    /// client learns of it from the index, and takes up what it newly may with its next SUBSCRIBE.
    pub(crate) fn set_capabilities(
        &mut self,
        cx: &mut Cx<'_>,
        attendee: AttendeeId,
        capabilities: Capabilities,
    ) {
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
        if !self.receive_datagram(cx, id, from, bytes) {
            // Of checks and handshakes: there may be an answer to send, and a client may have got in.
            self.note_connected(cx, id, Some(from));
        }
    }

    /// The heartbeat.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        self.forward(cx);
        if self.sessions.is_empty() {
            self.give_up_awaited(cx);
            return self.data.forget_expired(cx.now);
        }
        if self.release_at.is_some_and(|at| at <= cx.now) {
            self.release_paced(cx);
        }
        if cx.now + self.early < self.next_tick {
            return;
        }
        let has_media = self.sessions.values().any(|session| session.link.is_some());
        let due = self.next_tick;
        let pace = self.pace(has_media);
        self.next_tick = (due + pace).max(cx.now - LAG_MAX);
        self.early = pace.saturating_sub(TICK);
        // Whatever is due every so often is due once, however many ticks have been left out.
        let ticks = (due.saturating_duration_since(self.began).as_nanos() / TICK.as_nanos()) as u64;
        // A tick that came early may be followed by one that is due before it was.
        let ticks = ticks.max(self.ticks);
        let before = std::mem::replace(&mut self.ticks, ticks);
        let every = |n: u64| ticks / n > before / n;
        let (feedback, levels, second, bitrates, ping) = (
            every(FEEDBACK_TICKS),
            every(LEVEL_TICKS),
            every(SECOND_TICKS),
            every(BITRATES_TICKS),
            every(PING_TICKS),
        );
        if has_media {
            self.send_audio(cx);
            if feedback {
                self.pass_time(cx);
            }
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
                self.relay_estimates(cx);
                self.refuse_large_pictures(cx);
            }
            if bitrates {
                self.send_bitrates(cx);
            }
        }
        if second {
            self.check_deadlines(cx);
            self.give_up_awaited(cx);
        }
        if ping {
            for session in self.sessions.values_mut().filter(|session| session.is_listening()) {
                let id = session.next_ping_id;
                session.next_ping_id = id.wrapping_add(1);
                cx.frame(session.id, ServerFrame::Ping { id });
            }
        }
    }

    /// How long from this tick to the next.
    fn pace(&self, has_media: bool) -> Duration {
        let mut links = self.sessions.values().filter_map(|session| session.link.as_ref());
        let mut layers = self.sources.values().flat_map(|source| &source.layers);
        if links.any(|link| link.audio.is_some()) || layers.any(|layer| layer.uplink.lacks_packets()) {
            TICK
        } else if has_media {
            TICK * FEEDBACK_TICKS as u32
        } else {
            SLOW_TICK
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
        if self.retarget_due && cx.now >= self.next_retarget {
            self.retarget_due = false;
            self.next_retarget = cx.now + RETARGET_INTERVAL;
            self.retarget_all(cx);
        }
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
        let paused = others.clone().filter(|source| source.is_paused_at_source(cx.now));
        let paused = paused.flat_map(|source| source.on_offer(cx.now).map(|layer| layer.stream_id));
        Index {
            at_capacity: (cameras >= cx.config.limits.cameras && !shows) || !session.may_show(),
            sources: others.flat_map(|source| source.describe(cx.now)).collect(),
            paused_at_source_ids: paused.collect(),
            num_participants: self.participants() as u32,
            supported_receive_codecs: self.common_codecs(),
        }
    }

    /// Somebody has come or gone: an index is due if that changes what it counts.
    pub(crate) fn note_participants(&mut self) {
        let participants = self.participants();
        self.index_due |= participants != std::mem::replace(&mut self.participants_counted, participants);
    }

    fn send_index(&mut self, cx: &mut Cx<'_>) {
        self.offered = self.offered_now(cx.now);
        for session in self.sessions.values().filter(|session| session.is_listening()) {
            cx.frame(session.id, ServerFrame::Index(self.index_for(cx, session.id)));
        }
    }

    /// The streams on offer at this moment, and whether they are paused at their source.
    pub(crate) fn offered_now(&self, now: Instant) -> Vec<(u32, bool)> {
        let of = |source: &Source| {
            let is_paused = source.is_paused_at_source(now);
            source.on_offer(now).map(move |layer| (layer.stream_id, is_paused)).collect::<Vec<_>>()
        };
        self.sources.values().flat_map(of).collect()
    }
}
