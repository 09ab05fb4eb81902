//! One subscription: several streams of one source, made into one with continuous numbers.

use std::collections::VecDeque;
use std::time::Instant;

use super::gate::{Gate, SentFrames};
use super::history::StoredPacket;
use super::layer::Layer;
use super::payload::PayloadInfo;
use super::write::{Offsets, Rewritten};
use crate::units::{SeqNo, video_ticks};

/// Runs remembered for repairs. With every second frame left out of 30 a second there are 15 runs a second, so this is
/// longer than any receiver asks back.
const RUNS_MAX: usize = 64;
/// One picture at 30 per second, in 90 kHz ticks: the least that a switch moves the clock on.
const PICTURE_TICKS_MIN: u32 = 3000;
/// What a replayed picture moves the clock on: it is past already, and its receiver shall not wait to show it.
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
    /// The outgoing number that the last keyframe began with.
    last_keyframe: Option<SeqNo>,
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
        can_begin
            && self.target.is_some_and(|target| target.stream == stream)
            && !self.current.is_some_and(|current| current.is_of(stream, packet))
    }

    /// Offers one packet of one of the source's streams; returns its outgoing numbers if it is to be sent.
    pub fn offer(&mut self, now: Instant, stream: u32, packet: &StoredPacket) -> Option<Rewritten> {
        if let Some(target) = self.target.filter(|_| self.begins_with(stream, packet)) {
            self.begin(now, target, packet);
        }
        let current = self.current.filter(|current| current.is_of(stream, packet))?;
        let rewritten = if packet.seq < current.next_in {
            self.late(stream, packet)?
        } else {
            self.next(current, packet)?
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
        let gate = Gate::at_keyframe(target, packet);
        self.last_keyframe = Some(self.next_seq);
        self.push(Run {
            gate,
            is_switch: true,
            first_in: packet.seq,
            end_in: packet.seq,
            first_out: self.next_seq,
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
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

    fn push(&mut self, run: Run) {
        if self.runs.len() == RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// The next packet of the current stream, or one further ahead.
    fn next(&mut self, mut current: Current, packet: &StoredPacket) -> Option<Rewritten> {
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
            if info.starts_keyframe && begins_picture {
                self.last_keyframe = Some(run.out(packet.seq));
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

    /// Whether what had this outgoing number came before the last keyframe that was sent, with which its receiver can go on.
    pub fn is_outdated(&self, seq: u16) -> bool {
        self.last_keyframe.is_some_and(|keyframe| self.next_seq.plus(-1).extend(seq) < keyframe)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forward::payload::PayloadInfo;
    use crate::forward::{PictureNumbers, VideoCodec, inspect, write_copy};
    use crate::rtp::RtpHeader;
    use crate::test_start as start;

    /// A VP8 packet with a 15-bit picture id and TL0PICIDX.
    fn vp8(seq: u16, timestamp: u32, picture: u16, tl0: u8, keyframe: bool) -> StoredPacket {
        layered_vp8(seq, timestamp, (picture, tl0), 0x20, keyframe)
    }

    /// The same, with its temporal layer: TID, Y, KEYIDX.
    fn layered_vp8(
        seq: u16,
        timestamp: u32,
        (picture, tl0): (u16, u8),
        layer: u8,
        keyframe: bool,
    ) -> StoredPacket {
        let id = (0x8000 | picture).to_be_bytes();
        let payload = vec![0x90, 0xe0, id[0], id[1], tl0, layer, if keyframe { 0 } else { 1 }];
        let info = inspect(VideoCodec::Vp8, &payload);
        assert_eq!(info.starts_keyframe, keyframe);
        let seq = SeqNo::first(seq);
        StoredPacket {
            seq,
            at: start(),
            timestamp,
            marker: true,
            payload,
            info,
            codec: 0,
            orientation: None,
            descriptor: Vec::new(),
            structure: None,
        }
    }

    /// What the subscriber finds in its copy.
    fn written(numbers: Rewritten, packet: &StoredPacket) -> PayloadInfo {
        let mut out = Vec::new();
        write_copy(&mut out, 1, 96, &[], numbers, packet);
        let header = RtpHeader::parse(&out).expect("an RTP packet");
        inspect(VideoCodec::Vp8, &out[header.payload])
    }

    #[test]
    fn a_subscriber_begins_at_a_keyframe() {
        let mut forwarder = Forwarder::new(1, 2, 100);
        let now = start();
        forwarder.set_target(Some(Layer::whole(11)));
        assert_eq!(forwarder.offer(now, 11, &vp8(5, 0, 1, 1, false)), None);
        assert_eq!(forwarder.awaits_keyframe_of(), Some(11));
        assert_eq!(forwarder.offer(now, 12, &vp8(5, 0, 1, 1, true)), None, "another stream's keyframe");
        assert_eq!((forwarder.takes(11), forwarder.takes(12)), (true, false), "before it sends, too");
        assert_eq!(forwarder.offer(now, 11, &vp8(6, 0, 2, 2, true)).map(|r| r.seq), Some(100));
        assert_eq!(forwarder.awaits_keyframe_of(), None);
        assert_eq!(
            forwarder.offer(now, 11, &vp8(8, 0, 3, 3, false)).map(|r| r.seq),
            Some(102),
            "a loss stays a gap"
        );
        assert_eq!(forwarder.offer(now, 11, &vp8(7, 0, 2, 2, false)).map(|r| r.seq), Some(101));
        assert_eq!(forwarder.offer(now, 11, &vp8(4, 0, 0, 0, false)), None, "from before the keyframe");
    }

    #[test]
    fn a_switch_leaves_no_seam() {
        let mut forwarder = Forwarder::new(1, 2, 65_535);
        let now = start();
        forwarder.set_target(Some(Layer::whole(11)));
        forwarder.offer(now, 11, &vp8(6, 90_000, 0x7fff, 255, true));
        forwarder.set_target(Some(Layer::whole(12)));
        let later = now + Duration::from_millis(66);
        assert!(
            forwarder.offer(later, 11, &vp8(7, 95_940, 0x0000, 0, false)).is_some(),
            "the old one goes on"
        );
        assert!(forwarder.takes(11) && forwarder.takes(12), "either matters until the switch");
        let packet = vp8(900, 1, 500, 9, true);
        let numbers = forwarder.offer(later + Duration::from_millis(40), 12, &packet).expect("switches");
        assert_eq!((numbers.seq, numbers.timestamp), (1, 95_940 + 3600));
        let seen = written(numbers, &packet).numbers;
        assert_eq!((seen.picture_id, seen.tl0_picture), (Some((2, 1, true)), Some((4, 1))));
        assert!(!forwarder.takes(11));
        assert_eq!(forwarder.offer(later, 11, &vp8(8, 0, 1, 1, false)), None, "the old one has ended");
    }

    #[test]
    fn left_out_frames_leave_no_gap() {
        // Three temporal layers: 0 2 1 2, the first 2 and the 1 of each round being sync frames.
        let layers = [0x20, 0xa0, 0x60, 0x80];
        let packet = |at: u16| {
            let numbers = ((0x7ff0 + at) & 0x7fff, 250u8.wrapping_add((at / 4) as u8));
            let layer = layers[usize::from(at % 4)];
            let packet = layered_vp8(0, 3000 * u32::from(at), numbers, layer, at == 0);
            StoredPacket { seq: SeqNo::first(65_530).plus(i64::from(at)), ..packet }
        };
        let mut forwarder = Forwarder::new(1, 2, 65_534);
        let mut sent = Vec::new();
        for at in 0..60 {
            let temporal = [7, 0, 1, 7][usize::from(at / 16)];
            forwarder.set_target(Some(Layer { temporal, ..Layer::whole(11) }));
            let Some(numbers) = forwarder.offer(start(), 11, &packet(at)) else { continue };
            sent.push((at, numbers.seq, written(numbers, &packet(at)).numbers));
        }
        let chosen: Vec<_> = sent.iter().map(|(at, ..)| *at).collect();
        let expected: Vec<u16> = (0..60)
            .filter(|at| match at {
                16..32 => at % 4 == 0,
                32..48 => at % 2 == 0,
                _ => true,
            })
            .collect();
        assert_eq!(chosen, expected);
        for (before, after) in sent.iter().zip(&sent[1..]) {
            assert_eq!(after.1, before.1.wrapping_add(1), "packet {}", after.0);
            let id =
                |sent: &(u16, u16, PictureNumbers)| sent.2.picture_id.map(|(_, id, _)| id).expect("an id");
            assert_eq!(id(after), (id(before) + 1) & 0x7fff, "picture {}", after.0);
        }
        // Every repair still finds its packet.
        for (at, seq, _) in &sent {
            let (_, original, _) = forwarder.find(*seq).expect("sent");
            assert_eq!(original.wire(), packet(*at).seq.wire());
        }
    }

    #[test]
    fn a_late_packet_of_a_left_out_frame_is_sent_empty() {
        let mut forwarder = Forwarder::new(1, 2, 100);
        forwarder.set_target(Some(Layer { temporal: 0, ..Layer::whole(11) }));
        let packet = |at: u16| {
            layered_vp8(
                at,
                3000 * u32::from(at),
                (at, at as u8),
                if at.is_multiple_of(2) { 0x20 } else { 0x60 },
                at == 0,
            )
        };
        let mut offer = |at| forwarder.offer(start(), 11, &packet(at)).map(|sent| (sent.seq, sent.is_filler));
        assert_eq!(offer(0), Some((100, false)));
        // 1 and 2 are missing: either may be needed.
        assert_eq!(offer(3), None);
        assert_eq!(offer(4), Some((103, false)));
        assert_eq!(offer(1), Some((101, true)));
        assert_eq!(offer(2), Some((102, false)));
        assert_eq!(offer(3), None, "left out for good");
    }

    #[test]
    fn a_replay_passes_in_a_moment_and_goes_on_at_the_streams_own_pace() {
        let mut forwarder = Forwarder::new(1, 2, 100);
        let now = start();
        forwarder.set_target(Some(Layer { temporal: 0, ..Layer::whole(11) }));
        // Two packets a picture, every second picture of the upper temporal layer.
        let packet = |at: u16| {
            let picture = at / 2;
            let layer = if picture.is_multiple_of(2) { 0x20 } else { 0x60 };
            let numbers = (picture, picture as u8);
            let mut packet = layered_vp8(at, 3000 * u32::from(picture), numbers, layer, at == 0);
            packet.info.begins_frame = at.is_multiple_of(2);
            packet
        };
        let past: Vec<_> = (0..12).map(packet).collect();
        let mut sent = Vec::new();
        for at in 0..2 {
            // Once more, as for a receiver that missed the first.
            sent.clear();
            forwarder.replay(now + Duration::from_secs(at), 11, past.iter(), |numbers, packet| {
                sent.push((numbers.seq, numbers.timestamp, packet.seq.wire()));
            });
        }
        let first = sent[0].1;
        let expected: Vec<_> =
            [0, 1, 4, 5, 8, 9].iter().zip(0..).map(|(seq, at)| (106 + at, at / 2, *seq)).collect();
        let seen: Vec<_> =
            sent.iter().map(|(out, time, seq)| (*out, ((time - first) / 90) as u16, *seq)).collect();
        assert_eq!(seen, expected);
        assert_eq!(first, 90 * 2 + 90_000, "a second after the first time");
        // Late packets, repairs, and what is live.
        let check = |seq: u16, expected: u16| {
            assert_eq!(forwarder.find(seq).map(|(_, original, _)| original.wire()), Some(expected), "{seq}");
        };
        for (out, _, seq) in &sent {
            check(*out, *seq);
        }
        let mut live = |at| {
            forwarder.offer(now, 11, &packet(at)).map(|numbers| (numbers.seq, numbers.timestamp - first))
        };
        assert_eq!(live(12), Some((112, 180 + 6000)), "as long after the last as it was taken");
        assert_eq!(live(13), Some((113, 180 + 6000)));
        assert_eq!(live(14), None);
    }

    #[test]
    fn a_repair_finds_the_publishers_packet() {
        let mut forwarder = Forwarder::new(1, 2, 10);
        let now = start();
        forwarder.set_target(Some(Layer::whole(11)));
        for seq in 100..105 {
            forwarder.offer(now, 11, &vp8(seq, 0, 1, 1, seq == 100));
        }
        forwarder.set_target(Some(Layer::whole(12)));
        for seq in 7..9 {
            forwarder.offer(now, 12, &vp8(seq, 0, 1, 1, seq == 7));
        }
        let check = |seq, expected: Option<(u32, u16)>| {
            assert_eq!(forwarder.find(seq).map(|(s, n, _)| (s, n.wire())), expected, "{seq}");
        };
        check(10, Some((11, 100)));
        check(14, Some((11, 104)));
        check(15, Some((12, 7)));
        check(16, Some((12, 8)));
        check(17, None);
        check(9, None);
    }

    #[test]
    fn what_came_before_the_last_keyframe_is_outdated() {
        let mut forwarder = Forwarder::new(1, 2, 65_534);
        let now = start();
        let outdated = |forwarder: &Forwarder| {
            [65_534, 65_535, 0, 1, 2]
                .map(|seq| forwarder.is_outdated(seq))
                .into_iter()
                .filter(|is| *is)
                .count()
        };
        assert_eq!(outdated(&forwarder), 0, "nothing was sent");
        forwarder.set_target(Some(Layer::whole(11)));
        forwarder.offer(now, 11, &vp8(7, 0, 1, 1, true));
        forwarder.offer(now, 11, &vp8(8, 3000, 2, 2, false));
        assert_eq!(outdated(&forwarder), 0);
        forwarder.offer(now, 11, &vp8(9, 6000, 3, 3, true));
        assert_eq!(outdated(&forwarder), 2, "the same stream goes on with another");
        forwarder.set_target(Some(Layer::whole(12)));
        forwarder.offer(now, 12, &vp8(500, 0, 1, 1, true));
        forwarder.offer(now, 12, &vp8(501, 3000, 2, 2, false));
        assert_eq!(outdated(&forwarder), 3, "another stream begins");
    }

    #[test]
    fn stopping_is_immediate_and_resuming_waits_for_a_keyframe() {
        let mut forwarder = Forwarder::new(1, 2, 10);
        let now = start();
        forwarder.set_target(Some(Layer::whole(11)));
        forwarder.offer(now, 11, &vp8(1, 0, 1, 1, true));
        forwarder.set_target(None);
        assert_eq!(forwarder.offer(now, 11, &vp8(2, 0, 2, 2, false)), None);
        forwarder.set_target(Some(Layer::whole(11)));
        assert_eq!(forwarder.offer(now, 11, &vp8(3, 0, 3, 3, false)), None);
        assert_eq!(forwarder.offer(now, 11, &vp8(4, 0, 4, 4, true)).map(|r| r.seq), Some(11));
    }
}
