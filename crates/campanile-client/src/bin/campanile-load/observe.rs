//! What one attendee hears and sees, counted while the measuring lasts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campanile_client::pcm::{PcmDecoder, SAMPLE_RATE_HZ, amplitude_of};
use campanile_client::stamp::{Stamp, now_us};
use campanile_client::{AudioPacket, Media, MediaSink, PacketHeader, VideoFrame};

use crate::delay::{Beat, Ear, Onset};

/// The amplitude of every tone: 20 dB below full scale, so that eight together stay below the limiter.
pub(crate) const AMPLITUDE: f32 = 0.1;
/// Sound looked at at once: enough to tell tones 100 Hz apart.
const WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ / 5;
/// Speakers that a mixer is expected to let through at a time. With more of them, nobody is missed.
const HEARD_AT_ONCE: usize = 8;
/// A speaker who has just come (back) need not be heard yet.
const SPEAKER_GRACE_MS: u64 = 2000;
/// A gap in the sound that people notice.
const AUDIO_GAP: Duration = Duration::from_millis(100);
/// A picture that stands still for so long.
const FREEZE: Duration = Duration::from_secs(1);

/// One speaker of a meeting, known to all its listeners.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) frequency_hz: f32,
    /// The first speaker's; by it the delay is measured.
    pub(crate) beat: Option<Beat>,
    /// In milliseconds of [`Clock`], plus one; 0 while not connected.
    connected_since: AtomicU64,
}

impl Speaker {
    /// The tones of a meeting lie 100 Hz apart.
    pub(crate) fn frequency_hz(number: usize) -> f32 {
        400.0 + 100.0 * number as f32
    }

    /// The first one's tone has a beat, which begins there.
    pub(crate) fn new(number: usize, onset: Onset) -> Speaker {
        Speaker {
            frequency_hz: Speaker::frequency_hz(number),
            beat: (number == 0).then(|| Beat::new(onset)),
            connected_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn connected(&self, clock: &Clock, yes: bool) {
        self.connected_since.store(if yes { clock.now_ms() + 1 } else { 0 }, Ordering::Relaxed);
    }

    fn should_be_heard(&self, clock: &Clock) -> bool {
        let since = self.connected_since.load(Ordering::Relaxed);
        since != 0 && clock.now_ms() + 1 > since + SPEAKER_GRACE_MS
    }
}

/// The run's clock, and whether it is being measured.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    measuring: AtomicBool,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), measuring: AtomicBool::new(false) }
    }

    /// How long after the run's start something happened.
    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub(crate) fn measure(&self, on: bool) {
        self.measuring.store(on, Ordering::Relaxed);
    }

    fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }
}

