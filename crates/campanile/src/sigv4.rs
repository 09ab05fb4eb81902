//! AWS Signature Version 4 over HTTP headers: verifying what SDKs sign, and signing as they do.
//!
//! Both halves share one canonical request. Which headers are signed differs between SDKs, so verification goes by the
//! request's own `SignedHeaders` list and only insists on the ones that matter. Presigned requests (the signature in the
//! query) are refused: no client of this API makes them. What a caller may do once known is not decided here.

use std::borrow::Borrow;
use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use axum::http::{HeaderMap, HeaderValue, Method, header, request};
use campanile_wire::calendar::{DAYS_TO_EPOCH, civil_date};

/// The signing name of every `chime-sdk-*` service. The endpoint prefix, `meetings-chime`, is another thing.
pub const SERVICE: &str = "chime";
/// The signing name of the service that gives out temporary keys.
pub const STS_SERVICE: &str = "sts";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const AMZ_DATE: &str = "x-amz-date";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const SECURITY_TOKEN: &str = "x-amz-security-token";

/// How far a caller's clock may be from ours, either way.
pub const SKEW_MAX_S: u64 = 5 * 60;

/// A name and secret by which a caller signs.
#[derive(Clone)]
pub struct Credentials {
    /// Says which secret; not a secret itself.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret_access_key: String,
    /// Comes with temporary keys, and must then come with each request.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"<redacted>")
            .field("session_token", &self.session_token.as_ref().map(|_| "<redacted>"))
            .finish()
    }
}

/// Why a request is not known to come from anybody. Every one is answered with 403; the text is for the developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error("Missing Authentication Token")]
    Missing,
    /// The signature is in the query.
    #[error("Presigned requests are not accepted: sign with the Authorization header")]
    Presigned,
    /// The signature is not all there, or cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// The signature is there and wrong, or of another time or service.
    #[error("{0}")]
    Invalid(String),
    /// Nobody has this access key, or it came with another session token.
    #[error("The security token included in the request is invalid.")]
    Unrecognized,
    /// Temporary keys, of a time that is over.
    #[error("The security token included in the request is expired")]
    Expired,
}

impl AuthError {
    /// The error's name for the `x-amzn-ErrorType` header, as AWS's front ends use it.
    pub fn kind(&self) -> &'static str {
        match self {
            AuthError::Missing | AuthError::Presigned => "MissingAuthenticationTokenException",
            AuthError::Incomplete(_) => "IncompleteSignatureException",
            AuthError::Invalid(_) => "InvalidSignatureException",
            AuthError::Unrecognized => "UnrecognizedClientException",
            AuthError::Expired => "ExpiredTokenException",
        }
    }
}

fn incomplete<T>(why: impl Into<String>) -> Result<T, AuthError> {
    Err(AuthError::Incomplete(why.into()))
}

fn refused<T>(why: impl Into<String>) -> Result<T, AuthError> {
    Err(AuthError::Invalid(why.into()))
}

/// A checked `Authorization` header.
#[derive(Debug)]
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(value: &'a str, right_service: &str) -> Result<Self, AuthError> {
        let Some((algorithm, rest)) = value.trim().split_once(' ') else {
            return incomplete("The Authorization header must have Credential, SignedHeaders and Signature");
        };
        if algorithm != ALGORITHM {
            return incomplete(format!("The Authorization header must use {ALGORITHM}"));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let Some(credential) = credential else {
            return incomplete("The Authorization header has no Credential");
        };
        let Some(signed_headers) = signed_headers.filter(|list| !list.is_empty()) else {
            return incomplete("The Authorization header has no SignedHeaders");
        };
        let Some(signature) = signature else {
            return incomplete("The Authorization header has no Signature");
        };
        let scope: Vec<&str> = credential.splitn(6, '/').collect();
        let [access_key_id, date, region, service, terminator] = scope[..] else {
            return incomplete("Credential must be <access key>/<date>/<region>/<service>/aws4_request");
        };
        if service != right_service {
            return refused(format!(
                "Credential should be scoped to the service {right_service}, not to {service}"
            ));
        }
        if terminator != "aws4_request" {
            return refused("Credential should be scoped with the terminator aws4_request");
        }
        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        // Sorted, as AWS asks for; and a long value named a thousand times would be hashed as often.
        if !signed_headers.is_sorted_by(|a, b| a < b) {
            return incomplete("SignedHeaders must be in order, and name each header once");
        }
        Ok(Authorization { access_key_id, date, region, signed_headers, signature })
    }
}

