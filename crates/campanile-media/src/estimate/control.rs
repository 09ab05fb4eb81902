//! From what the delay says to a rate: multiplicative decrease to what arrives, careful increase near the last limit,
//! brisk increase far from it (draft-ietf-rmcat-gcc-02, section 5.5).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::trend::Usage;
use super::{CEILING, FLOOR, START};
use crate::units::Bitrate;

/// What arrives is measured over this long, by the receiver's clock.
const WINDOW_US: i64 = 500_000;
/// While a queue fills, over so long, if that is more: a stream that has just begun fills only part of the window, and the
/// silence before it must not count against the network. Of one that began just now, over no less than the second.
const LATELY_US: i64 = 200_000;
const BEGUN_US: i64 = 50_000;
/// A decrease goes to this share of what arrives.
const DECREASE: f64 = 0.85;
/// An increase far from any known limit, per second.
const GROWTH_PER_SECOND: f64 = 1.08;
/// What arrives is no more than this of the rate that may be claimed without having tried it.
const CLAIM: f64 = 1.5;
const CLAIM_MORE: Bitrate = Bitrate::kbps(10);
/// Two decreases are at least this far apart, beside the round trip: the first must be able to show.
const DECREASE_INTERVAL: Duration = Duration::from_millis(200);
/// A decrease because of a queue that stays goes at least to this share of the rate.
const STANDING: f64 = 0.93;
/// So long after a decrease, what arrives is what was sent since, not what had queued before. This much of it counts.
const SETTLED: Duration = Duration::from_millis(1200);
const PASSES: f64 = 0.95;
/// Packets within [`WINDOW_US`] that make a measurement.
const SAMPLE_MIN: usize = 12;
/// The weight of a new limit among the old ones.
const LIMIT_WEIGHT: f64 = 0.05;
/// How many deviations from the mean limit still count as near it.
const NEAR: f64 = 3.0;
/// A packet, for the additive increase.
const PACKET_BITS: f64 = 9600.0;

/// Turns verdicts into a rate.
#[derive(Debug)]
pub(super) struct RateControl {
    rate: Bitrate,
    may_increase: bool,
    updated_at: Option<Instant>,
    decreased_at: Option<Instant>,
    /// Arrivals of the last [`WINDOW_US`], and their bytes.
    arrivals: VecDeque<(i64, u32)>,
    bytes: u64,
    newest_us: i64,
    acknowledged: Option<Bitrate>,
    /// Where the network's limit was met lately: mean and variance relative to the mean, in bits per second.
    limit: Option<(f64, f64)>,
}

impl Default for RateControl {
    fn default() -> RateControl {
        RateControl {
            rate: START,
            may_increase: true,
            updated_at: None,
            decreased_at: None,
            arrivals: VecDeque::new(),
            bytes: 0,
            newest_us: i64::MIN,
            acknowledged: None,
            limit: None,
        }
    }
}

impl RateControl {
    /// What may be sent.
    pub(super) fn rate(&self) -> Bitrate {
        self.rate
    }

    /// What arrives, measured over half a second; `None` before that.
    pub(super) fn acknowledged(&self) -> Option<Bitrate> {
        self.acknowledged
    }

    /// The same over [`LATELY_US`]; of what has only just begun, since then.
    fn arrived_lately(&self) -> Bitrate {
        let Some(&(first_us, first_bytes)) = self.arrivals.front() else { return Bitrate::default() };
        let since_us = self.newest_us - LATELY_US;
        if first_us > since_us {
            let span_us = (self.newest_us - first_us).max(BEGUN_US);
            let bytes = self.bytes - u64::from(first_bytes);
            return Bitrate::measured(bytes, Duration::from_micros(span_us as u64));
        }
        let lately = self.arrivals.iter().rev().take_while(|(at, _)| *at > since_us);
        let bytes = lately.map(|(_, bytes)| u64::from(*bytes)).sum();
        Bitrate::measured(bytes, Duration::from_micros(LATELY_US as u64))
    }

    /// A packet has arrived.
    pub(super) fn arrived(&mut self, arrival_us: i64, bytes: usize) {
        self.arrivals.push_back((arrival_us, bytes as u32));
        self.bytes += bytes as u64;
        self.newest_us = self.newest_us.max(arrival_us);
        let mut full = false;
        while let Some(&(oldest, bytes)) = self.arrivals.front()
            && oldest <= self.newest_us - WINDOW_US
        {
            self.arrivals.pop_front();
            self.bytes -= u64::from(bytes);
            full = true;
        }
        if full || self.acknowledged.is_some() {
            self.acknowledged = Some(Bitrate::measured(self.bytes, Duration::from_micros(WINDOW_US as u64)));
        }
    }

