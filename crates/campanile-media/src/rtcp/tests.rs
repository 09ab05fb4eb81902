use std::time::{Duration, Instant};

use super::twcc::PacketStatus;
use super::*;

#[allow(clippy::disallowed_methods)] // Any instant will do to count from.
fn start() -> Instant {
    Instant::now()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a compound of one packet holds.
fn one(bytes: &[u8]) -> RtcpItem<'_> {
    let mut items = parse(bytes);
    let item = items.next().expect("a packet").expect("a good one");
    assert_eq!(items.next(), None, "one packet");
    item
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // Writers append: what was there stays.
    let mut out = vec![0xee];
    write(&mut out);
    assert_eq!(out.remove(0), 0xee);
    out
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x0102_0304,
    fraction_lost: 64,
    cumulative_lost: -2,
    highest_seq: 0x0001_fffe,
    jitter: 7,
    lsr: 0x1122_3344,
    dlsr: 0x0001_0000,
};

#[rustfmt::skip]
const BLOCK_BYTES: [u8; 24] = [
    1, 2, 3, 4, 64, 0xff, 0xff, 0xfe, 0, 1, 0xff, 0xfe, 0, 0, 0, 7, 0x11, 0x22, 0x33, 0x44, 0, 1, 0, 0,
];

#[test]
fn receiver_reports() {
    let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    bytes.extend(BLOCK_BYTES);
    assert_eq!(written(|out| receiver_report(out, 9, &[BLOCK])), bytes);
    let RtcpItem::ReceiverReport { ssrc: 9, mut reports } = one(&bytes) else { panic!("not an RR") };
    assert_eq!((reports.next(), reports.next()), (Some(BLOCK), None));
    assert_eq!(written(|out| receiver_report(out, 9, &[])), [0x80, 201, 0, 1, 0, 0, 0, 9]);
}

