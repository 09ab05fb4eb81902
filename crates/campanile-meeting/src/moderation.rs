//! What a moderator does to somebody, by the API: enforced here, whatever their client says.
//!
//! The unmodified client has no word for being muted by others. So it is muted for everybody else, who see it in the roster,
//! and stays so until its user unmutes, if that is permitted.

use campanile_media::mix::LegId;
use campanile_wire::signaling::{AudioStreamIdInfo, close_code};
use tracing::info;

use crate::ids::{AttendeeId, MeetingId, SessionId};
use crate::meeting::Meeting;
use crate::service::{Cx, Event};

impl Meeting {
    /// AUDIO_CONTROL: the client says that its microphone was muted or unmuted.
    pub(crate) fn mute_by_client(&mut self, cx: &mut Cx<'_>, id: SessionId, muted: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        if !muted && !session.may_unmute {
            return;
        }
        let (attendee, was_silenced) = (session.attendee, session.silenced);
        self.set_muted(cx, id, muted);
        if muted || !was_silenced {
            return;
        }
        // What a moderator silenced comes back together: the voice, and the sound of the attendee's content share.
        for session in self.sessions.values_mut().filter(|session| session.attendee.id == attendee.id) {
            session.silenced = false;
        }
        for id in self.shares_of(attendee.id) {
            self.set_muted(cx, id, false);
        }
    }

    /// MuteAttendee: nothing of this attendee is heard any more, neither voice nor content share.
    pub(crate) fn mute_by_moderator(&mut self, cx: &mut Cx<'_>, attendee: AttendeeId) {
        info!(meeting_id = %self.id, attendee_id = %attendee, "muted by a moderator");
        for id in self.sessions_of(attendee) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.silenced = true;
            }
            self.set_muted(cx, id, true);
        }
    }

    /// UpdateUnmutePermission. Who is unmuted stays so; who is muted, or comes back, cannot unmute without it.
    pub(crate) fn permit_unmute(&mut self, attendee: AttendeeId, may_unmute: bool) {
        info!(meeting_id = %self.id, attendee_id = %attendee, may_unmute, "unmuting permitted or not");
        for id in self.sessions_of(attendee) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.may_unmute = may_unmute;
            }
        }
    }

    /// LockMeeting, of this meeting or a replica of it: whoever is in stays and may come back, and the registry is told who
    /// that is; whoever has a socket but has not joined is sent away.
    pub(crate) fn lock(&mut self, cx: &mut Cx<'_>, meeting: MeetingId) {
        let replica = (meeting != self.id).then_some(meeting);
        let concerned = || self.sessions.values().filter(|session| session.replica == replica);
        let mut inside: Vec<_> =
            concerned().filter(|session| session.is_in()).map(|session| session.attendee.id).collect();
        if replica.is_none() {
            inside.extend(self.awaited.attendees());
        }
        inside.dedup();
        info!(meeting_id = %meeting, inside = inside.len(), "locked");
        let outside = concerned().filter(|s| !s.has_joined() && !inside.contains(&s.attendee.id));
        for id in outside.map(|session| session.id).collect::<Vec<_>>() {
            self.send_away(cx, id, close_code::ATTENDEE_UNAVAILABLE, "the meeting is locked");
        }
        cx.event(Event::Locked { meeting, inside });
    }

    /// Mutes or unmutes, and tells everybody.
    fn set_muted(&mut self, cx: &mut Cx<'_>, id: SessionId, muted: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.muted = muted;
        self.mixer.set_muted(LegId(session.audio_stream_id), muted);
        // One who switches to and fro is told about with the next levels: everybody gets each of these.
        if let Some(audio_stream_id) = session.stage_number()
            && session.present
            && session.mutes.take(cx.now)
        {
            session.told_muted = muted;
            self.tell_roster(cx, vec![AudioStreamIdInfo::Mute { audio_stream_id, muted }]);
        }
    }

    /// All sessions in which this attendee takes part, content shares included.
    fn sessions_of(&self, attendee: AttendeeId) -> Vec<SessionId> {
        let theirs = self.sessions.values().filter(|s| s.is_in() && s.appears_as().0.id == attendee);
        theirs.map(|session| session.id).collect()
    }

    fn shares_of(&self, attendee: AttendeeId) -> Vec<SessionId> {
        let shares = self.sessions.values().filter(|s| s.attendee.content && s.attendee.id == attendee);
        shares.map(|session| session.id).collect()
    }
}
