//! In what quality a listener gets the mix. All listeners of one profile share its stream.

use campanile_opus::{Application, Bandwidth, Channels, EncoderConfig, Mode, Signal};

/// A quality of the mix. Which one a client wants is in the format parameters of its offer (RFC 7587 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Profile {
    /// 32 kbit/s mono, full band: for all who ask for nothing else.
    #[default]
    Speech,
    /// 40 kbit/s mono, full band.
    ClearSpeech,
    /// 64 kbit/s mono, full band.
    Music,
    /// 128 kbit/s stereo, full band.
    StereoMusic,
    /// 24 kbit/s mono at 16 kHz: for clients that play no more.
    Mobile,
}

/// What an encoder is told before each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// The kind of sound to expect.
    pub signal: Signal,
    /// 0 (least) to 10.
    pub complexity: u8,
    /// How to code it.
    pub mode: Mode,
}

impl Profile {
    /// All profiles, in the order of their numbers.
    pub(super) const ALL: [Profile; 5] =
        [Profile::Speech, Profile::ClearSpeech, Profile::Music, Profile::StereoMusic, Profile::Mobile];

    /// The richest profile within the format parameters that a client offers for Opus: `maxaveragebitrate`, `stereo` and
    /// `maxplaybackrate`.
    pub fn from_fmtp(fmtp: &str) -> Profile {
        let number = |name| parameter(fmtp, name).and_then(|value| value.parse::<u32>().ok());
        if number("maxplaybackrate").is_some_and(|hz| hz <= 16_000) {
            return Profile::Mobile;
        }
        match number("maxaveragebitrate").unwrap_or(0) {
            128_000.. if parameter(fmtp, "stereo") == Some("1") => Profile::StereoMusic,
            64_000.. => Profile::Music,
            40_000.. => Profile::ClearSpeech,
            _ => Profile::Speech,
        }
    }

    pub(super) fn channels(self) -> Channels {
        if self == Profile::StereoMusic { Channels::Stereo } else { Channels::Mono }
    }

    /// 20 ms of digital silence: a TOC byte (CELT) and a frame whose silence flag is set, as the encoder itself makes it.
    /// It leaves a decoder where a fresh encoder expects it.
    pub(super) fn silence(self) -> &'static [u8] {
        match self {
            Profile::StereoMusic => &[0xfc, 0xff, 0xfe],
            Profile::Mobile => &[0xb8, 0xff, 0xfe],
            _ => &super::SILENCE,
        }
    }

    /// The longest packet made: four times the mean, which variable rate never needs in full, and never more than what
    /// redundant audio can carry (10 bits of length).
    pub(super) fn payload_bytes_max(self) -> usize {
        (self.bitrate_bps() as usize / 50 / 8 * 4).min(1_000)
    }

    pub(super) fn encoder(self) -> EncoderConfig {
        EncoderConfig {
            channels: self.channels(),
            application: Application::Audio,
            bitrate_bps: self.bitrate_bps(),
            complexity: 7,
            signal: Signal::Auto,
            bandwidth: if self == Profile::Mobile { Bandwidth::Wide } else { Bandwidth::Full },
        }
    }

    /// How to code speech, or what else there is: the hybrid mode is the better one for speech and CELT for music, by far
    /// (docs/adr/0013). Left to itself libopus would go back and forth between them where both sound, and code speech at 64
    /// kbit/s in CELT.
    ///
    /// From complexity 7 on libopus looks what it hears; it need not if that is `known`, which saves an eighth and sounds the
    /// same. At complexity 8 it looks at each CELT frame twice, which is worth 20 microseconds for those who ask for music.
    pub fn effort(self, speech: bool, known: bool) -> Effort {
        let (signal, complexity, mode) = match self {
            Profile::StereoMusic => (Signal::Auto, 8, Mode::Auto),
            _ if speech && known => (Signal::Voice, 6, Mode::Hybrid),
            _ if speech => (Signal::Auto, 7, Mode::Hybrid),
            Profile::Music => (Signal::Auto, 8, Mode::Celt),
            _ => (Signal::Auto, 7, Mode::Celt),
        };
        Effort { signal, complexity, mode }
    }

    /// Whether it is for more than speech.
    pub fn is_for_music(self) -> bool {
        matches!(self, Profile::Music | Profile::StereoMusic)
    }

    fn bitrate_bps(self) -> u32 {
        match self {
            Profile::Speech => 32_000,
            Profile::ClearSpeech => 40_000,
            Profile::Music => 64_000,
            Profile::StereoMusic => 128_000,
            Profile::Mobile => 24_000,
        }
    }
}

/// Whether these format parameters announce that the client sends stereo.
pub fn announces_stereo(fmtp: &str) -> bool {
    parameter(fmtp, "sprop-stereo") == Some("1")
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = fmtp.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    parameters.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_says_what_it_wants_to_hear() {
        fn check(fmtp: &str, expected: Profile) {
            assert_eq!(Profile::from_fmtp(fmtp), expected, "{fmtp}");
        }
        check("minptime=10;useinbandfec=1", Profile::Speech);
        check("", Profile::Speech);
        check("minptime=10;maxaveragebitrate=40000", Profile::ClearSpeech);
        check("maxaveragebitrate=64000; useinbandfec=1", Profile::Music);
        check("maxaveragebitrate=128000;stereo=1;sprop-stereo=1", Profile::StereoMusic);
        check("maxaveragebitrate=128000", Profile::Music);
        check("maxaveragebitrate=510000;stereo=1", Profile::StereoMusic);
        check("stereo=1", Profile::Speech);
        check("maxplaybackrate=16000;stereo=1;maxaveragebitrate=128000", Profile::Mobile);
        check("maxplaybackrate=48000", Profile::Speech);
        check("maxaveragebitrate=99999999999;maxplaybackrate=x", Profile::Speech);
        assert!(announces_stereo("stereo=1;sprop-stereo=1") && !announces_stereo("stereo=1"));
    }
}
