//! Encoded clips from IVF files, to be sent over and over.

use std::sync::Arc;

use crate::media::{Codec, Scalability, VideoLayer};

/// Encoded frames, the first of which is a keyframe.
#[derive(Clone, Debug)]
pub struct Clip {
    /// How they are encoded.
    pub codec: Codec,
    /// Frames per second.
    pub framerate: u32,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Layers within each frame and between frames; 1 and 1 when it is not scalable.
    pub scalability: Scalability,
    /// The frames.
    pub frames: Arc<[Arc<[u8]>]>,
}

impl Clip {
    /// Reads an IVF file of VP8, H.264, VP9 or AV1; the layers are those that `clips/svc.c` notes in its head. `None` when it is none, or does not begin with a keyframe.
    pub fn from_ivf(file: &[u8]) -> Option<Clip> {
        let head: &[u8; 32] = file.first_chunk()?;
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let codec = match &head[8..12] {
            b"VP80" => Codec::Vp8,
            b"H264" => Codec::H264,
            b"VP90" => Codec::Vp9,
            b"AV01" => Codec::Av1,
            _ => return None,
        };
        if &head[..4] != b"DKIF" || word(20) == 0 {
            return None;
        }
        let framerate = (word(16) / word(20)).clamp(1, 120);
        let mut rest = file.get(usize::from(half(6))..)?;
        let mut frames: Vec<Arc<[u8]>> = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<12>() {
            let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            frames.push(after.get(..len)?.into());
            rest = &after[len..];
        }
        let scalability = match head[28..32] {
            [b'L', spatial @ b'1'..=b'3', b'T', temporal @ b'1'..=b'3'] => {
                Scalability { spatial: spatial - b'0', temporal: temporal - b'0' }
            }
            _ => Scalability::NONE,
        };
        let (width, height) = (half(12), half(14));
        frames.first().is_some_and(|frame| is_keyframe(codec, frame)).then(|| Clip {
            codec,
            framerate,
            width,
            height,
            scalability,
            frames: frames.into(),
        })
    }

    /// To be published as one simulcast layer, or, without a rid, as all there is.
    pub fn layer(&self, rid: Option<&'static str>) -> VideoLayer {
        VideoLayer {
            rid,
            max_bitrate_kbps: self.bitrate_kbps(),
            size: (self.width, self.height),
            scalability: self.scalability,
            frames: self.frames.clone(),
        }
    }

    /// What the frames take when sent at their rate.
    pub fn bitrate_kbps(&self) -> u32 {
        let bytes: usize = self.frames.iter().map(|frame| frame.len()).sum();
        (bytes * 8 * self.framerate as usize / self.frames.len().max(1) / 1000) as u32
    }
}

/// Whether a frame can be decoded without any before it.
fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    let Some(first) = frame.first() else { return false };
    match codec {
        // RFC 6386 section 9.1: the first bit is clear in keyframes.
        Codec::Vp8 => first & 1 == 0,
        // A sequence parameter set comes first (ITU-T H.264 section 7.4.1.2.3).
        Codec::H264 => frame
            .iter()
            .position(|byte| *byte == 1)
            .is_some_and(|one| frame.get(one + 1).is_some_and(|header| header & 0x1f == 7)),
        // The frame marker 10, profile 0, no existing frame shown again, and then the type, 0 for a keyframe (VP9
        // bitstream specification section 6.2).
        Codec::Vp9 => first & 0b1111_1100 == 0b1000_0000,
        // A temporal delimiter without content, and a sequence header (AV1 specification section 7.5).
        Codec::Av1 => matches!(frame, [0x12, 0, header, ..] if header >> 3 & 0xf == 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &[u8], codec: Codec, size: (u16, u16), layers: (u8, u8)) {
        let clip = Clip::from_ivf(file).unwrap();
        let (spatial, temporal) = layers;
        assert_eq!((clip.codec, clip.width, clip.height), (codec, size.0, size.1));
        assert_eq!(clip.scalability, Scalability { spatial, temporal });
        assert_eq!((clip.frames.len(), clip.framerate), (32, 15));
        let keyframes = clip.frames.iter().filter(|frame| is_keyframe(codec, frame)).count();
        assert_eq!(keyframes, 1);
        let mut from_second = file[..32].to_vec();
        from_second.extend_from_slice(&file[32 + 12 + clip.frames[0].len()..]);
        assert!(Clip::from_ivf(&from_second).is_none());
        assert!(Clip::from_ivf(&file[..file.len() - 1]).is_none());
    }

    #[test]
    fn the_clips_are_read() {
        check(include_bytes!("../clips/low.vp8.ivf"), Codec::Vp8, (160, 90), (1, 1));
        check(include_bytes!("../clips/mid.vp8.ivf"), Codec::Vp8, (320, 180), (1, 1));
        check(include_bytes!("../clips/hi.vp8.ivf"), Codec::Vp8, (640, 360), (1, 1));
        check(include_bytes!("../clips/mid.h264.ivf"), Codec::H264, (320, 180), (1, 1));
        check(include_bytes!("../clips/l1t3.vp9.ivf"), Codec::Vp9, (320, 180), (1, 3));
        check(include_bytes!("../clips/l3t3.vp9.ivf"), Codec::Vp9, (640, 360), (3, 3));
        check(include_bytes!("../clips/l1t3.av1.ivf"), Codec::Av1, (320, 180), (1, 3));
        assert!(Clip::from_ivf(b"DKIF").is_none());
    }
}
