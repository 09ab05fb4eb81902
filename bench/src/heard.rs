//! What one listener gets from a server: the packets of the mix, and how far what they decode to is from what the others
//! said. What somebody costs says nothing without it.

use std::fmt;
use std::path::Path;

use campanile_media::mix::FRAME_SAMPLES;
use campanile_opus::{Channels, Decoder};

use crate::Failure;
use crate::distance::{DELAY_MAX, delay, distance_db, likeness};
use crate::generator::write_samples;

/// 20 s are enough to judge by.
const PACKETS_MAX: usize = 1_000;
/// Voices are aligned anew every 2 s: a jitter buffer may take out or put in a few milliseconds of one.
const ALIGNED_SAMPLES: usize = 100 * FRAME_SAMPLES;

/// What a listener got, as far as it is kept.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The tick in which its first packet came.
    pub(crate) since_tick: u32,
    /// By sequence number.
    packets: Vec<(u16, Vec<u8>)>,
}

impl Recording {
    /// Of a first packet that comes in this tick at the earliest.
    pub(crate) fn new(tick: u32) -> Recording {
        Recording { since_tick: tick, packets: Vec::new() }
    }

    /// Keeps one packet more, unless there are enough.
    pub(crate) fn keep(&mut self, tick: u32, sequence: u16, payload: &[u8]) {
        if self.packets.is_empty() {
            self.since_tick = tick;
        }
        if self.packets.len() < PACKETS_MAX {
            self.packets.push((sequence, payload.to_vec()));
        }
    }

    /// How it sounds, whose sum it should be: of each voice `said` tells so many samples from one on, counted from the
    /// beginning of the tick in which the first packet came. `None` for less than two seconds. With a `folder`, what was said
    /// and what is heard is written there under this name, for other judges.
    pub(crate) fn judge<Said>(
        &self,
        voices: &[Said],
        folder: Option<(&Path, &str)>,
    ) -> Result<Option<Heard>, Failure>
    where
        Said: Fn(i64, usize) -> Vec<f32>,
    {
        let heard = self.decode()?;
        let mut said = Vec::with_capacity(heard.len());
        for heard in heard.chunks_exact(ALIGNED_SAMPLES) {
            let from = said.len() as i64 - DELAY_MAX as i64;
            let mut sum = vec![0.0; heard.len()];
            for voice in voices {
                let voice = voice(from, DELAY_MAX + heard.len());
                let voice = &voice[DELAY_MAX - delay(&voice, heard)..];
                sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += sample);
            }
            said.extend(sum);
        }
        if said.is_empty() {
            return Ok(None);
        }
        if let Some((folder, name)) = folder {
            write_samples(&folder.join(format!("{name}.said")), &said)?;
            write_samples(&folder.join(format!("{name}.heard")), &heard)?;
        }
        let packets = self.packets.iter().map(|(_, payload)| &payload[..]);
        Ok(Some(Heard::new(packets, &said, &heard)))
    }

    fn decode(&self) -> Result<Vec<f32>, Failure> {
        let Some((first, _)) = self.packets.first() else { return Ok(Vec::new()) };
        let mut packets: Vec<(i16, &[u8])> = self
            .packets
            .iter()
            .map(|(sequence, payload)| (sequence.wrapping_sub(*first).cast_signed(), &payload[..]))
            .filter(|(at, _)| *at >= 0)
            .collect();
        packets.sort_unstable_by_key(|(at, _)| *at);
        packets.dedup_by_key(|(at, _)| *at);
        let mut decoder = Decoder::new(Channels::Mono).map_err(|error| error.to_string())?;
        let (mut pcm, mut next) = (Vec::new(), 0);
        for (at, payload) in packets {
            let lost = (next..at).map(|_| None);
            for payload in lost.chain([Some(payload)]) {
                let mut frame = [0.0; FRAME_SAMPLES];
                decoder.decode_f32(payload, false, &mut frame).map_err(|error| error.to_string())?;
                pcm.extend(frame);
            }
            next = at + 1;
        }
        Ok(pcm)
    }
}

