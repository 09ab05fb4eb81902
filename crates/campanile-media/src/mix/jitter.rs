//! The jitter buffer of one leg: packets in whatever order the network chose, out at one pace.
//!
//! It holds encoded packets only, in a ring by sequence number, and says at each step what comes next: a packet, a
//! hole to conceal, or nothing yet. So a leg that nobody hears costs one copy per packet and no decoding, and still
//! has its last tens of milliseconds at hand when it starts to speak. Decoding and concealing are `voice.rs`'s.
//!
//! The delay follows the network without a clock of its own. Playing starts once `TARGET_SAMPLES` are held. When packets
//! run out the listener hears concealment and the cursor waits, so the delay grows by just what was missing. When
//! more than the target has been at hand for seconds on end, one frame is dropped. A hole in the sequence is waited for
//! likewise, but given up once as much has been concealed as it is long, so that loss alone adds no delay.

use super::{AudioPacket, FRAME_SAMPLES};
use campanile_opus::{has_fec, packet_samples};
use std::time::Instant;

/// Packets held for one leg. 64 cover the longest delay below even at 5 ms a packet, and bound a hostile sender to
/// 96 KB.
const SLOTS: u64 = 64;
/// The longest payload taken: what fits one unfragmented datagram. Opus itself could go to 7.6 KB, at rates that no
/// voice needs.
const PAYLOAD_BYTES_MAX: usize = 1_500;
/// Audio held before playing starts: 40 ms, one frame to play and one for its successor to be late by.
pub(super) const TARGET_SAMPLES: usize = 2 * FRAME_SAMPLES;
/// Audio held at most: 240 ms, or three packets when they are longer. Beyond that a gap is kinder than the delay, and
/// what is too old is skipped.
const DEPTH_SAMPLES_MAX: usize = 12 * FRAME_SAMPLES;
/// How long more than the target must have been at hand before one frame is dropped: 3 s, so that at most one frame
/// in 150 is ever given up for a shorter delay.
const SHRINK_TICKS: u32 = 150;
/// How long a frame with little sound in it is waited for before any frame is dropped: 0.5 s.
const SHRINK_PATIENCE_TICKS: u32 = 25;
/// Silence after which packets are no longer expected, and the next ones fill the buffer anew: when concealment
/// has faded out.
pub(super) const DRY_SAMPLES_MAX: usize = 8 * FRAME_SAMPLES;
/// A jump that is still the same stream, forward and backward (RFC 3550 appendix A.1).
const DROPOUT_MAX: i32 = 3_000;
const MISORDER_MAX: i32 = 100;
/// The first cycle of sequence numbers is the second, so that 0 is no packet's and one may count down from the first.
const CYCLE: u64 = 1 << 16;
/// Late packets in unbroken order that mean a restarted sender rather than a slow path: 160 ms.
const LATE_RUN_MAX: u32 = 8;

