//! How late the packets of one leg come, and so how long to wait for them.
//!
//! Each packet is placed on the sender's own timeline; what it is late by, against the fastest of the last seconds, goes
//! into a histogram that forgets. The delay aimed at is a high quantile of it, so that a steady network costs next to
//! nothing and an unsteady one what it needs. Because "late" is always against the recent fastest, a sender's clock
//! that runs fast or slow is followed and never adds up.

use super::FRAME_SAMPLES;
use std::time::Instant;

/// Lateness is told apart in steps of 5 ms, up to 300 ms; what is later counts as that late.
const STEP_SAMPLES: i64 = 240;
const STEPS: usize = 60;
/// The share of packets that the target makes room for. The rest is concealed: one frame in 50 at worst, against a delay
/// for all of them.
const QUANTILE: f32 = 0.98;
/// Time after which an observation counts 1/e: 400 frames, 8 s, so that a single late packet is forgotten soon and a
/// pattern is not.
const MEMORY_FRAMES: f32 = 400.0;
/// Far below the greatest number, and reached every two minutes.
const WEIGHT_MAX: f32 = 1e6;
/// What is believed before anything is known: 20 ms late, with the weight of 0.4 s.
const PRIOR_STEP: usize = 3;
const PRIOR_FRAMES: f32 = 20.0;
/// Never less than 10 ms, half a tick: ticks and arrivals both waver a little.
const TARGET_SAMPLES_MIN: i64 = 480;
/// Never more than 200 ms: beyond that people talk over one another, and a gap is kinder.
const TARGET_SAMPLES_MAX: i64 = 9_600;
/// The fastest packet is that of the last 5 to 10 s. A clock wrong by 200 ppm, twice what quartz does, is off by 2 ms then.
const FASTEST_SAMPLES: i64 = 5 * 48_000;
/// A single packet counts as the time since the one before, but as no more than 40 ms: a radio link that is elsewhere for 50 ms
/// every second is a pattern, one hold of 150 ms in 8 s is none.
const HELD_UP_SAMPLES_MAX: i64 = 2 * FRAME_SAMPLES as i64;
/// No packet for 200 ms, for which the sender's clock does not account by a rest: a stall. That is no jitter, and what
/// follows is measured afresh.
const STALL_SAMPLES: i64 = 10 * FRAME_SAMPLES as i64;
/// Timestamps are believed when they run at most this far ahead of the sequence: a minute of a sender's silence.
const SILENCE_SAMPLES_MAX: i64 = 60 * 48_000;
/// The shortest packet (RFC 6716 section 2.1.4): timestamps that advance by less do not count time.
const PACKET_SAMPLES_MIN: i64 = 120;

#[derive(Debug)]
pub(super) struct Timing {
    /// Arrivals are counted from here, in samples at 48 kHz.
    epoch: Option<Instant>,
    last_arrival: i64,
    /// The newest packet placed: extended sequence number, place, timestamp. The next after a restart begins anew.
    newest: Option<(u64, i64, u32)>,
    /// Least of arrival minus place, since `fastest_since` and in the period before that.
    fastest: i64,
    fastest_before: i64,
    fastest_since: i64,
    /// How late frames were lately.
    late: Histogram,
}

/// Frames by lateness, in steps, that fade with time. So that a frame costs the same however many steps there are, the old
/// ones do not lose weight but the new ones weigh more.
#[derive(Debug)]
struct Histogram {
    late: [f32; STEPS],
    total: f32,
    /// What a frame weighs now.
    weight: f32,
    /// The step up to which [`QUANTILE`] reaches, and the weight of all later ones.
    at: usize,
    beyond: f32,
}

impl Timing {
    pub(super) fn new() -> Timing {
        Timing {
            epoch: None,
            last_arrival: 0,
            newest: None,
            fastest: 0,
            fastest_before: 0,
            fastest_since: 0,
            late: Histogram::new(),
        }
    }

    /// The numbering begins anew.
    pub(super) fn restart(&mut self) {
        self.newest = None;
    }

    /// Takes an arrival. `samples` is the duration of the packets before. Returns the packet's place on the sender's timeline.
    pub(super) fn arrive(&mut self, now: Instant, sequence: u64, timestamp: u32, samples: usize) -> i64 {
        self.epoch.get_or_insert(now);
        let arrival = self.elapsed(now);
        let place = match self.newest {
            None => arrival,
            Some((newest, place, newest_timestamp)) => {
                let by_sequence = (sequence as i64 - newest as i64) * samples as i64;
                let by_clock = i64::from(timestamp.wrapping_sub(newest_timestamp).cast_signed());
                let least = (sequence as i64 - newest as i64) * PACKET_SAMPLES_MIN;
                let believable = if by_sequence > 0 {
                    (least..=by_sequence + SILENCE_SAMPLES_MAX).contains(&by_clock)
                } else {
                    (-SILENCE_SAMPLES_MAX..=least).contains(&by_clock)
                };
                place + if believable { by_clock } else { by_sequence }
            }
        };
        let before = self.newest.map_or(place, |(_, before, _)| before);
        let anew = self.newest.is_none();
        if self.newest.is_none_or(|(newest, ..)| sequence > newest) {
            self.newest = Some((sequence, place, timestamp));
        }
        let gap = arrival - self.last_arrival;
        self.last_arrival = arrival;
        let transit = arrival - place;
        let rested = (place - before).max(0);
        if anew || (gap > STALL_SAMPLES && gap - rested > HELD_UP_SAMPLES_MAX) {
            (self.fastest, self.fastest_before, self.fastest_since) = (transit, transit, arrival);
            return place;
        }
        if arrival - self.fastest_since > FASTEST_SAMPLES {
            (self.fastest_before, self.fastest, self.fastest_since) = (self.fastest, transit, arrival);
        }
        self.fastest = self.fastest.min(transit);
        // What comes in one burst was held up by one thing: it counts as much as the time it took.
        self.observe(self.lateness(now, place), gap.min(HELD_UP_SAMPLES_MAX) as f32 / FRAME_SAMPLES as f32);
        place
    }

