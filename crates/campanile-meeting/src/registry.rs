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
use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use campanile_wire::api::{
    ATTENDEES_MAX, Capabilities, Capability, ContentResolution, Invalid, JoinToken, MeetingFeatures,
    NetworkType, NewAttendee, NewMeeting, NotificationsConfiguration, TAGS_MAX, Tag,
    TranscriptionConfiguration, VideoResolution,
};
use campanile_wire::events::{Detail, EventType};
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{AccountId, AttendeeId, AttendeeKey, CONTENT_SUFFIX, MeetingId};

mod moderation;
mod outbox;

use outbox::Numbers;
pub use outbox::{OutboxEvent, StoredEvents, Subject};

/// Characters of a join token: unpadded base64 of 73, `<attendee id>:<128 secret bits in UUID layout>`.
const JOIN_TOKEN_CHARS: usize = 98;

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

/// A meeting's record, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeetingRecord {
    /// Its name in URLs.
    pub id: MeetingId,
    /// Whose it is.
    pub account: AccountId,
    /// The token it was created with: the same again finds this meeting.
    pub client_request_token: String,
    /// The caller's own name for it.
    pub external_meeting_id: String,
    /// As asked for.
    pub media_region: String,
    /// Reserved by the API, echoed.
    pub meeting_host_id: Option<String>,
    /// What it offers.
    pub features: MeetingFeatures,
    /// Where its events go.
    pub notifications: NotificationsConfiguration,
    /// As asked for.
    pub tenant_ids: Vec<String>,
    /// Labels.
    pub tags: Vec<Tag>,
    /// Which addresses its placement may name.
    pub network: Option<NetworkType>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// The meeting that this one is a replica of.
    #[serde(default)]
    pub primary: Option<MeetingId>,
    /// While the meeting is locked: the attendees who may come in, those who were there (an extension of the API).
    #[serde(default)]
    pub locked_to: Option<BTreeSet<AttendeeId>>,
    /// What StartMeetingTranscription asked for, until it is stopped.
    #[serde(default)]
    pub transcription: Option<TranscriptionConfiguration>,
}

/// An attendee's record, as stored. The join token is not stored: it follows from the id and the generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttendeeRecord {
    /// Its name.
    pub id: AttendeeId,
    /// The meeting it may join.
    pub meeting: MeetingId,
    /// The caller's own name for the person.
    pub external_user_id: String,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Whether it may unmute itself (an extension of the API).
    #[serde(default = "yes")]
    pub may_unmute: bool,
    /// Counts the join tokens given out for it: a new one makes the earlier worthless.
    pub generation: u32,
}

fn yes() -> bool {
    true
}

/// A change that must be stored before the call that made it is answered.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store this meeting.
    Meeting(Box<MeetingRecord>),
    /// Store this attendee.
    Attendee(AttendeeRecord),
    /// Store this attendee, whose capabilities have changed: the worker must hear of it too.
    Capabilities(AttendeeRecord),
    /// Forget this meeting and all its attendees.
    MeetingDeleted(MeetingId),
    /// Forget this attendee.
    AttendeeDeleted(MeetingId, AttendeeId),
    /// Keep this event for whoever asks what has happened.
    Event(Box<OutboxEvent>),
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

/// Why a join was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The meeting has ended, or never was: nothing to wait for (WebSocket close 4410).
    #[error("meeting ended")]
    MeetingEnded,
    /// The token is not one of this meeting's, or its attendee was deleted (WebSocket close 4403).
    #[error("attendee unavailable")]
    AttendeeUnavailable,
    /// The meeting is locked, and the attendee was not in it (WebSocket close 4403).
    #[error("the meeting is locked")]
    Locked,
}

impl JoinError {
    /// What helps.
    pub fn remedy(self) -> &'static str {
        match self {
            JoinError::MeetingEnded => "make a new meeting, and new attendees for it",
            JoinError::Locked => "unlock the meeting, or let the attendee in before it is locked",
            JoinError::AttendeeUnavailable => "give the client the join token of an attendee of this meeting",
        }
    }
}

/// What a join token admits to: all that the data plane needs to know.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The meeting.
    pub meeting: MeetingId,
    /// The meeting that it is a replica of: there its attendees are the audience.
    pub primary: Option<MeetingId>,
    /// Who joins: the attendee, or its content share.
    pub attendee: AttendeeKey,
    /// Whose meeting it is.
    pub account: AccountId,
    /// The caller's own name for the person.
    pub external_user_id: String,
    /// The caller's own name for the meeting.
    pub external_meeting_id: String,
    /// As the meeting was asked for.
    pub media_region: String,
    /// What the attendee may do.
    pub capabilities: Capabilities,
    /// Whether it may unmute itself.
    pub may_unmute: bool,
    /// What the meeting offers.
    pub features: MeetingFeatures,
}

/// The installation's secret from which join tokens follow. Whoever holds it can join any meeting whose ids are known.
pub struct JoinTokenKey(hmac::Key);

