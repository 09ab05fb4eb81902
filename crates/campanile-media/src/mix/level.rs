//! How loud a leg is, as the roster shows it and as the choice of speakers needs it.
//!
//! Everything is attenuation in decibels below full scale, as on the wire (RFC 6464; `volume` of AUDIO_METADATA): 0 is
//! the loudest, 127 silence.

/// Attenuation of silence, the largest that the level extension can say.
pub(super) const SILENT_DB: f32 = 127.0;
/// What counts as speech: a volume of at most 36 is above the threshold of the clients' active-speaker policy.
const SPEECH_DB: f32 = 36.0;
/// Speech ends a little lower than it begins, so that it does not flicker.
const SPEECH_END_DB: f32 = 38.0;
/// Below speech and down to where clients show nothing, a level falls by 0.1 dB a tick, which takes a second: the clients'
/// active-speaker scores fall fast only while new values keep coming, and each of the five in that second is one.
const TAIL_DB: std::ops::Range<f32> = SPEECH_DB + 0.5..42.0;
const TAIL_RELEASE_DB: f32 = 0.1;
/// What is quieter than this is no target to fall to, or silence would fall faster than quiet.
const RELEASE_TARGET_DB: f32 = 45.0;
/// Share of the way that a smoothed level goes in one tick: half towards louder, so that a syllable shows at once, and
/// a tenth towards quieter, which is a time constant of 200 ms.
const ATTACK: f32 = 0.5;
const RELEASE: f32 = 0.1;

/// How loud a leg is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Attenuation in dB below full scale, 0 the loudest, smoothed over about 200 ms; 127 when silent or muted.
    pub volume_db: u8,
    /// Whether this is speech (a volume of 36 or less, with some hysteresis).
    pub speaking: bool,
}

impl Level {
    /// Silent or muted.
    pub const SILENT: Level = Level { volume_db: 127, speaking: false };
}

/// Smooths the loudness of one leg, fed once a tick.
#[derive(Debug)]
pub(super) struct Meter {
    db: f32,
    speaking: bool,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter { db: SILENT_DB, speaking: false }
    }

    pub(super) fn observe(&mut self, db: f32) {
        self.db = if db < self.db {
            self.db + (db - self.db) * ATTACK
        } else if TAIL_DB.contains(&self.db) {
            (self.db + TAIL_RELEASE_DB).min(db)
        } else if self.db < TAIL_DB.start {
            let fallen = self.db + (db.min(RELEASE_TARGET_DB) - self.db) * RELEASE;
            fallen.clamp(self.db, TAIL_DB.start)
        } else {
            self.db + (db - self.db) * RELEASE
        };
        self.speaking = self.db <= if self.speaking { SPEECH_END_DB } else { SPEECH_DB };
    }

    pub(super) fn level(&self) -> Level {
        Level { volume_db: self.db.round().clamp(0.0, SILENT_DB) as u8, speaking: self.speaking }
    }
}

/// Attenuation in dB of the root mean square of `pcm`, where a square wave of ±1.0 is 0 (RFC 6464 section 3), 0 to 127.
pub(super) fn attenuation_db(pcm: &[f32]) -> f32 {
    let square = pcm.iter().map(|sample| sample * sample).sum::<f32>() / pcm.len().max(1) as f32;
    if square < 1e-12 { SILENT_DB } else { (-10.0 * square.log10()).clamp(0.0, SILENT_DB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attenuation_is_that_of_the_root_mean_square() {
        fn check(pcm: &[f32], expected: f32) {
            assert!((attenuation_db(pcm) - expected).abs() < 0.01, "{}", attenuation_db(pcm));
        }
        check(&[1.0, -1.0], 0.0);
        check(&[0.1, -0.1, 0.1, -0.1], 20.0);
        check(&[0.001; 960], 60.0);
        check(&[0.0; 960], 127.0);
        check(&[2.0, -2.0], 0.0);
        check(&[], 127.0);
    }

    #[test]
    fn speech_shows_within_three_ticks_and_fades_with_a_tail_of_live_values() {
        let mut meter = Meter::new();
        for _ in 0..3 {
            meter.observe(20.0);
        }
        assert!(meter.level().speaking, "{:?}", meter.level());
        let shown: Vec<u8> = (0..150)
            .map(|_| {
                meter.observe(127.0);
                meter.level().volume_db
            })
            .collect();
        assert!(!meter.level().speaking, "{:?}", meter.level());
        assert!(meter.level().volume_db > 100);
        // As the roster looks, every tenth tick.
        let tail: Vec<u8> = shown.iter().copied().step_by(10).filter(|db| (37..42).contains(db)).collect();
        assert_eq!(tail, [37, 38, 39, 40, 41]);
        assert!(shown[15] > 36, "{shown:?}");
    }

    #[test]
    fn a_level_between_the_two_thresholds_keeps_what_was() {
        let mut meter = Meter::new();
        (0..100).for_each(|_| meter.observe(37.4));
        assert_eq!(meter.level(), Level { volume_db: 37, speaking: false });
        (0..100).for_each(|_| meter.observe(30.0));
        (0..100).for_each(|_| meter.observe(37.4));
        assert_eq!(meter.level(), Level { volume_db: 37, speaking: true });
    }
}
