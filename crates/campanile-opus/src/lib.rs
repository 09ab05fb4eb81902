//! A safe face of libopus (RFC 6716): one encoder, one decoder, a look at a packet from outside, and
//! what is sent of silence.
//!
//! This is the only unsafe code of the workspace: each block is one call into C whose pointers come from slices and
//! whose results are checked. Samples are `f32`, nominally within ±1.0, always at 48 kHz, interleaved when stereo;
//! libopus resamples whatever a packet was coded at. Jitter, loss and mixing are the business of `campanile-media`.
#![allow(unsafe_code)] // libopus is C; nothing outside this crate needs to be unsafe.

mod silence;

pub use silence::{RestingMicrophone, SILENCE, begins_rest};

use opusic_sys as sys;
use std::ffi::c_int;
use std::ptr::NonNull;

/// Samples per second and channel, of every encoder and decoder here.
pub const SAMPLE_RATE_HZ: u32 = 48_000;
/// Samples per channel of the longest Opus packet: 120 ms (RFC 6716 section 3.2.5).
pub const PACKET_SAMPLES_MAX: usize = 5_760;
/// All Opus durations are multiples of 2.5 ms, and so must be what is asked of concealment.
pub const SAMPLES_STEP: usize = 120;

/// What libopus would not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// The bytes are no Opus packet: drop them and count them.
    #[error("not a valid Opus packet")]
    InvalidPacket,
    /// The output is too short for what the packet holds.
    #[error("output buffer too small")]
    BufferTooSmall,
    /// A length or setting that Opus does not know, such as a frame of 7 ms: a mistake of the caller's.
    #[error("argument out of range")]
    BadArgument,
    /// libopus has no memory or contradicts itself.
    #[error("libopus failed with code {0}")]
    Internal(i32),
}

fn check(code: c_int) -> Result<usize, OpusError> {
    match code {
        0.. => Ok(code as usize),
        sys::OPUS_BAD_ARG => Err(OpusError::BadArgument),
        sys::OPUS_BUFFER_TOO_SMALL => Err(OpusError::BufferTooSmall),
        sys::OPUS_INVALID_PACKET => Err(OpusError::InvalidPacket),
        other => Err(OpusError::Internal(other)),
    }
}

fn c_len(length: usize) -> Result<c_int, OpusError> {
    c_int::try_from(length).map_err(|_| OpusError::BadArgument)
}

/// Channels of PCM, interleaved when there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One channel.
    Mono = 1,
    /// Left and right.
    Stereo = 2,
}

/// What an encoder is for, which decides the coding modes that it may use and its look-ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// Speech first: SILK, hybrid or CELT by signal and rate; 6.5 ms of look-ahead.
    Voip = sys::OPUS_APPLICATION_VOIP as isize,
    /// Faithfulness first; 6.5 ms of look-ahead.
    Audio = sys::OPUS_APPLICATION_AUDIO as isize,
    /// CELT alone: the cheapest to encode, 2.5 ms of look-ahead, and no state that a mode switch could disturb.
    Celt = sys::OPUS_APPLICATION_RESTRICTED_CELT as isize,
}

/// A hint on the kind of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Let libopus guess.
    Auto = sys::OPUS_AUTO as isize,
    /// Speech.
    Voice = sys::OPUS_SIGNAL_VOICE as isize,
    /// Music.
    Music = sys::OPUS_SIGNAL_MUSIC as isize,
}

/// How an encoder codes (RFC 6716 section 2). What `Hybrid` is for wide band and below is SILK alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As libopus thinks best, by rate and by what it hears.
    Auto = sys::OPUS_AUTO as isize,
    /// Speech below 8 kHz by SILK, what is above by CELT.
    Hybrid = 1001,
    /// CELT alone.
    Celt = 1002,
}

/// Requests of libopus' own test program and of its multistream encoder, which the public header leaves out. The library
/// is built from the source that comes with its bindings, so that they cannot be missing.
const SET_FORCE_MODE_REQUEST: c_int = 11_002;
const GET_VOICE_RATIO_REQUEST: c_int = 11_019;

