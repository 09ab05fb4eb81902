//! Meetings: what CreateMeeting takes, and what callers are shown.

use serde::{Deserialize, Serialize};

use super::attendees::{Attendee, AttendeeItem, BatchItem, CreateAttendeeError, batch};
use super::check::{Invalid, external_id, invalid, length, required};
use super::features::MeetingFeatures;
use super::tags::{Tag, tags};

/// Attendees that one CreateMeetingWithAttendees may list (the model's bound; the developer guide still says 10).
pub const MEETING_ATTENDEES_MAX: usize = 20;

/// The media regions that a meeting may name: every one of the `aws` and GovCloud partitions, so that existing code runs.
/// What a region means is up to the operator.
pub const MEDIA_REGIONS: [&str; 20] = [
    "af-south-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Where a meeting's own events go, beside the account's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NotificationsConfiguration {
    /// An asynchronous invocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_function_arn: Option<String>,
    /// A topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sns_topic_arn: Option<String>,
    /// A queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs_queue_arn: Option<String>,
}

impl NotificationsConfiguration {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        for (name, arn) in [
            ("NotificationsConfiguration.LambdaFunctionArn", &self.lambda_function_arn),
            ("NotificationsConfiguration.SnsTopicArn", &self.sns_topic_arn),
            ("NotificationsConfiguration.SqsQueueArn", &self.sqs_queue_arn),
        ] {
            let Some(arn) = arn else { continue };
            length(name, arn, 1..=1024)?;
            let rest = arn.strip_prefix("arn").unwrap_or_default();
            if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_alphanumeric() || "/:-_.".contains(c)) {
                return invalid(format!("{name} must be an ARN"));
            }
        }
        Ok(())
    }
}

/// Which addresses a meeting's placement may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkType {
    /// IPv4 hosts.
    Ipv4Only,
    /// Hosts that answer over IPv4 and IPv6.
    DualStack,
}

/// The body of CreateMeeting and, with `Attendees`, of CreateMeetingWithAttendees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateMeetingRequest {
    client_request_token: Option<String>,
    media_region: Option<String>,
    meeting_host_id: Option<String>,
    external_meeting_id: Option<String>,
    notifications_configuration: Option<NotificationsConfiguration>,
    meeting_features: Option<MeetingFeatures>,
    primary_meeting_id: Option<String>,
    tenant_ids: Option<Vec<String>>,
    tags: Option<Vec<Tag>>,
    media_placement_network_type: Option<NetworkType>,
    attendees: Option<Vec<AttendeeItem>>,
}

/// A checked CreateMeeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMeeting {
    /// Makes a retry find the meeting that the first attempt made.
    pub client_request_token: String,
    /// One of [`MEDIA_REGIONS`].
    pub media_region: String,
    /// Reserved by the API, echoed.
    pub meeting_host_id: Option<String>,
    /// The caller's own name for the meeting.
    pub external_meeting_id: String,
    /// Where its events go.
    pub notifications: NotificationsConfiguration,
    /// What it offers.
    pub features: MeetingFeatures,
    /// Set to make a replica.
    pub primary_meeting_id: Option<String>,
    /// Proxies may admit by these.
    pub tenant_ids: Vec<String>,
    /// Labels, each key once.
    pub tags: Vec<Tag>,
    /// Which addresses its placement may name.
    pub network: Option<NetworkType>,
}