#[test]
fn sender_reports() {
    let info = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 10, packets: 11, octets: 12 };
    #[rustfmt::skip]
    let bytes = [
        0x80, 200, 0, 6, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12,
    ];
    assert_eq!(written(|out| sender_report(out, 9, &info, &[])), bytes);
    assert!(matches!(one(&bytes), RtcpItem::SenderReport { ssrc: 9, info: read, .. } if read == info));
    // 31 blocks fit; the rest follows.
    let many = written(|out| sender_report(out, 9, &info, &[BLOCK; 70]));
    let blocks = parse(&many).map(|item| match item {
        Ok(RtcpItem::SenderReport { reports, .. } | RtcpItem::ReceiverReport { reports, .. }) => {
            reports.count()
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(blocks.collect::<Vec<_>>(), [31, 31, 8]);
}

#[test]
fn cumulative_loss_is_24_bits_with_sign() {
    let check = |lost: i32, expected: i32| {
        let block = ReportBlock { cumulative_lost: lost, ..BLOCK };
        let bytes = written(|out| receiver_report(out, 9, &[block]));
        let RtcpItem::ReceiverReport { mut reports, .. } = one(&bytes) else { panic!("not an RR") };
        assert_eq!(
            reports.next().map(|block| (block.cumulative_lost, block.fraction_lost)),
            Some((expected, 64))
        );
    };
    check(0, 0);
    check(-1, -1);
    check(0x7f_ffff, 0x7f_ffff);
    check(0x80_0000, 0x7f_ffff);
    check(-0x80_0000, -0x80_0000);
    check(i32::MIN, -0x80_0000);
}

#[test]
fn source_descriptions() {
    let check = |name: &str, bytes: &[u8]| {
        assert_eq!(written(|out| sdes_cname(out, 9, name)), bytes);
        let RtcpItem::Sdes(mut chunks) = one(bytes) else { panic!("not an SDES") };
        assert_eq!(chunks.next(), Some((9, Some(name.as_bytes()))));
        assert_eq!(chunks.next(), None);
    };
    check("", &[0x81, 202, 0, 2, 0, 0, 0, 9, 1, 0, 0, 0]);
    check("x", &[0x81, 202, 0, 2, 0, 0, 0, 9, 1, 1, b'x', 0]);
    check("xy", &[0x81, 202, 0, 3, 0, 0, 0, 9, 1, 2, b'x', b'y', 0, 0, 0, 0]);
    let long = "n".repeat(300);
    let bytes = written(|out| sdes_cname(out, 9, &long));
    let RtcpItem::Sdes(mut chunks) = one(&bytes) else { panic!("not an SDES") };
    assert_eq!(chunks.next(), Some((9, Some(&long.as_bytes()[..255]))));
    // Two chunks, the first with a tool name (6) before its CNAME.
    let two = [0x82, 202, 0, 6, 0, 0, 0, 1, 6, 1, b't', 1, 1, b'x', 0, 0, 0, 0, 0, 2, 6, 0, 0, 0, 0, 0, 0, 0];
    let RtcpItem::Sdes(chunks) = one(&two) else { panic!("not an SDES") };
    assert_eq!(chunks.collect::<Vec<_>>(), [(1, Some(&b"x"[..])), (2, None)]);
    // An item that runs over the end, and a chunk without an end mark.
    for bad in
        [[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 200, b'x', 0], [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'x', b'y']]
    {
        let RtcpItem::Sdes(chunks) = one(&bad) else { panic!("not an SDES") };
        assert_eq!(chunks.count(), 0);
    }
}

#[test]
fn goodbyes() {
    assert_eq!(written(|out| bye(out, &[5, 6])), [0x82, 203, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
    let read = |bytes: &[u8]| match one(bytes) {
        RtcpItem::Bye { ssrcs, reason } => (ssrcs.collect::<Vec<_>>(), reason.map(<[u8]>::to_vec)),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&[0x81, 203, 0, 1, 0, 0, 0, 5]), (vec![5], None));
    assert_eq!(read(&[0x81, 203, 0, 2, 0, 0, 0, 5, 2, b'o', b'k', 0]), (vec![5], Some(b"ok".to_vec())));
    assert_eq!(read(&[0x80, 203, 0, 0]), (vec![], None));
    fails(&[0x81, 203, 0, 2, 0, 0, 0, 5, 4, b'o', b'k', 0], &[RtcpError::Truncated]);
    fails(&[0x82, 203, 0, 1, 0, 0, 0, 5], &[RtcpError::Truncated]);
}

#[test]
fn nacks() {
    let check = |lost: &[u16], entries: &[u8]| {
        let bytes = written(|out| nack(out, 1, 2, lost.iter().copied()));
        assert_eq!(bytes[..4], [0x81, 205, 0, (2 + entries.len() / 4) as u8]);
        assert_eq!(bytes[4..12], [0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(&bytes[12..], entries);
        let RtcpItem::Nack { ssrc: 2, lost: read } = one(&bytes) else { panic!("not a NACK") };
        assert_eq!(read.collect::<Vec<_>>(), lost);
    };
    check(&[100], &[0, 100, 0, 0]);
    check(&[100, 101, 116], &[0, 100, 0x80, 0x01]);
    check(&[100, 117], &[0, 100, 0, 0, 0, 117, 0, 0]);
    check(&[0xffff, 0], &[0xff, 0xff, 0, 1]);
    check(&[7, 3], &[0, 7, 0, 0, 0, 3, 0, 0]);
    assert!(written(|out| nack(out, 1, 2, [])).is_empty());
    let bytes = written(|out| nack(out, 1, 2, (0..1000).map(|n| n * 20)));
    assert_eq!(bytes.len(), 12 + 1000);
    fails(&[0x81, 205, 0, 1, 0, 0, 0, 1], &[RtcpError::Truncated]);
}

#[test]
fn keyframe_requests() {
    let bytes = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(written(|out| pli(out, 1, 2)), bytes);
    assert_eq!(one(&bytes), RtcpItem::Pli { ssrc: 2 });
    let bytes = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0];
    assert_eq!(written(|out| fir(out, 1, 2, 3)), bytes);
    assert_eq!(one(&bytes), RtcpItem::Fir { ssrc: 2, sequence: 3 });
    // Each entry is an item; what follows the FIR is not forgotten.
    let mut two =
        vec![0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0];
    pli(&mut two, 1, 6);
    let items: Vec<_> = parse(&two).flatten().collect();
    let fir = |ssrc, sequence| RtcpItem::Fir { ssrc, sequence };
    assert_eq!(items, [fir(2, 3), fir(4, 5), RtcpItem::Pli { ssrc: 6 }]);
    let empty = [0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(one(&empty), RtcpItem::Other { packet_type: 206, format: 4 });
}

#[test]
fn receiver_estimated_maximum_bitrate() {
    let check = |bitrate_bps: u64, exponent_and_mantissa: [u8; 3], expected: u64| {
        let [high, middle, low] = exponent_and_mantissa;
        #[rustfmt::skip]
        let bytes = [
            0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, high, middle, low, 0, 0, 0, 7,
        ];
        assert_eq!(written(|out| remb(out, 1, bitrate_bps, &[7])), bytes);
        let RtcpItem::Remb { bitrate_bps: read, mut ssrcs } = one(&bytes) else { panic!("not a REMB") };
        assert_eq!((read, ssrcs.next(), ssrcs.next()), (expected, Some(7), None));
    };
    check(0, [0, 0, 0], 0);
    check(1000, [0, 0x03, 0xe8], 1000);
    check(0x3_ffff, [0x03, 0xff, 0xff], 0x3_ffff);
    check(0x4_0000, [0x06, 0x00, 0x00], 0x4_0000);
    check(2_500_000, [0x12, 0x62, 0x5a], 2_500_000);
    check(2_500_001, [0x12, 0x62, 0x5a], 2_500_000);
    // The exponent's six bits reach further than 64.
    let huge = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff];
    assert!(matches!(one(&huge), RtcpItem::Remb { bitrate_bps: u64::MAX, .. }));
    let short = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0, 0, 1];
    fails(&short, &[RtcpError::Truncated]);
    let other = [0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'A'];
    assert_eq!(one(&other), RtcpItem::Other { packet_type: 206, format: 15 });
}

/// The errors of a compound.
fn fails(bytes: &[u8], expected: &[RtcpError]) {
    let errors: Vec<_> = parse(bytes).filter_map(Result::err).collect();
    assert_eq!(errors, expected, "{bytes:02x?}");
}

#[test]
fn lengths_and_padding_of_strangers() {
    fails(&[], &[]);
    fails(&[0x80], &[RtcpError::Truncated]);
    fails(&[0x80, 201, 0], &[RtcpError::Truncated]);
    fails(&[0x80, 201, 0, 1], &[RtcpError::Truncated]);
    fails(&[0x80, 201, 0xff, 0xff, 0, 0, 0, 1], &[RtcpError::Truncated]);
    fails(&[0x00, 201, 0, 0], &[RtcpError::Version(0)]);
    fails(&[0xc0, 201, 0, 0], &[RtcpError::Version(3)]);
    fails(&[0x81, 201, 0, 1, 0, 0, 0, 9], &[RtcpError::Truncated]);
    // Padding that is none, or more than there is.
    fails(&[0xa0, 201, 0, 0], &[RtcpError::Padding]);
    fails(&[0xa0, 201, 0, 1, 0, 0, 0, 0], &[RtcpError::Padding]);
    fails(&[0xa0, 201, 0, 1, 0, 0, 0, 5], &[RtcpError::Padding]);
    let padded = [0xa0, 201, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4];
    assert!(matches!(one(&padded), RtcpItem::ReceiverReport { ssrc: 9, .. }));
}

#[test]
fn a_bad_packet_does_not_hide_the_next() {
    let mut bytes = vec![0x81, 201, 0, 1, 0, 0, 0, 9];
    // Extended reports are passed over.
    bytes.extend([0x80, 207, 0, 2, 0, 0, 0, 9, 4, 0, 0, 200]);
    pli(&mut bytes, 1, 2);
    let items: Vec<_> = parse(&bytes).collect();
    let other = RtcpItem::Other { packet_type: 207, format: 0 };
    assert_eq!(items, [Err(RtcpError::Truncated), Ok(other), Ok(RtcpItem::Pli { ssrc: 2 })]);
}

#[test]
fn rtcp_is_told_from_rtp() {
    assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x80, 192]) && is_rtcp(&[0x80, 223]));
    assert!(!is_rtcp(&[0x80, 111]) && !is_rtcp(&[0x80, 0x80 | 111]) && !is_rtcp(&[0x80]) && !is_rtcp(&[]));
}

