//! What simulated attendees say and hear: tones, and how loud each is in what comes back.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use campanile_media::mix::FRAME_SAMPLES;
use campanile_opus::{
    Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, PACKET_SAMPLES_MAX, RestingMicrophone,
    SAMPLE_RATE_HZ, SILENCE, Signal,
};

/// Packets of a tone before it repeats.
const TONE_PACKETS: usize = 50;
/// Packets at the start of a tone that are left out, while the encoder finds its feet.
const TONE_WARM_UP: usize = 10;
/// Loudness of a tone: about -13 dB of full scale.
const TONE_AMPLITUDE: f32 = 0.3;
const TONE_LEVEL_DB: u8 = 13;
const SILENCE_LEVEL_DB: u8 = 127;
/// How much of what was heard is kept: what a look at it takes into account.
const HEARD_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 2;

/// A microphone: Opus packets of 20 ms, over and over.
#[derive(Debug, Default)]
pub(crate) struct Microphone {
    packets: Vec<Vec<u8>>,
    at: usize,
    silence: RestingMicrophone,
}

impl Microphone {
    /// A sine of `hz`, a multiple of 50 so that each packet holds whole periods.
    pub(crate) fn tone(hz: u32) -> Microphone {
        assert!(hz.is_multiple_of(50), "whole periods in 20 ms");
        let mut encoder = Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Celt,
            bitrate_bps: 48_000,
            complexity: 5,
            signal: Signal::Music,
            bandwidth: Bandwidth::Full,
        })
        .expect("these are settings that Opus knows");
        encoder.set_prediction_disabled(true);
        let step = TAU * hz as f32 / SAMPLE_RATE_HZ as f32;
        let pcm: Vec<f32> = (0..FRAME_SAMPLES).map(|at| TONE_AMPLITUDE * (step * at as f32).sin()).collect();
        let encode = |_| {
            let mut packet = vec![0; 400];
            let bytes = encoder.encode_f32(&pcm, &mut packet).expect("20 ms fit");
            packet.truncate(bytes);
            packet
        };
        Microphone {
            packets: (0..TONE_PACKETS).map(encode).skip(TONE_WARM_UP).collect(),
            ..Microphone::default()
        }
    }

    /// The next packet and its level (RFC 6464); silence when muted, or without a tone, of which not all is sent if it `rests`
    /// (DTX).
    pub(crate) fn next(&mut self, muted: bool, rests: bool) -> Option<(&[u8], u8)> {
        if muted || self.packets.is_empty() {
            let packet = self.silence.next_packet();
            return if rests { packet } else { Some(&SILENCE[..]) }.map(|packet| (packet, SILENCE_LEVEL_DB));
        }
        self.silence.speak();
        self.at = (self.at + 1) % self.packets.len();
        Some((&self.packets[self.at], TONE_LEVEL_DB))
    }
}

/// An ear: decodes what comes in, and keeps the last half second.
#[derive(Debug)]
pub(crate) struct Ear {
    decoder: Decoder,
    heard: VecDeque<f32>,
    last_sequence: Option<u16>,
}

impl Ear {
    pub(crate) fn new() -> Ear {
        let decoder = Decoder::new(Channels::Mono).expect("mono is a kind of sound");
        Ear { decoder, heard: VecDeque::new(), last_sequence: None }
    }

    /// Hears one packet. What is missing before it is concealed; what comes late is not heard.
    pub(crate) fn hear(&mut self, sequence: u16, payload: &[u8]) {
        let step = self.last_sequence.map_or(1, |last| sequence.wrapping_sub(last) as i16);
        if step <= 0 {
            return;
        }
        self.last_sequence = Some(sequence);
        let mut pcm = [0.0; PACKET_SAMPLES_MAX];
        for _ in 1..step.min(10) {
            let gap = &mut pcm[..FRAME_SAMPLES];
            if self.decoder.decode_f32(None, false, gap).is_ok() {
                self.heard.extend(gap.iter());
            }
        }
        let samples = self.decoder.decode_f32(Some(payload), false, &mut pcm).expect("the mixer sends Opus");
        self.heard.extend(&pcm[..samples]);
        let surplus = self.heard.len().saturating_sub(HEARD_SAMPLES);
        self.heard.drain(..surplus);
    }

    /// How loud a tone is in the last half second, in dB of a full-scale sine; -200 for nothing at all.
    pub(crate) fn level_db(&self, hz: u32) -> f32 {
        if self.heard.is_empty() {
            return -200.0;
        }
        // Goertzel's filter over a Hann window, which keeps neighbouring tones apart.
        let length = self.heard.len() as f32;
        let coefficient = 2.0 * (TAU * hz as f32 / SAMPLE_RATE_HZ as f32).cos();
        let (mut before, mut last) = (0.0f64, 0.0f64);
        for (at, sample) in self.heard.iter().enumerate() {
            let window = 1.0 - (TAU * at as f32 / length).cos();
            (before, last) = (last, f64::from(sample * window) + f64::from(coefficient) * last - before);
        }
        let power = before * before + last * last - f64::from(coefficient) * before * last;
        let amplitude = power.max(0.0).sqrt() * 2.0 / f64::from(length);
        (20.0 * amplitude.max(1e-10).log10()) as f32
    }

    /// The loudest sample of the last half second.
    pub(crate) fn peak(&self) -> f32 {
        self.heard.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_at_its_pitch_and_not_elsewhere() {
        let (mut microphone, mut ear) = (Microphone::tone(600), Ear::new());
        for sequence in 0..50 {
            ear.hear(sequence, microphone.next(false, false).unwrap().0);
        }
        assert!((-12.0..-9.0).contains(&ear.level_db(600)), "{}", ear.level_db(600));
        assert!(ear.level_db(900) < -60.0, "{}", ear.level_db(900));
        for sequence in 50..100 {
            ear.hear(sequence, microphone.next(true, false).unwrap().0);
        }
        assert!(ear.level_db(600) < -80.0, "{}", ear.level_db(600));
    }
}
