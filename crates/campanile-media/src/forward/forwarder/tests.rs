//! One subscription: its switches, its numbers, its repairs.

use std::time::Duration;

use super::*;
use crate::forward::payload::PayloadInfo;
use crate::forward::{PictureNumbers, VideoCodec, inspect, write_copy};
use crate::rtp::RtpHeader;
use crate::test_start as start;

/// A VP8 packet with a 15-bit picture id and TL0PICIDX.
fn vp8(seq: u16, timestamp: u32, picture: u16, tl0: u8, keyframe: bool) -> StoredPacket {
    layered_vp8(seq, timestamp, (picture, tl0), 0x20, keyframe)
}

/// The same, with its temporal layer: TID, Y, KEYIDX.
fn layered_vp8(
    seq: u16,
    timestamp: u32,
    (picture, tl0): (u16, u8),
    layer: u8,
    keyframe: bool,
) -> StoredPacket {
    let id = (0x8000 | picture).to_be_bytes();
    let payload = vec![0x90, 0xe0, id[0], id[1], tl0, layer, if keyframe { 0 } else { 1 }];
    let info = inspect(VideoCodec::Vp8, &payload);
    assert_eq!(info.starts_keyframe, keyframe);
    let seq = SeqNo::first(seq);
    StoredPacket {
        seq,
        at: start(),
        timestamp,
        marker: true,
        payload,
        info,
        codec: 0,
        orientation: None,
        descriptor: Vec::new(),
        structure: None,
    }
}

/// What the subscriber finds in its copy.
fn written(numbers: Rewritten, packet: &StoredPacket) -> PayloadInfo {
    let mut out = Vec::new();
    write_copy(&mut out, 1, 96, &[], numbers, packet);
    let header = RtpHeader::parse(&out).expect("an RTP packet");
    inspect(VideoCodec::Vp8, &out[header.payload])
}

#[test]
fn a_subscriber_begins_at_a_keyframe() {
    let mut forwarder = Forwarder::new(1, 2, 100);
    let now = start();
    forwarder.set_target(Some(Layer::whole(11)));
    assert_eq!(forwarder.offer(now, 11, &vp8(5, 0, 1, 1, false)), None);
    assert_eq!(forwarder.awaits_keyframe_of(), Some(11));
    assert_eq!(forwarder.offer(now, 12, &vp8(5, 0, 1, 1, true)), None, "another stream's keyframe");
    assert_eq!((forwarder.takes(11), forwarder.takes(12)), (true, false), "before it sends, too");
    assert_eq!(forwarder.offer(now, 11, &vp8(6, 0, 2, 2, true)).map(|r| r.seq), Some(100));
    assert_eq!(forwarder.awaits_keyframe_of(), None);
    assert_eq!(
        forwarder.offer(now, 11, &vp8(8, 0, 3, 3, false)).map(|r| r.seq),
        Some(102),
        "a loss stays a gap"
    );
    assert_eq!(forwarder.offer(now, 11, &vp8(7, 0, 2, 2, false)).map(|r| r.seq), Some(101));
    assert_eq!(forwarder.offer(now, 11, &vp8(4, 0, 0, 0, false)), None, "from before the keyframe");
}

#[test]
fn a_switch_leaves_no_seam() {
    let mut forwarder = Forwarder::new(1, 2, 65_535);
    let now = start();
    forwarder.set_target(Some(Layer::whole(11)));
    forwarder.offer(now, 11, &vp8(6, 90_000, 0x7fff, 255, true));
    forwarder.set_target(Some(Layer::whole(12)));
    let later = now + Duration::from_millis(66);
    assert!(forwarder.offer(later, 11, &vp8(7, 95_940, 0x0000, 0, false)).is_some(), "the old one goes on");
    assert!(forwarder.takes(11) && forwarder.takes(12), "either matters until the switch");
    let packet = vp8(900, 1, 500, 9, true);
    let numbers = forwarder.offer(later + Duration::from_millis(40), 12, &packet).expect("switches");
    assert_eq!((numbers.seq, numbers.timestamp), (1, 95_940 + 3600));
    let seen = written(numbers, &packet).numbers;
    assert_eq!((seen.picture_id, seen.tl0_picture), (Some((2, 1, true)), Some((4, 1))));
    assert!(!forwarder.takes(11));
    assert_eq!(forwarder.offer(later, 11, &vp8(8, 0, 1, 1, false)), None, "the old one has ended");
}

