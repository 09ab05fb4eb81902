//! The jitter buffer of one leg: packets in whatever order the network chose, out at one pace.
//!
//! It holds encoded packets only, in a ring by sequence number, and says at each step what comes next: a packet, a
//! hole to conceal, or nothing yet. So a leg that nobody hears costs one copy per packet and no decoding, and still
//! has its last tens of milliseconds at hand when it starts to speak. Decoding and concealing are `voice.rs`'s.
//!
//! `timing.rs` says how late is too late. Playing starts with packets that late. When packets run out the listener hears
//! concealment and the cursor waits, so the delay grows by just what was missing. When more than the target has been
//! waited for a while, some samples are taken out, and when less, some are put in. A hole in the sequence is waited for
//! likewise, but given up once as much has been concealed as it is long, so that loss alone adds no delay.

use super::timing::Timing;
use super::{AudioPacket, FRAME_SAMPLES};
use campanile_opus::{begins_rest, has_fec, packet_samples};
use std::time::Instant;

/// Packets held for one leg. 64 cover the longest delay below even at 5 ms a packet, and bound a hostile sender to
/// 96 KB.
const SLOTS: u64 = 64;
/// The longest payload taken: what fits one unfragmented datagram. Opus itself could go to 7.6 KB, at rates that no
/// voice needs.
const PAYLOAD_BYTES_MAX: usize = 1_500;
/// How much more than the target is waited at most: 200 ms, or three packets when they are longer. Beyond that what is
/// too old is skipped at once.
const EXCESS_SAMPLES_MAX: i64 = 10 * FRAME_SAMPLES as i64;
/// The delay may lie anywhere within one tick above the target, and 2.5 ms more so that it does not go back and forth.
const TOLERANCE_SAMPLES: i64 = FRAME_SAMPLES as i64 + 120;
/// How long the delay must have been off before anything is done: 0.5 s, or 0.2 s when it is far too long.
const WATCH_TICKS: u32 = 25;
const WATCH_TICKS_FAR: u32 = 10;
const FAR_SAMPLES: i64 = 3 * FRAME_SAMPLES as i64;
/// How long a quiet moment is waited for, to take samples out or put them in where nobody can hear it: 0.4 s.
const PATIENCE_TICKS: u32 = 20;
/// Silence after which packets are no longer expected, and the next ones fill the buffer anew: when concealment
/// has faded out. A sender that rests has said so.
pub(super) const DRY_SAMPLES_MAX: usize = 8 * FRAME_SAMPLES;
/// Packets that a decoder warms up on: the error left is a 256th, well under 1 dB, and a voice that is taken up costs a
/// fifth of a millisecond, once.
pub(super) const PRIMERS: u64 = 8;
/// A jump that is still the same stream, forward and backward (RFC 3550 appendix A.1).
const DROPOUT_MAX: i32 = 3_000;
const MISORDER_MAX: i32 = 100;
/// The first cycle of sequence numbers is the second, so that 0 is no packet's and one may count down from the first.
const CYCLE: u64 = 1 << 16;
/// Late packets in unbroken order that mean a restarted sender rather than a slow path: 160 ms.
const LATE_RUN_MAX: u32 = 8;

/// What has become of one leg's packets since it was added. All but the last three count from
/// zero and only grow.
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
    /// Packets skipped because they were far too old, after a stall mostly.
    pub skipped: u64,
    /// Lost packets replaced by a copy in another (RED), or rebuilt from in-band FEC.
    pub recovered: u64,
    /// Packets decoded: none of whoever is silent, muted or not among the loudest.
    pub decoded: u64,
    /// Samples (48 kHz) invented because nothing was there to play.
    pub concealed_samples: u64,
    /// Highest sequence number, extended by its cycles, as a receiver report wants it (RFC 3550 section 6.4.1).
    pub highest_sequence: u32,
    /// Times that the delay was shortened or lengthened by up to 20 ms.
    pub adjusted: u64,
    /// Interarrival jitter in units of the RTP clock, 48 kHz (RFC 3550 section 6.4.1).
    pub jitter: u32,
    /// How much later than the fastest packets of the last seconds the leg is played now, and should be: samples at 48 kHz.
    pub delay_samples: u32,
    /// See [`Quality::delay_samples`].
    pub target_samples: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// Extended sequence number; 0 in a slot never filled, which no packet has.
    sequence: u64,
    samples: usize,
    /// On the sender's timeline, see `timing.rs`.
    place: i64,
    level_db: Option<u8>,
    /// Empty in a slot that only remembers that its packet's time is over.
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

