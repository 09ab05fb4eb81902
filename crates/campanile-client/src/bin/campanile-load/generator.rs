//! What this generator itself cost, and why its figures cannot be believed, if so.

use std::time::Duration;

use campanile_client::LagCounts;
use serde_json::{Value, json};

use crate::options::Options;
use crate::report::{Measured, ms, round};

/// A generator that uses more than this share of what it could have is not waiting for the service.
const CPU_SHARE_MAX: f64 = 0.85;

/// The generator's own figures of one window.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    window: Duration,
    threads: usize,
    cpu_s: f64,
    /// Sent and received.
    packets: u64,
    /// How late its own sending was.
    lag: LagCounts,
    /// Datagrams that it was too slow to take.
    udp_drops: u64,
    verified: u64,
    unauthentic: u64,
}

impl Generator {
    pub(crate) fn of(options: &Options, measured: &Measured) -> Generator {
        let (before, after) = (&measured.before, &measured.after);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut lag = after.lag;
        for (count, earlier) in lag.counts.iter_mut().zip(before.lag.counts) {
            *count -= earlier.min(*count);
        }
        Generator {
            window: measured.window,
            threads: options.threads.unwrap_or(cores).min(cores),
            cpu_s: after.own_cpu_s - before.own_cpu_s,
            packets: (after.received - before.received) + (after.sent - before.sent),
            lag,
            udp_drops: after.udp_drops.saturating_sub(before.udp_drops),
            verified: measured.stats.iter().map(|stats| stats.engine.verified).sum(),
            unauthentic: measured.stats.iter().map(|stats| stats.engine.unauthentic).sum(),
        }
    }

    fn share(&self) -> f64 {
        self.cpu_s / self.window.as_secs_f64() / self.threads as f64
    }

    /// In words; nothing when it was not the bottleneck.
    pub(crate) fn refusals(&self, max_lag_ms: u64) -> Vec<String> {
        let mut refusals = Vec::new();
        let lag_ms = self.lag.p99_ms();
        if lag_ms > max_lag_ms {
            let bound =
                if lag_ms == u64::MAX { "more than 50".to_owned() } else { format!("up to {lag_ms}") };
            refusals.push(format!(
                "packets were sent {bound} ms late (99th percentile): the generator had too little CPU"
            ));
        }
        if self.share() > CPU_SHARE_MAX {
            let (percent, threads) = (self.share() * 100.0, self.threads);
            refusals.push(format!("the generator used {percent:.0} % of its {threads} threads"));
        }
        if self.udp_drops > 0 {
            refusals.push(format!("{} datagrams found the generator's buffers full", self.udp_drops));
        }
        refusals
    }

    /// For the report, with the limits beside what is held against them.
    pub(crate) fn figures(&self, max_lag_ms: u64) -> Value {
        let cost_us = self.cpu_s * 1e6 / self.packets.max(1) as f64;
        let lag_ms = self.lag.p99_ms();
        json!({
            "cpu_seconds": round(self.cpu_s, 2),
            "cpu_share_of_threads": round(self.share(), 3),
            "cpu_share_limit": CPU_SHARE_MAX,
            "threads": self.threads,
            "packets": self.packets,
            "cpu_us_per_packet": round(cost_us, 2),
            "packets_per_core_second": (1e6 / cost_us.max(0.01)) as u64,
            "lag_p99_ms": if lag_ms == u64::MAX { Value::Null } else { json!(lag_ms) },
            "lag_max_ms": round(ms(self.lag.max), 1),
            "lag_limit_ms": max_lag_ms,
            "udp_drops": self.udp_drops,
            "packets_verified": self.verified,
            "packets_unauthentic": self.unauthentic,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At ease: half of its threads used, and one packet in a thousand late.
    fn at_ease() -> Generator {
        Generator {
            window: Duration::from_secs(10),
            threads: 2,
            cpu_s: 10.0,
            packets: 1_000_000,
            lag: LagCounts { counts: [999, 0, 0, 0, 0, 1], max: Duration::from_millis(80) },
            udp_drops: 0,
            verified: 0,
            unauthentic: 0,
        }
    }

    #[test]
    fn one_at_ease_is_believed_and_says_what_it_cost_and_could() {
        let generator = at_ease();
        assert!(generator.refusals(20).is_empty());
        let figures = generator.figures(20);
        assert_eq!(figures["cpu_us_per_packet"], 10.0);
        assert_eq!(figures["packets_per_core_second"], 100_000);
        assert_eq!((&figures["lag_limit_ms"], &figures["cpu_share_limit"]), (&json!(20), &json!(0.85)));
    }

    #[test]
    fn a_starved_one_is_not() {
        fn check(generator: Generator, word: &str) {
            let refusals = generator.refusals(20);
            assert!(refusals.len() == 1 && refusals[0].contains(word), "{refusals:?}");
        }
        // Two packets in a hundred are late.
        let late = |counts| LagCounts { counts, max: Duration::from_millis(80) };
        check(Generator { lag: late([98, 0, 0, 0, 2, 0]), ..at_ease() }, "up to 50 ms late");
        check(Generator { lag: late([98, 0, 0, 0, 0, 2]), ..at_ease() }, "more than 50 ms late");
        check(Generator { cpu_s: 17.5, ..at_ease() }, "used 88 % of its 2 threads");
        check(Generator { udp_drops: 1, ..at_ease() }, "buffers full");
        let all = Generator { cpu_s: 20.0, udp_drops: 7, lag: late([0, 0, 0, 0, 0, 9]), ..at_ease() };
        assert_eq!(all.refusals(20).len(), 3);
    }
}
