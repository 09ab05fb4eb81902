//! The HTTP API's JSON: the shapes of `chime-sdk-meetings` (model of 2021-07-15), and their checking.
//!
//! SDKs validate next to nothing, so this door does. A request arrives as a struct of options (an explicit `null` is the
//! same as absent, unknown members are ignored) and its `check` turns it into one that holds every rule that can be told
//! from the request alone; rules that need the meeting are the registry's. Signatures, status codes and headers are the
//! shell's.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Attendees that one BatchCreateAttendee may list (the model's bound).
pub const BATCH_ATTENDEES_MAX: usize = 100;
/// Attendees that one CreateMeetingWithAttendees may list (the model's bound; the developer guide still says 10).
pub const MEETING_ATTENDEES_MAX: usize = 20;
/// Attendees of a meeting that sets no ceiling of its own.
pub const ATTENDEES_MAX: u16 = 250;
/// Attendees of a meeting with FHD video or UHD content.
pub const HIGH_DEFINITION_ATTENDEES_MAX: u16 = 25;
/// Tags of one meeting, and of one request.
pub const TAGS_MAX: usize = 50;
/// Attendees on a page of ListAttendees, and the most that `max-results` may ask for.
pub const LIST_RESULTS_MAX: usize = 100;

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

/// A request that breaks a rule; the text says which, and what would be right, to the developer who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn invalid<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

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

/// Whether the client library may use echo reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EchoReduction {
    /// It may.
    #[serde(rename = "AVAILABLE")]
    Available,
    /// It may not.
    #[serde(rename = "UNAVAILABLE")]
    Unavailable,
}

/// The largest camera picture of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VideoResolution {
    /// No cameras.
    None,
    /// 1280x720.
    #[serde(rename = "HD")]
    Hd,
    /// 1920x1080.
    #[serde(rename = "FHD")]
    Fhd,
}

/// The largest content share of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContentResolution {
    /// No content shares.
    None,
    /// 1920x1080.
    #[serde(rename = "FHD")]
    Fhd,
    /// 3840x2160.
    #[serde(rename = "UHD")]
    Uhd,
}

/// `MeetingFeatures.Audio`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AudioFeatures {
    /// Absent means unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_reduction: Option<EchoReduction>,
}

/// `MeetingFeatures.Video`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VideoFeatures {
    /// Absent means HD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resolution: Option<VideoResolution>,
}

/// `MeetingFeatures.Content`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContentFeatures {
    /// Absent means FHD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resolution: Option<ContentResolution>,
}

/// `MeetingFeatures.Attendee`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttendeeFeatures {
    /// Absent means 250.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<i64>,
}

/// What a meeting offers (`MeetingFeaturesConfiguration`). Absent members are omitted, never written as null: the client
/// library reads `Video.MaxResolution` whenever `Video` is there at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeetingFeatures {
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<ContentFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attendee: Option<AttendeeFeatures>,
}

impl MeetingFeatures {
    /// The largest camera picture; HD unless the meeting says otherwise.
    pub fn video_max(&self) -> VideoResolution {
        self.video.and_then(|video| video.max_resolution).unwrap_or(VideoResolution::Hd)
    }
    /// The largest content share; FHD unless the meeting says otherwise.
    pub fn content_max(&self) -> ContentResolution {
        self.content.and_then(|content| content.max_resolution).unwrap_or(ContentResolution::Fhd)
    }
    /// How many attendees may exist at once, joined or not.
    pub fn attendees_max(&self) -> u16 {
        let asked = self.attendee.and_then(|attendee| attendee.max_count);
        asked.and_then(|count| u16::try_from(count).ok()).unwrap_or(ATTENDEES_MAX).min(ATTENDEES_MAX)
    }
    /// What a caller is shown: as given, with the echo reduction that the service fills in.
    pub fn shown(self) -> MeetingFeatures {
        let given = self.audio.and_then(|audio| audio.echo_reduction);
        let echo_reduction = Some(given.unwrap_or(EchoReduction::Unavailable));
        MeetingFeatures { audio: Some(AudioFeatures { echo_reduction }), ..self }
    }

