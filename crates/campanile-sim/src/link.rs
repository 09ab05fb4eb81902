//! One direction of a network path: loss, delay, reordering, duplication, a bottleneck, an outage.
//!
//! It carries nothing: told of a packet's size, it says when the packet arrives, if it does. So it serves a simulated
//! network and a relay of real datagrams alike.

use std::time::{Duration, Instant};

use campanile_media::units::Bitrate;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What a path does to packets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// What every packet takes.
    pub latency: Duration,
    /// What a packet takes beyond that: evenly between nothing and this. Packets overtake each other by it.
    pub jitter: Duration,
    /// Which packets never arrive.
    pub loss: Loss,
    /// The share of packets that arrive twice, 0 to 1.
    pub duplication: f64,
    /// The narrowest place, if it matters.
    pub bottleneck: Option<Bottleneck>,
}

/// Which packets never arrive.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Loss {
    /// Each with this probability, 0 to 1.
    Random(f64),
    /// In bursts (Gilbert and Elliott's model): before each packet a burst begins, or ends, with the given probability,
    /// and within it packets are lost with the third.
    Burst {
        /// A burst begins.
        begins: f64,
        /// It ends.
        ends: f64,
        /// A packet within it is lost.
        within: f64,
    },
}

/// A place that passes so many bits a second, and the queue before it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bottleneck {
    /// What passes.
    pub rate: Bitrate,
    /// Bytes that wait; what comes on top is lost.
    pub queue_bytes: u64,
}

/// What TCP takes to notice a loss and repair it, while all that follows waits.
const TCP_REPAIR: Duration = Duration::from_millis(200);

impl Conditions {
    /// A good path: 10 ms, nothing lost.
    pub const GOOD: Conditions = Conditions {
        latency: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: Loss::Random(0.0),
        duplication: 0.0,
        bottleneck: None,
    };

    /// A telephone on the move: 40 to 70 ms, reordering, bursts that lose about 3 % in all, some duplicates.
    pub const MOBILE: Conditions = Conditions {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(30),
        loss: Loss::Burst { begins: 0.01, ends: 0.2, within: 0.6 },
        duplication: 0.005,
        bottleneck: None,
    };

    /// The same, losing this share (0 to 1) of packets at random.
    pub const fn losing(self, share: f64) -> Conditions {
        Conditions { loss: Loss::Random(share), ..self }
    }

    /// The same, taking up to this much longer.
    pub const fn jittery(self, jitter: Duration) -> Conditions {
        Conditions { jitter, ..self }
    }
}

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    /// What it does from now on.
    pub conditions: Conditions,
    rng: ChaCha8Rng,
    in_burst: bool,
    free_at: Option<Instant>,
    out_until: Option<Instant>,
    last_in_order: Option<Instant>,
}

/// When one packet arrives: never, once or twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    /// Its arrival.
    pub first: Option<Instant>,
    /// That of its duplicate.
    pub second: Option<Instant>,
}

impl Link {
    /// A path under `conditions`. All chance follows from the seed.
    pub fn new(conditions: Conditions, seed: u64) -> Link {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Link { conditions, rng, in_burst: false, free_at: None, out_until: None, last_in_order: None }
    }

    /// Nothing passes until then. What is reliable arrives afterwards.
    pub fn black_out(&mut self, until: Instant) {
        self.out_until = Some(until);
    }

