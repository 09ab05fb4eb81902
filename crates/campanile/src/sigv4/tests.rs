use axum::http::Request;

use super::*;

const SECRET: &str = "secretsecretsecretsecretsecretsecretsecr";
const KEY_ID: &str = "AKIAEXAMPLEEXAMPLE00";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn credentials() -> Credentials {
    Credentials { access_key_id: KEY_ID.into(), secret_access_key: SECRET.into(), session_token: None }
}

/// A request as captured from an SDK.
struct Captured {
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, String)>,
    signed: &'static str,
    signature: &'static str,
    date: &'static str,
    body: &'static str,
}

impl Captured {
    fn head(&self) -> request::Parts {
        let mut request =
            Request::builder().method(self.method).uri(self.target).header("host", "127.0.0.1:18080");
        request = request.header(AMZ_DATE, self.date);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let authorization = format!(
            "{ALGORITHM} Credential={KEY_ID}/{}/us-east-1/chime/aws4_request, SignedHeaders={}, Signature={}",
            &self.date[..8],
            self.signed,
            self.signature
        );
        request.header("authorization", authorization).body(()).unwrap().into_parts().0
    }

    fn verify(&self) -> Result<(), AuthError> {
        let credentials = credentials();
        let find = |id: &str, _: Option<&str>| {
            if id == KEY_ID { Ok(&credentials) } else { Err(AuthError::Unrecognized) }
        };
        verify(&self.head(), self.body.as_bytes(), SERVICE, parse_amz_date(self.date).unwrap(), find)
            .map(drop)
    }
}

fn v1() -> Captured {
    Captured {
        method: "GET",
        target: "/meetings/has%2Fslash%20and%3Fq",
        headers: vec![],
        signed: "host;x-amz-date",
        signature: "1ad5a34fabd7d0a32e5b06c5bf972ce26e88ecf7f66df2228749c40880a9d2ec",
        date: "20261121T002606Z",
        body: "",
    }
}

fn v3() -> Captured {
    Captured {
        method: "POST",
        target: "/meetings",
        headers: vec![("content-type", "application/json".into())],
        signed: "content-type;host;x-amz-date",
        signature: "2204692156b99fefa53a9e8740c8dfdd250dca0ad55c757ff74649d24ba0b480",
        date: "20261121T002604Z",
        body: r#"{"ClientRequestToken": "tok-1", "MediaRegion": "us-east-1", "ExternalMeetingId": "my meeting"}"#,
    }
}

fn v4() -> Captured {
    Captured {
        method: "GET",
        target: "/meetings/11111111-2222-3333-4444-aabbccddeeff/attendees/99999999-8888-7777-6666-555544443333",
        headers: vec![
            ("amz-sdk-invocation-id", "6e6e282f-295c-41ee-8219-9ba3063b8dbd".into()),
            ("amz-sdk-request", "attempt=1; max=3".into()),
            (CONTENT_SHA256, EMPTY.into()),
            ("x-amz-user-agent", "aws-sdk-js/3.1141.0".into()),
        ],
        signed: "amz-sdk-invocation-id;amz-sdk-request;host;x-amz-content-sha256;x-amz-date;x-amz-user-agent",
        signature: "87da0e42a43cedb54caf9d06ff733b4662eb08167d4e54504675aafd832edb84",
        date: "20261121T002610Z",
        body: "",
    }
}

#[test]
fn what_boto3_signs_is_verified() {
    assert_eq!(v1().verify(), Ok(()));
    assert_eq!(v3().verify(), Ok(()));
    let paged = Captured {
        target: "/meetings/11111111-2222-3333-4444-aabbccddeeff/attendees?next-token=abc%2B%2F%3D%20%26%25%C3%A9&max-results=5",
        signature: "8ba61b4717ebefbfce8a927544978c243eb7c08922f74fd529dcdaf7cbf0d962",
        date: "20261121T002605Z",
        ..v1()
    };
    assert_eq!(paged.verify(), Ok(()));
}

#[test]
fn what_the_javascript_sdk_signs_is_verified() {
    assert_eq!(v4().verify(), Ok(()));
}

#[test]
fn what_the_rust_sdk_signs_is_verified() {
    let agent = "aws-sdk-rust/1.7.0 ua/2.1 api/chimesdkmeetings/1.121.0 os/linux lang/rust/1.95.0 m/E,N md/http#hyper-1.x";
    let captured = Captured {
        method: "POST",
        target: "/meetings/11111111-2222-3333-4444-aabbccddeeff/transcription?operation=stop",
        headers: vec![("x-amz-user-agent", agent.into())],
        signed: "host;x-amz-date;x-amz-user-agent",
        signature: "2580baf97c29d2858be60b2a8e69f549642fec70ec3cb4bbda0d50d44235f32f",
        date: "20261121T002611Z",
        body: "",
    };
    assert_eq!(captured.verify(), Ok(()));
}

