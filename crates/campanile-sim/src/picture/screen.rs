//! A receiver that decodes a picture exactly when a real one could, and asks for what it lacks as a browser does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use campanile_media::rtp;
use campanile_media::units::SeqNo;

use super::Truth;
use super::decoder::{Decoded, Decoder};
use super::received::{Numbers, Packet, Reader, Unread};

/// How long a gap may be mere reordering, how often a packet is asked for, and how many times.
const REORDER_WAIT: Duration = Duration::from_millis(20);
const NACK_INTERVAL: Duration = Duration::from_millis(100);
const NACK_TRIES_MAX: u8 = 10;
/// How long what is missing is waited for once a later picture could be shown, and before a keyframe is asked for.
const SKIP_AFTER: Duration = Duration::from_millis(150);
const PLI_AFTER: Duration = Duration::from_millis(500);
/// The same while there is nothing to go on from: as long as a browser waits for a keyframe.
const FIRST_PLI_AFTER: Duration = Duration::from_millis(200);
/// How far a switch may set the clock wrong: as long as the longest outage in these stories, and a moment.
const CLOCK_SLACK_TICKS: u32 = 3 * 90_000;
/// Packets that wait for one missing before them.
const WAITING_MAX: usize = 2000;
/// Packets that wait for the structure by which their descriptors go: those of a large keyframe.
const EARLY_MAX: usize = 200;

/// What one screen has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Pictures decoded.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// When the first was decoded.
    pub first_at: Option<Instant>,
    /// When the latest was.
    pub last_at: Option<Instant>,
    /// The longest time between two.
    pub longest_gap: Duration,
    /// Each change of layer: when, and to which. Simulcast layers and the sizes of one stream are both counted from 0.
    pub layers: Vec<(Instant, u8)>,
    /// Each change of size, by what keyframes of VP8 say.
    pub sizes: Vec<(u16, u16)>,
    /// Pictures that the numbers made look decodable though they were not, or that were another's. Always 0 with a server
    /// that numbers right.
    pub corrupt: u64,
    /// Pictures whose numbers did not follow from those of the picture right before them.
    pub picture_breaks: u64,
    /// Frames that came in vain: nothing was missing since the last keyframe, and yet they could not be decoded. Where packets
    /// are lost or overtaken before the server, it cannot always know better.
    pub strays: u64,
    /// Pictures whose timestamp did not move on as time did.
    pub clock_breaks: u64,
    /// Sequence numbers that jumped by thousands.
    pub sequence_jumps: u64,
    /// Packets that came again by retransmission and were needed.
    pub repaired: u64,
    /// Numbers asked for, repetitions included.
    pub nacked: u64,
    /// Keyframes asked for.
    pub plis: u64,
    /// Packets received, retransmissions included.
    pub packets: u64,
    /// Those of them that named their section.
    pub named: u64,
}

/// One video section as its receiver sees it.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) mid: String,
    pub(crate) attendee: String,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) seen: Seen,
    reader: Reader,
    decoder: Decoder,
    highest: Option<SeqNo>,
    waiting: BTreeMap<SeqNo, Packet>,
    /// Of these the descriptors cannot be read yet.
    early: Vec<Early>,
    missing: BTreeMap<SeqNo, (Instant, u8)>,
    /// Where the next picture begins; `None` while a keyframe is needed.
    next: Option<SeqNo>,
    /// Nothing has been given up since the last keyframe.
    lacks_nothing: bool,
    last: Option<Shown>,
    blocked_since: Option<Instant>,
    last_pli: Option<Instant>,
}

#[derive(Debug)]
struct Early {
    seq: SeqNo,
    pt: u8,
    header: rtp::RtpHeader,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
}

/// One frame that is whole.
#[derive(Clone, Debug)]
struct Whole {
    packets: RangeInclusive<SeqNo>,
    decoded: Decoded,
}

/// The last picture shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    at: Instant,
    timestamp: u32,
    frame: Decoded,
    truth: Truth,
    /// It is a keyframe, or followed on one in less than its time: so may the next.
    may_hasten: bool,
}

impl Screen {
    pub(crate) fn new(now: Instant, mid: &str, attendee: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> Screen {
        Screen {
            mid: mid.to_owned(),
            attendee: attendee.to_owned(),
            ssrc,
            rtx_ssrc,
            seen: Seen::default(),
            reader: Reader::default(),
            decoder: Decoder::default(),
            highest: None,
            waiting: BTreeMap::new(),
            early: Vec::new(),
            missing: BTreeMap::new(),
            next: None,
            lacks_nothing: false,
            last: None,
            blocked_since: Some(now),
            last_pli: None,
        }
    }

    /// Takes one packet, or, with `repairs`, one retransmission. Its dependency descriptor is empty if it has none.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        header: &rtp::RtpHeader,
        payload: &[u8],
        descriptor: &[u8],
        repairs: bool,
    ) {
        self.seen.packets += 1;
        let (wire, payload) = match (repairs, payload) {
            (false, payload) => (header.sequence, payload),
            (true, [high, low, payload @ ..]) => (u16::from_be_bytes([*high, *low]), payload),
            (true, _) => return,
        };
        let seq = self.highest.map_or(SeqNo::first(wire), |highest| highest.extend(wire));
        let highest = *self.highest.get_or_insert(seq);
        let ahead = highest.distance_to(seq);
        if ahead.abs() > 2000 {
            self.seen.sequence_jumps += 1;
        }
        for step in 1..ahead.min(500) {
            self.missing.insert(highest.plus(step), (now + REORDER_WAIT, 0));
        }
        self.highest = Some(highest.max(seq));
        let was_missing = self.missing.remove(&seq).is_some();
        self.seen.repaired += u64::from(repairs && was_missing);
        if self.next.is_some_and(|next| seq < next) {
            return;
        }
        // One without payload stands for a packet that its receiver does not get: nothing is missing there.
        if !payload.is_empty() {
            let pt = header.payload_type - u8::from(repairs);
            self.read(seq, pt, header, payload, descriptor);
        }
        self.play(now);
    }

