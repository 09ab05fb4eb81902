//! The mixer with clients around it, in virtual time. Here is what all tests need; they are below, by subject.

mod choice;
mod delay;
mod hostile;
mod mixing;
mod network;

mod packets;
mod pauses;
mod profiles;
mod senders;
mod streams;

use super::level::attenuation_db;
use super::*;
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};

const ANN: LegId = LegId(1);
const BOB: LegId = LegId(2);
const CAT: LegId = LegId(3);
const EVE: LegId = LegId(4);

/// A meeting in which legs send sounds, for as many ticks as one likes; a client's clock is the mixer's.
struct World {
    mixer: Mixer,
    now: Instant,
    clients: BTreeMap<LegId, Client>,
}

/// A microphone, an encoder, a network, a decoder, an ear.
struct Client {
    sound: Tune,
    /// Announces this level instead of the true one; `Some(None)`: none at all.
    announces: Option<Option<u8>>,
    encoder: Encoder,
    packets_sent: usize,
    /// Packets to hold back, by number; those to lose altogether.
    network: Box<dyn FnMut(usize) -> Network>,
    in_flight: Vec<(usize, Sent)>,
    decoder: Decoder,
    heard: Vec<f32>,
    mix: Vec<f32>,
    payload_lengths: Vec<usize>,
}

#[derive(Clone)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    level_db: Option<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Network {
    Deliver,
    Lose,
    Delay(usize),
    Twice,
}

type Tune = Box<dyn FnMut(usize) -> f32>;

fn tone(hz: f32, amplitude: f32) -> Tune {
    Box::new(move |sample| {
        let turns = (f64::from(hz) * sample as f64 / 48_000.0).fract();
        amplitude * (std::f64::consts::TAU * turns).sin() as f32
    })
}

fn silence() -> Tune {
    Box::new(|_| 0.0)
}

/// A tone that starts and stops: on for `on` ticks, off for `off`.
fn bursts(hz: f32, amplitude: f32, on: usize, off: usize) -> Tune {
    let mut tone = tone(hz, amplitude);
    Box::new(move |sample| {
        let value = tone(sample);
        if sample / FRAME_SAMPLES % (on + off) < on { value } else { 0.0 }
    })
}

impl World {
    fn new() -> World {
        #[allow(clippy::disallowed_methods)] // any instant will do; from here on time is an argument
        let now = Instant::now();
        World { mixer: Mixer::new(), now, clients: BTreeMap::new() }
    }

    fn join(&mut self, leg: LegId, sound: Tune) -> &mut Client {
        self.join_as(leg, leg.0, sound)
    }

    fn join_as(&mut self, leg: LegId, owner: u32, sound: Tune) -> &mut Client {
        self.mixer.add(leg, owner, true);
        let client = Client {
            sound,
            announces: None,
            encoder: Encoder::new(EncoderConfig {
                channels: Channels::Mono,
                application: Application::Audio,
                bitrate_bps: 64_000,
                complexity: 5,
                signal: Signal::Auto,
                bandwidth: Bandwidth::Full,
            })
            .unwrap(),
            packets_sent: 0,
            network: Box::new(|_| Network::Deliver),
            in_flight: Vec::new(),
            decoder: Decoder::new(Channels::Mono).unwrap(),
            heard: Vec::new(),
            mix: Vec::new(),
            payload_lengths: Vec::new(),
        };
        self.clients.insert(leg, client);
        self.client(leg)
    }

    fn client(&mut self, leg: LegId) -> &mut Client {
        self.clients.get_mut(&leg).unwrap()
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now += TICK;
            for (leg, client) in &mut self.clients {
                for sent in client.speak() {
                    let Sent { sequence, timestamp, level_db, payload } = &sent;
                    let packet = AudioPacket {
                        sequence: *sequence,
                        timestamp: *timestamp,
                        level_db: *level_db,
                        payload,
                    };
                    self.mixer.push(self.now, *leg, packet);
                }
            }
            self.mixer.tick(self.now);
            for (leg, client) in &mut self.clients {
                client.mix.extend(self.mixer.mix_for(*leg));
                client.listen(self.mixer.payload_for(*leg));
            }
        }
    }

    /// What a leg hears of a tone, in dB relative to full scale, over the last `ticks`.
    fn hears_db(&mut self, leg: LegId, hz: f32, ticks: usize) -> f32 {
        let heard = &self.client(leg).heard;
        tone_db(&heard[heard.len() - ticks * FRAME_SAMPLES..], hz)
    }
}

