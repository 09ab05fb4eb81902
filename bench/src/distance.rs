//! How far a sound is from what was said, and how late it is.
//!
//! The measure is a spectral distance: the energies of 20 ms frames (Hann window) in the 24 Bark bands, in dB, the difference
//! between what was said and what is heard, root mean square over all bands within 50 dB of the frame's loudest, of all
//! frames louder than -50 dB. 0 is perfect; lower is better. It knows nothing of phase and little of masking; it tells which of
//! two codings of the same speech at the same rate keeps more of its spectrum, and no more than that.

use std::f32::consts::TAU;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use campanile_media::mix::FRAME_SAMPLES;

/// Upper edges of the Bark bands, in Hz (Zwicker 1961).
const BARK_HZ: [f32; 24] = [
    100.0, 200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1080.0, 1270.0, 1480.0, 1720.0, 2000.0, 2320.0,
    2700.0, 3150.0, 3700.0, 4400.0, 5300.0, 6400.0, 7700.0, 9500.0, 12000.0, 15500.0,
];
/// The longest delay looked for, in samples: 300 ms. AudioBridge holds back 120.
pub(crate) const DELAY_MAX: usize = 14_400;
/// A delay is looked for at 8 kHz first, with one sample for six.
const THINNED: usize = 6;
/// How much of the sample before is taken off each: voices are loudest where they are least alike in time.
const EMPHASIS: f32 = 0.9;

/// The distance in dB of what is heard from what was said at the same time, both at 48 kHz; not a number if there was nothing
/// but silence.
pub(crate) fn distance_db(said: &[f32], heard: &[f32]) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for (said, heard) in said.chunks_exact(FRAME_SAMPLES).zip(heard.chunks_exact(FRAME_SAMPLES)) {
        let power = said.iter().map(|sample| sample * sample).sum::<f32>() / FRAME_SAMPLES as f32;
        if power < 1e-5 {
            continue;
        }
        let (said, heard) = (bands_db(said), bands_db(heard));
        let loudest = said.iter().fold(f32::MIN, |loudest, band| loudest.max(*band));
        for (said, heard) in said.iter().zip(heard).filter(|(said, _)| **said > loudest - 50.0) {
            sum += (said - heard).powi(2);
            count += 1;
        }
    }
    (sum / count as f32).sqrt()
}

/// By how many samples what is heard is late; `said` begins [`DELAY_MAX`] earlier and ends with it.
pub(crate) fn delay(said: &[f32], heard: &[f32]) -> usize {
    let thin = |pcm: &[f32]| pcm.chunks_exact(THINNED).map(|few| few.iter().sum()).collect::<Vec<f32>>();
    let likeliest = |said: &[f32], heard: &[f32], delays: RangeInclusive<usize>| {
        let (said, heard) = (emphasised(said), emphasised(heard));
        let earliest = said.len() - heard.len();
        let likeness = delays.map(|delay| (delay, dot(&heard, &said[earliest - delay..])));
        likeness.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(delay, _)| delay)
    };
    let about = likeliest(&thin(said), &thin(heard), 0..=DELAY_MAX / THINNED) * THINNED;
    likeliest(said, heard, about.saturating_sub(THINNED)..=(about + THINNED).min(DELAY_MAX))
}

/// The correlation of two sounds of the same time: 1 when they are equal but for loudness, 0 when nothing connects them.
pub(crate) fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}

fn emphasised(pcm: &[f32]) -> Vec<f32> {
    let before = std::iter::once(&0.0).chain(pcm);
    pcm.iter().zip(before).map(|(sample, before)| sample - EMPHASIS * before).collect()
}

/// In eight sums, which a processor adds up at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

fn bands_db(frame: &[f32]) -> [f32; 24] {
    static TURN: LazyLock<[(f32, f32); FRAME_SAMPLES]> =
        LazyLock::new(|| std::array::from_fn(|part| (TAU * part as f32 / FRAME_SAMPLES as f32).sin_cos()));
    let turn = &*TURN;
    let windowed: Vec<f32> =
        frame.iter().zip(turn).map(|(sample, (_, cos))| sample * (0.5 - 0.5 * cos)).collect();
    let mut energies = [1e-9f32; 24];
    // Bins of 50 Hz; the plain sum is fast enough here.
    for bin in 1..(15_500 / 50) {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, sample) in windowed.iter().enumerate() {
            let (sin, cos) = turn[bin * i % FRAME_SAMPLES];
            re += sample * cos;
            im += sample * sin;
        }
        let hz = bin as f32 * 50.0;
        let band = BARK_HZ.iter().position(|edge| hz < *edge).unwrap_or(23);
        energies[band] += re * re + im * im;
    }
    energies.map(|energy| 10.0 * energy.log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is louder and quieter by turns.
    fn noise(samples: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = |at: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.3 * (at as f32 / 9_000.0).sin()
        };
        (0..samples).map(&mut next).collect()
    }

    #[test]
    fn what_is_equal_has_no_distance_and_what_is_muffled_has_one() {
        let said = noise(24_000);
        assert_eq!(distance_db(&said, &said), 0.0);
        // 3 dB louder in every band.
        let louder: Vec<f32> = said.iter().map(|sample| sample * 10f32.powf(3.0 / 20.0)).collect();
        assert!((distance_db(&said, &louder) - 3.0).abs() < 0.01, "{}", distance_db(&said, &louder));
        let blurred = |over: usize| -> Vec<f32> {
            said.windows(over).map(|few| few.iter().sum::<f32>() / over as f32).collect()
        };
        let (little, much) = (distance_db(&said, &blurred(2)), distance_db(&said, &blurred(8)));
        assert!(little > 0.5 && much > little + 5.0, "{little} {much}");
        assert!(distance_db(&[0.0; 9_600], &said).is_nan(), "of silence nothing can be said");
    }

    #[test]
    fn a_delay_is_found_to_the_sample_in_other_sounds() {
        let said = noise(DELAY_MAX + 48_000);
        for late in [0, 1, 5_999, 6_000, 6_001, DELAY_MAX] {
            let heard: Vec<f32> = said[DELAY_MAX - late..][..48_000]
                .iter()
                .enumerate()
                .map(|(at, sample)| 0.2 * sample + 0.3 * (at as f32 * 0.05).sin())
                .collect();
            assert_eq!(delay(&said, &heard), late);
        }
    }
}