    fn read(&mut self, seq: SeqNo, pt: u8, header: &rtp::RtpHeader, payload: &[u8], descriptor: &[u8]) {
        match self.reader.read(pt, header, payload, descriptor) {
            Ok(packet) => {
                let is_first = packet.keyframe && packet.starts;
                self.waiting.insert(seq, packet);
                let early = if is_first { std::mem::take(&mut self.early) } else { Vec::new() };
                for Early { seq, pt, header, payload, descriptor } in early {
                    self.read(seq, pt, &header, &payload, &descriptor);
                }
            }
            Err(Unread::Early) if self.early.len() < EARLY_MAX => {
                let (header, payload, descriptor) = (header.clone(), payload.to_vec(), descriptor.to_vec());
                self.early.push(Early { seq, pt, header, payload, descriptor });
            }
            Err(Unread::Early) => {}
            Err(Unread::Broken) => self.seen.corrupt += 1,
        }
        if self.waiting.len() > WAITING_MAX {
            self.waiting.clear();
            self.next = None;
        }
    }

    fn play(&mut self, now: Instant) {
        while let Some(picture) = self.next_picture(now) {
            self.show(now, &picture);
        }
        let idle = self.waiting.is_empty() && self.next.is_some();
        self.blocked_since = if idle { None } else { self.blocked_since.or(Some(now)) };
    }

    /// The last packet of the frame that starts there, if all of it is here.
    fn frame_at(&self, start: SeqNo) -> Option<SeqNo> {
        let timestamp = self.waiting.get(&start)?.timestamp;
        let mut at = start;
        loop {
            let packet = self.waiting.get(&at).filter(|packet| packet.timestamp == timestamp)?;
            if packet.ends {
                return Some(at);
            }
            at = at.plus(1);
        }
    }

    /// What can be decoded of the next picture whose largest size is among that; nothing while it is too early to give up what
    /// is missing before.
    fn next_picture(&self, now: Instant) -> Option<Vec<Whole>> {
        let mut picture: Vec<Whole> = Vec::new();
        let mut before: Vec<Decoded> = Vec::new();
        let mut timestamp = None;
        let starts = self.waiting.iter().filter(|(_, packet)| packet.starts);
        for (start, packet) in starts {
            if timestamp != Some(packet.timestamp) {
                timestamp = Some(packet.timestamp);
                picture.clear();
                before.clear();
            }
            let follows = self.next == Some(*start) && self.last.is_some();
            let Some(end) = self.frame_at(*start) else { continue };
            let Some(decoded) = self.decoder.decodes(&before, packet, follows) else { continue };
            before.push(decoded);
            picture.push(Whole { packets: *start..=end, decoded });
            if self.waiting[&end].marker {
                let waited = self.blocked_since.is_some_and(|since| now >= since + SKIP_AFTER);
                let nothing_missing = self.next.is_none() || self.missing.range(..end).next().is_none();
                return (waited || nothing_missing).then_some(picture);
            }
        }
        None
    }

