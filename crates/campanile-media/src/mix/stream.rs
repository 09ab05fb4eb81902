//! One outgoing mix: limited, encoded, or replaced by a canned packet while there is nothing in it.

use super::kind::Kind;
use super::limiter::Limiter;
use super::profile::Profile;
use super::{FRAME_SAMPLES, Sound};
use campanile_opus::{Channels, Encoder, OpusError};

/// Packets before this tick's that can be sent once more (RFC 2198): two, which covers what loss is bearable at all.
pub(super) const COPIES_MAX: usize = 2;

pub(super) struct Stream {
    profile: Profile,
    encoder: Option<Encoder>,
    /// The encoder has heard the frame before this one.
    running: bool,
    /// What it has heard so far: by libopus' ear.
    kind: Kind,
    limiter: Limiter,
    /// The limited mix of this tick, and of the one before.
    sound: Box<Sound>,
    before: Box<Sound>,
    /// Left and right in turn; empty in mono.
    interleaved: Box<[f32]>,
    /// This tick's packet, at `at`, and those before it.
    payloads: [Payload; COPIES_MAX + 1],
    at: usize,
}

struct Payload {
    bytes: Box<[u8]>,
    length: usize,
}

impl Stream {
    pub(super) fn new(profile: Profile) -> Stream {
        let stereo = profile.channels() == Channels::Stereo;
        let mut stream = Stream {
            profile,
            encoder: None,
            running: false,
            kind: Kind::SPEECH,
            limiter: Limiter::new(),
            sound: Box::default(),
            before: Box::default(),
            interleaved: vec![0.0; if stereo { 2 * FRAME_SAMPLES } else { 0 }].into(),
            payloads: std::array::from_fn(|_| Payload {
                bytes: vec![0; profile.payload_bytes_max()].into(),
                length: 0,
            }),
            at: 0,
        };
        stream.can();
        stream
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// Takes the place of `other` for some of its listeners, before either is given this tick's mix. Returns whether their
    /// decoders will not notice.
    pub(super) fn branch_from(&mut self, other: &Stream) -> bool {
        self.sound.clone_from(&other.sound);
        self.limiter = other.limiter;
        self.kind = other.kind;
        self.running = other.running && self.copy_encoder(other).is_ok();
        self.running == other.running
    }

    /// Begins anew for one who has heard `heard` until now, in another profile, or nothing; before this tick's mix.
    pub(super) fn begin_after(&mut self, heard: Option<&Stream>) {
        match heard {
            Some(heard) => {
                self.sound.clone_from(&heard.sound);
                self.limiter = heard.limiter;
                self.kind = heard.kind;
            }
            None => {
                self.sound.clear();
                self.limiter = Limiter::new();
                self.kind = Kind::SPEECH;
            }
        }
        self.running = false;
    }

    fn copy_encoder(&mut self, other: &Stream) -> Result<(), OpusError> {
        let Some(theirs) = &other.encoder else { return Ok(()) };
        let own = match &mut self.encoder {
            Some(encoder) => encoder,
            empty => empty.insert(Encoder::new(self.profile.encoder())?),
        };
        own.copy_from(theirs)
    }

    /// The mix of this tick.
    pub(super) fn mix(&mut self, mix: &Sound) {
        std::mem::swap(&mut self.sound, &mut self.before);
        self.sound.mid = mix.mid;
        self.sound.wide = mix.wide && self.profile.channels() == Channels::Stereo;
        if self.sound.wide {
            self.sound.side = mix.side;
        }
        self.limiter.apply(&mut self.sound);
        self.at = (self.at + 1) % self.payloads.len();
    }

    /// Makes this tick's packet. `joined` says that somebody's decoder comes over from another stream, which costs
    /// one packet without prediction; `known`, what kind of sound it is, if that need not be found out.
    ///
    /// Silence is canned once the encoder has taken in one frame of it, so that the overlap of the last sound is
    /// played out. On the way back the encoder begins anew, as the decoder does.
    pub(super) fn encode(&mut self, joined: bool, known: Option<Kind>) -> Result<(), OpusError> {
        if self.sound.is_silent() && self.before.is_silent() {
            self.rest();
            return Ok(());
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            empty => empty.insert(Encoder::new(self.profile.encoder())?),
        };
        if let Some(kind) = known {
            self.kind = kind;
        }
        let effort = self.profile.effort(self.kind.is_speech(), known.is_some());
        encoder.set_signal(effort.signal);
        encoder.set_complexity(effort.complexity)?;
        encoder.set_mode(effort.mode);
        let payload = &mut self.payloads[self.at];
        let interleaved = &mut self.interleaved;
        let mut encode = |encoder: &mut Encoder, sound: &Sound| {
            let pcm = if interleaved.is_empty() { &sound.mid[..] } else { sound.interleave(interleaved) };
            encoder.encode_f32(pcm, &mut payload.bytes)
        };
        if !self.running {
            encoder.reset();
            if !self.before.is_silent() {
                // What the listeners have just heard from another stream: the overlap must match.
                encode(encoder, &self.before)?;
            }
        }
        encoder.set_prediction_disabled(joined || !self.running);
        let length = encode(encoder, &self.sound)?;
        payload.length = length;
        if let Some(percent) = encoder.speech_percent() {
            self.kind.observe(percent);
        }
        self.running = true;
        Ok(())
    }

    /// Sends silence without an encoder's help, for now.
    pub(super) fn rest(&mut self) {
        self.running = false;
        self.can();
    }

    /// Gives the encoder back; it is made again when needed.
    pub(super) fn drop_encoder(&mut self) {
        if !self.running {
            self.encoder = None;
        }
    }

    /// The kind of what it carries, if it has been listening.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.running.then_some(self.kind)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.payload_before(0)
    }

    /// The packet of `ticks` ago, at most [`COPIES_MAX`].
    pub(super) fn payload_before(&self, ticks: usize) -> &[u8] {
        let payload = &self.payloads[(self.at + self.payloads.len() - ticks) % self.payloads.len()];
        &payload.bytes[..payload.length]
    }

    /// What was encoded, before it was.
    pub(super) fn sound(&self) -> &Sound {
        &self.sound
    }

    fn can(&mut self) {
        let silence = self.profile.silence();
        let payload = &mut self.payloads[self.at];
        payload.bytes[..silence.len()].copy_from_slice(silence);
        payload.length = silence.len();
    }
}
