//! Transport-wide feedback: tells a sender when each of its packets arrived, by the sequence number that its transport
//! gave it (draft-holmer-rmcat-transport-wide-cc-extensions-01). [`TwccRecorder`] writes it, [`TransportFeedback`] reads
//! it. What a sender makes of it is left to the bandwidth estimator.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::write::{packet, put_u32};
use super::{FORMAT_TWCC, RtcpError, TRANSPORT, take, take_u32};

/// How long arrivals wait for others to share their packet. Chrome's own receiver uses 50 to 250 ms.
const INTERVAL: Duration = Duration::from_millis(50);

/// Packets remembered: two seconds at 10 Mbit/s. Whoever jumps further ahead has started anew.
const WINDOW_MAX: usize = 2048;

/// How far behind the newest an already reported packet may arrive and still be reported.
const REORDER_MAX: i64 = 128;

/// Bytes of one feedback packet, so that it fits a datagram with room for a compound around it.
const FEEDBACK_BYTES_MAX: usize = 1000;

/// Packets that a feedback we read may tell of: a quarter of a second at 400 Mbit/s. A few bytes can claim 65535, and
/// someone would walk through them all.
const STATUSES_MAX: u16 = 8192;

/// Bytes before the first chunk.
const FEEDBACK_HEADER_BYTES: usize = 20;

/// Arrival times are told in 250 us, and counted from a multiple of 64 ms.
const TICK_US: i64 = 250;
const TICKS_PER_REFERENCE: i64 = 256;

/// Packets that one chunk can tell of: as a run, as bits, as pairs of bits.
const RUN_MAX: usize = 0x1fff;
const BITS: usize = 14;
const PAIRS: usize = 7;

/// How a packet fared: the two-bit symbols of the draft's section 3.1.1. The fourth is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    NotReceived = 0,
    /// The delta is one byte: 0 to 63.75 ms.
    SmallDelta = 1,
    /// The delta is two bytes with sign: up to 8 s either way.
    LargeDelta = 2,
}

impl Symbol {
    fn delta_bytes(self) -> usize {
        self as usize
    }
}

/// Remembers arrivals until they are reported.
#[derive(Clone, Debug, Default)]
pub struct TwccRecorder {
    /// Arrival in ticks since `epoch`, of `first` and those after it; `None` for a packet that is not here. The last is
    /// always here. At most [`WINDOW_MAX`].
    arrivals: VecDeque<Option<i64>>,
    /// The unwrapped sequence number of the first.
    first: i64,
    /// The unwrapped sequence number that the next feedback begins with.
    next: i64,
    epoch: Option<Instant>,
    /// When the next feedback should go; set whenever there is something to report.
    due: Option<Instant>,
    feedback_count: u8,
    /// Packets in a row that were too old. A sender that starts anew looks like that.
    stale: i64,
}

impl TwccRecorder {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The packet with the transport-wide number `sequence` has arrived. Repetitions and packets too late to matter are
    /// passed over.
    pub fn record(&mut self, sequence: u16, arrival: Instant) {
        let epoch = *self.epoch.get_or_insert(arrival);
        let ticks = (arrival.saturating_duration_since(epoch).as_micros() as i64) / TICK_US;
        let unwrapped = match self.arrivals.len() {
            0 => i64::from(sequence),
            len => {
                let highest = self.first + len as i64 - 1;
                highest + i64::from(sequence.wrapping_sub(highest as u16).cast_signed())
            }
        };
        let at = unwrapped - self.first;
        if at < 0 {
            self.stale += 1;
            if self.stale <= REORDER_MAX {
                return;
            }
        }
        if self.arrivals.is_empty() || at < 0 || at >= self.arrivals.len() as i64 + WINDOW_MAX as i64 {
            self.arrivals.clear();
            self.arrivals.push_back(Some(ticks));
            (self.first, self.next) = (unwrapped, unwrapped);
        } else {
            let at = at as usize;
            if at >= self.arrivals.len() {
                self.arrivals.resize(at + 1, None);
            }
            if self.arrivals[at].is_some() {
                return;
            }
            self.arrivals[at] = Some(ticks);
            // One that was reported missing: the next feedback begins there.
            self.next = self.next.min(unwrapped);
            self.forget(self.arrivals.len().saturating_sub(WINDOW_MAX));
        }
        self.stale = 0;
        self.due.get_or_insert(arrival + INTERVAL);
    }

