//! RTP packets: reading and writing headers in place (RFC 3550 5.1) with header extensions (RFC 8285).
//!
//! Nothing here copies or allocates: a header is a handful of numbers and byte ranges into the packet it was read
//! from. What the payload means is left to `forward` and `mix`, protecting it to `peer::srtp`, RTCP to `rtcp`.

use std::ops::Range;

use thiserror::Error;

/// Bytes of the fixed header, before CSRCs and extensions.
pub const FIXED_HEADER_BYTES: usize = 12;

/// What an extension block announces itself by when its elements have one-byte headers (RFC 8285 4.2).
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// The same for two-byte headers; its low four bits belong to the application (RFC 8285 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet. There is nothing to do but drop and count them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RtpError {
    /// Shorter than the header says it is.
    #[error("packet is shorter than its header")]
    Truncated,
    /// Not version 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is zero or runs into the header.
    #[error("padding runs past the payload")]
    Padding,
}

/// How the elements of the extension block are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ExtensionForm {
    OneByte,
    TwoByte,
    /// No block, or one of a profile that nobody here reads.
    None,
}

/// A packet's header, read once; ranges are byte offsets into that packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    /// 0..=127.
    pub payload_type: u8,
    /// The marker bit: for video the last packet of a picture, for audio the first of a talk spurt.
    pub marker: bool,
    /// Sequence number; wraps.
    pub sequence: u16,
    /// Media time in the codec's clock; wraps.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The payload without padding; empty in a probe of nothing but padding.
    pub payload: Range<usize>,
    /// Bytes before the payload: fixed header, CSRCs, extension block.
    pub header_len: usize,
    form: ExtensionForm,
    extensions: Range<usize>,
    padded: bool,
}

impl RtpHeader {
    /// Reads a plaintext packet.
    ///
    /// # Errors
    /// [`RtpError`] when the packet is truncated, of another version, or its padding count is impossible.
    pub fn parse(packet: &[u8]) -> Result<RtpHeader, RtpError> {
        let mut header = RtpHeader::parse_sealed(packet)?;
        header.trim_padding(packet)?;
        Ok(header)
    }

    /// Reads the header of a packet whose payload is still encrypted, and so whose padding count cannot be read yet:
    /// `payload` reaches to the end of the packet.
    ///
    /// # Errors
    /// [`RtpError::Truncated`] and [`RtpError::Version`].
    pub fn parse_sealed(packet: &[u8]) -> Result<RtpHeader, RtpError> {
        let Some(fixed) = packet.first_chunk::<FIXED_HEADER_BYTES>() else { return Err(RtpError::Truncated) };
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrc_bytes = usize::from(fixed[0] & 0x0F) * 4;
        let mut header_len = FIXED_HEADER_BYTES + csrc_bytes;
        let (mut form, mut extensions) = (ExtensionForm::None, 0..0);
        if fixed[0] & 0x10 != 0 {
            let block = packet.get(header_len..header_len + 4).ok_or(RtpError::Truncated)?;
            let profile = u16::from_be_bytes([block[0], block[1]]);
            let bytes = usize::from(u16::from_be_bytes([block[2], block[3]])) * 4;
            form = match profile {
                ONE_BYTE_PROFILE => ExtensionForm::OneByte,
                p if p & 0xFFF0 == TWO_BYTE_PROFILE => ExtensionForm::TwoByte,
                _ => ExtensionForm::None,
            };
            extensions = header_len + 4..header_len + 4 + bytes;
            header_len = extensions.end;
        }
        if header_len > packet.len() {
            return Err(RtpError::Truncated);
        }
        Ok(RtpHeader {
            payload_type: fixed[1] & 0x7F,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload: header_len..packet.len(),
            header_len,
            form,
            extensions,
            padded: fixed[0] & 0x20 != 0,
        })
    }

    /// Completes a header from [`parse_sealed`](Self::parse_sealed) with the now readable packet: `payload` then ends
    /// where `packet` does, less the padding.
    ///
    /// # Errors
    /// [`RtpError::Padding`] when the count is zero or larger than what follows the header.
    pub fn trim_padding(&mut self, packet: &[u8]) -> Result<(), RtpError> {
        if self.header_len > packet.len() {
            return Err(RtpError::Truncated);
        }
        self.payload.end = packet.len();
        if self.padded {
            let count = usize::from(packet[packet.len() - 1]);
            if count == 0 || count > packet.len() - self.header_len {
                return Err(RtpError::Padding);
            }
            self.payload.end -= count;
        }
        Ok(())
    }