    /// Empty members dropped; the ceiling within 1..=250, and given and at most 25 with FHD video or UHD content.
    fn check(self) -> Result<MeetingFeatures, Invalid> {
        let count = self.attendee.and_then(|attendee| attendee.max_count);
        if let Some(count) = count
            && !(1..=i64::from(ATTENDEES_MAX)).contains(&count)
        {
            return invalid(format!(
                "MeetingFeatures.Attendee.MaxCount must be between 1 and {ATTENDEES_MAX}"
            ));
        }
        let high = self.video_max() == VideoResolution::Fhd || self.content_max() == ContentResolution::Uhd;
        if high && count.is_none_or(|count| count > i64::from(HIGH_DEFINITION_ATTENDEES_MAX)) {
            return invalid(format!(
                "MeetingFeatures: FHD video and UHD content need Attendee.MaxCount of at most {HIGH_DEFINITION_ATTENDEES_MAX}"
            ));
        }
        Ok(MeetingFeatures {
            audio: self.audio.filter(|audio| audio.echo_reduction.is_some()),
            video: self.video.filter(|video| video.max_resolution.is_some()),
            content: self.content.filter(|content| content.max_resolution.is_some()),
            attendee: self.attendee.filter(|attendee| attendee.max_count.is_some()),
        })
    }
}

/// A label on a meeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    pub value: String,
}

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
    fn check(&self) -> Result<(), Invalid> {
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

/// The body of TagResource and UntagResource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagsRequest {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
    tags: Option<Vec<Tag>>,
    tag_keys: Option<Vec<String>>,
}

impl TagsRequest {
    /// TagResource: the resource, and up to 50 tags for it, each key once.
    pub fn check_tag(self) -> Result<(String, Vec<Tag>), Invalid> {
        let arn = resource_arn("ResourceARN", self.resource_arn)?;
        Ok((arn, tags(required("Tags", self.tags)?)?))
    }

    /// UntagResource: the resource, and up to 50 keys.
    pub fn check_untag(self) -> Result<(String, Vec<String>), Invalid> {
        let arn = resource_arn("ResourceARN", self.resource_arn)?;
        let keys = required("TagKeys", self.tag_keys)?;
        if keys.len() > TAGS_MAX {
            return invalid(format!("TagKeys may have at most {TAGS_MAX} items"));
        }
        keys.iter().try_for_each(|key| tag_key("TagKeys", key))?;
        Ok((arn, keys))
    }
}

/// An ARN as the tags operations take it: 1 to 1011 characters that begin with `arn:`. Whether it names anything is
/// another question.
pub fn resource_arn(name: &str, arn: Option<String>) -> Result<String, Invalid> {
    let arn = required(name, arn)?;
    length(name, &arn, 1..=1011)?;
    if !arn.starts_with("arn:") {
        return invalid(format!(
            "{name} must be an ARN: arn:aws:chime:<region>:<account>:meeting/<MeetingId>"
        ));
    }
    Ok(arn)
}

/// The body of StartMeetingTranscription.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StartTranscriptionRequest {
    transcription_configuration: Option<TranscriptionConfiguration>,
}

/// How a meeting is to be transcribed: by one of two engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TranscriptionConfiguration {
    /// Everyday speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_transcribe_settings: Option<TranscribeSettings>,
    /// Clinical speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_transcribe_medical_settings: Option<TranscribeMedicalSettings>,
}

/// Settings of the everyday engine. Members that take one of a list of values are texts here: which engines know which
/// languages is theirs to say, and [`StartTranscriptionRequest::check`] holds them to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    missing_docs,
    reason = "the members of EngineTranscribeSettings, named and explained by the API's reference"
)]
pub struct TranscribeSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_partial_results_stabilization: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_results_stability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_identification_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_redaction_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pii_entity_types: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identify_language: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_names: Option<String>,
}

