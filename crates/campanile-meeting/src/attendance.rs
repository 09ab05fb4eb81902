//! Who comes and goes and whose picture is on, as events tell it.
//!
//! Told is the difference between what was told last and what is so once an input has been handled. So a reconnection that
//! others do not notice is told to nobody, an attendee leaves or drops and never both, and every beginning has one end.

use std::collections::{BTreeMap, BTreeSet};

use campanile_wire::events::EventType;

use crate::ids::{AttendeeKey, MeetingId};
use crate::meeting::Meeting;
use crate::registry::Subject;
use crate::service::{Cx, Event};
use crate::session::Session;

/// In which meeting who is: a replica's audience is in the replica, whoever is promoted also in the primary.
type Place = (MeetingId, AttendeeKey);

/// What has been told, and of whom something might have to be told.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    here: BTreeMap<Place, Subject>,
    /// Whose pictures are on: cameras and shares of those who are here.
    showing: BTreeSet<AttendeeKey>,
    /// Who may have come or gone, and whether for a lost connection.
    due: BTreeMap<Place, (Subject, bool)>,
    pictures_due: bool,
}

impl Attendance {
    /// Somebody may have come or gone.
    pub(crate) fn note(&mut self, subject: &Subject, dropped: bool) {
        let (_, lost) = self.due.entry(subject.place()).or_insert_with(|| (subject.clone(), false));
        *lost |= dropped;
    }

    /// Somebody was here when the process before ended, and events say so still.
    pub(crate) fn is_here(&mut self, subject: Subject) {
        self.here.insert(subject.place(), subject);
    }

    /// Some picture may have gone on or off.
    pub(crate) fn note_pictures(&mut self) {
        self.pictures_due = true;
    }

    /// Somebody who may be here already has joined once more.
    pub(crate) fn authorized(&self, subject: &Subject) -> Option<Event> {
        self.here.get(&subject.place()).map(|subject| event(subject, EventType::AttendeeAuthorized))
    }

    /// The meeting is lost with all that is in it.
    pub(crate) fn lost(self, host: MeetingId) -> Vec<Event> {
        let mut events = Vec::new();
        for (place, subject) in &self.here {
            if place.0 == host && self.showing.contains(&place.1) {
                events.push(picture(subject, false));
            }
            events.push(gone(subject, true));
        }
        events
    }
}

impl Session {
    /// Where events have it: under its own name, and under that of its promotion.
    fn subjects(&self) -> impl Iterator<Item = &Subject> {
        // A session whose media path does not stand yet is here in the place of the one that it replaces.
        let here = self.is_in() && (self.present || self.replaces.is_some());
        let own = here.then_some(&self.subject);
        let promoted = self.promotion.as_ref().filter(|_| here).map(|promotion| &promotion.subject);
        own.into_iter().chain(promoted)
    }
}

impl Meeting {
    /// Tells what has changed since the last time.
    pub(crate) fn tell_attendance(&mut self, cx: &mut Cx<'_>) {
        if self.attendance.due.is_empty() && !self.attendance.pictures_due {
            return;
        }
        let due = std::mem::take(&mut self.attendance.due);
        let seated = self.sessions.values().flat_map(Session::subjects).chain(self.awaited.subjects());
        let seated = seated.map(Subject::place);
        let here: BTreeSet<Place> = seated.filter(|place| due.contains_key(place)).collect();
        let shown: BTreeSet<AttendeeKey> = self.sources.values().map(|source| source.attendee).collect();

        let attendance = &mut self.attendance;
        let leaving = due.iter().filter(|(place, _)| !here.contains(place));
        let leaving: Vec<_> =
            leaving.filter_map(|(place, (_, lost))| Some((attendance.here.remove(place)?, *lost))).collect();
        let host = self.id;
        let stays = |attendance: &Attendance, who: AttendeeKey| attendance.here.contains_key(&(host, who));
        let off: Vec<_> = attendance
            .showing
            .iter()
            .copied()
            .filter(|who| !shown.contains(who) || !stays(attendance, *who))
            .collect();
        for who in off {
            attendance.showing.remove(&who);
            let left = leaving.iter().map(|(subject, _)| subject);
            let subject =
                left.chain(attendance.here.get(&(host, who))).find(|subject| subject.place() == (host, who));
            if let Some(subject) = subject {
                cx.event(picture(subject, false));
            }
        }
        for (subject, lost) in &leaving {
            cx.event(gone(subject, *lost));
        }
        for (place, (subject, _)) in due {
            if here.contains(&place) && !attendance.here.contains_key(&place) {
                cx.event(come(&subject));
                attendance.here.insert(place, subject);
            }
        }
        for who in shown {
            if let Some(subject) = attendance.here.get(&(host, who))
                && attendance.showing.insert(who)
            {
                cx.event(picture(subject, true));
            }
        }
        attendance.pictures_due = false;
    }
}

fn event(subject: &Subject, what: EventType) -> Event {
    Event::Attendee { subject: Box::new(subject.clone()), what }
}

fn come(subject: &Subject) -> Event {
    let content = subject.place().1.content;
    event(subject, if content { EventType::AttendeeContentJoined } else { EventType::AttendeeJoined })
}

fn gone(subject: &Subject, dropped: bool) -> Event {
    event(
        subject,
        match (subject.place().1.content, dropped) {
            (false, false) => EventType::AttendeeLeft,
            (false, true) => EventType::AttendeeDropped,
            (true, false) => EventType::AttendeeContentLeft,
            (true, true) => EventType::AttendeeContentDropped,
        },
    )
}

fn picture(subject: &Subject, on: bool) -> Event {
    event(
        subject,
        match (subject.place().1.content, on) {
            (false, true) => EventType::AttendeeVideoStarted,
            (false, false) => EventType::AttendeeVideoStopped,
            (true, true) => EventType::AttendeeContentVideoStarted,
            (true, false) => EventType::AttendeeContentVideoStopped,
        },
    )
}
