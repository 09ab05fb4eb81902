//! 20 ms of sound, mono or stereo.

use super::FRAME_SAMPLES;

/// 20 ms of one channel.
pub(super) type Pcm = [f32; FRAME_SAMPLES];

/// 20 ms as middle (half of left plus right) and side (half of left minus right). What is mono has no side, and whoever
/// hears in mono takes the middle, so most of a meeting never looks at the other half.
#[derive(Debug, Clone)]
pub(super) struct Sound {
    pub(super) mid: Pcm,
    /// Means something only if `wide`.
    pub(super) side: Pcm,
    pub(super) wide: bool,
}

impl Default for Sound {
    fn default() -> Sound {
        Sound { mid: [0.0; FRAME_SAMPLES], side: [0.0; FRAME_SAMPLES], wide: false }
    }
}

impl Sound {
    pub(super) fn clear(&mut self) {
        self.mid.fill(0.0);
        self.wide = false;
    }

    pub(super) fn add(&mut self, other: &Sound, gain: f32) {
        add(&mut self.mid, &other.mid, gain);
        if other.wide {
            if !self.wide {
                self.side.fill(0.0);
                self.wide = true;
            }
            add(&mut self.side, &other.side, gain);
        }
    }

    /// Multiplies each sample by the gain of its place.
    pub(super) fn shape(&mut self, gain: impl Fn(usize) -> f32) {
        for (i, sample) in self.mid.iter_mut().enumerate() {
            *sample *= gain(i);
        }
        if self.wide {
            for (i, sample) in self.side.iter_mut().enumerate() {
                *sample *= gain(i);
            }
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        let is_zero = |pcm: &Pcm| pcm.iter().all(|sample| *sample == 0.0);
        is_zero(&self.mid) && (!self.wide || is_zero(&self.side))
    }

    /// Left and right in turn, into `out`, which holds both.
    pub(super) fn interleave<'a>(&self, out: &'a mut [f32]) -> &'a [f32] {
        for (i, pair) in out.chunks_exact_mut(2).enumerate() {
            let side = if self.wide { self.side[i] } else { 0.0 };
            pair[0] = self.mid[i] + side;
            pair[1] = self.mid[i] - side;
        }
        out
    }
}

fn add(sum: &mut Pcm, frame: &Pcm, gain: f32) {
    for (sum, sample) in sum.iter_mut().zip(frame) {
        *sum += gain * sample;
    }
}
