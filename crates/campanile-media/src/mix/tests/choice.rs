//! Who is heard when many speak, and how loud each is.

use super::*;

#[test]
fn the_loudest_eight_are_heard() {
    let mut world = World::new();
    let pitch = |n: u32| 300.0 + 210.0 * n as f32;
    for n in 0..12 {
        // The later the louder: the first four are the quietest.
        world.join(LegId(n), tone(pitch(n), 0.004 * 1.3f32.powi(n as i32)));
    }
    world.join(LegId(99), silence());
    world.run(100);
    assert_eq!(world.mixer.heard_owners, [4, 5, 6, 7, 8, 9, 10, 11]);
    let mix = world.client(LegId(99)).mix[50 * FRAME_SAMPLES..].to_vec();
    for n in 0..12 {
        let expected = 20.0 * (0.004 * 1.3f32.powi(n as i32)).log10();
        let db = tone_db(&mix, pitch(n));
        if n < 4 {
            assert!(db < expected - 30.0, "{n}: {db}");
        } else {
            assert!((db - expected).abs() < 1.5, "{n}: {db}, not {expected}");
        }
    }
}

/// A decoder works for those who are heard, and for nobody else: not for silence, nor for who is muted or may only listen and
/// sends a voice all the same, nor for the ninth voice.
#[test]
fn nothing_is_decoded_of_who_is_not_heard() {
    const TICKS: usize = 100;
    let mut world = World::new();
    for n in 0..8 {
        world.join(LegId(n), tone(300.0 + 210.0 * n as f32, 0.1));
    }
    let [silent, muted, listener, ninth, resting] = [20, 21, 22, 23, 24].map(LegId);
    world.join(silent, silence());
    world.join(muted, tone(440.0, 0.3));
    world.mixer.set_muted(muted, true);
    world.join(listener, tone(550.0, 0.3));
    world.mixer.set_can_speak(listener, false);
    world.join(ninth, tone(660.0, 0.01));
    world.join(resting, silence()).network = Box::new(|number| match number % 20 {
        0 => Network::Deliver,
        _ => Network::Lose,
    });
    world.run(TICKS);
    for unheard in [silent, muted, listener, ninth, resting] {
        let quality = world.mixer.quality_of(unheard);
        assert!(quality.received > 0 && quality.decoded == 0, "{unheard:?}: {quality:?}");
    }
    for heard in (0..8).map(LegId) {
        let decoded = world.mixer.quality_of(heard).decoded as usize;
        assert!((TICKS - 3..=TICKS).contains(&decoded), "{heard:?}: {decoded}");
    }
    // Muted in the middle of a word and unmuted again.
    let decoded = |world: &World| world.mixer.quality_of(LegId(0)).decoded;
    world.mixer.set_muted(LegId(0), true);
    let before = decoded(&world);
    world.run(TICKS);
    assert_eq!(decoded(&world), before);
    world.mixer.set_muted(LegId(0), false);
    world.run(TICKS);
    assert!(decoded(&world) > before + TICKS as u64 / 2);
}

#[test]
fn a_louder_voice_takes_the_place_of_the_quietest() {
    let mut world = World::new();
    for n in 0..8 {
        world.join(LegId(n), tone(300.0 + 200.0 * n as f32, 0.02 + 0.01 * n as f32));
    }
    world.join(LegId(50), bursts(5_000.0, 0.3, 50, 50));
    world.run(40);
    assert!(!world.mixer.heard_owners.contains(&0));
    assert!(world.mixer.heard_owners.contains(&50));
    world.run(60 + 5);
    assert!(world.mixer.heard_owners.contains(&50));
}

#[test]
fn a_client_that_claims_to_be_loud_keeps_nobody_out() {
    let mut world = World::new();
    for n in 0..8 {
        world.join(LegId(n), silence()).announces = Some(Some(0));
    }
    for n in 10..18 {
        world.join(LegId(n), tone(300.0 + 200.0 * n as f32, 0.1));
    }
    world.run(150);
    assert_eq!(world.mixer.heard_owners, [10, 11, 12, 13, 14, 15, 16, 17]);
    for _ in 0..20 {
        world.run(50);
        assert_eq!(world.mixer.heard_owners, [10, 11, 12, 13, 14, 15, 16, 17]);
    }
}

#[test]
fn without_levels_the_sound_speaks_for_itself() {
    let mut world = World::new();
    for n in 0..20 {
        world.join(LegId(n), silence()).announces = Some(None);
    }
    world.join(LegId(30), bursts(440.0, 0.3, 100, 300)).announces = Some(None);
    world.join(LegId(31), silence());
    world.run(90);
    assert!(world.hears_db(LegId(31), 440.0, 20) > -13.0);
    world.run(100);
    assert_eq!(peak(&world.mixer.mix_for(LegId(31))), 0.0);
}

#[test]
fn the_first_syllable_is_heard_whole() {
    let mut world = World::new();
    // Silent but sending for a second, then a voice: the decoder must be ready for its very beginning.
    let mut voice = tone(500.0, 0.3);
    let onset = 50 * FRAME_SAMPLES;
    world.join(ANN, Box::new(move |sample| if sample < onset { 0.0 } else { voice(sample) }));
    world.join(BOB, silence());
    world.run(100);
    let mix = &world.client(BOB).mix;
    let starts = mix.iter().position(|sample| sample.abs() > 0.01).unwrap();
    // 40 ms of buffer, 6.5 ms of the client's own encoder.
    assert!(starts - onset < 2_600, "the voice is heard {} samples after it began", starts - onset);
    assert!(rms_db(&mix[starts..starts + FRAME_SAMPLES]) > -15.0);
}

#[test]
fn a_voice_taken_up_in_the_middle_does_not_blare() {
    let mut world = World::new();
    world.join(ANN, tone(1_100.0, 0.05));
    world.join(BOB, silence());
    world.run(30);
    for n in 0..10 {
        // Each time another decoder, which has heard nothing of this voice.
        world.mixer.set_stereo(ANN, n % 2 == 0);
        world.client(BOB).mix.clear();
        world.run(7);
        let peak = peak(&world.client(BOB).mix);
        assert!(peak < 0.055, "{peak}");
    }
}

#[test]
fn levels_follow_the_voice() {
    let mut world = World::new();
    world.join(ANN, bursts(440.0, 0.3, 50, 50));
    world.join(BOB, silence());
    world.run(45);
    let level = world.mixer.level_of(ANN);
    assert!(level.speaking && (12..=15).contains(&level.volume_db), "{level:?}");
    assert_eq!(world.mixer.level_of(BOB), Level::SILENT);
    world.run(45);
    let level = world.mixer.level_of(ANN);
    assert!(!level.speaking && (37..42).contains(&level.volume_db), "{level:?}");
    world.client(ANN).sound = silence();
    world.run(60);
    let level = world.mixer.level_of(ANN);
    assert!(!level.speaking && level.volume_db > 60, "{level:?}");
    assert_eq!(world.mixer.level_of(LegId(77)), Level::SILENT);
}