    /// One packet sets out.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Arrivals {
        let lost = self.loses();
        let duplicated = chance(&mut self.rng, self.conditions.duplication);
        let (delay, second_delay) = (self.delay(), self.delay());
        if self.out_until.is_some_and(|until| now < until) {
            return Arrivals::default();
        }
        let Some(departure) = self.depart(now, bytes) else { return Arrivals::default() };
        if lost {
            return Arrivals::default();
        }
        Arrivals {
            first: Some(departure + delay),
            second: duplicated.then(|| departure + delay.max(second_delay)),
        }
    }

    /// One message on a TCP connection sets out: it arrives, after all before it.
    pub fn pass_in_order(&mut self, now: Instant) -> Instant {
        let mut arrival = self.out_until.map_or(now, |until| now.max(until)) + self.delay();
        while self.loses() {
            arrival += TCP_REPAIR;
        }
        let arrival = self.last_in_order.map_or(arrival, |last| arrival.max(last));
        self.last_in_order = Some(arrival);
        arrival
    }

    fn delay(&mut self) -> Duration {
        self.conditions.latency + self.conditions.jitter.mul_f64(share(&mut self.rng))
    }

    fn loses(&mut self) -> bool {
        match self.conditions.loss {
            Loss::Random(probability) => chance(&mut self.rng, probability),
            Loss::Burst { begins, ends, within } => {
                let turn = if self.in_burst { ends } else { begins };
                self.in_burst ^= chance(&mut self.rng, turn);
                chance(&mut self.rng, within) && self.in_burst
            }
        }
    }

    /// When the packet leaves the bottleneck; `None` when its queue is full.
    fn depart(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(Bottleneck { rate, queue_bytes }) = self.conditions.bottleneck else { return Some(now) };
        let free_at = self.free_at.map_or(now, |free_at| free_at.max(now));
        let waiting_bytes = (free_at - now).as_micros() as u64 * rate.as_bps() / 8_000_000;
        if waiting_bytes + bytes as u64 > queue_bytes {
            return None;
        }
        let departure = free_at + Duration::from_micros(bytes as u64 * 8_000_000 / rate.as_bps().max(1));
        self.free_at = Some(departure);
        Some(departure)
    }
}

/// Evenly from 0 up to 1.
pub(crate) fn share(rng: &mut impl RngCore) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// True with this probability.
pub(crate) fn chance(rng: &mut impl RngCore, probability: f64) -> bool {
    share(rng) < probability
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start_of_time;

    /// Passes 10,000 packets, one each millisecond; returns their delays, of duplicates too.
    fn delays(conditions: Conditions) -> Vec<Duration> {
        let mut link = Link::new(conditions, 1);
        let now = start_of_time();
        let mut delays = Vec::new();
        for ms in 0..10_000 {
            let now = now + Duration::from_millis(ms);
            let arrivals = link.pass(now, 1000);
            delays.extend(arrivals.first.into_iter().chain(arrivals.second).map(|at| at - now));
        }
        delays
    }

    #[test]
    fn as_many_are_lost_as_said() {
        fn check(loss: Loss, expected: std::ops::Range<usize>) {
            let arrived = delays(Conditions { loss, ..Conditions::GOOD }).len();
            assert!(expected.contains(&(10_000 - arrived)), "{loss:?}: {} lost", 10_000 - arrived);
        }
        check(Loss::Random(0.0), 0..1);
        check(Loss::Random(0.1), 900..1100);
        check(Loss::Random(1.0), 10_000..10_001);
        check(Loss::Burst { begins: 0.01, ends: 0.1, within: 1.0 }, 700..1100);
    }

    #[test]
    fn delays_lie_between_latency_and_jitter() {
        let conditions = Conditions::GOOD.jittery(Duration::from_millis(30));
        let delays = delays(conditions);
        assert!(delays.iter().all(|d| (10..=40).contains(&d.as_millis())));
        assert!(delays.windows(2).any(|pair| pair[0] > pair[1] + Duration::from_millis(1)), "some overtake");
    }

    #[test]
    fn a_bottleneck_delays_then_drops() {
        let bottleneck = Some(Bottleneck { rate: Bitrate::kbps(4000), queue_bytes: 50_000 });
        let delays = delays(Conditions { bottleneck, ..Conditions::GOOD });
        assert!((5_000..5_100).contains(&delays.len()), "half of 8 Mbit/s fits, and what the queue holds");
        assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(110)));
    }

    #[test]
    fn duplicates_come_and_an_outage_ends() {
        assert_eq!(delays(Conditions { duplication: 1.0, ..Conditions::GOOD }).len(), 20_000);
        let mut link = Link::new(Conditions::GOOD, 1);
        let now = start_of_time();
        let later = now + Duration::from_secs(1);
        link.black_out(later);
        assert_eq!(link.pass(now, 1).first, None);
        assert!(link.pass(later, 1).first.is_some());
        assert!(link.pass_in_order(now) > later);
    }

    #[test]
    fn what_is_reliable_stays_in_order() {
        let mut link = Link::new(Conditions::MOBILE, 1);
        let now = start_of_time();
        let arrivals: Vec<_> =
            (0..1000).map(|ms| link.pass_in_order(now + Duration::from_millis(ms))).collect();
        assert!(arrivals.is_sorted());
    }
}
