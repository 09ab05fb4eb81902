//! How much the network to one peer bears: an [`Estimator`] learns it from transport-wide feedback.
//!
//! It listens to how queueing delay develops (`trend`) and whether it stays long (`queue`), from which `control`
//! draws the conclusion (additive or multiplicative increase, multiplicative decrease), to how much is lost (`loss`),
//! and to what short bursts above the present rate show (`probe`). The method is that of
//! draft-ietf-rmcat-gcc-02 with the trend line that browsers use instead of its Kalman filter. For peers that give no
//! such feedback there is what they say themselves (REMB).
//!
//! Rates count RTP packets of video as they leave, headers included, UDP and IP not. Audio is not counted: it is never
//! held back, so what is estimated is what the network bears beside it. Holding packets back is left to `peer`, sharing
//! the estimate among subscriptions to `allocate`.

mod control;
mod loss;
mod probe;
mod queue;
mod sent;
mod trend;

use std::time::{Duration, Instant};

use self::control::RateControl;
use self::loss::LossBound;
use self::probe::Probes;
use self::queue::Queue;
use self::sent::{Acknowledged, SentPackets};
use self::trend::{Trend, Usage};
use crate::rtcp::TransportFeedback;
use crate::units::Bitrate;

/// What a network is believed to bear when it has only just answered: a picture of middling quality. Probes find out
/// within a second whether it is more, the delay whether it is less.
pub const START: Bitrate = Bitrate::kbps(1500);
/// No estimate is below this: less than the smallest picture helps nobody, and the way back up must not take minutes.
pub const FLOOR: Bitrate = Bitrate::kbps(50);
/// No estimate is above this: beyond the 15 Mbit/s that one client subscribes to at most, it makes no difference.
pub const CEILING: Bitrate = Bitrate::kbps(50_000);
/// Without feedback for this long, while packets are on their way, the network is taken to bear less and less.
const SILENCE: Duration = Duration::from_secs(1);
/// Packets leave at most this much faster than the estimate: a frame may be spread over its interval, but a keyframe
/// must not take seconds.
const PACING_FACTOR: f64 = 2.5;
/// The same once the network has refused more: what waits, waits here.
const PACING_FACTOR_LIMITED: f64 = 1.5;

/// Learns what the network to one peer bears.
#[derive(Debug, Default)]
pub struct Estimator {
    sent: SentPackets,
    trend: Trend,
    queue: Queue,
    control: RateControl,
    loss: LossBound,
    probes: Probes,
    /// What the application would send if it could.
    demand: Bitrate,
    /// What the peer says of itself, if it gives no transport-wide feedback.
    remb: Option<Bitrate>,
    heard_at: Option<Instant>,
    round_trip: Duration,
    silence_punished_at: Option<Instant>,
    limited: bool,
}

impl Estimator {
    /// A packet leaves: returns its transport-wide sequence number.
    pub fn sent(&mut self, now: Instant, bytes: usize) -> u16 {
        let cluster = self.probes.sent(now, bytes);
        self.sent.push(now, bytes, cluster)
    }

