//! The recent packets of one stream, as they came: the one copy from which every subscriber's repairs are served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dependency::{DESCRIPTOR_BYTES_MAX, Structure};
use crate::units::SeqNo;

/// Packets remembered of one stream, at first and at most. Each new one takes the place of the oldest, which the processor's
/// caches still hold if there are few of them.
const PACKETS: [usize; 2] = [256, 1024];
/// While a packet would give way sooner than this, there is room for twice as many. Browsers' own senders keep packets as long,
/// and what is older comes too late for its picture.
const KEEP: Duration = Duration::from_secs(1);

/// One remembered packet: what a subscriber's copy is made from.
#[derive(Clone, Debug)]
pub struct StoredPacket {
    /// Its number in the publisher's stream.
    pub seq: SeqNo,
    /// When it came.
    pub at: Instant,
    /// Its RTP timestamp, as the publisher sent it.
    pub timestamp: u32,
    /// The marker bit: in video, the last packet of a frame.
    pub marker: bool,
    /// The payload, without padding.
    pub payload: Vec<u8>,
    /// What was seen in the payload.
    pub info: super::PayloadInfo,
    /// The codec that its payload type stands for, as an index into the publisher's negotiated list.
    pub codec: usize,
    /// How the camera is held (3GPP TS 26.114 CVO byte), when the publisher says so in this packet.
    pub orientation: Option<u8>,
    /// Its dependency descriptor, as it came; empty without one.
    pub descriptor: Vec<u8>,
    /// The structure that the descriptor goes by.
    pub structure: Option<Arc<Structure>>,
}

/// A ring of packets by sequence number.
#[derive(Debug, Default)]
pub struct History {
    slots: Vec<Option<StoredPacket>>,
}

impl History {
    /// Stores one packet and returns it; the slot's old buffer is used again, so nothing is allocated once the ring
    /// is full. `None` for a packet that the ring has already, or that is older than what stands in its place.
    pub fn store(
        &mut self,
        now: Instant,
        seq: SeqNo,
        packet: NewPacket<'_>,
        structure: Option<&Arc<Structure>>,
    ) -> Option<&StoredPacket> {
        let [least, most] = PACKETS;
        if self.slots.is_empty() {
            self.slots.resize(least, None);
        }
        let is_young = |old: &StoredPacket| old.seq < seq && now.saturating_duration_since(old.at) < KEEP;
        while self.slots.len() < most && self.slot(seq).is_some_and(is_young) {
            self.grow();
        }
        let at = seq.slot(self.slots.len());
        let slot = &mut self.slots[at];
        if slot.as_ref().is_some_and(|old| old.seq >= seq) {
            return None;
        }
        let (mut payload, mut descriptor) =
            slot.take().map(|old| (old.payload, old.descriptor)).unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(packet.payload);
        descriptor.clear();
        if packet.descriptor.len() <= DESCRIPTOR_BYTES_MAX {
            descriptor.extend_from_slice(packet.descriptor);
        }
        Some(slot.insert(StoredPacket {
            seq,
            at: now,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload,
            info: packet.info,
            codec: packet.codec,
            orientation: packet.orientation,
            descriptor,
            structure: structure.cloned(),
        }))
    }

    /// Makes room for twice as many; numbers that had places of their own have such again.
    fn grow(&mut self) {
        let twice = 2 * self.slots.len();
        let packets = std::mem::replace(&mut self.slots, vec![None; twice]);
        for packet in packets.into_iter().flatten() {
            let at = packet.seq.slot(twice);
            self.slots[at] = Some(packet);
        }
    }

    /// What stands in this number's place.
    fn slot(&self, seq: SeqNo) -> Option<&StoredPacket> {
        self.slots.get(seq.slot(self.slots.len().max(1)))?.as_ref()
    }

    /// The packet with this number, if it is still here, to correct what is known of it.
    pub(super) fn get_mut(&mut self, seq: SeqNo) -> Option<&mut StoredPacket> {
        let at = seq.slot(self.slots.len().max(1));
        self.slots.get_mut(at)?.as_mut().filter(|packet| packet.seq == seq)
    }

    /// The packet with this number, if it is still here.
    pub fn get(&self, seq: SeqNo) -> Option<&StoredPacket> {
        self.slot(seq).filter(|packet| packet.seq == seq)
    }
}

/// A packet about to be stored; the fields are those of [`StoredPacket`].
#[derive(Clone, Copy, Debug)]
pub struct NewPacket<'a> {
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload, without padding.
    pub payload: &'a [u8],
    /// What was seen in the payload.
    pub info: super::PayloadInfo,
    /// Index into the publisher's negotiated codecs.
    pub codec: usize,
    /// The CVO byte, when the packet carries one.
    pub orientation: Option<u8>,
    /// Its dependency descriptor; empty without one.
    pub descriptor: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_start;

    fn packet(payload: &[u8]) -> NewPacket<'_> {
        NewPacket {
            timestamp: 0,
            marker: false,
            payload,
            info: Default::default(),
            codec: 0,
            orientation: None,
            descriptor: &[],
        }
    }

    #[test]
    fn a_packet_is_found_until_its_slot_is_taken() {
        let (mut history, now) = (History::default(), test_start());
        let first = SeqNo::first(0);
        assert!(history.get(first).is_none() && history.get_mut(first).is_none());
        assert!(history.store(now, first, packet(b"one"), None).is_some());
        assert!(history.store(now, first, packet(b"again"), None).is_none(), "a duplicate");
        assert_eq!(history.get(first).map(|p| p.payload.as_slice()), Some(b"one".as_slice()));
        let later = first.plus(PACKETS[0] as i64);
        assert!(history.store(now + KEEP, later, packet(b"later"), None).is_some());
        assert!(history.get(first).is_none());
        assert!(history.store(now + KEEP, first, packet(b"too old"), None).is_none());
    }

    /// After 3,000 packets at this rate: how many are left in a row, the last included.
    #[track_caller]
    fn check_kept(per_second: u32, expected: i64) {
        let (mut history, start, first) = (History::default(), test_start(), SeqNo::first(0));
        for number in 0..3000_u32 {
            let now = start + Duration::from_secs(1) * number / per_second;
            assert!(history.store(now, first.plus(number.into()), packet(b"it"), None).is_some());
        }
        let kept = (0..3000).rev().take_while(|number| history.get(first.plus(*number)).is_some());
        assert_eq!(kept.count() as i64, expected, "{per_second} packets a second");
    }

    #[test]
    fn a_fast_stream_has_room_for_a_second_of_it() {
        check_kept(30, 256);
        check_kept(256, 256);
        check_kept(257, 512);
        check_kept(1000, 1024);
        check_kept(3000, 1024);
    }
}
