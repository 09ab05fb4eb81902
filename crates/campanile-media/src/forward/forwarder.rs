//! One subscription: several streams of one source, made into one with continuous numbers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::gate::{Gate, SentFrames};
use super::history::StoredPacket;
use super::layer::{Layer, SPATIAL_LAYERS};
use super::payload::PayloadInfo;
use super::write::{Offsets, Rewritten};
use crate::units::{SeqNo, video_ticks};

#[cfg(test)]
mod tests;

/// Runs remembered for repairs. With every second frame left out of 30 a second there are 15 runs a second, so this is
/// longer than any receiver asks back.
const RUNS_MAX: usize = 64;
/// For so long a keyframe is repaired, though another has followed.
const KEYFRAME_REPAIRED: Duration = Duration::from_secs(1);
/// One picture at 30 per second, in 90 kHz ticks: the least that a switch moves the clock on.
const PICTURE_TICKS_MIN: u32 = 3000;
/// What a replayed picture moves the clock on, or one sent again in another size: its receiver shall not wait to show it.
const REPLAYED_TICKS: u32 = 90;

/// Serves one subscription with one outgoing stream: fixed SSRC, sequence numbers without gaps of its own making,
/// timestamps and picture numbers that run on across every switch, so that a decoder never notices.
///
/// Another stream begins at a keyframe, and so does a larger picture. Temporal layers are taken up where the encoder
/// says that it can be done, and dropped at any frame.
#[derive(Debug)]
pub struct Forwarder {
    /// SSRC of the outgoing stream.
    pub ssrc: u32,
    /// SSRC of its retransmissions (RFC 4588).
    pub rtx_ssrc: u32,
    target: Option<Layer>,
    current: Option<Current>,
    /// In the order of their outgoing numbers; with a `current`, the last is of its stream.
    runs: VecDeque<Run>,
    next_seq: SeqNo,
    last_timestamp: u32,
    last_sent: Option<Instant>,
    last_picture_id: Option<u16>,
    last_tl0_picture: Option<u8>,
    last_frame_number: Option<u16>,
    /// The outgoing number that the last keyframe began with, and when it was sent; what is repaired begins there.
    last_keyframe: Option<(SeqNo, Instant)>,
    is_replaying: bool,
    packets_sent: u32,
    bytes_sent: u32,
}

/// The stream being sent.
#[derive(Clone, Copy, Debug)]
struct Current {
    gate: Gate,
    /// As [`StoredPacket::codec`]: another codec in the same stream begins at its keyframe, as another stream does.
    codec: usize,
    /// The publisher's number after the highest seen.
    next_in: SeqNo,
    /// The publisher's timestamp of the picture under way.
    timestamp: u32,
    /// The last run has been closed by packets left out.
    is_skipping: bool,
    /// Pictures left out since then, and what the last of their packets said.
    pictures_skipped: u16,
    last_skipped: PayloadInfo,
    /// The picture should have another size, but nothing in the stream has allowed it.
    awaits_keyframe: bool,
    /// The frames sent lately, where frames are described.
    sent: SentFrames,
}

impl Current {
    fn is_of(&self, stream: u32, packet: &StoredPacket) -> bool {
        self.gate.layer.stream == stream && self.codec == packet.codec
    }
}

/// Consecutive packets of one stream that got consecutive outgoing numbers.
#[derive(Clone, Copy, Debug)]
struct Run {
    gate: Gate,
    /// It begins with another gate than the run before.
    is_switch: bool,
    first_in: SeqNo,
    /// The publisher's number after its last.
    end_in: SeqNo,
    first_out: SeqNo,
    timestamp_offset: u32,
    offsets: Offsets,
}

impl Forwarder {
    /// A subscription that sends nothing yet. `first_seq` should be random (RFC 3550 section 5.1).
    pub fn new(ssrc: u32, rtx_ssrc: u32, first_seq: u16) -> Forwarder {
        Forwarder {
            ssrc,
            rtx_ssrc,
            target: None,
            current: None,
            runs: VecDeque::new(),
            next_seq: SeqNo::first(first_seq),
            last_timestamp: 0,
            last_sent: None,
            last_picture_id: None,
            last_tl0_picture: None,
            last_frame_number: None,
            last_keyframe: None,
            is_replaying: false,
            packets_sent: 0,
            bytes_sent: 0,
        }
    }

