//! Dependency descriptors in which everything is said: custom indications and references.

use super::super::bits::BitWriter;
use super::Frame;

/// The template ids do not begin at 0.
const TEMPLATE_ID_OFFSET: u32 = 5;
/// How a frame is indicated to a decode target (AV1 RTP specification, appendix A.4): not part of it, one to begin it with,
/// or merely needed.
const NOT_PRESENT: u32 = 0;
const SWITCH: u32 = 2;
const REQUIRED: u32 = 3;

/// The descriptor of a frame's packet.
pub(super) fn write(frame: &Frame, first: bool, last: bool) -> Vec<u8> {
    let coding = frame.coding;
    let layers = |spatial: u8| (0..coding.temporal).map(move |temporal| (spatial, temporal));
    let targets: Vec<(u8, u8)> = (0..coding.spatial).flat_map(layers).collect();
    let has_structure = frame.is_key && first && frame.spatial == 0;
    let active = frame.says_active.filter(|_| has_structure || !frame.is_key);
    let template = frame.spatial * coding.temporal + frame.temporal;
    let mut bits = BitWriter::default();
    bits.put(first.into(), 1);
    bits.put(last.into(), 1);
    bits.put(TEMPLATE_ID_OFFSET + u32::from(template), 6);
    bits.put(frame.numbers.frame.into(), 16);
    for flag in [has_structure, active.is_some(), true, true, false] {
        bits.put(flag.into(), 1);
    }
    if has_structure {
        structure(frame, &targets, &mut bits);
    }
    if let Some(sizes) = active {
        bits.put((1 << (sizes * coding.temporal)) - 1, targets.len() as u32);
    }
    let of = (frame.spatial, frame.temporal);
    targets.iter().for_each(|target| bits.put(indication(frame, *target, of, frame.is_key), 2));
    for difference in &frame.frame_differences {
        let nibbles = if *difference <= 16 { 1 } else { 2 };
        bits.put(nibbles, 2);
        bits.put(u32::from(*difference) - 1, 4 * nibbles);
    }
    bits.put(0, 2);
    bits.bytes
}

/// What a frame of the layer `of` is to a decode target.
fn indication(frame: &Frame, (spatial, temporal): (u8, u8), of: (u8, u8), is_key: bool) -> u32 {
    let leans = is_key || !frame.coding.is_key_only;
    let is_part = temporal >= of.1 && (spatial == of.0 || spatial > of.0 && leans);
    let begins = is_key || of.1 == 0 && spatial == of.0 && (temporal == 0 || frame.is_sync);
    match (is_part, begins) {
        (false, _) => NOT_PRESENT,
        (true, true) => SWITCH,
        (true, false) => REQUIRED,
    }
}

/// Appendix A.8.2: a template for each layer, which is a decode target too; no chains; the sizes.
fn structure(frame: &Frame, targets: &[(u8, u8)], bits: &mut BitWriter) {
    bits.put(TEMPLATE_ID_OFFSET, 6);
    bits.put(targets.len() as u32 - 1, 5);
    for pair in targets.windows(2) {
        let is_larger = pair[1].0 > pair[0].0;
        bits.put(if is_larger { 2 } else { 1 }, 2);
    }
    bits.put(3, 2);
    for template in targets {
        targets.iter().for_each(|target| bits.put(indication(frame, *target, *template, false), 2));
    }
    targets.iter().for_each(|_| bits.put(0, 1));
    // ns(targets + 1) of 0 takes one bit less than the largest value.
    bits.put(0, u32::BITS - (targets.len() as u32 + 1).leading_zeros() - 1);
    bits.put(1, 1);
    for (width, height) in (0..frame.coding.spatial).map(|spatial| frame.size_of(spatial)) {
        bits.put(u32::from(width) - 1, 16);
        bits.put(u32::from(height) - 1, 16);
    }
}
