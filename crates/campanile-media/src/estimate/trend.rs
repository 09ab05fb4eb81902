//! How queueing delay develops: groups of packets, the line through their delays, and what its slope means.
//!
//! draft-ietf-rmcat-gcc-02, sections 5.2 and 5.4; the line through the last groups takes the place of its Kalman filter
//! of section 5.3.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets sent within this belong together: they queue behind each other whatever the network does.
const GROUP_SPAN: Duration = Duration::from_millis(5);
/// Groups that the line goes through.
const WINDOW: usize = 20;
/// The share of the old in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// The slope is scaled by the number of groups, up to this many, and by this.
const GROUPS_COUNTED_MAX: u32 = 60;
const GAIN: f64 = 4.0;
/// What the scaled slope must pass to count, in ms: where it begins and between what it moves (section 5.4).
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);
/// How fast it follows the slope, up and down, per ms.
const THRESHOLD_GAIN_UP: f64 = 0.0087;
const THRESHOLD_GAIN_DOWN: f64 = 0.039;
/// A slope this far beyond it is an outlier that it does not follow.
const OUTLIER: f64 = 15.0;
/// How long the slope must be too steep, in ms, to be believed.
const OVERUSE_MS: f64 = 10.0;
/// A pause this long begins a new line: the old one tells nothing of the network as it is.
const PAUSE: Duration = Duration::from_secs(1);

/// What the delay says of the network's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Usage {
    /// It stays as it is.
    #[default]
    Normal,
    /// It fills.
    Over,
    /// It stays, and is too long.
    Standing,
    /// It drains.
    Under,
}

/// Follows the queueing delay.
#[derive(Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    before: Option<Group>,
    /// Arrival and smoothed delay of the last groups, in ms.
    points: VecDeque<(f64, f64)>,
    first_arrival_us: i64,
    groups: u32,
    delay_ms: f64,
    smoothed_ms: f64,
    threshold: f64,
    over_ms: f64,
    over_groups: u32,
    last_slope: f64,
    usage: Usage,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Instant,
    last_sent: Instant,
    first_arrival_us: i64,
    last_arrival_us: i64,
}

impl Default for Trend {
    fn default() -> Trend {
        Trend {
            group: None,
            before: None,
            points: VecDeque::with_capacity(WINDOW),
            first_arrival_us: 0,
            groups: 0,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            threshold: THRESHOLD_START,
            over_ms: 0.0,
            over_groups: 0,
            last_slope: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// A packet has arrived; packets come in the order in which they were sent.
    pub(super) fn arrived(&mut self, sent: Instant, arrival_us: i64) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::new(sent, arrival_us));
            return;
        };
        if sent < group.first_sent {
            return;
        }
        if sent.duration_since(group.last_sent) > PAUSE {
            *self = Trend { threshold: self.threshold, ..Trend::default() };
            self.group = Some(Group::new(sent, arrival_us));
            return;
        }
        if group.takes(sent, arrival_us) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival_us = group.last_arrival_us.max(arrival_us);
            return;
        }
        let complete = *group;
        self.group = Some(Group::new(sent, arrival_us));
        if let Some(before) = self.before.replace(complete) {
            let sent_ms = complete.last_sent.duration_since(before.last_sent).as_secs_f64() * 1000.0;
            let arrived_ms = (complete.last_arrival_us - before.last_arrival_us) as f64 / 1000.0;
            // A group that overtook the one before says nothing of the queue.
            if arrived_ms >= 0.0 {
                self.note(sent_ms, arrived_ms, complete.last_arrival_us);
            }
        }
    }

    /// What the latest groups say.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    fn note(&mut self, sent_ms: f64, arrived_ms: f64, arrival_us: i64) {
        if self.groups == 0 {
            self.first_arrival_us = arrival_us;
        }
        self.groups = (self.groups + 1).min(GROUPS_COUNTED_MAX);
        self.delay_ms += arrived_ms - sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        if self.points.len() == WINDOW {
            self.points.pop_front();
        }
        let at = (arrival_us - self.first_arrival_us) as f64 / 1000.0;
        self.points.push_back((at, self.smoothed_ms));
        let slope = if self.points.len() == WINDOW { self.slope() } else { 0.0 };
        self.judge(slope, sent_ms);
    }

    /// Least squares.
    fn slope(&self) -> f64 {
        let count = self.points.len() as f64;
        let (sum_x, sum_y) = self.points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (above, below) = self.points.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
            (above + (x - mean_x) * (y - mean_y), below + (x - mean_x).powi(2))
        });
        if below == 0.0 { 0.0 } else { above / below }
    }

    fn judge(&mut self, slope: f64, span_ms: f64) {
        let scaled = f64::from(self.groups) * slope * GAIN;
        if scaled > self.threshold {
            // Half the span: it became too steep somewhere within the first.
            self.over_ms += if self.over_groups == 0 { span_ms / 2.0 } else { span_ms };
            self.over_groups += 1;
            if self.over_ms > OVERUSE_MS && self.over_groups > 1 && slope >= self.last_slope {
                (self.over_ms, self.over_groups) = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.over_ms, self.over_groups) = (0.0, 0);
            self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = slope;
        let distance = scaled.abs() - self.threshold;
        if distance <= OUTLIER {
            let gain = if distance < 0.0 { THRESHOLD_GAIN_DOWN } else { THRESHOLD_GAIN_UP };
            let moved = self.threshold + gain * distance * span_ms.min(100.0);
            self.threshold = moved.clamp(THRESHOLD_RANGE.0, THRESHOLD_RANGE.1);
        }
    }
}

