//! Servers that stop: by a drain, or all at once.

use std::time::Duration;

use campanile_meeting::ids::{AttendeeKey, MeetingId};
use campanile_meeting::registry::Subject;
use campanile_meeting::service::{Command, MediaService};
use campanile_wire::api::Capabilities;
use campanile_wire::events::EventType;
use rand_core::RngCore as _;

use super::{Inner, What, World, service_config};

impl World {
    /// SIGTERM: everybody is asked to come back, the last of them within this time.
    pub fn drain_server(&self, within: Duration) {
        let mut inner = self.inner.borrow_mut();
        inner.drained = false;
        inner.command(Command::Drain(within));
    }

    /// The server takes clients in again.
    pub fn cancel_drain(&self) {
        self.inner.borrow_mut().command(Command::CancelDrain);
    }

    /// Whether the server has said, since the last drain began, that no socket is open any more.
    pub fn is_drained(&self) -> bool {
        self.inner.borrow().drained
    }

    /// `kill -9`: the server's memory is gone, its host resets every connection and refuses new ones.
    pub fn kill_server(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.up = false;
        inner.present = 0;
        for (session, socket) in std::mem::take(&mut inner.sockets) {
            if !socket.opened {
                inner.refuse(socket.seat);
            } else if inner.seats[socket.seat].client.session == Some(session) {
                let now = inner.now;
                inner.seats[socket.seat].client.closed(now, None);
                inner.flush(socket.seat);
            }
        }
        inner.replace_service();
    }

    /// A new process, with the records of the old one.
    pub fn start_server(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.replace_service();
        inner.expect_back();
        inner.up = true;
    }
}

impl Inner {
    fn replace_service(&mut self) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        self.service = MediaService::new(service_config(self.limits), self.clock, seed);
    }

    /// As the shell does: the store knows who was in the meeting, and the registry tells of those who are not expected back
    /// that they have dropped.
    fn expect_back(&mut self) {
        let was_here = std::mem::take(&mut self.told.standing);
        let (mut people, mut standing) = (Vec::new(), was_here.clone());
        for place @ (meeting, attendee, what) in was_here {
            match self.expected_back(meeting, attendee, what) {
                Some(subject) => people.push(subject),
                None => drop(standing.remove(&place)),
            }
        }
        self.told.standing = standing;
        self.service.expect(self.now, self.meeting, people);
    }

    fn expected_back(&self, meeting: MeetingId, attendee: AttendeeKey, what: EventType) -> Option<Subject> {
        if !matches!(what, EventType::AttendeeJoined | EventType::AttendeeContentJoined) {
            return None;
        }
        let seat = self.seats.iter().find(|seat| seat.client.attendee.id == attendee.id)?;
        let known = meeting == self.meeting && !self.over && !self.removed.contains(&attendee.id);
        let admission = || self.admission(attendee, seat.client.name.clone(), Capabilities::ALL);
        known.then(|| admission().subject())
    }

    /// The connection attempt of this client fails, as it learns a network's delay later.
    pub(super) fn refuse(&mut self, seat: usize) {
        let arrival = self.seats[seat].socket_down.pass_in_order(self.now);
        self.schedule(arrival, What::Refused(seat));
    }
}