/// A captured request, changed after it was signed.
fn check(captured: Captured, change: impl FnOnce(&mut request::Parts), body: &str, kind: &str, says: &str) {
    let mut head = captured.head();
    change(&mut head);
    let credentials = credentials();
    let find = |id: &str, _: Option<&str>| {
        if id == KEY_ID { Ok(&credentials) } else { Err(AuthError::Unrecognized) }
    };
    let error =
        verify(&head, body.as_bytes(), SERVICE, parse_amz_date(captured.date).unwrap(), find).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error:?} does not say {says:?}");
}

fn set(head: &mut request::Parts, name: &'static str, value: &str) {
    head.headers.insert(name, value.parse().unwrap());
}

fn edit(head: &mut request::Parts, from: &str, to: &str) {
    let text = head.headers["authorization"].to_str().unwrap().replace(from, to);
    set(head, "authorization", &text);
}

#[test]
fn each_way_of_being_wrong_is_named() {
    const MISSING: &str = "MissingAuthenticationTokenException";
    const INCOMPLETE: &str = "IncompleteSignatureException";
    const INVALID: &str = "InvalidSignatureException";
    const UNRECOGNIZED: &str = "UnrecognizedClientException";
    let body = v3().body;
    check(v3(), |h| drop(h.headers.remove("authorization")), body, MISSING, "Missing");
    check(
        v3(),
        |h| {
            h.headers.remove("authorization");
            h.uri = "/meetings?X-Amz-Signature=ab".parse().unwrap();
        },
        body,
        MISSING,
        "Presigned",
    );
    check(v3(), |h| set(h, "authorization", "Basic dXNlcjpwYXNz"), body, INCOMPLETE, ALGORITHM);
    check(v3(), |h| set(h, "authorization", ALGORITHM), body, INCOMPLETE, "Credential");
    check(v3(), |h| edit(h, "Credential", "Credentials"), body, INCOMPLETE, "no Credential");
    check(v3(), |h| edit(h, "SignedHeaders", "Headers"), body, INCOMPLETE, "no SignedHeaders");
    check(v3(), |h| edit(h, ";host;", ";host;host;"), body, INCOMPLETE, "name each header once");
    check(v3(), |h| edit(h, "Signature=", "Sig="), body, INCOMPLETE, "no Signature");
    check(v3(), |h| edit(h, "/us-east-1", ""), body, INCOMPLETE, "Credential must be");
    check(v3(), |h| edit(h, "/chime/", "/meetings-chime/"), body, INVALID, "service chime");
    check(v3(), |h| edit(h, "aws4_request", "aws5_request"), body, INVALID, "terminator");
    check(v3(), |h| edit(h, "20261121/", "20261120/"), body, INVALID, "scope");
    check(v3(), |h| edit(h, "20261121/", "2026112/"), body, INVALID, "scope");
    check(v3(), |h| edit(h, "host;", ""), body, INCOMPLETE, "must include host");
    check(v3(), |h| edit(h, ";x-amz-date", ""), body, INCOMPLETE, "x-amz-date");
    check(v3(), |h| drop(h.headers.remove(AMZ_DATE)), body, INCOMPLETE, "no x-amz-date");
    check(v3(), |h| set(h, AMZ_DATE, "yesterday"), body, INCOMPLETE, "yyyymmdd");
    check(v3(), |h| edit(h, "content-type;", "content-type;expect;"), body, INCOMPLETE, "expect");
    check(v3(), |h| edit(h, KEY_ID, "AKIAEXAMPLEEXAMPLE01"), body, UNRECOGNIZED, "invalid");
    check(v3(), |h| set(h, SECURITY_TOKEN, "t"), body, INCOMPLETE, "x-amz-security-token");
    check(v3(), |_| {}, "{}", INVALID, "does not match");
    check(v3(), |h| set(h, "host", "example.net"), body, INVALID, "Host");
    check(v3(), |h| set(h, "content-type", "text/plain"), body, INVALID, "does not match");
    check(v3(), |h| h.method = Method::PUT, body, INVALID, "does not match");
    check(
        v3(),
        |h| h.uri = "/meetings?operation=create-attendees".parse().unwrap(),
        body,
        INVALID,
        "does not match",
    );
    check(v3(), |h| edit(h, "Signature=22", "Signature=23"), body, INVALID, "does not match");
    check(v3(), |h| edit(h, "Signature=22", "Signature="), body, INVALID, "does not match");
    check(v4(), |_| {}, "x", INVALID, "x-amz-content-sha256");
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    let check = |off_s: i64, says: Option<&str>| {
        let (captured, credentials) = (v3(), credentials());
        let now = parse_amz_date(captured.date).unwrap().checked_add_signed(off_s).unwrap();
        let outcome =
            verify(&captured.head(), captured.body.as_bytes(), SERVICE, now, |_, _| Ok(&credentials))
                .map(drop);
        match says {
            None => assert_eq!(outcome, Ok(()), "{off_s}"),
            Some(says) => assert!(outcome.unwrap_err().to_string().contains(says), "{off_s}"),
        }
    };
    check(0, None);
    check(300, None);
    check(-300, None);
    check(
        301,
        Some(
            "Signature expired: 20261121T002604Z is now earlier than 20261121T002605Z (20261121T003105Z - 5 min.)",
        ),
    );
    check(-301, Some("Signature not yet current: 20261121T002604Z is still later than 20261121T002603Z"));
}