/// Who signed the request for `service`, by `head` as it came over the wire and the whole `body`. `find` gives whoever has
/// an access key and came with a session token (which is not yet known to be theirs); `now_unix_s` is the server's clock.
///
/// # Errors
/// See [`AuthError`]; nothing about the request may be believed then.
pub fn verify<K: Borrow<Credentials>>(
    head: &request::Parts,
    body: &[u8],
    service: &str,
    now_unix_s: u64,
    find: impl FnOnce(&str, Option<&str>) -> Result<K, AuthError>,
) -> Result<K, AuthError> {
    let query = head.uri.query().unwrap_or_default();
    let Some(authorization) = head.headers.get(header::AUTHORIZATION) else {
        let presigned = query_pairs(query).iter().any(|(name, _)| name == b"X-Amz-Signature");
        return Err(if presigned { AuthError::Presigned } else { AuthError::Missing });
    };
    let Ok(authorization) = authorization.to_str() else {
        return incomplete("The Authorization header holds characters beyond ASCII");
    };
    let claim = Authorization::parse(authorization, service)?;

    let signed = |name: &str| claim.signed_headers.contains(&name);
    if !signed("host") || !signed(AMZ_DATE) {
        return incomplete("SignedHeaders must include host and x-amz-date");
    }
    let Some(sent_text) = head.headers.get(AMZ_DATE).and_then(|date| date.to_str().ok()) else {
        return incomplete("The request has no x-amz-date");
    };
    let Some(sent_unix_s) = parse_amz_date(sent_text) else {
        return incomplete("x-amz-date must have the form yyyymmddThhmmssZ");
    };
    if !sent_text.starts_with(claim.date) || claim.date.len() != 8 {
        return refused(format!(
            "Date in Credential scope does not match x-amz-date: {}, {sent_text}",
            claim.date
        ));
    }

    let session_token = head.headers.get(SECURITY_TOKEN);
    if session_token.is_some() && !signed(SECURITY_TOKEN) {
        return incomplete("SignedHeaders must include x-amz-security-token");
    }
    let found = find(claim.access_key_id, session_token.and_then(|token| token.to_str().ok()))?;
    let credentials: &Credentials = found.borrow();
    match (session_token, &credentials.session_token) {
        (None, None) => {}
        (Some(sent), Some(right))
            if constant_time::verify_slices_are_equal(sent.as_bytes(), right.as_bytes()).is_ok() => {}
        _ => return Err(AuthError::Unrecognized),
    }
    check_skew(sent_text, sent_unix_s, now_unix_s)?;

    let payload_hash = sha256_hex(body);
    if let Some(stated) = head.headers.get(CONTENT_SHA256)
        && stated.as_bytes() != payload_hash.as_bytes()
    {
        return refused("x-amz-content-sha256 is not the hash of the body");
    }
    let canonical = canonical_request(
        &head.method,
        head.uri.path(),
        query,
        &head.headers,
        &claim.signed_headers,
        &payload_hash,
    )?;
    let scope = Scope { date: claim.date, region: claim.region, service };
    let right = signature(&credentials.secret_access_key, &scope, sent_text, &canonical);
    constant_time::verify_slices_are_equal(right.as_bytes(), claim.signature.as_bytes()).map_err(|_| {
        AuthError::Invalid(
            "The request signature we calculated does not match the signature you provided. Check the secret access \
             key, and that nothing between us rewrites the path, the query or the Host header."
                .into(),
        )
    })?;
    Ok(found)
}

/// Signs a request for this API as an SDK would; see [`sign_for`].
pub fn sign(
    head: &mut request::Parts,
    body: &[u8],
    credentials: &Credentials,
    region: &str,
    now_unix_s: u64,
) -> Result<(), AuthError> {
    sign_for(SERVICE, head, body, credentials, region, now_unix_s)
}

