//! How large pictures are, by what a keyframe says of itself: nothing is decoded, and what is not said is not known.
//!
//! The readers never look past what a packet holds. An ordinary frame costs a look at its first byte.

mod av1;
mod h264;
mod vp8;
mod vp9;

use super::layer::SPATIAL_LAYERS;
use super::payload::{PayloadInfo, VideoCodec};

/// Encoders that do not crop count in macroblocks of this width and height: their 1080 lines are 1088.
const MACROBLOCK: u32 = 16;

/// Width and height of a picture in pixels, or the most that either may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PictureSize {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

impl PictureSize {
    /// "HD", 720p.
    pub const HD: PictureSize = PictureSize { width: 1280, height: 720 };
    /// "Full HD", 1080p.
    pub const FHD: PictureSize = PictureSize { width: 1920, height: 1080 };
    /// "Ultra HD", 4K.
    pub const UHD: PictureSize = PictureSize { width: 3840, height: 2160 };

    /// Whether a picture is within a limit, upright or lying.
    pub fn fits(self, limit: PictureSize) -> bool {
        let sides = |size: PictureSize| (size.width.max(size.height), size.width.min(size.height));
        let ((long, short), (most_long, most_short)) = (sides(self), sides(limit));
        long <= most_long.next_multiple_of(MACROBLOCK) && short <= most_short.next_multiple_of(MACROBLOCK)
    }
}

impl std::fmt::Display for PictureSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The size of each spatial layer's pictures, the smallest first, as far as known.
pub(super) type Sizes = [Option<PictureSize>; SPATIAL_LAYERS];

/// What a payload says of the sizes of its stream's pictures from here on; `None` for most.
pub(super) fn told(codec: VideoCodec, payload: &[u8], info: &PayloadInfo) -> Option<Sizes> {
    match codec {
        // Its scalability structure may also come with other pictures.
        VideoCodec::Vp9 => vp9::sizes(payload),
        _ if !info.starts_keyframe => None,
        VideoCodec::Vp8 => Some([Some(vp8::size(payload)?), None, None, None]),
        VideoCodec::H264 => Some([Some(h264::size(payload)?), None, None, None]),
        // Only the size of the largest is told: each layer is taken to be as large.
        VideoCodec::Av1 => Some([Some(av1::size(payload)?); SPATIAL_LAYERS]),
    }
}

/// The sizes that a dependency descriptor's structure tells, if any.
pub(super) fn described(sizes: &[PictureSize]) -> Option<Sizes> {
    let mut all = Sizes::default();
    all.iter_mut().zip(sizes).for_each(|(known, size)| *known = Some(*size));
    (!sizes.is_empty()).then_some(all)
}

/// The fuzz target of this module.
pub(in crate::forward) mod fuzz {
    use super::*;
    use crate::forward::inspect;

    /// Any bytes as a payload of each codec: what is told is within what its headers can count to.
    pub fn picture_size(data: &[u8]) {
        for codec in [VideoCodec::Vp8, VideoCodec::H264, VideoCodec::Vp9, VideoCodec::Av1] {
            let info = PayloadInfo { starts_keyframe: true, ..inspect(codec, data) };
            for size in told(codec, data, &info).into_iter().flatten().flatten() {
                assert!(
                    (1..=1 << 20).contains(&size.width) && (1..=1 << 20).contains(&size.height),
                    "{size}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_upright_or_lying_and_however_it_was_cropped() {
        fn check(width: u32, height: u32, limit: PictureSize, expected: bool) {
            assert_eq!(PictureSize { width, height }.fits(limit), expected, "{width}x{height} in {limit}");
        }
        check(1280, 720, PictureSize::HD, true);
        check(720, 1280, PictureSize::HD, true);
        check(1281, 720, PictureSize::HD, false);
        check(1280, 960, PictureSize::HD, false);
        check(720, 1281, PictureSize::HD, false);
        check(1920, 1080, PictureSize::HD, false);
        check(1920, 1088, PictureSize::FHD, true);
        check(1088, 1920, PictureSize::FHD, true);
        check(1920, 1089, PictureSize::FHD, false);
        check(2048, 1080, PictureSize::FHD, false);
        check(3840, 2160, PictureSize::FHD, false);
        check(3840, 2160, PictureSize::UHD, true);
        check(4096, 2160, PictureSize::UHD, false);
        check(1, 1, PictureSize { width: 0, height: 0 }, false);
    }
}
