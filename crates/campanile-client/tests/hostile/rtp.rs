//! SRTP, RTP, RTCP and what they carry: numbers 12 to 22 of the list. Everything here is sealed with good keys, unless the
//! seal is the point.

use campanile_media::rtcp;

use crate::Scene;
use crate::attacker::Attacker;
use crate::forge::{AUDIO_SSRC, AV1, DEPENDENCY_DESCRIPTOR, H264, OPUS, RED, VIDEO_SSRC, VP8, VP9, random};

/// 20 ms of silence.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

#[tokio::test(flavor = "multi_thread")]
async fn bad_12_packets_with_bad_seals_are_dropped_and_hang_up_nobody() {
    let scene = Scene::new("bad-12").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for at in 0..1000_usize {
        let packet = eve.packet(OPUS, AUDIO_SSRC, &SILENCE);
        let mut sealed = eve.sealed(packet);
        let place = 12 + at % (sealed.len() - 12);
        sealed[place] ^= 0x55;
        eve.send(&sealed).await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_13_replayed_packets_are_dropped() {
    let scene = Scene::new("bad-13").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    let packet = eve.packet(OPUS, AUDIO_SSRC, &SILENCE);
    let sealed = eve.sealed(packet);
    let mut compound = Vec::new();
    rtcp::receiver_report(&mut compound, AUDIO_SSRC, &[]);
    let report = eve.sealed_rtcp(compound);
    for _ in 0..500 {
        eve.send(&sealed).await;
        eve.send(&report).await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_14_srtp_and_srtcp_shorter_than_their_trailers_are_dropped() {
    let scene = Scene::new("bad-14").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for kind in [OPUS, 200, 201, 202, 203, 205, 206, 207] {
        for length in 0..48_usize {
            let mut short = vec![0x80, kind, 0, 9];
            short.resize(length.max(2), 0x11);
            short.truncate(length);
            eve.send(&short).await;
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_15_padding_longer_than_the_payload_is_no_packet() {
    let scene = Scene::new("bad-15").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for padding in [0, 1, 2, 3, 4, 100, 255] {
        for (payload_type, ssrc) in
            [(OPUS, AUDIO_SSRC), (RED, AUDIO_SSRC), (VP8, VIDEO_SSRC), (H264, VIDEO_SSRC)]
        {
            let mut packet = eve.packet(payload_type, ssrc, &[1, 2, padding]);
            packet[0] |= 0x20;
            let sealed = eve.sealed(packet);
            eve.send(&sealed).await;
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_16_header_extensions_that_overflow_or_change_their_meaning_are_harmless() {
    let scene = Scene::new("bad-16").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for profile in [[0xbe, 0xde], [0x10, 0x00], [0x10, 0x0f], [0, 0]] {
        for words in [0_u16, 1, 2, 200, 0xffff] {
            for element in
                [[0x1f, 0xff, 0xff, 0xff], [0xf0, 0, 0, 0], [0x4f, 0, 0, 0], [3, 255, 1, 1], [0; 4]]
            {
                for (payload_type, ssrc) in [(OPUS, AUDIO_SSRC), (VP8, VIDEO_SSRC)] {
                    let mut packet = eve.packet(payload_type, ssrc, &[]);
                    packet[0] |= 0x10;
                    packet.extend_from_slice(&profile);
                    packet.extend_from_slice(&words.to_be_bytes());
                    packet.extend_from_slice(&element);
                    packet.extend_from_slice(&SILENCE);
                    let sealed = eve.sealed(packet);
                    eve.send(&sealed).await;
                }
            }
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_17_rtcp_whose_lengths_and_counts_lie_is_passed_over() {
    let scene = Scene::new("bad-17").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    // SR, RR, SDES, BYE, APP, feedback of both kinds, XR: each with every count and lengths that do not fit, and with
    // bodies of all ones: BYE with a reason of 255 bytes, TWCC with 65535 statuses, NACKs of everything.
    for kind in 200..=207_u8 {
        for count in 0..32_u8 {
            for words in [0_u16, 1, 6, 0xffff] {
                for fill in [0, 0xff] {
                    let mut compound = vec![0x80 | count, kind];
                    compound.extend_from_slice(&words.to_be_bytes());
                    compound.extend_from_slice(&AUDIO_SSRC.to_be_bytes());
                    compound.resize(32, fill);
                    eve.send_rtcp(compound).await;
                }
            }
        }
    }
    let mut bye = Vec::new();
    rtcp::receiver_report(&mut bye, AUDIO_SSRC, &[]);
    rtcp::bye(&mut bye, &[AUDIO_SSRC, VIDEO_SSRC]);
    eve.send_rtcp(bye).await;
    assert!(eve.check().await && eve.hears().await, "who says BYE on one stream is still there");
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_18_ssrcs_by_the_thousand_and_numbers_that_leap_are_bounded() {
    let scene = Scene::new("bad-18").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    // Without seals: 16 thousand strangers' names.
    for ssrc in 0..16_000_u32 {
        let packet = eve.packet(if ssrc % 2 == 0 { OPUS } else { VP8 }, ssrc, &SILENCE);
        eve.send(&packet).await;
        if ssrc % 200 == 0 {
            assert!(eve.check().await, "answered behind them: the server has looked at them all");
        }
    }
    // With seals, as far as they go, and with numbers and times that leap both ways.
    for ssrc in 0..300_u32 {
        eve.send_rtp(OPUS, 1 + ssrc, &SILENCE).await;
    }
    for sequence in [0, 0x7fff, 0x8000, 0xffff, 0, 1, 0xfffe, 3] {
        for timestamp in [0, u32::MAX, 1, u32::MAX / 2] {
            let mut packet = eve.packet(OPUS, AUDIO_SSRC, &SILENCE);
            packet[2..4].copy_from_slice(&u16::to_be_bytes(sequence));
            packet[4..8].copy_from_slice(&u32::to_be_bytes(timestamp));
            let sealed = eve.sealed(packet);
            eve.send(&sealed).await;
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_19_truncated_video_descriptors_are_no_frames() {
    let scene = Scene::new("bad-19").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    // VP8: every first byte with every extension bit, cut at each length (RFC 7741 section 4.2).
    for first in 0..=255_u8 {
        for extension in [0x00, 0x80, 0xf0, 0xff] {
            for length in 0..7 {
                let whole = [first, extension, 0x80, 0xff, 0xff, 0xff, 0x10];
                eve.send_rtp(VP8, VIDEO_SSRC, &whole[..length]).await;
            }
        }
        tokio::task::yield_now().await;
    }
    // H.264: aggregates and fragments whose lengths lie (RFC 6184 sections 5.7 and 5.8).
    for kind in 0..=255_u8 {
        for rest in [&[][..], &[0], &[0, 0], &[0xff, 0xff], &[0, 1], &[0, 5, 0x67], &[0x80], &[0xc5, 0x01]] {
            eve.send_rtp(H264, VIDEO_SSRC, &[&[kind], rest].concat()).await;
        }
        tokio::task::yield_now().await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

/// This header extension with these bytes, in the two-byte form (RFC 8285 section 4.3), to be put behind a fixed header.
fn extension(id: u8, bytes: &[u8]) -> Vec<u8> {
    let mut element = vec![id, bytes.len() as u8];
    element.extend_from_slice(bytes);
    element.resize(element.len().next_multiple_of(4), 0);
    let words = (element.len() / 4) as u16;
    [&[0x10, 0x00], &words.to_be_bytes()[..], &element].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_19_truncated_descriptors_of_scalable_video_are_no_frames() {
    let scene = Scene::new("bad-19-svc").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for first in 0..=255_u8 {
        // VP9: every first byte, scalability structures that promise much, cut at each length (RFC 9628 section 4.2).
        for structure in [0x00, 0x1b, 0xf8, 0xff] {
            let whole = [first, 0x80, 0xff, structure, 0xff, structure, 0xff, 0xff, 0xff];
            for length in 0..=whole.len() {
                eve.send_rtp(VP9, VIDEO_SSRC, &whole[..length]).await;
            }
        }
        // AV1: every aggregation header, sizes of OBUs that lie, and dependency descriptors that are none (AV1 RTP
        // payload specification, section 4.4 and appendix A).
        for descriptor in [&[][..], &[first], &[0x80, 0, 1], &[0xc0, 0, 1, 0xff, 0xff], &random::<60>()] {
            for obus in [&[][..], &[0xff; 9], &[0x0a, 0xff, 0xff, 0xff, 0x7f]] {
                let mut packet = eve.packet(AV1, VIDEO_SSRC, &[]);
                packet[0] |= 0x10;
                packet.extend_from_slice(&extension(DEPENDENCY_DESCRIPTOR, descriptor));
                packet.push(first);
                packet.extend_from_slice(obus);
                let sealed = eve.sealed(packet);
                eve.send(&sealed).await;
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_20_redundant_audio_longer_than_its_packet_is_dropped() {
    let scene = Scene::new("bad-20").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    let lies: [&[u8]; 9] = [
        &[],
        &[0x80 | OPUS],
        &[0x80 | OPUS, 0x0f, 0x03],
        &[0x80 | OPUS, 0x0f, 0x03, 0xff, OPUS],
        &[0x80 | OPUS, 0xff, 0xff, 0xff, OPUS, 1],
        &[0x80 | OPUS, 0, 0, 0, 0x80 | OPUS, 0, 0, 0],
        &[0xff; 64],
        &[0x80 | RED, 0, 0, 1, RED, 1, 2],
        &[OPUS],
    ];
    for _ in 0..50 {
        for payload in lies {
            eve.send_rtp(RED, AUDIO_SSRC, payload).await;
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_21_storms_of_nacks_and_keyframe_requests_are_throttled() {
    let scene = Scene::new("bad-21").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    let before = scene.ann.stats().keyframes_wanted;
    for round in 0..300_u32 {
        // Of its own streams, of streams that are not there, and of every one that it may guess.
        for media_ssrc in [AUDIO_SSRC, VIDEO_SSRC, round, u32::from_be_bytes(random())] {
            let mut compound = Vec::new();
            rtcp::receiver_report(&mut compound, VIDEO_SSRC, &[]);
            rtcp::pli(&mut compound, VIDEO_SSRC, media_ssrc);
            rtcp::fir(&mut compound, VIDEO_SSRC, media_ssrc, round as u8);
            rtcp::nack(&mut compound, VIDEO_SSRC, media_ssrc, (0..400).map(|lost| lost * 7));
            eve.send_rtcp(compound).await;
        }
        tokio::task::yield_now().await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
    let wanted = scene.ann.stats().keyframes_wanted - before;
    assert!(wanted < 20, "ann was asked for {wanted} keyframes by somebody who does not even watch her");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_22_hostile_opus_frames_are_at_worst_silence_also_as_redundant_copies() {
    let scene = Scene::new("bad-22").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    // Every table-of-contents byte (RFC 6716 section 3.1): all modes, bandwidths, 2.5 to 60 ms, mono and stereo, one frame
    // to many; with nothing, too little, too much and nonsense after it, among it 120 ms and frames of no bytes.
    for toc in 0..=255_u8 {
        for rest in [
            &[][..],
            &[0],
            &[0x3f],
            &[0xff; 2],
            &[48, 0],
            &[0x83, 1, 1],
            &random::<40>()[..],
            &random::<900>()[..],
        ] {
            let frame = [&[toc], rest].concat();
            eve.send_rtp(OPUS, AUDIO_SSRC, &frame).await;
            eve.send_rtp(RED, AUDIO_SSRC, &copied(&frame)).await;
        }
        eve.send_rtp(OPUS, AUDIO_SSRC, &[]).await;
        // Not faster than the mixer takes them, which sends a packet for each 20 ms: what comes at once is dropped before it
        // is decoded.
        if toc % 4 == 0 {
            assert!(eve.hears().await);
        }
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

/// Redundant audio (RFC 2198 section 3) whose lengths are true: the frame as its own copy of two ages, one that a packet may
/// be old and one that none is, and as what the packet is for.
fn copied(frame: &[u8]) -> Vec<u8> {
    let header = |age: u32| (u32::from(0x80 | OPUS) << 24 | age << 10 | frame.len() as u32).to_be_bytes();
    [&header(1920)[..], &header(7), &[OPUS], frame, frame, frame].concat()
}
