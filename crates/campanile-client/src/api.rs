//! The control plane as an application sees it: the few signed calls that make, fill and end meetings.
//!
//! The signature is written here once more, apart from the server's verifier: so each is a test of the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac, rand};
use bytes::Bytes;
use campanile_wire::signaling::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::join::JoinInfo;
use crate::tls::{self, Trust};

/// The signing name of the meetings API.
const SERVICE: &str = "chime";
/// Attendees that one BatchCreateAttendee takes.
const BATCH_MAX: usize = 100;
/// An answer: 100 attendees of some 500 bytes, with room.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Who calls the API.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Says which secret; not a secret itself.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret_access_key: Secret,
    /// Comes with temporary keys.
    pub session_token: Option<Secret>,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody answered, or not in HTTP and JSON.
    #[error("the API cannot be reached: {0}")]
    Unreachable(String),
    /// The API refused.
    #[error("the API answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The API's own words.
        message: String,
    },
}

/// One meetings API endpoint and who calls it.
#[derive(Clone, Debug)]
pub struct Api {
    endpoint: Uri,
    region: String,
    credentials: Credentials,
    trust: Trust,
}

impl Api {
    /// `endpoint` is scheme, host and port; `region` is what calls are signed for.
    ///
    /// # Errors
    /// `endpoint` is no URL with a host.
    pub fn new(
        endpoint: &str,
        region: &str,
        credentials: Credentials,
        trust: Trust,
    ) -> Result<Api, ApiError> {
        let unreachable = |why: String| ApiError::Unreachable(why);
        let endpoint: Uri = endpoint.parse().map_err(|error| unreachable(format!("{endpoint}: {error}")))?;
        if endpoint.authority().is_none() {
            return Err(unreachable(format!("{endpoint} names no host")));
        }
        Ok(Api { endpoint, region: region.to_owned(), credentials, trust })
    }

    /// CreateMeeting. Returns the answer as it is.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_meeting(&self, external_meeting_id: &str) -> Result<Value, ApiError> {
        let mut token = [0; 16];
        rand::fill(&mut token).map_err(|_| ApiError::Unreachable("no random numbers".into()))?;
        let request = json!({
            "ClientRequestToken": hex(&token),
            "MediaRegion": self.region,
            "ExternalMeetingId": external_meeting_id,
        });
        self.call(Method::POST, "/meetings", Some(&request)).await
    }

    /// CreateAttendee for one, BatchCreateAttendee for many.
    ///
    /// # Errors
    /// [`ApiError`], also when only some of them were refused.
    pub async fn create_attendees(
        &self,
        meeting: &Value,
        names: &[String],
    ) -> Result<Vec<JoinInfo>, ApiError> {
        let id = meeting["Meeting"]["MeetingId"]
            .as_str()
            .ok_or_else(|| ApiError::Unreachable("CreateMeeting answered no MeetingId".into()))?;
        let mut joined = Vec::with_capacity(names.len());
        for names in names.chunks(BATCH_MAX) {
            let items: Vec<Value> = names.iter().map(|name| json!({ "ExternalUserId": name })).collect();
            let target = format!("/meetings/{id}/attendees?operation=batch-create");
            let answer = self.call(Method::POST, &target, Some(&json!({ "Attendees": items }))).await?;
            if let Some(error) = answer["Errors"].get(0) {
                let message = error["ErrorMessage"].as_str().unwrap_or("no reason given").to_owned();
                return Err(ApiError::Refused { status: 200, message });
            }
            for attendee in answer["Attendees"].as_array().into_iter().flatten() {
                let info = JoinInfo::from_json(meeting, attendee);
                joined.push(info.map_err(|error| ApiError::Unreachable(error.to_string()))?);
            }
        }
        Ok(joined)
    }

    /// DeleteMeeting: everybody's session ends.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_meeting(&self, meeting_id: &str) -> Result<(), ApiError> {
        self.call(Method::DELETE, &format!("/meetings/{meeting_id}"), None).await.map(|_| ())
    }

    /// DeleteAttendee: the session of one ends.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_attendee(&self, meeting_id: &str, attendee_id: &str) -> Result<(), ApiError> {
        let target = format!("/meetings/{meeting_id}/attendees/{attendee_id}");
        self.call(Method::DELETE, &target, None).await.map(|_| ())
    }

    /// One signed call; `target` is the path with its query, in characters that need no escape.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let answer = tokio::time::timeout(CALL_TIMEOUT, self.exchange(method, target, body)).await;
        let (status, bytes) = answer
            .map_err(|_| ApiError::Unreachable("no answer in time".into()))?
            .map_err(ApiError::Unreachable)?;
        let value = match &bytes[..] {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).unwrap_or(Value::Null),
        };
        if status.is_success() {
            return Ok(value);
        }
        let message = value["Message"].as_str().or(value["message"].as_str()).unwrap_or("no reason given");
        Err(ApiError::Refused { status: status.as_u16(), message: message.to_owned() })
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let (stream, _) = tls::connect(&self.endpoint, &self.trust).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        tokio::spawn(connection);
        let body = body.map(Value::to_string).unwrap_or_default();
        let host = self.endpoint.authority().map_or("", |authority| authority.as_str());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut request = Request::builder().method(&method).uri(target);
        for (name, value) in self.sign(&method, target, host, body.as_bytes(), now) {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| text(&error))?;
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, bytes.map_err(|error| error.to_string())?.to_bytes()))
    }

    /// The headers of Signature Version 4 (AWS General Reference, "Create a signed AWS API request"), `Host` included.
    fn sign(
        &self,
        method: &Method,
        target: &str,
        host: &str,
        body: &[u8],
        now_unix_s: u64,
    ) -> Vec<(&'static str, String)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let sent = amz_date(now_unix_s);
        let date = &sent[..8];
        let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
        let mut headers = vec![
            ("host", host.to_owned()),
            ("x-amz-content-sha256", hash.clone()),
            ("x-amz-date", sent.clone()),
        ];
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token", token.0.clone()));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        // One parameter at most, and nothing in need of escaping: the query is canonical as it stands.
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}");
        let scope = format!("{date}/{}/{SERVICE}/aws4_request", self.region);
        let canonical_hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{sent}\n{scope}\n{canonical_hash}");
        let keyed = |key: &[u8], message: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
        };
        let mut key = keyed(format!("AWS4{}", self.credentials.secret_access_key.0).as_bytes(), date);
        for part in [&self.region, SERVICE, "aws4_request", &to_sign] {
            key = keyed(key.as_ref(), part);
        }
        let who = &self.credentials.access_key_id;
        let signature = hex(key.as_ref());
        headers.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={who}/{scope}, SignedHeaders={names}, Signature={signature}"
            ),
        ));
        headers
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `yyyymmddThhmmssZ`, by walking the years: this is once per call.
fn amz_date(unix_s: u64) -> String {
    let (mut days, second) = (unix_s / 86_400, unix_s % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{:02}{:02}T{hour:02}{minute:02}{second:02}Z", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        fn check(unix_s: u64, expected: &str) {
            assert_eq!(amz_date(unix_s), expected);
        }
        check(0, "19700101T000000Z");
        check(951_782_399, "20000228T235959Z");
        check(951_782_400, "20000229T000000Z");
        check(1_735_689_599, "20241231T235959Z");
        check(4_107_542_400, "21000301T000000Z");
    }
}
