//! Encoded frames as RTP payloads, for engines that write RTP themselves: VP8 (RFC 7741), H.264 (RFC 6184), VP9 with its
//! layers (RFC 9628) and AV1 (the Alliance's RTP payload specification, version 1.0) with its dependency descriptor.

use crate::dependency::Describer;
use crate::media::{Codec, Scalability};

/// What fits beside RTP header, extensions and SRTP's tag into any network's datagram.
const PAYLOAD_BYTES_MAX: usize = 1150;
/// The temporal layers of four frames in a row, where there are three.
const TEMPORAL_PATTERN: [u8; 4] = [0, 2, 1, 2];
/// The OBU that AV1's keyframes begin with (AV1 specification section 6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// The payload of one RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The last one of its frame.
    pub marker: bool,
    /// Descriptor and data.
    pub bytes: Vec<u8>,
    /// The dependency descriptor, a header extension, of codecs whose payload does not tell its layers: AV1. Else empty.
    pub dependency: Vec<u8>,
}

/// Makes payloads of one stream's frames.
#[derive(Clone, Debug)]
pub struct Packetizer {
    codec: Codec,
    layers: Scalability,
    /// Width and height of the largest picture, for VP9's description of its layers.
    size: (u16, u16),
    picture_id: u16,
    /// Counts the pictures of the lowest temporal layer.
    base_count: u8,
    /// Pictures since the last keyframe.
    since_keyframe: usize,
    describer: Describer,
}

impl Packetizer {
    /// For a stream of that codec, those layers and that size in pixels.
    pub fn new(codec: Codec, layers: Scalability, size: (u16, u16)) -> Packetizer {
        let describer = Describer::new(layers, size);
        Packetizer { codec, layers, size, picture_id: 0, base_count: 0, since_keyframe: 0, describer }
    }

    /// The payloads of the next frame.
    pub fn packetize(&mut self, frame: &[u8]) -> Vec<Payload> {
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        let mut payloads = match self.codec {
            Codec::Vp8 => self.vp8(frame),
            Codec::H264 => h264(frame),
            Codec::Vp9 => self.vp9(frame),
            Codec::Av1 => self.av1(frame),
        };
        if let Some(last) = payloads.last_mut() {
            last.marker = true;
        }
        payloads
    }

    /// RFC 7741 section 4.2: the long form, with a picture ID of 15 bits.
    fn vp8(&self, frame: &[u8]) -> Vec<Payload> {
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let parts = even_parts(frame, PAYLOAD_BYTES_MAX).enumerate();
        parts
            .map(|(place, part)| payload(&[0x80 | u8::from(place == 0) << 4, 0x80, high, low], part))
            .collect()
    }

    /// RFC 9628 section 4.2, in the form without lists of references: their pattern is told with each keyframe.
    fn vp9(&mut self, frame: &[u8]) -> Vec<Payload> {
        let pictures = superframe(frame);
        let keyframe =
            pictures.first().and_then(|first| first.first()).is_some_and(|first| first & 0xfc == 0x80);
        self.count(keyframe);
        let temporal = if self.layers.temporal == 3 { TEMPORAL_PATTERN[self.since_keyframe % 4] } else { 0 };
        if temporal == 0 {
            self.base_count = self.base_count.wrapping_add(1);
        }
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let mut payloads = Vec::new();
        for (spatial, picture) in pictures.iter().enumerate() {
            let parts: Vec<&[u8]> = even_parts(picture, PAYLOAD_BYTES_MAX - 32).collect();
            for (place, part) in parts.iter().enumerate() {
                let (first, last) = (place == 0, place + 1 == parts.len());
                let structure = keyframe && spatial == 0 && first;
                // I, L and, where they are so, P (refers to earlier pictures), B, E, V and Z (no layer above needs it).
                let flags = 0xa0
                    | u8::from(!keyframe) << 6
                    | u8::from(first) << 3
                    | u8::from(last) << 2
                    | u8::from(structure) << 1
                    | u8::from(spatial + 1 == pictures.len());
                // One may begin to decode a higher temporal layer at any of its frames.
                let layer = temporal << 5
                    | u8::from(temporal > 0) << 4
                    | (spatial as u8) << 1
                    | u8::from(spatial > 0);
                let mut head = vec![flags, high, low, layer, self.base_count];
                if structure {
                    self.vp9_structure(&mut head);
                }
                payloads.push(payload(&head, part));
            }
        }
        payloads
    }