    /// Notes that a frame at `place` could be had only now, from a copy or from in-band FEC.
    pub(super) fn arrive_otherwise(&mut self, now: Instant, place: i64) {
        self.observe(self.lateness(now, place), 1.0);
    }

    /// How much later than the fastest packets what belongs at `place` would be, played now; in samples.
    pub(super) fn lateness(&self, now: Instant, place: i64) -> i64 {
        self.elapsed(now) - place - self.fastest.min(self.fastest_before)
    }

    /// The lateness at which to play, in samples.
    pub(super) fn target(&self) -> i64 {
        let target = (self.late.at as i64 + 1) * STEP_SAMPLES;
        target.clamp(TARGET_SAMPLES_MIN, TARGET_SAMPLES_MAX)
    }

    /// The place of any packet, as far as the newest tells.
    pub(super) fn place_of(&self, sequence: u64, samples: usize) -> i64 {
        let (newest, place, _) = self.newest.unwrap_or_default();
        place + (sequence as i64 - newest as i64) * samples as i64
    }

    fn observe(&mut self, lateness: i64, frames: f32) {
        if frames <= 0.0 {
            return;
        }
        let step = (lateness / STEP_SAMPLES).clamp(0, STEPS as i64 - 1);
        self.late.add(step as usize, frames);
    }

    fn elapsed(&self, now: Instant) -> i64 {
        let since = self.epoch.map_or(0, |epoch| now.saturating_duration_since(epoch).as_micros());
        // Rounded down to a sample; a century of microseconds fits.
        (since * 48 / 1_000) as i64
    }
}

impl Histogram {
    fn new() -> Histogram {
        let mut late = [0.0; STEPS];
        late[PRIOR_STEP] = PRIOR_FRAMES;
        Histogram { late, total: PRIOR_FRAMES, weight: 1.0, at: PRIOR_STEP, beyond: 0.0 }
    }

    fn add(&mut self, step: usize, frames: f32) {
        self.weight /= 1.0 - frames / MEMORY_FRAMES;
        if self.weight > WEIGHT_MAX {
            self.rescale();
        }
        let weight = frames * self.weight;
        self.late[step] += weight;
        self.total += weight;
        if step > self.at {
            self.beyond += weight;
        }
        let allowed = self.total * (1.0 - QUANTILE);
        while self.beyond > allowed && self.at + 1 < STEPS {
            self.at += 1;
            self.beyond -= self.late[self.at];
        }
        while self.at > 0 && self.beyond + self.late[self.at] <= allowed {
            self.beyond += self.late[self.at];
            self.at -= 1;
        }
    }

    /// Makes weights small again, and sums exact.
    fn rescale(&mut self) {
        self.late.iter_mut().for_each(|late| *late /= self.weight);
        self.weight = 1.0;
        self.total = self.late.iter().sum();
        self.beyond = self.late[self.at + 1..].iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the fading is defined: everything loses weight with each frame.
    fn plainly(late: &mut [f64; STEPS], step: usize, frames: f32) -> usize {
        let keep = 1.0 - f64::from(frames / MEMORY_FRAMES);
        late.iter_mut().for_each(|late| *late *= keep);
        late[step] += f64::from(frames);
        let beyond = late.iter().sum::<f64>() * f64::from(1.0 - QUANTILE);
        let mut later = 0.0;
        let reaches = |late: &f64| {
            later += late;
            later > beyond
        };
        late.iter().rposition(reaches).unwrap_or(0)
    }

    #[test]
    fn growing_weights_tell_the_same_as_fading_ones() {
        let mut histogram = Histogram::new();
        let mut late = histogram.late.map(f64::from);
        let (mut rescaled, mut seen, mut differed) = (0, [false; STEPS], 0);
        for frame in 0..60_000_u32 {
            // Calm and storms, a rare outlier, and bursts whose packets count for less than a frame.
            let storm = (frame / 3_000 % 5) as usize * 10;
            let step = match frame.wrapping_mul(2_654_435_761) >> 16 {
                chance if chance % 97 == 0 => STEPS - 1,
                chance => (chance as usize % 7) + storm,
            };
            let frames = [1.0, 2.0, 0.25][frame as usize % 3];
            let weight = histogram.weight;
            histogram.add(step, frames);
            rescaled += u32::from(histogram.weight < weight);
            let expected = plainly(&mut late, step, frames);
            differed += u32::from(histogram.at != expected);
            seen[expected] = true;
        }
        assert!(rescaled > 5 && seen.iter().filter(|seen| **seen).count() > 10);
        assert!(differed < 600, "rounding may tell two steps apart now and then only: {differed}");
    }
}
