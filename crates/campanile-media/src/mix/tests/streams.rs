//! What goes out: silence that is exact and free, and listeners who move between streams without a seam.

use super::*;
use std::f32::consts::TAU;

#[test]
fn silence_is_exact_and_never_stops() {
    let mut world = World::new();
    world.join(ANN, silence());
    world.join(BOB, silence());
    assert!(world.mixer.is_idle());
    assert_eq!(world.mixer.payload_for(ANN), SILENCE);
    world.run(50);
    assert!(world.mixer.is_idle());
    for leg in [ANN, BOB] {
        let client = world.client(leg);
        assert_eq!(client.payload_lengths.len(), 50);
        assert!(peak(&client.heard) < 1e-20, "{:e}", peak(&client.heard)); // 0 in any integer format
    }
    assert!(world.mixer.shared.iter().all(Option::is_none), "nothing was encoded");
}

#[test]
fn after_speech_the_silence_is_exact_again_and_costs_nothing() {
    let mut world = World::new();
    world.join(ANN, bursts(440.0, 0.3, 50, 1_000));
    world.join(BOB, silence());
    world.run(50);
    assert!(!world.mixer.is_idle());
    world.run(80);
    assert!(world.mixer.is_idle());
    world.client(BOB).heard.clear();
    world.run(20);
    assert!(peak(&world.client(BOB).heard) < 1e-20);
    world.run(300);
    assert!(world.mixer.spare_voices.is_empty() && world.mixer.personal.is_empty());
}

#[test]
fn speech_after_canned_silence_and_back_does_not_click() {
    let mut world = World::new();
    world.join(ANN, bursts(440.0, 0.5, 60, 60));
    world.join(BOB, silence());
    world.run(600);
    // A 440 Hz sine of 0.5 rises by 0.029 a sample; the burst's own edges come at a zero of the sine or pass a codec.
    let steepest = steepest(&world.client(BOB).heard);
    assert!(steepest < 0.06, "a step of {steepest}");
}

/// Worst SNR in dB of `heard` against `mix` in each frame of 20 ms from tick `from` on, the codec's delay taken out.
fn snr_by_frame(client: &Client, from: usize, to: usize) -> Vec<f32> {
    const DELAY: usize = 312; // the look-ahead of the encoder
    (from..to)
        .map(|tick| {
            let at = tick * FRAME_SAMPLES;
            let mix = &client.mix[at - DELAY..at - DELAY + FRAME_SAMPLES];
            let heard = &client.heard[at..at + FRAME_SAMPLES];
            let error: Vec<f32> = mix.iter().zip(heard).map(|(mix, heard)| mix - heard).collect();
            rms_db(mix) - rms_db(&error)
        })
        .collect()
}

#[test]
fn a_listener_who_starts_and_stops_speaking_hears_no_seam() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(CAT, tone(700.0, 0.2));
    world.join(BOB, bursts(1_500.0, 0.2, 60, 90));
    world.join(LegId(4), silence());
    world.run(600);
    // The fourth listener hears the shared stream all along, with Bob in it; while Bob is silent both hear the same.
    let (switching, steady) =
        (snr_by_frame(world.client(BOB), 50, 600), snr_by_frame(world.client(LegId(4)), 50, 600));
    for (tick, (switching, steady)) in (50..).zip(switching.into_iter().zip(steady)) {
        assert!(switching > 15.0_f32.min(steady - 6.0), "frame {tick}: {switching} dB, steadily {steady} dB");
    }
    assert!(world.hears_db(BOB, 1_500.0, 500) < -14.0 - 60.0);
    assert!(steepest(&world.client(BOB).heard[30 * FRAME_SAMPLES..]) < 0.05);
}

