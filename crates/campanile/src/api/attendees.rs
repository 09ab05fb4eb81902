//! Attendees: create, get, list, delete; what they may do.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_meeting::ids::{AccountId, AttendeeId, MeetingId};
use campanile_meeting::registry::{AttendeeRecord, Registry};
use campanile_wire::api::{
    Attendee, AttendeeItem, AttendeeResponse, BatchCreateAttendeeRequest, BatchCreateAttendeeResponse,
    BatchItem, CreateAttendeeError, LIST_RESULTS_MAX, ListAttendeesResponse, UpdateCapabilitiesRequest,
};
use uuid::Uuid;

use super::errors::{Answer, ApiError, to_json};
use super::{Call, attendee_id};

/// How an attendee's connections got in, or why not: an extension. Known also after the meeting's end, and when the
/// attendee is gone.
pub(super) fn get_join_trace(
    call: &Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let traces = call.state.join_traces.of(allowed.account, meeting, attendee);
    let traces = traces.ok_or_else(|| ApiError::not_found("No connection of this attendee is known"))?;
    Ok(Answer::Json(to_json(&traces)))
}

/// Who did not get into a meeting, strangers included: an extension. Known also after the meeting's end.
pub(super) fn list_failed_joins(call: &Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    Ok(Answer::Json(to_json(&call.state.join_traces.failed(allowed.account, meeting))))
}

/// CreateAttendee.
pub(super) async fn create(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let new = call.json::<AttendeeItem>()?.check()?;
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    let attendee = allowed
        .call(|registry, account| {
            registry
                .create_attendee(account, now_unix_ms, meeting, new)
                .map(|record| shown(registry, &record))
        })
        .await??;
    Ok(Answer::Json(to_json(&AttendeeResponse { attendee })))
}

/// BatchCreateAttendee: one that cannot be made is reported beside those that were.
pub(super) async fn batch_create(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let items = call.json::<BatchCreateAttendeeRequest>()?.check()?;
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    let (attendees, errors) = allowed
        .call(|registry, account| {
            registry.meeting(account, meeting)?;
            Ok::<_, ApiError>(create_each(registry, account, now_unix_ms, meeting, items))
        })
        .await??;
    Ok(Answer::Json(to_json(&BatchCreateAttendeeResponse { attendees, errors })))
}

/// GetAttendee.
pub(super) async fn get(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let attendee = allowed
        .call(|registry, account| {
            registry.attendee(account, meeting, attendee).map(|record| shown(registry, record))
        })
        .await??;
    Ok(Answer::Json(to_json(&AttendeeResponse { attendee })))
}

/// ListAttendees. The opaque token is the id of the last attendee shown.
pub(super) async fn list(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let max = match call.query("max-results")? {
        None => LIST_RESULTS_MAX,
        Some(text) => {
            text.parse().ok().filter(|max| (1..=LIST_RESULTS_MAX).contains(max)).ok_or_else(|| {
                ApiError::bad_request(format!("MaxResults must be between 1 and {LIST_RESULTS_MAX}"))
            })?
        }
    };
    let after = call.query("next-token")?.map(read_token).transpose()?;
    let allowed = call.allow_meeting(meeting)?;
    let response = allowed
        .call(|registry, account| {
            let (page, next) = registry.attendees(account, meeting, after, max)?;
            Ok::<_, ApiError>(ListAttendeesResponse {
                attendees: page.into_iter().map(|record| shown(registry, record)).collect(),
                next_token: next.map(|last| URL_SAFE_NO_PAD.encode(last.0.as_bytes())),
            })
        })
        .await??;
    Ok(Answer::Json(to_json(&response)))
}

/// DeleteAttendee.
pub(super) async fn delete(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    allowed
        .call(|registry, account| registry.delete_attendee(account, now_unix_ms, meeting, attendee))
        .await??;
    Ok(Answer::Nothing)
}

/// UpdateAttendeeCapabilities.
pub(super) async fn update_capabilities(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let capabilities = call.json::<UpdateCapabilitiesRequest>()?.check()?;
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    let attendee = allowed
        .call(|registry, account| {
            let record = registry.set_capabilities(account, now_unix_ms, meeting, attendee, capabilities)?;
            Ok::<_, ApiError>(shown(registry, &record))
        })
        .await??;
    Ok(Answer::Json(to_json(&AttendeeResponse { attendee })))
}

/// BatchUpdateAttendeeCapabilitiesExcept.
pub(super) async fn update_capabilities_except(
    call: Call<'_>,
    meeting: MeetingId,
) -> Result<Answer, ApiError> {
    let (excluded, capabilities) = call.json::<UpdateCapabilitiesRequest>()?.check_except()?;
    let excluded = excluded.iter().map(|id| attendee_id(id)).collect::<Result<BTreeSet<_>, _>>()?;
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    allowed
        .call(|registry, account| {
            registry.set_capabilities_except(account, now_unix_ms, meeting, &excluded, capabilities)
        })
        .await??;
    Ok(Answer::Empty)
}

/// A batch's attendees, each made or refused by itself. The meeting is known to be there.
pub(super) fn create_each(
    registry: &mut Registry,
    account: AccountId,
    now_unix_ms: u64,
    meeting: MeetingId,
    items: Vec<BatchItem>,
) -> (Vec<Attendee>, Vec<CreateAttendeeError>) {
    let (mut attendees, mut errors) = (Vec::new(), Vec::new());
    for item in items {
        let made = item.attendee.map_err(ApiError::from).and_then(|new| {
            registry.create_attendee(account, now_unix_ms, meeting, new).map_err(ApiError::from)
        });
        match made {
            Ok(record) => attendees.push(shown(registry, &record)),
            Err(error) => errors.push(CreateAttendeeError {
                external_user_id: item.external_user_id,
                error_code: error.code().into(),
                error_message: error.message,
            }),
        }
    }
    (attendees, errors)
}

fn shown(registry: &Registry, record: &AttendeeRecord) -> Attendee {
    Attendee {
        external_user_id: record.external_user_id.clone(),
        attendee_id: record.id.to_string(),
        join_token: registry.join_token(record),
        capabilities: record.capabilities,
    }
}

fn read_token(text: &str) -> Result<AttendeeId, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| Uuid::from_slice(&bytes).ok())
        .map(AttendeeId)
        .ok_or_else(|| ApiError::bad_request("NextToken is not one that ListAttendees gave"))
}
