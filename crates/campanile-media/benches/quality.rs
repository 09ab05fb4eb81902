//! How speech sounds through the mixer: `cargo bench -p campanile-media --bench quality -- SPEECH [FOLDER]`, where SPEECH is
//! a file of raw 48 kHz mono 16-bit little-endian samples. What is heard of it is also written to FOLDER, in the same format,
//! for other judges; `quality.py` beside this file makes speech, runs this, and lets PESQ and ViSQOL judge.
//!
//! The measure here is a spectral distance: the energies of 20 ms frames (Hann window) in the 24 Bark bands, in dB, the
//! difference between what was said and what is heard, root mean square over all bands within 50 dB of the frame's loudest, of
//! all frames louder than -50 dB. 0 is perfect; lower is better. It knows nothing of phase and little of masking; it tells which
//! of two codings of the same speech at the same rate keeps more of its spectrum, and no more than that.
//!
//! Beside the mixer stands an encoder set up as Janus' AudioBridge does it (VOIP, complexity 4, the same rate), fed with
//! the same decoded sound. Both use the libopus built here; Debian's Janus has 1.3.1.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods)] // reads a file and starts a clock: this is a shell, not the core

use std::path::PathBuf;
use std::time::Instant;

use campanile_media::mix::{AudioPacket, FRAME_SAMPLES, LegId, Mixer, Profile, SILENCE, TICK};
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};

/// Upper edges of the Bark bands, in Hz (Zwicker 1961).
const BARK_HZ: [f32; 24] = [
    100.0, 200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1080.0, 1270.0, 1480.0, 1720.0, 2000.0, 2320.0,
    2700.0, 3150.0, 3700.0, 4400.0, 5300.0, 6400.0, 7700.0, 9500.0, 12000.0, 15500.0,
];
/// The longest delay looked for: 100 ms.
const DELAY_MAX: usize = 4_800;

fn main() {
    let mut files = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let Some(file) = files.next() else { return println!("quality: give a file of speech") };
    let bytes = std::fs::read(file).expect("the file of samples");
    let said: Vec<f32> = bytes
        .chunks_exact(2)
        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
        .collect();
    let bench = Bench { said, folder: files.next().map(PathBuf::from) };
    let uplink = encoder(Application::Voip, 32_000, 9);
    let packets = encode(uplink, &bench.said);
    let direct = decode(&packets);
    bench.report("uplink alone", &packets);
    for (name, profile, bitrate_bps) in [
        ("32", Profile::Speech, 32_000),
        ("40", Profile::ClearSpeech, 40_000),
        ("64", Profile::Music, 64_000),
    ] {
        bench.report(&format!("campanile {name}"), &mix(&packets, profile, false));
        bench.report(&format!("campanile {name} interjecting"), &mix(&packets, profile, true));
        let theirs = encode(encoder(Application::Voip, bitrate_bps, 4), &direct);
        bench.report(&format!("as AudioBridge {name}"), &theirs);
    }
}

struct Bench {
    said: Vec<f32>,
    folder: Option<PathBuf>,
}

impl Bench {
    fn report(&self, name: &str, packets: &[Vec<u8>]) {
        let heard = decode(packets);
        if let Some(folder) = &self.folder {
            let sample =
                |sample: &f32| ((sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes();
            let bytes: Vec<u8> = heard.iter().flat_map(sample).collect();
            std::fs::write(folder.join(name), bytes).expect("the folder can be written to");
        }
        let kbps = packets.iter().map(Vec::len).sum::<usize>() as f32 * 8.0 / (packets.len() as f32 * 20.0);
        // TOC, RFC 6716 section 3.1: configurations from 16 on are CELT, from 12 on hybrid, below SILK.
        let modes = packets.iter().fold([0; 3], |mut modes, packet| {
            modes[match packet[0] >> 3 {
                16.. => 2,
                12.. => 1,
                _ => 0,
            }] += 1;
            modes
        });
        let (distance_db, delay) = distance(&self.said, &heard);
        println!(
            "{name:26} {distance_db:6.2} dB at {kbps:5.1} kbit/s; {:5.1} ms late; {} SILK, {} hybrid, {} CELT packets",
            delay as f32 / 48.0,
            modes[0],
            modes[1],
            modes[2]
        );
    }
}

fn encoder(application: Application, bitrate_bps: u32, complexity: u8) -> Encoder {
    let (channels, signal, bandwidth) = (Channels::Mono, Signal::Auto, Bandwidth::Full);
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
    let hum: Vec<f32> = (0..packets.len() * FRAME_SAMPLES).map(|i| 0.003 * turn(i % 480, 480).1).collect();
    let hum = encode(encoder(Application::Voip, 32_000, 5), &hum);
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

/// The distance, at the delay at which the two agree best.
fn distance(said: &[f32], heard: &[f32]) -> (f32, usize) {
    let middle = said.len() / 3;
    let length = (said.len() - middle - DELAY_MAX).min(96_000);
    let likeness = |delay: usize| {
        let pairs = said[middle..middle + length].iter().zip(&heard[middle + delay..]);
        pairs.map(|(said, heard)| said * heard).sum::<f32>()
    };
    let delay = (0..DELAY_MAX).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap_or(0);
    let (mut sum, mut count) = (0.0, 0);
    for (said, heard) in said.chunks_exact(FRAME_SAMPLES).zip(heard[delay..].chunks_exact(FRAME_SAMPLES)) {
        let power = said.iter().map(|sample| sample * sample).sum::<f32>() / FRAME_SAMPLES as f32;
        if power < 1e-5 {
            continue;
        }
        let (said, heard) = (bands_db(said), bands_db(heard));
        let loudest = said.iter().fold(f32::MIN, |loudest, band| loudest.max(*band));
        for (said, heard) in said.iter().zip(heard).filter(|(said, _)| **said > loudest - 50.0) {
            sum += (said - heard).powi(2);
            count += 1;
        }
    }
    ((sum / count.max(1) as f32).sqrt(), delay)
}

fn bands_db(frame: &[f32]) -> [f32; 24] {
    let mut energies = [1e-9f32; 24];
    // Bins of 50 Hz; the plain sum is fast enough here.
    for bin in 1..(15_500 / 50) {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, sample) in frame.iter().enumerate() {
            let window = 0.5 - 0.5 * turn(i, FRAME_SAMPLES).0;
            let (cos, sin) = turn(bin * i % FRAME_SAMPLES, FRAME_SAMPLES);
            re += sample * window * cos;
            im += sample * window * sin;
        }
        let hz = bin as f32 * 50.0;
        let band = BARK_HZ.iter().position(|edge| hz < *edge).unwrap_or(23);
        energies[band] += re * re + im * im;
    }
    energies.map(|energy| 10.0 * energy.log10())
}

fn turn(part: usize, whole: usize) -> (f32, f32) {
    static TABLE: std::sync::OnceLock<Vec<(f32, f32)>> = std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let angle = |part: usize| std::f64::consts::TAU * part as f64 / whole as f64;
        (0..whole).map(|part| (angle(part).cos() as f32, angle(part).sin() as f32)).collect()
    });
    table[part]
}
