//! How speech sounds through the mixer, by itself. What is heard of it may also be written to a folder, for other judges:
//! `quality.py` of this crate makes speech, runs this, and lets PESQ and ViSQOL judge.
//!
//! Beside the mixer stands an encoder set up as Janus' AudioBridge does it (VOIP, complexity 4, the same rate), fed with
//! the same decoded sound. Both use the libopus built here; Debian's Janus has 1.3.1, and is heard in `audio`.

use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::time::Instant;

use campanile_media::mix::{AudioPacket, FRAME_SAMPLES, LegId, Mixer, Profile, SILENCE, TICK};
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};

use crate::Failure;
use crate::audio::COMPLEXITY;
use crate::distance::{DELAY_MAX, delay};
use crate::generator::{samples, write_samples};
use crate::heard::Heard;

/// Judges `speech_file`, raw 48 kHz mono 16-bit little-endian samples; what is heard is written to `folder` in the same format.
pub(crate) fn run(speech_file: &Path, folder: Option<PathBuf>) -> Result<String, Failure> {
    let mut bench = Bench { said: samples(speech_file)?, folder, report: String::new() };
    let uplink = encoder(32_000, 9);
    let packets = encode(uplink, &bench.said);
    let direct = decode(&packets);
    bench.report("uplink alone", &packets)?;
    for (name, profile, bitrate_bps) in [
        ("32", Profile::Speech, 32_000),
        ("40", Profile::ClearSpeech, 40_000),
        ("64", Profile::Music, 64_000),
    ] {
        bench.report(&format!("campanile {name}"), &mix(&packets, profile, false))?;
        bench.report(&format!("campanile {name} interjecting"), &mix(&packets, profile, true))?;
        let theirs = encode(encoder(bitrate_bps, COMPLEXITY), &direct);
        bench.report(&format!("as AudioBridge {name}"), &theirs)?;
    }
    Ok(bench.report)
}

struct Bench {
    said: Vec<f32>,
    folder: Option<PathBuf>,
    report: String,
}

impl Bench {
    fn report(&mut self, name: &str, packets: &[Vec<u8>]) -> Result<(), Failure> {
        let heard = decode(packets);
        if let Some(folder) = &self.folder {
            write_samples(&folder.join(name), &heard)?;
        }
        let said = [&[0.0; DELAY_MAX], &self.said[..heard.len()]].concat();
        let late = delay(&said, &heard);
        let heard = Heard::new(packets.iter().map(Vec::as_slice), &self.said, &heard[late..]);
        self.report += &format!("{name:26} {heard}; {:.1} ms late\n", late as f32 / 48.0);
        Ok(())
    }
}

fn encoder(bitrate_bps: u32, complexity: u8) -> Encoder {
    let (channels, application) = (Channels::Mono, Application::Voip);
    let (signal, bandwidth) = (Signal::Auto, Bandwidth::Full);
    Encoder::new(EncoderConfig { channels, application, bitrate_bps, complexity, signal, bandwidth })
        .expect("memory")
}

fn encode(mut encoder: Encoder, pcm: &[f32]) -> Vec<Vec<u8>> {
    let frames = pcm.chunks_exact(FRAME_SAMPLES);
    frames
        .map(|frame| {
            let mut packet = [0; 1_000];
            let length = encoder.encode_f32(frame, &mut packet).expect("a frame of 20 ms");
            packet[..length].to_vec()
        })
        .collect()
}

fn decode(packets: &[Vec<u8>]) -> Vec<f32> {
    let mut decoder = Decoder::new(Channels::Mono).expect("memory");
    let mut pcm = vec![0.0; packets.len() * FRAME_SAMPLES];
    for (packet, out) in packets.iter().zip(pcm.chunks_exact_mut(FRAME_SAMPLES)) {
        decoder.decode_f32(Some(packet), false, out).expect("our own packet");
    }
    pcm
}

/// What a listener gets. One who interjects makes a sound at -50 dB for half of every three seconds, and so moves between the
/// shared stream and one of their own.
fn mix(packets: &[Vec<u8>], profile: Profile, interjecting: bool) -> Vec<Vec<u8>> {
    let (mut mixer, mut now, speaker, listener) = (Mixer::new(), Instant::now(), LegId(1), LegId(2));
    mixer.add(speaker, 1, true);
    mixer.add(listener, 2, true);
    mixer.set_profile(listener, profile);
    let hum: Vec<f32> =
        (0..packets.len() * FRAME_SAMPLES).map(|i| 0.003 * (TAU * (i % 480) as f32 / 480.0).sin()).collect();
    let hum = encode(encoder(32_000, 5), &hum);
    let mut tick = |(n, packet): (usize, &Vec<u8>)| {
        now += TICK;
        let (sequence, timestamp) = (n as u16, (n * FRAME_SAMPLES) as u32);
        let mut push = |leg, level_db, payload: &[u8]| {
            mixer.push(now, leg, AudioPacket { sequence, timestamp, level_db: Some(level_db), payload });
        };
        push(speaker, 20, packet);
        if interjecting && n % 150 < 75 {
            push(listener, 53, &hum[n]);
        } else {
            push(listener, 127, &SILENCE);
        }
        mixer.tick(now);
        mixer.payload_for(listener).to_vec()
    };
    packets.iter().enumerate().map(&mut tick).collect()
}