// Transport-wide feedback.

/// The feedback with these chunks and deltas, about packets from 0xfffe on, counted from 64 ms.
fn feedback(count: u16, rest: &[u8]) -> Vec<u8> {
    written(|out| {
        write::packet(out, 205, 15, |out| {
            out.extend([0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe]);
            out.extend(count.to_be_bytes());
            out.extend([0, 0, 1, 42]);
            out.extend(rest);
        });
    })
}

fn arrivals(bytes: &[u8]) -> Result<Vec<PacketStatus>, RtcpError> {
    let RtcpItem::TransportFeedback(feedback) = one(bytes) else { panic!("no feedback") };
    feedback.packets().map(Iterator::collect)
}

#[test]
fn feedback_is_read() {
    let check = |count: u16, rest: &[u8], expected: &[Option<i64>]| {
        let read = arrivals(&feedback(count, rest)).expect("good feedback");
        let expected = expected.iter().zip(0u16..).map(|(arrival_us, at)| PacketStatus {
            sequence: 0xfffe_u16.wrapping_add(at),
            arrival_us: arrival_us.map(|ticks| 64_000 + 250 * ticks),
        });
        assert_eq!(read, expected.collect::<Vec<_>>());
    };
    // Runs: two small deltas, three missing.
    check(5, &[0x20, 2, 0x00, 3, 4, 1], &[Some(4), Some(5), None, None, None]);
    // A run longer than the count, and runs of none before the one that counts.
    check(2, &[0x3f, 0xff, 4, 1], &[Some(4), Some(5)]);
    check(1, &[0x20, 0, 0x40, 0, 0x20, 1, 9], &[Some(9)]);
    // Bits: here, not, here; what the chunk says beyond the count is nothing.
    check(3, &[0xa8 | 0x03, 0xff, 4, 1], &[Some(4), None, Some(5)]);
    // Pairs: small, large (back by 3), not, large (ahead by 300), ...
    check(4, &[0b1101_1000, 0b1000_0000, 4, 0xff, 0xfd, 0x01, 0x2c], &[Some(4), Some(1), None, Some(301)]);
    // Bits fill a chunk and go on in the next.
    let mut fifteen = vec![0xbf, 0xff, 0x80, 0x00];
    fifteen.extend([1; 14]);
    let mut expected: Vec<_> = (1..15).map(Some).collect();
    expected.push(None);
    check(15, &fifteen, &expected);

    let bytes = feedback(1, &[0x20, 1, 0]);
    let RtcpItem::TransportFeedback(read) = one(&bytes) else { panic!() };
    assert_eq!((read.sender_ssrc, read.media_ssrc, read.base_sequence), (1, 2, 0xfffe));
    assert_eq!((read.status_count, read.reference_time, read.feedback_count), (1, 1, 42));
}

