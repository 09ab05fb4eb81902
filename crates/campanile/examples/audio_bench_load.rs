//! Bare-RTP attendees for `bench/audio_beside_janus.py`: sends speech and counts what comes back, in 50 packets a second each.
//!
//! `audio_bench_load SPEECH FIRST_PORT TALKERS PER_MEETING WARM_SECONDS SECONDS PORT...`: SPEECH is a file of raw 48 kHz mono
//! 16-bit little-endian samples (or `-` for a made-up voice); attendee number n sends from 127.0.0.1, port
//! FIRST_PORT + n, to the n-th PORT. In each meeting of PER_MEETING the first TALKERS talk. Prints `begin` and `end` around
//! the measured time, then `sent N received N`.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use campanile_media::rtp;
use campanile_opus::{Application, Bandwidth, Channels, Encoder, EncoderConfig, Signal};

const TICK: Duration = Duration::from_millis(20);
const OPUS: u8 = 111;
const AUDIO_LEVEL: u8 = 1;
/// Sending is spread over the tick in as many steps, as arrivals of independent clients would be.
const STEPS: usize = 10;

struct Attendee {
    socket: UdpSocket,
    port: u16,
    talks: bool,
    at: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let frames = speech(&arguments[0]);
    let (first_port, talkers, per_meeting) = (number(1), number(2), number(3));
    let (warm, measured) = (number(4) as u32 * 50, number(5) as u32 * 50);
    let mut attendees: Vec<Attendee> = arguments[6..]
        .iter()
        .enumerate()
        .map(|(n, port)| {
            let own = u16::try_from(first_port + n).expect("ports go up to 65535");
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, own)).expect("a free port");
            socket.set_nonblocking(true).expect("a socket may be");
            let talks = n % per_meeting < talkers;
            Attendee { socket, port: port.parse().expect("a port"), talks, at: 61 * n % frames.len() }
        })
        .collect();
    let (mut sent, mut received, mut packet, mut buffer) = (0u64, 0u64, Vec::new(), [0; 2_048]);
    let start = Instant::now();
    for tick in 0..warm + measured {
        if tick == warm {
            println!("begin");
        }
        for step in 0..STEPS {
            for (n, attendee) in attendees.iter_mut().enumerate().filter(|(n, _)| n % STEPS == step) {
                let (payload, level) = if attendee.talks {
                    (&frames[attendee.at][..], 20)
                } else {
                    (&[0xf8, 0xff, 0xfe][..], 127)
                };
                attendee.at = (attendee.at + 1) % frames.len();
                packet.clear();
                let extensions: [(u8, &[u8]); 1] = [(AUDIO_LEVEL, &[level])];
                rtp::write_header(
                    &mut packet,
                    OPUS,
                    tick == 0,
                    tick as u16,
                    tick * 960,
                    1_000 + n as u32,
                    &extensions,
                );
                packet.extend_from_slice(payload);
                sent += u64::from(tick >= warm);
                let _ = attendee.socket.send_to(&packet, (Ipv4Addr::LOCALHOST, attendee.port));
                while let Ok((length, _)) = attendee.socket.recv_from(&mut buffer) {
                    // RTP version 2 with our payload type; anything else (RTCP) is no audio.
                    let is_audio = length > 12 && buffer[0] >> 6 == 2 && buffer[1] & 0x7f == OPUS;
                    received += u64::from(is_audio && tick >= warm);
                }
            }
            let due = start + TICK * tick + TICK * (step as u32 + 1) / STEPS as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    println!("end");
    println!("sent {sent} received {received}");
}

/// The speech in Opus packets of 20 ms, hybrid at 32 kbit/s as browsers make them.
fn speech(file: &str) -> Vec<Vec<u8>> {
    let samples: Vec<f32> = if file == "-" {
        let mut phase = 0.0f32;
        (0..480_000)
            .map(|i| {
                let t = i as f32 / 48_000.0;
                phase = (phase + (120.0 + 30.0 * (1.7 * t).sin()) / 48_000.0).fract();
                let voice: f32 =
                    (1..14).map(|n| (std::f32::consts::TAU * phase * n as f32).sin() / n as f32).sum();
                0.2 * voice * (0.3 + 0.7 * (3.0 * std::f32::consts::TAU * t).sin().abs())
            })
            .collect()
    } else {
        let bytes = std::fs::read(file).expect("the file of samples");
        bytes
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
            .collect()
    };
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 32_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .expect("memory");
    samples
        .chunks_exact(960)
        .map(|pcm| {
            let mut packet = [0; 500];
            let length = encoder.encode_f32(pcm, &mut packet).expect("a frame of 20 ms");
            packet[..length].to_vec()
        })
        .collect()
}