/// Signs a request for a service as an SDK would: sets `x-amz-date`, `x-amz-content-sha256`, the session token and `Authorization`. The
/// headers to be sent, `Host` included, must be there already; `host`, `content-type` and all `x-amz-*` are signed.
///
/// # Errors
/// `Incomplete` when there is no `Host`.
pub fn sign_for(
    service: &str,
    head: &mut request::Parts,
    body: &[u8],
    credentials: &Credentials,
    region: &str,
    now_unix_s: u64,
) -> Result<(), AuthError> {
    let sent_text = format_amz_date(now_unix_s);
    let date = &sent_text[..8];
    let payload_hash = sha256_hex(body);
    let text = |value: &str| {
        HeaderValue::from_str(value)
            .map_err(|_| AuthError::Incomplete("credentials must be plain text".into()))
    };
    head.headers.insert(AMZ_DATE, text(&sent_text)?);
    head.headers.insert(CONTENT_SHA256, text(&payload_hash)?);
    if let Some(token) = &credentials.session_token {
        head.headers.insert(SECURITY_TOKEN, text(token)?);
    }
    let mut signed: Vec<&str> = head
        .headers
        .keys()
        .map(|name| name.as_str())
        .filter(|name| matches!(*name, "host" | "content-type") || name.starts_with("x-amz-"))
        .collect();
    signed.sort_unstable();
    if !signed.contains(&"host") {
        return incomplete("A request to be signed needs a Host header");
    }
    let query = head.uri.query().unwrap_or_default();
    let canonical =
        canonical_request(&head.method, head.uri.path(), query, &head.headers, &signed, &payload_hash)?;
    let scope = Scope { date, region, service };
    let signature = signature(&credentials.secret_access_key, &scope, &sent_text, &canonical);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{date}/{region}/{service}/aws4_request, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        signed.join(";"),
    );
    head.headers.insert(header::AUTHORIZATION, text(&authorization)?);
    Ok(())
}

fn check_skew(sent_text: &str, sent_unix_s: u64, now_unix_s: u64) -> Result<(), AuthError> {
    let now_text = format_amz_date(now_unix_s);
    if sent_unix_s + SKEW_MAX_S < now_unix_s {
        let limit = format_amz_date(now_unix_s.saturating_sub(SKEW_MAX_S));
        return refused(format!(
            "Signature expired: {sent_text} is now earlier than {limit} ({now_text} - 5 min.)"
        ));
    }
    if sent_unix_s > now_unix_s + SKEW_MAX_S {
        let limit = format_amz_date(now_unix_s + SKEW_MAX_S);
        return refused(format!(
            "Signature not yet current: {sent_text} is still later than {limit} ({now_text} + 5 min.)"
        ));
    }
    Ok(())
}