/// Settings of the clinical engine; see [`TranscribeSettings`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    missing_docs,
    reason = "the members of EngineTranscribeMedicalSettings, explained by the API's reference"
)]
pub struct TranscribeMedicalSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialty: Option<String>,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_identification_type: Option<String>,
}

impl StartTranscriptionRequest {
    /// Exactly one engine, each member within the model, and the documented rules between them.
    pub fn check(self) -> Result<TranscriptionConfiguration, Invalid> {
        let configuration = required("TranscriptionConfiguration", self.transcription_configuration)?;
        match (&configuration.engine_transcribe_settings, &configuration.engine_transcribe_medical_settings) {
            (Some(settings), None) => settings.check()?,
            (None, Some(settings)) => settings.check()?,
            _ => {
                return invalid(
                    "TranscriptionConfiguration must have one of EngineTranscribeSettings and \
                     EngineTranscribeMedicalSettings",
                );
            }
        }
        Ok(configuration)
    }
}

const TRANSCRIBE_LANGUAGES: [&str; 14] = [
    "en-US", "en-GB", "es-US", "fr-CA", "fr-FR", "en-AU", "it-IT", "de-DE", "pt-BR", "ja-JP", "ko-KR",
    "zh-CN", "th-TH", "hi-IN",
];
const TRANSCRIBE_REGIONS: [&str; 13] = [
    "us-east-2",
    "us-east-1",
    "us-west-2",
    "ap-northeast-2",
    "ap-southeast-2",
    "ap-northeast-1",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "sa-east-1",
    "auto",
    "us-gov-west-1",
];
const MEDICAL_REGIONS: [&str; 7] =
    ["us-east-1", "us-east-2", "us-west-2", "ap-southeast-2", "ca-central-1", "eu-west-1", "auto"];
const MEDICAL_SPECIALTIES: [&str; 6] =
    ["PRIMARYCARE", "CARDIOLOGY", "NEUROLOGY", "ONCOLOGY", "RADIOLOGY", "UROLOGY"];

impl TranscribeSettings {
    fn check(&self) -> Result<(), Invalid> {
        one_of("LanguageCode", &self.language_code, &TRANSCRIBE_LANGUAGES)?;
        one_of("PreferredLanguage", &self.preferred_language, &TRANSCRIBE_LANGUAGES)?;
        one_of("VocabularyFilterMethod", &self.vocabulary_filter_method, &["remove", "mask", "tag"])?;
        one_of("Region", &self.region, &TRANSCRIBE_REGIONS)?;
        one_of("PartialResultsStability", &self.partial_results_stability, &["low", "medium", "high"])?;
        one_of("ContentIdentificationType", &self.content_identification_type, &["PII"])?;
        one_of("ContentRedactionType", &self.content_redaction_type, &["PII"])?;
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        // As the models of tags do, those of vocabularies hold a range: `,-.` is comma, minus and full stop.
        let in_names = |c: char| alphanumeric(c) || ",-._".contains(c);
        text("VocabularyFilterName", &self.vocabulary_filter_name, 0..=4096, |_| true)?;
        text("VocabularyName", &self.vocabulary_name, 0..=4096, |_| true)?;
        text("PiiEntityTypes", &self.pii_entity_types, 1..=300, |c| {
            c.is_ascii_uppercase() || "_, ".contains(c)
        })?;
        text("LanguageModelName", &self.language_model_name, 1..=200, |c| {
            alphanumeric(c) || "._-".contains(c)
        })?;
        text("LanguageOptions", &self.language_options, 1..=200, |c| {
            c.is_ascii_alphabetic() || "-,".contains(c)
        })?;
        text("VocabularyNames", &self.vocabulary_names, 1..=3000, in_names)?;
        text("VocabularyFilterNames", &self.vocabulary_filter_names, 1..=3000, in_names)?;

        let identifies = self.identify_language == Some(true);
        let rule = |holds: bool, why: &str| {
            if holds { Ok(()) } else { invalid(format!("EngineTranscribeSettings: {why}")) }
        };
        let redacts = self.content_redaction_type.is_some();
        let content = redacts || self.content_identification_type.is_some();
        rule(
            self.language_code.is_some() != identifies,
            "either LanguageCode or IdentifyLanguage must be given, and not both",
        )?;
        rule(identifies || self.language_options.is_none(), "LanguageOptions needs IdentifyLanguage")?;
        rule(
            self.language_options.is_some() || self.preferred_language.is_none(),
            "PreferredLanguage needs LanguageOptions",
        )?;
        rule(
            !(redacts && self.content_identification_type.is_some()),
            "ContentIdentificationType and ContentRedactionType exclude each other",
        )?;
        rule(
            content || self.pii_entity_types.is_none(),
            "PiiEntityTypes needs ContentIdentificationType or ContentRedactionType",
        )?;
        rule(
            !identifies || (self.language_model_name.is_none() && !content),
            "IdentifyLanguage goes with no LanguageModelName and no content identification or redaction",
        )?;
        rule(
            identifies || (self.vocabulary_names.is_none() && self.vocabulary_filter_names.is_none()),
            "VocabularyNames and VocabularyFilterNames need IdentifyLanguage; without it there is VocabularyName",
        )?;
        rule(
            !identifies || (self.vocabulary_name.is_none() && self.vocabulary_filter_name.is_none()),
            "with IdentifyLanguage, vocabularies are named by VocabularyNames and VocabularyFilterNames",
        )
    }
}

