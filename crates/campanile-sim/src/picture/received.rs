//! What a packet tells its receiver: where in its frame it stands, and which frames that one needs.

use campanile_media::forward::{Uplink, VideoCodec};
use campanile_media::rtp;

use super::{PAYLOAD_TYPES, Truth};

/// One packet, as its receiver reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Packet {
    pub(super) timestamp: u32,
    /// It ends its picture.
    pub(super) marker: bool,
    /// It begins, and ends, its frame.
    pub(super) starts: bool,
    pub(super) ends: bool,
    /// Its frame needs no other.
    pub(super) keyframe: bool,
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    pub(super) numbers: Numbers,
    pub(super) size: Option<(u16, u16)>,
    /// How VP9's frames will refer to others from here on, if it tells.
    pub(super) pattern: Vec<Vec<u8>>,
    pub(super) truth: Truth,
}

/// How a frame is numbered, and which it refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Numbers {
    /// Not at all (H.264): it needs the one right before.
    #[default]
    None,
    Vp8 {
        picture: u16,
        tl0_picture: u8,
        /// It needs the lowest layer alone.
        is_sync: bool,
    },
    Vp9 {
        picture: u16,
        /// It needs the next smaller size of its picture.
        leans_on_lower: bool,
        /// It refers to other pictures.
        is_predicted: bool,
        /// To these: so many back; 0 for no more.
        told: [u8; 3],
        /// To those that the pattern has, found by TL0PICIDX.
        tl0_picture: Option<u8>,
    },
    /// By a dependency descriptor: its number, those it refers to (bit i: the frame i + 1 before it), and whether it refers
    /// to others farther back.
    Described { frame: u16, references: u64, refers_far: bool },
}

/// Reads a stream's packets.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Remembers the structure of the dependency descriptors.
    descriptors: Uplink,
}

/// Why a packet is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// It makes no sense.
    Broken,
    /// The structure by which its dependency descriptor goes has not come yet.
    Early,
}

impl Reader {
    /// Reads a packet of that payload type; its descriptor is empty if it has none.
    pub(super) fn read(
        &mut self,
        pt: u8,
        header: &rtp::RtpHeader,
        payload: &[u8],
        descriptor: &[u8],
    ) -> Result<Packet, Unread> {
        let codec = PAYLOAD_TYPES.iter().find(|(_, of)| *of == pt).ok_or(Unread::Broken)?.0;
        let mut packet = read(codec, header, payload).ok_or(Unread::Broken)?;
        if !descriptor.is_empty() {
            let info = self.descriptors.inspect(codec, payload, descriptor);
            let described = info.described.ok_or(Unread::Early)?;
            let (references, refers_far) = (described.references, described.refers_far);
            packet.numbers = Numbers::Described { frame: described.frame_number, references, refers_far };
            (packet.starts, packet.ends) = (info.begins_frame, info.ends_frame);
            (packet.spatial, packet.temporal) = (info.spatial, info.temporal);
            packet.keyframe = references == 0 && !refers_far && info.spatial == 0;
        }
        Ok(packet)
    }
}

fn read(codec: VideoCodec, header: &rtp::RtpHeader, payload: &[u8]) -> Option<Packet> {
    let (timestamp, marker) = (header.timestamp, header.marker);
    let mut packet = Packet { timestamp, marker, ends: marker, ..Packet::default() };
    let rest = match codec {
        VideoCodec::Vp8 => packet.read_vp8(payload)?,
        VideoCodec::H264 => packet.read_h264(payload)?,
        VideoCodec::Vp9 => packet.read_vp9(payload)?,
        // The rest is told by the dependency descriptor.
        VideoCodec::Av1 => payload.get(1..)?,
    };
    packet.truth = Truth::read(rest)?;
    Some(packet)
}

impl Packet {
    /// RFC 7741 section 4.2, and the frame's first bytes (RFC 6386 section 9.1). Returns what follows.
    fn read_vp8<'a>(&mut self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let [first, 0xe0, high, low, tl0_picture, layer, frame, rest @ ..] = payload else { return None };
        let picture = u16::from_be_bytes([*high, *low]) & 0x7fff;
        self.numbers = Numbers::Vp8 { picture, tl0_picture: *tl0_picture, is_sync: layer & 0x20 != 0 };
        self.temporal = layer >> 6;
        self.starts = first & 0x10 != 0;
        self.keyframe = self.starts && frame & 1 == 0;
        if !self.keyframe {
            return Some(rest);
        }
        let sized = rest.strip_prefix(&[0, 0, 0x9d, 0x01, 0x2a])?;
        let ([w0, w1, h0, h1], rest) = sized.split_first_chunk()?;
        self.size = Some((u16::from_le_bytes([*w0, *w1]), u16::from_le_bytes([*h0, *h1])));
        Some(rest)
    }

    /// RFC 6184: FU-A, or a single unit.
    fn read_h264<'a>(&mut self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let (start, unit, rest) = match payload {
            [0x7c, fragment, rest @ ..] => (fragment & 0x80 != 0, fragment & 0x1f, rest),
            [unit, rest @ ..] => (true, unit & 0x1f, rest),
            [] => return None,
        };
        self.starts = start;
        self.keyframe = start && unit == 5;
        Some(rest)
    }

    /// RFC 9628 section 4.2, of which picture ids have 15 bits, and layers are told.
    fn read_vp9<'a>(&mut self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let (&[flags, high, low, layer], mut rest) = payload.split_first_chunk()?;
        let has = |bit: u8| flags & bit != 0;
        let (is_predicted, is_flexible, has_structure) = (has(0x40), has(0x10), has(0x02));
        let (mut told, mut tl0_picture) = ([0; 3], None);
        if !is_flexible {
            let (number, after) = rest.split_first()?;
            (tl0_picture, rest) = (Some(*number), after);
        } else if is_predicted {
            for back in &mut told {
                let (difference, after) = rest.split_first()?;
                (*back, rest) = (difference >> 1, after);
                if difference & 1 == 0 {
                    break;
                }
            }
        }
        (self.starts, self.ends) = (has(0x08), has(0x04));
        (self.temporal, self.spatial) = (layer >> 5, layer >> 1 & 0x07);
        self.keyframe = !is_predicted && self.spatial == 0;
        let (picture, leans_on_lower) = (u16::from_be_bytes([high, low]) & 0x7fff, layer & 0x01 != 0);
        self.numbers = Numbers::Vp9 { picture, leans_on_lower, is_predicted, told, tl0_picture };
        if has_structure { self.read_vp9_structure(rest) } else { Some(rest) }
    }

    /// Section 4.2.1: the sizes, then of each picture of the pattern how far back it refers.
    fn read_vp9_structure<'a>(&mut self, structure: &'a [u8]) -> Option<&'a [u8]> {
        let (first, rest) = structure.split_first()?;
        let mut rest = rest.get(4 * (usize::from(first >> 5) + 1)..)?;
        if first & 0x08 != 0 {
            let (&pictures, after) = rest.split_first()?;
            rest = after;
            for _ in 0..pictures {
                let (picture, after) = rest.split_first()?;
                let (differences, after) = after.split_at_checked(usize::from(picture >> 2 & 0x03))?;
                self.pattern.push(differences.to_vec());
                rest = after;
            }
        }
        Some(rest)
    }
}
