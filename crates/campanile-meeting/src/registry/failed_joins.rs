//! Joins that came to nothing, as events of the meeting that they were meant for: each by itself, until there are so many
//! that they would drive other events out of the store. Meetings that are over are remembered for those who come too late.

use std::collections::{BTreeMap, BTreeSet};

use campanile_wire::events::{Detail, EventType};

use super::{MeetingRecord, Registry};
use crate::ids::{AccountId, MeetingId};
use crate::trace::JoinTrace;

/// Told of one meeting in an hour: as many as may be in it by the documented quotas, each once.
const OF_MEETING: Most = Most { people: 250, strangers: 25 };
/// ... of all meetings of one account: a week of nothing else takes three places in four of what the store keeps.
const OF_ACCOUNT: Most = Most { people: 400, strangers: 50 };
const HOUR_MS: u64 = 60 * 60 * 1000;
/// Meetings remembered after their end, the newest: some 2 MB.
const ENDED_MAX: usize = 10_000;

/// The most to be told of: of a meeting's own people, and of strangers, who have no token of theirs. Anybody can be one, any
/// number of times, and must not use up what there is for people.
#[derive(Debug, Clone, Copy)]
struct Most {
    people: u32,
    strangers: u32,
}

/// What was told within the hour.
#[derive(Debug, Default)]
struct Hour {
    began_unix_ms: u64,
    people: u32,
    strangers: u32,
}

impl Hour {
    /// How many of this kind were told of, if there may be one more.
    fn room(&mut self, now_unix_ms: u64, most: Most, stranger: bool) -> Option<&mut u32> {
        if now_unix_ms.saturating_sub(self.began_unix_ms) >= HOUR_MS {
            *self = Hour { began_unix_ms: now_unix_ms, ..Hour::default() };
        }
        let (told, most) = match stranger {
            true => (&mut self.strangers, most.strangers),
            false => (&mut self.people, most.people),
        };
        (*told < most).then_some(told)
    }
}

/// What was told of one meeting.
#[derive(Debug, Default)]
pub(super) struct Told {
    hour: Hour,
    /// Since the last that was.
    omitted: u32,
}

/// A meeting that is over, as events name it.
#[derive(Debug)]
pub(super) struct EndedMeeting {
    pub(super) account: AccountId,
    pub(super) external_meeting_id: String,
    pub(super) media_region: String,
    pub(super) told: Told,
}

impl EndedMeeting {
    pub(super) fn new(record: &MeetingRecord, told: Told) -> EndedMeeting {
        EndedMeeting {
            account: record.account,
            external_meeting_id: record.external_meeting_id.clone(),
            media_region: record.media_region.clone(),
            told,
        }
    }
}

/// The newest meetings that are over.
#[derive(Debug, Default)]
pub(super) struct Ended {
    meetings: BTreeMap<MeetingId, EndedMeeting>,
    by_end: BTreeSet<(u64, MeetingId)>,
}

impl Ended {
    /// A meeting has ended then. Each ends once.
    pub(super) fn add(&mut self, ended_unix_ms: u64, id: MeetingId, meeting: EndedMeeting) {
        self.meetings.insert(id, meeting);
        self.by_end.insert((ended_unix_ms, id));
        if self.by_end.len() > ENDED_MAX
            && let Some((_, oldest)) = self.by_end.pop_first()
        {
            self.meetings.remove(&oldest);
        }
    }
}

/// How many failed joins each account was told of within the hour.
#[derive(Debug, Default)]
pub(super) struct FailedJoins(BTreeMap<AccountId, Hour>);

impl Registry {
    /// Whose meeting it is, or was.
    pub(super) fn account_of(&self, meeting: MeetingId) -> Option<AccountId> {
        let living = self.meetings.get(&meeting).map(|entry| entry.record.account);
        living.or_else(|| self.ended.meetings.get(&meeting).map(|ended| ended.account))
    }

    /// A join has failed: an event of its meeting, unless too many have within the hour. Then it is counted, and the next
    /// that is told says how many were not. No record changes.
    pub fn note_failed_join(&mut self, now_unix_ms: u64, trace: &JoinTrace) {
        let Some(failure) = &trace.failure else { return };
        let content = trace.attendee.is_some_and(|attendee| attendee.content);
        let what = if content { EventType::AttendeeContentJoinFailed } else { EventType::AttendeeJoinFailed };
        let id = trace.meeting;
        let (account, detail, told, record, stranger) = if let Some(entry) = self.meetings.get_mut(&id) {
            let record = trace.attendee.and_then(|attendee| entry.attendees.get(&attendee.id));
            let detail = entry.record.detail(what, now_unix_ms);
            (entry.record.account, detail, &mut entry.told, record, record.is_none())
        } else if let Some(ended) = self.ended.meetings.get_mut(&id) {
            let EndedMeeting { account, external_meeting_id, media_region, told } = ended;
            let id = id.to_string();
            let detail = Detail::of_meeting(what, now_unix_ms, id, external_meeting_id, media_region);
            (*account, detail, told, None, trace.attendee.is_none())
        } else {
            return;
        };
        let of_account = self.failed_joins.0.entry(account).or_default();
        let of_meeting = told.hour.room(now_unix_ms, OF_MEETING, stranger);
        let rooms = of_meeting.zip(of_account.room(now_unix_ms, OF_ACCOUNT, stranger));
        let Some((of_meeting, of_account)) = rooms else {
            told.omitted = told.omitted.saturating_add(1);
            return;
        };
        *of_meeting += 1;
        *of_account += 1;
        let omitted = std::mem::take(&mut told.omitted);
        let detail = Detail {
            attendee_id: trace.attendee.map(|attendee| attendee.id.to_string()),
            external_user_id: record.map(|record| record.external_user_id.clone()),
            phase: Some(format!("{:?}", failure.step)),
            cause: Some(failure.cause.clone()),
            remedy: Some(failure.remedy.to_owned()),
            omitted: (omitted > 0).then_some(omitted),
            ..detail
        };
        self.tell_of(account, id, detail);
    }
}
