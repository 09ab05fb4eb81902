//! How a session comes in: the socket, JOIN, whom it takes over from, and its media path; and the trace of all that.

use campanile_media::peer::{PeerAddr, PeerState};
use campanile_wire::signaling::{
    Adaption, AudioStatus, AudioStreamIdInfo, FrameKind, Join, JoinAck, ServerFrame, TurnCredentials,
    close_code,
};
use tracing::info;

use crate::audience::Demotion;
use crate::ids::{AttendeeKey, SessionId};
use crate::meeting::{Meeting, status};
use crate::registry::Admission;
use crate::service::{Cx, Event};
use crate::session::{Phase, Session};
use crate::trace::{Cause, JoinStep};

/// Connections of one attendee (or content share) at once: the one in use, and others that a bad network has left behind.
const CONNECTIONS_MAX: usize = 8;
/// The client's own limit on subscriptions is applied by lowest stream id, so it must not bind: above all cameras
/// and shares (signaling specification, trap 39).
const SUBSCRIPTION_HEADROOM: usize = 3;

/// Data messages in one frame of a replay: up to 64 KB. One by one, a full store would overflow a socket's mailbox.
const REPLAYED_AT_ONCE: usize = 32;

/// What a session takes over from the one that it supersedes.
struct Superseded {
    /// The roster entry that others have to be told about once the new session is present.
    entry: Option<u32>,
    muted: bool,
}

impl Meeting {
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

    /// JOIN: JOIN_ACK, INDEX, the roster and the replay leave in the same turn, in this order.
    pub(crate) fn join(&mut self, cx: &mut Cx<'_>, id: SessionId, join: Join) {
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
        let awaited = self.awaited.take(attendee).map(|(number, subject)| {
            self.attendance.authorized(&subject).into_iter().for_each(|event| cx.event(event));
            number
        });
        let adaption = match join.supported_adaptions.contains(&join.adaption) {
            true => join.adaption,
            false => Adaption::Default,
        };
        let audio_stream_id = self.new_audio_stream_id();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.audio_stream_id == 0 {
            session.audio_stream_id = audio_stream_id;
        }
        session.phase = Phase::Joined;
        session.replaces = session.replaces.or(awaited);
        session.promotion = promotion;
        session.silenced |= silenced;
        if let Some(superseded) = superseded {
            session.replaces = session.replaces.or(superseded.entry);
            session.muted = superseded.muted;
        }
        session.audio_session_id = join.audio_session_id;
        session.adaption = adaption;
        session.disable_periodic_keyframes = join.disable_periodic_keyframes;
        session.is_firefox = join.client.platform_name.eq_ignore_ascii_case("firefox");
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
                // Absent would not be neutral: the client would probe and choose by itself (section 3.2).
                default_adaption: (adaption != Adaption::Default).then_some(adaption),
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

    /// Attendees who are in, wherever their sockets are; content shares are nobody of their own.
    pub(crate) fn attendees_in(&self) -> usize {
        self.sessions.values().filter(|session| session.is_in() && !session.attendee.content).count()
    }

    /// Whether this session's JOIN would bring somebody in who is not here yet.
    pub(crate) fn is_newcomer(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id).filter(|session| !session.has_joined()) else {
            return false;
        };
        !self.over && !self.sessions.values().any(|s| s.is_in() && s.attendee.id == session.attendee.id)
    }

    /// JOIN, when the whole worker has no place left.
    pub(crate) fn refuse_for_want_of_room(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        let max = cx.config.limits.attendees;
        info!(meeting_id = %self.id, max, "a join is refused: the server is full");
        let description = format!("the server takes {max} attendees at once, and all are there");
        self.end_session_with_error(cx, id, status::AT_CAPACITY, description, FrameKind::JoinAck);
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

    /// A session has reached a step on its way in.
    pub(crate) fn reach(&mut self, cx: &mut Cx<'_>, id: SessionId, step: JoinStep) {
        if self.sessions.get_mut(&id).is_some_and(|session| session.trace.reach(cx.now, step)) {
            self.tell_trace(cx, id);
        }
    }

    /// The first cause counts: what follows from it says less.
    pub(crate) fn note_cause(&mut self, id: SessionId, cause: Cause) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.cause.get_or_insert(cause);
        }
    }

    pub(crate) fn tell_trace(&self, cx: &mut Cx<'_>, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            cx.event(Event::JoinTrace(session.trace.clone()));
        }
    }

    /// A session's socket is gone: if it was still on its way in, it has failed.
    pub(crate) fn tell_end(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.trace.end(session.cause.take().unwrap_or(Cause::Lost)) {
            cx.event(Event::JoinFailed(session.trace.clone()));
        }
    }
}