    /// When the next feedback should go: 50 ms after the first arrival that waits for it. `None` when nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one feedback packet if one is due, at most 1000 bytes. After many losses or arrivals more may be due at
    /// once: call until [`TwccRecorder::poll_timeout`] is later than `now`. Returns whether it wrote.
    pub fn build(&mut self, now: Instant, sender_ssrc: u32, media_ssrc: u32, out: &mut Vec<u8>) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let begin = (self.next - self.first) as usize;
        // What is due has an arrival; what is not here before it costs at most 2 bytes in 7, which fits.
        let reference = self.arrivals.iter().skip(begin).find_map(|&ticks| ticks).unwrap_or(0);
        let reference = reference.div_euclid(TICKS_PER_REFERENCE);
        let statuses = || Statuses {
            arrivals: self.arrivals.iter().skip(begin),
            last_ticks: reference * TICKS_PER_REFERENCE,
        };
        let count = statuses().fitting();
        packet(out, TRANSPORT, FORMAT_TWCC, |out| {
            put_u32(out, sender_ssrc);
            put_u32(out, media_ssrc);
            out.extend((self.next as u16).to_be_bytes());
            out.extend((count as u16).to_be_bytes());
            // 24 bits with sign, which wrap after 12 days: senders look at differences only.
            out.extend(&(reference as u32).to_be_bytes()[1..]);
            out.push(self.feedback_count);
            let mut chunks = statuses().take(count).map(|(symbol, _)| symbol);
            while let Some(chunk) = next_chunk(&mut chunks) {
                out.extend(chunk.to_be_bytes());
            }
            for (symbol, delta) in statuses().take(count) {
                match symbol {
                    Symbol::NotReceived => {}
                    Symbol::SmallDelta => out.push(delta as u8),
                    Symbol::LargeDelta => out.extend((delta as i16).to_be_bytes()),
                }
            }
        });
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.next += count as i64;
        if begin + count == self.arrivals.len() {
            self.due = None;
        }
        self.forget((self.next - REORDER_MAX - self.first).max(0) as usize);
        true
    }

    /// Forgets the oldest `count`, reported or not; the last one stays.
    fn forget(&mut self, count: usize) {
        let count = count.min(self.arrivals.len().saturating_sub(1));
        self.arrivals.drain(..count);
        self.first += count as i64;
        self.next = self.next.max(self.first);
    }
}

/// What is told of each packet: how it fared, and its delta in ticks to the arrival before it.
#[derive(Clone)]
struct Statuses<I> {
    arrivals: I,
    last_ticks: i64,
}

impl<'a, I: Iterator<Item = &'a Option<i64>>> Statuses<I> {
    /// How many fit one feedback packet.
    fn fitting(self) -> usize {
        let mut delta_bytes = 0;
        let mut fits = |(index, (symbol, delta)): (usize, (Symbol, i64))| {
            delta_bytes += symbol.delta_bytes();
            let chunk_bytes = 2 * (index + 1).div_ceil(PAIRS);
            let size = FEEDBACK_HEADER_BYTES + chunk_bytes + delta_bytes;
            size <= FEEDBACK_BYTES_MAX && i16::try_from(delta).is_ok()
        };
        self.enumerate().map_while(|status| fits(status).then_some(())).count()
    }
}

impl<'a, I: Iterator<Item = &'a Option<i64>>> Iterator for Statuses<I> {
    type Item = (Symbol, i64);

    fn next(&mut self) -> Option<(Symbol, i64)> {
        let Some(ticks) = *self.arrivals.next()? else { return Some((Symbol::NotReceived, 0)) };
        let delta = ticks - self.last_ticks;
        self.last_ticks = ticks;
        let symbol = if (0..256).contains(&delta) { Symbol::SmallDelta } else { Symbol::LargeDelta };
        Some((symbol, delta))
    }
}

/// The chunk that tells of the most of what comes, which is taken off `symbols`.
fn next_chunk<I: Iterator<Item = Symbol> + Clone>(symbols: &mut I) -> Option<u16> {
    let first = symbols.clone().next()?;
    let run = symbols.clone().take(RUN_MAX).take_while(|&symbol| symbol == first).count();
    let bits = symbols.clone().take(BITS).take_while(|&symbol| symbol != Symbol::LargeDelta).count();
    let left = symbols.clone().take(BITS).count();
    let (chunk, used) = if run >= BITS || run == left || (run >= PAIRS && bits < left) {
        ((first as u16) << 13 | run as u16, run)
    } else if bits == left {
        (vector(symbols.clone(), BITS, 1) | 0x8000, bits)
    } else {
        (vector(symbols.clone(), PAIRS, 2) | 0xc000, left.min(PAIRS))
    };
    symbols.by_ref().take(used).for_each(drop);
    Some(chunk)
}

/// `count` symbols of `width` bits each, from the left; zeros when there are fewer.
fn vector(symbols: impl Iterator<Item = Symbol>, count: usize, width: usize) -> u16 {
    let place = |index: usize| BITS - width * (index + 1);
    symbols.take(count).enumerate().fold(0, |chunk, (index, symbol)| chunk | (symbol as u16) << place(index))
}