/// Everything counted for one attendee.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) audio: AudioCounts,
    pub(crate) tones: ToneCounts,
    pub(crate) videos: BTreeMap<u32, VideoCounts>,
    /// When a usable frame last came, by the sender's stamp or, where only headers are seen, by stream. A camera that
    /// comes back after an outage has another stream, but its picture stood still all the same.
    shown: BTreeMap<(bool, u32), Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct AudioCounts {
    pub(crate) received: u64,
    /// By sequence numbers.
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
    pub(crate) longest_gap: Duration,
    /// RFC 3550 section 6.4.1, in seconds.
    pub(crate) jitter_s: f64,
    /// Of each beat that was heard.
    pub(crate) delays: Vec<Duration>,
    last: Option<(Instant, u64, u64)>,
    /// The next packet is the first of a new connection, whose numbers have nothing to do with the old ones.
    fresh: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ToneCounts {
    pub(crate) windows: u64,
    /// Times someone heard themselves.
    pub(crate) self_heard: u64,
    /// Times someone who spoke was not heard.
    pub(crate) missing: u64,
    /// Times someone was heard who does not speak, or not now.
    pub(crate) last_seen: Vec<f32>,
}

/// One watched stream.
#[derive(Debug, Default)]
pub(crate) struct VideoCounts {
    /// The publisher, by the stamp.
    pub(crate) sender: Option<u32>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Frames that a decoder could not use, because one before them is missing.
    pub(crate) undecodable: u64,
    pub(crate) freezes: u64,
    pub(crate) longest_gap: Duration,
    pub(crate) first_number: Option<u32>,
    pub(crate) last_number: Option<u32>,
    /// RTP times of the first and the last frame, for codecs whose frames bear no number.
    pub(crate) times: Option<(u32, u32)>,
    pub(crate) delays_us: Vec<u32>,
    /// From being on offer to the first keyframe.
    pub(crate) offered: Option<Instant>,
    pub(crate) first_frame: Option<Duration>,
    decodable_until: Option<u32>,
}

impl AudioCounts {
    fn packet(&mut self, measuring: bool, arrival: Instant, sequence: u64, time: u64) {
        if let Some((last, last_sequence, last_time)) = self.last {
            if sequence <= last_sequence && !self.fresh {
                // Late or twice: it did arrive.
                self.received += u64::from(measuring);
                self.lost = self.lost.saturating_sub(u64::from(measuring));
                return;
            }
            let gap = arrival.saturating_duration_since(last);
            if measuring {
                if !self.fresh {
                    self.lost += sequence - last_sequence - 1;
                }
                self.gaps += u64::from(gap > AUDIO_GAP);
                self.longest_gap = self.longest_gap.max(gap);
                let sent = time.saturating_sub(last_time) as f64 / SAMPLE_RATE_HZ as f64;
                let difference = (gap.as_secs_f64() - sent).abs();
                if difference < 1.0 {
                    self.jitter_s += (difference - self.jitter_s) / 16.0;
                }
            }
        }
        self.received += u64::from(measuring);
        self.last = Some((arrival, sequence, time));
        self.fresh = false;
    }
}

impl VideoCounts {
    fn frame(&mut self, measuring: bool, frame: &VideoFrame, shown: &mut BTreeMap<(bool, u32), Instant>) {
        let stamp = Stamp::read(&frame.data);
        if let (None, Some(offered), true) = (self.first_frame, self.offered, frame.keyframe) {
            self.first_frame = Some(frame.arrival.saturating_duration_since(offered));
        }
        let camera = stamp.map_or((false, frame.stream_id), |stamp| (true, stamp.sender));
        let follows = match (stamp, self.decodable_until) {
            (Some(stamp), Some(last)) => last.wrapping_add(1) == stamp.number,
            (None, Some(_)) => frame.contiguous,
            (_, None) => false,
        };
        let decodable = frame.keyframe || follows;
        if decodable {
            self.decodable_until = Some(stamp.map_or(0, |stamp| stamp.number));
        } else if stamp.is_none() {
            self.decodable_until = None;
        }
        self.count(measuring, frame.arrival, frame.data.len(), decodable, shown, camera);
        if !measuring {
            return;
        }
        self.at_time(frame.time as u32);
        if let Some(stamp) = stamp {
            self.sender = Some(stamp.sender);
            self.first_number.get_or_insert(stamp.number);
            self.last_number = Some(stamp.number);
            // By the arrival of the frame's last packet, more or less: that is when it is handed on.
            self.delays_us.push(now_us().saturating_sub(stamp.sent_us).min(u64::from(u32::MAX)) as u32);
        }
    }

    fn at_time(&mut self, time: u32) {
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
    }

    fn count(
        &mut self,
        measuring: bool,
        arrival: Instant,
        bytes: usize,
        decodable: bool,
        shown: &mut BTreeMap<(bool, u32), Instant>,
        camera: (bool, u32),
    ) {
        if measuring {
            self.frames += 1;
            self.bytes += bytes as u64;
            self.undecodable += u64::from(!decodable);
        }
        if decodable && let Some(last) = shown.insert(camera, arrival).filter(|_| measuring) {
            let gap = arrival.saturating_duration_since(last);
            self.freezes += u64::from(gap > FREEZE);
            self.longest_gap = self.longest_gap.max(gap);
        }
    }
}

/// Decodes what is heard, and looks for everybody's tone.
struct ToneCheck {
    decoder: PcmDecoder,
    ear: Ear,
    samples: Vec<f32>,
    own: Option<usize>,
    speakers: Arc<[Speaker]>,
    spoiled: bool,
    next: u64,
}

impl ToneCheck {
    fn packet(&mut self, clock: &Clock, packet: &AudioPacket, counts: &mut Counts) {
        // Concealed sound proves nothing.
        let follows = packet.sequence == self.next;
        self.spoiled |= !follows;
        self.next = packet.sequence + 1;
        let (samples, ear, mut onset) = (&mut self.samples, &mut self.ear, None);
        self.decoder.push(packet, |more| {
            samples.extend_from_slice(more);
            onset = ear.hear(more);
        });
        let beat = self.speakers.first().and_then(|first| first.beat.as_ref());
        if let (Some(beat), Some(sample), true) = (beat, onset, follows && clock.is_measuring()) {
            counts.audio.delays.extend(beat.took(clock.since_start(packet.arrival), sample));
        }
        let counts = &mut counts.tones;
        if self.samples.len() < WINDOW_SAMPLES {
            return;
        }
        if !std::mem::take(&mut self.spoiled) && clock.is_measuring() {
            counts.windows += 1;
            counts.last_seen.clear();
            for (number, speaker) in self.speakers.iter().enumerate() {
                let strength = amplitude_of(&self.samples, speaker.frequency_hz);
                counts.last_seen.push(strength);
                if Some(number) == self.own {
                    counts.self_heard += u64::from(strength > AMPLITUDE / 10.0);
                } else if self.speakers.len() <= HEARD_AT_ONCE && speaker.should_be_heard(clock) {
                    counts.missing += u64::from(strength < AMPLITUDE / 4.0);
                }
            }
        }
        self.samples.clear();
    }
}

/// One attendee's eyes and ears.
pub(crate) struct Observer {
    pub(crate) counts: Arc<Mutex<Counts>>,
}

impl Observer {
    pub(crate) fn new() -> Observer {
        Observer { counts: Arc::default() }
    }

    /// What to give the session. With `checked`, tones are looked for; `own` is the attendee's place among the speakers.
    pub(crate) fn sink(
        &self,
        clock: &Arc<Clock>,
        checked: bool,
        own: Option<usize>,
        speakers: &Arc<[Speaker]>,
    ) -> MediaSink {
        let (counts, clock) = (self.counts.clone(), clock.clone());
        let mut check = checked.then(PcmDecoder::new).and_then(Result::ok).map(|decoder| ToneCheck {
            decoder,
            ear: Ear::default(),
            samples: Vec::new(),
            own,
            speakers: speakers.clone(),
            spoiled: true,
            next: 0,
        });
        let mut headers = Headers::default();
        Box::new(move |media| {
            // Held by no one else for longer than a copy takes.
            let Ok(mut counts) = counts.lock() else { return };
            let measuring = clock.is_measuring();
            match media {
                Media::Audio(packet) => {
                    counts.audio.packet(measuring, packet.arrival, packet.sequence, packet.time);
                    if let Some(check) = &mut check {
                        check.packet(&clock, &packet, &mut counts);
                    }
                }
                Media::Video(frame) => {
                    let Counts { videos, shown, .. } = &mut *counts;
                    videos.entry(frame.stream_id).or_default().frame(measuring, &frame, shown);
                }
                Media::Header(header) => headers.packet(measuring, &header, &mut counts),
            }
        })
    }

    pub(crate) fn offered(&self, stream_ids: impl Iterator<Item = u32>) {
        let Ok(mut counts) = self.counts.lock() else { return };
        for stream_id in stream_ids {
            counts.videos.entry(stream_id).or_default().offered.get_or_insert_with(Instant::now);
        }
    }

    pub(crate) fn restarted(&self) {
        if let Ok(mut counts) = self.counts.lock() {
            counts.audio.fresh = true;
            for video in counts.videos.values_mut() {
                video.decodable_until = None;
            }
        }
    }
}

/// Sequence numbers with their wraps, and frames by their last packets, where only headers are seen.
#[derive(Default)]
struct Headers {
    last: BTreeMap<Option<u32>, u64>,
    /// Streams with a hole since the last whole frame.
    holed: BTreeMap<u32, bool>,
}

impl Headers {
    fn packet(&mut self, measuring: bool, header: &PacketHeader, counts: &mut Counts) {
        let known = self.last.get(&header.stream_id).copied();
        let last = known.unwrap_or(u64::from(header.sequence).wrapping_add(1 << 32).wrapping_sub(1));
        let ahead = header.sequence.wrapping_sub(last as u16) as i16;
        let sequence = last.saturating_add_signed(i64::from(ahead));
        self.last.insert(header.stream_id, last.max(sequence));
        match header.stream_id {
            None => counts.audio.packet(measuring, header.arrival, sequence, u64::from(header.timestamp)),
            Some(stream_id) => {
                let holed = self.holed.entry(stream_id).or_default();
                *holed |= ahead != 1;
                if header.marker {
                    let Counts { videos, shown, .. } = counts;
                    let whole = !std::mem::take(holed);
                    let video = videos.entry(stream_id).or_default();
                    if measuring {
                        video.at_time(header.timestamp);
                    }
                    video.count(measuring, header.arrival, header.bytes, whole, shown, (false, stream_id));
                }
            }
        }
    }
}
