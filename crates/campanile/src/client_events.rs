//! What client libraries tell of themselves (`EventIngestionUrl`), kept and counted for the operator; and the two other
//! small things that clients ask for outside the API: TURN credentials, of which old clients believe they need some, and
//! the nearest media region.
//!
//! Events are believed when they come with a join token that was made here. The newest are kept in memory and can be read
//! by `GET /campanile/v1/client-events`, an extension of the API (docs/extensions.md).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::{get, post};
use campanile_meeting::ids::{AccountId, AttendeeId, MeetingId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::state::AppState;

/// A client flushes two items of a few kilobytes at a time; a beacon holds what was left, at most 64 KiB.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// Events kept. Each takes some 2 KiB at most, so 20 MiB.
const EVENTS_MAX: usize = 10_000;
/// Bytes of one event's own attributes; those of a larger one are left out.
const ATTRIBUTES_BYTES_MAX: usize = 2 * 1024;
/// Names counted by themselves, for each account: the client library has some thirty. Others are counted together.
const NAMES_MAX: usize = 100;
/// What others are counted as.
const OTHER: &str = "other";

/// One event as it was told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientEvent {
    #[serde(skip)]
    account: AccountId,
    #[serde(skip)]
    meeting: MeetingId,
    /// The meeting.
    pub meeting_id: String,
    /// Who tells.
    pub attendee_id: String,
    /// `meetingStartSucceeded`, ...
    pub name: String,
    /// When, by the client's clock, in milliseconds since the Unix epoch.
    pub timestamp_unix_ms: Option<u64>,
    /// The rest of what it says.
    pub attributes: Map<String, Value>,
}

/// All that is kept.
#[derive(Debug, Default)]
pub struct ClientEvents(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    newest: VecDeque<ClientEvent>,
    counts: BTreeMap<AccountId, BTreeMap<String, u64>>,
    /// Whose the meetings of kept events are, and how many events are kept of each: a client tells of the end after the
    /// end.
    owners: BTreeMap<MeetingId, (AccountId, usize)>,
}

impl Kept {
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.newest.pop_front() else { return };
        if let Some((_, events)) = self.owners.get_mut(&oldest.meeting) {
            *events -= 1;
            if *events == 0 {
                self.owners.remove(&oldest.meeting);
            }
        }
    }
}

impl ClientEvents {
    fn keep(&self, account: AccountId, meeting: MeetingId, attendee: AttendeeId, body: IngestBody) -> usize {
        let mut kept = self.0.lock().expect("no panic while it is held");
        let mut taken = 0;
        for payload in body.events.into_iter().flat_map(|event| event.payloads) {
            let mut attributes = payload;
            let Some(Value::String(name)) = attributes.remove("name") else { continue };
            let timestamp_unix_ms = attributes.remove("ts").and_then(|ts| ts.as_u64());
            if serde_json::to_string(&attributes).map_or(usize::MAX, |text| text.len()) > ATTRIBUTES_BYTES_MAX
            {
                attributes.clear();
            }
            let counts = kept.counts.entry(account).or_default();
            let known = counts.len() < NAMES_MAX || counts.contains_key(&name);
            let name: String = name.chars().take(64).collect();
            *counts.entry(if known { name.clone() } else { OTHER.into() }).or_default() += 1;
            if kept.newest.len() == EVENTS_MAX {
                kept.drop_oldest();
            }
            kept.owners.entry(meeting).or_insert((account, 0)).1 += 1;
            kept.newest.push_back(ClientEvent {
                account,
                meeting,
                meeting_id: meeting.to_string(),
                attendee_id: attendee.to_string(),
                name,
                timestamp_unix_ms,
                attributes,
            });
            taken += 1;
        }
        taken
    }

    fn owner(&self, meeting: MeetingId) -> Option<AccountId> {
        self.0.lock().expect("no panic while it is held").owners.get(&meeting).map(|(account, _)| *account)
    }

    /// An account's events, oldest first: `{"Events":[...],"Counts":{name: n}}`. Counts hold since the server's start.
    pub fn of(&self, account: AccountId, meeting: Option<MeetingId>) -> Value {
        let kept = self.0.lock().expect("no panic while it is held");
        let theirs = kept.newest.iter().filter(|event| {
            event.account == account && meeting.is_none_or(|meeting| meeting == event.meeting)
        });
        let counts = kept.counts.get(&account).cloned().unwrap_or_default();
        json!({ "Events": theirs.collect::<Vec<_>>(), "Counts": counts })
    }
}

