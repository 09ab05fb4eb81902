//! Those who were in a meeting when the process before came to its end.
//!
//! After a restart clients come back one by one, within a second or two, and to each the first roster is the whole one:
//! whoever is missing in it has left, as far as its application is told. So for a moment those who were here stay in the
//! roster, under numbers of their own. Who comes back takes its place over unnoticed; who does not has dropped, and only
//! then events say so: a process that ends before that leaves them in the store as it found them, here, and the next one
//! waits for them in its turn.

use std::collections::BTreeMap;
use std::time::Instant;

use campanile_wire::signaling::AudioStreamIdInfo;

use crate::ids::{AttendeeId, AttendeeKey};
use crate::meeting::Meeting;
use crate::registry::Subject;
use crate::service::Cx;
use crate::session::LOST_GRACE;

/// Those of one meeting who are not back yet, content shares among them.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    until: Option<Instant>,
    /// By their numbers in the roster.
    people: BTreeMap<AttendeeKey, (u32, Subject)>,
}

impl Awaited {
    /// When those who are not back then have dropped; `None` once all are back.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.people.is_empty())
    }

    /// Somebody is not waited for any more; their number in the roster, if they were.
    pub(crate) fn take(&mut self, attendee: AttendeeKey) -> Option<(u32, Subject)> {
        self.people.remove(&attendee)
    }

    /// As events name them.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.people.values().map(|(_, subject)| subject)
    }

    /// Who they are, content shares aside.
    pub(crate) fn attendees(&self) -> impl Iterator<Item = AttendeeId> {
        self.people.keys().filter(|attendee| !attendee.content).map(|attendee| attendee.id)
    }

    /// Their entries in the roster. Whether they are muted has been forgotten; clients have not.
    pub(crate) fn entries(&self) -> impl Iterator<Item = AudioStreamIdInfo> {
        self.people.iter().map(|(attendee, (number, subject))| AudioStreamIdInfo::Present {
            audio_stream_id: *number,
            attendee_id: attendee.to_string(),
            external_user_id: subject.external_user_id().to_owned(),
            muted: None,
        })
    }
}

impl Meeting {
    /// Keeps a place for these, for as long as for one whose connection is lost. Who is in already is not among them.
    pub(crate) fn expect(&mut self, cx: &Cx<'_>, people: Vec<Subject>) {
        self.awaited.until = Some(cx.now + LOST_GRACE);
        for subject in people {
            let number = self.new_audio_stream_id();
            let (_, attendee) = subject.place();
            self.attendance.is_here(subject.clone());
            self.awaited.people.insert(attendee, (number, subject));
        }
    }

    /// The meeting is over for them too.
    pub(crate) fn expect_nobody(&mut self) {
        for (_, subject) in std::mem::take(&mut self.awaited).people.into_values() {
            self.attendance.note(&subject, false);
        }
    }

    /// Those who are not back in time have dropped.
    pub(crate) fn give_up_awaited(&mut self, cx: &mut Cx<'_>) {
        if self.awaited.until().is_some_and(|until| until <= cx.now) {
            let people = std::mem::take(&mut self.awaited).people.into_values();
            let left = |(audio_stream_id, subject)| {
                self.attendance.note(&subject, true);
                AudioStreamIdInfo::Left { audio_stream_id, dropped: true }
            };
            let entries = people.map(left).collect();
            self.tell_roster(cx, entries);
            self.note_participants();
        }
    }
}