#[test]
fn feedback_of_strangers() {
    let check = |count: u16, rest: &[u8], error: RtcpError| {
        assert_eq!(arrivals(&feedback(count, rest)), Err(error), "{rest:02x?}");
    };
    check(0, &[0x20, 1, 0, 0], RtcpError::StatusChunk);
    check(8193, &[0x1f, 0xff, 0x1f, 0xff], RtcpError::StatusChunk);
    check(1, &[], RtcpError::Truncated);
    check(9, &[0x20, 2, 0, 0], RtcpError::Truncated);
    // Deltas that are not there.
    check(8192, &[0x3f, 0xff, 0x20, 1], RtcpError::Truncated);
    check(3, &[0x40, 3, 0, 1], RtcpError::Truncated);
    // The reserved symbol, in a run and in a pair.
    check(1, &[0x60, 1, 0, 0], RtcpError::StatusChunk);
    check(2, &[0b1100_1100, 0, 0, 0], RtcpError::StatusChunk);
    fails(&[0x8f, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1], &[RtcpError::Truncated]);
    // A reference time before the epoch.
    let mut bytes = feedback(1, &[0x20, 1, 0, 0]);
    bytes[16..19].copy_from_slice(&[0xff, 0xff, 0xff]);
    assert_eq!(arrivals(&bytes), Ok(vec![PacketStatus { sequence: 0xfffe, arrival_us: Some(-64_000) }]));
}

