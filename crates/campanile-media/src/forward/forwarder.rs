//! One subscription: several streams of one source, made into one with continuous numbers.

use std::collections::VecDeque;
use std::time::Instant;

use super::history::StoredPacket;
use crate::rtp;
use crate::units::{SeqNo, video_ticks};

/// Stretches remembered for repairs. A subscriber that asks further back than this many switches gets nothing.
const STRETCHES_MAX: usize = 8;
/// One picture at 30 per second, in 90 kHz ticks: the least that a switch moves the clock on.
const PICTURE_TICKS_MIN: u32 = 3000;

/// Serves one subscription with one outgoing stream: fixed SSRC, sequence numbers without gaps of its own making,
/// timestamps and VP8 picture numbers that run on across every switch, so that a decoder never notices.
#[derive(Debug)]
pub struct Forwarder {
    /// SSRC of the outgoing stream.
    pub ssrc: u32,
    /// SSRC of its retransmissions (RFC 4588).
    pub rtx_ssrc: u32,
    target: Option<u32>,
    /// The stream being sent; its stretch is the last of `stretches`.
    current: Option<u32>,
    stretches: VecDeque<Stretch>,
    next_seq: SeqNo,
    last_timestamp: u32,
    last_sent: Option<Instant>,
    last_picture_id: Option<u16>,
    last_tl0_picture: Option<u8>,
    rtx_seq: u16,
    packets_sent: u32,
    bytes_sent: u32,
}

/// The numbers of one uninterrupted run of one stream.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    stream: u32,
    first_in: SeqNo,
    first_out: SeqNo,
    timestamp_offset: u32,
    picture_id_offset: u16,
    tl0_picture_offset: u8,
}

/// The outgoing numbers of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// Outgoing sequence number.
    pub seq: u16,
    /// Outgoing timestamp.
    pub timestamp: u32,
    picture_id_offset: u16,
    tl0_picture_offset: u8,
}

impl Forwarder {
    /// A subscription that sends nothing yet. `first_seq` should be random (RFC 3550 section 5.1).
    pub fn new(ssrc: u32, rtx_ssrc: u32, first_seq: u16) -> Forwarder {
        Forwarder {
            ssrc,
            rtx_ssrc,
            target: None,
            current: None,
            stretches: VecDeque::new(),
            next_seq: SeqNo::first(first_seq),
            last_timestamp: 0,
            last_sent: None,
            last_picture_id: None,
            last_tl0_picture: None,
            rtx_seq: first_seq,
            packets_sent: 0,
            bytes_sent: 0,
        }
    }

    /// Sets the stream to send, from its next keyframe on; until then the current one goes on. `None` stops at once.
    pub fn set_target(&mut self, stream: Option<u32>) {
        self.target = stream;
        if stream.is_none() {
            self.current = None;
        }
    }

    /// The stream has begun anew: nothing more of it is sent before its next keyframe.
    pub fn restart(&mut self, stream: u32) {
        if self.current == Some(stream) {
            self.current = None;
        }
    }

    /// The stream of which a keyframe is awaited.
    pub fn awaits_keyframe_of(&self) -> Option<u32> {
        self.target.filter(|_| self.target != self.current)
    }

    /// The stream being sent.
    pub fn current(&self) -> Option<u32> {
        self.current
    }

    /// Offers one packet of one of the source's streams; returns its outgoing numbers if it is to be sent.
    pub fn offer(&mut self, now: Instant, stream: u32, packet: &StoredPacket) -> Option<Rewritten> {
        if self.target == Some(stream) && self.current != Some(stream) && packet.info.starts_keyframe {
            self.begin_stretch(now, stream, packet);
        }
        if self.current != Some(stream) {
            return None;
        }
        let stretch = *self.stretches.back()?;
        let step = stretch.first_in.distance_to(packet.seq);
        if step < 0 {
            return None; // from before the switch: its frame is of no use to this subscriber
        }
        let seq = stretch.first_out.plus(step);
        let rewritten = stretch.rewrite(seq, packet);
        if seq >= self.next_seq {
            self.next_seq = seq.plus(1);
            self.last_timestamp = rewritten.timestamp;
            self.last_sent = Some(now);
            if let Some(vp8) = packet.info.vp8 {
                self.last_picture_id =
                    vp8.picture_id.map(|(_, id, _)| id.wrapping_add(rewritten.picture_id_offset));
                self.last_tl0_picture =
                    vp8.tl0_picture.map(|(_, id)| id.wrapping_add(rewritten.tl0_picture_offset));
            }
        }
        self.packets_sent = self.packets_sent.wrapping_add(1);
        self.bytes_sent = self.bytes_sent.wrapping_add(packet.payload.len() as u32);
        Some(rewritten)
    }

