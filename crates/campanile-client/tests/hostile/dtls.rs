//! DTLS: numbers 7 to 11 of the list.

use crate::Scene;
use crate::attacker::{Attacker, client_hello};
use crate::forge::offer;

/// A record of this type and epoch (RFC 6347 section 4.1).
fn record(kind: u8, epoch: u16, fragment: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0xfe, 0xfd];
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 1, 0]);
    out.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
    out.extend_from_slice(fragment);
    out
}

/// A handshake message's header, and as much of its body as there is (section 4.2.2).
fn handshake(kind: u8, length: u32, offset: u32, fragment_length: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&offset.to_be_bytes()[1..]);
    out.extend_from_slice(&fragment_length.to_be_bytes()[1..]);
    out.extend_from_slice(body);
    record(22, 0, &out)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_07_a_client_hello_from_an_address_that_ice_has_not_validated_is_not_answered() {
    let scene = Scene::new("bad-07").await;
    let mut eve = Attacker::subscribe(&scene.invitation()).await;
    // From elsewhere, racing the real one, with and without a cipher.
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let hello = client_hello();
    let null = handshake(1, 41, 0, 41, &[&[0xfe, 0xfd][..], &[7; 32], &[0, 0, 0, 2, 0, 0, 1]].concat());
    for datagram in [&hello, &null] {
        stranger.send_to(datagram, eve.media).await.unwrap();
        assert!(!eve.dtls_answer(datagram).await, "nor before the first check");
    }
    assert!(eve.check().await);
    for datagram in [&hello, &null] {
        stranger.send_to(datagram, eve.media).await.unwrap();
    }
    assert!(eve.handshake().await, "the real one is not disturbed");
    let mut buffer = [0; 2048];
    assert!(stranger.try_recv(&mut buffer).is_err(), "the stranger got nothing");
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_08_fragments_that_lie_cost_only_their_own_session() {
    let scene = Scene::new("bad-08").await;
    let mut eve = Attacker::subscribe(&scene.invitation()).await;
    assert!(eve.check().await);
    for at in 0..500 {
        eve.send(&handshake(1, 0xff_ffff, at * 1000, 1000, &[1; 1000])).await;
        eve.send(&handshake(1, 10, 0xff_ffff, 0xff_ffff, &[])).await;
        eve.send(&handshake(at as u8, 0, 0, 0, &[])).await;
    }
    for length in 0..60 {
        eve.send(&client_hello()[..length]).await;
        eve.send(&record(22, 0, &vec![0; length])).await;
        eve.send(&record(20, 0, &vec![1; length])).await;
        eve.send(&record(21, 0, &vec![2; length])).await;
    }
    // Too many handshakes that break off end this session's media for good. Another one gets in.
    let mut other = Attacker::enter(&scene.invitation()).await;
    assert!(other.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_09_application_data_of_epoch_0_after_the_handshake_is_dropped() {
    let scene = Scene::new("bad-09").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for length in [0, 1, 100, 1000] {
        eve.send(&record(23, 0, &vec![9; length])).await;
        eve.send(&record(22, 0, &vec![9; length])).await;
        eve.send(&record(21, 0, &[2, 40])).await;
    }
    assert!(eve.hears().await, "its own session lives on");
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_10_dtls_before_ice_and_handshakes_that_stop_half_way_leave_nothing_behind() {
    let scene = Scene::new("bad-10").await;
    for _ in 0..10 {
        let mut eve = Attacker::subscribe(&scene.invitation()).await;
        eve.send(&client_hello()).await;
        assert!(eve.check().await);
        eve.send(&client_hello()).await;
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_11_an_offer_without_a_fingerprint_is_refused_and_a_false_one_gets_no_keys() {
    let scene = Scene::new("bad-11").await;
    let is_fingerprint = |line: &str| line.starts_with("a=fingerprint:");
    let without: String = offer(9).split_inclusive("\r\n").filter(|line| !is_fingerprint(line)).collect();
    let mut eve = Attacker::join(&scene.invitation()).await;
    assert_eq!(eve.offer(without).await, Err(400));
    for fingerprint in
        ["", "a=fingerprint:sha-256 \r\n", "a=fingerprint:md5 00:11\r\n", "a=fingerprint:sha-256 GG:00\r\n"]
    {
        let lines = offer(9);
        let lines = lines.split_inclusive("\r\n");
        let bad: String = lines.map(|line| if is_fingerprint(line) { fingerprint } else { line }).collect();
        let mut eve = Attacker::join(&scene.invitation()).await;
        assert_eq!(eve.offer(bad).await, Err(400), "{fingerprint:?}");
    }
    let mut eve = Attacker::join(&scene.invitation()).await;
    let false_one = format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
    let lines = offer(9);
    let lines = lines.split_inclusive("\r\n");
    let bad: String = lines.map(|line| if is_fingerprint(line) { &false_one } else { line }).collect();
    assert!(eve.offer(bad).await.is_ok(), "whether it is true shows in the handshake");
    scene.is_undisturbed().await;
}