/// Records packets that arrive at so many us, and returns what each feedback then says.
fn report(
    recorder: &mut TwccRecorder,
    start: Instant,
    packets: &[(u16, u64)],
) -> Vec<Vec<(u16, Option<i64>)>> {
    for &(sequence, us) in packets {
        recorder.record(sequence, start + Duration::from_micros(us));
    }
    let mut all = Vec::new();
    while let Some(due) = recorder.poll_timeout() {
        let mut out = Vec::new();
        assert!(!recorder.build(due - ms(1), 1, 2, &mut out) && out.is_empty(), "not yet due");
        assert!(recorder.build(due, 1, 2, &mut out));
        assert!(out.len() <= 1000, "{} bytes", out.len());
        let read = arrivals(&out).expect("our own feedback");
        all.push(read.iter().map(|status| (status.sequence, status.arrival_us)).collect());
    }
    all
}

#[test]
fn arrivals_are_reported_once() {
    let (mut recorder, start) = (TwccRecorder::new(), start());
    assert_eq!(recorder.poll_timeout(), None);
    assert!(!recorder.build(start, 1, 2, &mut Vec::new()));
    let first = report(&mut recorder, start, &[(65_534, 0), (65_535, 1100), (1, 2000), (1, 9000)]);
    assert_eq!(first, [[(65_534, Some(0)), (65_535, Some(1000)), (0, None), (1, Some(2000))]]);
    // The next feedback goes on where this one ended, also if packets are missing there.
    assert_eq!(report(&mut recorder, start, &[(3, 70_000)]), [[(2, None), (3, Some(70_000))]]);
    assert_eq!(recorder.poll_timeout(), None);
}

#[test]
fn feedback_is_due_50_ms_after_the_first_arrival() {
    let (mut recorder, start) = (TwccRecorder::new(), start());
    recorder.record(1, start);
    recorder.record(2, start + ms(49));
    assert_eq!(recorder.poll_timeout(), Some(start + ms(50)));
    assert!(recorder.build(start + ms(50), 1, 2, &mut Vec::new()));
    assert_eq!(recorder.poll_timeout(), None);
    recorder.record(2, start + ms(51));
    assert_eq!(recorder.poll_timeout(), None, "a repetition is no news");
}

#[test]
fn feedback_is_written_in_the_shortest_chunks() {
    let check = |packets: &[(u16, u64)], expected: &[u8]| {
        let (mut recorder, start, mut out) = (TwccRecorder::new(), start(), Vec::new());
        for &(sequence, us) in packets {
            recorder.record(sequence, start + Duration::from_micros(us));
        }
        recorder.build(recorder.poll_timeout().expect("due"), 1, 2, &mut out);
        assert_eq!(&out[20..], expected);
        assert_eq!(out[..4], [0x8f, 205, 0, (out.len() / 4 - 1) as u8]);
    };
    let steady = |count: u16| (0..count).map(|n| (n, u64::from(n) * 1000)).collect::<Vec<_>>();
    // One run, with zeros up to a whole word.
    check(&steady(3), &[0x20, 3, 0, 4, 4, 0, 0, 0]);
    // Up to 14 make bits; more of the same make a run.
    check(&[(0, 0), (2, 250), (3, 500)], &[0xac, 0, 0, 1, 1, 0, 0, 0]);
    check(&[(0, 0), (21, 250)], &[0xa0, 0, 0x80, 0x40, 0, 1, 0, 0]);
    check(&[(0, 0), (40, 250)], &[0xa0, 0, 0x00, 26, 0x20, 1, 0, 1]);
    // A delta of more than 63.75 ms, and one that goes back, take two bytes each.
    check(&[(0, 0), (1, 63_750), (2, 127_750)], &[0xd6, 0, 0, 255, 1, 0, 0, 0]);
    check(&[(0, 0), (2, 1000), (1, 1500), (3, 1500)], &[0xd6, 0x40, 0, 6, 0xff, 0xfe, 2, 0]);
}

#[test]
fn a_late_packet_is_reported_again_unless_it_is_very_late() {
    let (mut recorder, start) = (TwccRecorder::new(), start());
    let arrival = |n: u16| u64::from(n) * 1000;
    let all: Vec<_> = (0..300).filter(|&n| n != 100 && n != 250).map(|n| (n, arrival(n))).collect();
    assert_eq!(report(&mut recorder, start, &all).iter().map(Vec::len).sum::<usize>(), 300);
    let late = report(&mut recorder, start, &[(250, 310_000)]);
    assert_eq!(late[0][..2], [(250, Some(310_000)), (251, Some(251_000))]);
    assert_eq!(late[0].len(), 50);
    assert_eq!(report(&mut recorder, start, &[(100, 320_000)]), Vec::<Vec<_>>::new());
}

