//! Sound as samples: Opus both ways, tones and their detection, WAV files. 48 kHz, mono, -1.0 to 1.0.

use std::f32::consts::TAU;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use campanile_opus::{
    Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, OpusError, PACKET_SAMPLES_MAX, Signal,
};

use crate::media::{AUDIO_PACKET_SAMPLES, AudioLoop, AudioPacket};

/// Samples of one second.
pub const SAMPLE_RATE_HZ: usize = 48_000;
/// Samples of one packet.
pub const PACKET_SAMPLES: usize = AUDIO_PACKET_SAMPLES as usize;
/// The longest Opus packet (RFC 6716 section 3.4).
const PACKET_BYTES_MAX: usize = 1275;
/// A hole longer than this is silence, not loss: nobody hears a concealed second.
const CONCEALED_PACKETS_MAX: u64 = 10;

/// Makes Opus packets of samples.
#[derive(Debug)]
pub struct PcmEncoder {
    encoder: Encoder,
    waiting: Vec<f32>,
}

impl PcmEncoder {
    /// For speech and music at 32 kbit/s.
    ///
    /// # Errors
    /// libopus refuses, which it does not with these settings.
    pub fn new() -> Result<PcmEncoder, OpusError> {
        let encoder = Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Audio,
            bitrate_bps: 32_000,
            complexity: 5,
            signal: Signal::Auto,
            bandwidth: Bandwidth::Full,
        })?;
        Ok(PcmEncoder { encoder, waiting: Vec::new() })
    }

    /// Takes any number of samples; `send` gets each packet of 20 ms and its level for [`crate::Session::send_audio`].
    ///
    /// # Errors
    /// As [`PcmEncoder::new`].
    pub fn push(&mut self, samples: &[f32], mut send: impl FnMut(Vec<u8>, u8)) -> Result<(), OpusError> {
        self.waiting.extend_from_slice(samples);
        let mut packet = [0; PACKET_BYTES_MAX];
        let whole = self.waiting.len() / PACKET_SAMPLES * PACKET_SAMPLES;
        for frame in self.waiting[..whole].chunks_exact(PACKET_SAMPLES) {
            let len = self.encoder.encode_f32(frame, &mut packet)?;
            send(packet[..len].to_vec(), level_db(frame));
        }
        self.waiting.drain(..whole);
        Ok(())
    }
}

/// RFC 6464: dB below full scale, 0 to 127.
pub fn level_db(samples: &[f32]) -> u8 {
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32;
    if power <= 0.0 { 127 } else { (-10.0 * power.log10()).clamp(0.0, 127.0) as u8 }
}

/// Makes samples of received packets, and conceals what was lost between them.
#[derive(Debug)]
pub struct PcmDecoder {
    decoder: Decoder,
    next: Option<u64>,
    samples: Vec<f32>,
}

impl PcmDecoder {
    /// # Errors
    /// Out of memory.
    pub fn new() -> Result<PcmDecoder, OpusError> {
        Ok(PcmDecoder {
            decoder: Decoder::new(Channels::Mono)?,
            next: None,
            samples: vec![0.0; PACKET_SAMPLES_MAX],
        })
    }

    /// `hear` gets the samples, in order. A packet that came too late, or is none, is passed over.
    pub fn push(&mut self, packet: &AudioPacket, mut hear: impl FnMut(&[f32])) {
        let missing = match self.next {
            Some(next) if packet.sequence < next => return,
            Some(next) => packet.sequence - next,
            None => 0,
        };
        if missing <= CONCEALED_PACKETS_MAX {
            for _ in 0..missing {
                let room = &mut self.samples[..PACKET_SAMPLES];
                if self.decoder.decode_f32(None, false, room).is_ok() {
                    hear(&self.samples[..PACKET_SAMPLES]);
                }
            }
        }
        self.next = Some(packet.sequence + 1);
        if let Ok(count) = self.decoder.decode_f32(Some(&packet.payload), false, &mut self.samples) {
            hear(&self.samples[..count]);
        }
    }
}

/// A loop of `seconds` of a pure tone. Whole numbers of Hz repeat without a step.
///
/// # Errors
/// As [`PcmEncoder::new`].
pub fn tone(frequency_hz: f32, amplitude: f32, seconds: usize) -> Result<AudioLoop, OpusError> {
    let samples: Vec<f32> = (0..seconds * SAMPLE_RATE_HZ)
        .map(|n| amplitude * (TAU * frequency_hz * n as f32 / SAMPLE_RATE_HZ as f32).sin())
        .collect();
    looped(&samples)
}

/// A loop of these samples; what does not fill a last packet is cut.
///
/// # Errors
/// As [`PcmEncoder::new`].
pub fn looped(samples: &[f32]) -> Result<AudioLoop, OpusError> {
    let mut packets: Vec<Arc<[u8]>> = Vec::new();
    let mut encoder = PcmEncoder::new()?;
    encoder.push(samples, |packet, _| packets.push(packet.into()))?;
    Ok(AudioLoop { packets: packets.into(), level_db: level_db(samples) })
}

