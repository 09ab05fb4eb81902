//! Numbers with units, and the only wrapping arithmetic in the house.

use std::fmt;
use std::iter::Sum;
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Bitrate(u64);

impl Bitrate {
    /// From bits per second.
    pub const fn bps(bps: u64) -> Bitrate {
        Bitrate(bps)
    }

    /// From kilobits (1,000 bits) per second.
    pub const fn kbps(kbps: u64) -> Bitrate {
        Bitrate(kbps * 1000)
    }

    /// In bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// In whole kilobits per second, rounded down.
    pub const fn as_kbps(self) -> u64 {
        self.0 / 1000
    }

    /// This rate times a factor that is not negative.
    pub fn scaled(self, factor: f64) -> Bitrate {
        Bitrate((self.0 as f64 * factor) as u64)
    }

    /// Both rates together.
    pub fn saturating_add(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_add(other.0))
    }

    /// What is left of this rate beside another; none if that is larger.
    pub fn saturating_sub(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_sub(other.0))
    }

    /// Bytes that pass within `span`, rounded down.
    pub fn bytes_in(self, span: Duration) -> u64 {
        (u128::from(self.0) * span.as_micros() / 8_000_000) as u64
    }

    /// How long `bytes` take at this rate; for ever (an hour) at none.
    pub fn time_for(self, bytes: u64) -> Duration {
        (bytes * 8_000_000).checked_div(self.0).map_or(Duration::from_secs(3600), Duration::from_micros)
    }

    /// The rate at which `bytes` passed within `span`; zero for an empty span.
    pub fn measured(bytes: u64, span: Duration) -> Bitrate {
        let micros = span.as_micros() as u64;
        Bitrate((bytes * 8_000_000).checked_div(micros).unwrap_or(0))
    }
}

impl Sum for Bitrate {
    fn sum<I: Iterator<Item = Bitrate>>(rates: I) -> Bitrate {
        Bitrate(rates.map(|rate| rate.0).fold(0, u64::saturating_add))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.as_kbps())
    }
}

/// An RTP sequence number that no longer wraps: 16 bits from the wire, extended by the number of wraps seen
/// (RFC 3550 appendix A.1, without the probation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SeqNo(u64);

impl SeqNo {
    /// The first number of a stream. It starts one wrap up, so that a packet reordered before it still has a place.
    pub const fn first(wire: u16) -> SeqNo {
        SeqNo(65_536 + wire as u64)
    }

    /// The number nearest to this one whose low 16 bits are `wire`.
    pub const fn extend(self, wire: u16) -> SeqNo {
        let ahead = wire.wrapping_sub(self.0 as u16) as i16;
        SeqNo(self.0.wrapping_add_signed(ahead as i64))
    }

    /// As the wire carries it.
    pub const fn wire(self) -> u16 {
        self.0 as u16
    }

    /// The number `by` later (or earlier, when negative).
    pub const fn plus(self, by: i64) -> SeqNo {
        SeqNo(self.0.wrapping_add_signed(by))
    }

    /// How far this number lies behind `later`; negative when it lies ahead.
    pub const fn distance_to(self, later: SeqNo) -> i64 {
        later.0 as i64 - self.0 as i64
    }

    /// The slot that this number takes in a ring of `len` places.
    pub const fn slot(self, len: usize) -> usize {
        (self.0 % len as u64) as usize
    }
}

/// Ticks of a 90 kHz RTP video clock in `span`, as the wire counts them (RFC 3551 section 5).
pub fn video_ticks(span: Duration) -> u32 {
    (span.as_micros() as u64 * 9 / 100) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_extends_to_the_nearest_wrap() {
        fn check(last: u64, wire: u16, expected: u64) {
            assert_eq!(SeqNo(last).extend(wire), SeqNo(expected), "{last} then {wire}");
        }
        check(65_536, 1, 65_537);
        check(65_536, 65_535, 65_535);
        check(131_071, 0, 131_072);
        check(131_072, 65_530, 131_066);
        check(65_636, 50, 65_586);
        check(70_000, 70_000u64 as u16, 70_000);
    }

    #[test]
    fn a_rate_is_measured_over_its_span() {
        assert_eq!(Bitrate::measured(125, Duration::from_secs(1)), Bitrate::kbps(1));
        assert_eq!(Bitrate::measured(125, Duration::ZERO), Bitrate::bps(0));
        assert_eq!(Bitrate::measured(75_000, Duration::from_millis(500)).as_kbps(), 1200);
    }

    #[test]
    fn a_rate_takes_its_time_for_bytes() {
        let rate = Bitrate::kbps(800);
        assert_eq!(rate.bytes_in(Duration::from_millis(10)), 1000);
        assert_eq!(rate.time_for(1000), Duration::from_millis(10));
        assert_eq!(rate.scaled(1.5), Bitrate::kbps(1200));
        assert!(Bitrate::default().time_for(1) > Duration::from_secs(60));
    }

    #[test]
    fn a_frame_interval_in_ticks() {
        assert_eq!(video_ticks(Duration::from_millis(40)), 3600);
        assert_eq!(video_ticks(Duration::from_secs(1)), 90_000);
    }
}
