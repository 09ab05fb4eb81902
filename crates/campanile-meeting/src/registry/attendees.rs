//! Attendees: who is made, what they may do, who is deleted.

use std::collections::BTreeSet;

use campanile_wire::api::{
    Capabilities, Capability, ContentResolution, Invalid, MeetingFeatures, NewAttendee, VideoResolution,
};
use campanile_wire::events::{Detail, EventType};
use uuid::Uuid;

use super::{AttendeeRecord, Registry, RegistryError, Write};
use crate::ids::{AccountId, AttendeeId, MeetingId};

impl Registry {
    /// CreateAttendee. The same ExternalUserId again finds the attendee it made, if capabilities are equal or not given.
    ///
    /// # Errors
    /// `Invalid` when the capabilities name what the meeting has disabled, `AttendeeLimit` at the meeting's ceiling, which
    /// counts attendees that exist, joined or not.
    pub fn create_attendee(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        new: NewAttendee,
    ) -> Result<AttendeeRecord, RegistryError> {
        let entry = self.entry(account, meeting)?;
        let features = entry.record.features;
        if let Some(asked) = &new.capabilities {
            permitted(asked, &features)?;
        }
        let same = |attendee: &&AttendeeRecord| {
            attendee.external_user_id == new.external_user_id
                && new.capabilities.is_none_or(|asked| asked == attendee.capabilities)
        };
        if self.limits.one_attendee_per_user
            && let Some(existing) = entry.attendees.values().find(same)
        {
            return Ok(existing.clone());
        }
        let max = features.attendees_max(self.limits.attendees_per_meeting);
        if entry.attendees.len() >= usize::from(max) {
            return Err(RegistryError::AttendeeLimit(max));
        }
        let record = AttendeeRecord {
            id: self.new_attendee_id(),
            meeting,
            external_user_id: new.external_user_id,
            capabilities: new.capabilities.unwrap_or_else(|| default_capabilities(&features)),
            may_unmute: true,
            generation: 0,
        };
        let entry = self.meetings.get_mut(&meeting).expect("found above");
        let added = entry.record.attendee_detail(EventType::AttendeeAdded, now_unix_ms, &record);
        entry.attendees.insert(record.id, record.clone());
        self.writes.push(Write::Attendee(record.clone()));
        self.tell_of(account, meeting, added);
        Ok(record)
    }

    /// GetAttendee.
    pub fn attendee(
        &self,
        account: AccountId,
        meeting: MeetingId,
        attendee: AttendeeId,
    ) -> Result<&AttendeeRecord, RegistryError> {
        let entry = self.entry(account, meeting)?;
        entry.attendees.get(&attendee).ok_or(RegistryError::AttendeeNotFound(attendee))
    }

    /// ListAttendees, in the order of their ids: at most `max` of those after `after`, and where the next page starts,
    /// if there is one. The order holds while others come and go, so no attendee is skipped or shown twice.
    pub fn attendees(
        &self,
        account: AccountId,
        meeting: MeetingId,
        after: Option<AttendeeId>,
        max: usize,
    ) -> Result<(Vec<&AttendeeRecord>, Option<AttendeeId>), RegistryError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let entry = self.entry(account, meeting)?;
        let mut rest =
            entry.attendees.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, record)| record);
        let page: Vec<_> = rest.by_ref().take(max).collect();
        let next = rest.next().and(page.last()).map(|last| last.id);
        Ok((page, next))
    }

    /// UpdateAttendeeCapabilities: replaces all three.
    pub fn set_capabilities(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        attendee: AttendeeId,
        capabilities: Capabilities,
    ) -> Result<AttendeeRecord, RegistryError> {
        self.attendee(account, meeting, attendee)?;
        self.set_capabilities_of(account, now_unix_ms, meeting, capabilities, |id| id == attendee)?;
        Ok(self.attendee(account, meeting, attendee)?.clone())
    }

    /// BatchUpdateAttendeeCapabilitiesExcept: all attendees but these, of whom some may not be there.
    pub fn set_capabilities_except(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        excluded: &BTreeSet<AttendeeId>,
        capabilities: Capabilities,
    ) -> Result<(), RegistryError> {
        self.set_capabilities_of(account, now_unix_ms, meeting, capabilities, |id| !excluded.contains(&id))
    }

    fn set_capabilities_of(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        capabilities: Capabilities,
        whose: impl Fn(AttendeeId) -> bool,
    ) -> Result<(), RegistryError> {
        let features = self.entry(account, meeting)?.record.features;
        permitted(&capabilities, &features)?;
        let entry = self.meetings.get_mut(&meeting).expect("found above");
        let mut events = Vec::new();
        for record in entry.attendees.values_mut() {
            if whose(record.id) && record.capabilities != capabilities {
                record.capabilities = capabilities;
                self.writes.push(Write::Capabilities(record.clone()));
                let what = EventType::AttendeeCapabilitiesUpdated;
                events.push(Detail {
                    success: Some("1".into()),
                    attendee_capabilities: Some(capabilities.into()),
                    ..entry.record.attendee_detail(what, now_unix_ms, record)
                });
            }
        }
        events.into_iter().for_each(|detail| self.tell_of(account, meeting, detail));
        Ok(())
    }

    /// DeleteAttendee: its token is void at once.
    pub fn delete_attendee(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        attendee: AttendeeId,
    ) -> Result<(), RegistryError> {
        let record = self.attendee(account, meeting, attendee)?;
        let of_meeting = &self.entry(account, meeting)?.record;
        let deleted = of_meeting.attendee_detail(EventType::AttendeeDeleted, now_unix_ms, record);
        self.meetings.get_mut(&meeting).expect("found above").attendees.remove(&attendee);
        self.writes.push(Write::AttendeeDeleted(meeting, attendee));
        self.tell_of(account, meeting, deleted);
        Ok(())
    }

    /// Random in all its bits. Unique within every meeting, which 128 bits see to.
    fn new_attendee_id(&mut self) -> AttendeeId {
        AttendeeId(Uuid::from_bytes(self.random_bytes()))
    }
}

/// Capabilities that a request names must not go beyond what the meeting has.
fn permitted(asked: &Capabilities, features: &MeetingFeatures) -> Result<(), Invalid> {
    if features.video_max() == VideoResolution::None && asked.video != Capability::None {
        return Err(Invalid("Capabilities: Video must be None, as the meeting has no video".into()));
    }
    if features.content_max() == ContentResolution::None && asked.content != Capability::None {
        return Err(Invalid(
            "Capabilities: Content must be None, as the meeting has no content shares".into(),
        ));
    }
    Ok(())
}

/// What an attendee may do when the request does not say. Without video but with content shares, video is `Receive`, since
/// whoever receives content receives video: a combination that a request could not name.
fn default_capabilities(features: &MeetingFeatures) -> Capabilities {
    let mut capabilities = Capabilities::ALL;
    let content = features.content_max() != ContentResolution::None;
    if !content {
        capabilities.content = Capability::None;
    }
    if features.video_max() == VideoResolution::None {
        capabilities.video = if content { Capability::Receive } else { Capability::None };
    }
    capabilities
}