#[test]
fn left_out_frames_leave_no_gap() {
    // Three temporal layers: 0 2 1 2, the first 2 and the 1 of each round being sync frames.
    let layers = [0x20, 0xa0, 0x60, 0x80];
    let packet = |at: u16| {
        let numbers = ((0x7ff0 + at) & 0x7fff, 250u8.wrapping_add((at / 4) as u8));
        let layer = layers[usize::from(at % 4)];
        let packet = layered_vp8(0, 3000 * u32::from(at), numbers, layer, at == 0);
        StoredPacket { seq: SeqNo::first(65_530).plus(i64::from(at)), ..packet }
    };
    let mut forwarder = Forwarder::new(1, 2, 65_534);
    let mut sent = Vec::new();
    for at in 0..60 {
        let temporal = [7, 0, 1, 7][usize::from(at / 16)];
        forwarder.set_target(Some(Layer { temporal, ..Layer::whole(11) }));
        let Some(numbers) = forwarder.offer(start(), 11, &packet(at)) else { continue };
        sent.push((at, numbers.seq, written(numbers, &packet(at)).numbers));
    }
    let chosen: Vec<_> = sent.iter().map(|(at, ..)| *at).collect();
    let expected: Vec<u16> = (0..60)
        .filter(|at| match at {
            16..32 => at % 4 == 0,
            32..48 => at % 2 == 0,
            _ => true,
        })
        .collect();
    assert_eq!(chosen, expected);
    for (before, after) in sent.iter().zip(&sent[1..]) {
        assert_eq!(after.1, before.1.wrapping_add(1), "packet {}", after.0);
        let id = |sent: &(u16, u16, PictureNumbers)| sent.2.picture_id.map(|(_, id, _)| id).expect("an id");
        assert_eq!(id(after), (id(before) + 1) & 0x7fff, "picture {}", after.0);
    }
    // Every repair still finds its packet.
    for (at, seq, _) in &sent {
        let (_, original, _) = forwarder.find(*seq).expect("sent");
        assert_eq!(original.wire(), packet(*at).seq.wire());
    }
}

#[test]
fn a_late_packet_of_a_left_out_frame_is_sent_empty() {
    let mut forwarder = Forwarder::new(1, 2, 100);
    forwarder.set_target(Some(Layer { temporal: 0, ..Layer::whole(11) }));
    let packet = |at: u16| {
        layered_vp8(
            at,
            3000 * u32::from(at),
            (at, at as u8),
            if at.is_multiple_of(2) { 0x20 } else { 0x60 },
            at == 0,
        )
    };
    let mut offer = |at| forwarder.offer(start(), 11, &packet(at)).map(|sent| (sent.seq, sent.is_filler));
    assert_eq!(offer(0), Some((100, false)));
    // 1 and 2 are missing: either may be needed.
    assert_eq!(offer(3), None);
    assert_eq!(offer(4), Some((103, false)));
    assert_eq!(offer(1), Some((101, true)));
    assert_eq!(offer(2), Some((102, false)));
    assert_eq!(offer(3), None, "left out for good");
}

#[test]
fn a_replay_passes_in_a_moment_and_goes_on_at_the_streams_own_pace() {
    let mut forwarder = Forwarder::new(1, 2, 100);
    let now = start();
    forwarder.set_target(Some(Layer { temporal: 0, ..Layer::whole(11) }));
    // Two packets a picture, every second picture of the upper temporal layer.
    let packet = |at: u16| {
        let picture = at / 2;
        let layer = if picture.is_multiple_of(2) { 0x20 } else { 0x60 };
        let numbers = (picture, picture as u8);
        let mut packet = layered_vp8(at, 3000 * u32::from(picture), numbers, layer, at == 0);
        packet.info.begins_frame = at.is_multiple_of(2);
        packet
    };
    let past: Vec<_> = (0..12).map(packet).collect();
    let mut sent = Vec::new();
    for at in 0..2 {
        // Once more, as for a receiver that missed the first.
        sent.clear();
        forwarder.replay(now + Duration::from_secs(at), 11, past.iter(), |numbers, packet| {
            sent.push((numbers.seq, numbers.timestamp, packet.seq.wire()));
        });
    }
    let first = sent[0].1;
    let expected: Vec<_> =
        [0, 1, 4, 5, 8, 9].iter().zip(0..).map(|(seq, at)| (106 + at, at / 2, *seq)).collect();
    let seen: Vec<_> =
        sent.iter().map(|(out, time, seq)| (*out, ((time - first) / 90) as u16, *seq)).collect();
    assert_eq!(seen, expected);
    assert_eq!(first, 90 * 2 + 90_000, "a second after the first time");
    // Late packets, repairs, and what is live.
    let check = |seq: u16, expected: u16| {
        assert_eq!(forwarder.find(seq).map(|(_, original, _)| original.wire()), Some(expected), "{seq}");
    };
    for (out, _, seq) in &sent {
        check(*out, *seq);
    }
    let mut live =
        |at| forwarder.offer(now, 11, &packet(at)).map(|numbers| (numbers.seq, numbers.timestamp - first));
    assert_eq!(live(12), Some((112, 180 + 6000)), "as long after the last as it was taken");
    assert_eq!(live(13), Some((113, 180 + 6000)));
    assert_eq!(live(14), None);
}

#[test]
fn a_repair_finds_the_publishers_packet() {
    let mut forwarder = Forwarder::new(1, 2, 10);
    let now = start();
    forwarder.set_target(Some(Layer::whole(11)));
    for seq in 100..105 {
        forwarder.offer(now, 11, &vp8(seq, 0, 1, 1, seq == 100));
    }
    forwarder.set_target(Some(Layer::whole(12)));
    for seq in 7..9 {
        forwarder.offer(now, 12, &vp8(seq, 0, 1, 1, seq == 7));
    }
    let check = |seq, expected: Option<(u32, u16)>| {
        assert_eq!(forwarder.find(seq).map(|(s, n, _)| (s, n.wire())), expected, "{seq}");
    };
    check(10, Some((11, 100)));
    check(14, Some((11, 104)));
    check(15, Some((12, 7)));
    check(16, Some((12, 8)));
    check(17, None);
    check(9, None);
}

