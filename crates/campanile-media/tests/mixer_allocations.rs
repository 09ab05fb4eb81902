//! Neither a packet pushed into the mixer nor a tick takes memory from the heap once a conversation has gone on for a while:
//! people start and stop speaking, some send redundant audio, each quality has its listeners.
#![allow(unsafe_code)] // counting allocations takes a global allocator, which is unsafe to write
#![allow(clippy::disallowed_methods)] // a clock to begin with: this is no part of the core

mod heap;

use std::time::Instant;

use campanile_media::mix::{AudioPacket, FRAME_SAMPLES, LegId, Mixer, Profile, TICK};
use campanile_opus::{Application, Bandwidth, Channels, Encoder, EncoderConfig, Signal};

const OPUS: u8 = 111;
const PEOPLE: usize = 20;
/// Everybody says the same for so many packets, over and over: as many as a jitter buffer has places, so that each place
/// has soon held the longest packet that it will.
const PHRASE: usize = 64;
/// Person number n speaks for a phrase, at every third one: nobody is silent for so long that what they speak and hear with
/// is given back.
const TURNS: usize = 3;
/// Ticks in which all have had their turn twice, and ticks counted.
const WARM: usize = 2 * TURNS * PHRASE;
const COUNTED: usize = TURNS * PHRASE;

fn phrase() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 32_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .expect("memory");
    let frame = |number: usize| {
        let pcm = (number * FRAME_SAMPLES..(number + 1) * FRAME_SAMPLES).map(|sample| {
            let seconds = sample as f32 / 48_000.0;
            let loudness = (std::f32::consts::TAU * 3.0 * seconds).sin().abs();
            (1..9).map(|n| (std::f32::consts::TAU * 130.0 * n as f32 * seconds).sin() / n as f32).sum::<f32>()
                * 0.1
                * loudness
        });
        let mut packet = [0; 500];
        let length = encoder.encode_f32(&pcm.collect::<Vec<_>>(), &mut packet).expect("a frame of 20 ms");
        packet[..length].to_vec()
    };
    (0..PHRASE).map(frame).collect()
}

/// Redundant audio (RFC 2198): the packet before it, then the packet.
fn red(before: &[u8], packet: &[u8]) -> Vec<u8> {
    let header = ((FRAME_SAMPLES as u32) << 10 | before.len() as u32).to_be_bytes();
    [&[0x80 | OPUS], &header[1..], &[OPUS], before, packet].concat()
}

#[test]
fn pushing_and_ticking_allocate_nothing() {
    const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
    let phrase = phrase();
    let redundant: Vec<_> =
        (0..PHRASE).map(|n| red(&phrase[(n + PHRASE - 1) % PHRASE], &phrase[n])).collect();
    let profiles =
        [Profile::Speech, Profile::ClearSpeech, Profile::Music, Profile::StereoMusic, Profile::Mobile];
    let mut mixer = Mixer::new();
    for person in 0..PEOPLE {
        mixer.add(LegId(person as u32), person as u32, true);
        mixer.set_profile(LegId(person as u32), profiles[person % profiles.len()]);
    }
    let (mut now, mut out, mut spoken) = (Instant::now(), Vec::with_capacity(4_000), 0);
    let mut before = heap::so_far();
    for tick in 0..WARM + COUNTED {
        if tick == WARM {
            (before, spoken) = (heap::so_far(), 0);
        }
        now += TICK;
        for person in 0..PEOPLE {
            let speaks = tick / PHRASE % TURNS == person % TURNS;
            let (sequence, timestamp) = (tick as u16, (tick * FRAME_SAMPLES) as u32);
            let level_db = Some(if speaks { 20 } else { 127 });
            let packet = |payload| AudioPacket { sequence, timestamp, level_db, payload };
            let leg = LegId(person as u32);
            match speaks {
                true if person % 2 == 0 => mixer.push_red(now, leg, OPUS, packet(&redundant[tick % PHRASE])),
                true => mixer.push(now, leg, packet(&phrase[tick % PHRASE])),
                false => mixer.push(now, leg, packet(&SILENCE)),
            }
        }
        mixer.tick(now);
        for person in 0..PEOPLE {
            out.clear();
            mixer.write_red_for(LegId(person as u32), OPUS, person % 2, &mut out);
            spoken += usize::from(mixer.payload_for(LegId(person as u32)).len() > SILENCE.len());
        }
    }
    assert_eq!(heap::so_far(), before);
    assert!(spoken > COUNTED * PEOPLE / 2, "there was something to hear: {spoken} packets");
}