#[test]
fn what_does_not_fit_one_feedback_goes_into_the_next() {
    let (mut recorder, start) = (TwccRecorder::new(), start());
    // Each 100 ms after the other: large deltas.
    let slow: Vec<_> = (0..1000).map(|n: u16| (n, u64::from(n) * 100_000)).collect();
    let reports = report(&mut recorder, start, &slow);
    assert!(reports.len() > 1);
    let flat: Vec<_> = reports.concat();
    assert_eq!(flat, slow.iter().map(|&(n, us)| (n, Some(us as i64))).collect::<Vec<_>>());
    // A pause longer than a delta can tell begins a new feedback too.
    let reports = report(&mut recorder, start, &[(1000, 100_000_000), (1001, 110_000_000)]);
    assert_eq!(reports, [[(1000, Some(100_000_000))], [(1001, Some(110_000_000))]]);
}

#[test]
fn the_recorder_is_bounded_and_survives_jumps() {
    let (mut recorder, start) = (TwccRecorder::new(), start());
    report(&mut recorder, start, &[(0, 0)]);
    // A long gap is told of as far as the window goes.
    let reports = report(&mut recorder, start, &[(2000, 1000)]);
    assert_eq!(reports.concat().len(), 2000);
    let reports = report(&mut recorder, start, &[(2048 + 2000, 2000)]);
    assert_eq!(reports.concat().len(), 2048);
    // Further ahead: a new start.
    assert_eq!(report(&mut recorder, start, &[(20_000, 3000)]), [[(20_000, Some(3000))]]);
    // Behind: passed over, until it goes on like that.
    let back: Vec<_> = (0..128).map(|n| (n, 4000)).collect();
    assert!(report(&mut recorder, start, &back).is_empty());
    assert_eq!(report(&mut recorder, start, &[(128, 5000)]), [[(128, Some(5000))]]);
    // Never reported, yet never more than the window.
    for n in 0..10_000u16 {
        recorder.record(n.wrapping_mul(3), start + ms(u64::from(n)));
    }
    assert!(report(&mut recorder, start, &[]).concat().len() <= 2048);
}

// Reception.

/// Feeds one packet per 20 ms of audio, and returns the stats with the time of the last.
fn received(sequences: &[u16]) -> (ReceptionStats, Instant) {
    let (mut stats, mut now) = (ReceptionStats::new(7, 48_000), start());
    for &sequence in sequences {
        now += ms(20);
        stats.record(sequence, u32::from(sequence).wrapping_mul(960), now);
    }
    (stats, now)
}

#[test]
fn losses_are_counted() {
    let check = |sequences: &[u16], fraction_lost: u8, cumulative_lost: i32, highest_seq: u32| {
        let (mut stats, now) = received(sequences);
        let block = stats.report(now).expect("packets came");
        assert_eq!((block.ssrc, block.lsr, block.dlsr), (7, 0, 0));
        assert_eq!(
            (block.fraction_lost, block.cumulative_lost, block.highest_seq),
            (fraction_lost, cumulative_lost, highest_seq),
            "{sequences:?}"
        );
        assert_eq!((stats.lost(), stats.received()), (cumulative_lost.into(), sequences.len() as u64));
    };
    check(&[5], 0, 0, 5);
    check(&[5, 6, 7, 8], 0, 0, 8);
    check(&[5, 6, 8], 64, 1, 8);
    check(&[5, 8], 128, 2, 8);
    check(&[5, 7, 6], 0, 0, 7);
    check(&[5, 5], 0, -1, 5);
    check(&[65_535, 0, 1], 0, 0, 0x1_0001);
    check(&[65_535, 1, 0], 0, 0, 0x1_0001);
    check(&[65_534, 1], 128, 2, 0x1_0001);
    check(&[0, 2999], 255, 2998, 2999);
}

#[test]
fn no_report_before_the_first_packet() {
    assert_eq!(ReceptionStats::new(7, 48_000).report(start()), None);
}

