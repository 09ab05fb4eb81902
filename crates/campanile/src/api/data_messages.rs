//! Data messages from the server, and those kept for newcomers: an extension (docs/extensions.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campanile_meeting::ids::MeetingId;
use campanile_wire::signaling::{DataMessage, DeliveredMessage};
use serde::{Deserialize, Serialize};

use super::Call;
use super::errors::{Answer, ApiError, to_json};
use crate::store::StoreFailed;
use crate::worker::DataError;

/// Messages in one answer unless asked for fewer: 3 MB at most. No more are kept.
const RESULTS_MAX: usize = 1024;
/// Characters of the sender's name, as of an attendee's ExternalUserId.
const NAME_CHARS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendDataMessage {
    topic: String,
    text: Option<String>,
    data: Option<String>,
    #[serde(default)]
    lifetime_ms: u32,
    #[serde(default)]
    sender_external_user_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    ingest_time_ns: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    messages: Vec<Message>,
}

/// Nanoseconds are text: as numbers they are too large for JavaScript.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    topic: String,
    data: String,
    sender_attendee_id: String,
    sender_external_user_id: String,
    ingest_time_ns: String,
}

/// SendDataMessage.
pub(super) async fn send(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let SendDataMessage { topic, text, data, lifetime_ms, sender_external_user_id } = call.json()?;
    let data = match (text, data) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(data)) => {
            STANDARD.decode(data).map_err(|_| ApiError::bad_request("Data must be base64"))?
        }
        _ => return Err(ApiError::bad_request("A message has either Text or Data")),
    };
    if sender_external_user_id.chars().count() > NAME_CHARS_MAX {
        return Err(ApiError::bad_request(format!(
            "SenderExternalUserId has at most {NAME_CHARS_MAX} characters"
        )));
    }
    let allowed = call.allow_meeting(meeting)?;
    let worker = &allowed.state.worker;
    let message = DataMessage { topic, data, lifetime_ms };
    let answer = allowed
        .call(|registry, account| {
            if registry.meeting(account, meeting)?.primary.is_some() {
                return Err(ApiError::bad_request(
                    "The meeting is a replica: its attendees get the messages of the primary meeting",
                ));
            }
            Ok(worker.send_data_message(meeting, sender_external_user_id, message))
        })
        .await??;
    // Without an answer the worker has stopped, and the server with it.
    match answer.await.map_err(|_| StoreFailed)? {
        Ok(ingest_time_ns) => Ok(Answer::Json(to_json(&Sent { ingest_time_ns: ingest_time_ns.to_string() }))),
        Err(DataError::Throttled) => Err(ApiError::throttled(call.operation.name(), 1)),
        Err(why @ (DataError::Topic | DataError::Size(_))) => Err(ApiError::bad_request(why.to_string())),
    }
}

/// ListDataMessages: what is kept for newcomers, taken in after `after`, oldest first.
pub(super) async fn list(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let number = |name: &str| -> Result<Option<i64>, ApiError> {
        let not_one = |_| ApiError::bad_request(format!("{name} must be a number"));
        call.query(name)?.map(|text| text.parse().map_err(not_one)).transpose()
    };
    let after = number("after")?.unwrap_or(0);
    let max = number("max-results")?.map_or(Some(RESULTS_MAX), |max| usize::try_from(max).ok());
    let max = max
        .filter(|max| (1..=RESULTS_MAX).contains(max))
        .ok_or_else(|| ApiError::bad_request(format!("max-results must be between 1 and {RESULTS_MAX}")))?;
    let allowed = call.allow_meeting(meeting)?;
    allowed.call(|registry, account| registry.meeting(account, meeting).map(drop)).await??;
    let kept = call.state.worker.data_messages(meeting).await;
    let wanted = kept.into_iter().filter(|message| message.ingest_time_ns > after).take(max);
    Ok(Answer::Json(to_json(&Listed { messages: wanted.map(shown).collect() })))
}

fn shown(message: DeliveredMessage) -> Message {
    Message {
        topic: message.topic,
        data: STANDARD.encode(message.data),
        sender_attendee_id: message.sender_attendee_id,
        sender_external_user_id: message.sender_external_user_id,
        ingest_time_ns: message.ingest_time_ns.to_string(),
    }
}
