//! A receiver that decodes a frame exactly when a real one could, and asks for what it lacks as a browser does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use campanile_media::rtp;
use campanile_media::units::SeqNo;

use super::{H264, Truth, VP8, VP8_KEYFRAME};

/// How long a gap may be mere reordering, how often a packet is asked for, and how many times.
const REORDER_WAIT: Duration = Duration::from_millis(20);
const NACK_INTERVAL: Duration = Duration::from_millis(100);
const NACK_TRIES_MAX: u8 = 10;
/// How long a frame is waited for once a later keyframe is at hand, and before a keyframe is asked for.
const SKIP_AFTER: Duration = Duration::from_millis(150);
const PLI_AFTER: Duration = Duration::from_millis(500);
/// The same while there is nothing to go on from: as long as a browser waits for a keyframe.
const FIRST_PLI_AFTER: Duration = Duration::from_millis(200);
/// How far a switch may set the clock wrong: as long as the longest outage in these stories, and a moment.
const CLOCK_SLACK_TICKS: u32 = 3 * 90_000;
/// A millisecond: between two pictures of the past.
const HASTENED_TICKS: i32 = 90;
/// Packets that wait for one missing before them.
const WAITING_MAX: usize = 2000;

/// What one screen has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Frames decoded.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// When the first was decoded.
    pub first_at: Option<Instant>,
    /// When the latest was.
    pub last_at: Option<Instant>,
    /// The longest time between two.
    pub longest_gap: Duration,
    /// Each change of layer: when, and to which.
    pub layers: Vec<(Instant, u8)>,
    /// Each change of size, by what keyframes say.
    pub sizes: Vec<(u16, u16)>,
    /// Frames that the numbers made look decodable though they were not. Always 0 with a server that numbers right.
    pub corrupt: u64,
    /// Frames whose picture id did not follow from the frame right before them.
    pub picture_breaks: u64,
    /// Frames whose timestamp did not move on as time did.
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
    highest: Option<SeqNo>,
    waiting: BTreeMap<SeqNo, Packet>,
    missing: BTreeMap<SeqNo, (Instant, u8)>,
    /// Where the next frame begins; `None` while a keyframe is needed.
    next: Option<SeqNo>,
    last: Option<Decoded>,
    blocked_since: Option<Instant>,
    last_pli: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    timestamp: u32,
    marker: bool,
    starts: bool,
    keyframe: bool,
    picture: Option<(u16, u8)>,
    size: Option<(u16, u16)>,
    truth: Truth,
}

#[derive(Clone, Copy, Debug)]
struct Decoded {
    at: Instant,
    timestamp: u32,
    picture: Option<(u16, u8)>,
    truth: Truth,
}

