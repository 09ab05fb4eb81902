//! People over bare RTP: they send speech or silence and count what comes back, 50 packets a second each.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use campanile_media::mix::FRAME_SAMPLES;
use campanile_media::rtp::{self, RtpHeader};
use campanile_opus::{Application, Bandwidth, Channels, Encoder, EncoderConfig, SILENCE, Signal};

use crate::Failure;
use crate::heard::Recording;

/// Between two packets of one person.
pub(crate) const TICK: Duration = Duration::from_millis(20);
const OPUS: u8 = 111;
pub(crate) const AUDIO_LEVEL: u8 = 1;
/// Sending is spread over the tick in as many steps, as arrivals of independent clients would be.
pub(crate) const STEPS: usize = 10;

/// 20 ms of sound.
pub(crate) struct Frame {
    /// One Opus packet.
    pub(crate) payload: Vec<u8>,
    /// How loud it is, in dB below full scale (RFC 6464). A mixer may compare it with what it decodes, and not believe who is
    /// loud in the pauses.
    pub(crate) level_db: u8,
}

impl Frame {
    pub(crate) fn encode(encoder: &mut Encoder, pcm: &[f32]) -> Result<Frame, Failure> {
        let power = pcm.iter().map(|sample| sample * sample).sum::<f32>() / pcm.len() as f32;
        let mut payload = vec![0; 500];
        let length = encoder.encode_f32(pcm, &mut payload).map_err(|error| error.to_string())?;
        payload.truncate(length);
        Ok(Frame { payload, level_db: (-10.0 * power.log10()).clamp(0.0, 127.0) as u8 })
    }
}

struct Attendee {
    socket: UdpSocket,
    port: u16,
    talks: bool,
    at: usize,
}

/// All people of one run.
pub(crate) struct Attendees<'a> {
    all: Vec<Attendee>,
    frames: &'a [Frame],
    tick: u32,
    /// Whose packets are kept.
    listener: Option<(usize, Recording)>,
}

/// What was sent and came back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Steps that began more than half a tick after they were due.
    late_steps: u32,
    steps: u32,
}

impl Traffic {
    /// Whether one step in a hundred, or more, was late.
    pub(crate) fn late(&self) -> bool {
        self.late_steps * 100 > self.steps
    }
}

impl<'a> Attendees<'a> {
    /// Number n sends from port `first_port` + n to the n-th of `ports`.
    pub(crate) fn new(
        first_port: u16,
        ports: &[u16],
        talks: impl Fn(usize) -> bool,
        frames: &'a [Frame],
    ) -> Result<Attendees<'a>, Failure> {
        let attendee = |(number, port): (usize, &u16)| {
            let own = first_port + number as u16;
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, own))?;
            socket.set_nonblocking(true)?;
            Ok(Attendee { socket, port: *port, talks: talks(number), at: first(number, frames) })
        };
        let all: std::io::Result<_> = ports.iter().enumerate().map(attendee).collect();
        Ok(Attendees { all: all.map_err(|error| error.to_string())?, frames, tick: 0, listener: None })
    }

    /// Keeps what somebody gets from now on.
    pub(crate) fn record(&mut self, number: usize) {
        self.listener = Some((number, Recording::new(self.tick)));
    }

    /// What has been kept.
    pub(crate) fn recorded(&mut self) -> Option<Recording> {
        self.listener.take().map(|(_, recording)| recording)
    }

    /// Which of the frames somebody sends in this tick, if they talk.
    pub(crate) fn sends(&self, number: usize, tick: u32) -> Option<usize> {
        self.all[number].talks.then(|| (first(number, self.frames) + tick as usize) % self.frames.len())
    }

    /// Lets them talk for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Traffic {
        let mut traffic = Traffic::default();
        let (start, first) = (Instant::now(), self.tick);
        let last = first + (time.as_millis() / TICK.as_millis()) as u32;
        while self.tick < last {
            for step in 0..STEPS {
                let due = start + TICK * (self.tick - first) + TICK * step as u32 / STEPS as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                traffic.steps += 1;
                traffic.late_steps += u32::from(due.elapsed() > TICK / 2);
                self.step(step, &mut traffic);
            }
            self.tick += 1;
        }
        traffic
    }

    fn step(&mut self, step: usize, traffic: &mut Traffic) {
        let (mut packet, mut buffer) = (Vec::new(), [0; 2048]);
        let (tick, frames, listener) = (self.tick, self.frames, &mut self.listener);
        for (number, attendee) in self.all.iter_mut().enumerate().filter(|(number, _)| number % STEPS == step)
        {
            let frame = &frames[attendee.at];
            let (payload, level) =
                if attendee.talks { (&frame.payload[..], frame.level_db) } else { (&SILENCE[..], 127) };
            attendee.at = (attendee.at + 1) % frames.len();
            packet.clear();
            let extensions: [(u8, &[u8]); 1] = [(AUDIO_LEVEL, &[level])];
            let time = tick * FRAME_SAMPLES as u32;
            rtp::write_header(
                &mut packet,
                OPUS,
                tick == 0,
                tick as u16,
                time,
                1000 + number as u32,
                &extensions,
            );
            packet.extend_from_slice(payload);
            traffic.sent += 1;
            let _ = attendee.socket.send_to(&packet, (Ipv4Addr::LOCALHOST, attendee.port));
            while let Ok((length, _)) = attendee.socket.recv_from(&mut buffer) {
                // RTP version 2 with our payload type; anything else (RTCP) is no audio.
                let is_audio = length > 12 && buffer[0] >> 6 == 2 && buffer[1] & 0x7f == OPUS;
                traffic.received += u64::from(is_audio);
                if let Some((_, recording)) =
                    listener.as_mut().filter(|(kept, _)| is_audio && *kept == number)
                    && let Ok(header) = RtpHeader::parse(&buffer[..length])
                {
                    recording.keep(tick, header.sequence, &buffer[header.payload]);
                }
            }
        }
    }
}

/// With which of the frames somebody begins: everybody is somewhere else in the same speech. Fifty of them, 0.66 s apart,
/// take 33 s of it; no voice is looked for at so long a delay.
fn first(number: usize, frames: &[Frame]) -> usize {
    33 * number % frames.len()
}

/// The samples of a file of raw 48 kHz mono 16-bit little-endian speech.
pub(crate) fn samples(file: &Path) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32_768.0).collect())
}

/// Writes such a file.
pub(crate) fn write_samples(file: &Path, samples: &[f32]) -> Result<(), Failure> {
    let sample = |sample: &f32| ((sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes();
    let bytes: Vec<u8> = samples.iter().flat_map(sample).collect();
    std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}

/// Speech in Opus packets of 20 ms, hybrid at 32 kbit/s as browsers make them.
pub(crate) fn encode(samples: &[f32]) -> Result<Vec<Frame>, Failure> {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 32_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .map_err(|error| error.to_string())?;
    let frames = samples.chunks_exact(FRAME_SAMPLES).map(|pcm| Frame::encode(&mut encoder, pcm));
    let frames: Vec<Frame> = frames.collect::<Result<_, Failure>>()?;
    if frames.is_empty() { Err("there is no speech".into()) } else { Ok(frames) }
}
