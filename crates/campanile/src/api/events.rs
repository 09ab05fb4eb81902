//! ListEvents, an extension (docs/extensions.md): what has happened to the account's meetings, from the store's outbox.

use campanile_wire::events::Event;
use serde::Serialize;

use super::errors::{Answer, ApiError, to_json};
use super::{Call, meeting_id};
use crate::store::EventQuery;

/// Events in one answer unless asked for fewer.
const RESULTS_MAX: usize = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListEventsResponse {
    events: Vec<Numbered>,
    /// To go on from: `after` of the next call.
    after: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Numbered {
    sequence: u64,
    event: Event,
}

/// ListEvents: those with a higher number than `after`, of all the account's meetings or of one.
pub(super) async fn list(call: Call<'_>) -> Result<Answer, ApiError> {
    let number = |name: &str, text: &str| {
        text.parse::<u64>().map_err(|_| ApiError::bad_request(format!("{name} must be a number")))
    };
    let after = call.query("after")?.map_or(Ok(0), |text| number("after", text))?;
    let max =
        call.query("max-results")?.map_or(Ok(RESULTS_MAX as u64), |text| number("max-results", text))?;
    let max = usize::try_from(max)
        .ok()
        .filter(|max| (1..=RESULTS_MAX).contains(max))
        .ok_or_else(|| ApiError::bad_request(format!("max-results must be between 1 and {RESULTS_MAX}")))?;
    let meeting = call.query("meeting-id")?.map(meeting_id).transpose()?;
    let allowed = match meeting {
        Some(meeting) => call.allow_meeting(meeting)?,
        None => call.allow_new_meeting(&[])?,
    };
    let page = call.state.events(EventQuery { account: allowed.account, after, meeting, max }).await?;
    let events = page.events.into_iter().map(|(sequence, event)| Numbered { sequence, event }).collect();
    Ok(Answer::Json(to_json(&ListEventsResponse { events, after: page.after })))
}