impl Screen {
    pub(crate) fn new(now: Instant, mid: &str, attendee: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> Screen {
        Screen {
            mid: mid.to_owned(),
            attendee: attendee.to_owned(),
            ssrc,
            rtx_ssrc,
            seen: Seen::default(),
            highest: None,
            waiting: BTreeMap::new(),
            missing: BTreeMap::new(),
            next: None,
            last: None,
            blocked_since: Some(now),
            last_pli: None,
        }
    }

    /// Takes one packet, or, with `repairs`, one retransmission.
    pub(crate) fn receive(&mut self, now: Instant, header: &rtp::RtpHeader, payload: &[u8], repairs: bool) {
        self.seen.packets += 1;
        let (wire, payload) = match (repairs, payload) {
            (false, payload) => (header.sequence, payload),
            (true, [high, low, payload @ ..]) => (u16::from_be_bytes([*high, *low]), payload),
            (true, _) => return,
        };
        let pt = header.payload_type - u8::from(repairs);
        let Some(packet) = read(pt, header, payload) else {
            self.seen.corrupt += 1;
            return;
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
        self.waiting.insert(seq, packet);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.clear();
            self.next = None;
        }
        self.play(now);
    }

    fn play(&mut self, now: Instant) {
        loop {
            let in_order = self.next.and_then(|next| Some((next, self.frame_at(next)?)));
            let start_and_end = match in_order {
                Some(frame) if self.follows(frame.0) => Some(frame),
                _ => self.keyframe_to_skip_to(now),
            };
            let Some((start, end)) = start_and_end else { break };
            self.decode(now, start, end);
        }
        let idle = self.waiting.is_empty() && self.next.is_some();
        self.blocked_since = if idle { None } else { self.blocked_since.or(Some(now)) };
    }

    /// The last packet of the frame that starts there, if all of it is here.
    fn frame_at(&self, start: SeqNo) -> Option<SeqNo> {
        let first = self.waiting.get(&start).filter(|packet| packet.starts)?;
        let mut at = start;
        loop {
            let packet = self.waiting.get(&at).filter(|packet| packet.timestamp == first.timestamp)?;
            if packet.marker {
                return Some(at);
            }
            at = at.plus(1);
        }
    }

    /// Whether a decoder takes the frame that starts there as the successor of the last one.
    fn follows(&self, start: SeqNo) -> bool {
        let Some(packet) = self.waiting.get(&start) else { return false };
        packet.keyframe
            || match (self.last.and_then(|last| last.picture), packet.picture) {
                (Some(last), Some(picture)) => picture == following(last),
                (None, None) => self.last.is_some(),
                _ => false,
            }
    }

    /// The next whole keyframe, unless it is too early to give up what comes before.
    fn keyframe_to_skip_to(&self, now: Instant) -> Option<(SeqNo, SeqNo)> {
        let starts = self.waiting.iter().filter(|(_, packet)| packet.starts && packet.keyframe);
        let (start, end) = starts.map(|(start, _)| *start).find_map(|at| Some((at, self.frame_at(at)?)))?;
        let waited = self.blocked_since.is_some_and(|since| now >= since + SKIP_AFTER);
        let nothing_missing = self.next.is_none() || self.missing.range(..start).next().is_none();
        (waited || nothing_missing).then_some((start, end))
    }

    fn decode(&mut self, now: Instant, start: SeqNo, end: SeqNo) {
        let first = self.waiting[&start];
        let in_sequence = self.next == Some(start);
        let whole = self
            .waiting
            .range(start..=end)
            .enumerate()
            .all(|(at, (_, packet))| packet.truth == Truth { at: at as u16, ..first.truth });
        let all = start.distance_to(end) + 1 == i64::from(first.truth.of);
        let mut sound = whole && all && first.keyframe == first.truth.keyframe;
        if let Some(last) = self.last {
            let successor =
                last.truth.layer == first.truth.layer && last.truth.frame + 1 == first.truth.frame;
            sound &= first.keyframe || successor;
            if let (true, Some(last), Some(picture)) = (in_sequence, last.picture, first.picture) {
                self.seen.picture_breaks += u64::from(picture != following(last));
            }
            let moved = first.timestamp.wrapping_sub(last.timestamp) as i32;
            let captured = first.truth.ticks.wrapping_sub(last.truth.ticks) as i32;
            // A switch sets the clock by the time at which the keyframe comes, and what came before may have been late.
            // What newcomers get of the past passes in a moment.
            let slack = if first.keyframe { CLOCK_SLACK_TICKS } else { 0 };
            let right = moved > 0 && (moved.abs_diff(captured) <= slack || moved == HASTENED_TICKS);
            self.seen.clock_breaks += u64::from(!right);
            self.seen.longest_gap = self.seen.longest_gap.max(now - last.at);
        } else {
            sound &= first.keyframe;
        }
        self.seen.corrupt += u64::from(!sound);
        self.seen.frames += 1;
        self.seen.keyframes += u64::from(first.keyframe);
        self.seen.first_at.get_or_insert(now);
        self.seen.last_at = Some(now);
        if self.seen.layers.last().is_none_or(|(_, layer)| *layer != first.truth.layer) {
            self.seen.layers.push((now, first.truth.layer));
        }
        self.seen.sizes.extend(first.size.filter(|size| self.seen.sizes.last() != Some(size)));
        let Packet { timestamp, picture, truth, .. } = first;
        self.last = Some(Decoded { at: now, timestamp, picture, truth });
        let next = end.plus(1);
        self.next = Some(next);
        self.waiting = self.waiting.split_off(&next);
        self.missing = self.missing.split_off(&next);
        self.blocked_since = None;
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

fn following((picture, tl0): (u16, u8)) -> (u16, u8) {
    ((picture + 1) & 0x7fff, tl0.wrapping_add(1))
}

fn read(pt: u8, header: &rtp::RtpHeader, payload: &[u8]) -> Option<Packet> {
    let (starts, keyframe, picture, mut rest) = match (pt, payload) {
        (VP8, [first, 0xe0, high, low, tl0, _, frame, rest @ ..]) => {
            let picture = u16::from_be_bytes([*high, *low]) & 0x7fff;
            let starts = first & 0x10 != 0;
            (starts, starts && frame & 1 == 0, Some((picture, *tl0)), rest)
        }
        (H264, [0x7c, fragment, rest @ ..]) => {
            let starts = fragment & 0x80 != 0;
            (starts, starts && fragment & 0x1f == 5, None, rest)
        }
        (H264, [unit, rest @ ..]) => (true, unit & 0x1f == 5, None, rest),
        _ => return None,
    };
    let mut size = None;
    if pt == VP8
        && starts
        && keyframe
        && let Some(sized) = rest.strip_prefix(&VP8_KEYFRAME[1..])
        && let Some(([w0, w1, h0, h1], after)) = sized.split_first_chunk()
    {
        size = Some((u16::from_le_bytes([*w0, *w1]), u16::from_le_bytes([*h0, *h1])));
        rest = after;
    }
    let truth = Truth::read(rest)?;
    Some(Packet {
        timestamp: header.timestamp,
        marker: header.marker,
        starts,
        keyframe,
        picture,
        size,
        truth,
    })
}
