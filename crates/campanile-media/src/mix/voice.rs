//! One leg being decoded: packets from its jitter buffer become exactly 20 ms of PCM a tick.
//!
//! Packets last 2.5 to 120 ms, so decoded samples wait in a short queue. What is missing is concealed by libopus,
//! fading to silence, and every way in or out of being heard is a short ramp, so that nothing clicks.

use super::FRAME_SAMPLES;
use super::jitter::{Adjust, DRY_SAMPLES_MAX, Jitter, PRIMERS, Step};
use super::sound::Sound;
use campanile_opus::{Channels, Decoder, OpusError, PACKET_SAMPLES_MAX};
use std::ops::Range;
use std::time::Instant;

/// Two frames (most of one may be taken out, or put in) less one sample, then the longest packet on top.
const QUEUE_SAMPLES: usize = 2 * FRAME_SAMPLES + PACKET_SAMPLES_MAX;
/// Concealment of what was lost plays in full for 100 ms, then fades out: longer, it is a drone and no speech.
const FADE_LOST: Range<usize> = 4_800..DRY_SAMPLES_MAX;
/// The noise of a sender's room goes on while it rests (DTX) for 500 ms, then fades out within 100: a packet that renews it is
/// due every 420.
const FADE_REST: Range<usize> = 24_000..28_800;
/// The ramp of a voice that comes or goes: 5 ms.
const RAMP_SAMPLES: usize = 240;
/// Where samples are taken out or put in, the sound before fades into the sound after for 10 ms.
const CROSSFADE_SAMPLES: usize = 480;
/// How many samples are taken out or put in: 10 to 20 ms, at least one period of any voice, so that the two sounds
/// can be made to agree.
const SPLICE_SAMPLES: std::ops::RangeInclusive<usize> = CROSSFADE_SAMPLES..=FRAME_SAMPLES;
/// How much louder than announced a frame may be: a level speaks for a packet, and frames straddle packets.
const BLARE_DB: f32 = 6.0;
/// -50 dB: nobody hears a splice here.
const QUIET: f32 = 0.003;
/// Decoded samples beyond this are no sound that a sender may have meant; overshoot of a full-scale voice is less.
const SAMPLE_MAX: f32 = 2.0;

#[derive(Debug)]
pub(super) struct Voice {
    decoder: Decoder,
    channels: Channels,
    /// Decoded samples not played: the middle, and the side if this is stereo.
    queue: Box<[f32; QUEUE_SAMPLES]>,
    side: Box<[f32]>,
    queued: usize,
    /// Where stereo is decoded to, left and right in turn.
    interleaved: Box<[f32]>,
    /// Consecutive samples invented so far, and when they fade out.
    concealed: usize,
    fade: Range<usize>,
    /// How the last decoded packet was announced.
    claimed_db: Option<u8>,
    /// Packets until the decoder can be trusted with how loud things are.
    unsettled: u64,
    /// Whether a packet was decoded in this tick, or its sender rests: what sounds is its own doing.
    answerable: bool,
    audible: bool,
    /// The frame of the tick before, as decoded.
    before: Box<Sound>,
    /// What this tick adds to the mix.
    pub(super) frame: Box<Sound>,
}

impl Voice {
    pub(super) fn new(channels: Channels) -> Result<Voice, OpusError> {
        let stereo =
            |samples: usize| vec![0.0; if channels == Channels::Stereo { samples } else { 0 }].into();
        Ok(Voice {
            decoder: Decoder::new(channels)?,
            channels,
            queue: Box::new([0.0; QUEUE_SAMPLES]),
            side: stereo(QUEUE_SAMPLES),
            queued: 0,
            interleaved: stereo(2 * PACKET_SAMPLES_MAX),
            concealed: 0,
            fade: FADE_LOST,
            claimed_db: None,
            unsettled: 0,
            answerable: false,
            audible: false,
            before: Box::default(),
            frame: Box::default(),
        })
    }

    /// Takes up a leg, forgetting the one before.
    pub(super) fn start(&mut self, jitter: &mut Jitter) {
        self.decoder.reset();
        self.queued = 0;
        self.concealed = 0;
        self.claimed_db = None;
        self.audible = false;
        self.before.clear();
        self.frame.clear();
        self.unsettled = PRIMERS;
        let mut decoded = 0;
        for packet in jitter.primers() {
            // Only to warm up: what it says is past, and an error here is one that nobody hears.
            decoded += u64::from(self.decode(packet, false, 0));
            self.queued = 0;
        }
        jitter.quality.decoded += decoded;
    }