    /// What arrived, and when.
    pub fn feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let Ok(statuses) = feedback.packets() else { return };
        self.sent.acknowledge(feedback.reference_time, statuses);
        self.loss.came_after_all(self.sent.acknowledged().iter().filter(|one| one.late).count() as u32);
        let Some(last) = self.sent.acknowledged().iter().filter(|one| !one.late).map(|one| one.sent_at).max()
        else {
            self.loss.note(self.sent.newly_lost(), 0, 0);
            return;
        };
        self.heard_at = Some(now);
        if self.silence_punished_at.take().is_some() {
            self.loss.forget();
        } else {
            let arrived = self.sent.acknowledged();
            let bytes = arrived.iter().map(|one| one.bytes as u64).sum();
            self.loss.note(self.sent.newly_lost(), arrived.len() as u32, bytes);
        }
        let rtt = now.saturating_duration_since(last);
        self.round_trip = rtt;
        for Acknowledged { sent_at, arrival_us, bytes, cluster, .. } in
            self.sent.acknowledged().iter().copied()
        {
            self.trend.arrived(sent_at, arrival_us);
            self.queue.arrived(sent_at, arrival_us);
            self.control.arrived(arrival_us, bytes);
            if let Some(cluster) = cluster {
                self.probes.arrived(cluster, sent_at, arrival_us, bytes);
            }
        }
        let usage = match self.trend.usage() {
            Usage::Normal if self.queue.is_standing() => Usage::Standing,
            usage => usage,
        };
        let by_delay = self.control.update(now, usage, rtt);
        let by_loss = self.loss.update(now, self.control.rate());
        self.control.bound(self.loss.cap(self.control.rate()));
        if by_delay || by_loss {
            self.limited = true;
            self.probes.congested(now);
        }
        if !matches!(usage, Usage::Over | Usage::Standing)
            && let Some(result) = self.probes.result()
            && result.rate > self.control.rate()
        {
            self.loss.disproved(result.rate);
            self.control.found(now, result.rate);
            if !result.saturated {
                self.probes.go_on();
            }
        }
        if self.control.rate() >= self.demand {
            self.limited = false;
        }
    }

    /// What the peer says it can receive, of all video together. Counts only while it gives no transport-wide feedback.
    pub fn remb(&mut self, bitrate: Bitrate) {
        self.remb = Some(bitrate.clamp(FLOOR, CEILING));
    }

    /// What would be sent if the network bore everything. Probes go no further than that.
    pub fn set_demand(&mut self, demand: Bitrate) {
        self.demand = demand;
    }

    /// Some time has passed: silence is judged, and a probe may begin.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(heard_at) = self.heard_at else { return };
        let since = self.silence_punished_at.unwrap_or(heard_at);
        if now.saturating_duration_since(since) >= SILENCE && self.sent.is_awaiting_since(heard_at) {
            self.silence_punished_at = Some(now);
            self.control.bound(self.control.rate().scaled(0.5));
            self.limited = true;
        }
        // Also in silence: while nothing else is sent, only a probe can end it.
        self.probes.consider(now, self.control.rate(), self.demand);
    }

    /// What the network bears; `None` while the peer has said nothing to judge by.
    pub fn estimate(&self) -> Option<Bitrate> {
        if self.heard_at.is_some() { Some(self.control.rate()) } else { self.remb }
    }

    /// Whether the network has refused more than the estimate, and the estimate has not been up to the demand since.
    /// Otherwise the network may well bear more: nobody has tried.
    pub fn is_limited(&self) -> bool {
        match self.heard_at {
            Some(_) => self.limited,
            None => self.remb.is_some_and(|remb| remb < self.demand),
        }
    }

    /// How fast packets may leave; `None` for at once.
    pub fn pacing_rate(&self) -> Option<Bitrate> {
        let estimate = self.estimate()?;
        let factor = if self.is_limited() { PACING_FACTOR_LIMITED } else { PACING_FACTOR };
        Some(self.probes.active().unwrap_or(estimate.scaled(factor)))
    }

    /// Whether padding should fill up what is sent, to probe.
    pub fn wants_padding(&self) -> bool {
        self.probes.active().is_some()
    }

    /// There is nothing to pad with: the burst that was wanted is given up.
    pub fn cannot_pad(&mut self, now: Instant) {
        self.probes.congested(now);
    }

    /// How long the latest packets and the report on them took, queues included; zero before the first.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// What arrived lately, per second; `None` before anything has been acknowledged.
    pub fn acknowledged(&self) -> Option<Bitrate> {
        self.control.acknowledged()
    }
}

/// Fuzz target of this module.
pub mod fuzz {
    use super::*;
    use crate::rtcp::{self, RtcpItem};

    /// Any reports on packets that were and were not sent, and any rates: the estimate stays within its bounds, and what
    /// it asks for ends.
    #[allow(clippy::disallowed_methods)] // Any instant will do to count from.
    pub fn estimator(data: &[u8]) {
        let (mut estimator, mut now) = (Estimator::default(), Instant::now());
        for chunk in data.chunks(48) {
            let Some((&step, compound)) = chunk.split_first() else { continue };
            now += Duration::from_millis(u64::from(step));
            estimator.set_demand(Bitrate::kbps(u64::from(step) * 200));
            for _ in 0..step % 16 {
                estimator.sent(now, usize::from(step) * 6);
            }
            for item in rtcp::parse(compound).flatten() {
                match item {
                    RtcpItem::TransportFeedback(feedback) => estimator.feedback(now, &feedback),
                    RtcpItem::Remb { bitrate_bps, .. } => estimator.remb(Bitrate::bps(bitrate_bps)),
                    _ => {}
                }
            }
            estimator.handle_timeout(now);
            if let Some(estimate) = estimator.estimate() {
                assert!((FLOOR..=CEILING).contains(&estimate), "{estimate}");
            }
            let mut padding = 0;
            while estimator.wants_padding() {
                now += Duration::from_millis(1);
                estimator.sent(now, 290);
                padding += 1;
                assert!(padding < 2000, "a burst has an end");
            }
        }
    }
}