/// How strong one frequency is in these samples, as the amplitude of its sine (Goertzel's algorithm).
pub fn amplitude_of(samples: &[f32], frequency_hz: f32) -> f32 {
    let step = TAU * frequency_hz / SAMPLE_RATE_HZ as f32;
    let factor = 2.0 * step.cos();
    let (mut before, mut last) = (0.0_f32, 0.0_f32);
    let len = samples.len();
    for (n, sample) in samples.iter().enumerate() {
        // Hann's window, doubled to keep the amplitude: neighbours 25 Hz away do not leak in from a tenth of a second.
        let window = 1.0 - (TAU * (n as f32 + 0.5) / len as f32).cos();
        let now = sample * window + factor * last - before;
        (before, last) = (last, now);
    }
    let power = last * last + before * before - factor * last * before;
    2.0 * power.max(0.0).sqrt() / len.max(1) as f32
}

/// Reads a WAV file of 16, 24 or 32 bits or of floats, and of any rate, as 48 kHz mono.
///
/// # Errors
/// Not such a file.
pub fn read_wav(mut file: impl Read) -> io::Result<Vec<f32>> {
    // Format tags of `mmreg.h`.
    const PCM: u16 = 1;
    const FLOAT: u16 = 3;
    const EXTENSIBLE: u16 = 0xfffe;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return Err(invalid("not a WAV file"));
    }
    let (mut rest, mut format) = (&bytes[12..], None);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body = &after[..len.min(after.len())];
        let number = |at: usize| body.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
        match &head[..4] {
            b"fmt " => {
                let rate =
                    body.get(4..8).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
                // In the extensible form the tag stands at the beginning of the subformat.
                let tag = number(0).and_then(|tag| if tag == EXTENSIBLE { number(24) } else { Some(tag) });
                format = Some((tag, number(2), rate, number(14)));
            }
            b"data" => {
                let Some((Some(tag), Some(channels @ 1..), Some(rate @ 1..), Some(bits))) = format else {
                    return Err(invalid("no format before the samples"));
                };
                let whole = |bytes: [u8; 4]| i32::from_le_bytes(bytes) as f32 / -(i32::MIN as f32);
                let samples: Vec<f32> = match (tag, bits) {
                    (PCM, 16) => body.as_chunks().0.iter().map(|[a, b]| whole([0, 0, *a, *b])).collect(),
                    (PCM, 24) => body.as_chunks().0.iter().map(|[a, b, c]| whole([0, *a, *b, *c])).collect(),
                    (PCM, 32) => body.as_chunks().0.iter().map(|bytes| whole(*bytes)).collect(),
                    (FLOAT, 32) => body.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                    _ => return Err(invalid("only 16, 24 and 32 bits and floats are read")),
                };
                let channels = usize::from(channels);
                let mono: Vec<f32> = samples
                    .chunks_exact(channels)
                    .map(|all| all.iter().sum::<f32>() / channels as f32)
                    .collect();
                return Ok(resampled(&mono, rate as usize));
            }
            _ => {}
        }
        rest = after.get(len + len % 2..).unwrap_or_default();
    }
    Err(invalid("no samples"))
}

/// By straight lines between samples: good enough for a bot that plays a file, and nothing for those who master records.
fn resampled(samples: &[f32], rate_hz: usize) -> Vec<f32> {
    if rate_hz == SAMPLE_RATE_HZ || samples.is_empty() {
        return samples.to_vec();
    }
    let count = samples.len() * SAMPLE_RATE_HZ / rate_hz;
    let at = |n: usize| {
        let place = n as f64 * rate_hz as f64 / SAMPLE_RATE_HZ as f64;
        let (whole, part) = (place as usize, place.fract() as f32);
        let here = samples[whole.min(samples.len() - 1)];
        here + (samples[(whole + 1).min(samples.len() - 1)] - here) * part
    };
    (0..count).map(at).collect()
}

/// Writes a WAV file of 16 bits, 48 kHz, mono, while it grows.
#[derive(Debug)]
pub struct WavWriter<W: Write + Seek> {
    file: W,
    bytes: u32,
}

impl<W: Write + Seek> WavWriter<W> {
    /// # Errors
    /// The file's own.
    pub fn new(file: W) -> io::Result<WavWriter<W>> {
        let mut writer = WavWriter { file, bytes: 0 };
        writer.head()?;
        Ok(writer)
    }

