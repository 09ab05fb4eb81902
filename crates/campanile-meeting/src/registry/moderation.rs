//! What the moderation extension keeps in the records: who may unmute, whose token is void, who may come into a locked
//! meeting.

use std::collections::BTreeSet;

use super::{AttendeeRecord, Registry, RegistryError, Write};
use crate::ids::{AccountId, AttendeeId, MeetingId};

impl Registry {
    /// UpdateUnmutePermission, which MuteAttendee may change as well.
    pub fn permit_unmute(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        attendee: AttendeeId,
        may_unmute: bool,
    ) -> Result<AttendeeRecord, RegistryError> {
        self.change_attendee(account, meeting, attendee, |record| record.may_unmute = may_unmute)
    }

    /// RemoveAttendee: the join token is void, the record stays; GetAttendee shows a new token.
    pub fn revoke_token(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        attendee: AttendeeId,
    ) -> Result<AttendeeRecord, RegistryError> {
        self.change_attendee(account, meeting, attendee, |record| record.generation += 1)
    }

    /// LockMeeting: from now on only those get in who have been invited already, until [`Registry::set_inside`] says who of
    /// them is in. A meeting that is locked already stays as it is; false then.
    pub fn lock(&mut self, account: AccountId, meeting: MeetingId) -> Result<bool, RegistryError> {
        let entry = self.entry(account, meeting)?;
        if entry.record.locked_to.is_some() {
            return Ok(false);
        }
        let invited = entry.attendees.keys().copied().collect();
        self.set_lock(account, meeting, Some(invited))?;
        Ok(true)
    }

    /// UnlockMeeting.
    pub fn unlock(&mut self, account: AccountId, meeting: MeetingId) -> Result<(), RegistryError> {
        self.set_lock(account, meeting, None)
    }

    /// The media side tells who was in a meeting when it was locked. Of one unlocked meanwhile, or ended, it may still tell.
    pub fn set_inside(&mut self, meeting: MeetingId, inside: BTreeSet<AttendeeId>) {
        let locked = self.meetings.get(&meeting).filter(|entry| entry.record.locked_to.is_some());
        if let Some(account) = locked.map(|entry| entry.record.account) {
            let _ = self.set_lock(account, meeting, Some(inside));
        }
    }

    fn set_lock(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        locked_to: Option<BTreeSet<AttendeeId>>,
    ) -> Result<(), RegistryError> {
        self.change(account, meeting, |record| {
            record.locked_to = locked_to;
            Ok(())
        })
        .map(drop)
    }

    fn change_attendee(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        attendee: AttendeeId,
        change: impl FnOnce(&mut AttendeeRecord),
    ) -> Result<AttendeeRecord, RegistryError> {
        self.attendee(account, meeting, attendee)?;
        let entry = self.meetings.get_mut(&meeting).expect("found above");
        let record = entry.attendees.get_mut(&attendee).expect("found above");
        change(record);
        let record = record.clone();
        self.writes.push(Write::Attendee(record.clone()));
        Ok(record)
    }
}