impl JoinTokenKey {
    /// From 32 random bytes, which the shell keeps with the records: with other bytes, every token given out is void.
    pub fn new(secret: &[u8; 32]) -> JoinTokenKey {
        JoinTokenKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// `base64(<attendee id>:<128 bits of HMAC-SHA-256>)`. Base64 of hex digits, `-` and `:` holds letters and digits
    /// only, which survive JSON, a WebSocket subprotocol (RFC 7230 token) and a SIP URI parameter alike.
    fn token(&self, id: AttendeeId, generation: u32) -> JoinToken {
        let mut message = Vec::with_capacity(40);
        message.extend_from_slice(b"campanile join token");
        message.extend_from_slice(id.0.as_bytes());
        message.extend_from_slice(&generation.to_be_bytes());
        let tag = hmac::sign(&self.0, &message);
        let secret = Uuid::from_slice(&tag.as_ref()[..16]).expect("SHA-256 gives 32 bytes");
        JoinToken::new(STANDARD_NO_PAD.encode(format!("{id}:{secret}")))
    }
}

impl fmt::Debug for JoinTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// The attendee that a token claims to be of. Says nothing about its worth.
fn claimed_attendee(token: &str) -> Option<AttendeeId> {
    if token.len() != JOIN_TOKEN_CHARS {
        return None;
    }
    let text = String::from_utf8(STANDARD_NO_PAD.decode(token).ok()?).ok()?;
    let (id, _secret) = text.split_once(':')?;
    id.parse().ok()
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
}

impl Entry {
    fn new(record: MeetingRecord, idle_since_unix_ms: u64) -> Entry {
        Entry {
            record,
            attendees: BTreeMap::new(),
            replicas: BTreeSet::new(),
            present: 0,
            idle_since_unix_ms,
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

    /// The attendee's join token, the same each time.
    pub fn join_token(&self, attendee: &AttendeeRecord) -> JoinToken {
        self.key.token(attendee.id, attendee.generation)
    }

    /// Trades a join token for what the data plane must know. A token that ends in `#content` admits the attendee's
    /// content share.
    ///
    /// # Errors
    /// `MeetingEnded` when there is no such meeting, whatever the token; `AttendeeUnavailable` when the token is not one
    /// of this meeting's living attendees.
    pub fn admit(&self, meeting: MeetingId, token: &str) -> Result<Admission, JoinError> {
        let entry = self.meetings.get(&meeting).ok_or(JoinError::MeetingEnded)?;
        let (token, content) = match token.strip_suffix(CONTENT_SUFFIX) {
            Some(token) => (token, true),
            None => (token, false),
        };
        let attendee = claimed_attendee(token)
            .and_then(|id| entry.attendees.get(&id))
            .ok_or(JoinError::AttendeeUnavailable)?;
        let right = self.join_token(attendee);
        constant_time::verify_slices_are_equal(right.reveal().as_bytes(), token.as_bytes())
            .map_err(|_| JoinError::AttendeeUnavailable)?;
        if entry.record.locked_to.as_ref().is_some_and(|inside| !inside.contains(&attendee.id)) {
            return Err(JoinError::Locked);
        }
        Ok(Admission {
            meeting,
            primary: entry.record.primary,
            attendee: AttendeeKey { id: attendee.id, content },
            account: entry.record.account,
            external_user_id: attendee.external_user_id.clone(),
            external_meeting_id: entry.record.external_meeting_id.clone(),
            media_region: entry.record.media_region.clone(),
            capabilities: attendee.capabilities,
            may_unmute: attendee.may_unmute,
            features: entry.record.features,
        })
    }

    /// Trades a join token of the primary meeting, shown by an attendee of its replica, for what the data plane must know.
    ///
    /// # Errors
    /// As [`Registry::admit`]; `AttendeeUnavailable` too when the meeting is no replica.
    pub fn admit_promoted(&self, replica: MeetingId, token: &str) -> Result<Admission, JoinError> {
        let entry = self.meetings.get(&replica).ok_or(JoinError::MeetingEnded)?;
        self.admit(entry.record.primary.ok_or(JoinError::AttendeeUnavailable)?, token)
    }

    /// Whose join token this is, or was: clients tell of a meeting's end when their record is gone.
    pub fn recognize(&self, token: &str) -> Option<AttendeeId> {
        let token = token.strip_suffix(CONTENT_SUFFIX).unwrap_or(token);
        let id = claimed_attendee(token)?;
        let right = self.key.token(id, 0);
        constant_time::verify_slices_are_equal(right.reveal().as_bytes(), token.as_bytes()).ok()?;
        Some(id)
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

    /// Random in all its bits. Unique within every meeting, which 128 bits see to.
    fn new_attendee_id(&mut self) -> AttendeeId {
        AttendeeId(Uuid::from_bytes(self.random_bytes()))
    }

    fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
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

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// A join token from a stranger: whatever it is, reading it must be harmless.
    pub fn join_token(data: &[u8]) {
        let token = String::from_utf8_lossy(data);
        if let Some(id) = claimed_attendee(&token) {
            assert_eq!(claimed_attendee(JoinTokenKey::new(&[7; 32]).token(id, 0).reveal()), Some(id));
        }
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
