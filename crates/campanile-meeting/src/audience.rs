//! Replica meetings: an audience that hears and sees the people of the primary meeting, and whom nobody perceives.
//!
//! The sessions of a replica's attendees live in the primary's `Meeting`, so that they are served from the same encodes
//! and the same packets as everybody. What sets them apart is told by [`Session::is_on_stage`]: who is not on stage is in
//! nobody's roster but its own, and sends nothing. A promotion puts a session on stage under the name of an attendee of the
//! primary meeting, until it is taken back or the session breaks.

use campanile_media::mix::LegId;
use campanile_wire::api::{Capabilities, MeetingFeatures};
use campanile_wire::signaling::{AudioStatus, AudioStreamIdInfo, ServerFrame, close_code};
use tracing::info;

use crate::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use crate::meeting::{Meeting, status};
use crate::registry::{Admission, JoinError, Subject};
use crate::service::Cx;
use crate::session::{Phase, Session};

/// Of an audience, so many count among an index's participants. From three participants on the client sends simulcast, and
/// nothing else depends on the number; so an audience that grows or shrinks beyond it changes nobody's index.
const AUDIENCE_COUNTED: usize = 2;

/// As whom a replica's attendee takes part in the primary meeting.
#[derive(Clone, Debug)]
pub(crate) struct Promotion {
    /// Whose credentials were shown: an attendee of the primary meeting; for a content share, that one's.
    pub(crate) attendee: AttendeeKey,
    /// The caller's own name for that attendee.
    pub(crate) external_user_id: String,
    /// As events name it.
    pub(crate) subject: Subject,
    /// What that attendee may do.
    pub(crate) capabilities: Capabilities,
    /// What the primary meeting offers.
    pub(crate) features: MeetingFeatures,
    /// Its place in everybody's roster; a new one with every promotion.
    pub(crate) audio_stream_id: u32,
}

/// Why a promotion ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Demotion {
    /// Its client asked for it, or has come back on another connection.
    Own,
    /// The attendee whose credentials it showed was deleted or takes part otherwise; its client has to be told.
    Taken,
    /// Its connection is lost.
    Dropped,
}

impl Session {
    /// Its entry in the roster of its own meeting, under this number.
    pub(crate) fn entry(&self, audio_stream_id: u32) -> AudioStreamIdInfo {
        AudioStreamIdInfo::Present {
            audio_stream_id,
            attendee_id: self.attendee.to_string(),
            external_user_id: self.external_user_id.clone(),
            muted: Some(self.muted),
        }
    }

    /// Its entry in everybody's roster, while it is promoted.
    pub(crate) fn promoted_entry(&self) -> Option<AudioStreamIdInfo> {
        self.promotion.as_ref().map(|promotion| AudioStreamIdInfo::Present {
            audio_stream_id: promotion.audio_stream_id,
            attendee_id: promotion.attendee.to_string(),
            external_user_id: promotion.external_user_id.clone(),
            muted: Some(self.muted),
        })
    }
}

impl Meeting {
    /// PRIMARY_MEETING_JOIN: `admitted` is what the credentials in it are worth. Always answered.
    pub(crate) fn promote(&mut self, cx: &mut Cx<'_>, id: SessionId, admitted: Result<Admission, JoinError>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.last_heard = cx.now;
        if !session.joins.take(cx.now) {
            return self.send_away(cx, id, close_code::TOO_MUCH, "too many PRIMARY_MEETING_JOIN frames");
        }
        let may_ask =
            session.phase == Phase::Joined && session.replica.is_some() && !session.attendee.content;
        let error = match admitted {
            Ok(admission) if may_ask && admission.meeting == self.id && !admission.attendee.content => {
                self.put_on_stage(cx, id, admission);
                None
            }
            Err(_) if may_ask => Some(status::FORBIDDEN),
            _ => Some(status::BAD_REQUEST),
        };
        cx.frame(id, ServerFrame::PrimaryMeetingJoinAck { error });
    }

