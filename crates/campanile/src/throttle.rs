//! How often each account may call each operation: a token bucket for each pair, as documented for the API.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use campanile_meeting::bucket::TokenBucket;
use campanile_meeting::ids::AccountId;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls in a second, in the long run.
    pub per_second: f64,
    /// Calls at once.
    pub burst: f64,
}

impl Default for Rate {
    /// The documented quota.
    fn default() -> Rate {
        Rate { per_second: 10.0, burst: 20.0 }
    }
}

/// All buckets. Their number is bounded by that of the accounts, which the configuration lists, times the operations.
#[derive(Debug)]
pub struct Throttle {
    rate: Option<Rate>,
    buckets: Mutex<HashMap<(AccountId, &'static str), TokenBucket>>,
}

impl Throttle {
    /// Without a rate, everybody may call as often as they like.
    pub fn new(rate: Option<Rate>) -> Throttle {
        Throttle { rate, buckets: Mutex::default() }
    }

    /// Counts one call.
    ///
    /// # Errors
    /// The whole seconds after which another try makes sense, at least 1, when the call is one too many.
    pub fn take(&self, now: Instant, account: AccountId, operation: &'static str) -> Result<(), u64> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut buckets = self.buckets.lock().expect("no panic while it is held");
        let bucket = buckets
            .entry((account, operation))
            .or_insert_with(|| TokenBucket::new(now, rate.per_second, rate.burst));
        if bucket.take(now) { Ok(()) } else { Err(bucket.until_next().as_secs_f64().ceil().max(1.0) as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_account_and_operation_has_its_own_twenty() {
        let throttle = Throttle::new(Some(Rate::default()));
        let (ours, theirs): (AccountId, AccountId) =
            ("111122223333".parse().unwrap(), "444455556666".parse().unwrap());
        let start = Instant::now();
        let granted = |at, account, operation| {
            (0..40).filter(|_| throttle.take(at, account, operation).is_ok()).count()
        };
        assert_eq!(granted(start, ours, "GetMeeting"), 20);
        assert_eq!(throttle.take(start, ours, "GetMeeting"), Err(1));
        assert_eq!(granted(start, ours, "ListAttendees"), 20);
        assert_eq!(granted(start, theirs, "GetMeeting"), 20);
        assert_eq!(granted(start + Duration::from_secs(1), ours, "GetMeeting"), 10);
        assert_eq!(granted(start + Duration::from_secs(60), ours, "GetMeeting"), 20);
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait() {
        let throttle = Throttle::new(Some(Rate { per_second: 0.25, burst: 1.0 }));
        let (account, start) = ("111122223333".parse().unwrap(), Instant::now());
        assert_eq!(throttle.take(start, account, "GetMeeting"), Ok(()));
        assert_eq!(throttle.take(start, account, "GetMeeting"), Err(4));
        assert_eq!(throttle.take(start + Duration::from_secs(3), account, "GetMeeting"), Err(1));
        assert_eq!(throttle.take(start + Duration::from_secs(4), account, "GetMeeting"), Ok(()));
        assert_eq!(Throttle::new(None).take(start, account, "GetMeeting"), Ok(()));
    }
}
