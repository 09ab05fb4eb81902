//! Fuzz targets: plain functions that must not panic on any input.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{
    ReceptionStats, RtcpItem, TwccRecorder, bye, fir, nack, parse, pli, receiver_report, remb, sdes_cname,
    sender_report,
};

/// Reads a compound and everything in it. What we can write ourselves must read the same again.
pub fn rtcp(data: &[u8]) {
    for item in parse(data).flatten() {
        let mut out = Vec::new();
        match item.clone() {
            RtcpItem::SenderReport { ssrc, info, reports } => {
                sender_report(&mut out, ssrc, &info, &reports.collect::<Vec<_>>());
            }
            RtcpItem::ReceiverReport { ssrc, reports } => {
                receiver_report(&mut out, ssrc, &reports.collect::<Vec<_>>());
            }
            RtcpItem::Bye { ssrcs, reason: None } => bye(&mut out, &ssrcs.collect::<Vec<_>>()),
            RtcpItem::Pli { ssrc } => pli(&mut out, 1, ssrc),
            RtcpItem::Fir { ssrc, sequence } => fir(&mut out, 1, ssrc, sequence),
            RtcpItem::Remb { bitrate_bps, ssrcs } => {
                remb(&mut out, 1, bitrate_bps, &ssrcs.collect::<Vec<_>>());
                // Saturated rates lose their lower bits: compare the rest.
                if bitrate_bps == u64::MAX {
                    continue;
                }
            }
            RtcpItem::Nack { ssrc, lost } => {
                // The entries may be written otherwise: compare what they say.
                let lost: BTreeSet<u16> = lost.take(250).collect();
                nack(&mut out, 1, ssrc, lost.iter().copied());
                let again = parse(&out).flat_map(|item| match item {
                    Ok(RtcpItem::Nack { lost, .. }) => lost,
                    other => panic!("a NACK became {other:?}"),
                });
                assert_eq!(again.collect::<BTreeSet<_>>(), lost);
                continue;
            }
            RtcpItem::Sdes(chunks) => {
                for (ssrc, cname) in chunks {
                    let text = cname.and_then(|cname| std::str::from_utf8(cname).ok()).unwrap_or_default();
                    out.clear();
                    sdes_cname(&mut out, ssrc, text);
                    let Some(Ok(RtcpItem::Sdes(mut again))) = parse(&out).next() else {
                        panic!("not an SDES")
                    };
                    assert_eq!(again.next(), Some((ssrc, Some(text.as_bytes()))));
                }
                continue;
            }
            RtcpItem::TransportFeedback(feedback) => {
                if let Ok(packets) = feedback.packets() {
                    assert_eq!(packets.count(), usize::from(feedback.status_count));
                }
                continue;
            }
            RtcpItem::Bye { reason: Some(_), .. } | RtcpItem::Other { .. } => continue,
        }
        assert_eq!(parse(&out).collect::<Vec<_>>(), [Ok(item)]);
    }
}

/// Arrivals from three bytes each (how far to go in sequence numbers, how long to wait, when to report): every arrival
/// that is reported is one that happened, when it happened.
#[allow(clippy::disallowed_methods)] // Any instant will do to count from.
pub fn twcc(data: &[u8]) {
    let start = Instant::now();
    let (mut recorder, mut stats) = (TwccRecorder::new(), ReceptionStats::new(1, 90_000));
    // The recorder's clock begins with its first packet.
    let (mut sequence, mut now, mut out, mut epoch) = (0u16, start, Vec::new(), None);
    // Every time that a number came, in us: it may come again.
    let mut came: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
    let step = |&[go, wait, report]: &[u8; 3]| {
        // Small steps forth and back, now and then a large one.
        let go = i16::from(go.cast_signed());
        sequence = sequence.wrapping_add_signed(if go < -120 { go.wrapping_mul(97) } else { go / 8 });
        now += Duration::from_micros(u64::from(wait).pow(2) * if wait > 250 { 200 } else { 1 });
        recorder.record(sequence, now);
        stats.record(sequence, u32::from(sequence) << 4, now);
        let ticks = ((now - *epoch.get_or_insert(now)).as_micros() / 250) as i64;
        came.entry(sequence).or_default().push(ticks * 250);
        if report < 32 {
            stats.report(now);
            while recorder.poll_timeout().is_some_and(|due| due <= now) {
                out.clear();
                assert!(recorder.build(now, 1, 2, &mut out), "what is due is written");
                assert!(out.len() <= 1000 && out.len() % 4 == 0, "{} bytes", out.len());
                check_feedback(&out, &came);
            }
        }
    };
    // Half a day at most: the clock in the feedback wraps after twelve.
    data.as_chunks().0.iter().take(2000).for_each(step);
}

fn check_feedback(packet: &[u8], came: &BTreeMap<u16, Vec<i64>>) {
    let mut items = parse(packet);
    let Some(Ok(RtcpItem::TransportFeedback(feedback))) = items.next() else { panic!("no feedback") };
    assert_eq!(items.next(), None);
    let packets = feedback.packets().expect("our own chunks");
    assert_eq!(packets.count(), usize::from(feedback.status_count));
    for status in packets {
        if let Some(arrival_us) = status.arrival_us {
            assert!(
                came.get(&status.sequence).is_some_and(|times| times.contains(&arrival_us)),
                "{status:?}"
            );
        }
    }
}
