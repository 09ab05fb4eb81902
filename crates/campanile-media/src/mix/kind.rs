//! What a stream carries, speech or music, judged slowly: a change of the coding mode is a small seam, and a mix of both is
//! no reason to go back and forth.

/// Music above this, in percent of likelihood, is speech after all, if it is for half a second without a break. Libopus says 75
/// and more of most speech that is coded as music.
const SPEECH_PERCENT: u8 = 70;
const SPEECH_TICKS: u32 = 25;
/// Speech below this is music after 0.2 s: of what is coded as speech, and is, libopus says 98 and more.
const MUSIC_PERCENT: u8 = 50;
const MUSIC_TICKS: u32 = 10;

/// The kind of one stream. It begins as speech: people greet each other before they play anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    speech: bool,
    doubt_ticks: u32,
}

impl Kind {
    pub(super) const SPEECH: Kind = Kind { speech: true, doubt_ticks: 0 };

    pub(super) fn is_speech(self) -> bool {
        self.speech
    }

    /// Takes how likely the frame of this tick is speech, in percent.
    pub(super) fn observe(&mut self, percent: u8) {
        let (doubted, ticks) = match self.speech {
            true => (percent < MUSIC_PERCENT, MUSIC_TICKS),
            false => (percent > SPEECH_PERCENT, SPEECH_TICKS),
        };
        self.doubt_ticks = if doubted { self.doubt_ticks + 1 } else { 0 };
        if self.doubt_ticks >= ticks {
            *self = Kind { speech: !self.speech, doubt_ticks: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_changes_the_kind() {
        let mut kind = Kind::SPEECH;
        let mut hear = |percent, ticks| {
            (0..ticks).for_each(|_| kind.observe(percent));
            kind.is_speech()
        };
        assert!(hear(0, MUSIC_TICKS - 1));
        assert!(hear(60, 1));
        assert!(hear(0, MUSIC_TICKS - 1));
        assert!(!hear(20, 1));
        assert!(!hear(60, 1_000), "a mix of both changes nothing");
        assert!(!hear(100, SPEECH_TICKS - 1));
        assert!(hear(100, 1));
        assert!(hear(60, 1_000));
    }
}
