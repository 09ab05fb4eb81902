//! The doors, and what is said at them: numbers 24, 26 and 27 of the list. More of the same, without neighbours to disturb:
//! `crates/campanile/tests/control/hostile.rs`, `web/test/stories/strangers.mjs`.

use campanile_client::api::ApiError;
use campanile_wire::signaling::ClientFrame;
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attacker::Attacker;
use crate::forge::offer;
use crate::{PATIENCE, Scene};

/// What no answer may contain.
const CANARY: &str = "canary-1f3870be274f6c49b3e31a0c6728957f";

/// An answer's whole text, up to the server's close.
async fn exchange(host: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).await.expect("the door is open");
    // The server may refuse and close before it has taken all.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = reading.expect("an answer or a close");
    String::from_utf8(answer).expect("answers are text")
}

/// What a refusal says: little, in plain words, and nothing of what was sent.
fn check_words(words: &str) {
    assert!(!words.is_empty() && words.len() < 1_000, "{words}");
    assert!(words.chars().all(|c| c.is_ascii_graphic() || c.is_ascii_whitespace()), "{words:?}");
    assert!(!words.contains(CANARY), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_24_refusals_echo_neither_memory_nor_what_was_sent() {
    let scene = Scene::new("bad-24").await;
    let good = offer(9);
    let offers = [
        CANARY.to_owned(),
        good.replace("a=ice-ufrag:evil", &format!("a=ice-ufrag:{CANARY} {CANARY}")),
        good.replace("a=setup:actpass", &format!("a=setup:{CANARY}")),
        good.replace("a=fingerprint:sha-256", &format!("a=fingerprint:{CANARY}")),
        good.replace("m=audio 9", &format!("m=audio {CANARY}")),
        // Cut in the middle of a line: whatever lay behind it in memory is nobody's business.
        good[..good.len() / 2].to_owned(),
        good[..20].to_owned(),
    ];
    for offer in offers {
        let mut eve = Attacker::join(&scene.invitation()).await;
        check_words(&eve.refusal_of(offer).await);
    }
    for bytes in [[&[5][..], CANARY.as_bytes()].concat(), CANARY.into(), vec![5, 8, 1, 16, 3, 0x2a, 0x7f]] {
        let mut eve = Attacker::join(&scene.invitation()).await;
        eve.say_bytes(bytes).await;
        check_words(&eve.last_words().await);
    }
    for body in
        [json!({ CANARY: 1 }), json!({ "MediaRegion": CANARY }), json!({ "ClientRequestToken": [CANARY] })]
    {
        let refused = scene.api.call(Method::POST, "/meetings", Some(&body)).await;
        let Err(ApiError::Refused { status: 400, message }) = refused else { panic!("{body}: {refused:?}") };
        check_words(&message);
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_26_http_bodies_and_lengths_that_lie_are_refused() {
    let scene = Scene::new("bad-26").await;
    let host = &scene.host;
    let head = |length: &str| {
        format!("POST /meetings HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{length}\r\n\r\n")
    };
    let requests = [
        head("content-length: -1").into_bytes(),
        head("content-length: 1x").into_bytes(),
        head("content-length: 18446744073709551616").into_bytes(),
        head("content-length: 2\r\ncontent-length: 3").into_bytes(),
        head("content-length: 99999999999").into_bytes(),
        head("transfer-encoding: chunked\r\ncontent-length: 4").into_bytes(),
        [head("transfer-encoding: chunked").as_bytes(), b"ffffffffffffffff\r\nx"].concat(),
        [head("content-length: 10485760").as_bytes(), &vec![b'['; 10 << 20]].concat(),
        [head("content-length: 5").as_bytes(), &[0xff, 0, 0xfe, 1, 2]].concat(),
        [head("content-length: 100000").as_bytes(), &vec![b'['; 100_000]].concat(),
    ];
    for request in &requests {
        let answer = exchange(host, request).await;
        // Less than announced is waited for until its time is over, so no such request is here; each of these is answered.
        let start = String::from_utf8_lossy(&request[..request.len().min(120)]);
        assert!(answer.starts_with("HTTP/1.1 4"), "{start}: {answer}");
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_27_who_is_slow_or_never_reads_is_let_go_and_holds_up_nobody() {
    let scene = Scene::new("bad-27").await;
    // Connections that say nothing, half a head, half a body, half a handshake, or wait at the door.
    let mut slow = Vec::new();
    for said in [
        "",
        "POST /meet",
        "POST /meetings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        "GET /control/x HTTP/1.1\r\n",
    ] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(&scene.host).await.expect("there is room");
            stream.write_all(said.as_bytes()).await.expect("it takes bytes");
            slow.push(stream);
        }
    }
    let waiting = Attacker::connect(&scene.invitation()).await;
    // And one that asks for more than its connection holds, and reads none of it.
    let mut deaf = Attacker::join_through_a_straw(&scene.invitation()).await;
    for _ in 0..50 {
        deaf.ask(offer(9)).await;
    }
    let hung_up = async { while deaf.try_say(&ClientFrame::Ping { id: 1 }).await.is_ok() {} };
    timeout(PATIENCE, hung_up).await.expect("the server does not wait for it for ever");
    drop((slow, waiting));
    scene.is_undisturbed().await;
}