/// Whoever is muted in the middle of a word hears the others from then on, and nothing of that word.
#[test]
fn who_is_muted_hears_no_end_of_their_own_word() {
    const MUTED_AT: usize = 100;
    for profile in Profile::ALL {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.1));
        world.join(BOB, tone(1_500.0, 0.3));
        world.join(EVE, silence());
        world.mixer.set_profile(BOB, profile);
        world.mixer.set_profile(EVE, profile);
        world.run(MUTED_AT);
        world.mixer.set_muted(BOB, true);
        world.run(10);
        let snr = snr_by_frame(world.client(BOB), MUTED_AT - 10, MUTED_AT + 10);
        let (before, after) = snr.split_at(10);
        let worst = |snr: &[f32]| snr.iter().fold(f32::MAX, |worst, snr| worst.min(*snr));
        assert!(worst(after) > 20.0_f32.min(worst(before) - 6.0), "{profile:?}: {after:?}");
    }
}

/// Whoever asks for another quality in the middle of a word hears nothing of it, though it is in all that others hear in that
/// quality.
#[test]
fn who_changes_the_quality_while_speaking_hears_nothing_of_their_word() {
    const CHANGED_AT: usize = 100;
    for profile in Profile::ALL.into_iter().skip(1) {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.1));
        world.join(BOB, tone(1_500.0, 0.3));
        world.join(EVE, silence());
        world.mixer.set_profile(EVE, profile);
        world.run(CHANGED_AT);
        world.mixer.set_profile(BOB, profile);
        world.run(10);
        let snr = snr_by_frame(world.client(BOB), CHANGED_AT, CHANGED_AT + 3);
        println!("{profile:?}: {snr:?}");
        assert!(snr.iter().all(|snr| *snr > 6.0), "{profile:?}: {snr:?}");
    }
}

/// SNR by frame of a listener who moves between streams, in each profile, beside one who stays.
#[test]
fn a_move_between_streams_is_no_seam_in_any_profile() {
    for profile in Profile::ALL {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.3));
        world.join(CAT, tone(700.0, 0.2));
        world.join(BOB, bursts(1_500.0, 0.2, 60, 90));
        world.join(EVE, silence());
        world.mixer.set_profile(BOB, profile);
        world.mixer.set_profile(EVE, profile);
        world.run(600);
        let (moving, steady) =
            (snr_by_frame(world.client(BOB), 50, 600), snr_by_frame(world.client(EVE), 50, 600));
        let worst = |snr: &[f32]| snr.iter().fold(f32::MAX, |worst, snr| worst.min(*snr));
        println!("{profile:?}: worst frame {:.1} dB moving, {:.1} dB steady", worst(&moving), worst(&steady));
        assert!(worst(&moving) > 15.0_f32.min(worst(&steady) - 6.0));
        assert!(world.hears_db(BOB, 1_500.0, 500) < -14.0 - 60.0);
        // A click is sound where none belongs: between the tones, and above them all.
        let client = world.client(BOB);
        for hz in [2_500.0, 6_000.0, 11_000.0] {
            for frames in client.heard[50 * FRAME_SAMPLES..].chunks_exact(10 * FRAME_SAMPLES) {
                assert!(tone_db(frames, hz) < -60.0, "{profile:?}: {} dB at {hz} Hz", tone_db(frames, hz));
            }
        }
    }
}

