//! The HTTP API: `chime-sdk-meetings` as AWS SDKs speak it (restJson1, SigV4), one file per resource.
//!
//! A request is routed by method, path and `operation` together (several operations share a path), read whole within a
//! bound, verified, and only then believed. Operations that are not there yet say so in an error that SDKs can type.

mod attendees;
pub mod errors;
mod meetings;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use campanile_meeting::ids::{AccountId, AttendeeId, MeetingId};
use futures_util::StreamExt as _;

use self::errors::{Answer, ApiError, respond};
use crate::sigv4;
use crate::state::AppState;

/// A request's body: a batch of 100 attendees with the longest names and every character escaped takes some 50 KiB, 50 of
/// the longest tags some 120 KiB.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Of a body that is too large, this much is taken off the wire before the caller is told.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The API alone, as the demo application calls it and as it stands behind the listener.
pub fn router(state: AppState) -> Router {
    Router::new().fallback(handle).with_state(state)
}

/// Answers one call.
pub async fn handle(State(state): State<AppState>, request: Request<Body>) -> Response<Body> {
    respond(answer(&state, request).await)
}

/// A call of a known caller.
struct Call<'a> {
    state: &'a AppState,
    account: AccountId,
    headers: &'a HeaderMap,
    query: &'a [(Vec<u8>, Vec<u8>)],
    body: Bytes,
}

impl Call<'_> {
    /// A query member, decoded; empty is there, as `max-results=` is.
    fn query(&self, name: &str) -> Result<Option<&str>, ApiError> {
        find(self.query, name)
            .map(|value| std::str::from_utf8(value))
            .transpose()
            .map_err(|_| ApiError::bad_request(format!("{name} is not UTF-8")))
    }

    /// The body's JSON; no body at all stands for an object without members.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("The body is not as expected: {error}")))
    }
}

fn find<'q>(query: &'q [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'q [u8]> {
    query.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
}

/// The operations of the model, with the path labels they take.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    CreateMeeting,
    CreateMeetingWithAttendees,
    GetMeeting(String),
    DeleteMeeting(String),
    CreateAttendee(String),
    BatchCreateAttendee(String),
    ListAttendees(String),
    GetAttendee(String, String),
    DeleteAttendee(String, String),
    /// In the model, not in this version.
    Missing(&'static str),
}

/// Finds the operation. Labels are decoded after splitting, so an escaped slash stays within its label.
fn route(method: &Method, path: &str, query: &[(Vec<u8>, Vec<u8>)]) -> Result<Operation, ApiError> {
    let label = |segment: &str| {
        String::from_utf8(sigv4::percent_decode(segment))
            .map_err(|_| ApiError::bad_request("The path is not UTF-8 once decoded"))
    };
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let operation = find(query, "operation").unwrap_or_default();
    let method = method.as_str();
    Ok(match (method, &segments[..], operation) {
        ("POST", ["meetings"], b"") => Operation::CreateMeeting,
        ("POST", ["meetings"], b"create-attendees") => Operation::CreateMeetingWithAttendees,
        ("GET", ["meetings", meeting], _) => Operation::GetMeeting(label(meeting)?),
        ("DELETE", ["meetings", meeting], _) => Operation::DeleteMeeting(label(meeting)?),
        ("POST", ["meetings", meeting, "attendees"], b"") => Operation::CreateAttendee(label(meeting)?),
        ("POST", ["meetings", meeting, "attendees"], b"batch-create") => {
            Operation::BatchCreateAttendee(label(meeting)?)
        }
        ("GET", ["meetings", meeting, "attendees"], _) => Operation::ListAttendees(label(meeting)?),
        ("GET", ["meetings", meeting, "attendees", attendee], _) => {
            Operation::GetAttendee(label(meeting)?, label(attendee)?)
        }
        ("DELETE", ["meetings", meeting, "attendees", attendee], _) => {
            Operation::DeleteAttendee(label(meeting)?, label(attendee)?)
        }
        ("PUT", ["meetings", _, "attendees", "capabilities"], b"batch-update-except") => {
            Operation::Missing("BatchUpdateAttendeeCapabilitiesExcept")
        }
        ("PUT", ["meetings", _, "attendees", _, "capabilities"], _) => {
            Operation::Missing("UpdateAttendeeCapabilities")
        }
        ("POST", ["meetings", _, "transcription"], b"start") => {
            Operation::Missing("StartMeetingTranscription")
        }
        ("POST", ["meetings", _, "transcription"], b"stop") => Operation::Missing("StopMeetingTranscription"),
        ("GET", ["tags"], _) => Operation::Missing("ListTagsForResource"),
        ("POST", ["tags"], b"tag-resource") => Operation::Missing("TagResource"),
        ("POST", ["tags"], b"untag-resource") => Operation::Missing("UntagResource"),
        (_, ["meetings" | "tags"] | ["meetings", _] | ["meetings", _, "attendees" | "transcription"], _)
        | (_, ["meetings", _, "attendees", _] | ["meetings", _, "attendees", _, "capabilities"], _) => {
            return Err(ApiError::unknown_operation(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("No operation is {method} on this path, with this operation parameter"),
            ));
        }
        _ => return Err(ApiError::unknown_operation(StatusCode::NOT_FOUND, "No operation has this path")),
    })
}

