//! The HTTP API: `chime-sdk-meetings` as AWS SDKs speak it (restJson1, SigV4), one file per resource, and beside it the
//! part of STS that gives out temporary keys.
//!
//! A request is routed by method, path and `operation` together (several operations share a path), read whole within a
//! bound, verified, and only then believed. What an operation does to the records it can do only through `Allowed`,
//! which exists once IAM has let the call pass and the audit log knows of it.

mod attendees;
mod data_messages;
mod drain;
pub mod errors;
mod events;
mod meetings;
mod moderation;
mod quality;
mod sts;
mod tags;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header, request};
use campanile_meeting::ids::{AccountId, AttendeeId, MeetingId};
use campanile_meeting::registry::Registry;
use campanile_wire::api::Tag;
use futures_util::StreamExt as _;
use uuid::Uuid;

use self::errors::{Answer, ApiError, respond};
use crate::audit::Entry;
use crate::directory::Caller;
use crate::http::HttpLimits;
use crate::iam::{Decision, Question};
use crate::sigv4;
use crate::state::AppState;
use crate::store::StoreFailed;

/// A request's body: a batch of 100 attendees with the longest names and every character escaped takes some 50 KiB, 50 of
/// the longest tags some 120 KiB.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Of a body that is too large, this much is taken off the wire before the caller is told.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The API alone, as the demo application calls it and as it stands behind the listener.
pub fn router(state: AppState) -> Router {
    Router::new().fallback(handle).with_state(state)
}

/// Answers one call.
pub async fn handle(State(state): State<AppState>, request: Request<Body>) -> Response<Body> {
    let request_id = Uuid::new_v4().to_string();
    let (head, body) = request.into_parts();
    if head.method == Method::POST && head.uri.path() == "/" {
        let body = read_body(&head, body).await;
        return sts::handle(
            &state,
            &request_id,
            &head,
            body.as_ref().map(|body| &body[..]).map_err(Clone::clone),
        );
    }
    let outcome = answer(&state, &request_id, &head, body).await;
    respond(request_id, outcome)
}

/// A call of a known caller.
struct Call<'a> {
    state: &'a AppState,
    caller: &'a Caller,
    operation: Operation,
    request_id: &'a str,
    head: &'a request::Parts,
    headers: &'a HeaderMap,
    query: &'a [(Vec<u8>, Vec<u8>)],
    body: Bytes,
}

/// Leave to do what was asked for, in the caller's account.
struct Allowed<'a> {
    state: &'a AppState,
    account: AccountId,
}

impl Allowed<'_> {
    /// See [`AppState::call`].
    async fn call<T>(&self, act: impl FnOnce(&mut Registry, AccountId) -> T) -> Result<T, StoreFailed> {
        self.state.call(|registry| act(registry, self.account)).await
    }
}

impl<'a> Call<'a> {
    fn account(&self) -> AccountId {
        self.caller.account()
    }

