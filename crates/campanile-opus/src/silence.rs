//! What is sent of silence.

/// 20 ms of digital silence at full band, mono: a TOC byte (CELT) and a frame whose silence flag is set, as the encoder
/// itself makes it (RFC 6716 section 4.3). It leaves a decoder where a fresh encoder expects it.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// The first packet of a rest: the same TOC byte and no frame.
const REST: [u8; 1] = [SILENCE[0]];
/// Frames of 20 ms that a rest comes after, and how many it lasts before a frame renews what is known of the silence: what
/// libopus does.
const FRAMES_BEFORE: u32 = 10;
const FRAMES_AT_REST: u32 = 20;

/// A microphone in silence, of which browsers send next to nothing if asked to (DTX, RFC 7587 section 3.1.3): 200 ms of it,
/// then every 420 ms a packet and one that says that nothing follows.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestingMicrophone {
    /// Of the silence so far.
    frames: u32,
}

impl RestingMicrophone {
    /// The packet of the next 20 ms, if there is one.
    pub fn next_packet(&mut self) -> Option<&'static [u8]> {
        let rest = self.frames.checked_sub(FRAMES_BEFORE).map(|frames| frames % (FRAMES_AT_REST + 1));
        self.frames = self.frames.wrapping_add(1);
        match rest {
            Some(0) => Some(&REST),
            None | Some(FRAMES_AT_REST) => Some(&SILENCE),
            Some(_) => None,
        }
    }

    /// Somebody speaks: the next silence begins anew.
    pub fn speak(&mut self) {
        self.frames = 0;
    }
}

/// Whether a packet says no more than that nothing follows for a while: its sender's silence has begun (DTX). What a decoder
/// conceals from here on is that silence, with the noise of the sender's room.
pub fn begins_rest(packet: &[u8]) -> bool {
    // How it is coded, and no frame, or one that is empty (RFC 6716 section 3.2.1).
    packet.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Application, Bandwidth, Channels, Encoder, EncoderConfig, Signal};

    #[test]
    fn silence_is_sent_at_the_pace_of_an_encoder_that_rests() {
        let mut encoder = Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Voip,
            bitrate_bps: 32_000,
            complexity: 9,
            signal: Signal::Auto,
            bandwidth: Bandwidth::Full,
        })
        .unwrap();
        encoder.set_dtx(true);
        let mut at_rest = false;
        let mut encoded = |sound: f32| {
            let mut packet = [0; 400];
            let frame: Vec<f32> = (0..960).map(|at| sound * (at as f32 / 7.0).sin()).collect();
            let length = encoder.encode_f32(&frame, &mut packet).unwrap();
            let rested = std::mem::replace(&mut at_rest, begins_rest(&packet[..length]));
            // As browsers do it: of a rest the first packet alone is sent.
            (!(rested && at_rest)).then_some(at_rest)
        };
        for _ in 0..50 {
            encoded(0.3);
        }
        let expected: Vec<Option<bool>> = (0..200).map(|_| encoded(0.0)).collect();
        let first = expected.iter().position(|rests| *rests == Some(true)).unwrap();
        let mut microphone = RestingMicrophone::default();
        let sent: Vec<Option<bool>> = (0..200).map(|_| microphone.next_packet().map(begins_rest)).collect();
        // What the last sound leaves behind in an encoder may be a frame or two.
        assert!((10..=13).contains(&first), "{first}");
        assert_eq!(sent[10..180], expected[first..first + 170]);
        microphone.speak();
        assert_eq!(microphone.next_packet(), Some(&SILENCE[..]));
    }
}
