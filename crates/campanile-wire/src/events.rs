//! Meeting events in the form in which EventBridge carries them: an envelope that is the same for all services, and a
//! `detail` of `Chime Meeting State Change`. Those that the service does not have say so by their `source`.

use serde::{Deserialize, Serialize};

use crate::api::Capabilities;
use crate::calendar::iso8601;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventType {
    /// A meeting was created.
    #[serde(rename = "chime:MeetingStarted")]
    MeetingStarted,
    /// A meeting is over, however it ended.
    #[serde(rename = "chime:MeetingEnded")]
    MeetingEnded,
    /// An attendee was created.
    #[serde(rename = "chime:AttendeeAdded")]
    AttendeeAdded,
    /// An attendee was deleted, but not with its meeting.
    #[serde(rename = "chime:AttendeeDeleted")]
    AttendeeDeleted,
    /// What an attendee may do has changed.
    #[serde(rename = "chime:AttendeeCapabilitiesUpdated")]
    AttendeeCapabilitiesUpdated,
    /// An attendee who is in has joined once more: from another device, or the same page coming back.
    #[serde(rename = "chime:AttendeeAuthorized")]
    AttendeeAuthorized,
    /// An attendee's media path stands.
    #[serde(rename = "chime:AttendeeJoined")]
    AttendeeJoined,
    /// An attendee has left on purpose, or was sent away.
    #[serde(rename = "chime:AttendeeLeft")]
    AttendeeLeft,
    /// An attendee's connection was lost for too long.
    #[serde(rename = "chime:AttendeeDropped")]
    AttendeeDropped,
    /// A camera is on.
    #[serde(rename = "chime:AttendeeVideoStarted")]
    AttendeeVideoStarted,
    /// It is off.
    #[serde(rename = "chime:AttendeeVideoStopped")]
    AttendeeVideoStopped,
    /// An attendee's content share has joined.
    #[serde(rename = "chime:AttendeeContentJoined")]
    AttendeeContentJoined,
    /// It has left.
    #[serde(rename = "chime:AttendeeContentLeft")]
    AttendeeContentLeft,
    /// Its connection was lost.
    #[serde(rename = "chime:AttendeeContentDropped")]
    AttendeeContentDropped,
    /// Its picture is on.
    #[serde(rename = "chime:AttendeeContentVideoStarted")]
    AttendeeContentVideoStarted,
    /// It is off.
    #[serde(rename = "chime:AttendeeContentVideoStopped")]
    AttendeeContentVideoStopped,
    /// An engine transcribes.
    #[serde(rename = "chime:TranscriptionStarted")]
    TranscriptionStarted,
    /// It no longer does, as asked.
    #[serde(rename = "chime:TranscriptionStopped")]
    TranscriptionStopped,
    /// It has lost its way for the moment.
    #[serde(rename = "chime:TranscriptionInterrupted")]
    TranscriptionInterrupted,
    /// It has found it again.
    #[serde(rename = "chime:TranscriptionResumed")]
    TranscriptionResumed,
    /// There is no transcription; `message` says why.
    #[serde(rename = "chime:TranscriptionFailed")]
    TranscriptionFailed,
    /// A connection ended before its media path stood, or was refused at the door. An extension.
    #[serde(rename = "campanile:AttendeeJoinFailed")]
    AttendeeJoinFailed,
    /// ... that of a content share. An extension.
    #[serde(rename = "campanile:AttendeeContentJoinFailed")]
    AttendeeContentJoinFailed,
}

impl EventType {
    /// Not among the events that the service documents.
    pub fn is_extension(self) -> bool {
        matches!(self, EventType::AttendeeJoinFailed | EventType::AttendeeContentJoinFailed)
    }

    /// Whether its detail names the network (`networkType`).
    fn names_network(self) -> bool {
        use EventType::*;
        matches!(
            self,
            AttendeeJoined
                | AttendeeLeft
                | AttendeeDropped
                | AttendeeContentJoined
                | AttendeeContentLeft
                | AttendeeContentDropped
        )
    }

    /// For what begins and lasts: how it ends when the connection is lost. `None` for everything else.
    pub fn lost_by(self) -> Option<EventType> {
        use EventType::*;
        match self {
            AttendeeJoined => Some(AttendeeDropped),
            AttendeeVideoStarted => Some(AttendeeVideoStopped),
            AttendeeContentJoined => Some(AttendeeContentDropped),
            AttendeeContentVideoStarted => Some(AttendeeContentVideoStopped),
            _ => None,
        }
    }

