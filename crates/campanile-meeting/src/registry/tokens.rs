//! Join tokens: what makes one, whose it is, and what it admits to.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use campanile_wire::api::{Capabilities, JoinToken, MeetingFeatures};
use uuid::Uuid;

use super::{AttendeeRecord, Registry};
use crate::ids::{AccountId, AttendeeId, AttendeeKey, CONTENT_SUFFIX, MeetingId};

/// Characters of a join token: unpadded base64 of 73, `<attendee id>:<128 secret bits in UUID layout>`.
pub(super) const JOIN_TOKEN_CHARS: usize = 98;

/// How many of an attendee's void tokens are still told from a stranger's.
const VOID_TOKENS_KNOWN: u32 = 8;

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

/// A join that was refused at the door of a meeting whose owner is known, and may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose meeting it is.
    pub account: AccountId,
    /// The meeting.
    pub meeting: MeetingId,
    /// Who wanted to join, if the token is, or was, one of this attendee's; `None` if nobody was ever given it.
    pub attendee: Option<AttendeeKey>,
    /// Why not.
    pub why: JoinError,
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
    pub(super) fn token(&self, id: AttendeeId, generation: u32) -> JoinToken {
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

impl Registry {
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

    /// To whom a refused join can be told, and of whom: `None` for a meeting that never was, or ended so long ago that its
    /// owner is not known any more.
    pub fn refusal(&self, meeting: MeetingId, token: &str, why: JoinError) -> Option<Refusal> {
        let account = self.account_of(meeting)?;
        Some(Refusal { account, meeting, attendee: self.given_to(meeting, token), why })
    }

    /// Who was given this token, void ones too.
    fn given_to(&self, meeting: MeetingId, token: &str) -> Option<AttendeeKey> {
        let (token, content) = match token.strip_suffix(CONTENT_SUFFIX) {
            Some(token) => (token, true),
            None => (token, false),
        };
        let id = claimed_attendee(token)?;
        let attendee = self.meetings.get(&meeting).and_then(|entry| entry.attendees.get(&id));
        let newest = attendee.map_or(0, |attendee| attendee.generation);
        let mut generations = newest.saturating_sub(VOID_TOKENS_KNOWN)..=newest;
        let given = |generation| {
            let right = self.key.token(id, generation);
            constant_time::verify_slices_are_equal(right.reveal().as_bytes(), token.as_bytes()).is_ok()
        };
        generations.any(given).then_some(AttendeeKey { id, content })
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