impl TranscribeMedicalSettings {
    fn check(&self) -> Result<(), Invalid> {
        for (name, member) in
            [("LanguageCode", &self.language_code), ("Specialty", &self.specialty), ("Type", &self.kind)]
        {
            if member.is_none() {
                return invalid(format!("EngineTranscribeMedicalSettings.{name} is required"));
            }
        }
        one_of("LanguageCode", &self.language_code, &["en-US"])?;
        one_of("Specialty", &self.specialty, &MEDICAL_SPECIALTIES)?;
        one_of("Type", &self.kind, &["CONVERSATION", "DICTATION"])?;
        one_of("Region", &self.region, &MEDICAL_REGIONS)?;
        one_of("ContentIdentificationType", &self.content_identification_type, &["PHI"])?;
        text("VocabularyName", &self.vocabulary_name, 0..=4096, |_| true)
    }
}

fn one_of(name: &str, value: &Option<String>, known: &[&str]) -> Result<(), Invalid> {
    match value {
        Some(value) if !known.contains(&value.as_str()) => {
            invalid(format!("{name} must be one of {}", known.join(", ")))
        }
        _ => Ok(()),
    }
}

fn text(
    name: &str,
    value: &Option<String>,
    bounds: RangeInclusive<usize>,
    legal: impl Fn(char) -> bool,
) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    length(name, value, bounds)?;
    match value.chars().find(|&c| !legal(c)) {
        Some(c) => invalid(format!("{name} may not contain {c:?}")),
        None => Ok(()),
    }
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

/// The answer of ListTagsForResource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsResponse {
    /// All of them.
    pub tags: Vec<Tag>,
}

/// The body of every error. `Code` is the short code; the type that SDKs go by is in the `x-amzn-ErrorType` header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody {
    /// `NotFound`, `BadRequest`, ...
    pub code: String,
    /// For the developer.
    pub message: String,
    /// As in the `x-amzn-RequestId` header.
    pub request_id: String,
    /// The ARN in question, in errors that have such a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid(format!("{name} is required")))
}

/// Lengths count Unicode scalar values: SDKs send the same text escaped or raw, and neither form's bytes are what the
/// caller counted.
fn length(name: &str, text: &str, bounds: RangeInclusive<usize>) -> Result<(), Invalid> {
    if bounds.contains(&text.chars().count()) {
        return Ok(());
    }
    invalid(format!("{name} must have {} to {} characters", bounds.start(), bounds.end()))
}

