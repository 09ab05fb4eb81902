//! Small pieces of work, always the same: timed by `cargo xtask bench micro`, counted to the instruction under valgrind by
//! `cargo xtask bench instructions`. Each has a set-up, and then rounds that are all alike.

use std::time::Duration;

use campanile_client::Scalability;
use campanile_client::payload::Packetizer;
use campanile_client::pcm::{PACKET_SAMPLES, tone};
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};
use clap::ValueEnum;

use crate::Failure;
use crate::hall::Hall;

const TICK: Duration = Duration::from_millis(20);
/// Who watches or listens.
const AUDIENCE: usize = 25;

/// Which piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// A camera's frame of five packets, passed on to 25: without SRTP.
    Forward,
    /// 20 ms of a meeting of 28, three of whom speak: without SRTP.
    Mix,
    /// 20 ms of sound encoded as the mixer does it.
    Encode,
    /// 20 ms of sound decoded.
    Decode,
}

impl Work {
    /// What one unit of it is.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Work::Forward => "a packet to one of 25 who watch a camera (no SRTP, no socket)",
            Work::Mix => "20 ms of sound for one of 28, three of whom speak (no SRTP, no socket)",
            Work::Encode => "20 ms of two tones encoded (CELT, complexity 7, 32 kbit/s)",
            Work::Decode => "20 ms of sound decoded",
        }
    }

    /// Does it so many times; returns how many units that were: packets sent, or frames coded.
    pub(crate) fn run(self, rounds: u32) -> Result<u64, Failure> {
        match self {
            Work::Forward => forward(rounds),
            Work::Mix => mix(rounds),
            Work::Encode => encode(rounds),
            Work::Decode => decode(rounds),
        }
    }
}

fn forward(rounds: u32) -> Result<u64, Failure> {
    let mut hall = Hall::new()?;
    let camera = hall.enter(true, false)?;
    hall.pass(TICK);
    for _ in 0..AUDIENCE {
        hall.enter(false, true)?;
    }
    hall.pass(TICK);
    let mut packetizer = Packetizer::new(campanile_client::Codec::Vp8, Scalability::NONE, (1280, 720));
    let mut frame = vec![0x11; 5500];
    let (mut sequence, before) = (0_u16, hall.sent.datagrams);
    for round in 0..rounds {
        // RFC 6386 section 9.1: a keyframe first, with its start code and size.
        frame[0] = 0x10 | u8::from(round > 0);
        frame[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        for payload in packetizer.packetize(&frame) {
            hall.show(camera, sequence, round * 3000, payload.marker, &payload.bytes);
            sequence = sequence.wrapping_add(1);
        }
        hall.pass(Duration::from_millis(33));
    }
    Ok(hall.sent.datagrams - before)
}

fn mix(rounds: u32) -> Result<u64, Failure> {
    let mut hall = Hall::new()?;
    let voices = (0..3).map(|number| tone(300.0 + 200.0 * number as f32, 0.1, 1));
    let voices: Vec<_> = voices.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    for _ in 0..voices.len() + AUDIENCE {
        hall.enter(false, false)?;
    }
    let before = hall.sent.datagrams;
    for round in 0..rounds {
        for (number, voice) in voices.iter().enumerate() {
            hall.speak(number, round, &voice.packets[round as usize % voice.packets.len()]);
        }
        hall.pass(TICK);
    }
    Ok(hall.sent.datagrams - before)
}

fn samples() -> Vec<f32> {
    (0..PACKET_SAMPLES * 50)
        .map(|n| 0.1 * (n as f32 * 0.05).sin() + 0.05 * (n as f32 * 0.013).sin())
        .collect()
}

fn encoder() -> Result<Encoder, Failure> {
    Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Audio,
        bitrate_bps: 32_000,
        complexity: 7,
        signal: Signal::Auto,
        bandwidth: Bandwidth::Full,
    })
    .map_err(|error| error.to_string())
}

fn encode(rounds: u32) -> Result<u64, Failure> {
    let (mut encoder, samples, mut packet) = (encoder()?, samples(), [0; 1000]);
    for frame in samples.chunks_exact(PACKET_SAMPLES).cycle().take(rounds as usize) {
        encoder.encode_f32(frame, &mut packet).map_err(|error| error.to_string())?;
    }
    Ok(rounds.into())
}

fn decode(rounds: u32) -> Result<u64, Failure> {
    let voice = tone(440.0, 0.1, 1).map_err(|error| error.to_string())?;
    let mut decoder = Decoder::new(Channels::Mono).map_err(|error| error.to_string())?;
    let mut samples = [0.0; PACKET_SAMPLES];
    for packet in voice.packets.iter().cycle().take(rounds as usize) {
        decoder.decode_f32(Some(packet), false, &mut samples).map_err(|error| error.to_string())?;
    }
    Ok(rounds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_work() {
        // Beside what is named here there are reports, and while video is shown, sound.
        let audience = AUDIENCE as u64;
        assert!((40 * 5 * audience..40 * 8 * audience).contains(&Work::Forward.run(40).unwrap()));
        assert!((50 * (3 + audience)..51 * (4 + audience)).contains(&Work::Mix.run(50).unwrap()));
        assert_eq!((Work::Encode.run(3).unwrap(), Work::Decode.run(3).unwrap()), (3, 3));
    }
}