    fn put_on_stage(&mut self, cx: &mut Cx<'_>, id: SessionId, admission: Admission) {
        // One at a time: whoever takes part as this attendee makes room, as for another device.
        self.end_attendee(cx, admission.attendee, AudioStatus::JoinedFromAnotherDevice);
        self.demote(cx, id, Demotion::Own);
        self.demote_all_as(cx, admission.attendee.id);
        let audio_stream_id = self.new_audio_stream_id();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        info!(
            meeting_id = %self.id, attendee_id = %admission.attendee, replica_attendee_id = %session.attendee,
            "promoted"
        );
        let subject = admission.subject();
        self.attendance.note(&subject, false);
        session.promotion = Some(Promotion {
            subject,
            attendee: admission.attendee,
            external_user_id: admission.external_user_id,
            capabilities: admission.capabilities,
            features: admission.features,
            audio_stream_id,
        });
        session.may_unmute = admission.may_unmute;
        session.muted |= !session.may_unmute;
        session.told_muted = session.muted;
        self.mixer.set_muted(LegId(session.audio_stream_id), session.muted);
        self.mixer.set_can_speak(LegId(session.audio_stream_id), session.may_speak());
        if session.present {
            let entries = session.promoted_entry().into_iter().collect();
            self.presence_due = true;
            self.tell_roster(cx, entries);
        }
        self.index_due = true;
    }

    /// Takes a session off the stage, if it was promoted to it.
    pub(crate) fn demote(&mut self, cx: &mut Cx<'_>, id: SessionId, why: Demotion) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(promotion) = session.promotion.take() else { return };
        let share = AttendeeKey { content: true, ..session.attendee };
        let present = session.present;
        info!(meeting_id = %self.id, attendee_id = %promotion.attendee, ?why, "demoted");
        self.attendance.note(&promotion.subject, why == Demotion::Dropped);
        self.mixer.set_can_speak(LegId(session.audio_stream_id), false);
        self.unpublish(id);
        if present {
            let (audio_stream_id, dropped) = (promotion.audio_stream_id, why == Demotion::Dropped);
            self.presence_due = true;
            self.tell_roster(cx, vec![AudioStreamIdInfo::Left { audio_stream_id, dropped }]);
        }
        self.index_due = true;
        if !promotion.attendee.content {
            self.end_attendee(cx, share, AudioStatus::AttendeeRemoved);
        }
        if why == Demotion::Taken {
            cx.frame(id, ServerFrame::PrimaryMeetingLeave);
        }
    }

    /// Takes those off the stage who are there as this attendee.
    pub(crate) fn demote_all_as(&mut self, cx: &mut Cx<'_>, attendee: AttendeeId) {
        let as_attendee = AttendeeKey { id: attendee, content: false };
        let is_it =
            |session: &&Session| session.promotion.as_ref().is_some_and(|it| it.attendee == as_attendee);
        let these: Vec<_> = self.sessions.values().filter(is_it).map(|session| session.id).collect();
        for id in these {
            self.demote(cx, id, Demotion::Taken);
        }
    }

    /// The promotion that a content share has from its attendee's own session.
    pub(crate) fn promotion_of_share(&mut self, share: AttendeeKey) -> Option<Promotion> {
        let base = AttendeeKey { content: false, ..share };
        let base = self.sessions.values().find(|session| session.attendee == base && session.is_in())?;
        let promotion = base.promotion.clone()?;
        let attendee = AttendeeKey { content: true, ..promotion.attendee };
        let subject = promotion.subject.share();
        Some(Promotion { attendee, subject, audio_stream_id: self.new_audio_stream_id(), ..promotion })
    }

    /// One replica has ended: its audience is told.
    pub(crate) fn end_replica(&mut self, cx: &mut Cx<'_>, replica: MeetingId) {
        info!(meeting_id = %self.id, replica_id = %replica, "replica ended");
        self.end_sessions(cx, |session| session.replica == Some(replica));
    }

    /// Tells an attendee of a replica, and its content share, of a change in their own meeting's roster: nobody else sees it.
    pub(crate) fn tell_own(&self, cx: &mut Cx<'_>, attendee: AttendeeId, entries: Vec<AudioStreamIdInfo>) {
        let theirs = self.sessions.values().filter(|session| session.attendee.id == attendee);
        for session in theirs.filter(|session| session.is_listening()) {
            cx.frame(session.id, ServerFrame::AudioStreamIdInfo(entries.clone()));
        }
    }

    /// Those in the meeting or about to be back, content shares aside, as far as an index counts them.
    pub(crate) fn participants(&self) -> usize {
        let people = self.sessions.values().filter(|session| session.is_in() && !session.attendee.content);
        let (members, audience): (Vec<_>, Vec<_>) = people.partition(|session| session.replica.is_none());
        members.len() + self.awaited.attendees().count() + audience.len().min(AUDIENCE_COUNTED)
    }
}
