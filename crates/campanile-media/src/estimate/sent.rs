//! What was sent, until feedback tells how it fared.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::twcc::PacketStatuses;

/// Packets remembered: half a second at 100 Mbit/s, or half a minute of a camera at 1.2 Mbit/s.
const PACKETS_MAX: usize = 4096;
/// Feedback that is later than this tells nothing of the network as it is.
const AGE_MAX: Duration = Duration::from_secs(6);
/// A packet reported missing may only have been overtaken: it is remembered for so long.
const OVERTAKEN_MAX: Duration = Duration::from_secs(1);
/// The reference time of feedback counts 64 ms in 24 bits.
const REFERENCE_US: i64 = 64_000;

/// Packets on their way, by their transport-wide numbers.
#[derive(Debug, Default)]
pub(super) struct SentPackets {
    packets: VecDeque<Sent>,
    /// The number of the first, without wraps.
    first: u64,
    /// The last reference time, as it came and without wraps.
    reference: Option<(i32, i64)>,
    acknowledged: Vec<Acknowledged>,
    newly_lost: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    bytes: u16,
    cluster: Option<u32>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Unknown,
    Lost,
    Arrived,
}

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) sent_at: Instant,
    /// By the receiver's clock, whose zero is anywhere.
    pub(super) arrival_us: i64,
    pub(super) bytes: usize,
    /// The probe it belongs to.
    pub(super) cluster: Option<u32>,
    /// It had been reported missing.
    pub(super) late: bool,
}

impl SentPackets {
    /// Notes a packet that leaves, and returns its number.
    pub(super) fn push(&mut self, now: Instant, bytes: usize, cluster: Option<u32>) -> u16 {
        // What was reported is forgotten: a round trip of packets stays, or a second of them where some are lost.
        let is_over = |first: &Sent| {
            let age = now.saturating_duration_since(first.at);
            match first.fate {
                Fate::Unknown => age > AGE_MAX,
                Fate::Lost => age > OVERTAKEN_MAX,
                Fate::Arrived => true,
            }
        };
        while self.packets.len() >= PACKETS_MAX || self.packets.front().is_some_and(is_over) {
            self.packets.pop_front();
            self.first += 1;
        }
        let number = self.first + self.packets.len() as u64;
        let bytes = bytes.min(usize::from(u16::MAX)) as u16;
        self.packets.push_back(Sent { at: now, bytes, cluster, fate: Fate::Unknown });
        number as u16
    }

    /// Takes one feedback: what it says that was not known stands in [`acknowledged`](Self::acknowledged) and
    /// [`newly_lost`](Self::newly_lost) until the next.
    pub(super) fn acknowledge(&mut self, reference_time: i32, statuses: PacketStatuses<'_>) {
        self.acknowledged.clear();
        self.newly_lost = 0;
        let offset_us = self.unwrap_reference(reference_time);
        for status in statuses {
            let ahead = status.sequence.wrapping_sub(self.first as u16);
            let Some(packet) = self.packets.get_mut(usize::from(ahead)) else { continue };
            match (status.arrival_us, packet.fate) {
                (_, Fate::Arrived) | (None, Fate::Lost) => {}
                (None, Fate::Unknown) => {
                    packet.fate = Fate::Lost;
                    self.newly_lost += 1;
                }
                (Some(arrival_us), before) => {
                    packet.fate = Fate::Arrived;
                    self.acknowledged.push(Acknowledged {
                        sent_at: packet.at,
                        arrival_us: arrival_us + offset_us,
                        bytes: usize::from(packet.bytes),
                        cluster: packet.cluster,
                        late: before == Fate::Lost,
                    });
                }
            }
        }
    }

    /// What to add to arrival times so that they do not wrap.
    fn unwrap_reference(&mut self, wire: i32) -> i64 {
        let unwrapped = match self.reference {
            None => i64::from(wire),
            // The difference of 24 bits, with sign.
            Some((last, unwrapped)) => unwrapped + i64::from(wire.wrapping_sub(last) << 8 >> 8),
        };
        self.reference = Some((wire, unwrapped));
        (unwrapped - i64::from(wire)) * REFERENCE_US
    }

    /// What the latest feedback said has arrived, in the order of sending.
    pub(super) fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// How many packets the latest feedback was the first to call missing.
    pub(super) fn newly_lost(&self) -> u32 {
        self.newly_lost
    }

    /// Whether something sent after `then` has not been heard of.
    pub(super) fn is_awaiting_since(&self, then: Instant) -> bool {
        self.packets.back().is_some_and(|last| last.at > then && last.fate == Fate::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{self, RtcpItem, TwccRecorder};
    use crate::test_start;

    #[test]
    fn what_has_arrived_is_remembered_no_longer() {
        const ROUND_TRIP: u64 = 100;
        /// 1,000 packets a second for ten, of which number 3000 comes later by so many milliseconds.
        fn check(reports: bool, later: u64, remembered: std::ops::Range<usize>, overtaken: usize) {
            const LATE: u64 = 3000;
            let (mut sent, mut recorder, start) = (SentPackets::default(), TwccRecorder::new(), test_start());
            let (mut most, mut arrived, mut arrived_late) = (0, 0, 0);
            for ms in 0..10_000_u64 {
                let now = start + Duration::from_millis(ms);
                assert_eq!(sent.push(now, 1000, None), ms as u16);
                most = most.max(sent.packets.len());
                let straight = ms.checked_sub(ROUND_TRIP).filter(|number| *number != LATE);
                let late = (ms == LATE + ROUND_TRIP + later).then_some(LATE);
                for number in straight.into_iter().chain(late).filter(|_| reports) {
                    recorder.record(number as u16, now);
                }
                if recorder.poll_timeout().is_none_or(|due| due > now) {
                    continue;
                }
                let mut report = Vec::new();
                recorder.build(now, 1, 2, &mut report);
                let item = rtcp::parse(&report).flatten().next();
                let Some(RtcpItem::TransportFeedback(feedback)) = item else { panic!("{item:?}") };
                sent.acknowledge(feedback.reference_time, feedback.packets().expect("well formed"));
                arrived += sent.acknowledged().len();
                arrived_late += sent.acknowledged().iter().filter(|packet| packet.late).count();
            }
            assert!(remembered.contains(&most), "{most} remembered");
            assert_eq!(arrived_late, overtaken);
            assert!(!reports || arrived > 9_800, "{arrived} arrived");
        }
        check(false, 0, 4096..4097, 0);
        // A round trip and what waits for a report.
        check(true, 0, 150..160, 0);
        check(true, 100, 200..260, 1);
        // What is lost is waited for, with all that was sent after it.
        check(true, 20_000, 1000..1010, 0);
    }
}