    /// Asks IAM for leave to do this operation to a meeting of the caller's account, whether it exists or not.
    fn allow_meeting(&self, meeting: MeetingId) -> Result<Allowed<'a>, ApiError> {
        let site = &self.state.site;
        self.allow(&site.meeting_arn(self.account(), meeting), Some(meeting), &[])
    }

    /// ... to make a meeting, which has no id yet: policies name it by `meeting/*`.
    fn allow_new_meeting(&self, tags: &[Tag]) -> Result<Allowed<'a>, ApiError> {
        let arn = format!("arn:aws:chime:{}:{}:meeting/*", self.state.site.region, self.account());
        self.allow(&arn, None, tags)
    }

    /// ... to the tags of whatever the ARN names.
    fn allow_tags(&self, arn: &str, tags: &[Tag]) -> Result<Allowed<'a>, ApiError> {
        let named = tags::split(arn).filter(|(_, account, _)| *account == self.account());
        self.allow(arn, named.map(|(.., meeting)| meeting), tags)
    }

    fn allow(
        &self,
        arn: &str,
        meeting: Option<MeetingId>,
        request_tags: &[Tag],
    ) -> Result<Allowed<'a>, ApiError> {
        let pairs = |tags: &[Tag]| tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        let resource_tags = match meeting {
            Some(meeting) if self.caller.looks_at_resource_tags() => {
                let registry = self.state.registry();
                registry
                    .meeting(self.account(), meeting)
                    .map_or_else(|_| Vec::new(), |record| pairs(&record.tags))
            }
            _ => Vec::new(),
        };
        let action = self.operation.action();
        let question = Question {
            action: &action,
            resources: vec![arn.to_owned(), without_region(arn)],
            resource_tags,
            request_tags: pairs(request_tags),
            principal_arn: self.caller.arn(),
            account: self.account().to_string(),
            region: &self.state.site.region,
        };
        let decision = self.caller.decide(&question);
        let allowed = decision == Decision::Allowed;
        let entry = Entry {
            time: String::new(),
            request_id: self.request_id,
            account: question.account.clone(),
            principal: question.principal_arn,
            access_key_id: self.caller.access_key_id(),
            action: &action,
            resource: arn,
            allowed,
            source: source_of(self.head),
        };
        self.state.audit.note(unix_now().as_secs(), entry);
        if allowed {
            return Ok(Allowed { state: self.state, account: self.account() });
        }
        let why = match decision {
            Decision::ExplicitlyDenied => "an explicit deny in a policy",
            _ => "no policy allows it",
        };
        Err(ApiError::forbidden(format!(
            "User: {} is not authorized to perform: {action} on resource: {arn} ({why})",
            self.caller.arn()
        )))
    }

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

/// The operations of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    BatchCreateAttendee,
    BatchUpdateAttendeeCapabilitiesExcept,
    CreateAttendee,
    CreateMeeting,
    CreateMeetingWithAttendees,
    DeleteAttendee,
    DeleteMeeting,
    GetAttendee,
    GetMeeting,
    ListAttendees,
    ListTagsForResource,
    StartMeetingTranscription,
    StopMeetingTranscription,
    TagResource,
    UntagResource,
    UpdateAttendeeCapabilities,
    /// An extension: what clients told of themselves.
    ListClientEvents,
    /// An extension: what has happened to meetings.
    ListEvents,
    /// An extension: how well everybody's sound gets here and back.
    GetMeetingQuality,
    /// Extensions: data messages from the server.
    ListDataMessages,
    SendDataMessage,
    /// Extensions: what a moderator does.
    LockMeeting,
    MuteAttendee,
    RemoveAttendee,
    UnlockMeeting,
    UpdateUnmutePermission,
    /// Extensions: asking all clients of this server to come back elsewhere.
    GetDrain,
    StartDrain,
    CancelDrain,
    /// Extensions: how an attendee got in, or why not; and who did not get into a meeting.
    GetJoinTrace,
    ListFailedJoins,
}

impl Operation {
    /// As policies and the audit log name it.
    fn action(self) -> String {
        let service = if self.is_extension() { "campanile" } else { "chime" };
        format!("{service}:{}", self.name())
    }

    /// Not in Amazon's model.
    fn is_extension(self) -> bool {
        use Operation as Op;
        matches!(
            self,
            Op::ListClientEvents
                | Op::ListEvents
                | Op::GetJoinTrace
                | Op::ListFailedJoins
                | Op::GetMeetingQuality
                | Op::ListDataMessages
                | Op::SendDataMessage
                | Op::LockMeeting
                | Op::MuteAttendee
                | Op::RemoveAttendee
                | Op::UnlockMeeting
                | Op::UpdateUnmutePermission
                | Op::GetDrain
                | Op::StartDrain
                | Op::CancelDrain
        )
    }