/// Someone comes and goes in the middle of another's speech. On the way to a stream of their own they hear no seam at all,
/// since its encoder is a copy; on the way back they are with the others from the first frame, which for all of them refers
/// to none before it.
#[test]
fn a_move_in_the_middle_of_speech_is_no_seam_in_any_profile() {
    const FROM: usize = 60;
    const TICKS: usize = 800;
    for profile in Profile::ALL {
        let mut world = World::new();
        world.join(ANN, network::speech());
        world.join(BOB, bursts(1_500.0, 0.2, 60, 90));
        world.join(EVE, silence());
        world.mixer.set_profile(BOB, profile);
        world.mixer.set_profile(EVE, profile);
        let (mut moves, mut spoken_in_speech_mode, mut before) = (Vec::new(), 0, None);
        for tick in 0..TICKS {
            world.run(1);
            let personal = world.mixer.legs[&BOB].hears_personal;
            if personal != before && (FROM..TICKS - 10).contains(&tick) {
                moves.push((tick, personal));
            }
            before = personal;
            // Below 16 the configuration is SILK or hybrid (RFC 6716 table 2).
            spoken_in_speech_mode += usize::from(world.mixer.payload_for(EVE)[0] >> 3 < 16);
        }
        assert!(moves.len() >= 8, "{moves:?}");
        assert!(
            profile == Profile::StereoMusic || spoken_in_speech_mode > TICKS / 2,
            "{profile:?}: {spoken_in_speech_mode}"
        );
        let (moving, steady) =
            (snr_by_frame(world.client(BOB), FROM, TICKS), snr_by_frame(world.client(EVE), FROM, TICKS));
        let (mut worst, mut apart) = (f32::MAX, 0.0f32);
        for (tick, personal) in moves {
            for at in tick..tick + 6 {
                let said = rms_db(&world.client(BOB).mix[at * FRAME_SAMPLES..][..FRAME_SAMPLES]);
                // In a pause there is nothing to be faithful to.
                if said < -40.0 {
                    continue;
                }
                if personal == Some(true) {
                    worst = worst.min(moving[at - FROM]);
                } else {
                    apart = apart.max((moving[at - FROM] - steady[at - FROM]).abs());
                }
            }
        }
        println!("{profile:?}: after a move away at least {worst:.1} dB, after one back {apart:.1} dB apart");
        assert!(worst > 8.0, "{profile:?}: {worst} dB");
        assert!(apart < 1.0, "{profile:?}: {apart} dB");
    }
}

/// A chord that fades, which libopus takes for speech if it has not heard it begin.
fn fading_chord() -> Tune {
    Box::new(|sample| {
        let seconds = sample as f32 / 48_000.0;
        let chord: f32 = [130.8, 329.6, 392.0, 523.3]
            .iter()
            .flat_map(|hz| (1..6).map(move |n| (hz * n as f32, (-seconds * n as f32 * 0.6).exp() / n as f32)))
            .map(|(hz, loudness)| loudness * (TAU * (hz * seconds).fract()).sin())
            .sum();
        0.1 * chord
    })
}

/// In a meeting of two nobody hears the shared stream while its one listener speaks: it goes on where theirs ends, and knows
/// what it carries.
#[test]
fn who_alone_hears_a_quality_comes_back_to_the_same_encoder() {
    for profile in [Profile::ClearSpeech, Profile::Music] {
        let modes = |interjects: bool| {
            let mut world = World::new();
            world.join(ANN, fading_chord());
            world.join(BOB, if interjects { bursts(300.0, 0.003, 40, 60) } else { silence() });
            world.mixer.set_profile(BOB, profile);
            let mut modes = Vec::new();
            for _ in 0..300 {
                world.run(1);
                // Mode, bandwidth and duration (RFC 6716 section 3.1).
                modes.push(world.mixer.payload_for(BOB)[0] >> 3);
            }
            modes
        };
        let (interjecting, listening) = (modes(true), modes(false));
        let differ: Vec<usize> = (0..300).filter(|tick| interjecting[*tick] != listening[*tick]).collect();
        assert!(differ.is_empty(), "{profile:?}: {differ:?}");
    }
}

#[test]
fn a_speakers_encoder_stays_warm_between_words() {
    let mut world = World::new();
    world.join(ANN, bursts(440.0, 0.3, 20, 60));
    world.join(BOB, tone(700.0, 0.3));
    world.join(CAT, silence());
    world.run(500);
    assert_eq!(world.mixer.personal.len(), 2);
    world.client(ANN).sound = silence();
    world.run(400);
    assert_eq!(world.mixer.personal.len(), 1, "dropped after a while");
}
