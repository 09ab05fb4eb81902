//! What was sent, until feedback tells how it fared.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::twcc::PacketStatuses;

/// Packets remembered: half a second at 100 Mbit/s, or half a minute of one picture.
const PACKETS_MAX: usize = 4096;
/// Feedback that is later than this tells nothing of the network as it is.
const AGE_MAX: Duration = Duration::from_secs(6);
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
        while self.packets.len() >= PACKETS_MAX
            || self.packets.front().is_some_and(|first| now.saturating_duration_since(first.at) > AGE_MAX)
        {
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