    fn name(self) -> &'static str {
        match self {
            Operation::BatchCreateAttendee => "BatchCreateAttendee",
            Operation::BatchUpdateAttendeeCapabilitiesExcept => "BatchUpdateAttendeeCapabilitiesExcept",
            Operation::CreateAttendee => "CreateAttendee",
            Operation::CreateMeeting => "CreateMeeting",
            Operation::CreateMeetingWithAttendees => "CreateMeetingWithAttendees",
            Operation::DeleteAttendee => "DeleteAttendee",
            Operation::DeleteMeeting => "DeleteMeeting",
            Operation::GetAttendee => "GetAttendee",
            Operation::GetMeeting => "GetMeeting",
            Operation::ListAttendees => "ListAttendees",
            Operation::ListTagsForResource => "ListTagsForResource",
            Operation::StartMeetingTranscription => "StartMeetingTranscription",
            Operation::StopMeetingTranscription => "StopMeetingTranscription",
            Operation::TagResource => "TagResource",
            Operation::UntagResource => "UntagResource",
            Operation::UpdateAttendeeCapabilities => "UpdateAttendeeCapabilities",
            Operation::ListClientEvents => "ListClientEvents",
            Operation::ListEvents => "ListEvents",
            Operation::GetMeetingQuality => "GetMeetingQuality",
            Operation::ListDataMessages => "ListDataMessages",
            Operation::SendDataMessage => "SendDataMessage",
            Operation::LockMeeting => "LockMeeting",
            Operation::MuteAttendee => "MuteAttendee",
            Operation::RemoveAttendee => "RemoveAttendee",
            Operation::UnlockMeeting => "UnlockMeeting",
            Operation::UpdateUnmutePermission => "UpdateUnmutePermission",
            Operation::GetDrain => "GetDrain",
            Operation::StartDrain => "StartDrain",
            Operation::CancelDrain => "CancelDrain",
            Operation::GetJoinTrace => "GetJoinTrace",
            Operation::ListFailedJoins => "ListFailedJoins",
        }
    }
}

/// An operation with its path labels, decoded: the meeting's and the attendee's.
type Route = (Operation, Vec<String>);