/// The characters of ExternalUserId and ExternalMeetingId, and the prefix that is reserved in any letter case.
fn external_id(name: &str, id: &str) -> Result<(), Invalid> {
    const OTHERS: &str = "-_&@+=,(){}[]/«».:|'\"# \t\n\u{b}\u{c}\r";
    let legal = |c: char| c.is_ascii_alphanumeric() || ('À'..='ÿ').contains(&c) || OTHERS.contains(c);
    if let Some(c) = id.chars().find(|&c| !legal(c)) {
        return invalid(format!("{name} may not contain {c:?}"));
    }
    if id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return invalid(format!("{name} may not begin with aws:"));
    }
    Ok(())
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

/// In both of the model's patterns `+-=` is a range, from U+002B to U+003D: digits, comma, colon, slash and more.
fn in_tag_range(c: char) -> bool {
    ('+'..='=').contains(&c)
}

fn tag_key(name: &str, key: &str) -> Result<(), Invalid> {
    length(name, key, 1..=128)?;
    if !key.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || in_tag_range(c)) {
        return invalid(format!("{name} may hold letters, digits and +-=._:/ only"));
    }
    Ok(())
}

fn tags(tags: Vec<Tag>) -> Result<Vec<Tag>, Invalid> {
    if tags.len() > TAGS_MAX {
        return invalid(format!("Tags may have at most {TAGS_MAX} items"));
    }
    for (place, tag) in tags.iter().enumerate() {
        tag_key("Tags.Key", &tag.key)?;
        length("Tags.Value", &tag.value, 0..=256)?;
        let in_value = |c: char| {
            c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_@\u{b}".contains(c) || in_tag_range(c)
        };
        if !tag.value.chars().all(in_value) {
            return invalid("Tags.Value may hold letters, digits, spaces and +-=._:/@ only");
        }
        if tags[..place].iter().any(|earlier| earlier.key == tag.key) {
            return invalid("Tags may name each key only once");
        }
    }
    Ok(tags)
}

