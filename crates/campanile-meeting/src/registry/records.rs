//! What the store keeps of meetings and attendees, and what a call changes in it.

use std::collections::BTreeSet;

use campanile_wire::api::{
    Capabilities, MeetingFeatures, NetworkType, NotificationsConfiguration, Tag, TranscriptionConfiguration,
};
use serde::{Deserialize, Serialize};

use super::OutboxEvent;
use crate::ids::{AccountId, AttendeeId, MeetingId};

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
