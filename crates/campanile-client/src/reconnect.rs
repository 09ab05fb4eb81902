//! When to try again, by the JavaScript client's rules (`DefaultReconnectController`, `FullJitterBackoff`), without a clock
//! and without chance.

use std::time::{Duration, Instant};

/// How long a session tries (`reconnectTimeoutMs`).
const TIMEOUT: Duration = Duration::from_secs(120);
/// Waits are drawn from nothing to this, doubled each time up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

/// Attempts in a row that have not led to a session.
#[derive(Debug)]
pub(crate) struct Retries {
    since: Instant,
    count: u32,
}

impl Retries {
    /// The first attempt is made now.
    pub(crate) fn new(now: Instant) -> Retries {
        Retries { since: now, count: 0 }
    }

    /// How long to wait before the next attempt, and `None` when it is to be the last; `chance` is from 0 to 1.
    pub(crate) fn next(&mut self, now: Instant, chance: f64) -> Option<Duration> {
        if now.saturating_duration_since(self.since) > TIMEOUT {
            return None;
        }
        let longest = FIRST.saturating_mul(1 << self.count.min(8)).min(LONGEST);
        self.count += 1;
        Some(longest.mul_f64(chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits of a session that never gets in, each attempt taking no time.
    fn waits(chance: f64) -> Vec<Duration> {
        let start = Instant::now();
        let (mut retries, mut now) = (Retries::new(start), start);
        let mut waits = Vec::new();
        while let Some(wait) = retries.next(now, chance).filter(|_| waits.len() < 1000) {
            waits.push(wait);
            now += wait;
        }
        waits
    }

    #[test]
    fn waits_grow_from_one_second_to_five_and_end_after_two_minutes() {
        let longest = waits(1.0);
        assert_eq!(longest[..5], [1, 2, 4, 5, 5].map(Duration::from_secs));
        assert_eq!(longest.iter().sum::<Duration>(), Duration::from_secs(122), "the first one beyond 120 s");
        let half = waits(0.5);
        assert_eq!(half[..4], [500, 1000, 2000, 2500].map(Duration::from_millis));
        assert!(waits(0.0).iter().all(Duration::is_zero), "full jitter begins at nothing");
    }

    #[test]
    fn a_slow_attempt_counts_too() {
        let start = Instant::now();
        let mut retries = Retries::new(start);
        assert_eq!(retries.next(start + TIMEOUT, 1.0), Some(FIRST));
        assert_eq!(retries.next(start + TIMEOUT + Duration::from_millis(1), 1.0), None);
    }
}
