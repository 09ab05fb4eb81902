//! What felled others, tried on us: bodies and lengths that lie, slow and idle connections, forged and over-long
//! credentials. Each ends in a clear answer or a close, and the server goes on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Request;
use campanile::config::Config;
use campanile::{Running, serve};
use campanile_meeting::ids::MeetingId;
use campanile_meeting::registry::JoinError;
use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::{Binary, Client, TempDir, exchange, meeting_body, raw, signed, start};

/// The signed request for a CreateMeeting as text, to be bent.
fn genuine(client: &Client, token: &str) -> String {
    let host = client.address.to_string();
    String::from_utf8(signed(&client.credentials, &host, "POST", "/meetings", &meeting_body(token, "")))
        .unwrap()
}

#[tokio::test]
async fn errors_echo_nothing_that_was_not_said() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let secret = &client.credentials.secret_access_key;
    for body in ["{\"ClientRequestToken\":\"tok\"", "\u{0}\u{1}", "{\"MediaRegion\":\"\u{7f}<script>\"}"] {
        let refused = client.call("POST", "/meetings", body).await;
        let message = refused.error(400, "BadRequestException");
        assert!(
            message.len() < 1000 && !message.contains(secret) && !message.contains("<script>"),
            "{message}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn bodies_and_lengths_that_lie_are_refused_or_cut_off() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let right = genuine(&client, "tok-lie");
    let (head, body) = right.split_once("\r\n\r\n").unwrap();
    let length = format!("content-length: {}", body.len());
    // Less than there is: the signature is over more than was counted.
    let short = right.replace(&length, &format!("content-length: {}", body.len() - 1));
    raw(client.address, short.as_bytes()).await.error(403, "InvalidSignatureException");
    // More than there is, and then the end.
    let long = right.replace(&length, &format!("content-length: {}", body.len() + 1));
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(long.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 200"), "{rest:?}");
    for lie in ["content-length: -1", "content-length: 1x", "content-length: 18446744073709551616"] {
        assert_eq!(raw(client.address, right.replace(&length, lie).as_bytes()).await.status, 400, "{lie}");
    }
    let two = right.replace(&length, &format!("{length}\r\ncontent-length: 1"));
    assert_eq!(raw(client.address, two.as_bytes()).await.status, 400);
    // Ten mebibytes are read to their end and refused; more than that is not even waited for.
    let big = format!(
        "{}\r\n\r\n{}",
        head.replace(&length, &format!("content-length: {}", 10 << 20)),
        "x".repeat(10 << 20)
    );
    raw(client.address, big.as_bytes()).await.error(413, "BadRequestException");
    let huge = format!("{}\r\n\r\n", head.replace(&length, "content-length: 99999999999"));
    raw(client.address, huge.as_bytes()).await.error(413, "BadRequestException");
    assert_eq!(running.state.registry().meeting_count(), 0, "nothing of it was believed");
    raw(client.address, right.as_bytes()).await.ok();
    running.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_get_an_answer() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let right = genuine(&client, "tok");
    let mut broken = right.clone().into_bytes();
    let end = broken.len();
    broken[end - 3] = 0xff;
    raw(client.address, &broken).await.error(403, "InvalidSignatureException");
    let unsigned = b"POST /meetings HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\xff\xfe\xfd\xfc";
    raw(client.address, unsigned).await.error(403, "MissingAuthenticationTokenException");
    client.call("GET", "/meetings/%00%ff", "").await.error(400, "BadRequestException");
    let twice = right.replacen("x-amz-date:", "x-amz-date: 20200101T000000Z\r\nx-amz-date:", 1);
    assert_ne!(raw(client.address, twice.as_bytes()).await.status, 200, "which of two dates was signed?");
    running.stop().await;
}

#[tokio::test]
async fn idle_and_slow_connections_hold_up_nobody() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let mut idle = Vec::new();
    for n in 0..500 {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        // Some say nothing, some half a head, some half a body.
        let said: &[u8] = match n % 3 {
            0 => b"",
            1 => b"POST /meetings HTTP/1.1\r\nhost: x\r\n",
            _ => b"POST /meetings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        };
        stream.write_all(said).await.unwrap();
        idle.push(stream);
    }
    client.create_meeting("tok").await;
    drop(idle);
    running.stop().await;
}

#[tokio::test]
async fn no_other_algorithm_no_unsigned_body_no_chunked_signature() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let right = genuine(&client, "tok");
    for (from, to, kind) in [
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "none", "IncompleteSignatureException"),
        ("/chime/aws4_request", "/s3/aws4_request", "InvalidSignatureException"),
        ("SignedHeaders=", "SignedHeaders=never-sent;", "IncompleteSignatureException"),
    ] {
        let bent = right.replace(from, to);
        assert_ne!(bent, right);
        let answer = raw(client.address, bent.as_bytes()).await;
        answer.error(403, kind);
    }
    let date_gone =
        right.lines().filter(|line| !line.starts_with("x-amz-date")).collect::<Vec<_>>().join("\r\n");
    raw(client.address, format!("{date_gone}\r\n\r\n").as_bytes())
        .await
        .error(403, "IncompleteSignatureException");
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
        let hash = right.lines().find(|line| line.starts_with("x-amz-content-sha256")).unwrap();
        let bent = right.replace(hash, &format!("x-amz-content-sha256: {payload}"));
        raw(client.address, bent.as_bytes()).await.error(403, "InvalidSignatureException");
    }
    // A replay within the five minutes is the same call again: the same meeting.
    let once = raw(client.address, right.as_bytes()).await.ok();
    assert_eq!(raw(client.address, right.as_bytes()).await.ok(), once);
    running.stop().await;
}