/// Finds the operation. Labels are decoded after splitting, so an escaped slash stays within its label.
fn route(method: &Method, path: &str, query: &[(Vec<u8>, Vec<u8>)]) -> Result<Route, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let parameter = find(query, "operation").unwrap_or_default();
    let method = method.as_str();
    let (operation, labels) = match (method, &segments[..], parameter) {
        ("POST", ["meetings"], b"") => (Operation::CreateMeeting, vec![]),
        ("POST", ["meetings"], b"create-attendees") => (Operation::CreateMeetingWithAttendees, vec![]),
        ("GET", ["meetings", meeting], _) => (Operation::GetMeeting, vec![meeting]),
        ("DELETE", ["meetings", meeting], _) => (Operation::DeleteMeeting, vec![meeting]),
        ("POST", ["meetings", meeting, "attendees"], b"") => (Operation::CreateAttendee, vec![meeting]),
        ("POST", ["meetings", meeting, "attendees"], b"batch-create") => {
            (Operation::BatchCreateAttendee, vec![meeting])
        }
        ("GET", ["meetings", meeting, "attendees"], _) => (Operation::ListAttendees, vec![meeting]),
        ("GET", ["meetings", meeting, "attendees", attendee], _) => {
            (Operation::GetAttendee, vec![meeting, attendee])
        }
        ("DELETE", ["meetings", meeting, "attendees", attendee], _) => {
            (Operation::DeleteAttendee, vec![meeting, attendee])
        }
        ("PUT", ["meetings", meeting, "attendees", "capabilities"], b"batch-update-except") => {
            (Operation::BatchUpdateAttendeeCapabilitiesExcept, vec![meeting])
        }
        ("PUT", ["meetings", meeting, "attendees", attendee, "capabilities"], _) => {
            (Operation::UpdateAttendeeCapabilities, vec![meeting, attendee])
        }
        ("POST", ["meetings", meeting, "transcription"], b"start") => {
            (Operation::StartMeetingTranscription, vec![meeting])
        }
        ("POST", ["meetings", meeting, "transcription"], b"stop") => {
            (Operation::StopMeetingTranscription, vec![meeting])
        }
        ("GET", ["tags"], _) => (Operation::ListTagsForResource, vec![]),
        ("POST", ["tags"], b"tag-resource") => (Operation::TagResource, vec![]),
        ("POST", ["tags"], b"untag-resource") => (Operation::UntagResource, vec![]),
        ("GET", ["campanile", "v1", "client-events"], _) => (Operation::ListClientEvents, vec![]),
        ("GET", ["campanile", "v1", "events"], _) => (Operation::ListEvents, vec![]),
        (_, ["campanile", "v1", "meetings", meeting, rest @ ..], _) => {
            let (operation, attendee) = extension(method, rest).ok_or_else(|| {
                ApiError::unknown_operation(StatusCode::NOT_FOUND, "No operation has this path")
            })?;
            (operation, std::iter::once(meeting).chain(attendee).collect())
        }
        ("GET", ["campanile", "v1", "drain"], _) => (Operation::GetDrain, vec![]),
        ("POST", ["campanile", "v1", "drain"], _) => (Operation::StartDrain, vec![]),
        ("DELETE", ["campanile", "v1", "drain"], _) => (Operation::CancelDrain, vec![]),
        (_, ["meetings" | "tags"] | ["meetings", _] | ["meetings", _, "attendees" | "transcription"], _)
        | (_, ["meetings", _, "attendees", _] | ["meetings", _, "attendees", _, "capabilities"], _) => {
            return Err(ApiError::unknown_operation(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("No operation is {method} on this path, with this operation parameter"),
            ));
        }
        _ => return Err(ApiError::unknown_operation(StatusCode::NOT_FOUND, "No operation has this path")),
    };
    let decoded = labels.into_iter().map(|segment: &&str| String::from_utf8(sigv4::percent_decode(segment)));
    let labels = decoded.collect::<Result<_, _>>();
    Ok((operation, labels.map_err(|_| ApiError::bad_request("The path is not UTF-8 once decoded"))?))
}

/// The extension at this path below a meeting, and the attendee named in it.
fn extension<'p>(method: &str, path: &'p [&'p str]) -> Option<(Operation, Option<&'p &'p str>)> {
    Some(match (method, path) {
        ("GET", ["failed-joins"]) => (Operation::ListFailedJoins, None),
        ("GET", ["quality"]) => (Operation::GetMeetingQuality, None),
        ("GET", ["data-messages"]) => (Operation::ListDataMessages, None),
        ("POST", ["data-messages"]) => (Operation::SendDataMessage, None),
        ("POST", ["lock"]) => (Operation::LockMeeting, None),
        ("DELETE", ["lock"]) => (Operation::UnlockMeeting, None),
        ("POST", ["attendees", attendee, "mute"]) => (Operation::MuteAttendee, Some(attendee)),
        ("PUT", ["attendees", attendee, "unmute-permission"]) => {
            (Operation::UpdateUnmutePermission, Some(attendee))
        }
        ("GET", ["attendees", attendee, "trace"]) => (Operation::GetJoinTrace, Some(attendee)),
        ("POST", ["attendees", attendee, "remove"]) => (Operation::RemoveAttendee, Some(attendee)),
        _ => return None,
    })
}

