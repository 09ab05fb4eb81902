//! A stamp at the end of an encoded frame: who sent it, its number, and when. So a receiver knows exactly which frames
//! reached it and how old they are, without decoding, and decoders take no notice:
//!
//! - VP8: behind the last byte; the last partition reaches to the end of the frame and its decoder takes no offence at
//!   bytes that it does not need (RFC 6386 section 9.5).
//! - H.264: in a supplemental NAL unit of unregistered user data (ITU-T H.264 section D.1.7).
//! - AV1: in a metadata OBU of a type left to users (AV1 specification section 6.7.1); RTP leaves padding OBUs out.
//! - VP9 has no place for it: its frames go out as they are.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::media::Codec;

/// Any sixteen bytes without a zero, so that nothing in a stamp looks like an H.264 start code.
const MAGIC: [u8; 16] = *b"campanile stamp:";
/// The three numbers in hexadecimal digits.
const DIGITS: usize = 8 + 8 + 16;
/// A stamp without what a codec puts around it.
const STAMP_BYTES: usize = MAGIC.len() + DIGITS;
/// What may follow a stamp in its frame.
const TRAILER_BYTES_MAX: usize = 1;

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who sent it, in the sender's own counting.
    pub sender: u32,
    /// Counts the sender's frames; the same for all simulcast layers of one moment.
    pub number: u32,
    /// When it was sent, in microseconds since the epoch of the sender's clock.
    pub sent_us: u64,
}

impl Stamp {
    /// The frame with the stamp in it.
    pub fn append(&self, codec: Codec, frame: &[u8]) -> Vec<u8> {
        let mut stamped = Vec::with_capacity(frame.len() + STAMP_BYTES + 8);
        stamped.extend_from_slice(frame);
        match codec {
            Codec::Vp8 => {}
            // A NAL unit of type 6 with a payload of type 5.
            Codec::H264 => stamped.extend_from_slice(&[0, 0, 0, 1, 6, 5, STAMP_BYTES as u8]),
            // An OBU of type 5 that tells its size, and in it metadata of type 31.
            Codec::Av1 => stamped.extend_from_slice(&[5 << 3 | 2, STAMP_BYTES as u8 + 2, 31]),
            Codec::Vp9 => return stamped,
        }
        stamped.extend_from_slice(&MAGIC);
        let digits = format!("{:08x}{:08x}{:016x}", self.sender, self.number, self.sent_us);
        stamped.extend_from_slice(digits.as_bytes());
        if codec != Codec::Vp8 {
            // The stop bit of H.264's raw bytes, and of AV1's trailing ones.
            stamped.push(0x80);
        }
        stamped
    }

    /// The stamp at the frame's end; `None` when there is none.
    pub fn read(frame: &[u8]) -> Option<Stamp> {
        let end = &frame[frame.len().saturating_sub(STAMP_BYTES + TRAILER_BYTES_MAX)..];
        let start = end.windows(MAGIC.len()).position(|window| window == MAGIC)? + MAGIC.len();
        let digits = std::str::from_utf8(end.get(start..start + DIGITS)?).ok()?;
        Some(Stamp {
            sender: u32::from_str_radix(&digits[..8], 16).ok()?,
            number: u32::from_str_radix(&digits[8..16], 16).ok()?,
            sent_us: u64::from_str_radix(&digits[16..], 16).ok()?,
        })
    }
}

/// Now, as stamps tell it.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_and_nothing_else_is_taken_for_one() {
        let stamp = Stamp { sender: 7, number: 1 << 31, sent_us: 1 << 50 };
        for codec in [Codec::Vp8, Codec::H264, Codec::Av1] {
            let frame = stamp.append(codec, b"frame");
            assert_eq!(Stamp::read(&frame), Some(stamp), "{codec:?}");
            assert_eq!(Stamp::read(&frame[1..]), Some(stamp), "{codec:?}");
            assert_eq!(Stamp::read(&frame[..frame.len() - 2]), None, "{codec:?}");
        }
        assert_eq!(Stamp::read(&stamp.append(Codec::Vp9, b"frame")), None);
        assert_eq!(Stamp::read(b"short"), None);
        assert_eq!(Stamp::read(b"campanile stamp:no digits at all, but as many characters"), None);
        assert_eq!(Stamp::read("campanile stamp:ääääääääääääääää".as_bytes()), None);
    }
}