    /// For what ends something that lasts: what had begun it.
    pub fn ends(self) -> Option<EventType> {
        use EventType::*;
        match self {
            AttendeeLeft | AttendeeDropped => Some(AttendeeJoined),
            AttendeeVideoStopped => Some(AttendeeVideoStarted),
            AttendeeContentLeft | AttendeeContentDropped => Some(AttendeeContentJoined),
            AttendeeContentVideoStopped => Some(AttendeeContentVideoStarted),
            _ => None,
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Of the envelope.
    pub version: String,
    /// A UUID; the same however often the event is delivered.
    pub id: String,
    /// `Chime Meeting State Change`; of extensions `Campanile Meeting State Change`.
    pub detail_type: String,
    /// `aws.chime`; of extensions `campanile`, so that who follows the service's events gets no others.
    pub source: String,
    /// Whose meeting it is.
    pub account: String,
    /// When, to the second.
    pub time: String,
    /// The control region.
    pub region: String,
    /// None, as the service has it.
    pub resources: Vec<String>,
    /// What.
    pub detail: Detail,
}

impl Event {
    /// Of a meeting of `account`, at the time that the detail says.
    pub fn new(id: String, account: String, region: String, detail: Detail) -> Event {
        let (source, detail_type) = match detail.event_type.is_extension() {
            false => ("aws.chime", "Chime Meeting State Change"),
            true => ("campanile", "Campanile Meeting State Change"),
        };
        Event {
            version: "0".into(),
            id,
            detail_type: detail_type.into(),
            source: source.into(),
            account,
            time: iso8601(detail.timestamp / 1000),
            region,
            resources: Vec::new(),
            detail,
        }
    }
}

/// What happened to whom. Members that an event does not have are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// Of the detail.
    pub version: String,
    /// What.
    pub event_type: EventType,
    /// When, in milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// In which meeting.
    pub meeting_id: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendee_id: Option<String>,
    /// The caller's own name for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<String>,
    /// The caller's own name for the meeting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_meeting_id: Option<String>,
    /// As the meeting was asked for.
    pub media_region: String,
    /// `Voip`, for who comes and goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// `"1"` with a change of capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// What the attendee may do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendee_capabilities: Option<EventCapabilities>,
    /// Where the transcription was to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription_region: Option<String>,
    /// What StartMeetingTranscription asked for: JSON as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription_configuration: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of a join that failed: the step that was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// ... what happened instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// ... what helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// ... how many more have failed in this meeting since the last such event, and were not told by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<u32>,
}

/// Capabilities as events write them: with names in lower case, unlike the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCapabilities {
    audio: crate::api::Capability,
    video: crate::api::Capability,
    content: crate::api::Capability,
}

impl From<Capabilities> for EventCapabilities {
    fn from(Capabilities { audio, video, content }: Capabilities) -> EventCapabilities {
        EventCapabilities { audio, video, content }
    }
}

impl Detail {
    /// Of a meeting as a whole. An empty `external_meeting_id` is none, as in meetings of the old namespace.
    pub fn of_meeting(
        event_type: EventType,
        timestamp_unix_ms: u64,
        meeting_id: String,
        external_meeting_id: &str,
        media_region: &str,
    ) -> Detail {
        Detail {
            version: "0".into(),
            event_type,
            timestamp: timestamp_unix_ms,
            meeting_id,
            attendee_id: None,
            external_user_id: None,
            external_meeting_id: Some(external_meeting_id.to_owned()).filter(|id| !id.is_empty()),
            media_region: media_region.to_owned(),
            network_type: None,
            success: None,
            attendee_capabilities: None,
            transcription_region: None,
            transcription_configuration: None,
            message: None,
            phase: None,
            cause: None,
            remedy: None,
            omitted: None,
        }
    }

    /// ... and of one attendee of it.
    pub fn with_attendee(self, attendee_id: String, external_user_id: &str) -> Detail {
        Detail {
            attendee_id: Some(attendee_id),
            external_user_id: Some(external_user_id.to_owned()),
            network_type: self.event_type.names_network().then(|| "Voip".into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_the_service_writes_it() {
        let detail = Detail::of_meeting(
            EventType::AttendeeJoined,
            1_772_703_687_412,
            "0f6d2c58-31b7-4e0a-9d14-7c2a55e92713".into(),
            "standup-2026-03-05",
            "eu-central-1",
        )
        .with_attendee("c41e7b0d-58f2-9a36-e07d-2b94d1a6f5e8".into(), "user-77");
        let id = "b7f0a5f2-9a35-4a0e-8f54-1d6c2b9e7a10".to_owned();
        let event = Event::new(id, "210987654321".into(), "us-east-1".into(), detail);
        let expected = serde_json::json!({
            "version": "0",
            "id": "b7f0a5f2-9a35-4a0e-8f54-1d6c2b9e7a10",
            "detail-type": "Chime Meeting State Change",
            "source": "aws.chime",
            "account": "210987654321",
            "time": "2026-03-05T09:41:27Z",
            "region": "us-east-1",
            "resources": [],
            "detail": {
                "version": "0",
                "eventType": "chime:AttendeeJoined",
                "timestamp": 1_772_703_687_412_u64,
                "meetingId": "0f6d2c58-31b7-4e0a-9d14-7c2a55e92713",
                "attendeeId": "c41e7b0d-58f2-9a36-e07d-2b94d1a6f5e8",
                "externalUserId": "user-77",
                "externalMeetingId": "standup-2026-03-05",
                "mediaRegion": "eu-central-1",
                "networkType": "Voip"
            }
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Event>(expected).unwrap(), event);
    }

    #[test]
    fn what_an_event_does_not_have_is_left_out() {
        let detail = Detail::of_meeting(EventType::MeetingEnded, 0, "m".into(), "", "us-east-1");
        let members = serde_json::to_value(&detail).unwrap();
        let names: Vec<_> = members.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["eventType", "mediaRegion", "meetingId", "timestamp", "version"]);
    }

    #[test]
    fn what_the_service_does_not_tell_is_not_told_in_its_name() {
        let detail = Detail::of_meeting(EventType::AttendeeJoinFailed, 0, "m".into(), "", "us-east-1");
        let event = Event::new("id".into(), "210987654321".into(), "us-east-1".into(), detail);
        let told = serde_json::to_value(&event).unwrap();
        assert_eq!(told["source"], "campanile");
        assert_eq!(told["detail-type"], "Campanile Meeting State Change");
        assert_eq!(told["detail"]["eventType"], "campanile:AttendeeJoinFailed");
    }

    #[test]
    fn whatever_is_lost_was_begun() {
        use EventType::*;
        for begun in
            [AttendeeJoined, AttendeeVideoStarted, AttendeeContentJoined, AttendeeContentVideoStarted]
        {
            assert_eq!(begun.lost_by().and_then(EventType::ends), Some(begun));
        }
    }
}