async fn answer(
    state: &AppState,
    request_id: &str,
    head: &request::Parts,
    body: Body,
) -> Result<Answer, ApiError> {
    let query = sigv4::query_pairs(head.uri.query().unwrap_or_default());
    let (operation, labels) = route(&head.method, head.uri.path(), &query)?;
    let body = read_body(head, body).await?;
    let now_unix_s = unix_now().as_secs();
    let find = |id: &str, token: Option<&str>| state.directory.find(now_unix_s, id, token);
    let caller = sigv4::verify(head, &body, sigv4::SERVICE, now_unix_s, find)?;
    let name = operation.name();
    state
        .throttle
        .take(Instant::now(), caller.account(), name)
        .map_err(|wait_s| ApiError::throttled(name, wait_s))?;
    let (headers, query, caller) = (&head.headers, &query[..], &caller);
    let call = Call { state, caller, operation, request_id, head, headers, query, body };
    let meeting = || meeting_id(labels.first().map_or("", String::as_str));
    let attendee = || attendee_id(labels.get(1).map_or("", String::as_str));
    match operation {
        Operation::CreateMeeting => meetings::create(call).await,
        Operation::CreateMeetingWithAttendees => meetings::create_with_attendees(call).await,
        Operation::GetMeeting => meetings::get(call, meeting()?).await,
        Operation::DeleteMeeting => meetings::delete(call, meeting()?).await,
        Operation::StartMeetingTranscription => meetings::start_transcription(call, meeting()?).await,
        Operation::StopMeetingTranscription => meetings::stop_transcription(call, meeting()?).await,
        Operation::CreateAttendee => attendees::create(call, meeting()?).await,
        Operation::BatchCreateAttendee => attendees::batch_create(call, meeting()?).await,
        Operation::ListAttendees => attendees::list(call, meeting()?).await,
        Operation::GetAttendee => attendees::get(call, meeting()?, attendee()?).await,
        Operation::DeleteAttendee => attendees::delete(call, meeting()?, attendee()?).await,
        Operation::UpdateAttendeeCapabilities => {
            attendees::update_capabilities(call, meeting()?, attendee()?).await
        }
        Operation::BatchUpdateAttendeeCapabilitiesExcept => {
            attendees::update_capabilities_except(call, meeting()?).await
        }
        Operation::ListTagsForResource => tags::list(call).await,
        Operation::TagResource => tags::tag(call).await,
        Operation::UntagResource => tags::untag(call).await,
        Operation::ListClientEvents => meetings::list_client_events(call).await,
        Operation::ListEvents => events::list(call).await,
        Operation::GetJoinTrace => attendees::get_join_trace(&call, meeting()?, attendee()?),
        Operation::ListFailedJoins => attendees::list_failed_joins(&call, meeting()?),
        Operation::GetMeetingQuality => quality::get(call, meeting()?).await,
        Operation::ListDataMessages => data_messages::list(call, meeting()?).await,
        Operation::SendDataMessage => data_messages::send(call, meeting()?).await,
        Operation::LockMeeting => moderation::lock(call, meeting()?).await,
        Operation::UnlockMeeting => moderation::unlock(call, meeting()?).await,
        Operation::MuteAttendee => moderation::mute(call, meeting()?, attendee()?).await,
        Operation::RemoveAttendee => moderation::remove(call, meeting()?, attendee()?).await,
        Operation::UpdateUnmutePermission => moderation::permit_unmute(call, meeting()?, attendee()?).await,
        Operation::GetDrain => drain::get(&call),
        Operation::StartDrain => drain::start(&call),
        Operation::CancelDrain => drain::cancel(&call),
    }
}

/// An ARN as policies may write it: the service's own reference leaves the region out.
fn without_region(arn: &str) -> String {
    let mut parts: Vec<&str> = arn.splitn(6, ':').collect();
    if let Some(region) = parts.get_mut(3) {
        *region = "";
    }
    parts.join(":")
}

/// Where a call came from, when it came over the network.
fn source_of(head: &request::Parts) -> Option<String> {
    head.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_string())
}

fn meeting_id(label: &str) -> Result<MeetingId, ApiError> {
    label.parse().map_err(|_| ApiError::bad_request("MeetingId must have the form of a UUID"))
}

fn attendee_id(label: &str) -> Result<AttendeeId, ApiError> {
    label.parse().map_err(|_| ApiError::bad_request("AttendeeId must have the form of a UUID"))
}