/// The highest frequencies that an encoder keeps (RFC 6716 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bandwidth {
    /// Up to 4 kHz: all that an 8 kHz device records.
    Narrow = sys::OPUS_BANDWIDTH_NARROWBAND as isize,
    /// Up to 6 kHz, of 12 kHz devices.
    Medium = sys::OPUS_BANDWIDTH_MEDIUMBAND as isize,
    /// Up to 8 kHz, of 16 kHz devices.
    Wide = sys::OPUS_BANDWIDTH_WIDEBAND as isize,
    /// Up to 12 kHz, of 24 kHz devices.
    SuperWide = sys::OPUS_BANDWIDTH_SUPERWIDEBAND as isize,
    /// Up to 20 kHz.
    Full = sys::OPUS_BANDWIDTH_FULLBAND as isize,
}

/// How an [`Encoder`] is set up at birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Channels of the PCM and of the packets.
    pub channels: Channels,
    /// What the encoder is for.
    pub application: Application,
    /// Mean rate of the packets; the rate of one packet varies within a bound.
    pub bitrate_bps: u32,
    /// Effort, 0 (least) to 10.
    pub complexity: u8,
    /// The kind of sound to expect.
    pub signal: Signal,
    /// What is kept of the spectrum at most.
    pub bandwidth: Bandwidth,
}

/// One Opus stream in the making.
#[derive(Debug)]
pub struct Encoder {
    state: NonNull<sys::OpusEncoder>,
    channels: Channels,
    application: Application,
}

// SAFETY: the state belongs to this value alone and libopus keeps nothing in thread-local or global variables.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Makes an encoder of 48 kHz PCM. Fails with `BadArgument` on a rate or complexity outside Opus' range.
    pub fn new(config: EncoderConfig) -> Result<Encoder, OpusError> {
        let mut code = sys::OPUS_OK;
        // SAFETY: takes plain numbers and a pointer to a live integer; a null result is handled below.
        let state = unsafe {
            sys::opus_encoder_create(
                SAMPLE_RATE_HZ as sys::opus_int32,
                config.channels as c_int,
                config.application as c_int,
                &mut code,
            )
        };
        check(code)?;
        let state = NonNull::new(state).ok_or(OpusError::Internal(sys::OPUS_ALLOC_FAIL))?;
        let mut encoder = Encoder { state, channels: config.channels, application: config.application };
        encoder.set(sys::OPUS_SET_BITRATE_REQUEST, c_len(config.bitrate_bps as usize)?)?;
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(config.complexity))?;
        encoder.set(sys::OPUS_SET_SIGNAL_REQUEST, config.signal as c_int)?;
        encoder.set(sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, config.bandwidth as c_int)?;
        Ok(encoder)
    }

    /// While set, packets refer to none before them, so that a decoder may come over from another stream.
    pub fn set_prediction_disabled(&mut self, disabled: bool) {
        self.set(sys::OPUS_SET_PREDICTION_DISABLED_REQUEST, c_int::from(disabled))
            .expect("every encoder knows this setting and both its values");
    }

    /// Puts a coarse copy of each SILK frame into the next packet (in-band FEC), as much as the loss to expect, in
    /// percent from 0 to 100, makes worthwhile. CELT has no such thing and ignores it.
    pub fn set_inband_fec(&mut self, loss_percent: u8) -> Result<(), OpusError> {
        self.set(sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(loss_percent > 0))?;
        self.set(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(loss_percent))
    }

    /// Whether silence, or what is taken for it, may become packets of one byte, which need not be sent but for the first
    /// (DTX, discontinuous transmission): after 200 ms, and with a packet of some substance each 420 ms.
    pub fn set_dtx(&mut self, on: bool) {
        self.set(sys::OPUS_SET_DTX_REQUEST, c_int::from(on)).expect("every encoder knows both values");
    }

    /// The kind of sound to expect from now on.
    pub fn set_signal(&mut self, signal: Signal) {
        self.set(sys::OPUS_SET_SIGNAL_REQUEST, signal as c_int).expect("every encoder knows every kind");
    }

    /// The effort from now on, 0 (least) to 10. Fails with `BadArgument` beyond.
    pub fn set_complexity(&mut self, complexity: u8) -> Result<(), OpusError> {
        self.set(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(complexity))
    }

    /// The coding mode from now on; [`Application::Celt`] knows but one.
    pub fn set_mode(&mut self, mode: Mode) {
        self.set(SET_FORCE_MODE_REQUEST, mode as c_int).expect("every encoder knows every mode");
    }

    /// How likely libopus thinks that the last frame was speech rather than music, 0 to 100. `None` if it has not looked: it
    /// does from complexity 7 on, under [`Signal::Auto`], and keeps its last word through digital silence.
    pub fn speech_percent(&self) -> Option<u8> {
        let mut percent: sys::opus_int32 = -1;
        // SAFETY: `state` is a live encoder, and this request takes a pointer to one integer, which it writes.
        let code =
            unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), GET_VOICE_RATIO_REQUEST, &raw mut percent) };
        check(code).ok().and_then(|_| u8::try_from(percent).ok())
    }

    /// Becomes what `other` is, settings and all sound heard so far: from here on both make the same packets of the same
    /// sound, so that a decoder of the one may go on with the other. Fails with `BadArgument` unless both are for the
    /// same channels and application, which must not be [`Application::Celt`].
    pub fn copy_from(&mut self, other: &Encoder) -> Result<(), OpusError> {
        let (kind, others) = ((self.channels, self.application), (other.channels, other.application));
        // An encoder of CELT alone is smaller than libopus tells.
        if kind != others || self.application == Application::Celt {
            return Err(OpusError::BadArgument);
        }
        // SAFETY: takes a plain number.
        let bytes = check(unsafe { sys::opus_encoder_get_size(self.channels as c_int) })?;
        // SAFETY: both are live encoders of that size, which `opus_encoder_create` has allocated for these channels and
        // either of the two applications left, and different ones, since one is borrowed mutably. The state is one block
        // without pointers into itself, to be copied by its bytes (opus.h, "Opus Encoder").
        unsafe {
            std::ptr::copy_nonoverlapping(
                other.state.as_ptr().cast::<u8>(),
                self.state.as_ptr().cast::<u8>(),
                bytes,
            );
        }
        Ok(())
    }

    /// Forgets all sound heard so far; the settings stay.
    pub fn reset(&mut self) {
        // SAFETY: `state` is a live encoder; this request takes no argument.
        let code = unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
        check(code).expect("every encoder can be reset");
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms and returns the packet's length in bytes.
    /// The packet never exceeds `packet`, whose length therefore also bounds the rate.
    pub fn encode_f32(&mut self, pcm: &[f32], packet: &mut [u8]) -> Result<usize, OpusError> {
        if !pcm.len().is_multiple_of(self.channels as usize) {
            return Err(OpusError::BadArgument);
        }
        let samples = c_len(pcm.len() / self.channels as usize)?;
        // SAFETY: `state` is a live encoder for `channels`; C reads `samples * channels` floats, which is the
        // slice's length, and writes at most `packet.len()` bytes.
        let code = unsafe {
            sys::opus_encode_float(
                self.state.as_ptr(),
                pcm.as_ptr(),
                samples,
                packet.as_mut_ptr(),
                sys::opus_int32::try_from(packet.len()).unwrap_or(sys::opus_int32::MAX),
            )
        };
        check(code)
    }

    fn set(&mut self, request: c_int, value: c_int) -> Result<(), OpusError> {
        // SAFETY: `state` is a live encoder, and every request passed here takes exactly one integer by value.
        check(unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), request, value) }).map(|_| ())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: created by `opus_encoder_create`, destroyed only here.
        unsafe { sys::opus_encoder_destroy(self.state.as_ptr()) }
    }
}

