//! The records of the control plane: meetings, attendees, and the join tokens that turn a record into a session.
//!
//! Every record belongs to an account, and no call sees another account's. A call decides and changes the records in
//! memory at once; what it changed waits in [`Registry::take_writes`] for the shell, which makes it durable *before it
//! answers*. The events that a change causes are among its writes, so they are stored with it or not at all. Live sessions
//! are the worker's: the shell tells it of deletions, which it reads off the same writes.
//!
//! A meeting ends by DeleteMeeting, with its primary, a day after its creation, and when nobody has been present for a
//! while: the shell passes on who is present, and calls [`Registry::handle_timeout`] when [`Registry::poll_timeout`] says.
//!
//! Left to others: SigV4, IAM, request rates and HTTP (the shell), what the JSON looks like and the rules of a request by
//! itself (`campanile_wire::api`).

use std::collections::{BTreeMap, BTreeSet};

use campanile_wire::api::{ATTENDEES_MAX, Invalid, NewMeeting, TAGS_MAX, Tag, TranscriptionConfiguration};
use campanile_wire::events::{Detail, EventType};
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore as _;

use crate::ids::{AccountId, AttendeeId, MeetingId};

mod attendees;
mod failed_joins;
mod moderation;
mod outbox;
mod records;
mod tokens;

use failed_joins::{Ended, EndedMeeting, FailedJoins, Told};
use outbox::Numbers;
pub use outbox::{OutboxEvent, StoredEvents, Subject};
pub use records::{AttendeeRecord, MeetingRecord, Write};
pub use tokens::{Admission, JoinError, JoinTokenKey, Refusal, fuzz};

/// Why StartMeetingTranscription comes to nothing.
const NO_ENGINE: &str = "No transcription engine is configured on this server";

/// How much there may be, and how long it lasts. The defaults are the documented quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Meetings of one account at a time, replicas included.
    pub meetings_per_account: usize,
    /// Attendees of one meeting, joined or not; a meeting may set itself less.
    pub attendees_per_meeting: u16,
    /// Replicas of one primary meeting.
    pub replicas_per_primary: usize,
    /// A meeting ends after so long with nobody present, counted from its creation too. Replicas are exempt.
    pub idle_ms: u64,
    /// A meeting ends this long after its creation, whoever is present.
    pub lifetime_ms: u64,
    /// Whether the same ExternalUserId finds the attendee that it made.
    pub one_attendee_per_user: bool,
}

impl Default for RegistryLimits {
    fn default() -> RegistryLimits {
        RegistryLimits {
            meetings_per_account: 250,
            attendees_per_meeting: ATTENDEES_MAX,
            replicas_per_primary: 4,
            idle_ms: 5 * 60 * 1000,
            lifetime_ms: 24 * 60 * 60 * 1000,
            one_attendee_per_user: true,
        }
    }
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such meeting in this account: it never was, or has ended.
    #[error("Meeting <{0}> not found")]
    MeetingNotFound(MeetingId),
    /// No such attendee in this meeting.
    #[error("Attendee <{0}> not found")]
    AttendeeNotFound(AttendeeId),
    /// The meeting has as many attendees as it may; deleting one frees a place.
    #[error("The meeting may have at most {0} attendees; delete one to make room")]
    AttendeeLimit(u16),
    /// The account has as many meetings as it may.
    #[error("The account may have at most {0} meetings at a time; delete one, or let one end, to make room")]
    MeetingLimit(usize),
    /// The primary meeting has as many replicas as it may.
    #[error("A primary meeting may have at most {0} replicas; delete one to make room")]
    ReplicaLimit(usize),
    /// The meeting would have more tags than it may.
    #[error("A meeting may have at most {0} tags; remove some to make room")]
    TooManyTags(usize),
    /// There is no transcription to be stopped.
    #[error("The meeting is not being transcribed")]
    NoTranscription,
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A meeting with its attendees.
#[derive(Debug)]
struct Entry {
    record: MeetingRecord,
    attendees: BTreeMap<AttendeeId, AttendeeRecord>,
    replicas: BTreeSet<MeetingId>,
    /// Attendees whose media path stands.
    present: usize,
    /// Since when nobody has been present, while that is so. Not stored: after a restart everybody gets the time to
    /// come back.
    idle_since_unix_ms: u64,
    /// Of joins that failed.
    told: Told,
}

impl Entry {
    fn new(record: MeetingRecord, idle_since_unix_ms: u64) -> Entry {
        Entry {
            record,
            attendees: BTreeMap::new(),
            replicas: BTreeSet::new(),
            present: 0,
            idle_since_unix_ms,
            told: Told::default(),
        }
    }

