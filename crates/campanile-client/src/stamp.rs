//! A stamp at the end of an encoded frame: who sent it, its number, and when. So a receiver knows exactly which frames
//! reached it and how old they are, without decoding.
//!
//! A VP8 frame's last partition reaches to the end of the frame and its decoder takes no offence at bytes that it does
//! not need (RFC 6386 section 9.5), so a stamped clip still plays.

use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC: [u8; 8] = *b"\xC5cmpnile";
/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 8 + 4 + 4 + 8;

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
    /// The frame with the stamp behind it.
    pub fn append(&self, frame: &[u8]) -> Vec<u8> {
        let mut stamped = Vec::with_capacity(frame.len() + STAMP_BYTES);
        stamped.extend_from_slice(frame);
        stamped.extend_from_slice(&MAGIC);
        stamped.extend_from_slice(&self.sender.to_be_bytes());
        stamped.extend_from_slice(&self.number.to_be_bytes());
        stamped.extend_from_slice(&self.sent_us.to_be_bytes());
        stamped
    }

    /// The stamp at the frame's end; `None` when there is none.
    pub fn read(frame: &[u8]) -> Option<Stamp> {
        let stamp: &[u8; STAMP_BYTES] = frame.last_chunk()?;
        let rest = stamp.strip_prefix(&MAGIC)?;
        Some(Stamp {
            sender: u32::from_be_bytes(*rest.first_chunk()?),
            number: u32::from_be_bytes(*rest[4..].first_chunk()?),
            sent_us: u64::from_be_bytes(*rest[8..].first_chunk()?),
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
        let frame = stamp.append(b"frame");
        assert_eq!(Stamp::read(&frame), Some(stamp));
        assert_eq!(Stamp::read(&frame[1..]), Some(stamp));
        assert_eq!(Stamp::read(&frame[..frame.len() - 1]), None);
        assert_eq!(Stamp::read(b"short"), None);
    }
}
