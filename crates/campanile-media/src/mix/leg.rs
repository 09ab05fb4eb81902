//! One leg: what it sends, how loud it says it is, how loud it turns out to be, and so how worthy of being heard.

use super::FRAME_SAMPLES;
use super::jitter::Jitter;
use super::level::{Meter, SILENT_DB, attenuation_db};
use super::profile::Profile;
use super::sound::Sound;
use super::voice::Voice;
use campanile_opus::Channels;
use std::time::Instant;

/// A leg quieter than this is not decoded: 60 dB below full scale is a silent room.
const GATE_DB: f32 = 60.0;
/// How long a leg stays in the mix after it was last above the gate: 600 ms, longer than the pauses between words.
const HANGOVER_TICKS: u32 = 30;
/// Packets that stopped coming say nothing any more after 200 ms.
const STALE_TICKS: u32 = 10;
/// How fast an announced level is forgotten, in dB per tick: a pause within a sentence costs nobody their place.
const CLAIM_RELEASE_DB: f32 = 0.5;
/// A leg keeps its place in the mix against one louder by less than this.
const INCUMBENT_DB: f32 = 6.0;
/// How much louder than decoded a leg may announce itself before it is doubted. The two are measured on
/// different sides of a codec, so they never agree exactly.
const HONEST_DB: f32 = 12.0;
/// Share of the way that doubt goes per decoded tick, and dB per tick that it fades undecoded.
const DOUBT_SHARE: f32 = 0.05;
const DOUBT_RELEASE_DB: f32 = 0.2;

/// One leg of a meeting, as the mixer knows it.
pub(super) struct Leg {
    pub(super) owner: u32,
    pub(super) can_speak: bool,
    pub(super) muted: bool,
    pub(super) jitter: Jitter,
    pub(super) voice: Option<Voice>,
    pub(super) meter: Meter,
    /// Whether packets announce their level; if not, they are judged by what they decode to.
    announces: bool,
    /// Ticks since a packet came.
    silent_ticks: u32,
    /// The newest announced level, and the same falling slowly.
    announced_db: f32,
    claim_db: f32,
    /// How much too loud the announcements are.
    doubt_db: f32,
    /// Ticks for which it stays in the mix without being louder than the gate.
    hangover_ticks: u32,
    /// The same for a leg that does not announce its level, by what it decodes to.
    loud_ticks: u32,
    /// Ticks since it was last decoded: among equals, who waited longest is next.
    pub(super) waited_ticks: u32,
    pub(super) chosen: bool,
    /// Its frame is part of this tick's mix.
    pub(super) heard: bool,
    /// What it hears with, and whether it speaks in stereo.
    pub(super) profile: Profile,
    pub(super) channels: Channels,
    /// Whether it hears a stream of its own owner's, and since which tick; `None` before its first.
    pub(super) hears_personal: Option<bool>,
    pub(super) hears_since: u64,
}

impl Leg {
    pub(super) fn new(owner: u32, can_speak: bool) -> Leg {
        Leg {
            owner,
            can_speak,
            muted: false,
            jitter: Jitter::new(),
            voice: None,
            meter: Meter::new(),
            announces: false,
            silent_ticks: 0,
            announced_db: SILENT_DB,
            claim_db: SILENT_DB,
            doubt_db: 0.0,
            hangover_ticks: 0,
            loud_ticks: 0,
            waited_ticks: 0,
            chosen: false,
            heard: false,
            profile: Profile::default(),
            channels: Channels::Mono,
            hears_personal: None,
            hears_since: 0,
        }
    }

    pub(super) fn may_be_heard(&self) -> bool {
        self.can_speak && !self.muted
    }

    /// Nothing that it sent so far counts any more.
    pub(super) fn forget(&mut self) {
        self.jitter.clear();
        self.meter = Meter::new();
        self.announced_db = SILENT_DB;
        self.claim_db = SILENT_DB;
        self.hangover_ticks = 0;
        self.loud_ticks = 0;
        self.chosen = false;
        self.heard = false;
    }

    /// A packet has come that will be played, with this announced level.
    pub(super) fn announce(&mut self, level_db: Option<u8>) {
        self.announces = level_db.is_some();
        self.silent_ticks = 0;
        match level_db {
            Some(level) => self.announced_db = f32::from(level.min(127)),
            // Not known: worth decoding, in the last place. Once decoded, its sound speaks for it.
            None if self.voice.is_none() => self.announced_db = GATE_DB,
            None => {}
        }
        self.claim_db = self.claim_db.min(self.announced_db);
        if self.announced_db + self.doubt_db <= GATE_DB || !self.announces {
            self.hangover_ticks = HANGOVER_TICKS;
        }
    }

    /// One tick of time, before the choice.
    pub(super) fn age(&mut self) {
        self.hangover_ticks = self.hangover_ticks.saturating_sub(1);
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        self.waited_ticks = if self.voice.is_some() { 0 } else { self.waited_ticks.saturating_add(1) };
        if self.silent_ticks > STALE_TICKS {
            self.announced_db = SILENT_DB;
        }
        self.claim_db = (self.claim_db + CLAIM_RELEASE_DB).min(self.announced_db);
        if self.voice.is_none() {
            // A doubted leg gets another chance in time, but only in a place that nobody else wants.
            let last_place = (GATE_DB - self.announced_db).max(0.0);
            self.doubt_db = self.doubt_db.min((self.doubt_db - DOUBT_RELEASE_DB).max(last_place));
        }
    }

    /// Whether it wants to be heard: it has been loud enough lately.
    pub(super) fn is_candidate(&self) -> bool {
        self.may_be_heard() && self.hangover_ticks > 0
    }

    /// Lower is worthier.
    pub(super) fn rank_db(&self) -> f32 {
        let incumbent = if self.voice.is_some() { INCUMBENT_DB } else { 0.0 };
        self.claim_db + self.doubt_db - incumbent
    }

    /// One tick's audio: decoded into the voice's frame if there is a voice, passed over if not.
    pub(super) fn tick(&mut self, now: Instant) {
        self.heard = false;
        if !self.may_be_heard() {
            return;
        }
        let Some(voice) = &mut self.voice else {
            self.jitter.skip_tick(now);
            self.meter.observe((self.announced_db + self.doubt_db).min(SILENT_DB));
            return;
        };
        voice.tick(now, &mut self.jitter);
        let measured_db = voice.temper(attenuation_db(&voice.frame.mid));
        if let Some(claimed_db) = voice.claimed_db().filter(|_| voice.is_answerable()) {
            let excess = (measured_db - f32::from(claimed_db) - HONEST_DB).max(0.0);
            self.doubt_db += (excess - self.doubt_db) * DOUBT_SHARE;
        }
        let mut worthy = self.chosen;
        if !self.announces {
            self.announced_db = measured_db;
            self.claim_db = self.claim_db.min(measured_db);
            self.loud_ticks =
                if measured_db <= GATE_DB { HANGOVER_TICKS } else { self.loud_ticks.saturating_sub(1) };
            worthy &= self.loud_ticks > 0;
        }
        self.heard = voice.shape(worthy);
        self.meter.observe(measured_db);
    }

    /// What it adds to the mix, if it is heard.
    pub(super) fn sound(&self) -> &Sound {
        static NOTHING: Sound = Sound { mid: [0.0; FRAME_SAMPLES], side: [0.0; FRAME_SAMPLES], wide: false };
        self.voice.as_ref().map_or(&NOTHING, |voice| &voice.frame)
    }
}
