//! Temporary keys, in the wire shape of AWS's Security Token Service (query protocol: a form in, XML out): AssumeRole, and
//! GetCallerIdentity for whoever wonders who they are.

use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header, request};
use campanile_wire::calendar::iso8601;

use super::errors::ApiError;
use super::{source_of, unix_now};
use crate::audit::Entry;
use crate::directory::Caller;
use crate::iam::{Decision, Policy, Question, decide};
use crate::installation::random;
use crate::sigv4::{self, STS_SERVICE};
use crate::state::AppState;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The documented bound of a session policy.
const POLICY_CHARS_MAX: usize = 2048;
/// Shortest and longest life of temporary keys, and what they get unasked; a role may allow less.
const DURATION_S: std::ops::RangeInclusive<u64> = 900..=43_200;
const DURATION_STANDARD_S: u64 = 3600;

/// An error as STS says it.
struct StsError {
    status: StatusCode,
    code: String,
    message: String,
}

impl StsError {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> StsError {
        StsError { status, code: code.into(), message: message.into() }
    }
    fn invalid(message: impl Into<String>) -> StsError {
        StsError::new(StatusCode::BAD_REQUEST, "ValidationError", message)
    }
}

impl From<ApiError> for StsError {
    fn from(error: ApiError) -> StsError {
        StsError::new(error.status, error.code(), error.message)
    }
}