    /// Sets what to send, from the next place on where that is possible; until then the current goes on. `None` stops
    /// at once.
    pub fn set_target(&mut self, target: Option<Layer>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    /// The stream has begun anew: nothing more of it is sent before its next keyframe, and nothing of it repaired.
    pub fn restart(&mut self, stream: u32) {
        self.runs.retain(|run| run.gate.layer.stream != stream);
        if self.current.is_some_and(|current| current.gate.layer.stream == stream) {
            self.current = None;
        }
    }

    /// Whether a stream was sent last that has stopped, and another is to follow.
    pub fn has_left(&self) -> bool {
        let last = self.runs.back().map(|run| run.gate.layer.stream);
        let next = self.target.map(|target| target.stream);
        self.current.is_none() && last.zip(next).is_some_and(|(last, next)| last != next)
    }

    /// Forgets what was sent once it has stopped: none of it is repaired any more.
    pub fn forget(&mut self) {
        self.current = None;
        self.runs.clear();
    }

    /// The stream of which a keyframe is awaited.
    pub fn awaits_keyframe_of(&self) -> Option<u32> {
        let target = self.target?;
        let goes_on = self
            .current
            .is_some_and(|current| current.gate.layer.stream == target.stream && !current.awaits_keyframe);
        (!goes_on).then_some(target.stream)
    }

    /// Whether it sends this stream, or is to send it from its next keyframe on.
    pub fn takes(&self, stream: u32) -> bool {
        [self.target, self.current()].into_iter().flatten().any(|layer| layer.stream == stream)
    }

    /// What is being sent.
    pub fn current(&self) -> Option<Layer> {
        self.current.map(|current| current.gate.layer)
    }

    /// Whether a stream would begin with this packet, if it were offered now. What has overtaken it is to follow.
    pub fn begins_with(&self, stream: u32, packet: &StoredPacket) -> bool {
        let can_begin = packet.info.starts_keyframe && !packet.info.is_too_large;
        // Of a keyframe that brings another size the rest may have come first, and passed for a picture of the old one.
        let is_overtaken = |current: Current| {
            current.awaits_keyframe && packet.seq < current.next_in && packet.timestamp == current.timestamp
        };
        can_begin
            && self.target.is_some_and(|target| target.stream == stream)
            && !self.current.is_some_and(|current| current.is_of(stream, packet) && !is_overtaken(current))
    }

    /// Offers one packet of one of the source's streams; returns its outgoing numbers if it is to be sent.
    pub fn offer(&mut self, now: Instant, stream: u32, packet: &StoredPacket) -> Option<Rewritten> {
        if let Some(target) = self.target.filter(|_| self.begins_with(stream, packet)) {
            self.begin(now, target, packet);
        }
        let current = self.current.filter(|current| current.is_of(stream, packet))?;
        let rewritten = if packet.seq < current.next_in {
            let rewritten = self.late(stream, packet)?;
            self.note_late(packet, rewritten);
            rewritten
        } else {
            self.next(now, current, packet)?
        };
        if !rewritten.is_filler {
            let is_newer = rewritten.timestamp.wrapping_sub(self.last_timestamp) as i32 >= 0;
            if is_newer || self.last_sent.is_none() {
                (self.last_timestamp, self.last_sent) = (rewritten.timestamp, Some(now));
            }
            self.packets_sent = self.packets_sent.wrapping_add(1);
            self.bytes_sent = self.bytes_sent.wrapping_add(packet.payload.len() as u32);
        }
        Some(rewritten)
    }

    /// Begins a stream, or begins it again, with packets of the past: a keyframe and all that has followed. What is to be
    /// sent of them goes to `send`; afterwards [`offer`](Self::offer) goes on.
    pub fn replay<'a>(
        &mut self,
        now: Instant,
        stream: u32,
        packets: impl Iterator<Item = &'a StoredPacket>,
        mut send: impl FnMut(Rewritten, &StoredPacket),
    ) {
        self.current = None;
        self.is_replaying = true;
        for packet in packets {
            if let Some(rewritten) = self.offer(now, stream, packet) {
                send(rewritten, packet);
            }
        }
        self.is_replaying = false;
    }