/// The text that both sides hash. Bytes, since header values may hold any.
fn canonical_request(
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    signed: &[&str],
    payload_hash: &str,
) -> Result<Vec<u8>, AuthError> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(method.as_str().as_bytes());
    text.push(b'\n');
    text.extend_from_slice(canonical_path(path).as_bytes());
    text.push(b'\n');
    text.extend_from_slice(canonical_query(query).as_bytes());
    text.push(b'\n');
    for name in signed {
        let mut values = headers.get_all(*name).iter().peekable();
        if values.peek().is_none() {
            return incomplete(format!("SignedHeaders names {name}, which the request does not have"));
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for (place, value) in values.enumerate() {
            if place > 0 {
                text.push(b',');
            }
            let words = value.as_bytes().split(|c| *c == b' ').filter(|word| !word.is_empty());
            for (place, word) in words.enumerate() {
                if place > 0 {
                    text.push(b' ');
                }
                text.extend_from_slice(word);
            }
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    Ok(text)
}

/// The path as on the wire, without dot and empty segments, each segment percent-encoded once more: SDKs encode a label
/// for the wire and again for the signature.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut text = String::with_capacity(path.len() + 16);
    for segment in &segments {
        text.push('/');
        percent_encode(segment.as_bytes(), &mut text);
    }
    if text.is_empty() || path.ends_with('/') {
        text.push('/');
    }
    text
}

fn canonical_query(query: &str) -> String {
    let encode = |bytes: &[u8]| {
        let mut text = String::new();
        percent_encode(bytes, &mut text);
        text
    };
    let mut pairs: Vec<(String, String)> =
        query_pairs(query).iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A query's names and values, percent-decoded, in order. A `+` is a plus: SDKs write a space as `%20`.
pub fn query_pairs(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name), percent_decode(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// Decodes `%XX`; a `%` that no two hex digits follow stays as it is.
pub fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let hex = |place: usize| bytes.get(place).and_then(|digit| char::from(*digit).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while place < bytes.len() {
        match (bytes[place], hex(place + 1), hex(place + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                place += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    decoded
}

/// Encodes all but RFC 3986's unreserved characters, with upper-case digits.
fn percent_encode(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

/// What a signature is good for.
struct Scope<'a> {
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

fn signature(secret: &str, scope: &Scope<'_>, sent_text: &str, canonical: &[u8]) -> String {
    let Scope { date, region, service } = scope;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let string_to_sign = format!("{ALGORITHM}\n{sent_text}\n{scope}\n{}", sha256_hex(canonical));
    let keyed = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut key = keyed(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [region, service, "aws4_request", &string_to_sign] {
        key = keyed(key.as_ref(), part.as_bytes());
    }
    hex(key.as_ref())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const DAY_S: u64 = 24 * 60 * 60;

/// Seconds since the Unix epoch of `yyyymmddThhmmssZ`, from 1970 to 9999.
fn parse_amz_date(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |place: std::ops::Range<usize>| {
        let digits = &bytes[place];
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since 1 March of the year 0, when months have a regular pattern and the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1;
    Some(days.checked_sub(DAYS_TO_EPOCH)? * DAY_S + hour * 3600 + minute * 60 + second)
}

fn format_amz_date(unix_s: u64) -> String {
    let (year, month, day) = civil_date(unix_s);
    let second = unix_s % DAY_S;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use axum::http::Request;

    use super::*;

    /// 2023-11-14T22:13:20Z.
    const NOW_UNIX_S: u64 = 1_700_000_000;

    /// A stranger's request: first line the target, second the `Authorization`, the rest the date and the body.
    pub fn request(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        let mut lines = text.splitn(4, '\n');
        let mut line = || lines.next().unwrap_or_default();
        let (target, authorization, date, body) = (line(), line(), line(), line());
        let once = canonical_query(target);
        assert_eq!(canonical_query(&once), once, "what is canonical stays as it is");
        let _ = canonical_path(target);
        let _ = parse_amz_date(date).map(|unix_s| check_skew(date, unix_s, 0));
        let request = Request::builder()
            .uri(target)
            .header(header::HOST, "localhost")
            .header(AMZ_DATE, date)
            .header(header::AUTHORIZATION, authorization);
        let Ok(request) = request.body(()) else { return };
        let unknowable = Credentials {
            access_key_id: String::new(),
            secret_access_key: "\u{0}not to be guessed".into(),
            session_token: None,
        };
        let now_unix_s = parse_amz_date(date).unwrap_or_default();
        assert!(
            verify(&request.into_parts().0, body.as_bytes(), SERVICE, now_unix_s, |_, _| Ok(&unknowable))
                .is_err()
        );
    }

    /// Reads `data` as a request (method and target, headers, an empty line, the body). As it is, nobody can have
    /// signed it; signed here, it is accepted, and with another body it is not.
    pub fn signed(data: &[u8]) {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let known = |id: &str, _: Option<&str>| {
            if id == credentials.access_key_id { Ok(&credentials) } else { Err(AuthError::Unrecognized) }
        };
        let Some((mut head, body)) = read_request(data) else { return };
        assert!(verify(&head, body, SERVICE, NOW_UNIX_S, known).is_err());
        head.headers.remove(SECURITY_TOKEN);
        head.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        sign(&mut head, body, &credentials, "us-east-1", NOW_UNIX_S).expect("it has a host");
        assert!(verify(&head, body, SERVICE, NOW_UNIX_S + 1, known).is_ok());
        assert!(verify(&head, &[body, b"x"].concat(), SERVICE, NOW_UNIX_S, known).is_err());
    }

    fn read_request(data: &[u8]) -> Option<(request::Parts, &[u8])> {
        let mut rest = data;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            Some(line)
        };
        let mut words = line()?.split(|byte| *byte == b' ');
        let mut request = Request::builder().method(words.next()?).uri(words.next()?);
        while let Some(header) = line().filter(|line| !line.is_empty()) {
            let colon = header.iter().position(|byte| *byte == b':')?;
            request = request.header(&header[..colon], &header[colon + 1..]);
        }
        let (head, ()) = request.body(()).ok()?.into_parts();
        Some((head, rest))
    }
}

#[cfg(test)]
mod tests;