impl CreateMeetingRequest {
    /// CreateMeeting: `Attendees`, if any, is an unknown member there and ignored.
    pub fn check(self) -> Result<NewMeeting, Invalid> {
        let client_request_token = required("ClientRequestToken", self.client_request_token)?;
        length("ClientRequestToken", &client_request_token, 2..=64)?;
        if !client_request_token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return invalid("ClientRequestToken may hold letters, digits, - and _ only");
        }
        let media_region = required("MediaRegion", self.media_region)?;
        if !MEDIA_REGIONS.contains(&media_region.as_str()) {
            return invalid(format!("MediaRegion must be one of {}", MEDIA_REGIONS.join(", ")));
        }
        let external_meeting_id = required("ExternalMeetingId", self.external_meeting_id)?;
        length("ExternalMeetingId", &external_meeting_id, 2..=64)?;
        external_id("ExternalMeetingId", &external_meeting_id)?;
        for (name, id) in
            [("MeetingHostId", &self.meeting_host_id), ("PrimaryMeetingId", &self.primary_meeting_id)]
        {
            if let Some(id) = id {
                length(name, id, 2..=64)?;
            }
        }
        let notifications = self.notifications_configuration.unwrap_or_default();
        notifications.check()?;
        Ok(NewMeeting {
            client_request_token,
            media_region,
            meeting_host_id: self.meeting_host_id,
            external_meeting_id,
            notifications,
            features: self.meeting_features.unwrap_or_default().check()?,
            primary_meeting_id: self.primary_meeting_id,
            tenant_ids: tenant_ids(self.tenant_ids)?,
            tags: tags(self.tags.unwrap_or_default())?,
            network: self.media_placement_network_type,
        })
    }

    /// CreateMeetingWithAttendees: 1 to 20 attendees, each of whom may fail alone (see [`BatchItem`]).
    pub fn check_with_attendees(mut self) -> Result<(NewMeeting, Vec<BatchItem>), Invalid> {
        let attendees = batch(self.attendees.take(), MEETING_ATTENDEES_MAX)?;
        Ok((self.check()?, attendees))
    }
}

fn tenant_ids(ids: Option<Vec<String>>) -> Result<Vec<String>, Invalid> {
    let Some(ids) = ids else { return Ok(Vec::new()) };
    if !(1..=5).contains(&ids.len()) {
        return invalid("TenantIds must have 1 to 5 items");
    }
    for id in &ids {
        length("TenantIds", id, 2..=256)?;
        if !id.chars().all(|c| c.is_ascii_alphanumeric() || "-_!@#$".contains(c)) {
            return invalid("TenantIds may hold letters, digits and -_!@#$ only");
        }
        // All ASCII by now, so bytes are characters.
        if id.as_bytes().windows(4).any(|run| run.iter().all(|&c| c == run[0])) {
            return invalid("TenantIds may not hold the same character four times in a row");
        }
    }
    Ok(ids)
}

/// Where a meeting's clients go (`MediaPlacement`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub struct MediaPlacement {
    /// `host:port` without a scheme; echoed by clients in SUBSCRIBE.
    pub audio_host_url: String,
    /// Read by mobile clients only.
    pub audio_fallback_url: String,
    /// The WebSocket; without a query, since clients append one.
    pub signaling_url: String,
    /// Read by old clients only.
    pub turn_control_url: String,
    /// Deprecated, unused.
    pub screen_data_url: String,
    /// Deprecated, unused.
    pub screen_viewing_url: String,
    /// Deprecated, unused.
    pub screen_sharing_url: String,
    /// Where client libraries post what happened to them: here, and nowhere else.
    pub event_ingestion_url: String,
}

/// A meeting as its creator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meeting {
    /// Lower-case UUID layout.
    pub meeting_id: String,
    /// Echoed; null when absent, as the service does.
    pub meeting_host_id: Option<String>,
    /// The caller's own name for it.
    pub external_meeting_id: String,
    /// As asked for.
    pub media_region: String,
    /// Where clients go.
    pub media_placement: MediaPlacement,
    /// What it offers.
    pub meeting_features: MeetingFeatures,
    /// Null unless a replica.
    pub primary_meeting_id: Option<String>,
    /// As asked for.
    pub tenant_ids: Vec<String>,
    /// `arn:aws:chime:<region>:<account>:meeting/<MeetingId>`.
    pub meeting_arn: String,
}

/// The answer of CreateMeeting and GetMeeting.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MeetingResponse {
    /// The meeting.
    pub meeting: Meeting,
}

/// The answer of CreateMeetingWithAttendees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MeetingWithAttendeesResponse {
    /// The meeting.
    pub meeting: Meeting,
    /// Those made or found.
    pub attendees: Vec<Attendee>,
    /// Those not made.
    pub errors: Vec<CreateAttendeeError>,
}