    fn begin_stretch(&mut self, now: Instant, stream: u32, packet: &StoredPacket) {
        let timestamp = match self.last_sent {
            None => packet.timestamp,
            Some(last) => {
                let elapsed = video_ticks(now.saturating_duration_since(last));
                self.last_timestamp.wrapping_add(elapsed.max(PICTURE_TICKS_MIN))
            }
        };
        let vp8 = packet.info.vp8.unwrap_or_default();
        let follow = |last: Option<u16>, first: Option<u16>| match (last, first) {
            (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first),
            _ => 0,
        };
        let stretch = Stretch {
            stream,
            first_in: packet.seq,
            first_out: self.next_seq,
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
            picture_id_offset: follow(self.last_picture_id, vp8.picture_id.map(|(_, id, _)| id)),
            tl0_picture_offset: follow(
                self.last_tl0_picture.map(u16::from),
                vp8.tl0_picture.map(|(_, id)| u16::from(id)),
            ) as u8,
        };
        if self.stretches.len() == STRETCHES_MAX {
            self.stretches.pop_front();
        }
        self.stretches.push_back(stretch);
        self.current = Some(stream);
    }

    /// Finds what an outgoing number stands for: the stream, the publisher's number, and how to rewrite it again.
    /// `None` for numbers never sent or long forgotten.
    pub fn find(&self, seq: u16) -> Option<(u32, SeqNo, impl Fn(&StoredPacket) -> Rewritten + use<>)> {
        let seq = self.next_seq.plus(-1).extend(seq);
        let stretch = *self.stretches.iter().rev().find(|stretch| stretch.first_out <= seq)?;
        if seq >= self.next_seq {
            return None;
        }
        let original = stretch.first_in.plus(stretch.first_out.distance_to(seq));
        Some((stretch.stream, original, move |packet: &StoredPacket| stretch.rewrite(seq, packet)))
    }

    /// The next number of the retransmission stream.
    pub fn next_rtx_seq(&mut self) -> u16 {
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        self.rtx_seq
    }

    /// For a sender report: the last timestamp sent and when, packets and payload bytes sent (RFC 3550 6.4.1).
    pub fn sent(&self) -> Option<(u32, Instant, u32, u32)> {
        Some((self.last_timestamp, self.last_sent?, self.packets_sent, self.bytes_sent))
    }
}

impl Stretch {
    fn rewrite(&self, seq: SeqNo, packet: &StoredPacket) -> Rewritten {
        Rewritten {
            seq: seq.wire(),
            timestamp: packet.timestamp.wrapping_add(self.timestamp_offset),
            picture_id_offset: self.picture_id_offset,
            tl0_picture_offset: self.tl0_picture_offset,
        }
    }
}

/// Appends one packet to `out` as this subscriber should see it.
pub fn write_copy(
    out: &mut Vec<u8>,
    ssrc: u32,
    payload_type: u8,
    extensions: &[(u8, &[u8])],
    numbers: Rewritten,
    packet: &StoredPacket,
) {
    rtp::write_header(out, payload_type, packet.marker, numbers.seq, numbers.timestamp, ssrc, extensions);
    write_payload(out, numbers, packet);
}

/// Appends one packet to `out` as a retransmission (RFC 4588 section 4: the original number, then the payload).
pub fn write_retransmission(
    out: &mut Vec<u8>,
    rtx_ssrc: u32,
    rtx_payload_type: u8,
    rtx_seq: u16,
    extensions: &[(u8, &[u8])],
    numbers: Rewritten,
    packet: &StoredPacket,
) {
    rtp::write_header(out, rtx_payload_type, packet.marker, rtx_seq, numbers.timestamp, rtx_ssrc, extensions);
    out.extend_from_slice(&numbers.seq.to_be_bytes());
    write_payload(out, numbers, packet);
}