/// How something sounds, and what it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// From what was said, in dB.
    pub(crate) distance_db: f32,
    /// Its correlation with that: 1 is the same wave.
    pub(crate) likeness: f32,
    /// Of the packets' payloads.
    pub(crate) kbps: f32,
    /// That of most packets, and their share, 0 to 1.
    pub(crate) coding: Coding,
    pub(crate) share: f32,
}

impl Heard {
    /// Of packets of 20 ms, and what is heard in them of what was said at the same time.
    pub(crate) fn new<'a>(
        packets: impl Iterator<Item = &'a [u8]> + Clone,
        said: &[f32],
        heard: &[f32],
    ) -> Heard {
        let count = packets.clone().count().max(1);
        let bytes = packets.clone().map(<[u8]>::len).sum::<usize>();
        let mut codings = [0; 64];
        packets.filter_map(Coding::of).for_each(|coding| codings[usize::from(coding.0)] += 1);
        let (most, coding) = codings.into_iter().zip(0..).max().expect("an array of 64");
        Heard {
            distance_db: distance_db(said, heard),
            likeness: likeness(said, heard),
            kbps: bytes as f32 * 8.0 / (20.0 * count as f32),
            coding: Coding(coding),
            share: most as f32 / count as f32,
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} dB at {:.1} kbit/s, {}", self.distance_db, self.kbps, self.coding)?;
        if self.share < 1.0 { write!(f, " ({:.1} %)", 100.0 * self.share) } else { Ok(()) }
    }
}

/// The first six bits of an Opus packet: how it is coded (RFC 6716 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding(u8);

impl Coding {
    #[cfg(test)]
    pub(crate) const FULL_HYBRID: Coding = Coding(30);

    fn of(packet: &[u8]) -> Option<Coding> {
        packet.first().map(|toc| Coding(toc >> 2))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = usize::from(self.0 >> 1);
        let (mode, band, ms) = match config {
            0..12 => ("SILK", ["narrow", "medium", "wide"][config / 4], ["10", "20", "40", "60"][config % 4]),
            12..16 => ("hybrid", ["super-wide", "full"][(config - 12) / 2], ["10", "20"][config % 2]),
            _ => {
                let bands = ["narrow", "wide", "super-wide", "full"];
                ("CELT", bands[(config - 16) / 4], ["2.5", "5", "10", "20"][config % 4])
            }
        };
        let channels = if self.0 & 1 == 0 { "mono" } else { "stereo" };
        write!(f, "{mode}, {band} band, {ms} ms, {channels}")
    }
}

#[cfg(test)]
mod tests {
    use campanile_opus::{Application, Bandwidth, Encoder, EncoderConfig, Signal};

    use super::*;

    /// 6 s: what two or three people say is judged twice or more.
    const PACKETS: usize = 300;
    const FIRST_TICK: u32 = 40;

    /// A voice of its own pitch and rhythm, sample by sample for as long as one likes.
    fn voice(number: u32) -> impl Fn(i64, usize) -> Vec<f32> {
        let number = f64::from(number);
        move |from, samples| {
            let sample = |at: i64| {
                let seconds = at as f64 / 48_000.0;
                let syllable = (seconds * (2.3 + 0.7 * number)).fract();
                let pitch = 110.0 + 35.0 * number;
                let turns = pitch * seconds + (seconds * (1.1 + 0.3 * number)).sin() * 8.0;
                let harmonic = |n: i32| (std::f64::consts::TAU * turns * f64::from(n)).sin() / f64::from(n);
                (0.1 * (1.0 - syllable) * (1..24).map(harmonic).sum::<f64>()) as f32
            };
            (from..from + samples as i64).map(sample).collect()
        }
    }

    fn encoder(bitrate_bps: u32, complexity: u8, bandwidth: Bandwidth) -> Encoder {
        let (channels, application, signal) = (Channels::Mono, Application::Voip, Signal::Auto);
        Encoder::new(EncoderConfig { channels, application, bitrate_bps, complexity, signal, bandwidth })
            .expect("memory")
    }

