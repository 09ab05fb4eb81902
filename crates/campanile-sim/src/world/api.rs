//! What the owner of the meeting does by the API: the records change, and the worker is told.

use std::time::Duration;

use campanile_meeting::ids::AttendeeId;
use campanile_meeting::service::{Command, DataError};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::DataMessage;

use super::{Page, REPLICAS, World};

impl World {
    /// DeleteMeeting: the record is gone, and the worker is told.
    pub fn end_meeting(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.over = true;
        let command = Command::EndMeeting(inner.meeting);
        inner.command(command);
    }

    /// DeleteMeeting on the replica.
    pub fn end_replica(&self, replica: usize) {
        let command = Command::EndMeeting(REPLICAS[replica].parse().expect("a UUID"));
        self.inner.borrow_mut().command(command);
    }

    /// DeleteAttendee.
    pub fn remove_attendee(&self, page: &Page) {
        let attendee = page.client().attendee.id;
        self.remove(attendee);
    }

    /// DeleteAttendee, of one whose page is not at hand.
    pub fn remove(&self, attendee: AttendeeId) {
        let mut inner = self.inner.borrow_mut();
        inner.removed.insert(attendee);
        let command = Command::RemoveAttendee(inner.meeting, attendee);
        inner.command(command);
    }

    /// UpdateAttendeeCapabilities: the record says so from now on, and the worker is told.
    pub fn set_capabilities(&self, page: &Page, capabilities: Capabilities) {
        let attendee = page.client().attendee.id;
        self.limit(attendee, capabilities);
    }

    /// UpdateAttendeeCapabilities, of one whose page is not at hand.
    pub fn limit(&self, attendee: AttendeeId, capabilities: Capabilities) {
        let mut inner = self.inner.borrow_mut();
        let command = Command::SetCapabilities(inner.meeting, attendee, capabilities);
        inner.command(command);
    }

    /// SendDataMessage of the API, by this name; the time at which it was taken in, in nanoseconds since the Unix epoch.
    pub fn send_data_message(
        &self,
        name: &str,
        topic: &str,
        data: &str,
        lifetime: Duration,
    ) -> Result<i64, DataError> {
        let mut inner = self.inner.borrow_mut();
        let (now, meeting) = (inner.now, inner.meeting);
        let data = data.as_bytes().to_vec();
        let message = DataMessage { topic: topic.to_owned(), data, lifetime_ms: lifetime.as_millis() as u32 };
        let outcome = inner.service.send_data_message(now, meeting, name, message);
        inner.drain();
        outcome
    }

    /// ListDataMessages of the API: their texts.
    pub fn data_messages(&self) -> Vec<String> {
        let mut inner = self.inner.borrow_mut();
        let (now, meeting) = (inner.now, inner.meeting);
        let kept = inner.service.data_messages(now, meeting);
        kept.into_iter().map(|message| String::from_utf8_lossy(&message.data).into_owned()).collect()
    }

    /// MuteAttendee.
    pub fn mute(&self, page: &Page) {
        let attendee = page.client().attendee.id;
        let mut inner = self.inner.borrow_mut();
        let command = Command::MuteAttendee(inner.meeting, attendee);
        inner.command(command);
    }

    /// UpdateUnmutePermission: the record says so from now on, and the worker is told.
    pub fn permit_unmute(&self, page: &Page, may_unmute: bool) {
        let attendee = page.client().attendee.id;
        let mut inner = self.inner.borrow_mut();
        match may_unmute {
            true => inner.kept_muted.remove(&attendee),
            false => inner.kept_muted.insert(attendee),
        };
        let command = Command::PermitUnmute(inner.meeting, attendee, may_unmute);
        inner.command(command);
    }

    /// LockMeeting.
    pub fn lock(&self) {
        let mut inner = self.inner.borrow_mut();
        let command = Command::LockMeeting(inner.meeting);
        inner.command(command);
    }

    /// UnlockMeeting.
    pub fn unlock(&self) {
        self.inner.borrow_mut().locked_to = None;
    }
}