fn write_payload(out: &mut Vec<u8>, numbers: Rewritten, packet: &StoredPacket) {
    let start = out.len();
    out.extend_from_slice(&packet.payload);
    let Some(vp8) = packet.info.vp8 else { return };
    let payload = &mut out[start..];
    if let Some((at, id, wide)) = vp8.picture_id {
        let at = usize::from(at);
        let id = id.wrapping_add(numbers.picture_id_offset);
        if wide {
            payload[at..at + 2].copy_from_slice(&(0x8000 | id & 0x7fff).to_be_bytes());
        } else {
            payload[at] = id as u8 & 0x7f;
        }
    }
    if let Some((at, id)) = vp8.tl0_picture {
        payload[usize::from(at)] = id.wrapping_add(numbers.tl0_picture_offset);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forward::{VideoCodec, inspect};
    use crate::test_start as start;

    /// A VP8 packet with a 15-bit picture id and TL0PICIDX.
    fn vp8(seq: u16, timestamp: u32, picture: u16, tl0: u8, keyframe: bool) -> StoredPacket {
        let id = (0x8000 | picture).to_be_bytes();
        let payload = vec![0x90, 0xe0, id[0], id[1], tl0, 0x20, if keyframe { 0 } else { 1 }];
        let info = inspect(VideoCodec::Vp8, &payload);
        assert_eq!(info.starts_keyframe, keyframe);
        let seq = SeqNo::first(seq);
        StoredPacket { seq, timestamp, marker: true, payload, info, codec: 0, orientation: None }
    }

    #[test]
    fn a_subscriber_begins_at_a_keyframe() {
        let mut forwarder = Forwarder::new(1, 2, 100);
        let now = start();
        forwarder.set_target(Some(11));
        assert_eq!(forwarder.offer(now, 11, &vp8(5, 0, 1, 1, false)), None);
        assert_eq!(forwarder.awaits_keyframe_of(), Some(11));
        assert_eq!(forwarder.offer(now, 12, &vp8(5, 0, 1, 1, true)), None, "another stream's keyframe");
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
        forwarder.set_target(Some(11));
        forwarder.offer(now, 11, &vp8(6, 90_000, 0x7fff, 255, true));
        forwarder.set_target(Some(12));
        let later = now + Duration::from_millis(66);
        assert!(
            forwarder.offer(later, 11, &vp8(7, 95_940, 0x0000, 0, false)).is_some(),
            "the old one goes on"
        );
        let packet = vp8(900, 1, 500, 9, true);
        let numbers = forwarder.offer(later + Duration::from_millis(40), 12, &packet).expect("switches");
        assert_eq!((numbers.seq, numbers.timestamp), (1, 95_940 + 3600));
        let mut out = Vec::new();
        write_payload(&mut out, numbers, &packet);
        let seen = inspect(VideoCodec::Vp8, &out).vp8.expect("still VP8");
        assert_eq!((seen.picture_id, seen.tl0_picture), (Some((2, 1, true)), Some((4, 1))));
        assert_eq!(forwarder.offer(later, 11, &vp8(8, 0, 1, 1, false)), None, "the old one has ended");
    }

    #[test]
    fn a_repair_finds_the_publishers_packet() {
        let mut forwarder = Forwarder::new(1, 2, 10);
        let now = start();
        forwarder.set_target(Some(11));
        for seq in 100..105 {
            forwarder.offer(now, 11, &vp8(seq, 0, 1, 1, seq == 100));
        }
        forwarder.set_target(Some(12));
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
    fn stopping_is_immediate_and_resuming_waits_for_a_keyframe() {
        let mut forwarder = Forwarder::new(1, 2, 10);
        let now = start();
        forwarder.set_target(Some(11));
        forwarder.offer(now, 11, &vp8(1, 0, 1, 1, true));
        forwarder.set_target(None);
        assert_eq!(forwarder.offer(now, 11, &vp8(2, 0, 2, 2, false)), None);
        forwarder.set_target(Some(11));
        assert_eq!(forwarder.offer(now, 11, &vp8(3, 0, 3, 3, false)), None);
        assert_eq!(forwarder.offer(now, 11, &vp8(4, 0, 4, 4, true)).map(|r| r.seq), Some(11));
    }
}
