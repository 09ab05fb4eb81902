//! What mixing costs: `cargo bench -p campanile-media --bench mix`. CPU time per participant and tick (20 ms), share of
//! one core, and heap allocations per tick, for meetings of several sizes, from packets in to sealed packets out. The
//! kernel's part (receiving, sending) is not in it. Prints a table; compare ratios within one run, not runs.
#![allow(unsafe_code)] // counting allocations takes a global allocator, which is unsafe to write
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a clock and a file: this is a shell, not the core
#![allow(missing_docs)]

#[path = "../tests/heap/mod.rs"]
mod heap;

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use campanile_media::mix::{AudioPacket, LegId, Mixer, Profile, TICK};
use campanile_media::peer::srtp::{SrtpProfile, SrtpReceiver, SrtpSender};
use campanile_media::rtp::{self, RtpHeader};
use campanile_opus::{Application, Bandwidth, Channels, Encoder, EncoderConfig, Signal};

/// Ticks in which decoders and encoders warm up, and ticks measured.
const WARM_TICKS: usize = 100;
const TICKS: usize = 500;

/// CPU time of this thread.
fn cpu() -> Duration {
    // Without allocating, or it would count itself.
    let mut text = [0; 64];
    let length = File::open("/proc/thread-self/schedstat").and_then(|mut file| file.read(&mut text));
    let text = std::str::from_utf8(&text[..length.expect("Linux")]).expect("digits");
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("schedstat begins with nanoseconds"))
}

/// Ten seconds of a voice as a browser sends it.
fn voice() -> Vec<Vec<u8>> {
    let config = EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 32_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    };
    let mut encoder = Encoder::new(config).expect("memory");
    let mut phase = 0.0f32;
    (0..500)
        .map(|frame| {
            let pcm: Vec<f32> = (0..960)
                .map(|i| {
                    let t = (frame * 960 + i) as f32 / 48_000.0;
                    phase = (phase + (120.0 + 30.0 * (1.7 * t).sin()) / 48_000.0).fract();
                    let glottis: f32 =
                        (1..14).map(|n| (std::f32::consts::TAU * phase * n as f32).sin() / n as f32).sum();
                    0.2 * glottis * (0.3 + 0.7 * (3.0 * std::f32::consts::TAU * t).sin().abs())
                })
                .collect();
            let mut packet = [0; 500];
            let length = encoder.encode_f32(&pcm, &mut packet).expect("a frame of 20 ms");
            packet[..length].to_vec()
        })
        .collect()
}

struct Case {
    name: &'static str,
    talkers: usize,
    people: usize,
    /// Voices heard at once.
    voices: usize,
    sealed: bool,
}