/// One Opus stream on its way back to sound.
#[derive(Debug)]
pub struct Decoder {
    state: NonNull<sys::OpusDecoder>,
    channels: Channels,
}

// SAFETY: the state belongs to this value alone and libopus keeps nothing in thread-local or global variables.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Makes a decoder to 48 kHz PCM; packets with other channels are mixed down or doubled.
    pub fn new(channels: Channels) -> Result<Decoder, OpusError> {
        let mut code = sys::OPUS_OK;
        // SAFETY: takes plain numbers and a pointer to a live integer; a null result is handled below.
        let state = unsafe {
            sys::opus_decoder_create(SAMPLE_RATE_HZ as sys::opus_int32, channels as c_int, &mut code)
        };
        check(code)?;
        let state = NonNull::new(state).ok_or(OpusError::Internal(sys::OPUS_ALLOC_FAIL))?;
        Ok(Decoder { state, channels })
    }

    /// Decodes into `out` (interleaved) and returns the samples per channel.
    ///
    /// - `Some(packet)`, `fec` false: the packet itself; `out` should hold [`PACKET_SAMPLES_MAX`] per channel.
    /// - `Some(packet)`, `fec` true: the frame lost just before this packet, from the copy in it when there is one
    ///   (see [`has_fec`]), else concealed. `out` must be exactly as long as what was lost.
    /// - `None`: conceals exactly `out`, a multiple of [`SAMPLES_STEP`] and at most [`PACKET_SAMPLES_MAX`].
    ///
    /// Any bytes give sound or an error.
    pub fn decode_f32(
        &mut self,
        packet: Option<&[u8]>,
        fec: bool,
        out: &mut [f32],
    ) -> Result<usize, OpusError> {
        // To libopus no bytes mean a lost packet; here that is said with `None`.
        let (data, length) = match packet {
            Some([]) => return Err(OpusError::InvalidPacket),
            Some(bytes) => (bytes.as_ptr(), bytes.len()),
            None => (std::ptr::null(), 0),
        };
        let room = (out.len() / self.channels as usize).min(PACKET_SAMPLES_MAX);
        // SAFETY: `state` is a live decoder for `channels`; C reads `length` bytes of the slice (none when null) and
        // writes at most `room * channels` floats, which `out` holds.
        let code = unsafe {
            sys::opus_decode_float(
                self.state.as_ptr(),
                data,
                c_len(length)?,
                out.as_mut_ptr(),
                room as c_int,
                c_int::from(fec),
            )
        };
        check(code)
    }

    /// Forgets all sound heard so far.
    pub fn reset(&mut self) {
        // SAFETY: `state` is a live decoder; this request takes no argument.
        let code = unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
        check(code).expect("every decoder can be reset");
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: created by `opus_decoder_create`, destroyed only here.
        unsafe { sys::opus_decoder_destroy(self.state.as_ptr()) }
    }
}

