//! How well one stream is received: what a report block says (RFC 3550 sections 6.4.1, A.1, A.3 and A.8).

use std::time::Instant;

use super::{ReportBlock, SenderInfo, middle};

/// A jump forward that may still be loss: about a minute of audio. RFC 3550 A.1's MAX_DROPOUT.
const DROPOUT_MAX: u16 = 3000;

/// A jump backward that may still be reordering. RFC 3550 A.1's MAX_MISORDER.
const MISORDER_MAX: u16 = 100;

/// Counts one SSRC. A few words, whatever arrives.
#[derive(Clone, Debug)]
pub struct ReceptionStats {
    ssrc: u32,
    clock_rate_hz: u32,
    /// From the first packet on; `None` before.
    run: Option<Run>,
    /// The last sender report: the middle of its NTP time, and when it came.
    sender_report: Option<(u32, Instant)>,
}

/// One unbroken sequence: a sender that starts anew starts a new one.
#[derive(Clone, Debug)]
struct Run {
    /// The first and the highest sequence number, wraps added.
    first: u64,
    highest: u64,
    /// Duplicates count, as RFC 3550 has it.
    received: u64,
    expected_at_report: u64,
    received_at_report: u64,
    /// A sequence number far off; if its successor follows, the sender has started anew.
    suspect: Option<u16>,
    /// Arrival times are counted from here.
    epoch: Instant,
    /// Arrival minus RTP timestamp of the last packet, in units of the latter.
    transit: u32,
    /// 16 times the jitter, in the same units.
    jitter_times_16: u64,
}

impl ReceptionStats {
    /// For a stream whose RTP timestamps tick at `clock_rate_hz`.
    pub fn new(ssrc: u32, clock_rate_hz: u32) -> Self {
        Self { ssrc, clock_rate_hz, run: None, sender_report: None }
    }

    /// A packet has arrived.
    pub fn record(&mut self, sequence: u16, timestamp: u32, arrival: Instant) {
        let Some(run) = &mut self.run else {
            self.run = Some(Run::new(sequence, timestamp, arrival));
            return;
        };
        let ahead = sequence.wrapping_sub(run.highest as u16);
        if ahead < DROPOUT_MAX {
            run.highest += u64::from(ahead);
        } else if ahead <= u16::MAX - MISORDER_MAX {
            if run.suspect == Some(sequence) {
                self.run = Some(Run::new(sequence, timestamp, arrival));
            } else {
                run.suspect = Some(sequence.wrapping_add(1));
            }
            return;
        }
        run.suspect = None;
        run.received += 1;
        let transit = run.arrival_units(arrival, self.clock_rate_hz).wrapping_sub(timestamp);
        let change = transit.wrapping_sub(run.transit).cast_signed().unsigned_abs();
        run.transit = transit;
        // The integer form of J += (|D| - J) / 16, rounded (RFC 3550 A.8).
        run.jitter_times_16 = run.jitter_times_16 + u64::from(change) - ((run.jitter_times_16 + 8) >> 4);
    }

    /// A sender report of this SSRC has arrived: report blocks will say so, which lets the sender measure the round trip.
    pub fn record_sender_report(&mut self, info: &SenderInfo, arrival: Instant) {
        self.sender_report = Some((middle(info.ntp), arrival));
    }

    /// The block for the next report, which begins the interval of the one after. `None` before the first packet.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let (expected_now, lost_now) = self.since_report();
        let run = self.run.as_mut()?;
        (run.expected_at_report, run.received_at_report) = (run.expected(), run.received);
        // All lost would be 256/256, which a byte cannot say.
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let (lsr, dlsr) = match self.sender_report {
            Some((lsr, arrival)) => {
                let delay = (now.saturating_duration_since(arrival).as_nanos() << 16) / 1_000_000_000;
                (lsr, u32::try_from(delay).unwrap_or(u32::MAX))
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: run.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: run.highest as u32,
            jitter: (run.jitter_times_16 >> 4) as u32,
            lsr,
            dlsr,
        })
    }

    /// Packets expected since the last report, and how many of them are missing.
    pub fn since_report(&self) -> (u64, u64) {
        let since = |run: &Run| {
            let expected = run.expected() - run.expected_at_report;
            (expected, expected.saturating_sub(run.received - run.received_at_report))
        };
        self.run.as_ref().map_or((0, 0), since)
    }

    /// Packets received so far, duplicates included.
    pub fn received(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.received)
    }

    /// Packets lost so far; negative when duplicates outnumber losses.
    pub fn lost(&self) -> i64 {
        self.run.as_ref().map_or(0, Run::lost)
    }
}

impl Run {
    fn new(sequence: u16, timestamp: u32, arrival: Instant) -> Self {
        Self {
            first: sequence.into(),
            highest: sequence.into(),
            received: 1,
            expected_at_report: 0,
            received_at_report: 0,
            suspect: None,
            epoch: arrival,
            // The epoch is this arrival: its own time is 0.
            transit: 0u32.wrapping_sub(timestamp),
            jitter_times_16: 0,
        }
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> i64 {
        self.expected().cast_signed() - self.received.cast_signed()
    }

    /// Wraps as RTP timestamps do.
    fn arrival_units(&self, arrival: Instant, clock_rate_hz: u32) -> u32 {
        let since = arrival.saturating_duration_since(self.epoch);
        (since.as_nanos() * u128::from(clock_rate_hz) / 1_000_000_000) as u32
    }
}