#[tokio::test]
async fn malformed_and_over_long_tokens_open_nothing() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id: MeetingId = client.create_meeting("tok").await.parse().unwrap();
    let long = "A".repeat(100_000);
    for token in ["", "#content", "..", long.as_str(), "\u{0}", "é"] {
        let outcome = running.state.registry().admit(id, token).map(|_| ());
        assert_eq!(outcome, Err(JoinError::AttendeeUnavailable));
    }
    for token in ["x", ".", "a.b", &long[..30_000]] {
        let mut forger = Client::of(&running);
        forger.credentials.session_token = Some(token.into());
        forger.call("GET", &format!("/meetings/{id}"), "").await.error(403, "UnrecognizedClientException");
    }
    let mut nobody = Client::of(&running);
    nobody.credentials.access_key_id = "A".repeat(20_000);
    nobody.call("GET", &format!("/meetings/{id}"), "").await.error(403, "UnrecognizedClientException");
    for key in ["*", "", "AKIA*", "%"] {
        let mut wild = Client::of(&running);
        wild.credentials.access_key_id = key.into();
        let answer = wild.call("GET", &format!("/meetings/{id}"), "").await;
        assert_eq!(answer.status, 403, "{key}: {answer:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn forms_of_strangers_get_xml_without_secrets() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let request =
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\nconnection: close\r\n\r\nAction=AssumeRole";
    let answer = raw(client.address, request.as_bytes()).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (403, "text/xml"));
    assert!(answer.text.contains("<Code>MissingAuthenticationToken</Code>"), "{}", answer.text);
    let sts = |form: String| {
        let head =
            Request::post("/").header("host", client.address.to_string()).body(()).unwrap().into_parts().0;
        let request = crate::common::signed_for("sts", &client.credentials, head, &form);
        async move { raw(client.address, &request).await }
    };
    for (form, code) in [
        ("".to_owned(), "InvalidAction"),
        ("Action=AssumeRole".to_owned(), "ValidationError"),
        (format!("Action=AssumeRole&RoleArn=x&RoleSessionName={}", "a".repeat(65)), "ValidationError"),
        ("Action=AssumeRole&RoleArn=%3Cx%3E&RoleSessionName=ann".to_owned(), "AccessDenied"),
        ("Action=%ff%fe&&&=".to_owned(), "InvalidAction"),
    ] {
        let answer = sts(form.clone()).await;
        assert!(answer.text.contains(&format!("<Code>{code}</Code>")), "{form}: {}", answer.text);
        assert!(!answer.text.contains("<x>"), "{}", answer.text);
    }
    running.stop().await;
}

/// A server that waits for nobody.
async fn impatient(directory: &TempDir) -> Running {
    let mut config = Config::local(directory.path());
    config.control.http.head_timeout = Duration::from_millis(50);
    config.control.http.body_timeout = Duration::from_millis(50);
    serve(config).await.unwrap()
}

#[tokio::test]
async fn a_head_and_a_body_that_do_not_come_are_not_waited_for() {
    let directory = TempDir::new();
    let running = impatient(&directory).await;
    let client = Client::of(&running);
    let body = genuine(&client, "tok");
    let body = &body[..body.len() - 5];
    let refused = raw(client.address, body.as_bytes()).await;
    refused.error(408, "BadRequestException");
    assert_eq!(refused.headers["connection"], "close");
    for head in ["", "POST /meetings HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Ends because the server closes: nothing else ends it.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(running.state.registry().meeting_count(), 0);
    running.stop().await;
}

#[tokio::test]
async fn one_address_has_only_so_many_connections_and_others_are_not_kept_out() {
    let directory = TempDir::new();
    let mut config = Config::local(directory.path());
    config.control.http.connections_per_address = 2;
    let running = serve(config).await.unwrap();
    let client = Client::of(&running);
    let first = TcpStream::connect(client.address).await.unwrap();
    let _second = TcpStream::connect(client.address).await.unwrap();
    let mut third = TcpStream::connect(client.address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "closed at once");
    let mut elsewhere = connect_from([127, 0, 0, 2], client.address).await;
    let health = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(&mut elsewhere, health).await.status, 200);
    drop(first);
    // The place is free once the server has noticed.
    while client.try_call("GET", "/health", "").await.is_none() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

/// Every address of 127/8 is this machine.
async fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Resident memory of a process in KiB.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_borne_in_bounded_memory() {
    const CONNECTIONS: usize = 10_000;
    let files = campanile::http::raise_open_files();
    if files < CONNECTIONS as u64 + 200 {
        println!("only {files} files may be open at once: too few to try (ulimit -Hn)");
        return;
    }
    let directory = TempDir::new();
    let binary = Binary::start(&directory);
    let client = &binary.client();
    client.create_meeting("tok").await;
    let before = memory_kib(binary.process.id());
    // Half of them are in the middle of a request's head.
    let idle: Vec<TcpStream> = stream::iter(0..CONNECTIONS)
        .map(|n| async move {
            let mut stream = connect_from([127, 0, 0, 2 + (n % 2) as u8], client.address).await;
            if n % 4 < 2 {
                stream.write_all(b"POST /meetings HTTP/1.1\r\nhost: x\r\n").await.unwrap();
            }
            stream
        })
        .buffer_unordered(200)
        .collect()
        .await;
    // One that comes last is accepted last: by then all have been.
    let mut newest = TcpStream::connect(client.address).await.unwrap();
    newest.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    newest.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    let grown = memory_kib(binary.process.id()) - before;
    println!(
        "{CONNECTIONS} idle connections: {before} KiB before, {grown} KiB more, {:.1} KiB each",
        grown as f64 / CONNECTIONS as f64
    );
    assert!(grown < 32 * CONNECTIONS as u64, "{grown} KiB");
    client.create_meeting("meanwhile").await;
    drop(idle);
    client.create_meeting("and-afterwards").await;
}
