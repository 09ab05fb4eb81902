//! Clients that send nothing while nobody speaks (DTX), as browsers do it.

use super::*;
use campanile_opus::begins_rest;

/// A word of half a second every two seconds.
const WORD_TICKS: usize = 25;
const CYCLE_TICKS: usize = 100;
const CYCLES: usize = 5;

/// What Bob hears of Ann, who speaks in words, tick by tick in dB; and what became of her packets.
struct Heard {
    levels_db: Vec<f32>,
    sent: usize,
    quality: Quality,
}

/// Words over the hiss of a microphone, encoded with or without rests; `network` may take packets away.
fn hear(hiss: f32, dtx: bool, mut network: impl FnMut(usize, bool) -> bool) -> Heard {
    let mut world = World::new();
    world.join(BOB, silence());
    world.mixer.add(ANN, 1, true);
    let mut encoder = speech_encoder(5);
    encoder.set_dtx(dtx);
    let (mut dice, mut sequence, mut at_rest, mut sent) = (dice(), 0_u16, false, 0);
    for tick in 0..CYCLES * CYCLE_TICKS {
        let pcm: Vec<f32> = (tick * FRAME_SAMPLES..(tick + 1) * FRAME_SAMPLES)
            .map(|sample| {
                voice(sample % (CYCLE_TICKS * FRAME_SAMPLES)) + hiss * (dice() as f32 / 32_768.0 - 1.0)
            })
            .collect();
        let mut payload = [0; 1_000];
        let length = encoder.encode_f32(&pcm, &mut payload).unwrap();
        let payload = &payload[..length];
        let rested = std::mem::replace(&mut at_rest, begins_rest(payload));
        if !(rested && at_rest) {
            let (timestamp, level_db) = ((tick * FRAME_SAMPLES) as u32, Some(attenuation_db(&pcm) as u8));
            if network(tick, at_rest) {
                world.mixer.push(world.now, ANN, AudioPacket { sequence, timestamp, level_db, payload });
            }
            sequence = sequence.wrapping_add(1);
            sent += 1;
        }
        world.run(1);
    }
    let levels_db = world.client(BOB).mix.chunks_exact(FRAME_SAMPLES).map(rms_db).collect();
    Heard { levels_db, sent, quality: world.mixer.quality_of(ANN) }
}

/// A vowel whose pitch and loudness waver.
fn voice(sample: usize) -> f32 {
    if sample >= WORD_TICKS * FRAME_SAMPLES {
        return 0.0;
    }
    let time = sample as f32 / 48_000.0;
    let phase = std::f32::consts::TAU * (120.0 * time + (time * 9.0).sin());
    let harmonics: f32 = (1..20).map(|number| (phase * number as f32).sin() / number as f32).sum();
    0.1 * harmonics * (0.6 + 0.4 * (time * 25.0).sin())
}

/// The ticks, from the third word on, in which Bob hears the words, and those well between them.
fn words() -> impl Iterator<Item = usize> {
    (2..CYCLES).flat_map(|cycle| (1..WORD_TICKS).map(move |tick| cycle * CYCLE_TICKS + tick))
}

fn between() -> impl Iterator<Item = usize> {
    (2..CYCLES).flat_map(|cycle| (WORD_TICKS + 5..CYCLE_TICKS).map(move |tick| cycle * CYCLE_TICKS + tick))
}

fn everything(_: usize, _: bool) -> bool {
    true
}

#[test]
fn words_after_a_rest_sound_as_they_do_without() {
    // Louder than the gate, so that Ann is heard all the time, and softer, so that she is taken up with each word.
    for hiss in [0.004, 0.0006] {
        let (constant, resting) = (hear(hiss, false, everything), hear(hiss, true, everything));
        assert!(resting.sent < constant.sent * 6 / 10, "{} of {}", resting.sent, constant.sent);
        for tick in words() {
            let (without, with) = (constant.levels_db[tick], resting.levels_db[tick]);
            assert!(
                (with - without).abs() < 3.0,
                "hiss {hiss}, tick {tick}: {with} dB, {without} dB without rests"
            );
        }
        let Quality { lost, late, concealed_samples, skipped, adjusted, .. } = resting.quality;
        assert_eq!(
            (lost, late, concealed_samples, skipped, adjusted),
            (0, 0, 0, 0, 0),
            "nothing was missing"
        );
    }
}

#[test]
fn the_noise_of_a_room_goes_on_evenly_while_its_microphone_rests() {
    let noise = |dtx| {
        let levels_db = hear(0.004, dtx, everything).levels_db;
        let mut levels_db: Vec<f32> = between().map(|tick| levels_db[tick]).collect();
        levels_db.sort_by(f32::total_cmp);
        (levels_db[0], levels_db[levels_db.len() / 2], levels_db[levels_db.len() - 1])
    };
    let ((_, without, _), (least, with, most)) = (noise(false), noise(true));
    assert!((with - without).abs() < 6.0, "{with} dB, {without} dB without rests");
    assert!(most - least < 8.0, "from {least} to {most} dB");
}

#[test]
fn whoever_is_gone_in_a_rest_falls_silent() {
    let last = 3 * CYCLE_TICKS - 20;
    let heard = hear(0.004, true, |tick, _| tick < last);
    // A packet each 420 ms, 500 ms in full and 100 of fading.
    let (soon, later) = heard.levels_db.split_at(last + 31);
    assert!(soon[last - 21..last].iter().all(|level| *level > -70.0), "{:?}", &soon[last - 21..]);
    assert!(later.iter().all(|level| *level == -127.0), "{later:?}");
}

#[test]
fn a_rest_whose_beginning_was_lost_is_no_more_than_a_loss() {
    let heard = hear(0.004, true, |_, rests| !rests);
    let constant = hear(0.004, false, everything);
    for tick in words() {
        let (without, with) = (constant.levels_db[tick], heard.levels_db[tick]);
        assert!((with - without).abs() < 4.0, "tick {tick}: {with} dB, {without} dB without rests");
    }
    assert!(heard.quality.concealed_samples > 0 && heard.quality.lost > 0, "{:?}", heard.quality);
}

#[test]
fn whoever_claims_to_be_loud_and_rests_keeps_nobody_out() {
    let mut world = World::new();
    (0..8).for_each(|n| world.mixer.add(LegId(n), n, true));
    for n in 10..18 {
        world.join(LegId(n), tone(300.0 + 200.0 * n as f32, 0.1));
    }
    for tick in 0..500 {
        // 10 ms, of which nothing is sent: half of each tick is a rest.
        for n in (0..8).filter(|_| tick % 8 == 0) {
            let (sequence, timestamp) = (tick as u16 / 8, tick * FRAME_SAMPLES as u32);
            world.mixer.push(
                world.now,
                LegId(n),
                AudioPacket { sequence, timestamp, level_db: Some(0), payload: &[0xf0] },
            );
        }
        world.run(1);
    }
    assert_eq!(world.mixer.heard_owners, [10, 11, 12, 13, 14, 15, 16, 17]);
}