    fn show(&mut self, now: Instant, picture: &[Whole]) {
        let [first, ..] = picture else { return };
        let start = *first.packets.start();
        let first = self.waiting[&start].clone();
        let in_sequence = self.next == Some(start);
        let frames: Vec<Decoded> = picture.iter().map(|whole| whole.decoded).collect();
        let last_whole = picture.last().expect("one at least");
        let top = self.waiting[last_whole.packets.start()].truth;
        let frame = last_whole.decoded;
        let end = *last_whole.packets.end();
        self.lacks_nothing &= self.missing.range(..start).next().is_none();
        if self.lacks_nothing {
            let is_early =
                |(_, packet): &(&SeqNo, &Packet)| packet.starts && packet.timestamp != first.timestamp;
            self.seen.strays += self.waiting.range(..start).filter(is_early).count() as u64;
        }
        self.lacks_nothing |= first.keyframe;
        self.seen.corrupt += u64::from(!picture.iter().all(|whole| self.is_true(whole, &frames)));
        let mut may_hasten = first.keyframe;
        if let Some(last) = self.last {
            self.seen.picture_breaks += u64::from(in_sequence && !follows(&last.frame, &frames[0]));
            let moved = first.timestamp.wrapping_sub(last.timestamp) as i32;
            let captured = top.ticks.wrapping_sub(last.truth.ticks) as i32;
            // A switch sets the clock by the time at which the keyframe comes, and what came before may have been late.
            // What newcomers get of the past passes in a millisecond a picture, until it meets the present.
            let slack = if first.keyframe { CLOCK_SLACK_TICKS } else { 0 };
            let hastens = last.may_hasten && moved < captured;
            let right = moved > 0 && (moved.abs_diff(captured) <= slack || hastens);
            may_hasten |= hastens;
            self.seen.clock_breaks += u64::from(!right);
            self.seen.longest_gap = self.seen.longest_gap.max(now - last.at);
        }
        self.seen.frames += 1;
        self.seen.keyframes += u64::from(first.keyframe);
        self.seen.first_at.get_or_insert(now);
        self.seen.last_at = Some(now);
        let layer = top.layer + top.spatial;
        if self.seen.layers.last().is_none_or(|(_, last)| *last != layer) {
            self.seen.layers.push((now, layer));
        }
        self.seen.sizes.extend(first.size.filter(|size| self.seen.sizes.last() != Some(size)));
        self.decoder.take(&first, &frames);
        self.last = Some(Shown { at: now, timestamp: first.timestamp, frame, truth: top, may_hasten });
        let next = end.plus(1);
        self.next = Some(next);
        self.waiting = self.waiting.split_off(&next);
        self.missing = self.missing.split_off(&next);
        self.early.retain(|early| early.seq >= next);
        self.blocked_since = None;
    }

    /// Whether a frame is what it looks like: whole, its sender's, and with all that it needs among these or before.
    fn is_true(&self, whole: &Whole, frames: &[Decoded]) -> bool {
        let (start, end) = (*whole.packets.start(), *whole.packets.end());
        let first = &self.waiting[&start];
        let truth = first.truth;
        let mut packets = self.waiting.range(start..=end).enumerate();
        let is_whole = packets.all(|(at, (_, it))| it.truth == truth.placed(at as u16))
            && start.distance_to(end) + 1 == i64::from(truth.of);
        let needs = truth.needs.iter().filter(|back| **back > 0);
        let mut needs = needs.map(|back| truth.frame - u32::from(*back));
        is_whole
            && truth.whose == Truth::mark_of(&self.attendee)
            && (truth.spatial, truth.temporal) == (first.spatial, first.temporal)
            && first.keyframe == (truth.keyframe && truth.spatial == 0)
            && needs.all(|frame| self.decoder.truly_has(frames, truth.layer, frame))
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let nack = self.missing.values().map(|(due, _)| *due).min();
        nack.into_iter().chain(self.pli_due()).min()
    }

    fn pli_due(&self) -> Option<Instant> {
        let since = self.blocked_since?;
        let patience = if self.next.is_none() { FIRST_PLI_AFTER } else { PLI_AFTER };
        Some(self.last_pli.map_or(since, |last| last.max(since)) + patience)
    }

    /// Collects the numbers to ask for, and says whether to ask for a keyframe.
    pub(crate) fn handle_timeout(&mut self, now: Instant, lost: &mut Vec<u16>) -> bool {
        let lacks_nothing = &mut self.lacks_nothing;
        self.missing.retain(|seq, (due, tries)| {
            if *due > now {
                return true;
            }
            *tries += 1;
            *due = now + NACK_INTERVAL;
            let ask = *tries <= NACK_TRIES_MAX;
            if ask {
                lost.push(seq.wire());
            }
            *lacks_nothing &= ask;
            ask
        });
        self.seen.nacked += lost.len() as u64;
        self.play(now);
        let due = self.pli_due().is_some_and(|due| now >= due);
        if due {
            self.last_pli = Some(now);
            self.seen.plis += 1;
        }
        due
    }
}

/// Whether a picture, of which this is the first frame, is numbered as the next after the last, where nothing lies between:
/// that of VP8 exactly, others beyond what may have been left out.
fn follows(last: &Decoded, next: &Decoded) -> bool {
    const PICTURES_LEFT_OUT_MAX: u16 = 8;
    const FRAMES_LEFT_OUT_MAX: u16 = 3 * PICTURES_LEFT_OUT_MAX;
    match (last.numbers, next.numbers) {
        (
            Numbers::Vp8 { picture: last, tl0_picture: last_tl0, .. },
            Numbers::Vp8 { picture, tl0_picture, .. },
        ) => {
            let step = u8::from(next.temporal == 0);
            picture == (last + 1) & 0x7fff && tl0_picture == last_tl0.wrapping_add(step)
        }
        (Numbers::Vp9 { picture: last, .. }, Numbers::Vp9 { picture, .. }) => {
            (1..=PICTURES_LEFT_OUT_MAX).contains(&(picture.wrapping_sub(last) & 0x7fff))
        }
        (Numbers::Described { frame: last, .. }, Numbers::Described { frame, .. }) => {
            (1..=FRAMES_LEFT_OUT_MAX).contains(&frame.wrapping_sub(last))
        }
        _ => true,
    }
}
