//! Redundant audio (RFC 2198): packets that carry copies of the frames before them.
//!
//! Says what is in a payload and writes one; which copies are worth sending, and what to do with those that came, is left
//! to others. The layout: a header of four bytes for each copy (flag, payload type, how much older, length), one of one
//! byte for the newest frame, then the frames in the same order, oldest first.

/// Copies looked at in one packet. Chrome makes up to two and the Chime client up to two; what a stranger adds beyond
/// these is not worth the time.
const COPIES_MAX: usize = 4;
/// A copy's age has 14 bits, its length 10 (RFC 2198 section 3).
const AGE_MAX: u32 = (1 << 14) - 1;
const LENGTH_MAX: usize = (1 << 10) - 1;

/// What one RED payload holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Red<'a> {
    /// The newest frame, for which the RTP header speaks.
    pub(super) primary: &'a [u8],
    copies: [Copy<'a>; COPIES_MAX],
    count: usize,
}

/// A frame sent before, once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copy<'a> {
    /// How much older than the primary it is, in units of the RTP clock, 48 kHz.
    pub(super) age: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Red<'a> {
    /// Reads a payload whose frames are all of `payload_type`; `None` if a length reaches beyond the packet, the primary
    /// is missing or of another type. Copies of other types, or empty, are passed over.
    pub(super) fn parse(payload: &'a [u8], payload_type: u8) -> Option<Red<'a>> {
        let mut headers = payload;
        let mut lengths = 0;
        loop {
            match headers {
                [last, rest @ ..] if last & 0x80 == 0 => {
                    if last & 0x7f != payload_type || rest.len() <= lengths {
                        return None;
                    }
                    headers = rest;
                    break;
                }
                [_, _, high, low, rest @ ..] => {
                    lengths += length(*high, *low);
                    headers = rest;
                }
                _ => return None,
            }
        }
        // All lengths are known to fit now, so what is cut below is there.
        let (mut frames, primary) = headers.split_at(lengths);
        let mut red = Red { primary, copies: [Copy::default(); COPIES_MAX], count: 0 };
        let mut at = 0;
        while payload[at] & 0x80 != 0 {
            let [kind, age_high, high, low] = payload[at..at + 4] else { return None };
            at += 4;
            let (copy, rest) = frames.split_at(length(high, low));
            frames = rest;
            let age = u32::from(age_high) << 6 | u32::from(high) >> 2;
            if kind & 0x7f == payload_type && age > 0 && !copy.is_empty() && red.count < COPIES_MAX {
                red.copies[red.count] = Copy { age, payload: copy };
                red.count += 1;
            }
        }
        Some(red)
    }

    /// The copies, oldest first as sent.
    pub(super) fn copies(&self) -> &[Copy<'a>] {
        &self.copies[..self.count]
    }
}

fn length(high: u8, low: u8) -> usize {
    usize::from(high & 3) << 8 | usize::from(low)
}

/// Writes a payload of frames of `payload_type`: `copies` by age, oldest first, then `primary`. Copies that no header can
/// describe (too old, too long) are left out.
pub(super) fn write<'a>(
    out: &mut Vec<u8>,
    payload_type: u8,
    copies: impl Iterator<Item = (u32, &'a [u8])> + Clone,
    primary: &[u8],
) {
    let copies =
        copies.filter(|(age, copy)| (1..=AGE_MAX).contains(age) && (1..=LENGTH_MAX).contains(&copy.len()));
    for (age, copy) in copies.clone() {
        let length = copy.len() as u32;
        out.push(0x80 | payload_type);
        out.extend_from_slice(&(age << 10 | length).to_be_bytes()[1..]);
    }
    out.push(payload_type);
    for (_, copy) in copies {
        out.extend_from_slice(copy);
    }
    out.extend_from_slice(primary);
}

/// Entry points that take any bytes and must not panic.
pub(super) mod fuzz {
    use super::{Red, write};

    /// What can be read is written and read again the same.
    pub fn red(data: &[u8]) {
        let Some(red) = Red::parse(data, 111) else { return };
        let mut again = Vec::new();
        write(&mut again, 111, red.copies().iter().map(|copy| (copy.age, copy.payload)), red.primary);
        assert_eq!(Red::parse(&again, 111), Some(red));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, as `age:bytes` of each copy and the bytes of the primary.
    fn check(payload: &[u8], expected: Option<&str>) {
        let read = Red::parse(payload, 111).map(|red| {
            let copies = red.copies().iter().map(|copy| format!("{}:{:?} ", copy.age, copy.payload));
            format!("{}{:?}", copies.collect::<String>(), red.primary)
        });
        assert_eq!(read.as_deref(), expected, "{payload:?}");
    }

    #[test]
    fn frames_are_told_apart() {
        // 960 << 10 | length, as three bytes: 0x0f, 0x00 | length's high bits, length's low bits.
        check(&[111, 7], Some("[7]"));
        check(&[0xef, 0x0f, 0x00, 2, 111, 1, 2, 3, 4], Some("960:[1, 2] [3, 4]"));
        check(&[0xef, 0x1e, 0, 1, 0xef, 0x0f, 0, 1, 111, 1, 2, 3], Some("1920:[1] 960:[2] [3]"));
        check(&[0xef, 0x0f, 0, 0, 111, 3], Some("[3]")); // an empty copy
        check(&[0xef, 0, 0, 1, 111, 3, 4], Some("[4]")); // a copy of itself
        check(&[0x80, 0x0f, 0, 1, 111, 3, 4], Some("[4]")); // a copy of another type
    }

    #[test]
    fn what_reaches_beyond_the_packet_is_none() {
        check(&[], None);
        check(&[111], None); // no primary
        check(&[0], None);
        check(&[0, 1, 2], None); // another type
        check(&[0xef], None);
        check(&[0xef, 0x0f, 0x00, 2], None);
        check(&[0xef, 0x0f, 0x00, 2, 111], None);
        check(&[0xef, 0x0f, 0x00, 2, 111, 1, 2], None); // nothing left for the primary
        check(&[0xef, 0xff, 0xff, 0xff, 111, 1, 2], None);
        check(&[0xff; 40], None);
    }

    #[test]
    fn of_many_copies_a_few_are_looked_at() {
        let mut payload = Vec::new();
        (0..9).for_each(|_| payload.extend_from_slice(&[0xef, 0x0f, 0, 1]));
        payload.push(111);
        payload.extend_from_slice(&[5; 10]);
        assert_eq!(Red::parse(&payload, 111).map(|red| red.count), Some(COPIES_MAX));
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 1u32;
        for _ in 0..20_000 {
            let mut byte = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            let length = byte() % 40;
            let mut data: Vec<u8> = (0..length).map(|_| byte() & byte()).collect();
            if let Some(at) = data.get_mut(4) {
                *at = 111;
            }
            fuzz::red(&data);
        }
    }
}
