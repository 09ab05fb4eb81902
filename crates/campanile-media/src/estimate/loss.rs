//! What loss says: a network that drops because it is full drops less when less is sent; one that drops anyway does not.
//!
//! Section 6 of draft-ietf-rmcat-gcc-02 takes a tenth lost for congestion, whatever the cause, and so starves on a radio
//! link. Here each reduction is an experiment: if it does not help, that share is the network's own from then on.

use std::time::{Duration, Instant};

use super::FLOOR;
use crate::units::Bitrate;

/// Loss is judged over at least so long and so many packets, or over so long and as many as there were: with fewer,
/// chance would do the judging.
const INTERVAL: Duration = Duration::from_millis(400);
const PACKETS: u32 = 100;
const INTERVAL_MAX: Duration = Duration::from_secs(2);
const PACKETS_MIN: u32 = 20;
/// Loss beyond the network's own that is taken for congestion.
const CONGESTED: f64 = 0.10;
/// What chance adds to it, over the root of the number of packets.
const CHANCE: f64 = 1.0;
/// Below this much beyond it the bound is lifted, by this factor each interval.
const CALM: f64 = 0.02;
const LIFT: f64 = 1.05;
/// A reduction must have reached what is sent by this much before it can be judged, and has helped if loss fell to less
/// than this share.
const REDUCED: f64 = 0.92;
const HELPED: f64 = 0.6;
/// No network's own loss is more than this: beyond it no picture can be repaired.
const OWN_MAX: f64 = 0.30;

/// Bounds the rate by loss.
#[derive(Debug, Default)]
pub(super) struct LossBound {
    bound: Option<Bitrate>,
    /// The share that the network loses whatever is sent.
    own: f64,
    /// Packets have overtaken each other: from then on what is missing waits for one more report.
    reorders: bool,
    /// What the latest report called missing, where packets may have been overtaken only, and come with the next.
    missing: u32,
    lost: u32,
    arrived: u32,
    arrived_bytes: u64,
    judged_at: Option<Instant>,
    experiment: Option<Experiment>,
}

/// A reduction whose effect is awaited.
#[derive(Clone, Copy, Debug)]
struct Experiment {
    loss: f64,
    sent: f64,
}

impl LossBound {
    /// So many of the packets that were called missing have arrived.
    pub(super) fn came_after_all(&mut self, late: u32) {
        self.reorders |= late > 0;
        let of_before = late.saturating_sub(self.missing);
        self.missing = self.missing.saturating_sub(late);
        self.lost = self.lost.saturating_sub(of_before);
    }

    /// So many packets are called missing, so many have arrived, of so many bytes together. They are lost, or, where
    /// packets overtake each other, those of the last report that have not come since.
    pub(super) fn note(&mut self, missing: u32, arrived: u32, arrived_bytes: u64) {
        let suspected = if self.reorders { missing } else { 0 };
        self.lost += std::mem::replace(&mut self.missing, suspected) + missing - suspected;
        self.arrived += arrived;
        self.arrived_bytes += arrived_bytes;
    }

    /// Judges what was noted, given the present rate; true when the bound was taken down.
    pub(super) fn update(&mut self, now: Instant, rate: Bitrate) -> bool {
        let judged_at = *self.judged_at.get_or_insert(now);
        let count = self.lost + self.arrived;
        let elapsed = now.saturating_duration_since(judged_at);
        let enough = count >= PACKETS && elapsed >= INTERVAL;
        if !enough && (count < PACKETS_MIN || elapsed < INTERVAL_MAX) {
            return false;
        }
        let loss = f64::from(self.lost) / f64::from(count);
        let arrives = Bitrate::measured(self.arrived_bytes, elapsed).as_bps() as f64;
        (self.lost, self.arrived, self.arrived_bytes, self.judged_at) = (0, 0, 0, Some(now));
        let sent = arrives / (1.0 - loss.min(0.95));
        if loss < self.own {
            self.own += (loss - self.own) / 8.0;
        }
        let excess = loss - self.own;
        if excess > CONGESTED + CHANCE / f64::from(count).sqrt() {
            match self.experiment {
                Some(before) if sent <= before.sent * REDUCED => {
                    self.experiment = None;
                    if loss > before.loss * HELPED {
                        self.own = loss.min(OWN_MAX);
                        self.bound = None;
                        return false;
                    }
                }
                _ => {}
            }
            let most = Bitrate::bps((arrives / (1.0 - self.own)) as u64).min(rate.scaled(REDUCED));
            self.bound = Some(most.max(rate.scaled(0.5)).max(FLOOR));
            self.experiment.get_or_insert(Experiment { loss, sent });
            return true;
        }
        if excess < CALM {
            self.experiment = None;
            // Once it is well above the rate it bounds nothing.
            self.bound = self.bound.map(|bound| bound.scaled(LIFT)).filter(|bound| *bound < rate.scaled(2.0));
        }
        false
    }

    /// This rate, or the bound.
    pub(super) fn cap(&self, rate: Bitrate) -> Bitrate {
        self.bound.map_or(rate, |bound| rate.min(bound))
    }

    /// What was lost lately was lost for a reason of its own.
    pub(super) fn forget(&mut self) {
        (self.missing, self.lost, self.arrived, self.arrived_bytes, self.judged_at) = (0, 0, 0, 0, None);
    }

    /// The network has just borne this.
    pub(super) fn disproved(&mut self, rate: Bitrate) {
        self.bound = self.bound.filter(|bound| *bound > rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_start;

    /// Reports 50 ms apart, of 20 packets each: so many of them missing, so many of the last report's have come since.
    /// Returns whether that was ever taken for congestion.
    fn reduces(reports: impl Iterator<Item = (u32, u32)>) -> bool {
        let (mut loss, mut now, mut reduced) = (LossBound::default(), test_start(), false);
        for (missing, late) in reports {
            now += Duration::from_millis(50);
            loss.came_after_all(late);
            loss.note(missing, 20 - missing + late, 20_000);
            reduced |= loss.update(now, Bitrate::kbps(3200));
        }
        reduced
    }

    #[test]
    fn what_is_overtaken_is_not_lost() {
        let overtaken = (0..100).map(|at| (8, if at == 0 { 0 } else { 8 }));
        assert!(!reduces(overtaken), "two in five come with the next report");
        let two_reports_later = (0..100).map(|at| (8, if at < 2 { 0 } else { 8 }));
        assert!(!reduces(two_reports_later));
        assert!(reduces((0..100).map(|_| (8, 0))), "and these never");
    }
}