    /// Begins another stream, or the same one again, at the keyframe whose first packet this is.
    fn begin(&mut self, now: Instant, target: Layer, packet: &StoredPacket) {
        let goes_on = self.current.is_some_and(|current| current.is_of(target.stream, packet));
        let (timestamp_offset, offsets) = match self.runs.back().filter(|_| goes_on) {
            Some(run) => run.offsets_of_same_picture(),
            None => self.offsets_after_last(now, packet),
        };
        let gate = Gate::at_keyframe(target, packet);
        self.last_keyframe = Some((self.next_seq, now));
        self.push(Run {
            gate,
            is_switch: true,
            first_in: packet.seq,
            end_in: packet.seq,
            first_out: self.next_seq,
            timestamp_offset,
            offsets,
        });
        self.current = Some(Current {
            gate,
            codec: packet.codec,
            next_in: packet.seq,
            timestamp: packet.timestamp,
            is_skipping: false,
            pictures_skipped: 0,
            last_skipped: PayloadInfo::default(),
            awaits_keyframe: false,
            sent: SentFrames::default(),
        });
    }

    /// What makes this packet's numbers follow those sent last, and its timestamp that of the last as time has passed.
    fn offsets_after_last(&self, now: Instant, packet: &StoredPacket) -> (u32, Offsets) {
        let timestamp = match self.last_sent {
            None => packet.timestamp,
            Some(last) => {
                let elapsed = video_ticks(now.saturating_duration_since(last));
                self.last_timestamp.wrapping_add(elapsed.max(PICTURE_TICKS_MIN))
            }
        };
        let numbers = packet.info.numbers;
        let follow = |last: Option<u16>, first: Option<u16>| match (last, first) {
            (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first),
            _ => 0,
        };
        let offsets = Offsets {
            picture_id: follow(self.last_picture_id, numbers.picture_id.map(|(_, id, _)| id)),
            tl0_picture: follow(
                self.last_tl0_picture.map(u16::from),
                numbers.tl0_picture.map(|(_, id)| u16::from(id)),
            ) as u8,
            frame_number: follow(
                self.last_frame_number,
                packet.info.described.map(|described| described.frame_number),
            ),
        };
        (timestamp.wrapping_sub(packet.timestamp), offsets)
    }

