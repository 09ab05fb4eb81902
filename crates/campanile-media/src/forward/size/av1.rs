//! AV1: the sequence header tells the size of the largest pictures (AV1 specification, section 5.5), in the first packet of
//! a coded video sequence (AV1 RTP specification, section 4).

use super::PictureSize;
use crate::forward::bits::Bits;

const SEQUENCE_HEADER: u8 = 1;
/// Elements looked at in one packet.
const ELEMENTS_MAX: usize = 4;

/// By the first packet of a keyframe.
pub(super) fn size(payload: &[u8]) -> Option<PictureSize> {
    let (&header, mut rest) = payload.split_first()?;
    // Of so many elements the last tells no length; each does when their count is not told.
    let count = usize::from(header >> 4 & 0x03);
    for at in 1..=ELEMENTS_MAX {
        let element;
        if at == count {
            (element, rest) = (rest, &[]);
        } else {
            let length = take_leb128(&mut rest)?;
            element = rest.get(..length)?;
            rest = &rest[length..];
        }
        let (&kind, mut body) = element.split_first()?;
        if kind >> 3 & 0x0f == SEQUENCE_HEADER {
            let (has_extension, has_length) = (kind & 0x04 != 0, kind & 0x02 != 0);
            if has_extension {
                body = body.get(1..)?;
            }
            if has_length {
                take_leb128(&mut body)?;
            }
            return read_sequence_header(body);
        }
    }
    None
}

fn read_sequence_header(body: &[u8]) -> Option<PictureSize> {
    let mut bits = Bits::of(body);
    bits.skip(3 + 1)?; // profile; whether it is one picture alone
    if bits.flag()? {
        bits.skip(5)?; // all there is of it in a reduced header: the level
    } else {
        let mut delay_bits = None;
        if bits.flag()? {
            bits.skip(64)?; // how long a tick is
            if bits.flag()? {
                bits.exp_golomb()?;
            }
            if bits.flag()? {
                delay_bits = Some(2 * (bits.take(5)? + 1));
                bits.skip(32 + 5 + 5)?;
            }
        }
        let has_display_delays = bits.flag()?;
        for _ in 0..=bits.take(5)? {
            bits.skip(12)?;
            let level = bits.take(5)?;
            if level > 7 {
                bits.skip(1)?;
            }
            if let Some(delay_bits) = delay_bits
                && bits.flag()?
            {
                bits.skip(delay_bits as usize + 1)?;
            }
            if has_display_delays && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
    Some(PictureSize { width: bits.take(width_bits)? + 1, height: bits.take(height_bits)? + 1 })
}

fn take_leb128(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for at in 0..4 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence headers of libaom without their lengths, as they come in RTP.
    const HD: [u8; 12] = [0x08, 0, 0, 0, 0x2d, 0x4c, 0xff, 0xb3, 0xcd, 0xaf, 0x90, 0x04];
    const FHD: [u8; 12] = [0x08, 0, 0, 0, 0x42, 0xab, 0xbf, 0xc3, 0x77, 0x6b, 0xe4, 0x01];

    #[test]
    fn sequence_headers_of_libaom() {
        fn check(payload: &[u8], expected: Option<(u32, u32)>) {
            assert_eq!(size(payload).map(|size| (size.width, size.height)), expected, "{payload:02x?}");
        }
        let with = |header: &[u8], element: &[u8], more: &[u8]| [header, element, more].concat();
        check(&with(&[0x18], &HD, &[]), Some((1280, 720)));
        check(&with(&[0x18], &FHD, &[]), Some((1920, 1080)));
        check(&with(&[0x28, 12], &FHD, &[0x30, 0x10, 0x00]), Some((1920, 1080)));
        check(&with(&[0x08, 12], &HD, &[2, 0x30, 0x10]), Some((1280, 720)));
        // Behind a temporal delimiter, and with a length of its own.
        check(&with(&[0x28, 1, 0x10], &HD, &[]), Some((1280, 720)));
        check(&with(&[0x18, 0x0a, 11], &HD[1..], &[]), Some((1280, 720)));
        check(&[0x18, 0x30, 0x10], None);
        check(&[0x08, 0xff, 0xff, 0xff, 0xff], None);
        for cut in 0..9 {
            check(&with(&[0x18], &HD[..cut], &[]), None);
        }
        check(&[], None);
    }
}
