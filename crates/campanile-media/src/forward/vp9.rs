//! VP9's payload descriptor (RFC 9628 section 4.2), in flexible and non-flexible mode.

use super::payload::{PayloadInfo, PictureNumbers};

/// `I P L F B E V Z`, then picture id, layer indices, TL0PICIDX, each if announced. What follows (reference differences
/// in flexible mode, the scalability structure) begins at the offset returned, and is read by `size::vp9`. `None` when
/// the descriptor is cut short.
pub(super) fn read(payload: &[u8]) -> Option<(PayloadInfo, usize)> {
    let first = *payload.first()?;
    let has = |bit: u8| first & bit != 0;
    let (is_predicted, is_flexible) = (has(0x40), has(0x10));
    let mut at = 1;
    let mut info = PayloadInfo {
        begins_frame: has(0x08),
        ends_frame: has(0x04),
        // Receivers expect holes where layers were left out, and in flexible mode references count picture ids.
        numbers: PictureNumbers { gapless: false, ..PictureNumbers::default() },
        ..PayloadInfo::default()
    };
    if has(0x80) {
        let high = *payload.get(at)?;
        if high & 0x80 != 0 {
            let value = u16::from(high & 0x7f) << 8 | u16::from(*payload.get(at + 1)?);
            info.numbers.picture_id = Some((at as u8, value, true));
            at += 2;
        } else {
            info.numbers.picture_id = Some((at as u8, u16::from(high), false));
            at += 1;
        }
    }
    if has(0x20) {
        let layer = *payload.get(at)?;
        (info.temporal, info.spatial) = (layer >> 5, layer >> 1 & 0x07);
        let is_switching_point = layer & 0x10 != 0;
        info.temporal_climb = is_switching_point.then_some((info.temporal, u8::MAX));
        at += 1;
        if !is_flexible {
            info.numbers.tl0_picture = Some((at as u8, *payload.get(at)?));
            at += 1;
        }
    }
    info.starts_keyframe = info.begins_frame && !is_predicted && info.spatial == 0;
    Some((info, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_switching_points() {
        fn check(payload: &[u8], layer: (u8, u8), flags: [bool; 3], climb: Option<(u8, u8)>) {
            let (info, _) = read(payload).expect("whole");
            assert_eq!((info.spatial, info.temporal), layer, "{payload:02x?}");
            let seen = [info.starts_keyframe, info.begins_frame, info.ends_frame];
            assert_eq!((seen, info.temporal_climb), (flags, climb), "{payload:02x?}");
        }
        check(&[0x8c, 0x81, 0x23], (0, 0), [true, true, true], None);
        check(&[0xcc, 0x81, 0x23], (0, 0), [false, true, true], None); // predicted
        check(&[0x84, 0x23], (0, 0), [false, false, true], None); // the end of a keyframe
        check(&[0xac, 0x80, 1, 0x10, 5], (0, 0), [true, true, true], Some((0, u8::MAX)));
        check(&[0xac, 0x80, 1, 0x03, 5], (1, 0), [false, true, true], None); // SID 1, D
        check(&[0xec, 0x80, 1, 0x55, 5], (2, 2), [false, true, true], Some((2, u8::MAX)));
        check(&[0xfc, 0x80, 1, 0x42, 0x02], (1, 2), [false, true, true], None); // flexible: no TL0PICIDX
    }

    #[test]
    fn numbers_and_where_they_stand() {
        fn check(payload: &[u8], picture: Option<(u8, u16, bool)>, tl0: Option<(u8, u8)>) {
            let numbers = read(payload).expect("whole").0.numbers;
            assert_eq!((numbers.picture_id, numbers.tl0_picture), (picture, tl0), "{payload:02x?}");
        }
        check(&[0x0c], None, None);
        check(&[0xac, 0x81, 0x23, 0x00, 9], Some((1, 0x123, true)), Some((4, 9)));
        check(&[0xac, 0x23, 0x00, 9], Some((1, 0x23, false)), Some((3, 9)));
        check(&[0xbc, 0x23, 0x00], Some((1, 0x23, false)), None);
        for cut in [&[][..], &[0x80], &[0x80, 0x80], &[0xa0, 1], &[0xa0, 1, 0]] {
            assert_eq!(read(cut), None, "{cut:02x?}");
        }
    }
}
