//! The HTTP API over real sockets, with requests signed as SDKs sign them.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use campanile::config::Config;
use campanile::{StartError, serve};
use campanile_meeting::ids::MeetingId;
use campanile_meeting::registry::JoinError;
use common::{Binary, Client, TempDir, exchange, meeting_body, raw, signed, start};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_meeting_lives_from_creation_to_404() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);

    let created = client.call("POST", "/meetings", &meeting_body("tok-1", "")).await.ok()["Meeting"].clone();
    let id = created["MeetingId"].as_str().unwrap();
    let listen = running.state.site.listen;
    assert_eq!(created["ExternalMeetingId"], "standup");
    assert_eq!(created["MeetingHostId"], Value::Null);
    assert_eq!(
        created["MeetingArn"],
        format!("arn:aws:chime:us-east-1:{}:meeting/{id}", running.state.directory.first().account())
    );
    assert_eq!(created["MeetingFeatures"], json!({"Audio": {"EchoReduction": "UNAVAILABLE"}}));
    let placement = &created["MediaPlacement"];
    assert_eq!(placement["SignalingUrl"], format!("ws://{listen}/control/{id}"));
    assert_eq!(placement["AudioHostUrl"], format!("127.0.0.1:{}", running.ready.media.port()));
    for url in [
        "AudioFallbackUrl",
        "TurnControlUrl",
        "ScreenDataUrl",
        "ScreenViewingUrl",
        "ScreenSharingUrl",
        "EventIngestionUrl",
    ] {
        assert!(placement[url].as_str().unwrap().contains(&listen.to_string()), "{url} must lead to us");
    }

    let retried = client.call("POST", "/meetings", &meeting_body("tok-1", "")).await.ok()["Meeting"].clone();
    assert_eq!(retried, created);
    assert_eq!(client.call("GET", &format!("/meetings/{id}"), "").await.ok()["Meeting"], created);

    let ann = client.create_attendee(id, "ann").await;
    assert_eq!(
        ann["Capabilities"],
        json!({"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"})
    );
    assert_eq!(client.create_attendee(id, "ann").await, ann, "the same person is the same attendee");
    let path = format!("/meetings/{id}/attendees/{}", ann["AttendeeId"].as_str().unwrap());
    assert_eq!(client.call("GET", &path, "").await.ok()["Attendee"], ann);

    for (path, kind) in [(path, "Attendee"), (format!("/meetings/{id}"), "Meeting")] {
        let deleted = client.call("DELETE", &path, "").await;
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
        assert!(!deleted.headers.contains_key("content-type"));
        assert_eq!(deleted.headers["x-amzn-requestid"].len(), 36);
        let message = client.call("GET", &path, "").await.error(404, "NotFoundException");
        assert!(message.starts_with(&format!("{kind} <")) && message.ends_with("> not found"), "{message}");
        client.call("DELETE", &path, "").await.error(404, "NotFoundException");
    }
    running.stop().await;
}