#[test]
fn the_fraction_is_of_the_last_interval() {
    let (mut stats, now) = received(&[1, 2, 4]);
    assert_eq!(stats.report(now).map(|block| block.fraction_lost), Some(64));
    assert_eq!(stats.report(now).map(|block| (block.fraction_lost, block.cumulative_lost)), Some((0, 1)));
    stats.record(5, 5 * 960, now + ms(20));
    stats.record(7, 7 * 960, now + ms(40));
    assert_eq!(stats.report(now).map(|block| (block.fraction_lost, block.cumulative_lost)), Some((85, 2)));
    // More came than was due: late ones make up for the losses.
    stats.record(6, 6 * 960, now + ms(60));
    assert_eq!(stats.report(now).map(|block| (block.fraction_lost, block.cumulative_lost)), Some((0, 1)));
}

#[test]
fn one_wild_packet_is_ignored_and_two_in_a_row_are_a_new_start() {
    let (mut stats, now) = received(&[1, 2, 30_000, 3]);
    let block = stats.report(now).expect("packets came");
    assert_eq!((block.highest_seq, block.cumulative_lost), (3, 0));
    let (mut stats, now) = received(&[1, 2, 30_000, 30_001, 30_002]);
    let block = stats.report(now).expect("packets came");
    assert_eq!((block.highest_seq, block.cumulative_lost), (30_002, 0));
}

#[test]
fn jitter_follows_rfc_3550() {
    // Even arrivals have none.
    let (mut stats, now) = received(&[1, 2, 3, 4]);
    assert_eq!(stats.report(now).map(|block| block.jitter), Some(0));
    // One packet 10 ms late is 480 units off, then 480 back: 480/16 = 30, then 30 + (480 - 30)/16 = 58.1.
    stats.record(5, 5 * 960, now + ms(30));
    assert_eq!(stats.report(now).map(|block| block.jitter), Some(30));
    stats.record(6, 6 * 960, now + ms(40));
    assert_eq!(stats.report(now).map(|block| block.jitter), Some(58));
    // Timestamps wrap without a trace.
    let (mut stats, now) = (ReceptionStats::new(7, 90_000), start());
    for (n, timestamp) in [(0, u32::MAX - 899), (1, 0), (2, 900)] {
        stats.record(n, timestamp, now + ms(10) * u32::from(n));
    }
    assert_eq!(stats.report(now).map(|block| block.jitter), Some(0));
}

#[test]
fn sender_reports_give_the_round_trip() {
    let (mut stats, now) = received(&[1]);
    let sent = ntp(Duration::from_millis(100_500));
    assert_eq!(sent, 100 << 32 | 1 << 31);
    stats.record_sender_report(&SenderInfo { ntp: sent, ..SenderInfo::default() }, now);
    let block = stats.report(now + ms(250)).expect("packets came");
    assert_eq!((block.lsr, block.dlsr), (100 << 16 | 1 << 15, 1 << 14));
    let back = ntp(Duration::from_millis(101_000));
    assert_eq!(block.round_trip(back), Some(ms(250)));
    assert_eq!(ReportBlock { lsr: 0, ..block }.round_trip(back), None);
    assert_eq!(
        ReportBlock { dlsr: 1 << 17, ..block }.round_trip(back),
        None,
        "held for longer than it was away"
    );
}

#[test]
fn the_fuzz_targets_take_bent_bytes() {
    let mut good = Vec::new();
    sender_report(&mut good, 1, &SenderInfo::default(), &[BLOCK]);
    sdes_cname(&mut good, 1, "cname");
    nack(&mut good, 1, 2, [5, 6, 30]);
    fir(&mut good, 1, 2, 3);
    remb(&mut good, 1, 3_000_000, &[7, 8]);
    good.extend(feedback(5, &[0x20, 2, 0x00, 3, 4, 1]));
    bye(&mut good, &[1]);
    let mut random = 1u32;
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 16
    };
    for round in 0..20_000 {
        let mut bent = good.clone();
        for _ in 0..1 + round % 4 {
            let at = next() as usize % bent.len();
            bent[at] = next() as u8;
        }
        bent.truncate(bent.len() - next() as usize % 8);
        fuzz::rtcp(&bent);
    }
    for _ in 0..300 {
        let random: Vec<u8> = (0..600).map(|_| next() as u8).collect();
        fuzz::twcc(&random);
        fuzz::rtcp(&random);
    }
}