#[test]
fn what_begins_takes_no_number_of_a_picture_whose_only_packets_came_late() {
    let mut forwarder = Forwarder::new(1, 2, 100);
    let now = start();
    forwarder.set_target(Some(Layer { temporal: 0, ..Layer::whole(11) }));
    forwarder.offer(now, 11, &vp8(1, 0, 7, 7, true));
    // Each picture of the lower layer is overtaken by the next, which is of the upper one and left out.
    for at in 1..4 {
        let (seq, timestamp, tl0) = (2 * at, 6000 * u32::from(at), 7 + at as u8);
        let upper = layered_vp8(seq + 1, timestamp + 3000, (7 + seq, tl0), 0x60, false);
        assert_eq!(forwarder.offer(now, 11, &upper), None);
        assert!(forwarder.offer(now, 11, &vp8(seq, timestamp, 6 + seq, tl0, false)).is_some());
    }
    forwarder.set_target(Some(Layer::whole(12)));
    let packet = vp8(500, 0, 90, 90, true);
    let seen = forwarder.offer(now, 12, &packet).map(|numbers| written(numbers, &packet).numbers);
    let ids = seen.map(|seen| (seen.picture_id.map(|(_, id, _)| id), seen.tl0_picture.map(|(_, id)| id)));
    assert_eq!(ids, Some((Some(11), Some(11))));
}

#[test]
fn what_came_before_the_last_keyframe_is_outdated() {
    let mut forwarder = Forwarder::new(1, 2, 65_534);
    let now = start();
    let outdated = |forwarder: &Forwarder| {
        [65_534, 65_535, 0, 1, 2].map(|seq| forwarder.is_outdated(seq)).into_iter().filter(|is| *is).count()
    };
    assert_eq!(outdated(&forwarder), 0, "nothing was sent");
    forwarder.set_target(Some(Layer::whole(11)));
    forwarder.offer(now, 11, &vp8(7, 0, 1, 1, true));
    forwarder.offer(now, 11, &vp8(8, 3000, 2, 2, false));
    assert_eq!(outdated(&forwarder), 0);
    forwarder.offer(now + KEYFRAME_REPAIRED / 2, 11, &vp8(9, 6000, 3, 3, true));
    assert_eq!(outdated(&forwarder), 0, "the first may still be repaired");
    forwarder.offer(now + KEYFRAME_REPAIRED, 11, &vp8(10, 9000, 4, 4, true));
    assert_eq!(outdated(&forwarder), 3, "the same stream goes on with another");
    forwarder.set_target(Some(Layer::whole(12)));
    forwarder.offer(now, 12, &vp8(500, 0, 1, 1, true));
    forwarder.offer(now, 12, &vp8(501, 3000, 2, 2, false));
    assert_eq!(outdated(&forwarder), 4, "another stream begins");
}

#[test]
fn stopping_is_immediate_and_resuming_waits_for_a_keyframe() {
    let mut forwarder = Forwarder::new(1, 2, 10);
    let now = start();
    forwarder.set_target(Some(Layer::whole(11)));
    forwarder.offer(now, 11, &vp8(1, 0, 1, 1, true));
    forwarder.set_target(None);
    assert_eq!(forwarder.offer(now, 11, &vp8(2, 0, 2, 2, false)), None);
    forwarder.set_target(Some(Layer::whole(11)));
    assert_eq!(forwarder.offer(now, 11, &vp8(3, 0, 3, 3, false)), None);
    assert_eq!(forwarder.offer(now, 11, &vp8(4, 0, 4, 4, true)).map(|r| r.seq), Some(11));
}

#[test]
fn what_is_forgotten_is_not_repaired_and_what_follows_is() {
    let mut forwarder = Forwarder::new(1, 2, 10);
    let now = start();
    forwarder.set_target(Some(Layer::whole(11)));
    forwarder.offer(now, 11, &vp8(1, 0, 1, 1, true));
    for target in [None, Some(Layer::whole(11))] {
        forwarder.set_target(target);
        assert!(!forwarder.has_left(), "it may go on with the next keyframe");
    }
    forwarder.set_target(Some(Layer::whole(12)));
    assert!(forwarder.has_left());
    forwarder.forget();
    assert!(!forwarder.has_left() && forwarder.find(10).is_none());
    forwarder.set_target(Some(Layer::whole(11)));
    assert_eq!(forwarder.offer(now, 11, &vp8(2, 0, 2, 2, false)), None);
    assert_eq!(forwarder.offer(now, 11, &vp8(3, 0, 3, 3, true)).map(|r| r.seq), Some(11));
    assert!(forwarder.find(10).is_none());
    assert_eq!(forwarder.find(11).map(|(_, original, _)| original.wire()), Some(3));
}
