//! Short bursts above the present rate: the way to learn of more than is being sent.

use std::time::{Duration, Instant};

use super::CEILING;
use crate::units::Bitrate;

/// How long a burst lasts, and how many packets it has at least: with fewer, a millisecond of the sender's own
/// scheduling weighs too much.
const SPAN: Duration = Duration::from_millis(25);
const PACKETS_MIN: u32 = 6;
/// Between two bursts while more is wanted than the estimate allows.
const INTERVAL: Duration = Duration::from_secs(2);
/// After congestion, before the next.
const REST: Duration = Duration::from_millis(1500);
/// A burst that has not been answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How far a burst goes beyond the estimate: the first, and those after.
const FIRST_FACTOR: f64 = 3.0;
const FACTOR: f64 = 2.0;
/// A burst goes this far beyond the demand, so that the demand itself is within what was shown.
const HEADROOM: f64 = 1.25;
/// What is demanded must exceed the estimate by this factor to be worth a burst.
const WORTH: f64 = 1.05;
/// Arriving slower than this share of the sending rate, a burst has met the limit; then this share of it is believed.
const SATURATED: f64 = 0.9;
const BELIEVED: f64 = 0.95;
/// The share of a burst's packets that must arrive for it to tell anything.
const ARRIVED_MIN: f64 = 0.6;

/// What a burst has shown.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Result {
    /// What the network bears at least.
    pub(super) rate: Bitrate,
    /// It bears no more than that.
    pub(super) saturated: bool,
}

/// Begins bursts and reads what became of them. One is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Probes {
    cluster: Option<Cluster>,
    next_id: u32,
    /// Whether any burst was ever sent.
    tried: bool,
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Cluster {
    id: u32,
    rate: Bitrate,
    began: Instant,
    bytes_wanted: u64,
    first_sent: Option<Instant>,
    packets_sent: u32,
    bytes_sent: u64,
    /// All of it has been sent.
    complete: bool,
    /// The packets that have arrived: when they were sent, and when they came.
    departures: Stretch,
    arrivals: Stretch,
}

/// Packets of a burst at one end: from when to when, counted in us from any moment.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    packets: u32,
    bytes: u64,
    /// Time and bytes of the first and of the last.
    first: Option<(i64, u64)>,
    last: Option<(i64, u64)>,
}

impl Stretch {
    fn note(&mut self, at_us: i64, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
        if self.first.is_none_or(|(first, _)| at_us < first) {
            self.first = Some((at_us, bytes));
        }
        if self.last.is_none_or(|(last, _)| at_us >= last) {
            self.last = Some((at_us, bytes));
        }
    }

    /// Bits per second, leaving out the bytes of the packet whose own time is not within the stretch.
    fn rate(&self, leave_out: u64) -> Option<f64> {
        let span_us = self.last?.0 - self.first?.0;
        (span_us > 0).then(|| (self.bytes - leave_out) as f64 * 8_000_000.0 / span_us as f64)
    }
}

impl Probes {
    /// The rate of the burst that is being sent.
    pub(super) fn active(&self) -> Option<Bitrate> {
        self.cluster.as_ref().filter(|cluster| !cluster.complete).map(|cluster| cluster.rate)
    }

    /// A packet leaves; returns the burst it belongs to.
    pub(super) fn sent(&mut self, now: Instant, bytes: usize) -> Option<u32> {
        let cluster = self.cluster.as_mut().filter(|cluster| !cluster.complete)?;
        let first = *cluster.first_sent.get_or_insert(now);
        cluster.packets_sent += 1;
        cluster.bytes_sent += bytes as u64;
        let long_enough = now.saturating_duration_since(first) >= SPAN / 2;
        let large_enough = cluster.bytes_sent >= cluster.bytes_wanted && cluster.packets_sent >= PACKETS_MIN;
        cluster.complete = long_enough && large_enough;
        Some(cluster.id)
    }

    /// One of a burst's packets has arrived.
    pub(super) fn arrived(&mut self, cluster: u32, sent_at: Instant, arrival_us: i64, bytes: usize) {
        if let Some(cluster) = self.cluster.as_mut().filter(|known| known.id == cluster) {
            let since = cluster.first_sent.unwrap_or(cluster.began);
            let sent_us = sent_at.saturating_duration_since(since).as_micros() as i64;
            cluster.departures.note(sent_us, bytes as u64);
            cluster.arrivals.note(arrival_us, bytes as u64);
        }
    }

    /// What the burst has shown, once all of it that will arrive has.
    pub(super) fn result(&mut self) -> Option<Result> {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.complete)?;
        let (departures, arrivals) = (cluster.departures, cluster.arrivals);
        if f64::from(arrivals.packets) < ARRIVED_MIN * f64::from(cluster.packets_sent) {
            return None;
        }
        self.cluster = None;
        // Of packets that left at once the last takes its time after the stretch, of those that came the first before.
        let send_rate = departures.rate(departures.last.map_or(0, |(_, bytes)| bytes))?;
        let receive_rate = arrivals.rate(arrivals.first.map_or(0, |(_, bytes)| bytes))?;
        if receive_rate > 2.0 * send_rate {
            return None;
        }
        let saturated = receive_rate < SATURATED * send_rate;
        let rate = if saturated { BELIEVED * receive_rate } else { receive_rate.min(send_rate) };
        Some(Result { rate: Bitrate::bps(rate as u64).min(CEILING), saturated })
    }

    /// The network is full: no burst for a while.
    pub(super) fn congested(&mut self, now: Instant) {
        self.cluster = None;
        self.next_at = Some(now + REST);
    }

    /// The last burst met no limit: the next may follow at once.
    pub(super) fn go_on(&mut self) {
        self.next_at = None;
    }

    /// Begins a burst if more is wanted than the estimate, and it is time.
    pub(super) fn consider(&mut self, now: Instant, estimate: Bitrate, demand: Bitrate) {
        if let Some(cluster) = &self.cluster {
            if now.saturating_duration_since(cluster.began) < PATIENCE {
                return;
            }
            self.cluster = None;
        }
        let early = self.next_at.is_some_and(|at| now < at);
        if early || demand <= estimate.scaled(WORTH) {
            return;
        }
        let factor = if self.tried { FACTOR } else { FIRST_FACTOR };
        let rate = estimate.scaled(factor).min(demand.scaled(HEADROOM)).min(CEILING);
        if rate <= estimate {
            return;
        }
        self.tried = true;
        self.next_at = Some(now + INTERVAL);
        self.next_id += 1;
        self.cluster = Some(Cluster {
            id: self.next_id,
            rate,
            began: now,
            bytes_wanted: rate.bytes_in(SPAN),
            first_sent: None,
            packets_sent: 0,
            bytes_sent: 0,
            complete: false,
            departures: Stretch::default(),
            arrivals: Stretch::default(),
        });
    }
}
