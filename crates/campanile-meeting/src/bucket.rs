//! A token bucket: so many at once, so many a second.

use std::time::{Duration, Instant};

/// Fills at a constant rate up to its burst; each event takes one token.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    tokens: f64,
    rate_per_second: f64,
    burst: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(now: Instant, rate_per_second: f64, burst: f64) -> TokenBucket {
        TokenBucket { tokens: burst, rate_per_second, burst, filled_at: now }
    }

    /// Takes one token; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate_per_second).min(self.burst);
        self.filled_at = now;
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// How long until there is a token, counted from the last [`take`](Self::take).
    pub fn until_next(&self) -> Duration {
        let missing = (1.0 - self.tokens).max(0.0);
        Duration::try_from_secs_f64(missing / self.rate_per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_then_the_rate() {
        let now = crate::test_start();
        let mut bucket = TokenBucket::new(now, 10.0, 20.0);
        assert_eq!((0..30).filter(|_| bucket.take(now)).count(), 20);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..30).filter(|_| bucket.take(later)).count(), 10);
        let much_later = now + Duration::from_secs(3600);
        assert_eq!((0..30).filter(|_| bucket.take(much_later)).count(), 20);
    }
}