    fn count(&mut self, keyframe: bool) {
        self.since_keyframe = if keyframe { 0 } else { self.since_keyframe + 1 };
    }

    /// AV1's payloads, and what each one's frame is needed for.
    fn av1(&mut self, frame: &[u8]) -> Vec<Payload> {
        let obus = obus(frame);
        let keyframe = obus.first().is_some_and(|obu| obu[0] >> 3 & 0xf == SEQUENCE_HEADER);
        self.count(keyframe);
        let mut payloads = av1(&obus, keyframe);
        let descriptors = self.describer.frame(self.since_keyframe, payloads.len());
        for (payload, descriptor) in payloads.iter_mut().zip(descriptors) {
            payload.dependency = descriptor;
        }
        payloads
    }

    /// RFC 9628 section 4.2.1: the sizes of the spatial layers, and how pictures refer to earlier ones.
    fn vp9_structure(&self, head: &mut Vec<u8>) {
        let spatial = self.layers.spatial;
        head.push((spatial - 1) << 5 | 0x18);
        for layer in (0..spatial).rev() {
            for pixels in [self.size.0 >> layer, self.size.1 >> layer] {
                head.extend_from_slice(&pixels.to_be_bytes());
            }
        }
        // Of each picture: temporal layer, switching up, one reference, and how far back that is.
        let pattern: &[[u8; 3]] = if self.layers.temporal == 3 {
            &[[0, 0, 4], [2, 1, 1], [1, 1, 2], [2, 1, 1]]
        } else {
            &[[0, 0, 1]]
        };
        head.push(pattern.len() as u8);
        for [temporal, up, back] in pattern {
            head.extend_from_slice(&[temporal << 5 | up << 4 | 1 << 2, *back]);
        }
    }
}

fn payload(head: &[u8], data: &[u8]) -> Payload {
    Payload { marker: false, bytes: [head, data].concat(), dependency: Vec::new() }
}

/// As few parts as possible, of nearly the same size: equal ones cost a server less to send.
fn even_parts(data: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let count = data.len().div_ceil(most).max(1);
    data.chunks(data.len().div_ceil(count).max(1))
}

/// The pictures of a VP9 superframe (VP9 bitstream specification, annex B); what is none is one picture.
fn superframe(frame: &[u8]) -> Vec<&[u8]> {
    let split = || {
        let marker = *frame.last()?;
        let (count, width) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
        let index_at = frame.len().checked_sub(2 + count * width)?;
        if marker >> 5 != 0b110 || frame[index_at] != marker {
            return None;
        }
        let mut pictures = Vec::new();
        let mut rest = &frame[..index_at];
        for size in frame[index_at + 1..frame.len() - 1].chunks_exact(width) {
            let size = size.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
            let (picture, after) = rest.split_at_checked(size)?;
            pictures.push(picture);
            rest = after;
        }
        Some(pictures)
    };
    split().unwrap_or_else(|| vec![frame])
}

/// RFC 6184: parameter sets together (STAP-A), what fits by itself, and the rest in fragments (FU-A).
fn h264(frame: &[u8]) -> Vec<Payload> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let units = nal_units(frame);
    let is_set = |unit: &&&[u8]| matches!(unit[0] & 0x1f, 7 | 8);
    let sets: Vec<&[u8]> = units.iter().filter(is_set).copied().collect();
    let mut payloads = Vec::new();
    if let [first, _, ..] = sets[..] {
        let mut together = vec![first[0] & 0x60 | STAP_A];
        for set in &sets {
            together.extend_from_slice(&(set.len() as u16).to_be_bytes());
            together.extend_from_slice(set);
        }
        payloads.push(payload(&[], &together));
    }
    for unit in units.iter().filter(|unit| sets.len() < 2 || !is_set(unit)) {
        if unit.len() <= PAYLOAD_BYTES_MAX {
            payloads.push(payload(&[], unit));
            continue;
        }
        let header = unit[0];
        let parts: Vec<&[u8]> = even_parts(&unit[1..], PAYLOAD_BYTES_MAX - 2).collect();
        for (place, part) in parts.iter().enumerate() {
            let ends = u8::from(place == 0) << 7 | u8::from(place + 1 == parts.len()) << 6;
            payloads.push(payload(&[header & 0xe0 | FU_A, ends | header & 0x1f], part));
        }
    }
    payloads
}