    /// Draws the conclusion from a verdict; true when the rate was taken down.
    pub(super) fn update(&mut self, now: Instant, usage: Usage, rtt: Duration) -> bool {
        let elapsed = self.updated_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.updated_at = Some(now);
        match usage {
            Usage::Over => return self.decrease(now, rtt, self.rate),
            // Less than now, whatever arrives: what is sent may be more than the rate says.
            Usage::Standing => return self.decrease(now, rtt, self.rate.scaled(STANDING)),
            // The queue drains: let it.
            Usage::Under => self.may_increase = false,
            Usage::Normal if !self.may_increase => self.may_increase = true,
            Usage::Normal => {
                self.increase(elapsed.min(Duration::from_secs(1)), rtt);
                self.believe_what_passes(now);
            }
        }
        false
    }

    /// The rate is at most this.
    pub(super) fn bound(&mut self, most: Bitrate) {
        self.rate = self.rate.min(most).max(FLOOR);
    }

    /// A probe has shown that the network bears this.
    pub(super) fn found(&mut self, now: Instant, rate: Bitrate) {
        self.rate = rate.clamp(FLOOR, CEILING);
        self.updated_at = Some(now);
        if self.limit.is_some_and(|(mean, _)| rate.as_bps() as f64 > mean * 1.2) {
            self.limit = None;
        }
    }

    fn decrease(&mut self, now: Instant, rtt: Duration, most: Bitrate) -> bool {
        let pause = DECREASE_INTERVAL + rtt.min(DECREASE_INTERVAL);
        let soon = self.decreased_at.is_some_and(|at| now.saturating_duration_since(at) < pause);
        let Some(acknowledged) = self.acknowledged else { return false };
        self.may_increase = false;
        if soon {
            return false;
        }
        self.note_limit(acknowledged.as_bps() as f64);
        // While next to nothing is sent, what arrives is no measure of the network.
        let least = if self.arrivals.len() < SAMPLE_MIN { self.rate.scaled(0.5) } else { FLOOR };
        let passes = acknowledged.max(self.arrived_lately());
        let target = passes.scaled(DECREASE).max(least).min(most).max(FLOOR);
        if target >= self.rate {
            return false;
        }
        self.rate = target;
        self.decreased_at = Some(now);
        true
    }

    fn increase(&mut self, elapsed: Duration, rtt: Duration) {
        let seconds = elapsed.as_secs_f64();
        let rate = self.rate.as_bps() as f64;
        let acknowledged = self.acknowledged.map_or(rate, |rate| rate.as_bps() as f64);
        if self.limit.is_some_and(|(mean, variance)| acknowledged > mean + NEAR * (variance * mean).sqrt()) {
            self.limit = None;
        }
        let near =
            self.limit.is_some_and(|(mean, variance)| acknowledged > mean - NEAR * (variance * mean).sqrt());
        let grown = if near {
            // One packet each time that the answer to the last increase has come.
            let response = (rtt + Duration::from_millis(100)).as_secs_f64();
            rate + (PACKET_BITS / response).max(4000.0) * seconds
        } else {
            rate * GROWTH_PER_SECOND.powf(seconds) + 1000.0 * seconds
        };
        // What has not been tried is not claimed; what was claimed once stands.
        let most = (acknowledged * CLAIM) as u64 + CLAIM_MORE.as_bps();
        let most = Bitrate::bps(most).max(self.rate).min(CEILING);
        self.rate = Bitrate::bps(grown as u64).min(most);
    }

    /// More than the rate has been sent, and it passed: then the network bears it.
    fn believe_what_passes(&mut self, now: Instant) {
        let settled = self.decreased_at.is_none_or(|at| now.saturating_duration_since(at) > SETTLED);
        if let (true, Some(passes)) = (settled, self.acknowledged) {
            self.rate = self.rate.max(passes.scaled(PASSES)).min(CEILING);
        }
    }

    fn note_limit(&mut self, met: f64) {
        let (mean, variance) = self.limit.unwrap_or((met, 400.0));
        let error = mean - met;
        let mean = mean - LIMIT_WEIGHT * error;
        let variance = (1.0 - LIMIT_WEIGHT) * variance + LIMIT_WEIGHT * error * error / mean.max(1.0);
        // In bits per second relative to the mean: between 0.4 and 2.5 kbit/s of it.
        self.limit = Some((mean, variance.clamp(400.0, 2500.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silence_before_a_stream_does_not_count_against_the_network() {
        #[allow(clippy::disallowed_methods)] // any instant will do; from here on time is an argument
        let start = Instant::now();
        let at = |us: i64| start + Duration::from_micros(us as u64);
        let mut control = RateControl::default();
        control.found(start, Bitrate::kbps(2_500));
        // A voice of 40 kbit/s for a second, and then 2 Mbit/s for a tenth of one.
        (0..50).for_each(|number| control.arrived(number * 20_000, 100));
        (0..25).for_each(|number| control.arrived(1_000_000 + number * 4_000, 1_000));
        assert!(control.acknowledged().unwrap() < Bitrate::kbps(500));
        assert!(control.update(at(1_100_000), Usage::Over, Duration::from_millis(50)));
        // Of a fifth of a second half was silence; the whole window would say a fifth of it.
        let rate = control.rate();
        assert!((Bitrate::kbps(800)..Bitrate::kbps(1_700)).contains(&rate), "{rate:?}");
    }
}