    /// Decodes the next 20 ms into `frame`.
    pub(super) fn tick(&mut self, now: Instant, jitter: &mut Jitter) {
        self.answerable = self.queued > 0 && self.is_genuine();
        jitter.begin_tick(now, self.queued);
        let mut passed = jitter.take_passed();
        while passed > 0 {
            self.fill(jitter, passed.min(FRAME_SAMPLES));
            let past = passed.min(self.queued);
            self.discard(past);
            passed -= past;
        }
        self.fill(jitter, FRAME_SAMPLES);
        if self.is_genuine() && (jitter.is_next_held() || self.queued >= 2 * FRAME_SAMPLES) {
            let quiet = self.queue[..FRAME_SAMPLES].iter().all(|sample| sample.abs() < QUIET);
            match jitter.take_adjustment(quiet) {
                Some(Adjust::Shorten) => {
                    self.fill(jitter, 2 * FRAME_SAMPLES);
                    self.shorten();
                }
                Some(Adjust::Lengthen) => self.lengthen(),
                None => {}
            }
        }
        for sound in [&mut self.before, &mut self.frame] {
            sound.mid.copy_from_slice(&self.queue[..FRAME_SAMPLES]);
            sound.wide = !self.side.is_empty();
            if sound.wide {
                sound.side.copy_from_slice(&self.side[..FRAME_SAMPLES]);
            }
        }
        self.discard(FRAME_SAMPLES);
    }

    pub(super) fn channels(&self) -> Channels {
        self.channels
    }

    /// Samples decoded but not played.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// How loud the sender said the packet was that sounds now, in dB below full scale.
    pub(super) fn claimed_db(&self) -> Option<u8> {
        self.claimed_db
    }

    /// While the decoder warms up (an unmuted leg has no packets before for that), what is much louder than announced is
    /// its mistake: brings it down. Takes and returns the frame's attenuation.
    pub(super) fn temper(&mut self, measured_db: f32) -> f32 {
        let loudest_db = self.claimed_db.map_or(0.0, |claimed_db| f32::from(claimed_db) - BLARE_DB);
        if self.unsettled == 0 || measured_db >= loudest_db {
            return measured_db;
        }
        let gain = 10f32.powf((measured_db - loudest_db) / 20.0);
        self.frame.shape(|_| gain);
        loudest_db
    }

    /// Whether its sender answers for how loud this tick is: some of it came, or was said not to come.
    pub(super) fn is_answerable(&self) -> bool {
        self.answerable
    }

    /// Whether what sounds now came from a packet, not from concealment.
    fn is_genuine(&self) -> bool {
        self.concealed == 0
    }

    /// Makes `frame` what the mix gets, ramped on a change; `heard` says whether this leg is to be in it. Returns
    /// whether anything is left.
    pub(super) fn shape(&mut self, heard: bool) -> bool {
        let was_audible = std::mem::replace(&mut self.audible, heard);
        let ramp = |i: usize| (i as f32 / RAMP_SAMPLES as f32).min(1.0);
        match (was_audible, heard) {
            (true, true) => {}
            (false, false) => self.frame.clear(),
            (false, true) => self.frame.shape(ramp),
            (true, false) => self.frame.shape(|i| 1.0 - ramp(i)),
        }
        was_audible || heard
    }

    /// Takes out up to a frame of the two that are queued, where the sound resembles itself most.
    fn shorten(&mut self) {
        let out = SPLICE_SAMPLES
            .step_by(4)
            .map(|samples| (samples, likeness(&self.queue[..CROSSFADE_SAMPLES], &self.queue[samples..])))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(FRAME_SAMPLES, |(samples, _)| samples);
        for queue in [&mut self.queue[..], &mut self.side] {
            for i in 0..CROSSFADE_SAMPLES.min(queue.len()) {
                let new = i as f32 / CROSSFADE_SAMPLES as f32;
                queue[out + i] = queue[i] * (1.0 - new) + queue[out + i] * new;
            }
        }
        self.discard(out);
    }

    /// Plays the last 10 to 20 ms once more, where they resemble what comes now most.
    fn lengthen(&mut self) {
        let again = SPLICE_SAMPLES
            .step_by(4)
            .map(|samples| {
                (
                    samples,
                    likeness(&self.queue[..CROSSFADE_SAMPLES], &self.before.mid[FRAME_SAMPLES - samples..]),
                )
            })
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(FRAME_SAMPLES, |(samples, _)| samples);
        if self.queued + again > QUEUE_SAMPLES {
            return;
        }
        let queues = [(&mut self.queue[..], &self.before.mid), (&mut self.side, &self.before.side)];
        for (queue, before) in queues {
            if queue.is_empty() {
                continue;
            }
            queue.copy_within(..self.queued, again);
            for i in 0..again {
                let old = (i as f32 / CROSSFADE_SAMPLES as f32).min(1.0);
                // What comes now has moved on by `again`.
                queue[i] = queue[again + i] * (1.0 - old) + before[FRAME_SAMPLES - again + i] * old;
            }
        }
        self.queued += again;
    }