    /// When the meeting ends if nothing happens, in milliseconds since the Unix epoch.
    fn ends_at(&self, limits: &RegistryLimits) -> u64 {
        let old = self.record.created_unix_ms.saturating_add(limits.lifetime_ms);
        if self.present > 0 || self.record.primary.is_some() {
            return old;
        }
        old.min(self.idle_since_unix_ms.saturating_add(limits.idle_ms))
    }
}

/// All records of an installation.
#[derive(Debug)]
pub struct Registry {
    limits: RegistryLimits,
    key: JoinTokenKey,
    rng: ChaCha12Rng,
    /// The last four hex digits of every meeting id made here, so that any node can tell whose a meeting is.
    cell: u16,
    meetings: BTreeMap<MeetingId, Entry>,
    /// Which living meeting each ClientRequestToken made.
    requests: BTreeMap<(AccountId, String), MeetingId>,
    /// How many meetings each account has.
    counts: BTreeMap<AccountId, usize>,
    /// When each meeting ends, as of now: exactly [`Entry::ends_at`] of each.
    ends: BTreeSet<(u64, MeetingId)>,
    ended: Ended,
    failed_joins: FailedJoins,
    writes: Vec<Write>,
    numbers: Numbers,
    /// The control region, as events name it.
    region: String,
}

impl Registry {
    /// An empty registry. `rng` makes ids, which are not secrets; `key` makes tokens, which are.
    pub fn new(key: JoinTokenKey, cell: u16, rng: ChaCha12Rng) -> Registry {
        Registry {
            limits: RegistryLimits::default(),
            key,
            rng,
            cell,
            meetings: BTreeMap::new(),
            requests: BTreeMap::new(),
            counts: BTreeMap::new(),
            ends: BTreeSet::new(),
            ended: Ended::default(),
            failed_joins: FailedJoins::default(),
            writes: Vec::new(),
            numbers: Numbers::default(),
            region: "us-east-1".into(),
        }
    }

    /// In another control region than us-east-1.
    pub fn in_region(self, region: String) -> Registry {
        Registry { region, ..self }
    }

    /// With other limits than the documented ones.
    pub fn with_limits(self, limits: RegistryLimits) -> Registry {
        Registry { limits, ..self }
    }

    /// Takes back what was stored. Nobody is present yet: those who were have as long to come back as a new meeting's
    /// first attendee. An attendee without its meeting is dropped: records are stored a meeting first, so it can only be
    /// the remains of a damaged store.
    pub fn restore(
        &mut self,
        now_unix_ms: u64,
        meetings: Vec<MeetingRecord>,
        attendees: Vec<AttendeeRecord>,
    ) {
        for record in meetings {
            self.insert(record, now_unix_ms);
        }
        let replicas: Vec<_> =
            self.meetings.values().filter_map(|e| Some((e.record.primary?, e.record.id))).collect();
        for (primary, replica) in replicas {
            match self.meetings.get_mut(&primary) {
                Some(entry) => {
                    entry.replicas.insert(replica);
                }
                None => tracing::warn!(meeting_id = %replica, "stored replica has no primary"),
            }
        }
        for attendee in attendees {
            match self.meetings.get_mut(&attendee.meeting) {
                Some(entry) => {
                    entry.attendees.insert(attendee.id, attendee);
                }
                None => tracing::warn!(attendee_id = %attendee.id, "stored attendee has no meeting"),
            }
        }
    }

    /// What has changed since the last time, in order. All of it goes into one transaction.
    pub fn take_writes(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.writes)
    }

    /// How many meetings there are, of all accounts.
    pub fn meeting_count(&self) -> usize {
        self.meetings.len()
    }

    /// When [`Registry::handle_timeout`] is wanted next, in milliseconds since the Unix epoch; `None` without meetings.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Ends the meetings whose time has come.
    pub fn handle_timeout(&mut self, now_unix_ms: u64) {
        while let Some(&(end, meeting)) = self.ends.first()
            && end <= now_unix_ms
        {
            let why = match self.meetings.get(&meeting) {
                Some(entry) if entry.present > 0 => "its time is up",
                _ => "nobody is present",
            };
            tracing::info!(meeting_id = %meeting, why, "meeting ends");
            self.end(now_unix_ms, meeting);
        }
    }