    fn push(&mut self, run: Run) {
        if self.runs.len() == RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// The next packet of the current stream, or one further ahead.
    fn next(&mut self, now: Instant, mut current: Current, packet: &StoredPacket) -> Option<Rewritten> {
        let info = &packet.info;
        let begins_picture = info.begins_frame && packet.timestamp != current.timestamp;
        let target = self.target.filter(|target| target.stream == current.gate.layer.stream);
        let mut gate = current.gate;
        if info.begins_frame {
            let wished = target.unwrap_or(gate.layer);
            gate = gate.switched(wished, packet, begins_picture, &current.sent);
            if begins_picture {
                current.awaits_keyframe = gate.wants_size(wished, packet);
            }
        }
        if info.starts_keyframe && begins_picture {
            current.sent = SentFrames::default();
        }
        current.timestamp = packet.timestamp;
        let missing_from = current.next_in;
        current.next_in = packet.seq.plus(1);
        let mut run = *self.runs.back()?;
        let is_end_of_skipped = missing_from == packet.seq || follows(&current.last_skipped, info);
        if current.is_skipping && !is_end_of_skipped {
            // Whole frames may be missing here, and have to be sent should they come: they keep numbers for that.
            run = self.resume(&mut current, missing_from)?;
        }
        let rewritten = if gate.includes(info) {
            if current.is_skipping {
                current.gate = gate;
                run = self.resume(&mut current, packet.seq)?;
            } else if gate != run.gate {
                // What is missing before this picture belongs to the last one.
                self.runs.back_mut()?.end_in = packet.seq;
                let (first_in, first_out) = (packet.seq, run.out(packet.seq));
                run = Run { gate, is_switch: true, first_in, end_in: first_in, first_out, ..run };
                self.push(run);
            }
            if self.is_replaying && begins_picture {
                run = self.hasten(run, packet)?;
            }
            // Where others ask for one after another, there is still time for the repair of this.
            let is_soon = self.last_keyframe.is_some_and(|(_, at)| now < at + KEYFRAME_REPAIRED);
            if info.starts_keyframe && begins_picture && !is_soon {
                self.last_keyframe = Some((run.out(packet.seq), now));
            }
            let rewritten = run.rewrite(packet);
            run.end_in = current.next_in;
            let numbers = info.numbers;
            self.last_picture_id =
                numbers.picture_id.map(|(_, id, _)| id.wrapping_add(run.offsets.picture_id));
            self.last_tl0_picture =
                numbers.tl0_picture.map(|(_, id)| id.wrapping_add(run.offsets.tl0_picture));
            self.last_frame_number = info.described.map(|described| {
                current.sent.add(described.frame_number);
                described.frame_number.wrapping_add(run.offsets.frame_number)
            });
            Some(rewritten)
        } else {
            if !current.is_skipping {
                // What is missing before this packet may be the end of a frame that is sent.
                run.end_in = packet.seq;
                current.last_skipped = PayloadInfo::default();
            }
            let is_another = info.numbers.picture_id != current.last_skipped.numbers.picture_id;
            if info.numbers.gapless && is_another {
                current.pictures_skipped = current.pictures_skipped.wrapping_add(1);
            }
            (current.is_skipping, current.last_skipped) = (true, *info);
            None
        };
        self.next_seq = self.next_seq.max(run.out(run.end_in));
        *self.runs.back_mut()? = run;
        current.gate = gate;
        self.current = Some(current);
        rewritten
    }

    /// Goes on after packets left out, with this number of the publisher's as the next to be sent.
    fn resume(&mut self, current: &mut Current, first_in: SeqNo) -> Option<Run> {
        let mut run = *self.runs.back()?;
        run.is_switch = current.gate != run.gate;
        run.gate = current.gate;
        run.offsets.picture_id = run.offsets.picture_id.wrapping_sub(current.pictures_skipped);
        (run.first_in, run.end_in, run.first_out) = (first_in, first_in, self.next_seq);
        (current.is_skipping, current.pictures_skipped) = (false, 0);
        self.push(run);
        Some(run)
    }

    /// Goes on with a picture of the past, right after the one before.
    fn hasten(&mut self, mut run: Run, packet: &StoredPacket) -> Option<Run> {
        if run.first_in != packet.seq {
            self.runs.back_mut()?.end_in = packet.seq;
            let (first_in, first_out) = (packet.seq, run.out(packet.seq));
            run = Run { is_switch: false, first_in, end_in: first_in, first_out, ..run };
            self.push(run);
        }
        let timestamp = self.last_timestamp.wrapping_add(REPLAYED_TICKS);
        run.timestamp_offset = timestamp.wrapping_sub(packet.timestamp);
        Some(run)
    }

    /// A packet that comes after its successors: it has a number if it had been expected to be sent.
    fn late(&self, stream: u32, packet: &StoredPacket) -> Option<Rewritten> {
        let holds = |run: &&Run| run.gate.layer.stream == stream && run.first_in <= packet.seq;
        let run = self.runs.iter().rev().find(holds).filter(|run| packet.seq < run.end_in)?;
        Some(run.rewrite(packet))
    }

    /// The packet may be of a later frame than all that came in time, and what begins next must not take its numbers again.
    fn note_late(&mut self, packet: &StoredPacket, Rewritten { offsets, is_filler, .. }: Rewritten) {
        if is_filler {
            return;
        }
        if let (Some(last), Some((_, id, is_wide))) =
            (&mut self.last_picture_id, packet.info.numbers.picture_id)
        {
            let (id, half) = (id.wrapping_add(offsets.picture_id), if is_wide { 0x4000 } else { 0x40 });
            if (1..half).contains(&(id.wrapping_sub(*last) & (2 * half - 1))) {
                *last = id;
            }
        }
        if let (Some(last), Some((_, id))) = (&mut self.last_tl0_picture, packet.info.numbers.tl0_picture) {
            let id = id.wrapping_add(offsets.tl0_picture);
            if id.wrapping_sub(*last) as i8 > 0 {
                *last = id;
            }
        }
        if let (Some(last), Some(described)) = (&mut self.last_frame_number, packet.info.described) {
            let number = described.frame_number.wrapping_add(offsets.frame_number);
            if number.wrapping_sub(*last) as i16 > 0 {
                *last = number;
            }
        }
    }

    /// Finds what an outgoing number stands for: the stream, the publisher's number, and how to rewrite it again.
    /// `None` for numbers never sent or long forgotten.
    pub fn find(&self, seq: u16) -> Option<(u32, SeqNo, impl Fn(&StoredPacket) -> Rewritten + use<>)> {
        let seq = self.next_seq.plus(-1).extend(seq);
        let run = *self.runs.iter().rev().find(|run| run.first_out <= seq)?;
        let original = run.first_in.plus(run.first_out.distance_to(seq));
        let is_of_run = original < run.end_in;
        is_of_run
            .then_some((run.gate.layer.stream, original, move |packet: &StoredPacket| run.rewrite(packet)))
    }

    /// Whether what had this outgoing number came before a keyframe that was sent, with which its receiver can go on.
    pub fn is_outdated(&self, seq: u16) -> bool {
        self.last_keyframe.is_some_and(|(keyframe, _)| self.next_seq.plus(-1).extend(seq) < keyframe)
    }

    /// For a sender report: the last timestamp sent and when, packets and payload bytes sent (RFC 3550 6.4.1).
    pub fn sent(&self) -> Option<(u32, Instant, u32, u32)> {
        Some((self.last_timestamp, self.last_sent?, self.packets_sent, self.bytes_sent))
    }
}

/// Whether all that is missing between two packets belongs to what the first of them belongs to, as far as they tell.
fn follows(before: &PayloadInfo, after: &PayloadInfo) -> bool {
    if let (Some(before), Some(after_described)) = (before.described, after.described) {
        let step = after_described.frame_number.wrapping_sub(before.frame_number);
        return step == 0 || step == 1 && after.begins_frame;
    }
    let (Some((_, before_id, is_wide)), Some((_, id, _))) =
        (before.numbers.picture_id, after.numbers.picture_id)
    else {
        return false;
    };
    // In a picture the larger sizes come last, and are left out with the smaller.
    let step = id.wrapping_sub(before_id) & if is_wide { 0x7fff } else { 0x7f };
    step == 0 || step == 1 && after.begins_frame && after.spatial == 0
}

impl Run {
    fn out(&self, seq: SeqNo) -> SeqNo {
        self.first_out.plus(self.first_in.distance_to(seq))
    }

    /// What makes a picture follow itself: its smaller sizes may have been sent as part of this run, or will be repaired so.
    fn offsets_of_same_picture(&self) -> (u32, Offsets) {
        let offsets = Offsets {
            picture_id: self.offsets.picture_id.wrapping_add(1),
            tl0_picture: self.offsets.tl0_picture.wrapping_add(1),
            frame_number: self.offsets.frame_number.wrapping_add(SPATIAL_LAYERS as u16),
        };
        (self.timestamp_offset.wrapping_add(REPLAYED_TICKS), offsets)
    }

    fn rewrite(&self, packet: &StoredPacket) -> Rewritten {
        Rewritten {
            seq: self.out(packet.seq).wire(),
            timestamp: packet.timestamp.wrapping_add(self.timestamp_offset),
            marker: packet.marker || self.gate.ends_picture(&packet.info),
            is_filler: !self.gate.includes(&packet.info),
            offsets: self.offsets,
            active: self.gate.active_targets(packet, self.is_switch && packet.seq == self.first_in),
        }
    }
}
