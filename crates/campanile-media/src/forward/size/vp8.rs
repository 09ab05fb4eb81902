//! VP8: a keyframe begins with its size (RFC 6386 section 9.1), right behind the payload descriptor.

use super::PictureSize;
use crate::forward::payload::read_vp8_descriptor;

/// Of a keyframe, by its first packet.
pub(super) fn size(payload: &[u8]) -> Option<PictureSize> {
    let (_, length) = read_vp8_descriptor(payload)?;
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = payload.get(length..)? else { return None };
    // Two bits of each tell how a receiver may stretch it.
    let pixels = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let size = PictureSize { width: pixels(*w0, *w1), height: pixels(*h0, *h1) };
    (size.width > 0 && size.height > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_of_libvpx() {
        fn check(payload: &[u8], expected: Option<(u32, u32)>) {
            assert_eq!(size(payload).map(|size| (size.width, size.height)), expected, "{payload:02x?}");
        }
        check(&[0x10, 0x10, 0xc3, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02, 0x08], Some((1280, 720)));
        check(&[0x10, 0x70, 0xb7, 0x01, 0x9d, 0x01, 0x2a, 0x80, 0x07, 0x38, 0x04, 0x0b], Some((1920, 1080)));
        check(&[0x10, 0x10, 0xc3, 0x00, 0x9d, 0x01, 0x2a, 0xd0, 0x02, 0x00, 0x05, 0x08], Some((720, 1280)));
        let with_numbers =
            [0x90, 0xe0, 0x81, 0x23, 0x45, 0x20, 0x30, 0x35, 0, 0x9d, 1, 0x2a, 0x82, 2, 0x66, 1];
        check(&with_numbers, Some((642, 358)));
        let stretched = [0x10, 0x10, 0xc3, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x45, 0xd0, 0x82];
        check(&stretched, Some((1280, 720)));
        for cut in 0..with_numbers.len() {
            check(&with_numbers[..cut], None);
        }
        check(&[0x10, 0x10, 0xc3, 0x00, 0x9d, 0x01, 0x2b, 0x00, 0x05, 0xd0, 0x02], None);
        check(&[0x10, 0x10, 0xc3, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x00, 0xd0, 0x02], None);
    }
}
