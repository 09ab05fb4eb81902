//! SDP and signaling: numbers 23, 25, 28 and 45 of the list. The rest of what may be wrong with a socket, a token or a
//! request is tested where the doors are (`crates/campanile/tests/control/hostile.rs`, `web/test/stories/strangers.mjs`).

use campanile_wire::signaling::{ClientFrame, ServerFrame};
use tokio::task::JoinSet;

use crate::Scene;
use crate::attacker::{Attacker, join_frame};
use crate::forge::{offer, random};

#[tokio::test(flavor = "multi_thread")]
async fn bad_23_hostile_offers_are_refused_or_read_for_what_they_hold() {
    let scene = Scene::new("bad-23").await;
    let good = offer(9);
    let lines = |count: usize, line: &str| format!("{good}{}", line.repeat(count));
    // Either is right, refusal or an answer; never silence, and never anybody else's trouble.
    let offers = [
        good.replace(" 63 111\r\n", " 63 111 128 255 300 99999999999\r\n"),
        good.replace("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\r\na=rtpmap:111 opus/48000/2"),
        good.replace("a=rtpmap:96 VP8/90000", &format!("a=rtpmap:96 {}/90000", "V".repeat(50_000))),
        good.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96"),
        good.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8/0"),
        good.replace("a=fmtp:97 apt=96", "a=fmtp:97 apt=97"),
        good.replace("a=fmtp:97 apt=96", "a=fmtp:97 apt=999999999999"),
        good.replace("a=mid:0\r\n", ""),
        good.replace("a=mid:1\r\n", "a=mid:0\r\n"),
        good.replace("a=rtcp-fb:96 nack pli\r\n", ""),
        good.replace("m=audio", "m="),
        good.replace("m=video", "m=\0video"),
        good.replace("UDP/TLS/RTP/SAVPF", ""),
        good.replace("a=extmap:1 ", "a=extmap:0 "),
        good.replace("a=extmap:1 ", "a=extmap:99999999999 "),
        good.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE"),
        good.replace("a=group:BUNDLE 0 1", &format!("a=group:BUNDLE {}", "0 ".repeat(20_000))),
        good.replace("a=ssrc:", "a=ssrc:99999999999"),
        lines(3_000, "a=rtpmap:96 VP8/90000\r\n"),
        lines(3_000, "a=ssrc:1 cname:x\r\n"),
        lines(3_000, "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"),
        lines(2_000, "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"),
        lines(20_000, "\r\n"),
        "\r\n".repeat(10_000),
        "v=0".to_owned(),
        String::new(),
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1_000),
        "\u{feff}v=0\r\n\u{1f980}=\u{0}\r\n".to_owned(),
    ];
    for (at, offer) in offers.into_iter().enumerate() {
        let mut eve = Attacker::join(&scene.invitation()).await;
        match eve.offer(offer).await {
            Ok(answer) => assert!(answer.starts_with("v=0\r\n"), "offer {at}"),
            Err(status) => {
                assert_eq!(status, 400, "offer {at}");
                assert_eq!(eve.close_code().await, 4400, "offer {at}");
            }
        }
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_25_frames_that_are_none_end_their_own_session() {
    let scene = Scene::new("bad-25").await;
    // Each type without its part, with a part of the wrong wire type, and noise.
    let mut frames: Vec<Vec<u8>> =
        (0..60).map(|kind| vec![5, 8, 1, 16, kind, 0x1a, 0xff, 0xff, 0x7f]).collect();
    frames.extend((0..20).map(|_| [&[5][..], &random::<64>()].concat()));
    for chunk in frames.chunks(2) {
        let mut eve = Attacker::join(&scene.invitation()).await;
        for frame in chunk {
            eve.say_bytes(frame.clone()).await;
        }
        assert_eq!(eve.close_code().await, 4400);
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_28_floods_of_changes_end_or_slow_only_who_makes_them() {
    let scene = Scene::new("bad-28").await;
    let mut eve = Attacker::join(&scene.invitation()).await;
    for _ in 0..40 {
        eve.say(&join_frame()).await;
    }
    assert_eq!(eve.close_code().await, 4508, "forty JOINs");
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for muted in [true, false].into_iter().cycle().take(3_000) {
        eve.say(&ClientFrame::AudioControl { muted }).await;
        eve.say(&ClientFrame::Pause { stream_ids: (0..200).collect() }).await;
    }
    assert_eq!(eve.close_code().await, 4508, "six thousand mutes and pauses");
    // The same attendee on eight devices at once: the last one has it, the others are told.
    let invitation = scene.invitation();
    let mut devices = Vec::new();
    for _ in 0..8 {
        devices.push(Attacker::enter(&invitation).await);
    }
    assert!(devices.pop().expect("eight").hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_45_fifty_join_one_meeting_at_once() {
    let scene = Scene::new("bad-45").await;
    let mut joins = JoinSet::new();
    for _ in 0..50 {
        let invitation = scene.invitation();
        joins.spawn(async move {
            let mut guest = Attacker::enter(&invitation).await;
            assert!(guest.hears().await);
        });
    }
    while let Some(joined) = joins.join_next().await {
        joined.expect("each gets in and hears");
    }
    scene.is_undisturbed().await;
}

/// Frames are named here so that one that is missing is not taken for one that is right.
#[test]
fn the_attackers_own_frames_are_good_ones() {
    let bytes = join_frame().encode(1);
    assert!(campanile_wire::signaling::decode(&bytes).is_ok());
    assert!(campanile_wire::signaling::decode_server(&ServerFrame::LeaveAck.encode(1)).is_ok());
}