#[test]
fn temporary_keys_come_with_their_token() {
    let temporary = Credentials { session_token: Some("token".into()), ..credentials() };
    let other = Credentials { session_token: Some("nekot".into()), ..credentials() };
    let sign_with = |signer: &Credentials| {
        let mut head =
            Request::get("/meetings/x").header("host", "localhost").body(()).unwrap().into_parts().0;
        sign(&mut head, b"", signer, "eu-central-1", 1_800_000_000).unwrap();
        head
    };
    let check = |signer: &Credentials, known: &Credentials, accepted: bool| {
        let outcome = verify(&sign_with(signer), b"", SERVICE, 1_800_000_000, |_, _| Ok(known)).map(drop);
        assert_eq!(outcome, if accepted { Ok(()) } else { Err(AuthError::Unrecognized) });
    };
    check(&temporary, &temporary, true);
    check(&temporary, &other, false);
    check(&temporary, &credentials(), false);
    check(&credentials(), &temporary, false);
    check(&credentials(), &credentials(), true);
}

#[test]
fn what_we_sign_is_verified() {
    let body = br#"{"a":1}"#;
    let mut head = Request::post("/meetings?operation=create-attendees&empty&b=%C3%A9")
        .header("host", "localhost:8080")
        .header("content-type", "application/json")
        .header("x-amz-user-agent", "  two   spaces ")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    sign(&mut head, body, &credentials(), "us-east-1", 1_800_000_000).unwrap();
    let credentials = credentials();
    assert!(verify(&head, body, SERVICE, 1_800_000_000, |_, _| Ok(&credentials)).is_ok());
}

#[test]
fn paths_are_normalised_and_encoded_twice() {
    let check = |path: &str, expected: &str| assert_eq!(canonical_path(path), expected, "{path}");
    check("/", "/");
    check("", "/");
    check("/meetings", "/meetings");
    check("/meetings/", "/meetings/");
    check("/base//meetings", "/base/meetings");
    check("//meetings/./a/../b", "/meetings/b");
    check("/../x", "/x");
    check("/a%20b", "/a%2520b");
    check("/a~b_c.d-e", "/a~b_c.d-e");
    check("/a:b", "/a%3Ab");
}

#[test]
fn queries_are_decoded_encoded_and_sorted() {
    let check = |query: &str, expected: &str| assert_eq!(canonical_query(query), expected, "{query}");
    check("", "");
    check("b=2&a=1", "a=1&b=2");
    check("a=2&a=1", "a=1&a=2");
    check("a", "a=");
    check("a=b=c", "a=b%3Dc");
    check("a=%7e%2f", "a=~%2F");
    check("a=b+c", "a=b%2Bc");
    check("a=%zz%4", "a=%25zz%254");
    check("&&a=1&", "a=1");
}

#[test]
fn dates_go_both_ways() {
    let check = |text: &str, unix_s: u64| {
        assert_eq!(parse_amz_date(text), Some(unix_s), "{text}");
        assert_eq!(format_amz_date(unix_s), text);
    };
    check("19700101T000000Z", 0);
    check("20000229T235959Z", 951_868_799);
    check("20240301T000000Z", 1_709_251_200);
    check("20261121T002606Z", 1_795_220_766);
    check("99991231T235959Z", 253_402_300_799);
    for wrong in [
        "",
        "20261121T002606",
        "2026-11-21T00:26Z",
        "20261321T002606Z",
        "20261121T242606Z",
        "19691231T235959Z",
    ] {
        assert_eq!(parse_amz_date(wrong), None, "{wrong}");
    }
}

#[test]
fn a_strangers_request_is_harmless() {
    fuzz::request(b"");
    fuzz::request(
        b"/?a&=&%&b=%f\nAWS4-HMAC-SHA256 Credential=a/b/c/chime/aws4_request,SignedHeaders=;;,Signature=\n\n",
    );
    fuzz::request(
        b"/x?y\nAWS4-HMAC-SHA256 Credential=k/20261121/r/chime/aws4_request,SignedHeaders=host;x-amz-date,Signature=0\n20261121T002606Z\nbody",
    );
    fuzz::request(&[0xff; 64]);
}
