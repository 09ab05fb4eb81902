//! The records of the control plane: meetings, attendees, and the join tokens that turn a record into a session.
//!
//! Every record belongs to an account, and no call sees another account's. A call decides and changes the records in
//! memory at once; what it changed waits in [`Registry::take_writes`] for the shell, which makes it durable *before it
//! answers*. Live sessions are the worker's: the shell tells it of deletions, which it reads off the same writes.
//!
//! Left to others: SigV4 and HTTP (the shell), what the JSON looks like and the rules of a request by itself
//! (`campanile_wire::api`), when an idle meeting ends (later).

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use campanile_wire::api::{
    Capabilities, Capability, ContentResolution, Invalid, JoinToken, MeetingFeatures, NetworkType,
    NewAttendee, NewMeeting, NotificationsConfiguration, Tag, VideoResolution,
};
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{AccountId, AttendeeId, AttendeeKey, CONTENT_SUFFIX, MeetingId};

/// Characters of a join token: unpadded base64 of 73, `<attendee id>:<128 secret bits in UUID layout>`.
const JOIN_TOKEN_CHARS: usize = 98;

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
    /// Counts the join tokens given out for it: a new one makes the earlier worthless.
    pub generation: u32,
}

/// A change that must be stored before the call that made it is answered.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store this meeting.
    Meeting(Box<MeetingRecord>),
    /// Store this attendee.
    Attendee(AttendeeRecord),
    /// Forget this meeting and all its attendees.
    MeetingDeleted(MeetingId),
    /// Forget this attendee.
    AttendeeDeleted(MeetingId, AttendeeId),
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
}

/// What a join token admits to: all that the data plane needs to know.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The meeting.
    pub meeting: MeetingId,
    /// Who joins: the attendee, or its content share.
    pub attendee: AttendeeKey,
    /// Whose meeting it is.
    pub account: AccountId,
    /// The caller's own name for the person.
    pub external_user_id: String,
    /// The caller's own name for the meeting.
    pub external_meeting_id: String,
    /// What the attendee may do.
    pub capabilities: Capabilities,
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
}

/// All records of an installation.
#[derive(Debug)]
pub struct Registry {
    key: JoinTokenKey,
    rng: ChaCha12Rng,
    /// The last four hex digits of every meeting id made here, so that any node can tell whose a meeting is.
    cell: u16,
    meetings: BTreeMap<MeetingId, Entry>,
    /// Which living meeting each ClientRequestToken made.
    requests: BTreeMap<(AccountId, String), MeetingId>,
    writes: Vec<Write>,
}

impl Registry {
    /// An empty registry. `rng` makes ids, which are not secrets; `key` makes tokens, which are.
    pub fn new(key: JoinTokenKey, cell: u16, rng: ChaCha12Rng) -> Registry {
        Registry { key, rng, cell, meetings: BTreeMap::new(), requests: BTreeMap::new(), writes: Vec::new() }
    }

    /// Takes back what was stored. An attendee without its meeting is dropped: records are stored a meeting first, so it
    /// can only be the remains of a damaged store.
    pub fn restore(&mut self, meetings: Vec<MeetingRecord>, attendees: Vec<AttendeeRecord>) {
        for record in meetings {
            self.requests.insert((record.account, record.client_request_token.clone()), record.id);
            self.meetings.insert(record.id, Entry { record, attendees: BTreeMap::new() });
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

    /// CreateMeeting. The same ClientRequestToken finds the meeting it made while that lives, whatever else is asked for,
    /// as the service does.
    ///
    /// # Errors
    /// `Invalid` for a replica, which is not there yet.
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
        if new.primary_meeting_id.is_some() {
            let why = "PrimaryMeetingId: replica meetings are not available in this version";
            return Err(Invalid(why.into()).into());
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
        };
        self.requests.insert(request, record.id);
        self.meetings.insert(record.id, Entry { record: record.clone(), attendees: BTreeMap::new() });
        self.writes.push(Write::Meeting(Box::new(record.clone())));
        Ok(record)
    }

    /// GetMeeting.
    pub fn meeting(&self, account: AccountId, meeting: MeetingId) -> Result<&MeetingRecord, RegistryError> {
        Ok(&self.entry(account, meeting)?.record)
    }

    /// DeleteMeeting, with its attendees.
    pub fn delete_meeting(&mut self, account: AccountId, meeting: MeetingId) -> Result<(), RegistryError> {
        let token = self.entry(account, meeting)?.record.client_request_token.clone();
        self.meetings.remove(&meeting);
        self.requests.remove(&(account, token));
        self.writes.push(Write::MeetingDeleted(meeting));
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
        if let Some(existing) = entry.attendees.values().find(same) {
            return Ok(existing.clone());
        }
        let max = features.attendees_max();
        if entry.attendees.len() >= usize::from(max) {
            return Err(RegistryError::AttendeeLimit(max));
        }
        let record = AttendeeRecord {
            id: self.new_attendee_id(),
            meeting,
            external_user_id: new.external_user_id,
            capabilities: new.capabilities.unwrap_or_else(|| default_capabilities(&features)),
            generation: 0,
        };
        let entry = self.meetings.get_mut(&meeting).expect("found above");
        entry.attendees.insert(record.id, record.clone());
        self.writes.push(Write::Attendee(record.clone()));
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

    /// DeleteAttendee: its token is void at once.
    pub fn delete_attendee(
        &mut self,
        account: AccountId,
        meeting: MeetingId,
        attendee: AttendeeId,
    ) -> Result<(), RegistryError> {
        self.attendee(account, meeting, attendee)?;
        self.meetings.get_mut(&meeting).expect("found above").attendees.remove(&attendee);
        self.writes.push(Write::AttendeeDeleted(meeting, attendee));
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
        Ok(Admission {
            meeting,
            attendee: AttendeeKey { id: attendee.id, content },
            account: entry.record.account,
            external_user_id: attendee.external_user_id.clone(),
            external_meeting_id: entry.record.external_meeting_id.clone(),
            capabilities: attendee.capabilities,
            features: entry.record.features,
        })
    }

    /// Another account's meeting is not there, as far as this one can tell.
    fn entry(&self, account: AccountId, meeting: MeetingId) -> Result<&Entry, RegistryError> {
        self.meetings
            .get(&meeting)
            .filter(|entry| entry.record.account == account)
            .ok_or(RegistryError::MeetingNotFound(meeting))
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
mod tests;