    /// Decodes until `wanted` samples are queued.
    fn fill(&mut self, jitter: &mut Jitter, wanted: usize) {
        while self.queued < wanted {
            match jitter.step() {
                Step::Packet { payload, samples, level_db } => {
                    self.claimed_db = level_db;
                    if self.decode(payload, false, samples) {
                        jitter.quality.decoded += 1;
                    } else {
                        jitter.quality.malformed += 1;
                        self.conceal(jitter, samples);
                    }
                }
                Step::Recover { from, samples } => {
                    if self.decode(from, true, samples) {
                        jitter.quality.decoded += 1;
                    } else {
                        self.conceal(jitter, samples);
                    }
                }
                Step::Dry => {
                    let missing = wanted - self.queued;
                    self.conceal(jitter, missing);
                    jitter.ran_dry(missing);
                }
                Step::Rest => {
                    self.answerable = true;
                    self.invent(wanted - self.queued, FADE_REST);
                }
                Step::Waiting => {
                    self.concealed = FADE_LOST.end;
                    self.invent(wanted - self.queued, FADE_LOST);
                }
            }
        }
    }

    fn decode(&mut self, payload: &[u8], fec: bool, samples: usize) -> bool {
        let Some(samples) = self.decode_raw(Some(payload), fec, samples) else { return false };
        let out_of_silence = self.concealed >= self.fade.end;
        self.finish(samples, |i| {
            if out_of_silence && i < RAMP_SAMPLES { i as f32 / RAMP_SAMPLES as f32 } else { 1.0 }
        });
        self.concealed = 0;
        self.answerable = true;
        self.unsettled = self.unsettled.saturating_sub(1);
        true
    }

    fn conceal(&mut self, jitter: &mut Jitter, samples: usize) {
        jitter.quality.concealed_samples += samples as u64;
        self.invent(samples, FADE_LOST);
    }

    /// Goes on from what was decoded last, ever quieter in the course of `fade`.
    fn invent(&mut self, samples: usize, fade: Range<usize>) {
        let concealed = self.concealed;
        if concealed >= fade.end || self.decode_raw(None, false, samples).is_none() {
            self.queue[self.queued..self.queued + samples].fill(0.0);
            if let Some(side) = self.side.get_mut(self.queued..self.queued + samples) {
                side.fill(0.0);
            }
        }
        self.finish(samples, |i| {
            let fading = (concealed + i).saturating_sub(fade.start) as f32;
            (1.0 - fading / fade.len() as f32).max(0.0)
        });
        self.concealed += samples;
        self.fade = fade;
    }

    /// Decodes to the end of the queue, without counting it in. Exactly `samples` are asked for unless a packet is
    /// decoded for itself, which says its own length.
    fn decode_raw(&mut self, payload: Option<&[u8]>, fec: bool, samples: usize) -> Option<usize> {
        let room = if payload.is_some() && !fec {
            PACKET_SAMPLES_MAX.min(QUEUE_SAMPLES - self.queued)
        } else {
            samples
        };
        let end = self.queued + room;
        if self.channels == Channels::Mono {
            return self.decoder.decode_f32(payload, fec, self.queue.get_mut(self.queued..end)?).ok();
        }
        let samples = self.decoder.decode_f32(payload, fec, self.interleaved.get_mut(..2 * room)?).ok()?;
        let mid = self.queue.get_mut(self.queued..end)?;
        let side = self.side.get_mut(self.queued..end)?;
        for ((mid, side), pair) in mid.iter_mut().zip(side).zip(self.interleaved.chunks_exact(2)) {
            (*mid, *side) = (0.5 * (pair[0] + pair[1]), 0.5 * (pair[0] - pair[1]));
        }
        Some(samples)
    }

    /// Counts in `samples` that were decoded, by a gain each. Bits from outside can decode to anything, not-a-number included,
    /// and the sum is everybody's.
    fn finish(&mut self, samples: usize, gain: impl Fn(usize) -> f32) {
        for queue in [&mut self.queue[..], &mut self.side] {
            let decoded = queue.iter_mut().skip(self.queued).take(samples);
            for (i, sample) in decoded.enumerate() {
                let bounded = if sample.is_nan() { 0.0 } else { sample.clamp(-SAMPLE_MAX, SAMPLE_MAX) };
                *sample = bounded * gain(i);
            }
        }
        self.queued += samples;
    }

    fn discard(&mut self, samples: usize) {
        self.queue.copy_within(samples..self.queued, 0);
        if !self.side.is_empty() {
            self.side.copy_within(samples..self.queued, 0);
        }
        self.queued -= samples;
    }
}

/// How much two sounds resemble each other: their correlation over the length of the first, 1 when they are equal but for
/// loudness. Every fourth sample will do: what voices are made of lies below 6 kHz.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let (mut product, mut power) = (0.0, 1e-9);
    for (a, b) in a.iter().zip(b).step_by(4) {
        product += a * b;
        power += b * b;
    }
    product / f32::sqrt(power)
}
