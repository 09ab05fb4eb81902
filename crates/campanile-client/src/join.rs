//! What an application hands to a client: the JSON that CreateMeeting and CreateAttendee answered.

use std::fmt;

use campanile_wire::signaling::Secret;
use serde_json::Value;

/// What a content share's attendee id and join token end in.
pub const CONTENT_SUFFIX: &str = "#content";

/// The right to be one attendee of one meeting. `Debug` shows no token.
#[derive(Clone)]
pub struct JoinInfo {
    /// The meeting.
    pub meeting_id: String,
    /// Where the signaling is, `ws://` or `wss://`, without query.
    pub signaling_url: String,
    /// Echoed when subscribing; `None` is a session without audio.
    pub audio_host_url: Option<String>,
    /// The attendee.
    pub attendee_id: String,
    /// The application's own name for the attendee.
    pub external_user_id: String,
    /// What makes a socket that attendee's.
    pub join_token: Secret,
}

/// The JSON lacks something that no session can do without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinInfoError {
    /// Not JSON.
    #[error("the join information is not JSON: {0}")]
    Json(String),
    /// This is not there, or no text.
    #[error("the join information has no {0}")]
    Missing(&'static str),
}

impl JoinInfo {
    /// From one text with both: `{"Meeting": {...}, "Attendee": {...}}`.
    ///
    /// # Errors
    /// [`JoinInfoError`].
    pub fn parse(text: &str) -> Result<JoinInfo, JoinInfoError> {
        let both: Value =
            serde_json::from_str(text).map_err(|error| JoinInfoError::Json(error.to_string()))?;
        JoinInfo::from_json(&both, &both)
    }

    /// From the answers of CreateMeeting and CreateAttendee, each with or without its outermost `Meeting` or `Attendee`.
    /// As in the JavaScript client, the case of keys does not matter.
    ///
    /// # Errors
    /// [`JoinInfoError::Missing`].
    pub fn from_json(meeting: &Value, attendee: &Value) -> Result<JoinInfo, JoinInfoError> {
        let meeting = field(meeting, "Meeting").unwrap_or(meeting);
        let attendee = field(attendee, "Attendee").unwrap_or(attendee);
        let placement = field(meeting, "MediaPlacement").ok_or(JoinInfoError::Missing("MediaPlacement"))?;
        Ok(JoinInfo {
            meeting_id: text(meeting, "MeetingId")?,
            signaling_url: text(placement, "SignalingUrl")?,
            audio_host_url: text(placement, "AudioHostUrl").ok().filter(|url| !url.is_empty()),
            attendee_id: text(attendee, "AttendeeId")?,
            external_user_id: text(attendee, "ExternalUserId").unwrap_or_default(),
            join_token: Secret(text(attendee, "JoinToken")?),
        })
    }

    /// The same attendee's content share: a session of its own, beside the first.
    pub fn content(&self) -> JoinInfo {
        JoinInfo {
            attendee_id: format!("{}{CONTENT_SUFFIX}", self.attendee_id),
            join_token: Secret(format!("{}{CONTENT_SUFFIX}", self.join_token.0)),
            ..self.clone()
        }
    }
}

impl fmt::Debug for JoinInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinInfo")
            .field("meeting_id", &self.meeting_id)
            .field("attendee_id", &self.attendee_id)
            .finish_non_exhaustive()
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn text(value: &Value, name: &'static str) -> Result<String, JoinInfoError> {
    field(value, name).and_then(Value::as_str).map(str::to_owned).ok_or(JoinInfoError::Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACEMENT: &str = r#""MediaPlacement":{"SignalingUrl":"ws://h/control/m","AudioHostUrl":"h:1"}"#;

    #[test]
    fn nesting_and_case_do_not_matter() {
        let check = |text: String| {
            let info = JoinInfo::parse(&text).unwrap();
            assert_eq!((info.meeting_id.as_str(), info.attendee_id.as_str()), ("m", "a"));
            assert_eq!(info.join_token.0, "t");
            assert_eq!(info.content().join_token.0, "t#content");
            assert!(!format!("{info:?}").contains("\"t\""));
        };
        check(format!(
            r#"{{"Meeting":{{"MeetingId":"m",{PLACEMENT}}},"Attendee":{{"AttendeeId":"a","JoinToken":"t"}}}}"#
        ));
        check(format!(
            r#"{{"meeting":{{"Meeting":{{}},"meetingid":"m",{PLACEMENT}}},"attendee":{{"attendeeID":"a","joinToken":"t"}}}}"#
        ));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = JoinInfo::parse(r#"{"Meeting":{"MeetingId":"m"},"Attendee":{}}"#).unwrap_err();
        assert_eq!(error, JoinInfoError::Missing("MediaPlacement"));
        assert!(matches!(JoinInfo::parse("{"), Err(JoinInfoError::Json(_))));
    }
}