    /// The first extension element with this id, as negotiated in SDP (1..=14, or up to 255 in the two-byte form).
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.extensions(packet).find(|(found, _)| *found == id).map(|(_, data)| data)
    }

    /// All extension elements in order. An element that overruns the block ends the walk: what came before it stands.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let rest = packet.get(self.extensions.clone()).unwrap_or_default();
        Extensions { form: self.form, rest }
    }
}

/// Walks the elements of one extension block: id and data.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: ExtensionForm,
    rest: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, after) = self.rest.split_first()?;
            let (id, len, after) = match self.form {
                ExtensionForm::None => return None,
                // A zero byte pads. Id 0 with a length, and the reserved id 15, end the block (RFC 8285 4.2).
                ExtensionForm::OneByte if first >> 4 == 15 || (first >> 4 == 0 && first != 0) => return None,
                ExtensionForm::OneByte => (first >> 4, usize::from(first & 0x0F) + 1, after),
                ExtensionForm::TwoByte if first == 0 => (0, 0, after),
                ExtensionForm::TwoByte => {
                    let (&len, after) = after.split_first()?;
                    (first, usize::from(len), after)
                }
            };
            if id == 0 {
                self.rest = after;
                continue;
            }
            let (data, after) = after.split_at_checked(len)?;
            self.rest = after;
            return Some((id, data));
        }
    }
}

/// Appends an RTP header to `out`; the caller appends the payload after it.
///
/// Extensions are written in the one-byte form, or all in the two-byte form when one of them needs it (an id above 14,
/// or data that is empty or longer than 16 bytes). Id 0 is not an id; data beyond 255 bytes is cut.
pub fn write_header(
    out: &mut Vec<u8>,
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
) {
    let extension_bit = if extensions.is_empty() { 0 } else { 0x10 };
    out.extend_from_slice(&[0x80 | extension_bit, u8::from(marker) << 7 | payload_type & 0x7F]);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&timestamp.to_be_bytes());
    out.extend_from_slice(&ssrc.to_be_bytes());
    if extensions.is_empty() {
        return;
    }
    let one_byte = extensions.iter().all(|(id, data)| *id <= 14 && (1..=16).contains(&data.len()));
    out.extend_from_slice(&if one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE }.to_be_bytes());
    let words_at = out.len();
    out.extend_from_slice(&[0, 0]);
    for (id, data) in extensions {
        debug_assert!(*id != 0, "id 0 means padding");
        // The casts hold: one byte holds a length of 1..=16 less one, two bytes one of 0..=255.
        let data = &data[..data.len().min(255)];
        if one_byte {
            out.push(id << 4 | (data.len() - 1) as u8);
        } else {
            out.extend_from_slice(&[*id, data.len() as u8]);
        }
        out.extend_from_slice(data);
    }
    let block = out.len() - words_at - 2;
    out.resize(out.len() + block.next_multiple_of(4) - block, 0);
    let words = block.div_ceil(4) as u16;
    out[words_at..words_at + 2].copy_from_slice(&words.to_be_bytes());
}

/// Overwrites the data of the first extension element of a packet without CSRCs, written by [`write_header`]: as many
/// bytes as `data` has. Does nothing to a packet without extensions.
pub fn set_first_extension(packet: &mut [u8], data: &[u8]) {
    let has_extensions = packet.first().is_some_and(|first| first & 0x1F == 0x10);
    let Some(profile) = packet.get(12..14).filter(|_| has_extensions) else { return };
    // After the block's own header: one byte of element header, or two.
    let start = if profile == ONE_BYTE_PROFILE.to_be_bytes() { 17 } else { 18 };
    if let Some(place) = packet.get_mut(start..start + data.len()) {
        place.copy_from_slice(data);
    }
}