fn batch(items: Option<Vec<AttendeeItem>>, max: usize) -> Result<Vec<BatchItem>, Invalid> {
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

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// Every request body.
    pub fn requests(data: &[u8]) {
        if let Ok(request) = serde_json::from_slice::<CreateMeetingRequest>(data) {
            let _ = request.clone().check_with_attendees();
            if let Ok(meeting) = request.check() {
                assert!((1..=ATTENDEES_MAX).contains(&meeting.features.attendees_max()));
                assert!((2..=64).contains(&meeting.external_meeting_id.chars().count()));
            }
        }
        if let Ok(item) = serde_json::from_slice::<AttendeeItem>(data) {
            let _ = item.check();
        }
        if let Ok(batch) = serde_json::from_slice::<BatchCreateAttendeeRequest>(data) {
            let _ = batch.check();
        }
        if let Ok(update) = serde_json::from_slice::<UpdateCapabilitiesRequest>(data) {
            let _ = update.clone().check();
            let _ = update.check_except();
        }
        if let Ok(request) = serde_json::from_slice::<TagsRequest>(data) {
            if let Ok((_, tags)) = request.clone().check_tag() {
                assert!(tags.len() <= TAGS_MAX);
            }
            let _ = request.check_untag();
        }
        if let Ok(request) = serde_json::from_slice::<StartTranscriptionRequest>(data) {
            let _ = request.check();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A complete CreateMeeting with `member` added or replaced.
    fn create(member: &str) -> Result<NewMeeting, Invalid> {
        let mut body: serde_json::Value = serde_json::from_str(
            r#"{"ClientRequestToken":"tok-1","MediaRegion":"us-east-1","ExternalMeetingId":"my meeting"}"#,
        )
        .unwrap();
        let extra: serde_json::Value = serde_json::from_str(&format!("{{{member}}}")).unwrap();
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        serde_json::from_value::<CreateMeetingRequest>(body).map_err(|e| Invalid(e.to_string()))?.check()
    }

    fn check(member: &str, accepted: bool) {
        let outcome = create(member);
        assert_eq!(outcome.is_ok(), accepted, "{member}: {outcome:?}");
    }

    #[test]
    fn create_meeting_members_hold_their_bounds() {
        check("", true);
        check(r#""ClientRequestToken":null"#, false);
        check(r#""ClientRequestToken":"a""#, false);
        check(r#""ClientRequestToken":"ab""#, true);
        check(&format!(r#""ClientRequestToken":"{}""#, "a".repeat(64)), true);
        check(&format!(r#""ClientRequestToken":"{}""#, "a".repeat(65)), false);
        check(r#""ClientRequestToken":"bad token!""#, false);
        check(r#""MediaRegion":"nowhere-1""#, false);
        check(r#""MediaRegion":"us-gov-west-1""#, true);
        check(r#""ExternalMeetingId":"x""#, false);
        check(r#""ExternalMeetingId":"aws:x""#, false);
        check(r#""ExternalMeetingId":"AwS:x""#, false);
        check(r#""ExternalMeetingId":"laws:x""#, true);
        check(r#""ExternalMeetingId":"a<b""#, false);
        check(r##""ExternalMeetingId":"\u00e9\u00e8 «ü» [a]{b}(c)/'\"#|:.,=+@&_-""##, true);
        check(&format!(r#""ExternalMeetingId":"{}""#, "é".repeat(64)), true);
        check(&format!(r#""ExternalMeetingId":"{}""#, "é".repeat(65)), false);
        check(r#""MeetingHostId":null"#, true);
        check(r#""MeetingHostId":"h""#, false);
        check(r#""Unknown":{"a":[1]}"#, true);
        check(r#""MediaPlacementNetworkType":"DualStack""#, true);
        check(r#""MediaPlacementNetworkType":"Ipv6""#, false);
        check(r#""NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:1:q"}"#, true);
        check(r#""NotificationsConfiguration":{"SqsQueueArn":"queue"}"#, false);
    }

    #[test]
    fn tenants_and_tags_hold_their_patterns() {
        check(r#""TenantIds":[]"#, false);
        check(r#""TenantIds":["ab","c$d"]"#, true);
        check(r#""TenantIds":["aaa"]"#, true);
        check(r#""TenantIds":["xaaaa"]"#, false);
        check(r#""TenantIds":["a b"]"#, false);
        check(r#""TenantIds":["ab","ab","ab","ab","ab","ab"]"#, false);
        check(r#""Tags":[{"Key":"k","Value":""}]"#, true);
        check(r#""Tags":[{"Key":"","Value":""}]"#, false);
        check(r#""Tags":[{"Key":"a,;<9","Value":"x y@z"}]"#, true);
        check(r#""Tags":[{"Key":"a>b","Value":""}]"#, false);
        check(r#""Tags":[{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}]"#, false);
    }

    #[test]
    fn high_definition_needs_a_low_ceiling() {
        check(r#""MeetingFeatures":{"Video":{"MaxResolution":"HD"}}"#, true);
        check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"}}"#, false);
        check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":25}}"#, true);
        check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":26}}"#, false);
        check(r#""MeetingFeatures":{"Content":{"MaxResolution":"UHD"},"Attendee":{"MaxCount":26}}"#, false);
        check(r#""MeetingFeatures":{"Content":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":250}}"#, true);
        check(r#""MeetingFeatures":{"Attendee":{"MaxCount":0}}"#, false);
        check(r#""MeetingFeatures":{"Attendee":{"MaxCount":251}}"#, false);
        check(r#""MeetingFeatures":{"Video":{"MaxResolution":"4K"}}"#, false);
    }

    #[test]
    fn features_never_show_a_null() {
        let features =
            create(r#""MeetingFeatures":{"Video":null,"Content":{"MaxResolution":null},"Attendee":{}}"#)
                .unwrap()
                .features;
        assert_eq!(serde_json::to_string(&features).unwrap(), "{}");
        assert_eq!(
            serde_json::to_string(&features.shown()).unwrap(),
            r#"{"Audio":{"EchoReduction":"UNAVAILABLE"}}"#
        );
    }

    #[test]
    fn capabilities_come_whole_and_content_needs_video() {
        let check = |capabilities: &str, accepted: bool| {
            let body = format!(r#"{{"ExternalUserId":"ann","Capabilities":{capabilities}}}"#);
            let outcome = serde_json::from_str::<AttendeeItem>(&body).unwrap().check();
            assert_eq!(outcome.is_ok(), accepted, "{capabilities}: {outcome:?}");
        };
        check("null", true);
        check("{}", false);
        check(r#"{"Audio":"Send","Video":"Send"}"#, false);
        check(r#"{"Audio":"None","Video":"Receive","Content":"Send"}"#, true);
        check(r#"{"Audio":"None","Video":"SendReceive","Content":"None"}"#, true);
        check(r#"{"Audio":"None","Video":"Send","Content":"Receive"}"#, false);
        check(r#"{"Audio":"None","Video":"None","Content":"SendReceive"}"#, false);
        check(r#"{"Audio":"None","Video":"None","Content":"Send"}"#, true);
    }

    #[test]
    fn a_batch_fails_whole_on_its_shape_and_alone_on_a_rule() {
        let batch = |items: &str| {
            serde_json::from_str::<BatchCreateAttendeeRequest>(&format!(r#"{{"Attendees":{items}}}"#))
                .unwrap()
                .check()
        };
        assert!(batch("[]").is_err());
        assert!(batch("null").is_err());
        assert!(batch(r#"[{"ExternalUserId":"u"}]"#).is_err());
        let items = batch(r#"[{"ExternalUserId":"aws:u"},{"ExternalUserId":"u1"}]"#).unwrap();
        assert!(items[0].attendee.is_err() && items[1].attendee.is_ok());
        let many = |n: usize| format!("[{}]", vec![r#"{"ExternalUserId":"u1"}"#; n].join(","));
        assert!(batch(&many(100)).is_ok());
        assert!(batch(&many(101)).is_err());
    }

    #[test]
    fn capabilities_are_replaced_whole_and_somebody_is_always_excluded() {
        let check = |body: &str, one: bool, except: bool| {
            let request: UpdateCapabilitiesRequest = serde_json::from_str(body).unwrap();
            assert_eq!(
                (request.clone().check().is_ok(), request.check_except().is_ok()),
                (one, except),
                "{body}"
            );
        };
        let all = r#""Capabilities":{"Audio":"None","Video":"Receive","Content":"Receive"}"#;
        check("{}", false, false);
        check(&format!("{{{all}}}"), true, false);
        check(&format!(r#"{{{all},"ExcludedAttendeeIds":[]}}"#), true, false);
        check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{{}}]}}"#), true, false);
        check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{{"AttendeeId":"a"}}]}}"#), true, true);
        let ids = |n: usize| vec![r#"{"AttendeeId":"a"}"#; n].join(",");
        check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{}]}}"#, ids(250)), true, true);
        check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{}]}}"#, ids(251)), true, false);
        check(r#"{"Capabilities":{"Audio":"None","Video":"None","Content":"Receive"}}"#, false, false);
        check(r#"{"Capabilities":{"Audio":"None","Video":"Receive"}}"#, false, false);
    }

    #[test]
    fn tag_requests_hold_their_bounds() {
        let check = |body: &str, tag: bool, untag: bool| {
            let request: TagsRequest = serde_json::from_str(body).unwrap();
            assert_eq!(
                (request.clone().check_tag().is_ok(), request.check_untag().is_ok()),
                (tag, untag),
                "{body}"
            );
        };
        let arn = r#""ResourceARN":"arn:x""#;
        check("{}", false, false);
        check(&format!("{{{arn}}}"), false, false);
        check(&format!(r#"{{{arn},"Tags":[],"TagKeys":[]}}"#), true, true);
        check(r#"{"ResourceARN":"x","Tags":[],"TagKeys":[]}"#, false, false);
        check(&format!(r#"{{"ResourceARN":"arn:{}","Tags":[],"TagKeys":[]}}"#, "a".repeat(1007)), true, true);
        check(
            &format!(r#"{{"ResourceARN":"arn:{}","Tags":[],"TagKeys":[]}}"#, "a".repeat(1008)),
            false,
            false,
        );
        check(&format!(r#"{{{arn},"TagKeys":["a b"]}}"#), false, false);
        check(&format!(r#"{{{arn},"TagKeys":["a/b","a/b"]}}"#), false, true);
        let many = |n: usize| {
            (0..n).map(|n| format!(r#"{{"Key":"k{n}","Value":"v"}}"#)).collect::<Vec<_>>().join(",")
        };
        check(&format!(r#"{{{arn},"Tags":[{}]}}"#, many(50)), true, false);
        check(&format!(r#"{{{arn},"Tags":[{}]}}"#, many(51)), false, false);
    }

    #[test]
    fn transcription_has_one_engine_whose_settings_agree() {
        let check = |configuration: &str, accepted: bool| {
            let body = format!(r#"{{"TranscriptionConfiguration":{configuration}}}"#);
            let outcome = serde_json::from_str::<StartTranscriptionRequest>(&body).unwrap().check();
            assert_eq!(outcome.is_ok(), accepted, "{configuration}: {outcome:?}");
        };
        check("null", false);
        check("{}", false);
        let everyday = |members: &str, accepted: bool| {
            check(&format!(r#"{{"EngineTranscribeSettings":{{{members}}}}}"#), accepted);
        };
        everyday("", false);
        everyday(r#""LanguageCode":"en-US""#, true);
        everyday(r#""LanguageCode":"tlh""#, false);
        everyday(r#""IdentifyLanguage":true"#, true);
        everyday(r#""IdentifyLanguage":false"#, false);
        everyday(r#""LanguageCode":"en-US","IdentifyLanguage":true"#, false);
        everyday(r#""LanguageCode":"en-US","IdentifyLanguage":false"#, true);
        everyday(r#""LanguageCode":"en-US","LanguageOptions":"en-US,de-DE""#, false);
        everyday(
            r#""IdentifyLanguage":true,"LanguageOptions":"en-US,de-DE","PreferredLanguage":"de-DE""#,
            true,
        );
        everyday(r#""IdentifyLanguage":true,"PreferredLanguage":"de-DE""#, false);
        everyday(r#""LanguageCode":"en-US","ContentRedactionType":"PII","PiiEntityTypes":"NAME, SSN""#, true);
        everyday(r#""LanguageCode":"en-US","PiiEntityTypes":"NAME""#, false);
        everyday(
            r#""LanguageCode":"en-US","ContentRedactionType":"PII","ContentIdentificationType":"PII""#,
            false,
        );
        everyday(r#""IdentifyLanguage":true,"ContentRedactionType":"PII""#, false);
        everyday(r#""IdentifyLanguage":true,"VocabularyNames":"a,b""#, true);
        everyday(r#""IdentifyLanguage":true,"VocabularyName":"a""#, false);
        everyday(r#""LanguageCode":"en-US","VocabularyNames":"a,b""#, false);
        everyday(r#""LanguageCode":"en-US","VocabularyName":"a","Region":"auto""#, true);
        everyday(r#""LanguageCode":"en-US","LanguageModelName":"a b""#, false);
        let medical = r#""EngineTranscribeMedicalSettings":{"LanguageCode":"en-US","Specialty":"UROLOGY","Type":"DICTATION"}"#;
        check(&format!("{{{medical}}}"), true);
        check(&format!(r#"{{{medical},"EngineTranscribeSettings":{{"LanguageCode":"en-US"}}}}"#), false);
        check(r#"{"EngineTranscribeMedicalSettings":{"LanguageCode":"en-US","Specialty":"UROLOGY"}}"#, false);
    }

    #[test]
    fn a_join_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", JoinToken::new("secret".into())), "<redacted>");
    }
}
