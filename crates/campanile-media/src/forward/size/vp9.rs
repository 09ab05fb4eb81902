//! VP9: a keyframe's own header tells its size (VP9 bitstream specification, section 6.2), the scalability structure in the
//! payload descriptor that of each spatial layer (RFC 9628 section 4.2.1).

use super::{PictureSize, Sizes};
use crate::forward::bits::Bits;
use crate::forward::vp9;

const SYNC_CODE: u32 = 0x49_83_42;
const RGB: u32 = 7;

/// By the first packet of a keyframe, and by any that brings a scalability structure.
pub(super) fn sizes(payload: &[u8]) -> Option<Sizes> {
    let first = *payload.first()?;
    let has = |bit: u8| first & bit != 0;
    let (is_predicted, is_flexible, begins_frame, has_structure) =
        (has(0x40), has(0x10), has(0x08), has(0x02));
    if is_predicted && !has_structure || !begins_frame {
        return None;
    }
    let (info, at) = vp9::read(payload)?;
    let mut rest = payload.get(at..)?;
    if is_flexible && is_predicted {
        // Up to three reference differences, each telling whether another follows.
        for _ in 0..3 {
            let (difference, after) = rest.split_first()?;
            rest = after;
            if difference & 1 == 0 {
                break;
            }
        }
    }
    let mut sizes = Sizes::default();
    if has_structure {
        rest = read_structure(rest, &mut sizes)?;
    }
    if info.starts_keyframe {
        sizes[0] = read_keyframe(rest).or(sizes[0]);
    }
    sizes.iter().any(Option::is_some).then_some(sizes)
}

/// `N_S Y G`, then the sizes, then the group of pictures. Returns what follows.
fn read_structure<'a>(structure: &'a [u8], sizes: &mut Sizes) -> Option<&'a [u8]> {
    let (&first, mut rest) = structure.split_first()?;
    if first & 0x10 != 0 {
        for layer in 0..=usize::from(first >> 5) {
            let ([w1, w0, h1, h0], after) = rest.split_first_chunk()?;
            let pixels = |high, low| u32::from(u16::from_be_bytes([high, low]));
            let size = PictureSize { width: pixels(*w1, *w0), height: pixels(*h1, *h0) };
            // A layer that is not sent has none.
            if let Some(known) = sizes.get_mut(layer).filter(|_| size.width > 0 && size.height > 0) {
                *known = Some(size);
            }
            rest = after;
        }
    }
    if first & 0x08 != 0 {
        let (&pictures, after) = rest.split_first()?;
        rest = after;
        for _ in 0..pictures {
            let references = usize::from(*rest.first()? >> 2 & 0x03);
            rest = rest.get(1 + references..)?;
        }
    }
    Some(rest)
}

/// The uncompressed header, as far as the size of the frame.
fn read_keyframe(frame: &[u8]) -> Option<PictureSize> {
    let mut bits = Bits::of(frame);
    let is_vp9 = bits.take(2)? == 2;
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let (shows_existing, is_predicted) = (bits.flag()?, bits.flag()?);
    if !is_vp9 || shows_existing || is_predicted {
        return None;
    }
    bits.skip(2)?; // shown, resilient to errors
    if bits.take(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?; // 10 or 12 bits
    }
    let has_subsampling = profile & 1 == 1;
    match bits.take(3)? {
        RGB => bits.skip(if has_subsampling { 1 } else { 0 })?,
        _ => bits.skip(if has_subsampling { 4 } else { 1 })?,
    }
    Some(PictureSize { width: bits.take(16)? + 1, height: bits.take(16)? + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a keyframe of libvpx, of 1280x720.
    const HD: [u8; 10] = [0x82, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf6, 0x06];

    #[test]
    fn keyframes_of_libvpx_and_structures() {
        fn check(descriptor: &[u8], frame: &[u8], expected: &[(u32, u32)]) {
            let payload = [descriptor, frame].concat();
            let sizes = sizes(&payload).unwrap_or_default();
            let known: Vec<_> = sizes.iter().flatten().map(|size| (size.width, size.height)).collect();
            assert_eq!(known, expected, "{payload:02x?}");
        }
        check(&[0x8c, 0x81, 0x23], &HD, &[(1280, 720)]);
        check(&[0x0c], &HD, &[(1280, 720)]);
        check(&[0x0c], &[0x82, 0x49, 0x83, 0x42, 0x00, 0x77, 0xf0, 0x43, 0x76, 0x06], &[(1920, 1080)]);
        check(&[0x0c], &[0x82, 0x49, 0x83, 0x42, 0x00, 0x2c, 0xf0, 0x4f, 0xf6, 0x06], &[(720, 1280)]);
        check(&[0xac, 0x80, 1, 0x10, 5], &HD, &[(1280, 720)]);
        // Three layers, each with its size; then a group of two pictures with one and no reference.
        let layers = [0x58, 1, 64, 0, 180, 2, 128, 1, 104, 5, 0, 2, 208, 2, 0x04, 1, 0x20];
        let small = [0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36, 0x06];
        check(
            &[&[0xae, 0x80, 1, 0x10, 5], &layers[..]].concat(),
            &small,
            &[(320, 180), (640, 360), (1280, 720)],
        );
        // With a predicted picture of flexible mode, behind two reference differences.
        check(
            &[&[0xfa, 0x80, 1, 0x10, 0x03, 0x02], &layers[..]].concat(),
            &[],
            &[(320, 180), (640, 360), (1280, 720)],
        );
        // The lowest layer is not sent.
        check(&[&[0x0a, 0x30, 0, 0, 0, 0, 5, 0, 2, 208], &small[..0]].concat(), &[], &[(1280, 720)]);
        check(&[0xcc, 0x81, 0x23], &HD, &[]); // predicted
        check(&[0x84, 0x23], &HD, &[]); // the end of a keyframe
        check(&[0xac, 0x80, 1, 0x03, 5], &HD, &[]); // a larger layer, which tells nothing of the smallest
        for cut in 0..9 {
            check(&[0x0c], &HD[..cut], &[]);
        }
        for cut in 0..layers.len() {
            check(&[0x0a], &layers[..cut], &[]);
        }
    }
}
