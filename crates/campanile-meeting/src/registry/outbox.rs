//! Events on their way out. They are numbered as they are decided, for each account by itself and without gaps, so that a
//! reader can tell that it has missed none and has seen none twice. Nothing here delivers them.

use std::collections::BTreeMap;

use campanile_wire::api::TranscriptionConfiguration;
use campanile_wire::events::{Detail, Event, EventType};

use super::failed_joins::{Ended, EndedMeeting, Told};
use super::{Admission, AttendeeRecord, MeetingRecord, Registry, Write};
use crate::ids::{AccountId, AttendeeKey, MeetingId};

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Whose it is.
    pub account: AccountId,
    /// Its place among the account's events: 1, 2, 3...
    pub sequence: u64,
    /// Of which meeting it tells.
    pub meeting: MeetingId,
    /// What it tells.
    pub event: Event,
}

/// Somebody of whom the media side tells, as consumers of events know them. Their records may be gone by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    account: AccountId,
    meeting: MeetingId,
    external_meeting_id: String,
    media_region: String,
    attendee: AttendeeKey,
    external_user_id: String,
}

impl Subject {
    /// In which meeting who.
    pub fn place(&self) -> (MeetingId, AttendeeKey) {
        (self.meeting, self.attendee)
    }
    /// The caller's own name for them.
    pub fn external_user_id(&self) -> &str {
        &self.external_user_id
    }
    /// Their content share.
    pub(crate) fn share(&self) -> Subject {
        Subject { attendee: AttendeeKey { content: true, ..self.attendee }, ..self.clone() }
    }
}

impl Admission {
    /// Who is admitted.
    pub fn subject(&self) -> Subject {
        Subject {
            account: self.account,
            meeting: self.meeting,
            external_meeting_id: self.external_meeting_id.clone(),
            media_region: self.media_region.clone(),
            attendee: self.attendee,
            external_user_id: self.external_user_id.clone(),
        }
    }
}

/// What a store knows of events when the process starts.
#[derive(Debug, Default)]
pub struct StoredEvents {
    last: BTreeMap<AccountId, u64>,
    /// What had begun and not ended when the process before came to its end: who was in a meeting, whose picture was on.
    standing: BTreeMap<(MeetingId, Option<String>, EventType), OutboxEvent>,
    ended: Ended,
}

impl StoredEvents {
    /// An account's newest event has this number, whether it is still kept or not.
    pub fn note_last(&mut self, account: AccountId, sequence: u64) {
        let last = self.last.entry(account).or_default();
        *last = sequence.max(*last);
    }

    /// Takes an event that is kept; each account's in the order of their numbers.
    pub fn add(&mut self, event: OutboxEvent) {
        self.note_last(event.account, event.sequence);
        let detail = &event.event.detail;
        let place = |what: EventType| (event.meeting, detail.attendee_id.clone(), what);
        if detail.event_type == EventType::MeetingEnded {
            let ended = EndedMeeting {
                account: event.account,
                external_meeting_id: detail.external_meeting_id.clone().unwrap_or_default(),
                media_region: detail.media_region.clone(),
                told: Told::default(),
            };
            self.ended.add(detail.timestamp, event.meeting, ended);
        } else if let Some(begun) = detail.event_type.ends() {
            self.standing.remove(&place(begun));
        } else if detail.event_type.lost_by().is_some() {
            self.standing.insert(place(detail.event_type), event);
        }
    }
}

/// The number of each account's newest event.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<AccountId, u64>);

impl MeetingRecord {
    pub(super) fn detail(&self, what: EventType, now_unix_ms: u64) -> Detail {
        let (external_meeting_id, media_region) = (&self.external_meeting_id, &self.media_region);
        Detail::of_meeting(what, now_unix_ms, self.id.to_string(), external_meeting_id, media_region)
    }

    pub(super) fn attendee_detail(
        &self,
        what: EventType,
        now_unix_ms: u64,
        attendee: &AttendeeRecord,
    ) -> Detail {
        self.detail(what, now_unix_ms).with_attendee(attendee.id.to_string(), &attendee.external_user_id)
    }

