//! One outgoing mix: limited, encoded, or replaced by a canned packet while there is nothing in it.

use super::limiter::Limiter;
use super::{FRAME_SAMPLES, Pcm};
use campanile_opus::{Application, Channels, Encoder, EncoderConfig, OpusError, Signal};

/// 20 ms of digital silence: a TOC byte (CELT, full band, mono) and a CELT frame whose silence flag is set, as the
/// encoder itself makes it. It leaves a decoder where a fresh encoder expects it.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// Mean rate of a mix. CELT at this rate is full band for speech.
const BITRATE_BPS: u32 = 32_000;
/// Effort: 60 microseconds a frame, beyond which CELT sounds hardly better.
const COMPLEXITY: u8 = 5;
/// The longest packet made: four times the mean, which variable rate never needs in full.
const PAYLOAD_BYTES_MAX: usize = 320;

pub(super) struct Stream {
    encoder: Option<Encoder>,
    /// The encoder has heard the frame before this one.
    running: bool,
    limiter: Limiter,
    /// The limited mix of this tick, and of the one before.
    pcm: Pcm,
    before: Pcm,
    payload: [u8; PAYLOAD_BYTES_MAX],
    length: usize,
}

impl Stream {
    pub(super) fn new() -> Stream {
        let mut stream = Stream {
            encoder: None,
            running: false,
            limiter: Limiter::new(),
            pcm: [0.0; FRAME_SAMPLES],
            before: [0.0; FRAME_SAMPLES],
            payload: [0; PAYLOAD_BYTES_MAX],
            length: 0,
        };
        stream.can();
        stream
    }

    /// Takes the place of `other` for some of its listeners, before either is given this tick's mix.
    pub(super) fn branch_from(&mut self, other: &Stream) {
        self.pcm = other.pcm;
        self.limiter = other.limiter;
        self.running = false;
    }

    /// The mix of this tick, to be filled in by `mix`, then limited.
    pub(super) fn mix(&mut self, mix: impl FnOnce(&mut Pcm)) {
        self.before = self.pcm;
        mix(&mut self.pcm);
        self.limiter.apply(&mut self.pcm);
    }

    /// Makes this tick's packet. `joined` says that somebody's decoder comes over from another stream, which costs
    /// one packet without prediction.
    ///
    /// Silence is canned once the encoder has taken in one frame of it, so that the overlap of the last sound is
    /// played out. On the way back the encoder begins anew, as the decoder does.
    pub(super) fn encode(&mut self, joined: bool) -> Result<(), OpusError> {
        if is_zero(&self.pcm) && is_zero(&self.before) {
            self.rest();
            return Ok(());
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            empty => empty.insert(new_encoder()?),
        };
        if !self.running {
            encoder.reset();
            if !is_zero(&self.before) {
                // What the listeners have just heard from another stream: the overlap must match.
                encoder.encode_f32(&self.before, &mut self.payload)?;
            }
        }
        encoder.set_prediction_disabled(joined || !self.running);
        self.length = encoder.encode_f32(&self.pcm, &mut self.payload)?;
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

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }

    /// What was encoded, before it was.
    pub(super) fn pcm(&self) -> &Pcm {
        &self.pcm
    }

    fn can(&mut self) {
        self.payload[..SILENCE.len()].copy_from_slice(&SILENCE);
        self.length = SILENCE.len();
    }
}

fn new_encoder() -> Result<Encoder, OpusError> {
    Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Celt,
        bitrate_bps: BITRATE_BPS,
        complexity: COMPLEXITY,
        signal: Signal::Auto,
    })
}

fn is_zero(pcm: &Pcm) -> bool {
    pcm.iter().all(|sample| *sample == 0.0)
}
