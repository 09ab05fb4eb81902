//! The demo's server application: the small part that a builder writes, between their users and the API.
//!
//! It knows only what any application knows: the endpoint (called in process, through the same router and the same
//! signatures as everybody's), a region and credentials. It keeps nothing: a meeting's name makes its ClientRequestToken,
//! so the API itself finds the meeting of that name while it lives, and makes another after that.
//!
//! Whoever reaches the page may join, kick and end; another site's page in their browser may not. A real application asks
//! who they are first.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Router, body};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::api::{self, unix_now};
use crate::installation::random;
use crate::sigv4::{self, Credentials};
use crate::state::AppState;

/// A request names a meeting and a person: a few hundred bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// An answer of the API to one of our calls: a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a person's name: an ExternalUserId has 64, of which nine keep namesakes apart.
const NAME_CHARS_MAX: usize = 55;

/// `POST /demo/join`, `/demo/kick` and `/demo/end`.
pub fn routes(state: AppState) -> Router {
    let api = Api {
        region: state.site.region.clone(),
        credentials: state.directory.first_credentials().clone(),
        endpoint: api::router(state),
    };
    Router::new()
        .route("/demo/join", post(join))
        .route("/demo/kick", post(kick))
        .route("/demo/end", post(end))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(own_page_only))
        .with_state(api)
}

/// Browsers send along where a page is from: one from elsewhere must not end meetings behind its visitor's back.
async fn own_page_only(request: Request<Body>, next: Next) -> Response<Body> {
    if is_from_elsewhere(request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return false };
    origin.split_once("://").map(|(_, host)| host) != text(header::HOST)
}

/// The public API as an application sees it.
#[derive(Clone)]
struct Api {
    endpoint: Router,
    credentials: Credentials,
    region: String,
}

/// Something to tell the person at the page.
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Problem {
        Problem { status, message: message.into() }
    }
}

type Answer = Result<Value, Problem>;

impl Api {
    /// One signed call. `host` is what the browser called us by: the API puts it into the meeting's URLs when it listens
    /// everywhere and was told no public address.
    async fn call(&self, host: &HeaderValue, method: Method, target: &str, body: Option<Value>) -> Answer {
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, host);
        if !bytes.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let internal = |error: &dyn std::fmt::Display| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The demo could not call the API: {error}"),
            )
        };
        let (mut head, ()) = request.body(()).map_err(|error| internal(&error))?.into_parts();
        sigv4::sign(&mut head, bytes.as_bytes(), &self.credentials, &self.region, unix_now().as_secs())
            .map_err(|error| internal(&error))?;
        let request = Request::from_parts(head, Body::from(bytes));
        let response = self.endpoint.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status();
        let bytes =
            body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|error| internal(&error))?;
        let answer: Value = match &bytes[..] {
            b"" => Value::Null,
            bytes => serde_json::from_slice(bytes).map_err(|error| internal(&error))?,
        };
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["Message"].as_str().unwrap_or("The API refused the call");
        Err(Problem::new(
            status,
            message.replace("ExternalMeetingId", "The meeting's name").replace("ExternalUserId", "Your name"),
        ))
    }

    /// The meeting of this name, made if there is none, with a new attendee in it if `person` is given.
    async fn meeting(&self, host: &HeaderValue, meeting: &str, person: Option<&str>) -> Answer {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, meeting.as_bytes());
        let mut request = json!({
            "ClientRequestToken": format!("demo-{}", &sigv4::hex(hash.as_ref())[..40]),
            "MediaRegion": "us-east-1",
            "ExternalMeetingId": meeting,
        });
        let Some(person) = person else {
            return self.call(host, Method::POST, "/meetings", Some(request)).await;
        };
        // The prefix keeps people of one name apart; the page shows what follows it.
        let prefix = random::<4>().map_err(|error| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The demo has no random numbers: {error}"),
            )
        })?;
        request["Attendees"] = json!([{ "ExternalUserId": format!("{}#{person}", sigv4::hex(&prefix)) }]);
        let mut answer =
            self.call(host, Method::POST, "/meetings?operation=create-attendees", Some(request)).await?;
        if let Some(message) = answer["Errors"][0]["ErrorMessage"].as_str() {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                message.replace("ExternalUserId", "Your name"),
            ));
        }
        Ok(json!({ "Meeting": answer["Meeting"].take(), "Attendee": answer["Attendees"][0].take() }))
    }
}

#[derive(Deserialize)]
struct Join {
    meeting: String,
    name: String,
}

/// `{"meeting","name"}` → `{"Meeting","Attendee"}`, which the page hands to the SDK.
async fn join(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let joined = async {
        let asked: Join = read(&body)?;
        let name = asked.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let why = format!("Your name must have 1 to {NAME_CHARS_MAX} characters");
            return Err(Problem::new(StatusCode::BAD_REQUEST, why));
        }
        api.meeting(&host(&headers), asked.meeting.trim(), Some(name)).await
    };
    respond(joined.await)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kick {
    meeting: String,
    attendee_id: String,
}

/// `{"meeting","attendeeId"}` → `{}`: deletes the attendee, which ends their session.
async fn kick(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let kicked = async {
        let asked: Kick = read(&body)?;
        let host = host(&headers);
        let meeting = meeting_id(&api.meeting(&host, asked.meeting.trim(), None).await?)?;
        if !asked.attendee_id.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-') {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "attendeeId must be an attendee's id"));
        }
        let target = format!("/meetings/{meeting}/attendees/{}", asked.attendee_id);
        api.call(&host, Method::DELETE, &target, None).await
    };
    respond(kicked.await)
}

#[derive(Deserialize)]
struct End {
    meeting: String,
}

/// `{"meeting"}` → `{}`: deletes the meeting, which ends everybody's session.
async fn end(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let ended = async {
        let asked: End = read(&body)?;
        let host = host(&headers);
        let meeting = meeting_id(&api.meeting(&host, asked.meeting.trim(), None).await?)?;
        api.call(&host, Method::DELETE, &format!("/meetings/{meeting}"), None).await
    };
    respond(ended.await)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("The request is not what the demo expects: {error}"))
    })
}

fn host(headers: &HeaderMap) -> HeaderValue {
    headers.get(header::HOST).cloned().unwrap_or(HeaderValue::from_static("localhost"))
}

fn meeting_id(answer: &Value) -> Result<String, Problem> {
    answer["Meeting"]["MeetingId"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The API answered without a meeting"))
}

fn respond(outcome: Answer) -> Response<Body> {
    let (status, body) = match outcome {
        Ok(Value::Null) => (StatusCode::OK, json!({})),
        Ok(body) => (StatusCode::OK, body),
        Err(problem) => (problem.status, json!({ "message": problem.message })),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Join tokens are for the one who asked.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
