//! Encoded clips from IVF files, to be sent over and over.

use std::sync::Arc;

use crate::media::Codec;

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
    /// The frames.
    pub frames: Arc<[Arc<[u8]>]>,
}

impl Clip {
    /// Reads an IVF file of VP8 or H.264. `None` when it is none, or does not begin with a keyframe.
    pub fn from_ivf(file: &[u8]) -> Option<Clip> {
        let head: &[u8; 32] = file.first_chunk()?;
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let codec = match &head[8..12] {
            b"VP80" => Codec::Vp8,
            b"H264" => Codec::H264,
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
        let keyframe = frames.first().is_some_and(|frame| match codec {
            // RFC 6386 section 9.1: the first bit is clear in keyframes.
            Codec::Vp8 => frame.first().is_some_and(|first| first & 1 == 0),
            Codec::H264 => true,
        });
        keyframe.then(|| Clip { codec, framerate, width: half(12), height: half(14), frames: frames.into() })
    }

    /// What the frames take when sent at their rate.
    pub fn bitrate_kbps(&self) -> u32 {
        let bytes: usize = self.frames.iter().map(|frame| frame.len()).sum();
        (bytes * 8 * self.framerate as usize / self.frames.len().max(1) / 1000) as u32
    }
}
