//! H.264: the sequence parameter set tells the size (ITU-T H.264, section 7.3.2.1.1).

use super::PictureSize;
use crate::forward::bits::Bits;

const SPS: u8 = 7;
const STAP_A: u8 = 24;
/// Profiles whose parameter sets say how colours are kept.
const WITH_CHROMA: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// More macroblocks in a row or column than any level allows.
const MACROBLOCKS_MAX: u32 = 4096;
/// Length of the longest cycle of picture order counts.
const CYCLE_MAX: u32 = 255;

/// Of the pictures to come, by a packet with a sequence parameter set, alone or among others (RFC 6184 section 5).
pub(super) fn size(payload: &[u8]) -> Option<PictureSize> {
    match payload.first()? & 0x1f {
        SPS => read_parameters(payload),
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, unit, ..] = rest {
                let end = 2 + usize::from(u16::from_be_bytes([*high, *low]));
                if unit & 0x1f == SPS {
                    return read_parameters(rest.get(2..end)?);
                }
                rest = rest.get(end..)?;
            }
            None
        }
        _ => None,
    }
}

fn read_parameters(unit: &[u8]) -> Option<PictureSize> {
    let bytes = without_escapes(unit.get(1..)?);
    let mut bits = Bits::of(&bytes);
    let profile = bits.take(8)?;
    bits.skip(16)?; // constraints, level
    bits.exp_golomb()?; // its number
    let mut chroma = 1;
    let mut has_separate_colours = false;
    if WITH_CHROMA.contains(&profile) {
        chroma = bits.exp_golomb()?;
        has_separate_colours = chroma == 3 && bits.flag()?;
        bits.exp_golomb()?; // depths of luma and chroma
        bits.exp_golomb()?;
        bits.skip(1)?;
        if bits.flag()? {
            let lists = if chroma == 3 { 12 } else { 8 };
            (0..lists).try_for_each(|list| skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 }))?;
        }
    }
    bits.exp_golomb()?; // how frames are counted
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.skip(1)?;
            bits.signed_exp_golomb()?;
            bits.signed_exp_golomb()?;
            let cycle = bits.exp_golomb().filter(|cycle| *cycle <= CYCLE_MAX)?;
            (0..cycle).try_for_each(|_| bits.signed_exp_golomb().map(drop))?;
        }
        _ => {}
    }
    bits.exp_golomb()?; // reference frames
    bits.skip(1)?;
    let mut macroblocks = || Some(bits.exp_golomb().filter(|less_one| *less_one < MACROBLOCKS_MAX)? + 1);
    let (columns, rows) = (macroblocks()?, macroblocks()?);
    let has_fields = !bits.flag()?;
    bits.skip(if has_fields { 2 } else { 1 })?;
    let rows_in_frame = if has_fields { 2 * rows } else { rows };
    let (mut width, mut height) = (columns * 16, rows_in_frame * 16);
    if bits.flag()? {
        let is_subsampled = !has_separate_colours && (1..=2).contains(&chroma);
        let unit_x = if is_subsampled { 2 } else { 1 };
        let unit_y = if is_subsampled && chroma == 1 { 2 } else { 1 } * if has_fields { 2 } else { 1 };
        let mut cut = |unit: u32| bits.exp_golomb()?.checked_mul(unit);
        let [left, right, top, bottom] = [cut(unit_x)?, cut(unit_x)?, cut(unit_y)?, cut(unit_y)?];
        width = width.checked_sub(left)?.checked_sub(right)?;
        height = height.checked_sub(top)?.checked_sub(bottom)?;
    }
    (width > 0 && height > 0).then_some(PictureSize { width, height })
}

/// Section 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, length: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..length {
        if next != 0 {
            next = (last + i64::from(bits.signed_exp_golomb()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Two zeros are followed by a three wherever they could be taken for a start code (section 7.4.1).
fn without_escapes(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn parameter_sets_of_x264() {
        fn check(hex: &str, expected: Option<(u32, u32)>) {
            assert_eq!(size(&bytes(hex)).map(|size| (size.width, size.height)), expected, "{hex}");
        }
        check("6742c01fda014016ec044000000300400000030083c60ca8", Some((1280, 720)));
        check("6742c028da01e0089f97011000000300100000030020f1832a", Some((1920, 1080)));
        check("6742c01fda02d0286c044000000300400000030083c60ca8", Some((720, 1280)));
        check("6742c033da00f0010fb011000003000100000300020f1832a0", Some((3840, 2160)));
        check("6742c016da0290bf889b011000000300100000030020f162ea", Some((642, 358)));
        // All colours in full (High 4:4:4 Predictive).
        check("67f40028919680780227e27011000003000100000300020f1832a0", Some((1920, 1080)));
        check("67f40016919680a42fe3e2f011000003000100000300020f162ea0", Some((642, 358)));
        // In fields, with scaling matrices.
        check("67640028acd94078044fde022000000300200000030043e2c5b2c0", Some((1920, 1080)));
        // Among others, behind a delimiter.
        check(
            "780002091000186742c01fda014016ec044000000300400000030083c60ca8000468ce0fc8",
            Some((1280, 720)),
        );
        check("65888400", None);
        check("7800ff67", None);
        check("67", None);
        check("6742c01f", None);
        check("", None);
    }

    #[test]
    fn zeros_are_escaped() {
        assert_eq!(without_escapes(&[0, 0, 3, 1, 0, 3, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 3, 0, 0, 0, 0]);
    }
}