/// The NAL units between the start codes of Annex B.
fn nal_units(frame: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        frame.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    starts.push(frame.len() + 3);
    let unit = |ends: &[usize]| {
        let unit = &frame[ends[0]..ends[1] - 3];
        // The zero before a start code of four bytes belongs to it.
        &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
    };
    starts.windows(2).map(unit).filter(|unit| !unit.is_empty()).collect()
}

/// The AV1 payload specification, section 4: OBUs without delimiters and sizes, each behind its length, cut where a packet
/// ends.
fn av1(obus: &[Vec<u8>], keyframe: bool) -> Vec<Payload> {
    const CONTINUES: u8 = 0x80;
    const TO_BE_CONTINUED: u8 = 0x40;
    const NEW_SEQUENCE: u8 = 0x08;
    let mut payloads = Vec::new();
    let mut bytes = vec![if keyframe { NEW_SEQUENCE } else { 0 }];
    for obu in obus {
        let mut rest = &obu[..];
        while !rest.is_empty() {
            // Two bytes of length are enough for what fits into a packet.
            let room = PAYLOAD_BYTES_MAX.saturating_sub(bytes.len() + 2);
            if room == 0 {
                payloads.push(payload(&[], &bytes));
                bytes = vec![0];
                continue;
            }
            let (part, after) = rest.split_at(room.min(rest.len()));
            put_leb128(&mut bytes, part.len());
            bytes.extend_from_slice(part);
            if !after.is_empty() {
                bytes[0] |= TO_BE_CONTINUED;
                payloads.push(payload(&[], &bytes));
                bytes = vec![CONTINUES];
            }
            rest = after;
        }
    }
    payloads.push(payload(&[], &bytes));
    payloads
}

/// The OBUs of a temporal unit, without temporal delimiters and without size fields (AV1 specification section 5.3).
fn obus(frame: &[u8]) -> Vec<Vec<u8>> {
    const HAS_EXTENSION: u8 = 0x04;
    const HAS_SIZE: u8 = 0x02;
    const TEMPORAL_DELIMITER: u8 = 2;
    let mut all = Vec::new();
    let mut rest = frame;
    while let Some(header) = rest.first() {
        let head = 1 + usize::from(header & HAS_EXTENSION != 0);
        let Some((head, after)) = rest.split_at_checked(head) else { break };
        let (size, after) = if header & HAS_SIZE != 0 { leb128(after) } else { (after.len(), after) };
        let (body, after) = after.split_at(size.min(after.len()));
        if header >> 3 & 0xf != TEMPORAL_DELIMITER {
            let mut obu = [head, body].concat();
            obu[0] &= !HAS_SIZE;
            all.push(obu);
        }
        rest = after;
    }
    all
}

/// A number of seven bits a byte, and what comes after it (AV1 specification section 4.10.5).
fn leb128(data: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (place, byte) in data.iter().enumerate().take(8) {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return (value, &data[place + 1..]);
        }
    }
    (0, &[])
}