    fn head(&mut self) -> io::Result<()> {
        let rate = SAMPLE_RATE_HZ as u32;
        let mut head = Vec::with_capacity(44);
        head.extend_from_slice(b"RIFF");
        head.extend_from_slice(&(36 + self.bytes).to_le_bytes());
        head.extend_from_slice(b"WAVEfmt ");
        head.extend_from_slice(&16_u32.to_le_bytes());
        for half in [1_u16, 1] {
            head.extend_from_slice(&half.to_le_bytes());
        }
        head.extend_from_slice(&rate.to_le_bytes());
        head.extend_from_slice(&(rate * 2).to_le_bytes());
        for half in [2_u16, 16] {
            head.extend_from_slice(&half.to_le_bytes());
        }
        head.extend_from_slice(b"data");
        head.extend_from_slice(&self.bytes.to_le_bytes());
        self.file.write_all(&head)
    }

    /// # Errors
    /// The file's own, and four gigabytes.
    pub fn write(&mut self, samples: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = samples
            .iter()
            .flat_map(|sample| ((sample.clamp(-1.0, 1.0) * 32767.0) as i16).to_le_bytes())
            .collect();
        let total = self.bytes.checked_add(bytes.len() as u32).filter(|total| *total < u32::MAX - 36);
        self.bytes =
            total.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "a WAV file ends at 4 GB"))?;
        self.file.write_all(&bytes)
    }

    /// Writes the length into the head.
    ///
    /// # Errors
    /// The file's own.
    pub fn finish(mut self) -> io::Result<W> {
        self.file.seek(SeekFrom::Start(0))?;
        self.head()?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.flush()?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_are_told_apart_after_opus() {
        let (heard, other) = (tone(440.0, 0.1, 1).unwrap(), 520.0);
        let mut decoder = PcmDecoder::new().unwrap();
        let mut samples = Vec::new();
        for (sequence, payload) in (0..).zip(heard.packets.iter()) {
            let payload = payload.clone();
            let packet = AudioPacket { arrival: std::time::Instant::now(), sequence, time: 0, payload };
            decoder.push(&packet, |more| samples.extend_from_slice(more));
        }
        assert_eq!((heard.packets.len(), samples.len()), (50, 48_000));
        let window = &samples[24_000..33_600];
        let (right, wrong) = (amplitude_of(window, 440.0), amplitude_of(window, other));
        assert!((0.08..0.12).contains(&right) && wrong < 0.003, "{right} {wrong}");
        assert_eq!(heard.level_db, 23);
    }

    #[test]
    fn losses_are_concealed_and_late_packets_passed_over() {
        let tone = tone(440.0, 0.1, 1).unwrap();
        let mut decoder = PcmDecoder::new().unwrap();
        let mut heard = |sequence: u64| {
            let payload = tone.packets[sequence as usize % 50].clone();
            let packet = AudioPacket { arrival: std::time::Instant::now(), sequence, time: 0, payload };
            let mut count = 0;
            decoder.push(&packet, |samples| count += samples.len());
            count / PACKET_SAMPLES
        };
        assert_eq!([heard(5), heard(6), heard(9), heard(8), heard(10), heard(1000)], [1, 1, 3, 0, 1, 1]);
    }

    #[test]
    fn wav_files_come_back() {
        let samples: Vec<f32> = (0..4800).map(|n| (n as f32 / 100.0).sin() * 0.5).collect();
        let mut writer = WavWriter::new(io::Cursor::new(Vec::new())).unwrap();
        writer.write(&samples).unwrap();
        let file = writer.finish().unwrap().into_inner();
        let read = read_wav(&file[..]).unwrap();
        assert_eq!(read.len(), samples.len());
        assert!(read.iter().zip(&samples).all(|(a, b)| (a - b).abs() < 0.001));
        let mut slow = file.clone();
        slow[24..28].copy_from_slice(&24_000_u32.to_le_bytes());
        assert_eq!(read_wav(&slow[..]).unwrap().len(), 9600);
        // Two samples of a half and minus a quarter, in each way of writing them.
        let with = |tag: u16, bits: u16, data: &[u8]| {
            let mut other = file[..44].to_vec();
            other[20..22].copy_from_slice(&tag.to_le_bytes());
            other[34..36].copy_from_slice(&bits.to_le_bytes());
            other[40..44].copy_from_slice(&(data.len() as u32).to_le_bytes());
            other.extend_from_slice(data);
            read_wav(&other[..]).unwrap_or_default()
        };
        assert_eq!(with(1, 16, &[0, 0x40, 0, 0xe0]), [0.5, -0.25]);
        assert_eq!(with(1, 24, &[0, 0, 0x40, 0, 0, 0xe0]), [0.5, -0.25]);
        assert_eq!(with(1, 32, &[0, 0, 0, 0x40, 0, 0, 0, 0xe0]), [0.5, -0.25]);
        assert_eq!(with(3, 32, &[0, 0, 0, 0x3f, 0, 0, 0x80, 0xbe]), [0.5, -0.25]);
        assert!(with(2, 4, &[0; 8]).is_empty(), "ADPCM is not read");
        assert!(read_wav(&b"RIFF"[..]).is_err() && read_wav(&file[..40]).is_err());
    }
}
