//! The names of things: meetings, attendees, accounts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who owns records: 12 decimal digits. Nothing of one account is visible to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AccountId(u64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}
impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for AccountId {
    type Err = NotAnAccountId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 12 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NotAnAccountId);
        }
        text.parse().map(AccountId).map_err(|_| NotAnAccountId)
    }
}
impl From<AccountId> for String {
    fn from(id: AccountId) -> String {
        id.to_string()
    }
}
impl TryFrom<String> for AccountId {
    type Error = NotAnAccountId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A text that was to be an account id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an account id has 12 decimal digits")]
pub struct NotAnAccountId;

/// Marks the attendee that a content share appears as: `<AttendeeId>#content`.
pub const CONTENT_SUFFIX: &str = "#content";

/// A meeting: a UUID in its usual layout.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeetingId(pub Uuid);

/// An attendee's record: a UUID in its usual layout. A content share has no record of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttendeeId(pub Uuid);

macro_rules! uuid_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            /// Accepts the hyphenated layout only, in either letter case.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id = Uuid::try_parse(text)?;
                // `Uuid` also reads the braced, URN and bare forms, none of which the API admits.
                if text.len() == 36 { Ok(Self(id)) } else { Uuid::try_parse("").map(Self) }
            }
        }
    };
}
uuid_name!(MeetingId);
uuid_name!(AttendeeId);

/// One who can be in a meeting's roster: an attendee, or the attendee's content share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttendeeKey {
    /// The record that the session was admitted by.
    pub id: AttendeeId,
    /// True for the content share, which is seen as `<id>#content`.
    pub content: bool,
}

impl fmt::Display for AttendeeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.content { CONTENT_SUFFIX } else { "" })
    }
}

/// One signaling connection, numbered by the shell; never reused in the life of a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);
