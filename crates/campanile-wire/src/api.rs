//! The HTTP API's JSON: the shapes of `chime-sdk-meetings` (model of 2021-07-15), and their checking.
//!
//! SDKs validate next to nothing, so this door does. A request arrives as a struct of options (an explicit `null` is the
//! same as absent, unknown members are ignored) and its `check` turns it into one that holds every rule that can be told
//! from the request alone; rules that need the meeting are the registry's. Signatures, status codes and headers are the
//! shell's.

mod attendees;
mod check;
mod errors;
mod features;
mod meetings;
mod tags;
mod transcription;

pub use attendees::{
    Attendee, AttendeeItem, AttendeeResponse, BATCH_ATTENDEES_MAX, BatchCreateAttendeeRequest,
    BatchCreateAttendeeResponse, BatchItem, Capabilities, Capability, CreateAttendeeError, JoinToken,
    LIST_RESULTS_MAX, ListAttendeesResponse, NewAttendee, UpdateCapabilitiesRequest,
};
pub use check::Invalid;
pub use errors::ErrorBody;
pub use features::{
    ATTENDEES_MAX, AttendeeFeatures, AudioFeatures, ContentFeatures, ContentResolution, EchoReduction,
    HIGH_DEFINITION_ATTENDEES_MAX, MeetingFeatures, VideoFeatures, VideoResolution,
};
pub use meetings::{
    CreateMeetingRequest, MEDIA_REGIONS, MEETING_ATTENDEES_MAX, MediaPlacement, Meeting, MeetingResponse,
    MeetingWithAttendeesResponse, NetworkType, NewMeeting, NotificationsConfiguration,
};
pub use tags::{ListTagsResponse, TAGS_MAX, Tag, TagsRequest, resource_arn};
pub use transcription::{
    StartTranscriptionRequest, TranscribeMedicalSettings, TranscribeSettings, TranscriptionConfiguration,
};

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// Every request body.
    pub fn requests(data: &[u8]) {
        if let Ok(request) = serde_json::from_slice::<CreateMeetingRequest>(data) {
            let _ = request.clone().check_with_attendees();
            if let Ok(meeting) = request.check() {
                assert!((1..=ATTENDEES_MAX).contains(&meeting.features.attendees_max(ATTENDEES_MAX)));
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
mod tests;