fn put_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Clip;

    fn packets(file: &[u8]) -> (Clip, Vec<Vec<Payload>>) {
        let clip = Clip::from_ivf(file).unwrap();
        let mut packetizer = Packetizer::new(clip.codec, clip.scalability, (clip.width, clip.height));
        let all: Vec<_> = clip.frames.iter().map(|frame| packetizer.packetize(frame)).collect();
        for payloads in &all {
            assert!(payloads.iter().all(|payload| payload.bytes.len() <= PAYLOAD_BYTES_MAX));
            let marked: Vec<bool> = payloads.iter().map(|payload| payload.marker).collect();
            assert_eq!(marked.iter().position(|marker| *marker), Some(marked.len() - 1));
        }
        (clip, all)
    }

    #[test]
    fn vp8_frames_come_back_behind_their_descriptors() {
        let (clip, all) = packets(include_bytes!("../clips/hi.vp8.ivf"));
        for (place, (frame, payloads)) in clip.frames.iter().zip(&all).enumerate() {
            let id = (place as u16 + 1).to_be_bytes();
            let heads: Vec<&[u8]> = payloads.iter().map(|payload| &payload.bytes[..4]).collect();
            assert_eq!(heads[0], [0x90, 0x80, 0x80 | id[0], id[1]]);
            assert!(heads[1..].iter().all(|head| *head == [0x80, 0x80, 0x80 | id[0], id[1]]));
            let joined: Vec<u8> = payloads.iter().flat_map(|payload| &payload.bytes[4..]).copied().collect();
            assert_eq!(joined, **frame);
        }
        assert!(all[0].len() > 1);
    }

    #[test]
    fn h264_units_come_back_from_aggregates_and_fragments() {
        let (clip, all) = packets(include_bytes!("../clips/mid.h264.ivf"));
        for (frame, payloads) in clip.frames.iter().zip(&all) {
            let mut units: Vec<Vec<u8>> = Vec::new();
            for Payload { bytes, .. } in payloads {
                match bytes[0] & 0x1f {
                    24 => {
                        let mut rest = &bytes[1..];
                        while let Some((length, after)) = rest.split_first_chunk::<2>() {
                            let (unit, after) = after.split_at(u16::from_be_bytes(*length).into());
                            units.push(unit.to_vec());
                            rest = after;
                        }
                    }
                    28 if bytes[1] & 0x80 != 0 => {
                        units.push([&[bytes[0] & 0xe0 | bytes[1] & 0x1f], &bytes[2..]].concat());
                    }
                    28 => units.last_mut().unwrap().extend_from_slice(&bytes[2..]),
                    _ => units.push(bytes.clone()),
                }
            }
            assert_eq!(units, nal_units(frame));
        }
        assert_eq!(all[0][0].bytes[0] & 0x1f, 24, "parameter sets go together");
    }

    #[test]
    fn vp9_layers_are_told_apart() {
        let (clip, all) = packets(include_bytes!("../clips/l3t3.vp9.ivf"));
        for (place, (frame, payloads)) in clip.frames.iter().zip(&all).enumerate() {
            let mut layers: Vec<(u8, Vec<u8>)> = Vec::new();
            for Payload { bytes, .. } in payloads {
                let (flags, layer) = (bytes[0], bytes[3]);
                assert_eq!(layer >> 5, TEMPORAL_PATTERN[place % 4]);
                assert_eq!(flags & 0x40 == 0, place == 0, "only a keyframe refers to nothing before it");
                // The description of the layers: three sizes and four pictures.
                let head = if flags & 2 != 0 { 5 + 1 + 12 + 1 + 8 } else { 5 };
                if flags & 8 != 0 {
                    layers.push((layer >> 1 & 7, Vec::new()));
                }
                layers.last_mut().unwrap().1.extend_from_slice(&bytes[head..]);
            }
            let told: Vec<u8> = layers.iter().map(|(layer, _)| *layer).collect();
            assert_eq!(told, [0, 1, 2]);
            let pictures: Vec<&[u8]> = layers.iter().map(|(_, picture)| &picture[..]).collect();
            assert_eq!(pictures, superframe(frame));
        }
        let structure = &all[0][0].bytes[5..];
        assert_eq!(structure[..6], [0x58, 0, 160, 0, 90, 1], "three layers, the smallest first");
    }

    #[test]
    fn av1_units_come_back_without_delimiters_and_sizes() {
        let (clip, all) = packets(include_bytes!("../clips/l1t3.av1.ivf"));
        for (place, (frame, payloads)) in clip.frames.iter().zip(&all).enumerate() {
            let mut units: Vec<Vec<u8>> = Vec::new();
            for Payload { bytes, .. } in payloads {
                let mut continues = bytes[0] & 0x80 != 0;
                let mut rest = &bytes[1..];
                while !rest.is_empty() {
                    let (length, after) = leb128(rest);
                    let (part, after) = after.split_at(length);
                    if continues {
                        units.last_mut().unwrap().extend_from_slice(part);
                    } else {
                        units.push(part.to_vec());
                    }
                    (continues, rest) = (false, after);
                }
            }
            assert_eq!(units, obus(frame));
            assert_eq!(
                payloads[0].bytes[0] & 8 != 0,
                place == 0,
                "a new sequence begins with the keyframe only"
            );
        }
        assert!(all[0].len() > 1);
    }
}
