//! How a session goes out: it leaves, is lost, is removed or sent away; and how others learn of it.

use campanile_media::mix::LegId;
use campanile_wire::signaling::{AudioStatus, AudioStreamIdInfo, FrameKind, ServerFrame, close_code};
use tracing::info;

use crate::audience::Demotion;
use crate::ids::{AttendeeId, AttendeeKey, SessionId};
use crate::meeting::{Meeting, status};
use crate::service::Cx;
use crate::session::{LOST_GRACE, Phase, Session};
use crate::trace::Cause;

impl Meeting {
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

    /// LEAVE: always acknowledged, whatever the phase, or the client waits 15 s.
    pub(crate) fn leave(&mut self, cx: &mut Cx<'_>, id: SessionId) {
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
    pub(crate) fn detach(&mut self, cx: &mut Cx<'_>, id: SessionId) {
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
        self.expect_nobody();
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
            let theirs = AttendeeKey { id: attendee, content };
            self.end_attendee(cx, theirs, AudioStatus::AttendeeRemoved);
            if let Some((audio_stream_id, subject)) = self.awaited.take(theirs) {
                self.attendance.note(&subject, false);
                self.tell_roster(cx, vec![AudioStreamIdInfo::Left { audio_stream_id, dropped: false }]);
                self.note_participants();
            }
        }
        self.demote_all_as(cx, attendee);
    }

    /// The client has sent what no such client sends: it is told so, and its session ends.
    pub(crate) fn refuse(&mut self, cx: &mut Cx<'_>, id: SessionId, on: FrameKind, why: &str) {
        self.end_session_with_error(cx, id, status::BAD_REQUEST, why.to_owned(), on);
        cx.close(id, close_code::BAD_FRAME, "bad frame");
    }

    pub(crate) fn end_session_with_error(
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

    /// Closes a session's socket, and remembers why for its trace.
    pub(crate) fn send_away(&mut self, cx: &mut Cx<'_>, id: SessionId, code: u16, reason: &'static str) {
        self.note_cause(id, Cause::SentAway(reason.to_owned()));
        cx.close(id, code, reason);
    }
}