impl Group {
    fn new(sent: Instant, arrival_us: i64) -> Group {
        Group { first_sent: sent, last_sent: sent, first_arrival_us: arrival_us, last_arrival_us: arrival_us }
    }

    /// Whether a packet belongs to this group: sent together with its first, or arrived in a burst with its last, which
    /// is how a network behaves that had held them up (section 5.2).
    fn takes(&self, sent: Instant, arrival_us: i64) -> bool {
        let sent_us = sent.saturating_duration_since(self.last_sent).as_micros() as i64;
        let arrived_us = arrival_us - self.last_arrival_us;
        let span = GROUP_SPAN.as_micros() as i64;
        let burst =
            arrived_us < sent_us && arrived_us <= span && arrival_us - self.first_arrival_us < 20 * span;
        sent.duration_since(self.first_sent) <= GROUP_SPAN || burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_start;

    /// One packet each 20 ms, `delay_ms` of each given; returns the verdicts that differ from the one before.
    fn verdicts(delay_ms: impl Fn(u32) -> f64) -> Vec<Usage> {
        let (mut trend, start, mut seen) = (Trend::default(), test_start(), vec![]);
        for at in 0..500u32 {
            let sent = start + Duration::from_millis(20) * at;
            trend.arrived(sent, (20_000.0 * f64::from(at) + 1000.0 * delay_ms(at)) as i64);
            if seen.last() != Some(&trend.usage()) {
                seen.push(trend.usage());
            }
        }
        seen
    }

    #[test]
    fn a_queue_that_fills_and_drains_is_noticed() {
        assert_eq!(verdicts(|_| 50.0), [Usage::Normal]);
        assert_eq!(verdicts(|at| f64::from(at % 3) * 4.0), [Usage::Normal], "jitter is no queue");
        let fills = |at: u32| if at < 100 { 50.0 } else { 50.0 + f64::from(at.min(200) - 100) * 2.0 };
        assert_eq!(verdicts(fills)[..2], [Usage::Normal, Usage::Over]);
        let drains = |at: u32| if at < 100 { 250.0 } else { 250.0 - f64::from(at.min(200) - 100) * 2.0 };
        assert_eq!(verdicts(drains)[..2], [Usage::Normal, Usage::Under]);
    }

    #[test]
    fn a_step_in_latency_is_no_overuse_for_long() {
        let seen = verdicts(|at| if at < 250 { 20.0 } else { 60.0 });
        assert_eq!(seen.last(), Some(&Usage::Normal), "{seen:?}");
    }
}