async fn answer(state: &AppState, request: Request<Body>) -> Result<Answer, ApiError> {
    let (head, body) = request.into_parts();
    let query = sigv4::query_pairs(head.uri.query().unwrap_or_default());
    let operation = route(&head.method, head.uri.path(), &query)?;
    let body = read_body(&head.headers, body).await?;
    let known = |id: &str| (id == state.credentials.access_key_id).then_some(&state.credentials);
    sigv4::verify(&head, &body, unix_now().as_secs(), known)?;
    let call = Call { state, account: state.account, headers: &head.headers, query: &query, body };
    match operation {
        Operation::CreateMeeting => meetings::create(call).await,
        Operation::CreateMeetingWithAttendees => meetings::create_with_attendees(call).await,
        Operation::GetMeeting(meeting) => meetings::get(call, meeting_id(&meeting)?).await,
        Operation::DeleteMeeting(meeting) => meetings::delete(call, meeting_id(&meeting)?).await,
        Operation::CreateAttendee(meeting) => attendees::create(call, meeting_id(&meeting)?).await,
        Operation::BatchCreateAttendee(meeting) => attendees::batch_create(call, meeting_id(&meeting)?).await,
        Operation::ListAttendees(meeting) => attendees::list(call, meeting_id(&meeting)?).await,
        Operation::GetAttendee(meeting, attendee) => {
            attendees::get(call, meeting_id(&meeting)?, attendee_id(&attendee)?).await
        }
        Operation::DeleteAttendee(meeting, attendee) => {
            attendees::delete(call, meeting_id(&meeting)?, attendee_id(&attendee)?).await
        }
        Operation::Missing(name) => {
            Err(ApiError::bad_request(format!("{name} is not available in this version of campanile")))
        }
    }
}

fn meeting_id(label: &str) -> Result<MeetingId, ApiError> {
    label.parse().map_err(|_| ApiError::bad_request("MeetingId must have the form of a UUID"))
}

fn attendee_id(label: &str) -> Result<AttendeeId, ApiError> {
    label.parse().map_err(|_| ApiError::bad_request("AttendeeId must have the form of a UUID"))
}

/// The whole body, which the signature covers. One that is too large is read on for a while and thrown away: a refusal that
/// overtakes the body is lost when the connection closes under it.
async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("The body has more than {BODY_BYTES_MAX} bytes"));
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > DISCARD_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut whole = Vec::new();
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| ApiError::bad_request("The body broke off"))?;
            length += chunk.len();
            match length {
                0..=BODY_BYTES_MAX => whole.extend_from_slice(&chunk),
                _ if length <= DISCARD_BYTES_MAX => whole = Vec::new(),
                _ => break,
            }
        }
        if length > BODY_BYTES_MAX { Err(too_large()) } else { Ok(Bytes::from(whole)) }
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::timeout("The body did not arrive in time")),
    }
}

/// Time since the Unix epoch, by the server's clock.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: Result<Operation, u16>) {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let found = route(&method.parse().unwrap(), path, &sigv4::query_pairs(query));
        assert_eq!(found.map_err(|error| error.status.as_u16()), expected, "{request}");
    }

    #[test]
    fn operations_are_told_apart_by_method_path_and_parameter() {
        let (m, a) = ("M".to_owned(), "A".to_owned());
        check("POST /meetings", Ok(Operation::CreateMeeting));
        check("POST //meetings", Ok(Operation::CreateMeeting));
        check("POST /meetings?operation=create-attendees", Ok(Operation::CreateMeetingWithAttendees));
        check("POST /meetings?operation=nonsense", Err(405));
        check("GET /meetings", Err(405));
        check("GET /meetings/M", Ok(Operation::GetMeeting(m.clone())));
        check("GET /meetings/a%2Fb", Ok(Operation::GetMeeting("a/b".into())));
        check("GET /meetings/%ff", Err(400));
        check("DELETE /meetings/M", Ok(Operation::DeleteMeeting(m.clone())));
        check("PATCH /meetings/M", Err(405));
        check("POST /meetings/M/attendees", Ok(Operation::CreateAttendee(m.clone())));
        check(
            "POST /meetings/M/attendees?operation=batch-create",
            Ok(Operation::BatchCreateAttendee(m.clone())),
        );
        check("GET /meetings/M/attendees?max-results=5", Ok(Operation::ListAttendees(m.clone())));
        check("GET /meetings/M/attendees/A", Ok(Operation::GetAttendee(m.clone(), a.clone())));
        check(
            "GET /meetings/M/attendees/capabilities",
            Ok(Operation::GetAttendee(m.clone(), "capabilities".into())),
        );
        check("DELETE /meetings/M/attendees/A", Ok(Operation::DeleteAttendee(m, a)));
        check(
            "PUT /meetings/M/attendees/capabilities?operation=batch-update-except",
            Ok(Operation::Missing("BatchUpdateAttendeeCapabilitiesExcept")),
        );
        check(
            "PUT /meetings/M/attendees/A/capabilities",
            Ok(Operation::Missing("UpdateAttendeeCapabilities")),
        );
        check(
            "POST /meetings/M/transcription?operation=start",
            Ok(Operation::Missing("StartMeetingTranscription")),
        );
        check("POST /tags?operation=tag-resource", Ok(Operation::Missing("TagResource")));
        check("GET /tags?arn=x", Ok(Operation::Missing("ListTagsForResource")));
        check("PUT /tags", Err(405));
        check("GET /nothing/here", Err(404));
    }
}
