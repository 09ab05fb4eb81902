//! How long sound takes: a beat of a high tone in what a meeting's first speaker says, and the moment at which others hear it.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::f64::consts::FRAC_1_SQRT_2;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use campanile_client::pcm::{PACKET_SAMPLES, PcmDecoder, SAMPLE_RATE_HZ, looped};
use campanile_client::{AudioLoop, AudioPacket};

/// Far above the tones of the speakers, and within what codecs keep of speech.
const BEAT_HZ: f32 = 6000.0;
/// Of the beat's tone, in samples.
const PERIOD: usize = SAMPLE_RATE_HZ / 6000;
/// One period of it.
const WAVE: [f64; PERIOD] =
    [1.0, FRAC_1_SQRT_2, 0.0, -FRAC_1_SQRT_2, -1.0, -FRAC_1_SQRT_2, 0.0, FRAC_1_SQRT_2];
const BEAT_AMPLITUDE: f32 = 0.2;
const BEAT_SAMPLES: usize = SAMPLE_RATE_HZ / 50;
const LOOP_PACKETS: usize = 100;
/// In the middle of the loop, where encoder and decoders have settled.
const BEAT_PACKET: usize = LOOP_PACKETS / 2;
/// Sound that is looked at together: whole periods of the beat, and short enough to place it within a millisecond.
const WINDOW: usize = 30 * PERIOD;
/// A beat begins where the window holds so much of it, after half a second without.
const THRESHOLD: f32 = BEAT_AMPLITUDE / 4.0;
const QUIET_SAMPLES: usize = SAMPLE_RATE_HZ / 2;
/// Longer, and it was another beat.
const DELAY_MAX: Duration = Duration::from_millis(1500);

/// Where in the loop a listener hears the beat begin when there is nothing between: codecs look ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Onset {
    packet: usize,
    sample: usize,
}

/// Two seconds of a tone with a beat in it.
pub(crate) fn beating(frequency_hz: f32, amplitude: f32) -> Result<(AudioLoop, Onset), String> {
    let beat = BEAT_PACKET * PACKET_SAMPLES..BEAT_PACKET * PACKET_SAMPLES + BEAT_SAMPLES;
    let wave = |hz: f32, n: usize| (TAU * hz * (n % SAMPLE_RATE_HZ) as f32 / SAMPLE_RATE_HZ as f32).sin();
    let sample = |n: usize| {
        let beats = if beat.contains(&n) { BEAT_AMPLITUDE * wave(BEAT_HZ, n) } else { 0.0 };
        amplitude * wave(frequency_hz, n) + beats
    };
    let samples: Vec<f32> = (0..LOOP_PACKETS * PACKET_SAMPLES).map(sample).collect();
    let tone = looped(&samples).map_err(|error| error.to_string())?;
    let mut decoder = PcmDecoder::new().map_err(|error| error.to_string())?;
    let (mut ear, mut onset) = (Ear::default(), None);
    // The second round is like all that follow.
    for number in 0..2 * LOOP_PACKETS {
        let packet = number % LOOP_PACKETS;
        let payload = tone.packets[packet].clone();
        let received = AudioPacket { arrival: Instant::now(), sequence: number as u64, time: 0, payload };
        decoder.push(&received, |samples| {
            onset = ear.hear(samples).map(|sample| Onset { packet, sample }).or(onset);
        });
    }
    Ok((tone, onset.ok_or("a beat is not heard")?))
}

/// The beat of one meeting, known to whoever sends it and to all who may hear it. Times are since the run's start.
#[derive(Debug)]
pub(crate) struct Beat {
    onset: Onset,
    /// Of the packet that the beat begins in: microseconds, plus one; 0 before the first.
    sent_us: AtomicU64,
}

impl Beat {
    pub(crate) fn new(onset: Onset) -> Beat {
        Beat { onset, sent_us: AtomicU64::new(0) }
    }

    /// A packet of the loop is sent.
    pub(crate) fn sent(&self, packet: usize, at: Duration) {
        if packet == self.onset.packet {
            self.sent_us.store(at.as_micros() as u64 + 1, Ordering::Relaxed);
        }
    }

    /// How long the beat took that is heard to begin at this sample of a packet that came then: no time, if the packet came
    /// the moment it was sent.
    pub(crate) fn took(&self, came: Duration, sample: usize) -> Option<Duration> {
        let sent = Duration::from_micros(self.sent_us.load(Ordering::Relaxed).checked_sub(1)?);
        let took = (came + samples(sample)).saturating_sub(sent + samples(self.onset.sample));
        (took < DELAY_MAX).then_some(took)
    }
}

fn samples(count: usize) -> Duration {
    Duration::from_secs_f64(count as f64 / SAMPLE_RATE_HZ as f64)
}

/// Hears beats begin, in samples of 48 kHz.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    heard: usize,
    window: VecDeque<f32>,
    /// The beat's share of the window, as two numbers at right angles.
    share: (f64, f64),
    quiet: usize,
}

impl Ear {
    /// The sample at which a beat begins, if one does.
    pub(crate) fn hear(&mut self, samples: &[f32]) -> Option<usize> {
        let mut onset = None;
        for (at, sample) in samples.iter().enumerate() {
            // The window is whole periods: what leaves it has the phase of what enters.
            let left = if self.window.len() == WINDOW { self.window.pop_front() } else { None };
            self.window.push_back(*sample);
            let change = f64::from(sample - left.unwrap_or_default());
            self.share.0 += change * WAVE[self.heard % PERIOD];
            self.share.1 += change * WAVE[(self.heard + PERIOD / 4) % PERIOD];
            self.heard += 1;
            if 2.0 * self.share.0.hypot(self.share.1) / (WINDOW as f64) < f64::from(THRESHOLD) {
                self.quiet += 1;
                continue;
            }
            if self.quiet >= QUIET_SAMPLES {
                onset = Some(at);
            }
            self.quiet = 0;
        }
        onset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_heard_once_a_round_and_where_it_was_put() {
        let (tone, onset) = beating(400.0, 0.1).unwrap();
        assert_eq!(tone.packets.len(), LOOP_PACKETS);
        // The encoder looks ahead 6.5 ms, and a quarter of the window must be full: all within the packet.
        assert_eq!(onset.packet, BEAT_PACKET);
        assert!((200..600).contains(&onset.sample), "{onset:?}");
    }

    #[test]
    fn other_voices_are_no_beats() {
        let mut ear = Ear::default();
        let wave = |hz: f32, n: usize| 0.1 * (TAU * hz * n as f32 / SAMPLE_RATE_HZ as f32).sin();
        let many = |n| (0..8).map(|voice| wave(400.0 + 100.0 * voice as f32, n)).sum::<f32>();
        let samples: Vec<f32> = (0..2 * SAMPLE_RATE_HZ).map(many).collect();
        assert_eq!(ear.hear(&samples), None);
    }

    #[test]
    fn what_a_beat_took_is_counted_from_where_it_would_be_heard_at_once() {
        let beat = Beat::new(Onset { packet: 50, sample: 480 });
        let ms = Duration::from_millis;
        assert_eq!(beat.took(ms(1000), 480), None, "before any was sent");
        beat.sent(49, ms(980));
        beat.sent(50, ms(1000));
        beat.sent(51, ms(1020));
        assert_eq!(beat.took(ms(1000), 480), Some(ms(0)));
        assert_eq!(beat.took(ms(1040), 0), Some(ms(30)), "in a later packet, but earlier in it");
        assert_eq!(beat.took(ms(2990), 0), None, "that was another one");
    }
}
