//! One packet of the history, written as a subscriber should see it.

use super::dependency::{DESCRIPTOR_BYTES_MAX, rewrite};
use super::history::StoredPacket;
use crate::rtp;

/// The outgoing numbers of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// Outgoing sequence number.
    pub seq: u16,
    /// Outgoing timestamp.
    pub timestamp: u32,
    /// Outgoing marker bit: the last packet of what this subscriber gets of the picture.
    pub marker: bool,
    /// The packet is of a layer that the subscriber does not get, but its number had been given away before it came: it
    /// goes out without its payload, so that nobody waits for it.
    pub is_filler: bool,
    pub(super) offsets: Offsets,
    /// Which decode targets the dependency descriptor must call active, bit i for target i, if it must.
    pub(super) active: Option<u32>,
}

impl Rewritten {
    /// The packet's dependency descriptor as this subscriber should see it; `None` if it has none.
    pub fn descriptor<'a>(
        &self,
        packet: &StoredPacket,
        buffer: &'a mut [u8; DESCRIPTOR_BYTES_MAX],
    ) -> Option<&'a [u8]> {
        let described = packet.info.described.filter(|_| !self.is_filler)?;
        let frame_number = described.frame_number.wrapping_add(self.offsets.frame_number);
        let targets = packet.structure.as_ref()?.target_count();
        let length = rewrite(&packet.descriptor, &described, targets, frame_number, self.active, buffer);
        Some(&buffer[..length])
    }
}

/// What is added to the numbers within a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Offsets {
    pub(super) picture_id: u16,
    pub(super) tl0_picture: u8,
    pub(super) frame_number: u16,
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
    rtp::write_header(out, payload_type, numbers.marker, numbers.seq, numbers.timestamp, ssrc, extensions);
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
    rtp::write_header(
        out,
        rtx_payload_type,
        numbers.marker,
        rtx_seq,
        numbers.timestamp,
        rtx_ssrc,
        extensions,
    );
    out.extend_from_slice(&numbers.seq.to_be_bytes());
    write_payload(out, numbers, packet);
}

fn write_payload(out: &mut Vec<u8>, numbers: Rewritten, packet: &StoredPacket) {
    if numbers.is_filler {
        return;
    }
    let start = out.len();
    out.extend_from_slice(&packet.payload);
    let payload = &mut out[start..];
    let Offsets { picture_id, tl0_picture, .. } = numbers.offsets;
    if let Some((at, id, wide)) = packet.info.numbers.picture_id {
        let at = usize::from(at);
        let id = id.wrapping_add(picture_id);
        if wide {
            payload[at..at + 2].copy_from_slice(&(0x8000 | id & 0x7fff).to_be_bytes());
        } else {
            payload[at] = id as u8 & 0x7f;
        }
    }
    if let Some((at, id)) = packet.info.numbers.tl0_picture {
        payload[usize::from(at)] = id.wrapping_add(tl0_picture);
    }
}