    /// ... with what is to be transcribed, and where.
    pub(super) fn with_transcription(&self, detail: Detail) -> Detail {
        let Some(configuration) = &self.transcription else { return detail };
        let text = serde_json::to_string(configuration).expect("text keys, finite numbers");
        Detail {
            transcription_region: Some(self.transcription_region(configuration)),
            transcription_configuration: Some(text),
            ..detail
        }
    }

    fn transcription_region(&self, configuration: &TranscriptionConfiguration) -> String {
        let everyday = configuration.engine_transcribe_settings.as_ref();
        let medical = configuration.engine_transcribe_medical_settings.as_ref();
        let asked = everyday.map(|it| &it.region).or(medical.map(|it| &it.region)).and_then(Option::as_deref);
        asked.filter(|region| *region != "auto").unwrap_or(&self.media_region).to_owned()
    }
}

impl Registry {
    /// Takes up where the process before ended. Whoever was in a meeting then has lost the connection with it. Returns those,
    /// by meeting, whom the media side is to expect back: it tells of them if they do not come, or once their meeting is
    /// over. All the others are told to have dropped now, and will have joined again when they come back: a replica's people,
    /// who are nothing to anybody, and those whose records are gone. No picture is on any more.
    pub fn restore_events(
        &mut self,
        now_unix_ms: u64,
        stored: StoredEvents,
    ) -> BTreeMap<MeetingId, Vec<Subject>> {
        self.numbers = Numbers(stored.last);
        self.ended = stored.ended;
        let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in stored.standing.into_values() {
            if let Some(who) = self.expected_back(&event) {
                expected.entry(event.meeting).or_default().push(who);
            } else if let Some(event_type) = event.event.detail.event_type.lost_by() {
                let detail = Detail { event_type, timestamp: now_unix_ms, ..event.event.detail };
                self.tell_of(event.account, event.meeting, detail);
            }
        }
        expected
    }

    fn expected_back(&self, event: &OutboxEvent) -> Option<Subject> {
        let content = match event.event.detail.event_type {
            EventType::AttendeeJoined => false,
            EventType::AttendeeContentJoined => true,
            _ => return None,
        };
        let entry = self.meetings.get(&event.meeting).filter(|entry| entry.record.primary.is_none())?;
        let id = event.event.detail.attendee_id.as_ref()?.parse().ok()?;
        let external_user_id = entry.attendees.get(&id)?.external_user_id.clone();
        Some(Subject {
            account: entry.record.account,
            meeting: event.meeting,
            external_meeting_id: entry.record.external_meeting_id.clone(),
            media_region: entry.record.media_region.clone(),
            attendee: AttendeeKey { id, content },
            external_user_id,
        })
    }

    /// The media side tells what has happened to somebody. No record changes.
    pub fn note(&mut self, now_unix_ms: u64, subject: &Subject, what: EventType) {
        let Subject { external_meeting_id, media_region, external_user_id, .. } = subject;
        let meeting_id = subject.meeting.to_string();
        let detail = Detail::of_meeting(what, now_unix_ms, meeting_id, external_meeting_id, media_region)
            .with_attendee(subject.attendee.id.to_string(), external_user_id);
        self.tell_of(subject.account, subject.meeting, detail);
    }

    pub(super) fn tell(&mut self, record: &MeetingRecord, detail: Detail) {
        self.tell_of(record.account, record.id, detail);
    }

    pub(super) fn tell_of(&mut self, account: AccountId, meeting: MeetingId, detail: Detail) {
        let id = uuid::Builder::from_random_bytes(self.random_bytes()).into_uuid().to_string();
        let last = self.numbers.0.entry(account).or_default();
        *last += 1;
        let event = Event::new(id, account.to_string(), self.region.clone(), detail);
        self.writes.push(Write::Event(Box::new(OutboxEvent { account, sequence: *last, meeting, event })));
    }
}
