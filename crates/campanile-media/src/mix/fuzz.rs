//! Entry points that take any bytes and must not panic.

use super::{AudioPacket, FRAME_SAMPLES, LegId, Mixer, PROFILES, Profile, TICK};
use std::time::Instant;

pub use super::red::fuzz::red;

/// Reads `data` as a meeting: packets of three legs, with any numbers, levels and payloads, mutes, and ticks.
/// Whatever comes, every listener gets 20 ms of valid Opus on every tick, and no sample leaves full scale.
pub fn mixer(now: Instant, data: &[u8]) {
    let mut mixer = Mixer::new();
    for leg in 0..3 {
        mixer.add(LegId(leg), leg / 2, true);
    }
    let (mut now, mut rest, mut sequence) = (now, data, 0u16);
    while let [action, value, tail @ ..] = rest {
        rest = tail;
        let leg = LegId(u32::from(action >> 4) % 4);
        match action % 8 {
            0 => mixer.set_muted(leg, value % 2 == 0),
            1 if value % 3 == 0 => mixer.set_stereo(leg, value % 2 == 0),
            1 if value % 3 == 1 => {
                mixer.set_profile(leg, Profile::ALL[usize::from(*value) / 3 % PROFILES]);
            }
            1 => mixer.add(leg, u32::from(*value) % 3, value % 8 != 0),
            2 => mixer.remove(leg),
            3 | 4 => {
                now += TICK;
                mixer.tick(now);
                for leg in (0..4).map(LegId) {
                    let samples = campanile_opus::packet_samples(mixer.payload_for(leg));
                    assert_eq!(samples, Ok(FRAME_SAMPLES));
                }
            }
            kind => {
                sequence = match kind {
                    5 => sequence.wrapping_add(u16::from(*value)),
                    6 => sequence.wrapping_mul(u16::from(*value)),
                    _ => sequence.wrapping_add(1),
                };
                let (payload, tail) = rest.split_at(rest.len().min(usize::from(*value)));
                rest = tail;
                let level_db = (value % 5 != 0).then_some(*value);
                let timestamp = u32::from(sequence) * 960;
                let packet = AudioPacket { sequence, timestamp, level_db, payload };
                if value % 4 == 0 {
                    mixer.push_red(now, leg, 111, packet);
                } else {
                    mixer.push(now, leg, packet);
                }
            }
        }
    }
    for shared in mixer.shared.iter().flatten() {
        let (sound, mut interleaved) = (shared.sound(), [0.0; 2 * FRAME_SAMPLES]);
        assert!(sound.interleave(&mut interleaved).iter().all(|sample| sample.abs() < 1.0));
    }
}
