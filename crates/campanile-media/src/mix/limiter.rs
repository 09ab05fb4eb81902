//! Keeps a sum of voices within full scale, without clipping and without touching what fits already.

use super::FRAME_SAMPLES;
use super::sound::Sound;

/// The loudest sample let through: 1 dB below full scale, which leaves room for what a codec adds.
const CEILING: f32 = 0.89;
/// The gain is decided once per 2.5 ms and goes straight from one decision to the next.
const BLOCK_SAMPLES: usize = 120;
const BLOCKS: usize = FRAME_SAMPLES / BLOCK_SAMPLES;
/// Share of the way back to full gain per block: a time constant of 500 ms, too slow to be heard as pumping.
const RELEASE: f32 = 0.005;

/// A gain that falls before the peak that needs it, except for a peak in the first 2.5 ms of a frame, where it falls
/// with it. So it adds no delay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limiter {
    gain: f32,
}

impl Limiter {
    pub(super) fn new() -> Limiter {
        Limiter { gain: 1.0 }
    }

    /// Scales `sound` so that no sample of any channel exceeds the ceiling, both channels alike. A frame that fits, with
    /// the gain full, is left bit for bit.
    pub(super) fn apply(&mut self, sound: &mut Sound) {
        let mut allowed = [1.0; BLOCKS + 1]; // beyond the frame nothing is known, so nothing is asked
        for (block, allowed) in allowed[..BLOCKS].iter_mut().enumerate() {
            let peak = (block * BLOCK_SAMPLES..(block + 1) * BLOCK_SAMPLES)
                .fold(0.0f32, |peak, at| peak.max(loudest(sound, at)));
            *allowed = if peak > CEILING { CEILING / peak } else { 1.0 };
        }
        if self.gain >= 1.0 && allowed.iter().all(|allowed| *allowed >= 1.0) {
            return;
        }
        for (block, allowed) in allowed.windows(2).enumerate() {
            let released = self.gain + (1.0 - self.gain) * RELEASE;
            // Within 0.001 of full gain is full gain, or it would never quite return.
            let released = if released > 0.999 { 1.0 } else { released };
            let end = released.min(allowed[0]).min(allowed[1]);
            let step = (end - self.gain) / BLOCK_SAMPLES as f32;
            let surprised = self.gain > allowed[0];
            let mut least = self.gain;
            for i in 0..BLOCK_SAMPLES {
                let at = block * BLOCK_SAMPLES + i;
                let mut gain = self.gain + step * i as f32;
                if surprised {
                    least = least.min(gain).min(CEILING / loudest(sound, at));
                    gain = least;
                }
                sound.mid[at] *= gain;
                if sound.wide {
                    sound.side[at] *= gain;
                }
            }
            self.gain = end;
        }
    }
}

/// The louder of left and right.
fn loudest(sound: &Sound, at: usize) -> f32 {
    sound.mid[at].abs() + if sound.wide { sound.side[at].abs() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::sound::Pcm;

    impl Limiter {
        fn apply_mono(&mut self, pcm: &mut Pcm) {
            let mut sound = Sound { mid: *pcm, ..Sound::default() };
            self.apply(&mut sound);
            *pcm = sound.mid;
        }
    }

    #[test]
    fn both_channels_fit_and_keep_their_balance() {
        let mut limiter = Limiter::new();
        for frame in 0..50 {
            let (mid, side) = (wave(440.0, 0.9, frame), wave(300.0, 0.9, frame));
            let mut sound = Sound { mid, side, wide: true };
            limiter.apply(&mut sound);
            for i in 0..FRAME_SAMPLES {
                assert!(
                    (sound.mid[i] + sound.side[i]).abs().max((sound.mid[i] - sound.side[i]).abs()) < 0.8901
                );
                assert!((sound.mid[i] * side[i] - sound.side[i] * mid[i]).abs() < 1e-6);
            }
        }
    }

    fn wave(hz: f32, amplitude: f32, frame: usize) -> Pcm {
        std::array::from_fn(|i| {
            let t = (frame * FRAME_SAMPLES + i) as f32 / 48_000.0;
            amplitude * (std::f32::consts::TAU * (hz * t).fract()).sin()
        })
    }

    #[test]
    fn no_sample_exceeds_the_ceiling() {
        for amplitude in [0.9, 1.0, 2.0, 8.0, 16.0] {
            let mut limiter = Limiter::new();
            for frame in 0..50 {
                let mut pcm =
                    if frame % 7 == 3 { [0.0; FRAME_SAMPLES] } else { wave(440.0, amplitude, frame) };
                limiter.apply_mono(&mut pcm);
                let peak = pcm.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
                assert!(peak <= CEILING + 1e-6, "{amplitude}: {peak}");
            }
        }
    }

    #[test]
    fn what_fits_is_left_bit_for_bit() {
        let mut limiter = Limiter::new();
        for frame in 0..20 {
            let original = wave(300.0, 0.88, frame);
            let mut pcm = original;
            limiter.apply_mono(&mut pcm);
            assert_eq!(pcm, original);
        }
    }

    #[test]
    fn a_steady_loud_voice_does_not_pump() {
        let mut limiter = Limiter::new();
        let mut gains = Vec::new();
        for frame in 0..200 {
            let original = wave(200.0, 1.0, frame);
            let mut pcm = original;
            limiter.apply_mono(&mut pcm);
            if frame > 50 {
                gains.extend(pcm.iter().zip(&original).filter(|(_, o)| o.abs() > 0.1).map(|(p, o)| p / o));
            }
        }
        let (low, high) = gains.iter().fold((2.0f32, 0.0f32), |(l, h), g| (l.min(*g), h.max(*g)));
        assert!(high / low < 1.02, "gain wanders from {low} to {high}");
    }

    #[test]
    fn the_gain_returns_to_exactly_one() {
        let mut limiter = Limiter::new();
        limiter.apply_mono(&mut wave(200.0, 4.0, 0));
        for frame in 0..400 {
            limiter.apply_mono(&mut wave(200.0, 0.1, frame));
        }
        let mut pcm = wave(200.0, 0.1, 0);
        limiter.apply_mono(&mut pcm);
        assert_eq!(pcm, wave(200.0, 0.1, 0));
    }
}
