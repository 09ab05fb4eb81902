//! The recent packets of one stream, as they came: the one copy from which every subscriber's repairs are served.

use std::sync::Arc;

use super::dependency::{DESCRIPTOR_BYTES_MAX, Structure};
use crate::units::SeqNo;

/// Packets remembered of one stream. At 2.5 Mbit/s (about 260 packets a second) that is four seconds, and more than
/// any receiver waits before it asks for a keyframe instead.
const PACKETS: usize = 1024;

/// One remembered packet: what a subscriber's copy is made from.
#[derive(Clone, Debug)]
pub struct StoredPacket {
    /// Its number in the publisher's stream.
    pub seq: SeqNo,
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
        seq: SeqNo,
        packet: NewPacket<'_>,
        structure: Option<&Arc<Structure>>,
    ) -> Option<&StoredPacket> {
        if self.slots.is_empty() {
            self.slots.resize(PACKETS, None);
        }
        let slot = &mut self.slots[seq.slot(PACKETS)];
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

    /// The packet with this number, if it is still here, to correct what is known of it.
    pub(super) fn get_mut(&mut self, seq: SeqNo) -> Option<&mut StoredPacket> {
        self.slots.get_mut(seq.slot(PACKETS))?.as_mut().filter(|packet| packet.seq == seq)
    }

    /// The packet with this number, if it is still here.
    pub fn get(&self, seq: SeqNo) -> Option<&StoredPacket> {
        self.slots.get(seq.slot(PACKETS))?.as_ref().filter(|packet| packet.seq == seq)
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
        let mut history = History::default();
        let first = SeqNo::first(0);
        assert!(history.store(first, packet(b"one"), None).is_some());
        assert!(history.store(first, packet(b"again"), None).is_none(), "a duplicate");
        assert_eq!(history.get(first).map(|p| p.payload.as_slice()), Some(b"one".as_slice()));
        let later = first.plus(PACKETS as i64);
        assert!(history.store(later, packet(b"later"), None).is_some());
        assert!(history.get(first).is_none());
        assert!(history.store(first, packet(b"too old"), None).is_none());
    }
}