/// Appends a packet of nothing but padding, 255 bytes of it.
pub fn write_padding(
    out: &mut Vec<u8>,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
) {
    let start = out.len();
    write_header(out, payload_type, false, sequence, timestamp, ssrc, extensions);
    out[start] |= 0x20;
    out.resize(out.len() + 254, 0);
    out.push(255);
}

/// Fuzz target of this module.
pub mod fuzz {
    use super::*;

    /// Any bytes: reading must not panic, ranges must lie within the packet, and a header written from what was read
    /// must read the same.
    pub fn rtp(data: &[u8]) {
        let Ok(header) = RtpHeader::parse(data) else { return };
        assert!(header.header_len <= header.payload.start && header.payload.end <= data.len());
        assert!(header.payload.start <= header.payload.end);
        let extensions: Vec<_> = header.extensions(data).collect();
        let mut again = Vec::new();
        let RtpHeader { payload_type, marker, sequence, timestamp, ssrc, .. } = header;
        write_header(&mut again, payload_type, marker, sequence, timestamp, ssrc, &extensions);
        again.extend_from_slice(&data[header.payload.clone()]);
        let read = RtpHeader::parse(&again).expect("a written header reads");
        assert_eq!(
            (read.payload_type, read.marker, read.sequence, read.timestamp, read.ssrc),
            (payload_type, marker, sequence, timestamp, ssrc)
        );
        assert!(read.extensions(&again).eq(extensions.iter().copied()));
        assert_eq!(again[read.payload], data[header.payload]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![first, 0xE0, 0x12, 0x34, 0, 0, 0, 7, 0xDE, 0xAD, 0xBE, 0xEF];
        packet.extend_from_slice(rest);
        packet
    }

    fn payload(packet: &[u8]) -> Result<&[u8], RtpError> {
        RtpHeader::parse(packet).map(|header| &packet[header.payload])
    }

    #[test]
    fn fixed_fields_are_read() {
        let bytes = packet(0x80, b"hi");
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!((header.payload_type, header.marker, header.sequence), (0x60, true, 0x1234));
        assert_eq!((header.timestamp, header.ssrc, header.header_len), (7, 0xDEAD_BEEF, 12));
        assert_eq!(&bytes[header.payload], b"hi");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        fn check(first: u8, rest: &[u8], expected: Result<&[u8], RtpError>) {
            assert_eq!(payload(&packet(first, rest)), expected, "{first:#x} {rest:?}");
        }
        check(0x80, b"", Ok(b""));
        check(0x40, b"x", Err(RtpError::Version));
        check(0x81, b"ccc", Err(RtpError::Truncated));
        check(0x81, b"cccc", Ok(b""));
        check(0x8F, &[0; 60], Ok(b""));
        check(0x8F, &[0; 59], Err(RtpError::Truncated));
        check(0x90, &[0xBE, 0xDE, 0], Err(RtpError::Truncated));
        check(0x90, &[0xBE, 0xDE, 0, 1], Err(RtpError::Truncated));
        check(0x90, &[0xBE, 0xDE, 0xFF, 0xFF, 1, 2, 3, 4], Err(RtpError::Truncated));
        check(0x90, &[0xBE, 0xDE, 0, 0, 9], Ok(&[9]));
        check(0xA0, b"", Err(RtpError::Padding)); // the last byte of the SSRC is no padding count
        check(0xA0, &[0], Err(RtpError::Padding));
        check(0xA0, &[1], Ok(b""));
        check(0xA0, &[5, 0, 2], Ok(&[5]));
        check(0xA0, &[0, 0, 3], Ok(b""));
        check(0xA0, &[0, 0, 4], Err(RtpError::Padding));
        assert_eq!(payload(&[0x80; 11]), Err(RtpError::Truncated));
    }

    #[test]
    fn extension_elements_are_found_in_both_forms() {
        fn check(profile: [u8; 2], block: &[u8], id: u8, expected: Option<&[u8]>) {
            let words = (block.len() / 4) as u8;
            let bytes = packet(0x90, &[&profile[..], &[0, words], block].concat());
            let header = RtpHeader::parse(&bytes).unwrap();
            assert_eq!(header.extension(&bytes, id), expected, "{profile:x?} {block:?} id {id}");
        }
        let one = [0xBE, 0xDE];
        check(one, &[0x10, 0xAA, 0x21, 1, 2, 0, 0, 0], 1, Some(&[0xAA]));
        check(one, &[0x10, 0xAA, 0x21, 1, 2, 0, 0, 0], 2, Some(&[1, 2]));
        check(one, &[0x10, 0xAA, 0x21, 1, 2, 0, 0, 0], 3, None);
        check(one, &[0, 0, 0, 0x30, 7, 0, 0, 0], 3, Some(&[7]));
        check(one, &[0x3F, 0, 0, 0], 3, None); // overruns the block
        check(one, &[0xF0, 1, 0x30, 7], 3, None); // id 15 ends it
        check(one, &[0x02, 1, 0x30, 7], 3, None); // so does id 0 with a length
        let two = [0x10, 0x0A];
        check(two, &[1, 0, 200, 1, 9, 0, 0, 0], 1, Some(&[]));
        check(two, &[1, 0, 200, 1, 9, 0, 0, 0], 200, Some(&[9]));
        check(two, &[0, 0, 3, 255], 3, None);
        check(two, &[0, 0, 0, 3], 3, None);
        check([0x12, 0x34], &[0x10, 0xAA, 0, 0], 1, None); // nobody's profile
    }

    #[test]
    fn what_is_written_reads_back() {
        fn check(extensions: &[(u8, &[u8])], header_len: usize) {
            let mut bytes = vec![];
            write_header(&mut bytes, 111, true, 65_535, 0xFFFF_FFFF, 42, extensions);
            bytes.extend_from_slice(b"opus");
            let header = RtpHeader::parse(&bytes).unwrap();
            assert_eq!(header.header_len, header_len);
            assert!(header.extensions(&bytes).eq(extensions.iter().copied()));
            assert_eq!((header.payload_type, header.marker, header.sequence), (111, true, 65_535));
            assert_eq!(&bytes[header.payload], b"opus");
            fuzz::rtp(&bytes);
        }
        check(&[], 12);
        check(&[(1, &[5])], 20);
        check(&[(1, &[5]), (2, &[1, 2, 3])], 24);
        check(&[(14, &[0; 16])], 36);
        check(&[(15, &[1])], 20);
        check(&[(1, &[]), (2, &[1])], 24);
        check(&[(1, &[0; 17])], 36);
    }

    #[test]
    fn the_first_extension_can_be_set_later() {
        fn check(extensions: &[(u8, &[u8])]) {
            let mut bytes = vec![];
            write_header(&mut bytes, 96, false, 1, 2, 3, extensions);
            set_first_extension(&mut bytes, &[7, 8]);
            let header = RtpHeader::parse(&bytes).unwrap();
            let read: Vec<_> = header.extensions(&bytes).collect();
            assert_eq!(read[0], (extensions[0].0, &[7, 8][..]));
            assert_eq!(read[1..], extensions[1..]);
        }
        check(&[(3, &[0, 0])]);
        check(&[(3, &[0, 0]), (13, &[1])]);
        check(&[(3, &[0, 0]), (12, &[5; 30])]);
        let mut bare = vec![];
        write_header(&mut bare, 96, false, 1, 2, 3, &[]);
        let before = bare.clone();
        set_first_extension(&mut bare, &[7, 8]);
        assert_eq!(bare, before);
    }

    #[test]
    fn padding_reads_as_an_empty_payload() {
        let mut bytes = vec![];
        write_padding(&mut bytes, 97, 1, 2, 3, &[(3, &[0, 0])]);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert!(header.payload.is_empty());
        assert_eq!(bytes.len(), header.header_len + 255);
    }

    #[test]
    fn a_sealed_header_takes_its_padding_when_it_can_be_read() {
        let bytes = packet(0xA0, &[1, 2, 3, 0xEE]);
        let mut header = RtpHeader::parse_sealed(&bytes).unwrap();
        assert_eq!(header.payload, 12..16);
        let plain = packet(0xA0, &[1, 0, 2]);
        header.trim_padding(&plain).unwrap();
        assert_eq!(header.payload, 12..13);
        assert_eq!(header.trim_padding(&plain[..5]), Err(RtpError::Truncated));
    }
}