#[derive(Deserialize)]
struct IngestBody {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    events: Vec<Group>,
    /// A beacon has no headers of its own.
    authorization: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    meeting_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Group {
    payloads: Vec<Map<String, Value>>,
}

/// `POST /v1/client-events`, `POST /v2/turn_sessions`, `GET /campanile/v1/nearest-media-region`.
pub fn routes(state: AppState) -> Router {
    Router::new()
        .route("/v1/client-events", post(ingest).options(preflight))
        .route("/v2/turn_sessions", post(turn_sessions).options(preflight))
        .route("/campanile/v1/nearest-media-region", get(nearest))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn ingest(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let Ok(body) = serde_json::from_slice::<IngestBody>(&body) else {
        return answer(StatusCode::BAD_REQUEST, &json!({ "message": "The body is not as expected" }));
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        bearer.map(|value| value.strip_prefix("Bearer ").unwrap_or(value)).or(body.authorization.as_deref());
    let told = token.and_then(|token| state.registry().recognize(token));
    let (Some(attendee), Ok(meeting)) = (told, body.metadata.meeting_id.parse::<MeetingId>()) else {
        return answer(StatusCode::FORBIDDEN, &json!({ "message": "The join token is not one of ours" }));
    };
    // A meeting that is not the attendee's is no meeting that they may tell of.
    let owner = state.registry().owner_of(meeting, attendee).or_else(|| state.client_events.owner(meeting));
    let kept = owner.map_or(0, |account| state.client_events.keep(account, meeting, attendee, body));
    tracing::debug!(meeting_id = %meeting, attendee_id = %attendee, kept, "client events");
    answer(StatusCode::OK, &json!({}))
}

/// There are no relays: clients reach the media port directly.
async fn turn_sessions() -> Response<Body> {
    answer(StatusCode::OK, &json!({ "username": "", "password": "", "ttl": 300, "uris": [] }))
}

/// As `https://nearest-media-region.l.chime.aws` answers.
pub(crate) async fn nearest(State(state): State<AppState>) -> Response<Body> {
    answer(StatusCode::OK, &json!({ "region": state.site.media_region }))
}

async fn preflight() -> Response<Body> {
    answer(StatusCode::OK, &json!({}))
}

/// Pages of any origin may ask: nothing here goes by cookies.
fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, x-chime-auth-token"),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// True for a request to the host that stands in for the nearest-region service, whose `/` is its only page.
pub(crate) fn is_nearest_host(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    *method == Method::GET && path == "/" && host.starts_with("nearest-media-region.")
}

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// A client's report.
    pub fn report(data: &[u8]) {
        let Ok(body) = serde_json::from_slice::<IngestBody>(data) else { return };
        let nobody = uuid::Uuid::nil();
        let account = "111122223333".parse().expect("twelve digits");
        let events = ClientEvents::default();
        let taken = events.keep(account, MeetingId(nobody), AttendeeId(nobody), body);
        let kept = events.of(account, None)["Events"].as_array().map_or(0, Vec::len);
        assert_eq!(kept, taken.min(EVENTS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_all_are_counted() {
        let events = ClientEvents::default();
        let account: AccountId = "111122223333".parse().unwrap();
        let (first, second) = (MeetingId(uuid::Uuid::from_u128(1)), MeetingId(uuid::Uuid::from_u128(2)));
        let tell = |meeting, names: &[String]| {
            let payloads: Vec<Value> =
                names.iter().map(|name| json!({ "name": name, "n": "x".repeat(9) })).collect();
            let body = json!({ "events": [{ "payloads": payloads }] });
            events.keep(
                account,
                meeting,
                AttendeeId(uuid::Uuid::nil()),
                serde_json::from_value(body).unwrap(),
            )
        };
        assert_eq!(tell(first, &["early".into()]), 1);
        assert_eq!(events.owner(first), Some(account));
        assert_eq!(tell(second, &vec!["late".into(); EVENTS_MAX]), EVENTS_MAX);
        assert_eq!((events.owner(first), events.owner(second)), (None, Some(account)));
        let shown = events.of(account, None);
        assert_eq!(shown["Events"].as_array().unwrap().len(), EVENTS_MAX);
        assert_eq!(shown["Counts"], json!({ "early": 1, "late": EVENTS_MAX }));
        let names: Vec<String> = (0..NAMES_MAX + 10).map(|n| format!("name {n}")).collect();
        tell(second, &names);
        assert_eq!(events.of(account, None)["Counts"][OTHER], 12, "names without end are counted together");
        assert_eq!(events.of("444455556666".parse().unwrap(), None)["Events"], json!([]));
    }
}
