//! Ogg Opus files (RFC 7845): what is heard, as it came, without decoding.

use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use crate::media::{AUDIO_PACKET_SAMPLES, AudioPacket};

/// The one logical stream of the file.
const SERIAL: u32 = 0x0ca3_9a11;
/// Samples that a decoder needs to settle and players leave out: libopus' own delay at 48 kHz.
const PRE_SKIP: u16 = 312;
/// Packets on one page: a second, as RFC 7845 section 6 recommends at most.
const PAGE_PACKETS: u64 = 50;
/// A hole longer than this is not filled: a minute of silence.
const FILLED_PACKETS_MAX: u64 = 3000;
/// A frame of 20 ms without a byte of data: players conceal it as lost (RFC 6716 section 3.2.1).
const LOST_PACKET: [u8; 1] = [0xf8];

/// Writes received packets while they come.
pub struct OpusFile<W: Write> {
    writer: PacketWriter<'static, W>,
    next: Option<u64>,
    packets: u64,
    /// Held back, since the last one of the file is marked.
    waiting: Option<Vec<u8>>,
}

impl<W: Write> OpusFile<W> {
    /// Writes the head of the file.
    ///
    /// # Errors
    /// The file's own.
    pub fn new(file: W) -> io::Result<OpusFile<W>> {
        let mut writer = PacketWriter::new(file);
        // RFC 7845 section 5.1: version 1, one channel, no gain, one stream.
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend_from_slice(&PRE_SKIP.to_le_bytes());
        head.extend_from_slice(&48_000_u32.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        writer.write_packet(head, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        // Section 5.2: who wrote it, and no comments.
        let vendor = b"campanile-client";
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&0_u32.to_le_bytes());
        writer.write_packet(tags, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        Ok(OpusFile { writer, next: None, packets: 0, waiting: None })
    }

    /// Adds a packet of 20 ms. One that came too late is passed over; the place of lost ones is kept.
    ///
    /// # Errors
    /// The file's own.
    pub fn write(&mut self, packet: &AudioPacket) -> io::Result<()> {
        let missing = match self.next {
            Some(next) if packet.sequence < next => return Ok(()),
            Some(next) => packet.sequence - next,
            None => 0,
        };
        self.next = Some(packet.sequence + 1);
        for _ in 0..missing.min(FILLED_PACKETS_MAX) {
            self.put(LOST_PACKET.to_vec())?;
        }
        self.put(packet.payload.to_vec())
    }

    fn put(&mut self, packet: Vec<u8>) -> io::Result<()> {
        match self.waiting.replace(packet) {
            Some(before) => self.flush(before, false),
            None => Ok(()),
        }
    }

    fn flush(&mut self, packet: Vec<u8>, last: bool) -> io::Result<()> {
        self.packets += 1;
        let end = match self.packets % PAGE_PACKETS {
            _ if last => PacketWriteEndInfo::EndStream,
            0 => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        self.writer.write_packet(packet, SERIAL, end, self.packets * AUDIO_PACKET_SAMPLES)
    }

    /// Writes what is left and returns the file.
    ///
    /// # Errors
    /// The file's own.
    pub fn finish(mut self) -> io::Result<W> {
        let last = self.waiting.take().unwrap_or_else(|| LOST_PACKET.to_vec());
        self.flush(last, true)?;
        let mut file = self.writer.into_inner();
        file.flush()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::tone;

    #[test]
    fn a_file_holds_every_packet_in_its_place() {
        let tone = tone(440.0, 0.1, 2).unwrap();
        let mut file = OpusFile::new(Vec::new()).unwrap();
        for sequence in (0..100).filter(|number| *number != 60).chain([10]) {
            let payload = tone.packets[sequence as usize].clone();
            let packet = AudioPacket { arrival: std::time::Instant::now(), sequence, time: 0, payload };
            file.write(&packet).unwrap();
        }
        let file = file.finish().unwrap();
        let mut reader = ogg::reading::PacketReader::new(io::Cursor::new(file));
        let mut packets = Vec::new();
        while let Some(packet) = reader.read_packet().unwrap() {
            packets.push(packet);
        }
        assert!(packets[0].data.starts_with(b"OpusHead") && packets[1].data.starts_with(b"OpusTags"));
        assert_eq!(packets.len(), 2 + 100);
        for (number, packet) in packets[2..].iter().enumerate() {
            let expected = if number == 60 { &LOST_PACKET[..] } else { &tone.packets[number][..] };
            assert_eq!(packet.data, expected);
        }
        let last = packets.last().unwrap();
        assert_eq!((last.absgp_page(), last.last_in_stream()), (100 * AUDIO_PACKET_SAMPLES, true));
    }
}
