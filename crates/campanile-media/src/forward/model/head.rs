//! The beginnings of payloads.

use super::super::payload::VideoCodec;
use super::{Frame, referred_layers};

/// What a packet's payload begins with.
pub(super) fn write(frame: &Frame, first: bool, last: bool) -> Vec<u8> {
    match frame.coding.codec {
        VideoCodec::Vp8 => vp8(frame, first),
        VideoCodec::H264 => h264(frame, first, last),
        VideoCodec::Vp9 => vp9(frame, first, last),
        VideoCodec::Av1 => {
            let begins_sequence = frame.is_key && first && frame.spatial == 0;
            vec![0x10 | bit(!first, 0x80) | bit(!last, 0x40) | bit(begins_sequence, 0x08)]
        }
    }
}

fn bit(condition: bool, mask: u8) -> u8 {
    if condition { mask } else { 0 }
}

/// RFC 7741 section 4.2, then the first byte of the frame, whose lowest bit is clear in keyframes; these go on with their
/// size (RFC 6386 section 9.1).
fn vp8(frame: &Frame, first: bool) -> Vec<u8> {
    let [high, low] = (0x8000 | frame.numbers.picture).to_be_bytes();
    let needs_base_only = referred_layers(frame.temporal, frame.at, frame.is_sync) == [0];
    let layer = frame.temporal << 6 | bit(frame.temporal > 0 && needs_base_only, 0x20);
    let mut head = vec![0x80 | bit(first, 0x10), 0xe0, high, low, frame.numbers.tl0_picture, layer];
    head.push(bit(!frame.is_key, 0x01));
    if frame.is_key && first {
        head.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a]);
        head.extend_from_slice(&frame.size.0.to_le_bytes());
        head.extend_from_slice(&frame.size.1.to_le_bytes());
    }
    head
}

/// RFC 6184: a single NAL unit, or FU-A fragments of one; IDR slices in keyframes.
fn h264(frame: &Frame, first: bool, last: bool) -> Vec<u8> {
    let unit = if frame.is_key { 5 } else { 1 };
    match (first, last) {
        (true, true) => vec![0x60 | unit],
        _ => vec![0x7c, bit(first, 0x80) | bit(last, 0x40) | unit],
    }
}

/// RFC 9628 section 4.2: `I P L F B E V Z`, picture id, layers, TL0PICIDX or the references, and, with keyframes, the
/// scalability structure.
fn vp9(frame: &Frame, first: bool, last: bool) -> Vec<u8> {
    let [high, low] = (0x8000 | frame.numbers.picture).to_be_bytes();
    let has_structure = frame.is_key && first && frame.spatial == 0;
    let stands_alone = frame.coding.is_key_only && !frame.is_key;
    let flags = 0xa0
        | bit(!frame.is_key, 0x40)
        | bit(frame.coding.is_flexible, 0x10)
        | bit(first, 0x08)
        | bit(last, 0x04)
        | bit(has_structure, 0x02)
        | bit(stands_alone, 0x01);
    let can_climb = frame.temporal == 0 && frame.is_sync;
    let leans_on_lower = frame.spatial > 0 && !stands_alone;
    let layer = frame.temporal << 5 | bit(can_climb, 0x10) | frame.spatial << 1 | bit(leans_on_lower, 0x01);
    let mut head = vec![flags, high, low, layer];
    if frame.coding.is_flexible {
        for (at, difference) in frame.picture_differences.iter().enumerate() {
            let goes_on = at + 1 < frame.picture_differences.len();
            head.push((*difference as u8) << 1 | bit(goes_on, 0x01));
        }
    } else {
        head.push(frame.numbers.tl0_picture);
    }
    if has_structure {
        vp9_structure(frame, &mut head);
    }
    head
}

/// RFC 9628 section 4.2.1: `N_S Y G`, the sizes, and, where frames do not tell their references, the pattern of those: of
/// two rounds, in which all is said.
fn vp9_structure(frame: &Frame, head: &mut Vec<u8>) {
    let coding = frame.coding;
    head.push((coding.spatial - 1) << 5 | 0x10 | bit(!coding.is_flexible, 0x08));
    for (width, height) in (0..coding.spatial).map(|spatial| frame.size_of(spatial)) {
        head.extend_from_slice(&width.to_be_bytes());
        head.extend_from_slice(&height.to_be_bytes());
    }
    if coding.is_flexible {
        return;
    }
    let pattern = coding.pattern();
    let rounds = 2 * pattern.len();
    head.push(rounds as u8);
    for place in 0..rounds {
        let (at, is_sync) = (place % pattern.len(), place < pattern.len());
        let referred = referred_layers(pattern[at], at, is_sync);
        let can_climb = pattern[at] == 0 && is_sync;
        head.push(pattern[at] << 5 | bit(can_climb, 0x10) | (referred.len() as u8) << 2);
        for layer in referred {
            let back = (1..=rounds).find(|back| pattern[(place + rounds - back) % pattern.len()] == *layer);
            head.push(back.expect("the layer is in the pattern") as u8);
        }
    }
}