    /// The media side tells how many attendees are present in a meeting. Of one that has ended it may still tell.
    pub fn set_present(&mut self, now_unix_ms: u64, meeting: MeetingId, attendees: usize) {
        self.reschedule(meeting, |entry| {
            if entry.present > 0 && attendees == 0 {
                entry.idle_since_unix_ms = now_unix_ms;
            }
            entry.present = attendees;
        });
    }

    /// CreateMeeting. The same ClientRequestToken finds the meeting it made while that lives, whatever else is asked for,
    /// as the service does.
    ///
    /// # Errors
    /// `MeetingLimit` and `ReplicaLimit` when there is no room; `Invalid` when `PrimaryMeetingId` names no primary
    /// meeting of this account (the operation models no other answer).
    pub fn create_meeting(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        new: NewMeeting,
    ) -> Result<MeetingRecord, RegistryError> {
        let request = (account, new.client_request_token.clone());
        if let Some(entry) = self.requests.get(&request).and_then(|id| self.meetings.get(id)) {
            return Ok(entry.record.clone());
        }
        let primary = new.primary_meeting_id.map(|id| self.primary(account, &id)).transpose()?;
        let max = self.limits.meetings_per_account;
        if self.counts.get(&account).is_some_and(|count| *count >= max) {
            return Err(RegistryError::MeetingLimit(max));
        }
        let record = MeetingRecord {
            id: self.new_meeting_id(),
            account,
            client_request_token: new.client_request_token,
            external_meeting_id: new.external_meeting_id,
            media_region: new.media_region,
            meeting_host_id: new.meeting_host_id,
            features: new.features,
            notifications: new.notifications,
            tenant_ids: new.tenant_ids,
            tags: new.tags,
            network: new.network,
            created_unix_ms: now_unix_ms,
            primary,
            locked_to: None,
            transcription: None,
        };
        if let Some(primary) = primary {
            let primary = self.meetings.get_mut(&primary).expect("found above");
            primary.replicas.insert(record.id);
        }
        self.insert(record.clone(), now_unix_ms);
        self.writes.push(Write::Meeting(Box::new(record.clone())));
        self.tell(&record, record.detail(EventType::MeetingStarted, now_unix_ms));
        Ok(record)
    }

    /// GetMeeting.
    pub fn meeting(&self, account: AccountId, meeting: MeetingId) -> Result<&MeetingRecord, RegistryError> {
        Ok(&self.entry(account, meeting)?.record)
    }

    /// DeleteMeeting, with its attendees and its replicas.
    pub fn delete_meeting(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
    ) -> Result<(), RegistryError> {
        self.entry(account, meeting)?;
        self.end(now_unix_ms, meeting);
        Ok(())
    }

    /// TagResource: adds tags, and replaces the values of keys that are there.
    pub fn tag(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        tags: Vec<Tag>,
    ) -> Result<(), RegistryError> {
        self.change(account, meeting, |record| {
            for tag in tags {
                match record.tags.iter_mut().find(|known| known.key == tag.key) {
                    Some(known) => known.value = tag.value,
                    None => record.tags.push(tag),
                }
            }
            if record.tags.len() > TAGS_MAX { Err(RegistryError::TooManyTags(TAGS_MAX)) } else { Ok(()) }
        })
        .map(drop)
    }

    /// UntagResource: a key that is not there is no error.
    pub fn untag(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        keys: &[String],
    ) -> Result<(), RegistryError> {
        self.change(account, meeting, |record| {
            record.tags.retain(|tag| !keys.contains(&tag.key));
            Ok(())
        })
        .map(drop)
    }

    /// StartMeetingTranscription: records what is asked for; once more replaces it. There is no engine as yet, which the
    /// caller learns as of any failure of one: by an event.
    pub fn start_transcription(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
        configuration: TranscriptionConfiguration,
    ) -> Result<(), RegistryError> {
        let record = self.change(account, meeting, |record| {
            record.transcription = Some(configuration);
            Ok(())
        })?;
        let failed = record.detail(EventType::TranscriptionFailed, now_unix_ms);
        let message = Some(NO_ENGINE.to_owned());
        self.tell(&record, Detail { message, ..record.with_transcription(failed) });
        Ok(())
    }