#[tokio::test]
async fn batches_report_who_could_not_be_made() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);

    let more = r#","MeetingFeatures":{"Attendee":{"MaxCount":2}},
        "Attendees":[{"ExternalUserId":"ann"},{"ExternalUserId":"aws:bob"}]"#;
    let path = "/meetings?operation=create-attendees";
    let made = client.call("POST", path, &meeting_body("tok", more)).await.ok();
    assert_eq!(made["Attendees"].as_array().unwrap().len(), 1);
    assert_eq!(made["Errors"][0]["ExternalUserId"], "aws:bob");
    assert_eq!(made["Errors"][0]["ErrorCode"], "BadRequest");
    let again = client.call("POST", path, &meeting_body("tok", more)).await.ok();
    assert_eq!(again, made, "a retry finds meeting and attendees");

    let path = format!(
        "/meetings/{}/attendees?operation=batch-create",
        made["Meeting"]["MeetingId"].as_str().unwrap()
    );
    let body = r#"{"Attendees":[{"ExternalUserId":"bob"},{"ExternalUserId":"cid"}]}"#;
    let batch = client.call("POST", &path, body).await.ok();
    assert_eq!(batch["Attendees"][0]["ExternalUserId"], "bob");
    assert_eq!(batch["Errors"][0]["ErrorCode"], "LimitExceeded");
    let full = client
        .call("POST", &path.replace("?operation=batch-create", ""), r#"{"ExternalUserId":"dan"}"#)
        .await;
    full.error(400, "LimitExceededException");

    let message = client.call("POST", &path, r#"{"Attendees":[]}"#).await.error(400, "BadRequestException");
    assert!(message.contains("1 to 100"), "{message}");
    let unknown = format!("/meetings/{}/attendees?operation=batch-create", uuid::Uuid::nil());
    client.call("POST", &unknown, body).await.error(404, "NotFoundException");
    running.stop().await;
}

#[tokio::test]
async fn attendees_are_listed_in_pages_without_gaps() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    let mut made = BTreeSet::new();
    for n in 0..7 {
        made.insert(client.create_attendee(&id, &format!("person {n}")).await["AttendeeId"].to_string());
    }
    let path = format!("/meetings/{id}/attendees");
    let (mut listed, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = client.call("GET", &format!("{path}?max-results=3{token}"), "").await.ok();
        for attendee in page["Attendees"].as_array().unwrap() {
            assert!(attendee["JoinToken"].is_string());
            listed.insert(attendee["AttendeeId"].to_string());
        }
        pages += 1;
        match page.get("NextToken") {
            Some(next) => token = format!("&next-token={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!((listed, pages), (made, 3));
    for wrong in ["max-results=0", "max-results=101", "max-results=x", "max-results=", "next-token=nonsense"]
    {
        client.call("GET", &format!("{path}?{wrong}"), "").await.error(400, "BadRequestException");
    }
    running.stop().await;
}

#[tokio::test]
async fn every_error_is_json_that_sdks_can_type() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let bad = |body: &'static str| client.call("POST", "/meetings", body);
    assert!(bad("{").await.error(400, "BadRequestException").contains("body"));
    assert!(bad("").await.error(400, "BadRequestException").contains("ClientRequestToken is required"));
    assert!(bad("[1]").await.error(400, "BadRequestException").contains("body"));
    let deep = format!(r#"{{"Unknown":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    client.call("POST", "/meetings", &deep).await.error(400, "BadRequestException");
    let nulls = r#","MeetingHostId":null,"MeetingFeatures":{"Video":null},"Tags":null,"TenantIds":null,"PrimaryMeetingId":null"#;
    client.call("POST", "/meetings", &meeting_body("nulls", nulls)).await.ok();
    let replica = format!(r#","PrimaryMeetingId":"{}""#, uuid::Uuid::nil());
    client
        .call("POST", "/meetings", &meeting_body("replica", &replica))
        .await
        .error(400, "BadRequestException");

    client.call("GET", "/meetings/not-an-id", "").await.error(400, "BadRequestException");
    client.call("GET", "/meetings/a%2Fb", "").await.error(400, "BadRequestException");
    client.call("GET", "/meetings", "").await.error(405, "UnknownOperationException");
    client.call("GET", "/somewhere", "").await.error(404, "UnknownOperationException");
    client.get_unsigned("/somewhere").await.error(404, "UnknownOperationException");
    running.stop().await;
}

#[tokio::test]
async fn only_signed_requests_are_believed() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    client.get_unsigned("/meetings/x").await.error(403, "MissingAuthenticationTokenException");
    client
        .get_unsigned("/meetings/x?X-Amz-Signature=ab")
        .await
        .error(403, "MissingAuthenticationTokenException");

    let mut thief = Client::of(&running);
    thief.credentials.secret_access_key.push('x');
    let error = thief.call("POST", "/meetings", &meeting_body("tok", "")).await;
    let message = error.error(403, "InvalidSignatureException");
    assert!(!message.contains(&client.credentials.secret_access_key));
    let mut stranger = Client::of(&running);
    stranger.credentials.access_key_id.push('x');
    stranger.call("GET", "/meetings/x", "").await.error(403, "UnrecognizedClientException");

    // A body other than the one that was signed.
    let host = client.address.to_string();
    let genuine = String::from_utf8(signed(
        &client.credentials,
        &host,
        "POST",
        "/meetings",
        &meeting_body("tok-a", ""),
    ))
    .unwrap();
    let forged = genuine.replace("tok-a", "tok-b");
    raw(client.address, forged.as_bytes()).await.error(403, "InvalidSignatureException");
    assert_eq!(running.state.registry().meeting_count(), 0);
    raw(client.address, genuine.as_bytes()).await.ok();
    // As JavaScript clients send it when their endpoint ends in a slash: signed without the empty segment.
    let id = client.create_meeting("tok-a").await;
    let doubled = signed(&client.credentials, &host, "GET", &format!("/meetings/{id}"), "");
    let doubled = String::from_utf8(doubled).unwrap().replacen("GET /meetings", "GET //meetings", 1);
    raw(client.address, doubled.as_bytes()).await.ok();
    running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_meetings_and_join_tokens() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    let ended = client.create_meeting("ended").await;
    let ann = client.create_attendee(&id, "ann").await;
    let bob = client.create_attendee(&id, "bob").await;
    client.create_attendee(&ended, "cid").await;
    let bob_path = format!("/meetings/{id}/attendees/{}", bob["AttendeeId"].as_str().unwrap());
    assert_eq!(client.call("DELETE", &bob_path, "").await.status, 204);
    assert_eq!(client.call("DELETE", &format!("/meetings/{ended}"), "").await.status, 204);
    running.stop().await;

    let running = start(&directory).await;
    let client = Client { address: running.state.site.listen, credentials: client.credentials };
    assert_eq!(client.create_meeting("tok").await, id, "and its request token, and our credentials");
    assert_eq!(client.create_attendee(&id, "ann").await, ann);
    client.call("GET", &bob_path, "").await.error(404, "NotFoundException");
    client.call("GET", &format!("/meetings/{ended}"), "").await.error(404, "NotFoundException");
    let meeting: MeetingId = id.parse().unwrap();
    let admit = |attendee: &Value| {
        running
            .state
            .registry()
            .admit(meeting, attendee["JoinToken"].as_str().unwrap())
            .map(|admitted| admitted.external_user_id)
    };
    assert_eq!(admit(&ann), Ok("ann".into()));
    assert_eq!(admit(&bob), Err(JoinError::AttendeeUnavailable));
    running.stop().await;
}

#[tokio::test]
async fn one_data_directory_serves_one_server() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let second = serve(Config::local(directory.path())).await;
    assert!(matches!(second, Err(StartError::Store(..))), "{:?}", second.err());
    running.stop().await;
}

#[tokio::test]
async fn simultaneous_retries_make_one_meeting_and_one_attendee() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = std::sync::Arc::new(Client::of(&running));
    let tries = (0..32).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let id = client.create_meeting("tok").await;
            client.create_attendee(&id, "ann").await.to_string()
        })
    });
    let mut seen = BTreeSet::new();
    for one in tries.collect::<Vec<_>>() {
        seen.insert(one.await.unwrap());
    }
    assert_eq!((seen.len(), running.state.registry().meeting_count()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn the_clock_in_answers_is_right() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let now_unix_s = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now_unix_s();
    let date = client.get_unsigned("/meetings/x").await.headers["date"].clone();
    // `Sat, 21 Nov 2026 03:01:23 GMT`: the time of day is enough to catch a stale or shifted clock.
    let clock: Vec<u64> = date[17..25].split(':').map(|part| part.parse().unwrap()).collect();
    let seconds = clock[0] * 3600 + clock[1] * 60 + clock[2];
    assert!((seconds + 86_400 + 1 - before % 86_400) % 86_400 <= now_unix_s() - before + 2, "{date}");
    running.stop().await;
}

#[tokio::test]
async fn hostile_requests_get_a_clear_refusal() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let huge = "x".repeat(1 << 20);
    let refused = client.call("POST", "/meetings", &huge).await;
    refused.error(413, "BadRequestException");
    assert_eq!(refused.headers["connection"], "close");
    let chunk = format!("{:x}\r\n{huge}\r\n", huge.len());
    let chunked =
        format!("POST /meetings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    raw(client.address, chunked.as_bytes()).await.error(413, "BadRequestException");
    assert_eq!(raw(client.address, b"\x16\x03\x01\x02\x00 not http\r\n\r\n").await.status, 400);
    // A head without end is cut off; whether the reason still reaches such a client is a matter of luck.
    let mut endless = TcpStream::connect(client.address).await.unwrap();
    let _ = endless.write_all(&[b"GET / HTTP/1.1\r\nx: ", &[b'y'; 1 << 20][..]].concat()).await;
    let _ = endless.read_to_end(&mut Vec::new()).await;
    // A connection that says nothing holds up nobody.
    let _silent = TcpStream::connect(client.address).await.unwrap();
    client.create_meeting("tok").await;
    running.stop().await;
}

#[tokio::test]
async fn the_demo_application_needs_only_the_public_api() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let demo = &client;
    let join = |name: &'static str| async move {
        let answer = demo.demo("join", &json!({"meeting": "Stand-up", "name": name}).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let id = |joined: &Value| joined["Meeting"]["MeetingId"].as_str().unwrap().to_owned();
    let (ann, bob, other_ann) = (join("Ann").await, join(" Bob ").await, join("Ann").await);
    assert_eq!(id(&ann), id(&bob));
    assert_ne!(
        ann["Attendee"]["AttendeeId"], other_ann["Attendee"]["AttendeeId"],
        "namesakes are two people"
    );
    let user = bob["Attendee"]["ExternalUserId"].as_str().unwrap();
    let (prefix, name) = user.split_once('#').unwrap();
    assert_eq!((prefix.len(), name), (8, "Bob"));

    let attendee = ann["Attendee"]["AttendeeId"].as_str().unwrap();
    let kick = json!({"meeting": "Stand-up", "attendeeId": attendee}).to_string();
    assert_eq!(client.demo("kick", &kick).await.status, 200);
    client
        .call("GET", &format!("/meetings/{}/attendees/{attendee}", id(&ann)), "")
        .await
        .error(404, "NotFoundException");
    assert_eq!(client.demo("kick", &kick).await.status, 404);
    assert_eq!(client.demo("kick", r#"{"meeting":"Stand-up","attendeeId":"../x"}"#).await.status, 400);

    for elsewhere in ["http://elsewhere.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(client.demo_from(elsewhere, "end", r#"{"meeting":"Stand-up"}"#).await.status, 403);
    }
    assert_eq!(client.demo("end", r#"{"meeting":"Stand-up"}"#).await.status, 200);
    client.call("GET", &format!("/meetings/{}", id(&ann)), "").await.error(404, "NotFoundException");
    assert_ne!(id(&join("Ann").await), id(&ann), "a new meeting of that name");

    for (body, says) in [
        ("{}", "meeting"),
        (r#"{"meeting":"Stand-up","name":"  "}"#, "Your name"),
        (r#"{"meeting":"Stand-up","name":"a<b"}"#, "Your name may not contain '<'"),
        (r#"{"meeting":"x","name":"Ann"}"#, "The meeting's name must have 2 to 64 characters"),
    ] {
        let answer = client.demo("join", body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["message"].as_str().unwrap().contains(says), "{answer:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_page_and_health_are_served_beside_the_api() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let page = client.get_unsigned("/").await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    assert_eq!(client.get_unsigned("/health").await.text, "ok\n");
    running.stop().await;
}

#[tokio::test]
async fn a_local_ca_serves_https_for_the_public_address() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use std::sync::Arc;

    let directory = TempDir::new();
    let config = Config {
        tls_local: true,
        public_address: Some("192.0.2.7".into()),
        ..Config::local(directory.path())
    };
    let running = serve(config.clone()).await.unwrap();
    let ca = std::fs::read(running.ready.ca.as_ref().unwrap()).unwrap();
    running.stop().await;
    // The CA that was trusted once is the CA after a restart.
    let running = serve(config).await.unwrap();
    let listen = running.state.site.listen;
    assert_eq!(running.ready.api, format!("https://192.0.2.7:{}", listen.port()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let connect = |name: &'static str| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(listen).await.unwrap();
            connector.connect(ServerName::try_from(name).unwrap(), stream).await
        }
    };
    // Someone who never shakes hands holds up nobody.
    let _silent = TcpStream::connect(listen).await.unwrap();
    let body = meeting_body("tok", "");
    let request = signed(running.credentials(), "192.0.2.7", "POST", "/meetings", &body);
    for name in ["192.0.2.7", "localhost", "127.0.0.1"] {
        let answer = exchange(&mut connect(name).await.unwrap(), &request).await.ok();
        let signaling = answer["Meeting"]["MediaPlacement"]["SignalingUrl"].as_str().unwrap();
        assert!(signaling.starts_with(&format!("wss://192.0.2.7:{}/control/", listen.port())), "{signaling}");
    }
    assert!(connect("elsewhere.example").await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn plain_http_outside_loopback_needs_to_be_asked_for() {
    let directory = TempDir::new();
    let open = Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::local(directory.path()) };
    assert!(matches!(serve(open.clone()).await, Err(StartError::Options(_))));
    let running = serve(Config { insecure: true, ..open }).await.unwrap();
    let port = running.state.site.listen.port();
    let client =
        Client { address: ([127, 0, 0, 1], port).into(), credentials: running.credentials().clone() };
    let request =
        signed(&client.credentials, "meet.example:99", "POST", "/meetings", &meeting_body("tok", ""));
    let answer = raw(client.address, &request).await.ok();
    let signaling = answer["Meeting"]["MediaPlacement"]["SignalingUrl"].as_str().unwrap();
    assert!(
        signaling.starts_with("ws://meet.example:99/control/"),
        "URLs name the host that the client used: {signaling}"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = TempDir::new();
    let mut binary = Binary::start(&directory);
    assert_eq!(binary.ready["pid"], binary.process.id());
    assert_eq!(binary.ready["page"], format!("{}/", binary.ready["api"].as_str().unwrap()));
    assert_eq!(binary.ready["region"], "us-east-1");
    assert!(binary.ready["media"].as_str().unwrap().starts_with("127.0.0.1:"));
    let client = binary.client();
    let id = client.create_meeting("tok").await;
    let ann = client.create_attendee(&id, "ann").await;
    binary.process.kill().unwrap();
    binary.process.wait().unwrap();

    let mut binary = Binary::start(&directory);
    let client = binary.client();
    let path = format!("/meetings/{id}/attendees/{}", ann["AttendeeId"].as_str().unwrap());
    assert_eq!(client.call("GET", &path, "").await.ok()["Attendee"], ann);
    let asked = Command::new("kill").arg(binary.process.id().to_string()).status().unwrap();
    assert!(asked.success());
    assert!(binary.process.wait().unwrap().success(), "SIGTERM is an orderly end");
}
