//! Those who were in a meeting when the process before came to its end.
//!
//! After a restart clients come back one by one, within a second or two, and to each the first roster is the whole one:
//! whoever is missing in it has left, as far as its application is told. So for a moment those who were here stay in the
//! roster, under numbers of their own. Who comes back takes its place over unnoticed; who does not has dropped.

use std::collections::BTreeMap;
use std::time::Instant;

use campanile_wire::signaling::AudioStreamIdInfo;

use crate::ids::{AttendeeId, AttendeeKey};
use crate::meeting::Meeting;
use crate::service::Cx;
use crate::session::LOST_GRACE;

/// Somebody who was in a meeting, an attendee or its content share, and is likely to be back in a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Who.
    pub attendee: AttendeeKey,
    /// The caller's own name for the attendee.
    pub external_user_id: String,
}

/// Those of one meeting who are not back yet.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    until: Option<Instant>,
    people: BTreeMap<AttendeeKey, (u32, String)>,
}

impl Awaited {
    /// When those who are not back then have dropped; `None` once all are back.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.people.is_empty())
    }

    /// Somebody is not waited for any more; their number in the roster, if they were.
    pub(crate) fn take(&mut self, attendee: AttendeeKey) -> Option<u32> {
        self.people.remove(&attendee).map(|(number, _)| number)
    }

    /// Who they are, content shares aside.
    pub(crate) fn attendees(&self) -> impl Iterator<Item = AttendeeId> {
        self.people.keys().filter(|attendee| !attendee.content).map(|attendee| attendee.id)
    }

    /// Their entries in the roster. Whether they are muted has been forgotten; clients have not.
    pub(crate) fn entries(&self) -> impl Iterator<Item = AudioStreamIdInfo> {
        self.people.iter().map(|(attendee, (number, external_user_id))| AudioStreamIdInfo::Present {
            audio_stream_id: *number,
            attendee_id: attendee.to_string(),
            external_user_id: external_user_id.clone(),
            muted: None,
        })
    }
}

impl Meeting {
    /// Keeps a place for these, for as long as for one whose connection is lost. Who is in already is not among them.
    pub(crate) fn expect(&mut self, cx: &Cx<'_>, people: Vec<Expected>) {
        self.awaited.until = Some(cx.now + LOST_GRACE);
        for Expected { attendee, external_user_id } in people {
            let number = self.new_audio_stream_id();
            self.awaited.people.insert(attendee, (number, external_user_id));
        }
    }

    /// Those who are not back in time have dropped.
    pub(crate) fn give_up_awaited(&mut self, cx: &mut Cx<'_>) {
        if self.awaited.until().is_some_and(|until| until <= cx.now) {
            let people = std::mem::take(&mut self.awaited).people.into_values();
            let left = |(audio_stream_id, _)| AudioStreamIdInfo::Left { audio_stream_id, dropped: true };
            self.tell_roster(cx, people.map(left).collect());
            self.note_participants();
        }
    }
}