    /// StopMeetingTranscription.
    pub fn stop_transcription(
        &mut self,
        account: AccountId,
        now_unix_ms: u64,
        meeting: MeetingId,
    ) -> Result<(), RegistryError> {
        let record = &self.entry(account, meeting)?.record;
        let stopped = record.with_transcription(record.detail(EventType::TranscriptionStopped, now_unix_ms));
        let record = self.change(account, meeting, |record| {
            record.transcription.take().map(drop).ok_or(RegistryError::NoTranscription)
        })?;
        self.tell(&record, stopped);
        Ok(())
    }

    /// The account of a meeting that has this attendee.
    pub fn owner_of(&self, meeting: MeetingId, attendee: AttendeeId) -> Option<AccountId> {
        let entry = self.meetings.get(&meeting)?;
        entry.attendees.contains_key(&attendee).then_some(entry.record.account)
    }

    /// Another account's meeting is not there, as far as this one can tell.
    fn entry(&self, account: AccountId, meeting: MeetingId) -> Result<&Entry, RegistryError> {
        self.meetings
            .get(&meeting)
            .filter(|entry| entry.record.account == account)
            .ok_or(RegistryError::MeetingNotFound(meeting))
    }

    /// The primary meeting that a request names, with room for one more replica.
    fn primary(&self, account: AccountId, id: &str) -> Result<MeetingId, RegistryError> {
        let unknown = || Invalid(format!("PrimaryMeetingId <{id}> is not a meeting of this account"));
        let entry = id.parse().ok().and_then(|id| self.entry(account, id).ok()).ok_or_else(unknown)?;
        if entry.record.primary.is_some() {
            return Err(Invalid(format!("PrimaryMeetingId <{id}> is itself a replica")).into());
        }
        let max = self.limits.replicas_per_primary;
        if entry.replicas.len() >= max { Err(RegistryError::ReplicaLimit(max)) } else { Ok(entry.record.id) }
    }

    /// Changes a meeting's record, if `change` accepts it, and writes it.
    fn change(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        change: impl FnOnce(&mut MeetingRecord) -> Result<(), RegistryError>,
    ) -> Result<MeetingRecord, RegistryError> {
        let mut record = self.entry(account, meeting)?.record.clone();
        change(&mut record)?;
        let entry = self.meetings.get_mut(&meeting).expect("found above");
        entry.record = record.clone();
        self.writes.push(Write::Meeting(Box::new(record.clone())));
        Ok(record)
    }

    fn insert(&mut self, record: MeetingRecord, idle_since_unix_ms: u64) {
        let (account, id) = (record.account, record.id);
        self.requests.insert((account, record.client_request_token.clone()), id);
        *self.counts.entry(account).or_default() += 1;
        let entry = Entry::new(record, idle_since_unix_ms);
        self.ends.insert((entry.ends_at(&self.limits), id));
        self.meetings.insert(id, entry);
    }

    /// Does something to a meeting that may move its end.
    fn reschedule(&mut self, meeting: MeetingId, act: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.meetings.get_mut(&meeting) else { return };
        let before = entry.ends_at(&self.limits);
        act(entry);
        let after = entry.ends_at(&self.limits);
        if before != after {
            self.ends.remove(&(before, meeting));
            self.ends.insert((after, meeting));
        }
    }

    /// Takes out a meeting with all that belongs to it.
    fn end(&mut self, now_unix_ms: u64, meeting: MeetingId) {
        let Some(entry) = self.meetings.remove(&meeting) else { return };
        self.ends.remove(&(entry.ends_at(&self.limits), meeting));
        let record = entry.record;
        self.requests.remove(&(record.account, record.client_request_token.clone()));
        if let Some(count) = self.counts.get_mut(&record.account) {
            *count -= 1;
        }
        if let Some(primary) = record.primary.and_then(|primary| self.meetings.get_mut(&primary)) {
            primary.replicas.remove(&meeting);
        }
        self.writes.push(Write::MeetingDeleted(meeting));
        self.tell(&record, record.detail(EventType::MeetingEnded, now_unix_ms));
        self.ended.add(now_unix_ms, meeting, EndedMeeting::new(&record, entry.told));
        for replica in entry.replicas {
            self.end(now_unix_ms, replica);
        }
    }

    /// Random but for its last four hex digits, which name the cell.
    fn new_meeting_id(&mut self) -> MeetingId {
        loop {
            let mut bytes = self.random_bytes();
            bytes[14..].copy_from_slice(&self.cell.to_be_bytes());
            let id = MeetingId(uuid::Builder::from_random_bytes(bytes).into_uuid());
            if !self.meetings.contains_key(&id) {
                return id;
            }
        }
    }

    fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