/// Runs one meeting; returns CPU per tick without and with what is around the mixer, and allocations per tick.
fn run(case: &Case, voice: &[Vec<u8>]) -> (Duration, Duration, f64) {
    let mut mixer = Mixer::new();
    mixer.set_voices_max(case.voices);
    let legs: Vec<LegId> = (0..case.people as u32).map(LegId).collect();
    let (key, salt) = ([7; 16], [9; 12]);
    let profile = SrtpProfile::AeadAes128Gcm;
    let sender = || SrtpSender::new(profile, &key, &salt).expect("lengths of this profile");
    let mut ends: Vec<_> = legs
        .iter()
        .map(|leg| {
            mixer.add(*leg, leg.0, true);
            mixer.set_profile(*leg, Profile::Speech);
            let receiver = SrtpReceiver::new(profile, &key, &salt).expect("lengths of this profile");
            (sender(), receiver, sender())
        })
        .collect();
    let mut now = Instant::now();
    let mut packets: Vec<Vec<u8>> = vec![Vec::with_capacity(1_500); case.people];
    let mut out: Vec<u8> = Vec::with_capacity(2_000 * case.people);
    let (mut mixing, mut all, mut allocations) = (Duration::ZERO, Duration::ZERO, 0);
    for tick in 0..WARM_TICKS + TICKS {
        now += TICK;
        // What clients send: not measured.
        for (n, ((client, ..), packet)) in ends.iter_mut().zip(&mut packets).enumerate() {
            packet.clear();
            let (sequence, timestamp) = (tick as u16, (tick * 960) as u32);
            rtp::write_header(packet, 111, false, sequence, timestamp, n as u32, &[]);
            let talks = n < case.talkers;
            packet.extend_from_slice(if talks { &voice[(tick + 37 * n) % 500] } else { &[0xf8, 0xff, 0xfe] });
            if case.sealed {
                client.protect_rtp(packet, 0).expect("a packet of our own");
            }
        }
        let (before, counted) = (cpu(), heap::so_far().allocations);
        for (n, ((_, receiver, _), packet)) in ends.iter_mut().zip(&mut packets).enumerate() {
            let header = RtpHeader::parse(packet).expect("a packet of our own");
            let length = if case.sealed {
                receiver.unprotect_rtp(packet, &header).expect("sealed with this key")
            } else {
                packet.len()
            };
            let payload = &packet[header.payload.start..length];
            let level_db = Some(if n < case.talkers { 20 } else { 127 });
            let (sequence, timestamp) = (header.sequence, header.timestamp);
            mixer.push(now, legs[n], AudioPacket { sequence, timestamp, level_db, payload });
        }
        let (ticking, ticking_counted) = (cpu(), heap::so_far().allocations);
        mixer.tick(now);
        let ticked = cpu();
        let in_tick = heap::so_far().allocations - ticking_counted;
        out.clear();
        for (leg, (_, _, server)) in legs.iter().zip(&mut ends) {
            let start = out.len();
            rtp::write_header(&mut out, 111, false, tick as u16, (tick * 960) as u32, 5, &[]);
            out.extend_from_slice(mixer.payload_for(*leg));
            if case.sealed {
                server.protect_rtp(&mut out, start).expect("a packet of our own");
            }
        }
        if tick >= WARM_TICKS {
            mixing += ticked - ticking;
            all += cpu() - before;
            allocations += heap::so_far().allocations - counted;
            assert_eq!(in_tick, 0, "a tick in steady state takes no memory");
        }
    }
    (mixing / TICKS as u32, all / TICKS as u32, allocations as f64 / TICKS as f64)
}

fn main() {
    let voice = voice();
    println!(
        "out: 32 kbit/s mono, complexity 7 (6 in a crowd), hybrid or CELT by its own choice; in: hybrid speech, 32 kbit/s"
    );
    println!(
        "{:<44} {:>10} {:>10} {:>12} {:>9} {:>7}",
        "meeting", "tick us", "all us", "us/person", "of a core", "allocs"
    );
    let case = |name, talkers, people, voices, sealed| Case { name, talkers, people, voices, sealed };
    for case in [
        case("25, all talk, all mixed", 25, 25, 25, false),
        case("50, all talk, all mixed", 50, 50, 50, false),
        case("50, all talk, 8 mixed", 50, 50, 8, false),
        case("60, 3 talk", 3, 60, 8, false),
        case("250, 3 talk, sealed", 3, 250, 8, true),
        case("250, 8 talk, sealed", 8, 250, 8, true),
        case("1000, all silent, sealed", 0, 1_000, 8, true),
        case("2500, 3 talk, sealed", 3, 2_500, 8, true),
    ] {
        let (mixing, all, allocations) = run(&case, &voice);
        println!(
            "{:<44} {:>10.1} {:>10.1} {:>12.2} {:>8.2}% {:>7.2}",
            case.name,
            mixing.as_secs_f64() * 1e6,
            all.as_secs_f64() * 1e6,
            all.as_secs_f64() * 1e6 / case.people as f64,
            all.as_secs_f64() / TICK.as_secs_f64() * 100.0,
            allocations,
        );
    }
    let before = heap::so_far().bytes;
    let idle: Vec<Mixer> = (0..5_000).map(|_| Mixer::new()).collect();
    println!(
        "5,000 meetings without anybody: {} bytes each, and no ticks",
        (heap::so_far().bytes - before) / 5_000
    );
    drop(idle);
    let before = heap::so_far().bytes;
    let mut quiet = Mixer::new();
    (0..1_000).for_each(|leg| quiet.add(LegId(leg), leg, true));
    println!("a silent listener that never sent: {} bytes", (heap::so_far().bytes - before) / 1_000);
}