/// Samples per channel at 48 kHz that a packet decodes to, 120 to 5,760; checks the whole framing (RFC 6716 section 3)
/// without decoding. The one error is `InvalidPacket`.
pub fn packet_samples(packet: &[u8]) -> Result<usize, OpusError> {
    if packet.is_empty() {
        return Err(OpusError::InvalidPacket);
    }
    let length = sys::opus_int32::try_from(packet.len()).map_err(|_| OpusError::InvalidPacket)?;
    let mut sizes = [0; 48]; // at most 48 frames of 2.5 ms
    // SAFETY: C reads at most `length` bytes and writes at most 48 sizes; a null pointer means "not wanted".
    let frames = unsafe {
        sys::opus_packet_parse(
            packet.as_ptr(),
            length,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            sizes.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    // SAFETY: C reads the first two bytes at most, within `length`.
    let samples = unsafe {
        sys::opus_packet_get_nb_samples(packet.as_ptr(), length, SAMPLE_RATE_HZ as sys::opus_int32)
    };
    match (check(frames), check(samples)) {
        (Ok(1..), Ok(samples @ 1..=PACKET_SAMPLES_MAX)) => Ok(samples),
        _ => Err(OpusError::InvalidPacket),
    }
}

/// Whether a packet carries a copy of the frame before it (in-band FEC, RFC 6716 section 2.1.7).
pub fn has_fec(packet: &[u8]) -> bool {
    let Ok(length) = sys::opus_int32::try_from(packet.len()) else { return false };
    // SAFETY: C reads at most `length` bytes, at least one.
    length > 0 && unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), length) } == 1
}

/// Entry points that take any bytes and must not panic.
pub mod fuzz {
    use super::{Channels, Decoder, PACKET_SAMPLES_MAX, SAMPLES_STEP, has_fec, packet_samples};

    /// Cuts `data` into packets (a length byte before each) and feeds one decoder of each kind with them: what decodes
    /// must last exactly as long as [`packet_samples`] said.
    pub fn opus_packet(data: &[u8]) {
        for channels in [Channels::Mono, Channels::Stereo] {
            let Ok(mut decoder) = Decoder::new(channels) else { return };
            let mut out = vec![0.0; PACKET_SAMPLES_MAX * channels as usize];
            let mut rest = data;
            while let Some((&length, tail)) = rest.split_first() {
                let (packet, tail) = tail.split_at(tail.len().min(usize::from(length)));
                rest = tail;
                let expected = packet_samples(packet);
                if has_fec(packet)
                    && let Ok(samples) = expected
                {
                    let _ = decoder.decode_f32(
                        Some(packet),
                        true,
                        &mut out[..samples.min(960) * channels as usize],
                    );
                }
                match (decoder.decode_f32(Some(packet), false, &mut out), expected) {
                    (Ok(samples), expected) => assert_eq!(Ok(samples), expected),
                    (Err(_), _) => {
                        let concealed =
                            decoder.decode_f32(None, false, &mut out[..SAMPLES_STEP * channels as usize]);
                        assert_eq!(concealed, Ok(SAMPLES_STEP));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