/// Feedback as it came, with its header read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// Any stream of the transport that is reported on.
    pub media_ssrc: u32,
    /// The first packet that is told of.
    pub base_sequence: u16,
    /// How many packets are told of.
    pub status_count: u16,
    /// What the first delta counts from, in 64 ms of the reporter's clock; 24 bits with sign.
    pub reference_time: i32,
    /// Grows with each feedback packet, so that lost ones are noticed.
    pub feedback_count: u8,
    /// Chunks, then deltas.
    body: &'a [u8],
}

/// How one packet fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    /// Its transport-wide sequence number.
    pub sequence: u16,
    /// When it arrived, on the reporter's clock, which wraps after 12 days; `None` if it had not.
    pub arrival_us: Option<i64>,
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &mut &'a [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, media_ssrc) = (take_u32(body)?, take_u32(body)?);
        let (base, count) = (*take(body)?, *take(body)?);
        let reference_and_count = take_u32(body)?;
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence: u16::from_be_bytes(base),
            status_count: u16::from_be_bytes(count),
            // The shift carries the sign of the upper 24 bits.
            reference_time: reference_and_count.cast_signed() >> 8,
            feedback_count: reference_and_count as u8,
            body,
        })
    }

    /// All packets told of, in order of their sequence numbers.
    ///
    /// # Errors
    /// [`RtcpError::StatusChunk`] for the reserved symbol and for no or more than 8192 packets, [`RtcpError::Truncated`] when chunks or
    /// deltas are missing.
    pub fn packets(&self) -> Result<PacketStatuses<'a>, RtcpError> {
        if self.status_count == 0 || self.status_count > STATUSES_MAX {
            return Err(RtcpError::StatusChunk);
        }
        let mut symbols = Symbols { chunks: self.body, left: self.status_count, chunk: 0, in_chunk: 0 };
        let start = symbols;
        let mut delta_bytes = 0;
        for symbol in &mut symbols {
            delta_bytes += symbol?.delta_bytes();
        }
        // Where the chunks end, the deltas begin.
        let deltas = symbols.chunks.get(..delta_bytes).ok_or(RtcpError::Truncated)?;
        Ok(PacketStatuses {
            symbols: start,
            deltas,
            sequence: self.base_sequence,
            ticks: i64::from(self.reference_time) * TICKS_PER_REFERENCE,
        })
    }
}

/// Iterates over the packets of a feedback; see [`TransportFeedback::packets`].
#[derive(Clone, Copy, Debug)]
pub struct PacketStatuses<'a> {
    symbols: Symbols<'a>,
    deltas: &'a [u8],
    sequence: u16,
    ticks: i64,
}

impl Iterator for PacketStatuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        // `packets()` has been through all symbols and deltas: neither can fail any more.
        let symbol = self.symbols.next()?.ok()?;
        let delta = match symbol {
            Symbol::NotReceived => None,
            Symbol::SmallDelta => take(&mut self.deltas).ok().map(|&[delta]| i64::from(delta)),
            Symbol::LargeDelta => take(&mut self.deltas).ok().map(|&delta| i16::from_be_bytes(delta).into()),
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.ticks += delta.unwrap_or(0);
        Some(PacketStatus { sequence, arrival_us: delta.map(|_| self.ticks * TICK_US) })
    }
}

/// Iterates over the symbols of all chunks; ends after `left` of them, or after an error.
#[derive(Clone, Copy, Debug)]
struct Symbols<'a> {
    chunks: &'a [u8],
    left: u16,
    chunk: u16,
    /// Symbols of `chunk` that are left.
    in_chunk: u16,
}

impl Iterator for Symbols<'_> {
    type Item = Result<Symbol, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // A run of none: go on to the next chunk. Each costs two bytes, so this ends.
        while self.in_chunk == 0 {
            match take(&mut self.chunks) {
                Ok(&chunk) => self.chunk = u16::from_be_bytes(chunk),
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
            self.in_chunk = match self.chunk >> 14 {
                0b10 => BITS as u16,
                0b11 => PAIRS as u16,
                _ => self.chunk & RUN_MAX as u16,
            };
        }
        self.in_chunk -= 1;
        let symbol = match self.chunk >> 14 {
            0b10 => self.chunk >> self.in_chunk & 1,
            0b11 => self.chunk >> (2 * self.in_chunk) & 3,
            _ => self.chunk >> 13,
        };
        Some(match symbol {
            0 => Ok(Symbol::NotReceived),
            1 => Ok(Symbol::SmallDelta),
            2 => Ok(Symbol::LargeDelta),
            _ => {
                self.left = 0;
                Err(RtcpError::StatusChunk)
            }
        })
    }
}