/// What has become of one leg's packets since it was added. All but `jitter` count from zero and only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    /// Packets that arrived, duplicates and useless ones included.
    pub received: u64,
    /// Packets that should have arrived by their sequence numbers (RFC 3550 appendix A.3).
    pub expected: u64,
    /// Holes that the playing cursor went over: never arrived, or too late.
    pub lost: u64,
    /// Packets that came after their place was played.
    pub late: u64,
    /// Packets that were there already.
    pub duplicate: u64,
    /// Payloads that are no Opus.
    pub malformed: u64,
    /// Packets skipped to get back to the target delay, after a stall mostly.
    pub skipped: u64,
    /// Lost packets replaced by a copy in another (RED), or rebuilt from in-band FEC.
    pub recovered: u64,
    /// Samples (48 kHz) invented because nothing was there to play.
    pub concealed_samples: u64,
    /// Highest sequence number, extended by its cycles, as a receiver report wants it (RFC 3550 section 6.4.1).
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the RTP clock, 48 kHz (RFC 3550 section 6.4.1).
    pub jitter: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// Extended sequence number; 0 in a slot never filled, which no packet has.
    sequence: u64,
    samples: usize,
    level_db: Option<u8>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Filling up to the target; `fresh` until the first packet after a restart has been played.
    Waiting {
        fresh: bool,
    },
    Playing,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// This packet, with the loudness its sender claimed.
    Packet { payload: &'a [u8], samples: usize, level_db: Option<u8> },
    /// A lost packet, a copy of which is in the next one.
    Recover { from: &'a [u8], samples: usize },
    /// What belongs here has not arrived yet, and may never: to be concealed for as long as is needed now.
    Dry,
    /// Nothing is being played.
    Waiting,
}

#[derive(Debug)]
pub(super) struct Jitter {
    slots: Vec<Slot>,
    state: State,
    /// Extended sequence number of the next packet to play.
    next: u64,
    /// No packet before this one belongs to what is being played: a restart or a mute lies between.
    floor: u64,
    /// Extended sequence number of the newest packet ever received.
    highest: u64,
    /// Duration of the newest packet, the best guess for those not seen.
    packet_samples: usize,
    /// Samples of packet `next` that the leg has lived through undecoded; below zero, samples decoded ahead.
    passed: isize,
    /// Concealment played while the next packet was missing; pays for it once it is known to be lost.
    dry_samples: usize,
    low_water: usize,
    shrink_ticks: u32,
    shrink_due: bool,
    /// The number that would prove a big jump to be a restart (RFC 3550 appendix A.1).
    restart_sequence: Option<u16>,
    late_run: u32,
    late_next: u16,
    arrivals: Option<Arrivals>,
    pub(super) quality: Quality,
}

/// The arithmetic of interarrival jitter.
#[derive(Debug)]
struct Arrivals {
    first: Instant,
    transit: u32,
    /// Sixteenths of a sample, as in RFC 3550 appendix A.8.
    jitter_x16: u32,
}

impl Jitter {
    pub(super) fn new() -> Jitter {
        Jitter {
            slots: Vec::new(),
            state: State::Waiting { fresh: true },
            next: 0,
            floor: 0,
            highest: 0,
            packet_samples: FRAME_SAMPLES,
            passed: 0,
            dry_samples: 0,
            low_water: usize::MAX,
            shrink_ticks: 0,
            shrink_due: false,
            restart_sequence: None,
            late_run: 0,
            late_next: 0,
            arrivals: None,
            quality: Quality::default(),
        }
    }

    /// Takes a packet; true if it will be played.
    pub(super) fn push(&mut self, now: Instant, packet: AudioPacket<'_>) -> bool {
        self.quality.received += 1;
        let Some(sequence) = self.extend(packet.sequence) else { return false };
        self.note_arrival(now, packet.timestamp);
        let samples = match packet_samples(packet.payload) {
            Ok(samples) if packet.payload.len() <= PAYLOAD_BYTES_MAX => samples,
            _ => {
                self.quality.malformed += 1;
                return false;
            }
        };
        if sequence < self.next {
            let reordered = sequence >= self.floor && sequence + SLOTS > self.highest;
            if self.state != (State::Waiting { fresh: true }) || !reordered {
                return self.late(packet.sequence, sequence);
            }
            self.next = sequence; // nothing was played yet, so the order is still ours to choose
        }
        self.late_run = 0;
        if self.held(sequence).is_some() {
            self.quality.duplicate += 1;
            return false;
        }
        self.hold(sequence, samples, packet.level_db, packet.payload);
        self.packet_samples = samples;
        true
    }

    /// Takes a copy of a frame `age` older than packet `short`, which has just been pushed, if that frame is missing and
    /// still of use.
    pub(super) fn push_copy(&mut self, short: u16, age: u32, payload: &[u8]) {
        let delta = i64::from(short.wrapping_sub(self.highest as u16) as i16);
        let Some(primary) = self.held(self.highest.saturating_add_signed(delta)) else { return };
        // Packets carry equal durations, or the copy's place among them cannot be told.
        let samples = primary.samples as u32;
        let (distance, sequence) = (age / samples, primary.sequence - u64::from(age / samples));
        if distance == 0 || !age.is_multiple_of(samples) || sequence < self.next.max(self.floor) {
            return;
        }
        let level_db = primary.level_db;
        if sequence + SLOTS <= self.highest || self.held(sequence).is_some() {
            return;
        }
        if payload.len() > PAYLOAD_BYTES_MAX || packet_samples(payload) != Ok(samples as usize) {
            return;
        }
        self.quality.recovered += 1;
        self.hold(sequence, samples as usize, level_db, payload);
    }

    fn hold(&mut self, sequence: u64, samples: usize, level_db: Option<u8>, payload: &[u8]) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, Slot::default);
        }
        let slot = &mut self.slots[(sequence % SLOTS) as usize];
        (slot.sequence, slot.samples, slot.level_db) = (sequence, samples, level_db);
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
    }

    /// Counts a packet that cannot be read.
    pub(super) fn count_malformed(&mut self, now: Instant, packet: AudioPacket<'_>) {
        self.count_only(now, packet);
        self.quality.malformed += 1;
    }

    /// Counts a packet of a leg that must not be heard, without keeping it.
    pub(super) fn count_only(&mut self, now: Instant, packet: AudioPacket<'_>) {
        self.quality.received += 1;
        if self.extend(packet.sequence).is_some() {
            self.note_arrival(now, packet.timestamp);
        }
    }

    /// Forgets what is held; the next packet starts anew.
    pub(super) fn clear(&mut self) {
        self.restart_at(self.highest + 1);
    }

    /// Begins a tick, before the steps that make up its 20 ms. `decoded` samples are at hand already.
    pub(super) fn begin_tick(&mut self, decoded: usize) {
        let depth = self.depth(decoded);
        match self.state {
            State::Waiting { .. } => {
                // Nothing sounds now, so holes at the start need no concealment.
                let first = (self.next..=self.highest).find(|sequence| self.held(*sequence).is_some());
                let Some(holes) = first.map(|first| first - self.next) else { return };
                if depth.saturating_sub(holes as usize * self.packet_samples) < TARGET_SAMPLES {
                    return;
                }
                self.next += holes;
                self.quality.lost += holes;
                self.cut(decoded);
                self.state = State::Playing;
                self.dry_samples = 0;
                self.passed = self.passed.min(0);
                self.reset_shrinking();
            }
            State::Playing => {
                if depth > DEPTH_SAMPLES_MAX.max(3 * self.packet_samples) {
                    self.cut(decoded);
                }
                self.low_water = self.low_water.min(depth);
                self.shrink_ticks += 1;
                if self.shrink_ticks >= SHRINK_TICKS {
                    self.shrink_due = self.low_water >= TARGET_SAMPLES + FRAME_SAMPLES;
                    self.low_water = usize::MAX;
                    self.shrink_ticks = 0;
                }
            }
        }
    }

    /// What comes next; a packet, lost or not, is done with then.
    pub(super) fn step(&mut self) -> Step<'_> {
        if !matches!(self.state, State::Playing) {
            return Step::Waiting;
        }
        loop {
            if self.next > self.highest {
                return Step::Dry;
            }
            let sequence = self.next;
            if self.held(sequence).is_some() {
                self.next += 1;
                self.dry_samples = 0;
                let slot = &self.slots[(sequence % SLOTS) as usize];
                return Step::Packet {
                    payload: &slot.payload,
                    samples: slot.samples,
                    level_db: slot.level_db,
                };
            }
            let samples = self.packet_samples;
            if self.dry_samples >= samples {
                // Its whole time has been concealed: it is given up, and costs no more.
                self.dry_samples -= samples;
                self.next += 1;
                self.quality.lost += 1;
                continue;
            }
            if self.dry_samples == 0 && self.held(sequence + 1).is_some_and(|after| has_fec(&after.payload)) {
                self.next += 1;
                self.quality.lost += 1;
                self.quality.recovered += 1;
                let from = &self.slots[((sequence + 1) % SLOTS) as usize].payload;
                return Step::Recover { from, samples };
            }
            return Step::Dry;
        }
    }

    /// Notes that `samples` were concealed after [`Step::Dry`].
    pub(super) fn ran_dry(&mut self, samples: usize) {
        self.dry_samples += samples;
        if self.dry_samples >= DRY_SAMPLES_MAX {
            self.state = State::Waiting { fresh: false };
            self.dry_samples = 0;
        }
    }

    /// One tick of a leg that is not decoded: the cursor moves, the packets pass unheard.
    pub(super) fn skip_tick(&mut self) {
        self.begin_tick(0);
        if self.state != State::Playing {
            return;
        }
        if self.take_shrink(true, 0) {
            self.passed += FRAME_SAMPLES as isize;
        }
        self.passed += FRAME_SAMPLES as isize;
        while self.passed > 0 {
            if self.next > self.highest {
                let passed = std::mem::take(&mut self.passed) as usize;
                self.ran_dry(passed);
                return;
            }
            let held = self.held(self.next).map(|slot| slot.samples);
            let samples = held.unwrap_or(self.packet_samples);
            if held.is_none() && self.dry_samples >= samples {
                self.dry_samples -= samples;
            } else if self.passed >= samples as isize {
                self.passed -= samples as isize;
            } else {
                return; // it stays at hand, so that a syllable beginning in it is heard
            }
            self.next += 1;
            match held {
                Some(_) => self.dry_samples = 0,
                None => self.quality.lost += 1,
            }
        }
    }

    /// Starts decoding: the packet just before the cursor, for the decoder to warm up on, if it is still at hand.
    pub(super) fn primer(&self) -> Option<&[u8]> {
        let before = self.next.checked_sub(1)?;
        let slot = self.slots.get((before % SLOTS) as usize)?;
        (slot.sequence == before && self.state == State::Playing).then_some(&slot.payload)
    }

    /// Samples at the start of what is decoded first that the leg has lived through already.
    pub(super) fn take_passed(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.passed)).unwrap_or(0)
    }

    /// Stops decoding, with `decoded` samples not played yet.
    pub(super) fn release(&mut self, decoded: usize) {
        self.passed = -(decoded as isize);
    }

    /// Whether one frame should be dropped now, with `decoded` samples at hand that are `quiet` or not. Once told, it
    /// is done.
    pub(super) fn take_shrink(&mut self, quiet: bool, decoded: usize) -> bool {
        let due = self.shrink_due
            && (quiet || self.shrink_ticks >= SHRINK_PATIENCE_TICKS)
            && self.depth(decoded) >= TARGET_SAMPLES + FRAME_SAMPLES;
        if due {
            self.reset_shrinking();
            self.quality.skipped += 1;
        }
        due
    }

    /// Audio at hand, in samples, holes included.
    pub(super) fn depth(&self, decoded: usize) -> usize {
        let span = (self.highest + 1).saturating_sub(self.next) as usize * self.packet_samples;
        (span + decoded).saturating_add_signed(-self.passed)
    }

    /// Skips what is older than the target.
    fn cut(&mut self, decoded: usize) {
        while self.next < self.highest && self.depth(decoded) >= TARGET_SAMPLES + self.packet_samples {
            self.quality.skipped += u64::from(self.held(self.next).is_some());
            self.next += 1;
        }
        self.reset_shrinking();
    }

    fn reset_shrinking(&mut self) {
        self.low_water = usize::MAX;
        self.shrink_ticks = 0;
        self.shrink_due = false;
    }

    fn held(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get((sequence % SLOTS) as usize).filter(|slot| slot.sequence == sequence)
    }

    fn held_between(&self, from: u64, to: u64) -> u64 {
        self.slots.iter().filter(|slot| (from..to).contains(&slot.sequence)).count() as u64
    }

    fn late(&mut self, short: u16, sequence: u64) -> bool {
        match self.held(sequence) {
            Some(_) => self.quality.duplicate += 1,
            None => self.quality.late += 1,
        }
        self.late_run = if short == self.late_next { self.late_run + 1 } else { 1 };
        self.late_next = short.wrapping_add(1);
        if self.late_run >= LATE_RUN_MAX {
            self.restart(short.wrapping_add(1));
        }
        false
    }

    /// The extended sequence number (RFC 3550 appendix A.1), or `None` for a stray.
    fn extend(&mut self, short: u16) -> Option<u64> {
        if self.highest == 0 {
            self.restart(short);
        } else {
            let delta = i32::from(short.wrapping_sub(self.highest as u16) as i16);
            if !(-MISORDER_MAX..DROPOUT_MAX).contains(&delta) {
                if self.restart_sequence != Some(short) {
                    self.restart_sequence = Some(short.wrapping_add(1));
                    return None;
                }
                self.restart(short);
            }
        }
        self.restart_sequence = None;
        let delta = i64::from(short.wrapping_sub(self.highest as u16) as i16);
        let sequence = self.highest.saturating_add_signed(delta);
        if sequence > self.highest {
            self.quality.expected += sequence - self.highest;
            self.highest = sequence;
            let oldest = sequence + 1 - SLOTS;
            if self.next < oldest {
                self.quality.skipped += self.held_between(self.next, oldest);
                self.next = oldest;
            }
            self.quality.highest_sequence = (sequence - CYCLE) as u32;
        }
        Some(sequence)
    }

    /// Begins with `short`, in a cycle above all before, so that old slots can never be taken for new.
    fn restart(&mut self, short: u16) {
        let cycle = (self.highest >> 16) + 1;
        self.restart_at(cycle << 16 | u64::from(short));
        self.floor = self.next - u64::from(short.min(MISORDER_MAX as u16));
        self.highest = self.next - 1;
    }

    fn restart_at(&mut self, next: u64) {
        self.next = next;
        self.floor = next;
        self.state = State::Waiting { fresh: true };
        self.passed = 0;
        self.dry_samples = 0;
        self.late_run = 0;
        self.reset_shrinking();
    }

    fn note_arrival(&mut self, now: Instant, timestamp: u32) {
        let arrivals = self.arrivals.get_or_insert(Arrivals { first: now, transit: 0, jitter_x16: 0 });
        let elapsed = now.saturating_duration_since(arrivals.first).as_micros() * 48 / 1_000;
        let transit = (elapsed as u32).wrapping_sub(timestamp);
        let known = self.quality.received > 1;
        let change = (transit.wrapping_sub(arrivals.transit) as i32).unsigned_abs();
        arrivals.transit = transit;
        // A change of more than a minute is a restarted clock, not jitter.
        if known && change < 60 * 48_000 {
            arrivals.jitter_x16 += change;
            arrivals.jitter_x16 -= (arrivals.jitter_x16 - change + 8) >> 4;
        }
        self.quality.jitter = arrivals.jitter_x16 >> 4;
    }
}

#[cfg(test)]
mod tests;