/// What to do about the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adjust {
    /// Take samples out.
    Shorten,
    /// Put samples in.
    Lengthen,
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
    /// The sender has said that it has nothing to send for now (DTX).
    Rest,
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
    timing: Timing,
    /// The least and the greatest delay since when it was last right or put right.
    least: i64,
    greatest: i64,
    watched_ticks: u32,
    due: Option<Adjust>,
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
            timing: Timing::new(),
            least: i64::MAX,
            greatest: i64::MIN,
            watched_ticks: 0,
            due: None,
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
        let samples = match packet_samples(packet.payload) {
            Ok(samples) if packet.payload.len() <= PAYLOAD_BYTES_MAX => samples,
            _ => {
                self.note_arrival(now, sequence, packet.timestamp);
                self.quality.malformed += 1;
                return false;
            }
        };
        if self.held(sequence).is_some() {
            self.quality.duplicate += 1;
            if sequence < self.next {
                self.note_late(packet.sequence);
            }
            return false;
        }
        let place = self.note_arrival(now, sequence, packet.timestamp);
        if sequence < self.next {
            let reordered = sequence >= self.floor && sequence + SLOTS > self.highest;
            if self.state != (State::Waiting { fresh: true }) || !reordered {
                self.quality.late += 1;
                self.note_late(packet.sequence);
                return false;
            }
            self.next = sequence; // nothing was played yet, so the order is still ours to choose
        }
        self.late_run = 0;
        let slot = Slot { sequence, samples, place, level_db: packet.level_db, payload: Vec::new() };
        self.hold(slot, packet.payload);
        self.packet_samples = samples;
        if self.held(sequence - 1).is_none() && has_fec(packet.payload) {
            self.timing.arrive_otherwise(now, place - samples as i64);
        }
        true
    }

    /// Takes a copy of a frame `age` older than packet `short`, which has just been pushed, if that frame is missing.
    pub(super) fn push_copy(&mut self, now: Instant, short: u16, age: u32, payload: &[u8]) {
        let delta = i64::from(short.wrapping_sub(self.highest as u16) as i16);
        let Some(primary) = self.held(self.highest.saturating_add_signed(delta)) else { return };
        // Packets carry equal durations, or the copy's place among them cannot be told.
        let samples = primary.samples;
        let distance = u64::from(age) / samples as u64;
        let sequence = primary.sequence - distance;
        let placed = distance > 0 && (age as usize).is_multiple_of(samples) && sequence >= self.floor;
        if !placed || sequence + SLOTS <= self.highest || self.held(sequence).is_some() {
            return;
        }
        if payload.len() > PAYLOAD_BYTES_MAX || packet_samples(payload) != Ok(samples) {
            return;
        }
        let (place, level_db) = (primary.place - i64::from(age), primary.level_db);
        self.timing.arrive_otherwise(now, place);
        let slot = Slot { sequence, samples, place, level_db, payload: Vec::new() };
        if sequence >= self.next {
            self.quality.recovered += 1;
            self.hold(slot, payload);
        } else {
            self.hold(slot, &[]); // too late, but it tells how long to wait for others like it
        }
    }

    fn hold(&mut self, slot: Slot, payload: &[u8]) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, Slot::default);
        }
        let place = &mut self.slots[(slot.sequence % SLOTS) as usize];
        // The bytes keep their allocation.
        *place = Slot { payload: std::mem::take(&mut place.payload), ..slot };
        place.payload.clear();
        place.payload.extend_from_slice(payload);
    }

    /// Counts a packet that cannot be read.
    pub(super) fn count_malformed(&mut self, now: Instant, packet: AudioPacket<'_>) {
        self.count_only(now, packet);
        self.quality.malformed += 1;
    }

    /// Counts a packet of a leg that must not be heard, without keeping it.
    pub(super) fn count_only(&mut self, now: Instant, packet: AudioPacket<'_>) {
        self.quality.received += 1;
        if let Some(sequence) = self.extend(packet.sequence) {
            self.note_arrival(now, sequence, packet.timestamp);
        }
    }

    /// Forgets what is held; the next packet starts anew.
    pub(super) fn clear(&mut self) {
        self.restart_at(self.highest + 1);
    }

    /// Begins a tick, before the steps that make up its 20 ms. `decoded` samples are at hand already.
    pub(super) fn begin_tick(&mut self, now: Instant, decoded: usize) {
        match self.state {
            State::Waiting { .. } => {
                // Nothing sounds now, so holes at the start need no concealment.
                let first = (self.next..=self.highest).find(|sequence| self.held(*sequence).is_some());
                let Some(first) = first else { return };
                if self.timing.lateness(now, self.place_of(first)) < self.timing.target() {
                    return;
                }
                self.quality.lost += first - self.next;
                self.next = first;
                self.passed = self.passed.min(0);
                self.state = State::Playing;
                self.dry_samples = 0;
                self.cut(now, self.packet_samples as i64);
                self.watch();
            }
            State::Playing => {
                let delay = self.delay(now, decoded);
                if delay > self.timing.target() + EXCESS_SAMPLES_MAX.max(3 * self.packet_samples as i64) {
                    self.cut(now, self.packet_samples as i64);
                    self.watch();
                } else {
                    self.watch_delay(delay);
                }
            }
        }
        self.quality.delay_samples = u32::try_from(self.delay(now, decoded)).unwrap_or(0);
        self.quality.target_samples = self.timing.target() as u32;
    }

    fn watch_delay(&mut self, delay: i64) {
        (self.least, self.greatest) = (self.least.min(delay), self.greatest.max(delay));
        self.watched_ticks += 1;
        let excess = self.least - self.timing.target();
        let long_enough = if excess > FAR_SAMPLES { WATCH_TICKS_FAR } else { WATCH_TICKS };
        if self.watched_ticks < long_enough {
            return;
        }
        self.due = if excess > TOLERANCE_SAMPLES {
            Some(Adjust::Shorten)
        } else if self.greatest < self.timing.target() {
            Some(Adjust::Lengthen)
        } else {
            return self.watch();
        };
    }

    /// What comes next; a packet, lost or not, is done with then.
    pub(super) fn step(&mut self) -> Step<'_> {
        if !matches!(self.state, State::Playing) {
            return if self.rests() { Step::Rest } else { Step::Waiting };
        }
        loop {
            if self.next > self.highest {
                if self.rests() {
                    self.state = State::Waiting { fresh: false };
                    return Step::Rest;
                }
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
    pub(super) fn skip_tick(&mut self, now: Instant) {
        self.begin_tick(now, 0);
        if self.state != State::Playing {
            return;
        }
        self.passed += match self.take_adjustment(true) {
            Some(Adjust::Shorten) => 2 * FRAME_SAMPLES as isize,
            Some(Adjust::Lengthen) => 0,
            None => FRAME_SAMPLES as isize,
        };
        while self.passed > 0 {
            if self.next > self.highest {
                let passed = std::mem::take(&mut self.passed) as usize;
                if self.rests() {
                    self.state = State::Waiting { fresh: false };
                } else {
                    self.ran_dry(passed);
                }
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

    /// Starts decoding: the packets just before the cursor, as far as they are still at hand, for the decoder to warm up on.
    /// A decoder that knows nothing takes what is coded as a change for the thing itself, and blares; per packet of
    /// 20 ms half of that is gone (RFC 6716 section 4.3.2.1).
    pub(super) fn primers(&self) -> impl Iterator<Item = &[u8]> {
        let held = |sequence: &u64| self.held(*sequence).is_some_and(|slot| !slot.payload.is_empty());
        let first = self.next.saturating_sub(PRIMERS);
        let run = (first..self.next).rev().take_while(held).count() as u64;
        let run = if self.state == (State::Waiting { fresh: true }) { 0 } else { run };
        (self.next - run..self.next).filter_map(|sequence| Some(&self.held(sequence)?.payload[..]))
    }

    /// Samples at the start of what is decoded first that the leg has lived through already.
    pub(super) fn take_passed(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.passed)).unwrap_or(0)
    }

    /// Stops decoding, with `decoded` samples not played yet.
    pub(super) fn release(&mut self, decoded: usize) {
        self.passed = -(decoded as isize);
    }

    /// What to do about the delay now, with `quiet` samples at hand or not. Once told, it is done.
    pub(super) fn take_adjustment(&mut self, quiet: bool) -> Option<Adjust> {
        let far = self.least.saturating_sub(self.timing.target()) > FAR_SAMPLES;
        if !(quiet || far || self.watched_ticks >= WATCH_TICKS + PATIENCE_TICKS) {
            return None;
        }
        let due = self.due.take()?;
        self.watch();
        self.quality.adjusted += 1;
        Some(due)
    }

    /// Whether the next step needs no concealment.
    pub(super) fn is_next_held(&self) -> bool {
        self.state == State::Playing && self.held(self.next).is_some()
    }

    /// How much later than the fastest the packet is that is needed next, at the tick that needs it; in samples.
    fn delay(&self, now: Instant, decoded: usize) -> i64 {
        let frame = FRAME_SAMPLES as i64;
        let ahead = (decoded as i64 - self.passed as i64).div_euclid(frame) * frame;
        self.timing.lateness(now, self.place_of(self.next)) + ahead
    }

    fn place_of(&self, sequence: u64) -> i64 {
        self.held(sequence)
            .map_or_else(|| self.timing.place_of(sequence, self.packet_samples), |slot| slot.place)
    }

    /// Skips what is later than the target, except for `spare` samples.
    fn cut(&mut self, now: Instant, spare: i64) {
        let latest = self.timing.target() + spare;
        while self.next < self.highest && self.timing.lateness(now, self.place_of(self.next)) > latest {
            self.quality.skipped += u64::from(self.held(self.next).is_some());
            self.next += 1;
        }
    }

    /// Begins to watch the delay.
    fn watch(&mut self) {
        self.least = i64::MAX;
        self.greatest = i64::MIN;
        self.watched_ticks = 0;
        self.due = None;
    }

    /// Whether the packet before the cursor was the last for a while.
    fn rests(&self) -> bool {
        let before = (self.next > self.floor).then(|| self.held(self.next - 1)).flatten();
        before.is_some_and(|before| !before.payload.is_empty() && begins_rest(&before.payload))
    }

    fn held(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get((sequence % SLOTS) as usize).filter(|slot| slot.sequence == sequence)
    }

    fn held_between(&self, from: u64, to: u64) -> u64 {
        self.slots
            .iter()
            .filter(|slot| (from..to).contains(&slot.sequence) && !slot.payload.is_empty())
            .count() as u64
    }

    /// Notes a packet whose time is over; many in order are a sender that has begun anew.
    fn note_late(&mut self, short: u16) {
        self.late_run = if short == self.late_next { self.late_run + 1 } else { 1 };
        self.late_next = short.wrapping_add(1);
        if self.late_run >= LATE_RUN_MAX {
            self.restart(short.wrapping_add(1));
        }
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
        self.timing.restart();
    }

    fn restart_at(&mut self, next: u64) {
        self.next = next;
        self.floor = next;
        self.state = State::Waiting { fresh: true };
        self.passed = 0;
        self.dry_samples = 0;
        self.late_run = 0;
        self.watch();
    }

    /// Returns the packet's place on the sender's timeline.
    fn note_arrival(&mut self, now: Instant, sequence: u64, timestamp: u32) -> i64 {
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
        self.timing.arrive(now, sequence, timestamp, self.packet_samples)
    }
}

#[cfg(test)]
mod tests;