/// Answers one call.
pub(super) fn handle(
    state: &AppState,
    request_id: &str,
    head: &request::Parts,
    body: Result<&[u8], ApiError>,
) -> Response<Body> {
    let (status, text) = match body
        .map_err(StsError::from)
        .and_then(|body| answer(state, request_id, head, body))
    {
        Ok((action, result)) => {
            let text = format!(
                "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            );
            (StatusCode::OK, text)
        }
        Err(error) => {
            let text = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message>\
                 </Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                escape(&error.code),
                escape(&error.message)
            );
            (error.status, text)
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .insert(super::errors::REQUEST_ID, HeaderValue::try_from(request_id).expect("a UUID is plain text"));
    response
}

/// The action and the inside of its result.
fn answer(
    state: &AppState,
    request_id: &str,
    head: &request::Parts,
    body: &[u8],
) -> Result<(&'static str, String), StsError> {
    let now_unix_s = unix_now().as_secs();
    let caller = sigv4::verify(head, body, STS_SERVICE, now_unix_s, |id, token| {
        state.directory.find(now_unix_s, id, token)
    })
    .map_err(|error| {
        // STS has names of its own for these.
        let code = match error {
            sigv4::AuthError::Unrecognized => "InvalidClientTokenId",
            sigv4::AuthError::Expired => "ExpiredToken",
            sigv4::AuthError::Invalid(_) => "SignatureDoesNotMatch",
            sigv4::AuthError::Incomplete(_) => "IncompleteSignature",
            sigv4::AuthError::Missing | sigv4::AuthError::Presigned => "MissingAuthenticationToken",
        };
        StsError::new(StatusCode::FORBIDDEN, code, error.to_string())
    })?;
    let form = Form::parse(body);
    match form.get("Action") {
        Some("AssumeRole") => {
            state.throttle.take(Instant::now(), caller.account(), "AssumeRole").map_err(|wait_s| {
                let why = format!("Rate exceeded; try again in {wait_s} s");
                StsError::new(StatusCode::BAD_REQUEST, "Throttling", why)
            })?;
            Ok(("AssumeRole", assume_role(state, request_id, head, &caller, &form, now_unix_s)?))
        }
        Some("GetCallerIdentity") => Ok((
            "GetCallerIdentity",
            format!(
                "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
                escape(caller.arn()),
                escape(caller.access_key_id()),
                caller.account()
            ),
        )),
        _ => Err(StsError::new(
            StatusCode::BAD_REQUEST,
            "InvalidAction",
            "The actions here are AssumeRole and GetCallerIdentity",
        )),
    }
}

fn assume_role(
    state: &AppState,
    request_id: &str,
    head: &request::Parts,
    caller: &Caller,
    form: &Form,
    now_unix_s: u64,
) -> Result<String, StsError> {
    let arn = form.get("RoleArn").ok_or_else(|| StsError::invalid("RoleArn is required"))?;
    let session =
        form.get("RoleSessionName").ok_or_else(|| StsError::invalid("RoleSessionName is required"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(legal) {
        return Err(StsError::invalid("RoleSessionName must have 2 to 64 letters, digits or _+=,.@-"));
    }
    let duration_s = match form.get("DurationSeconds") {
        None => DURATION_STANDARD_S,
        Some(text) => text
            .parse()
            .ok()
            .filter(|asked| DURATION_S.contains(asked))
            .ok_or_else(|| StsError::invalid("DurationSeconds must be between 900 and 43200"))?,
    };
    let policy = form.get("Policy").map(str::to_owned);
    if let Some(text) = &policy {
        if text.chars().count() > POLICY_CHARS_MAX {
            return Err(StsError::new(
                StatusCode::BAD_REQUEST,
                "PackedPolicyTooLarge",
                format!("Policy may have at most {POLICY_CHARS_MAX} characters"),
            ));
        }
        Policy::parse(text).map_err(|error| {
            StsError::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", format!("Policy: {error}"))
        })?;
    }
    let unsupported = ["PolicyArns", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode", "ExternalId"];
    if let Some((name, _)) =
        form.0.iter().find(|(name, _)| unsupported.contains(&name.split('.').next().unwrap_or_default()))
    {
        return Err(StsError::invalid(format!("{name} is not supported here")));
    }

    let question = Question {
        action: "sts:AssumeRole",
        resources: vec![arn.to_owned()],
        resource_tags: Vec::new(),
        request_tags: Vec::new(),
        principal_arn: caller.arn(),
        account: caller.account().to_string(),
        region: &state.site.region,
    };
    // The role must trust the caller; unless it does so by name within one account, the caller's own policies must allow
    // it too. They may deny it in any case.
    let role = state.directory.role(arn).filter(|role| decide([&role.trust], &question) == Decision::Allowed);
    let own = caller.decide(&question);
    let role = role.filter(|role| match own {
        Decision::Allowed => true,
        Decision::ExplicitlyDenied => false,
        Decision::NotAllowed => {
            let same_account = role.arn().split(':').nth(4) == Some(question.account.as_str());
            same_account && !caller.is_temporary() && role.trust.trusts_by_name(&question)
        }
    });
    state.audit.note(
        now_unix_s,
        Entry {
            time: String::new(),
            request_id,
            account: question.account.clone(),
            principal: caller.arn(),
            access_key_id: caller.access_key_id(),
            action: question.action,
            resource: arn,
            allowed: role.is_some(),
            source: source_of(head),
        },
    );
    // Whether there is such a role is nobody's business who may not assume it.
    let role = role.ok_or_else(|| {
        let why =
            format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}", caller.arn());
        StsError::new(StatusCode::FORBIDDEN, "AccessDenied", why)
    })?;
    if duration_s > role.session_max_s {
        let why = format!("DurationSeconds exceeds the {} seconds set for this role", role.session_max_s);
        return Err(StsError::invalid(why));
    }
    let unique = random::<8>().map_err(|error| {
        StsError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", error.to_string())
    })?;
    let expires_unix_s = now_unix_s + duration_s;
    let (keys, arn) = state.directory.assume(role, session, policy, expires_unix_s, unique);
    Ok(format!(
        "<AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>AROA{}:{}</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        escape(&arn),
        &sigv4::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, role.arn().as_bytes()).as_ref())
            .to_uppercase()[..16],
        escape(session),
        keys.access_key_id,
        keys.secret_access_key,
        keys.session_token.unwrap_or_default(),
        iso8601(expires_unix_s),
    ))
}

/// An `application/x-www-form-urlencoded` body, in which a plus is a space.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Form {
        let text = String::from_utf8_lossy(body).replace('+', "%20");
        let decode = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Form(
            sigv4::query_pairs(&text)
                .into_iter()
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Text inside XML elements. Characters that XML cannot hold at all are left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_xml_is_escaped() {
        let form = Form::parse(b"Action=AssumeRole&Policy=%7B%22a%22%3A+1%7D&Empty=&RoleSessionName=a%2Bb");
        assert_eq!(form.get("Policy"), Some("{\"a\": 1}"));
        assert_eq!((form.get("Empty"), form.get("RoleSessionName")), (Some(""), Some("a+b")));
        assert_eq!(form.get("Missing"), None);
        assert_eq!(escape("<a & b>\u{1}é\u{ffff}"), "&lt;a &amp; b&gt;é");
    }
}
