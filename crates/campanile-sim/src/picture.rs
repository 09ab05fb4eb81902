//! Cameras and screens without pictures: packets that a forwarder cannot tell from an encoder's, and a receiver that
//! decodes a frame exactly when a real one could.
//!
//! Each packet also carries, where the picture would be, the truth about itself. A screen decides by what every
//! receiver sees, numbers and markers, and then compares with the truth: so what the server makes of the numbers is
//! proved right, not only plausible.

use campanile_media::forward::VideoCodec;
pub use campanile_media::forward::model::Coding;

mod decoder;
mod received;
mod screen;
mod sender;

pub(crate) use screen::Screen;
pub use screen::Seen;
pub(crate) use sender::{Sender, Wire};

/// Header extensions, as the plain offer names them.
const TRANSPORT_CC: u8 = 3;
pub(crate) const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
const LAYERS_ALLOCATION: u8 = 9;
pub(crate) const DEPENDENCY_DESCRIPTOR: u8 = 12;

/// What an encoder's frame needs at most: two of the same size, and a smaller one.
const NEEDS_MAX: usize = 3;

/// The payload types of the plain offer; that of repairs is one above.
const PAYLOAD_TYPES: [(VideoCodec, u8); 4] =
    [(VideoCodec::Vp8, 96), (VideoCodec::H264, 102), (VideoCodec::Vp9, 98), (VideoCodec::Av1, 45)];

/// What a client publishes.
#[derive(Clone, PartialEq, Debug)]
pub struct Camera {
    /// How.
    pub coding: Coding,
    /// Frames per second.
    pub framerate: u32,
    /// Kilobits per second of each layer, the smallest picture first; 0 is a layer switched off. One layer is no
    /// simulcast.
    pub layers_kbps: Vec<u32>,
    /// Width and height of the largest layer's pictures, as keyframes of VP8 say it; each layer below has half of both.
    pub size: (u16, u16),
    /// The numbers that all layers begin with; by chance if `None`.
    pub first_numbers: Option<Numbers>,
    /// Its packets say which layers it sends (video layers allocation), as Chrome's do.
    pub tells_layers: bool,
    /// A keyframe takes as much as so many ordinary frames; for what is beyond four, pictures are left out after it.
    pub keyframe_weight: u32,
}

/// What an RTP stream counts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Sequence number of the first packet.
    pub sequence: u16,
    /// Timestamp of the first frame.
    pub timestamp: u32,
    /// Picture id of the first picture, of 15 bits.
    pub picture: u16,
    /// TL0PICIDX of the first picture.
    pub tl0_picture: u8,
    /// The first frame's number in dependency descriptors.
    pub frame: u16,
}

impl Camera {
    /// One layer of 1200 kbit/s, 15 frames a second.
    pub fn hd() -> Camera {
        Camera {
            coding: Coding::VP8,
            framerate: 15,
            layers_kbps: vec![1200],
            size: (1280, 720),
            first_numbers: None,
            tells_layers: false,
            keyframe_weight: 4,
        }
    }

    /// One layer that costs little to simulate: 100 kbit/s, 10 frames a second.
    pub fn small() -> Camera {
        Camera { framerate: 10, layers_kbps: vec![100], ..Camera::hd() }
    }

    /// Three simulcast layers, of which the client sends two while few are here: 300 and 1200 kbit/s.
    pub fn simulcast() -> Camera {
        Camera { layers_kbps: vec![300, 0, 1200], ..Camera::hd() }
    }

    /// The same with pictures of this size.
    pub fn sized(self, width: u16, height: u16) -> Camera {
        Camera { size: (width, height), ..self }
    }

    /// The same, coded so.
    pub fn coded(self, coding: Coding) -> Camera {
        Camera { coding, ..self }
    }

    /// The same in H.264.
    pub fn h264(self) -> Camera {
        self.coded(Coding::H264)
    }

    /// The same, with its counters about to wrap.
    pub fn about_to_wrap(self) -> Camera {
        let first_numbers = Some(Numbers {
            sequence: 65_500,
            timestamp: u32::MAX - 90_000,
            picture: 32_750,
            tl0_picture: 250,
            frame: 65_500,
        });
        Camera { first_numbers, ..self }
    }

    /// The same before a scene full of detail, as Chrome does it: a keyframe takes three quarters of a second of the rate, and
    /// pictures are left out after it until the rate is kept.
    pub fn busy(self) -> Camera {
        Camera { keyframe_weight: (self.framerate * 3 / 4).max(1), ..self.telling_layers() }
    }

    /// The same, saying in its packets which layers it sends.
    pub fn telling_layers(self) -> Camera {
        Camera { tells_layers: true, ..self }
    }

    /// The RTP stream ids of its layers, as the unmodified client calls them; none without simulcast.
    pub(crate) fn rids(&self) -> &'static [&'static str] {
        match self.layers_kbps.len() {
            0 | 1 => &[],
            2 => &["low", "hi"],
            _ => &["low", "mid", "hi"],
        }
    }
}

/// The truth about one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Truth {
    /// Whose picture it is.
    whose: u32,
    layer: u8,
    spatial: u8,
    temporal: u8,
    keyframe: bool,
    frame: u32,
    at: u16,
    of: u16,
    /// When it was captured, on the camera's own clock of 90 kHz.
    ticks: u32,
    /// The frames that it needs, by how many lie between; 0 for none.
    needs: [u16; NEEDS_MAX],
}

impl Truth {
    const BYTES: usize = 27;
    const MAGIC: u8 = 0xca;

    fn write(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[Truth::MAGIC, self.layer, self.spatial, self.temporal]);
        out.push(self.keyframe.into());
        out.extend_from_slice(&self.whose.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.of.to_be_bytes());
        out.extend_from_slice(&self.ticks.to_be_bytes());
        self.needs.iter().for_each(|back| out.extend_from_slice(&back.to_be_bytes()));
        debug_assert_eq!(out.len() - start, Truth::BYTES);
    }

    fn read(bytes: &[u8]) -> Option<Truth> {
        let [Truth::MAGIC, layer, spatial, temporal, keyframe, rest @ ..] = bytes else { return None };
        let (whose, rest) = rest.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (of, rest) = rest.split_first_chunk()?;
        let (ticks, mut rest) = rest.split_first_chunk()?;
        let mut needs = [0; NEEDS_MAX];
        for back in &mut needs {
            let (bytes, after) = rest.split_first_chunk()?;
            (*back, rest) = (u16::from_be_bytes(*bytes), after);
        }
        Some(Truth {
            whose: u32::from_be_bytes(*whose),
            layer: *layer,
            spatial: *spatial,
            temporal: *temporal,
            keyframe: *keyframe == 1,
            frame: u32::from_be_bytes(*frame),
            at: u16::from_be_bytes(*at),
            of: u16::from_be_bytes(*of),
            ticks: u32::from_be_bytes(*ticks),
            needs,
        })
    }

    /// That of the same frame's packet at this place.
    fn placed(mut self, at: u16) -> Truth {
        self.at = at;
        self
    }

    /// Stands for an attendee, or its content share.
    fn mark_of(attendee: &str) -> u32 {
        attendee.bytes().fold(0, |mark, byte| u32::wrapping_mul(mark, 31).wrapping_add(byte.into()))
    }
}