/// The whole body, which the signature covers. One that is too large is read on for a while and thrown away: a refusal that
/// overtakes the body is lost when the connection closes under it.
async fn read_body(head: &request::Parts, body: Body) -> Result<Bytes, ApiError> {
    let limits = head.extensions.get::<HttpLimits>().copied().unwrap_or_default();
    let too_large = || ApiError::too_large(format!("The body has more than {BODY_BYTES_MAX} bytes"));
    let stated =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
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
    match tokio::time::timeout(limits.body_timeout, read).await {
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

    fn check(request: &str, expected: Result<(Operation, &[&str]), u16>) {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let found = route(&method.parse().unwrap(), path, &sigv4::query_pairs(query));
        let found = found.map_err(|error| error.status.as_u16());
        let expected = expected.map(|(operation, labels)| {
            (operation, labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
        });
        assert_eq!(found, expected, "{request}");
    }

    #[test]
    fn operations_are_told_apart_by_method_path_and_parameter() {
        use Operation as Op;
        check("POST /meetings", Ok((Op::CreateMeeting, &[])));
        check("POST //meetings", Ok((Op::CreateMeeting, &[])));
        check("POST /meetings?operation=create-attendees", Ok((Op::CreateMeetingWithAttendees, &[])));
        check("POST /meetings?operation=nonsense", Err(405));
        check("GET /campanile/v1/meetings/M/quality", Ok((Op::GetMeetingQuality, &["M"])));
        check("GET /meetings", Err(405));
        check("GET /meetings/M", Ok((Op::GetMeeting, &["M"])));
        check("GET /meetings/a%2Fb", Ok((Op::GetMeeting, &["a/b"])));
        check("GET /meetings/%ff", Err(400));
        check("DELETE /meetings/M", Ok((Op::DeleteMeeting, &["M"])));
        check("PATCH /meetings/M", Err(405));
        check("POST /meetings/M/attendees", Ok((Op::CreateAttendee, &["M"])));
        check("POST /meetings/M/attendees?operation=batch-create", Ok((Op::BatchCreateAttendee, &["M"])));
        check("GET /meetings/M/attendees?max-results=5", Ok((Op::ListAttendees, &["M"])));
        check("GET /meetings/M/attendees/A", Ok((Op::GetAttendee, &["M", "A"])));
        check("GET /meetings/M/attendees/capabilities", Ok((Op::GetAttendee, &["M", "capabilities"])));
        check("DELETE /meetings/M/attendees/A", Ok((Op::DeleteAttendee, &["M", "A"])));
        check(
            "PUT /meetings/M/attendees/capabilities?operation=batch-update-except",
            Ok((Op::BatchUpdateAttendeeCapabilitiesExcept, &["M"])),
        );
        check("PUT /meetings/M/attendees/A/capabilities", Ok((Op::UpdateAttendeeCapabilities, &["M", "A"])));
        check("POST /meetings/M/transcription?operation=start", Ok((Op::StartMeetingTranscription, &["M"])));
        check("POST /meetings/M/transcription?operation=stop", Ok((Op::StopMeetingTranscription, &["M"])));
        check("POST /meetings/M/transcription", Err(405));
        check("POST /tags?operation=tag-resource", Ok((Op::TagResource, &[])));
        check("POST /tags?operation=untag-resource", Ok((Op::UntagResource, &[])));
        check("GET /tags?arn=x", Ok((Op::ListTagsForResource, &[])));
        check("PUT /tags", Err(405));
        check("GET /nothing/here", Err(404));
    }

    #[test]
    fn policies_may_leave_the_region_out() {
        assert_eq!(without_region("arn:aws:chime:us-east-1:1:meeting/a:b"), "arn:aws:chime::1:meeting/a:b");
        assert_eq!(without_region("arn:aws"), "arn:aws");
    }
}