impl Client {
    fn speak(&mut self) -> Vec<Sent> {
        let number = self.packets_sent;
        self.packets_sent += 1;
        let from = number * FRAME_SAMPLES;
        let pcm: Vec<f32> = (from..from + FRAME_SAMPLES).map(|sample| (self.sound)(sample)).collect();
        let mut payload = vec![0; 1_000];
        let length = self.encoder.encode_f32(&pcm, &mut payload).unwrap();
        payload.truncate(length);
        let level_db = self.announces.unwrap_or(Some(attenuation_db(&pcm) as u8));
        let sent = Sent {
            sequence: 65_500u16.wrapping_add(number as u16),
            timestamp: u32::MAX.wrapping_add((number * FRAME_SAMPLES) as u32),
            level_db,
            payload,
        };
        match (self.network)(number) {
            Network::Deliver => self.in_flight.push((number, sent)),
            Network::Lose => {}
            Network::Delay(ticks) => self.in_flight.push((number + ticks, sent)),
            Network::Twice => self.in_flight.extend([(number, sent.clone()), (number, sent)]),
        }
        let (arrived, rest) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|(due, _)| *due <= number);
        self.in_flight = rest;
        let arrived: Vec<(usize, Sent)> = arrived;
        arrived.into_iter().map(|(_, sent)| sent).collect()
    }

    fn listen(&mut self, payload: &[u8]) {
        assert_eq!(campanile_opus::packet_samples(payload), Ok(FRAME_SAMPLES));
        let mut out = [0.0; FRAME_SAMPLES];
        self.decoder.decode_f32(Some(payload), false, &mut out).unwrap();
        self.heard.extend(out);
        self.payload_lengths.push(payload.len());
    }
}

/// Power of one tone in dB relative to a full-scale sine (Goertzel, under a Hann window so that other tones do not leak in).
fn tone_db(pcm: &[f32], hz: f32) -> f32 {
    let step = std::f64::consts::TAU * f64::from(hz) / 48_000.0;
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (i, sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / pcm.len() as f64).cos();
        re += f64::from(*sample) * window * (step * i as f64).cos();
        im += f64::from(*sample) * window * (step * i as f64).sin();
        weight += window;
    }
    let amplitude = 2.0 * (re * re + im * im).sqrt() / weight;
    (20.0 * amplitude.max(1e-10).log10()) as f32
}

fn rms_db(pcm: &[f32]) -> f32 {
    -attenuation_db(pcm)
}

fn peak(pcm: &[f32]) -> f32 {
    pcm.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// The largest step between neighbouring samples: a click is a large one.
fn steepest(pcm: &[f32]) -> f32 {
    pcm.windows(2).fold(0.0, |steepest, pair| steepest.max((pair[1] - pair[0]).abs()))
}

/// Share of the frames in which a steady tone sounds at no less than half its level.
fn continuity(mix: &[f32], level_db: f32) -> f32 {
    let frames: Vec<&[f32]> = mix.chunks_exact(FRAME_SAMPLES).collect();
    let sounding = frames.iter().filter(|frame| rms_db(frame) > level_db - 6.0).count();
    sounding as f32 / frames.len() as f32
}

fn dice() -> impl FnMut() -> u32 {
    dice_from(7)
}

fn dice_from(mut state: u32) -> impl FnMut() -> u32 {
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    }
}

/// As browsers encode speech: SILK or hybrid, with in-band FEC for the loss that they are told of.
fn speech_encoder(loss_percent: u8) -> Encoder {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 24_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .unwrap();
    encoder.set_inband_fec(loss_percent).unwrap();
    encoder
}