    /// What a listener gets of voices that are each late by so many samples.
    fn recording(encoder: &mut Encoder, voices: &[(u32, usize)]) -> Recording {
        let mut recording = Recording::new(0);
        for number in 0..PACKETS {
            let mut mix = [0.0; FRAME_SAMPLES];
            for (speaker, late) in voices {
                let said = voice(*speaker)((number * FRAME_SAMPLES) as i64 - *late as i64, FRAME_SAMPLES);
                mix.iter_mut().zip(said).for_each(|(mix, sample)| *mix += sample);
            }
            let mut packet = [0; 1_000];
            let length = encoder.encode_f32(&mix, &mut packet).expect("20 ms");
            recording.keep(
                FIRST_TICK + number as u32,
                65_500u16.wrapping_add(number as u16),
                &packet[..length],
            );
        }
        recording
    }

    fn judge(recording: &Recording, speakers: &[u32]) -> Heard {
        let voices: Vec<_> = speakers.iter().map(|speaker| voice(*speaker)).collect();
        recording.judge(&voices, None).expect("our own packets").expect("enough of them")
    }

    #[test]
    fn what_is_coded_worse_is_farther_from_what_was_said_however_late_each_voice_is() {
        let late = [(1, 6_000), (2, 1_440), (3, 13_333)];
        let heard = |mut encoder: Encoder| {
            let recording = recording(&mut encoder, &late);
            assert_eq!(recording.since_tick, FIRST_TICK);
            judge(&recording, &[1, 2, 3])
        };
        let fine = heard(encoder(96_000, 9, Bandwidth::Full));
        let plain = heard(encoder(32_000, 4, Bandwidth::Full));
        let muffled = heard(encoder(12_000, 0, Bandwidth::Narrow));
        println!("{fine}; {plain}; {muffled}");
        assert!(fine.distance_db + 0.5 < plain.distance_db, "{fine}; {plain}");
        assert!(plain.distance_db + 5.0 < muffled.distance_db, "{plain}; {muffled}");
        assert!((28.0..36.0).contains(&plain.kbps), "{plain}");
        assert_eq!(muffled.coding.to_string(), "SILK, narrow band, 20 ms, mono");
    }

    #[test]
    fn a_voice_that_is_missing_or_packets_that_are_lost_are_heard() {
        let late = [(1, 6_000), (2, 1_440)];
        let mut whole = recording(&mut encoder(64_000, 5, Bandwidth::Full), &late);
        let all = judge(&whole, &[1, 2]);
        let one_missing = judge(&whole, &[1, 2, 3]);
        assert!(all.distance_db + 1.0 < one_missing.distance_db, "{all}; {one_missing}");
        whole.packets.retain(|(sequence, _)| sequence % 5 > 0);
        let lossy = judge(&whole, &[1, 2]);
        assert!(all.distance_db + 1.0 < lossy.distance_db, "{all}; {lossy}");
    }

    #[test]
    fn the_order_of_arrival_makes_no_difference_and_other_voices_are_no_quality_at_all() {
        let mut shuffled = recording(&mut encoder(32_000, 5, Bandwidth::Full), &[(1, 2_000)]);
        let before = judge(&shuffled, &[1]);
        shuffled.packets[1..].reverse();
        let twice = shuffled.packets[7].clone();
        shuffled.packets.push(twice);
        let after = judge(&shuffled, &[1]);
        assert!((before.distance_db - after.distance_db).abs() < 1e-3, "{before}; {after}");
        let (right, wrong) = (after.likeness, judge(&shuffled, &[4]).likeness);
        assert!(right > 0.6 && wrong < 0.2, "{right} {wrong}");
        assert!(Recording::new(0).judge(&[voice(1)], None).expect("nothing to decode").is_none());
    }

    #[test]
    fn the_first_byte_says_how_a_packet_is_coded() {
        fn check(toc: u8, expected: &str) {
            assert_eq!(Coding::of(&[toc]).map(|coding| coding.to_string()).as_deref(), Some(expected));
        }
        // Table 2 of RFC 6716.
        check(0x00, "SILK, narrow band, 10 ms, mono");
        check(0x3c, "SILK, medium band, 60 ms, stereo");
        check(0x48, "SILK, wide band, 20 ms, mono");
        check(0x60, "hybrid, super-wide band, 10 ms, mono");
        check(0x7b, "hybrid, full band, 20 ms, mono");
        check(0x80, "CELT, narrow band, 2.5 ms, mono");
        check(0xfc, "CELT, full band, 20 ms, stereo");
        assert_eq!(Coding::of(&[]), None);
    }
}
