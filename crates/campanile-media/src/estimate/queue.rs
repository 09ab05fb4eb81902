//! A queue that neither fills nor drains, which no slope shows: delay that stays above the least that was ever needed.

use std::time::Instant;

/// Delay is the least within so long, so that jitter does not count.
const SPAN_US: i64 = 500_000;
/// The least delay is remembered for one to two of these. A path that has become longer for good looks like a queue no
/// longer than that.
const MEMORY_US: i64 = 8_000_000;
/// A queue of this, in us, stands in the way of a conversation.
const LONG_US: i64 = 80_000;
/// One that has become shorter by this within [`SPAN_US`] is on its way out.
const DRAINS_US: i64 = 25_000;

/// After a pause this long, what was before tells nothing of the queue.
const PAUSE_US: i64 = 1_000_000;

/// Follows the delay of packets.
#[derive(Debug, Default)]
pub(super) struct Queue {
    began: Option<Instant>,
    recent: Least,
    memory: Least,
    remembered_us: Option<i64>,
    last_us: Option<i64>,
    arrived_us: Option<i64>,
    is_standing: bool,
}

/// The least delay since some arrival.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    since_us: Option<i64>,
    delay_us: i64,
}

impl Least {
    /// Returns the least so far once it has been gathered for `span_us`, and begins anew.
    fn note(&mut self, arrival_us: i64, delay_us: i64, span_us: i64) -> Option<i64> {
        match self.since_us {
            Some(since_us) if arrival_us - since_us < span_us => {
                self.delay_us = self.delay_us.min(delay_us);
                None
            }
            before => {
                let least = before.map(|_| self.delay_us);
                *self = Least { since_us: Some(arrival_us), delay_us };
                least
            }
        }
    }
}

impl Queue {
    /// A packet has arrived.
    pub(super) fn arrived(&mut self, sent: Instant, arrival_us: i64) {
        let began = *self.began.get_or_insert(sent);
        // The clocks have nothing in common but their pace: only differences of this count.
        let delay_us = arrival_us - sent.saturating_duration_since(began).as_micros() as i64;
        if let Some(least) = self.memory.note(arrival_us, delay_us, MEMORY_US) {
            self.remembered_us = Some(least);
        }
        let paused = self.arrived_us.replace(arrival_us).is_some_and(|last| arrival_us - last > PAUSE_US);
        if paused {
            (self.recent, self.last_us, self.is_standing) = (Least::default(), None, false);
        }
        let base = self.remembered_us.map_or(self.memory.delay_us, |us| us.min(self.memory.delay_us));
        if let Some(least) = self.recent.note(arrival_us, delay_us, SPAN_US) {
            let drains = self.last_us.is_some_and(|last| last - least > DRAINS_US);
            self.last_us = Some(least);
            self.is_standing = least - base > LONG_US && !drains;
        }
    }

    /// Whether packets have been waiting in the network all through the last half second, and no less than before.
    pub(super) fn is_standing(&self) -> bool {
        self.is_standing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test_start;

    #[test]
    fn a_queue_stands_until_it_is_all_there_ever_was() {
        let (mut queue, start) = (Queue::default(), test_start());
        let mut seen = vec![];
        for at in 0..3000u64 {
            let delay_us = match at {
                0..500 => 30_000 + at as i64 % 7 * 30_000,
                _ => 200_000,
            };
            queue.arrived(start + Duration::from_millis(10 * at), at as i64 * 10_000 + delay_us);
            if seen.last().is_none_or(|(_, long)| *long != queue.is_standing()) {
                seen.push((at / 100, queue.is_standing()));
            }
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!((seen[0].1, seen[1], seen[2].1), (false, (5, true), false));
        assert!((16..=22).contains(&seen[2].0), "{seen:?}");
    }
}
