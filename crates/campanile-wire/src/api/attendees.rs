//! Attendees: their capabilities, their join tokens, and the operations that make and change them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::check::{Invalid, external_id, invalid, length, required};
use super::features::ATTENDEES_MAX;

/// Attendees that one BatchCreateAttendee may list (the model's bound).
pub const BATCH_ATTENDEES_MAX: usize = 100;

/// Attendees on a page of ListAttendees, and the most that `max-results` may ask for.
pub const LIST_RESULTS_MAX: usize = 100;

/// The secret that turns an attendee's record into a session. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinToken(String);

impl JoinToken {
    /// Wraps a token that the registry made, or that a client library was given.
    pub fn new(token: String) -> JoinToken {
        JoinToken(token)
    }
    /// The token itself, to be sent and compared (in constant time), never logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What an attendee may do with one kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// Both ways.
    SendReceive,
    /// Only towards the meeting.
    Send,
    /// Only from the meeting.
    Receive,
    /// Neither.
    None,
}

impl Capability {
    /// True when the attendee may receive this kind of media.
    pub fn receives(self) -> bool {
        matches!(self, Capability::SendReceive | Capability::Receive)
    }
    /// True when the attendee may send this kind of media.
    pub fn sends(self) -> bool {
        matches!(self, Capability::SendReceive | Capability::Send)
    }
}

/// What an attendee may do with each kind of media (`AttendeeCapabilities`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// Microphone and the meeting's sound.
    pub audio: Capability,
    /// Cameras.
    pub video: Capability,
    /// Content shares.
    pub content: Capability,
}

impl Capabilities {
    /// All three in both directions.
    pub const ALL: Capabilities = Capabilities {
        audio: Capability::SendReceive,
        video: Capability::SendReceive,
        content: Capability::SendReceive,
    };

    /// The rule that needs no meeting: whoever receives content must receive video.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.content.receives() && !self.video.receives() {
            return invalid(
                "Capabilities: Content can be SendReceive or Receive only when Video is SendReceive or Receive",
            );
        }
        Ok(())
    }
}

/// The body of CreateAttendee, and one item of the batches (`CreateAttendeeRequestItem`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttendeeItem {
    external_user_id: Option<String>,
    capabilities: Option<CapabilitiesRequest>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CapabilitiesRequest {
    audio: Option<Capability>,
    video: Option<Capability>,
    content: Option<Capability>,
}

impl CapabilitiesRequest {
    fn complete(self) -> Result<Capabilities, Invalid> {
        match self {
            CapabilitiesRequest { audio: Some(audio), video: Some(video), content: Some(content) } => {
                Ok(Capabilities { audio, video, content })
            }
            _ => invalid("Capabilities must have all of Audio, Video and Content"),
        }
    }
}

/// A checked CreateAttendee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttendee {
    /// The caller's own name for the person.
    pub external_user_id: String,
    /// Absent: what the meeting's features allow.
    pub capabilities: Option<Capabilities>,
}

/// One attendee of a batch. A breach of the model (a length, a missing member) fails the whole call; a breach of a rule
/// fails this item alone and is reported beside the ones that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// Names the item in the errors.
    pub external_user_id: String,
    /// What to make, or why not.
    pub attendee: Result<NewAttendee, Invalid>,
}

impl AttendeeItem {
    /// CreateAttendee.
    pub fn check(self) -> Result<NewAttendee, Invalid> {
        self.shape()?.rules()
    }

    fn shape(self) -> Result<NewAttendee, Invalid> {
        let external_user_id = required("ExternalUserId", self.external_user_id)?;
        length("ExternalUserId", &external_user_id, 2..=64)?;
        let capabilities = self.capabilities.map(CapabilitiesRequest::complete).transpose()?;
        Ok(NewAttendee { external_user_id, capabilities })
    }
}

impl NewAttendee {
    fn rules(self) -> Result<NewAttendee, Invalid> {
        external_id("ExternalUserId", &self.external_user_id)?;
        self.capabilities.as_ref().map(Capabilities::check).transpose()?;
        Ok(self)
    }
}

/// The body of BatchCreateAttendee.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BatchCreateAttendeeRequest {
    attendees: Option<Vec<AttendeeItem>>,
}

impl BatchCreateAttendeeRequest {
    /// 1 to 100 attendees, each of whom may fail alone (see [`BatchItem`]).
    pub fn check(self) -> Result<Vec<BatchItem>, Invalid> {
        batch(self.attendees, BATCH_ATTENDEES_MAX)
    }
}

/// The body of UpdateAttendeeCapabilities and, with `ExcludedAttendeeIds`, of BatchUpdateAttendeeCapabilitiesExcept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateCapabilitiesRequest {
    capabilities: Option<CapabilitiesRequest>,
    excluded_attendee_ids: Option<Vec<AttendeeIdItem>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AttendeeIdItem {
    attendee_id: Option<String>,
}

impl UpdateCapabilitiesRequest {
    /// UpdateAttendeeCapabilities: all three, replacing what was.
    pub fn check(self) -> Result<Capabilities, Invalid> {
        let capabilities = required("Capabilities", self.capabilities)?.complete()?;
        capabilities.check()?;
        Ok(capabilities)
    }

    /// BatchUpdateAttendeeCapabilitiesExcept: who is left out (1 to 250 ids, of which some may be nobody's: that is how a
    /// caller says "everyone"), and what all others get. The ids' form is checked where ids are read.
    pub fn check_except(mut self) -> Result<(Vec<String>, Capabilities), Invalid> {
        let excluded = required("ExcludedAttendeeIds", self.excluded_attendee_ids.take())?;
        if !(1..=usize::from(ATTENDEES_MAX)).contains(&excluded.len()) {
            return invalid(format!("ExcludedAttendeeIds must have 1 to {ATTENDEES_MAX} items"));
        }
        let ids = excluded
            .into_iter()
            .map(|item| required("ExcludedAttendeeIds.AttendeeId", item.attendee_id))
            .collect::<Result<_, _>>()?;
        Ok((ids, self.check()?))
    }
}

pub(super) fn batch(items: Option<Vec<AttendeeItem>>, max: usize) -> Result<Vec<BatchItem>, Invalid> {
    let items = required("Attendees", items)?;
    if !(1..=max).contains(&items.len()) {
        return invalid(format!("Attendees must have 1 to {max} items"));
    }
    let item = |item: AttendeeItem| {
        let shaped = item.shape()?;
        Ok(BatchItem { external_user_id: shaped.external_user_id.clone(), attendee: shaped.rules() })
    };
    items.into_iter().map(item).collect()
}

/// An attendee as the meeting's creator sees it, join token included.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attendee {
    /// The caller's own name for the person.
    pub external_user_id: String,
    /// Lower-case UUID layout.
    pub attendee_id: String,
    /// The secret to hand to that person's client.
    pub join_token: JoinToken,
    /// What the attendee may do.
    pub capabilities: Capabilities,
}

/// Why one attendee of a batch was not made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAttendeeError {
    /// Which one.
    pub external_user_id: String,
    /// The short code, as in an error's `Code`.
    pub error_code: String,
    /// For the developer.
    pub error_message: String,
}

/// The answer of CreateAttendee and GetAttendee.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttendeeResponse {
    /// The attendee.
    pub attendee: Attendee,
}

/// The answer of BatchCreateAttendee.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchCreateAttendeeResponse {
    /// Those made or found.
    pub attendees: Vec<Attendee>,
    /// Those not made.
    pub errors: Vec<CreateAttendeeError>,
}

/// The answer of ListAttendees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAttendeesResponse {
    /// One page.
    pub attendees: Vec<Attendee>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
