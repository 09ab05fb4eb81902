//! Listeners of different quality in one meeting, and redundancy for those who lose packets.

use super::*;
use crate::mix::red::Red;

/// What one leg hears from now on, in left and right, over `ticks`.
fn hear(world: &mut World, leg: LegId, ticks: usize) -> [Vec<f32>; 2] {
    let mut decoder = Decoder::new(Channels::Stereo).unwrap();
    let mut heard = [Vec::new(), Vec::new()];
    for _ in 0..ticks {
        world.run(1);
        let mut out = [0.0; 2 * FRAME_SAMPLES];
        decoder.decode_f32(Some(world.mixer.payload_for(leg)), false, &mut out).unwrap();
        for pair in out.chunks_exact(2) {
            heard[0].push(pair[0]);
            heard[1].push(pair[1]);
        }
    }
    heard
}

#[test]
fn each_profile_has_its_rate_and_none_is_held_to_the_lowest() {
    let mut world = World::new();
    world.join(ANN, speech_and_hiss());
    for (n, profile) in Profile::ALL.into_iter().enumerate() {
        world.join(LegId(10 + n as u32), silence());
        world.mixer.set_profile(LegId(10 + n as u32), profile);
    }
    let mut bytes = [0; PROFILES];
    for _ in 0..250 {
        world.run(1);
        for (n, bytes) in bytes.iter_mut().enumerate() {
            *bytes += world.mixer.payload_for(LegId(10 + n as u32)).len();
        }
    }
    let kbps = bytes.map(|bytes| bytes * 8 / 5_000);
    println!("{kbps:?} kbit/s");
    for (kbps, expected) in kbps.into_iter().zip([32, 40, 64, 128, 24]) {
        assert!(kbps.abs_diff(expected) <= expected / 4, "{kbps} kbit/s, not {expected}");
    }
}

/// Sound in every band, so that an encoder spends what it may.
fn speech_and_hiss() -> Tune {
    let (mut dice, mut tone) = (dice(), tone(180.0, 0.2));
    Box::new(move |sample| tone(sample) + 0.1 * (dice() as f32 / 32_768.0 - 1.0))
}

#[test]
fn silence_is_exact_in_every_profile() {
    for profile in Profile::ALL {
        for channels in [Channels::Mono, Channels::Stereo] {
            let mut decoder = Decoder::new(channels).unwrap();
            for _ in 0..5 {
                let mut out = vec![1.0; FRAME_SAMPLES * channels as usize];
                assert_eq!(decoder.decode_f32(Some(profile.silence()), false, &mut out), Ok(FRAME_SAMPLES));
                assert!(peak(&out) < 1e-20, "{profile:?}: {}", peak(&out));
            }
        }
    }
}

#[test]
fn a_tone_of_14_khz_arrives_at_64_kbps_and_a_16_khz_leg_takes_part() {
    let mut world = World::new();
    let (mut high, mut low) = (tone(14_000.0, 0.1), tone(1_000.0, 0.1));
    world.join(ANN, Box::new(move |sample| high(sample) + low(sample)));
    world.join(BOB, silence());
    world.mixer.set_profile(BOB, Profile::Music);
    // Cat's device records and plays at 16 kHz.
    world.join(CAT, tone(700.0, 0.1)).encoder = speech_encoder(0);
    world.mixer.set_profile(CAT, Profile::Mobile);
    world.run(50);
    let bob = hear(&mut world, BOB, 50)[0].split_off(10 * FRAME_SAMPLES);
    let (high, low, cat) = (tone_db(&bob, 14_000.0), tone_db(&bob, 1_000.0), tone_db(&bob, 700.0));
    println!("14 kHz at {high:.2} dB, 1 kHz at {low:.2} dB, sent at -20 dB");
    assert!((high - -20.0).abs() < 3.0 && (low - -20.0).abs() < 1.0 && (cat - -20.0).abs() < 1.0);
    let cat = hear(&mut world, CAT, 50)[0].split_off(10 * FRAME_SAMPLES);
    assert!((tone_db(&cat, 1_000.0) - -20.0).abs() < 1.0, "{}", tone_db(&cat, 1_000.0));
    assert!(tone_db(&cat, 14_000.0) < -60.0, "{}", tone_db(&cat, 14_000.0));
    // What is there is coding noise of the other's voice, which this low rate and theirs make.
    assert!(tone_db(&cat, 700.0) < -60.0, "{}", tone_db(&cat, 700.0));
}

#[test]
fn stereo_goes_through_and_mono_listeners_hear_both_sides() {
    let mut world = World::new();
    world.join(BOB, silence());
    world.mixer.set_profile(BOB, Profile::StereoMusic);
    world.join(CAT, silence());
    world.mixer.add(ANN, 1, true);
    world.mixer.set_stereo(ANN, true);
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Stereo,
        application: Application::Audio,
        bitrate_bps: 128_000,
        complexity: 5,
        signal: Signal::Music,
        bandwidth: Bandwidth::Full,
    })
    .unwrap();
    let (mut left, mut right) = (tone(440.0, 0.3), tone(1_000.0, 0.3));
    let mut decoder = Decoder::new(Channels::Stereo).unwrap();
    let mut heard = [Vec::new(), Vec::new()];
    for tick in 0..100 {
        let sample = |i: usize| tick * FRAME_SAMPLES + i / 2;
        let pcm: Vec<f32> = (0..2 * FRAME_SAMPLES)
            .map(|i| if i % 2 == 0 { left(sample(i)) } else { right(sample(i)) })
            .collect();
        let mut payload = [0; 1_000];
        let length = encoder.encode_f32(&pcm, &mut payload).unwrap();
        let packet = AudioPacket {
            sequence: tick as u16,
            timestamp: (tick * FRAME_SAMPLES) as u32,
            level_db: Some(13),
            payload: &payload[..length],
        };
        world.mixer.push(world.now, ANN, packet);
        world.run(1);
        let mut out = [0.0; 2 * FRAME_SAMPLES];
        decoder.decode_f32(Some(world.mixer.payload_for(BOB)), false, &mut out).unwrap();
        if tick >= 50 {
            heard[0].extend(out.iter().step_by(2));
            heard[1].extend(out.iter().skip(1).step_by(2));
        }
    }
    for (side, own, other) in [(0, 440.0, 1_000.0), (1, 1_000.0, 440.0)] {
        let (own, other) = (tone_db(&heard[side], own), tone_db(&heard[side], other));
        assert!((own - -10.5).abs() < 1.0 && other < own - 30.0, "side {side}: {own} dB, {other} dB");
    }
    for hz in [440.0, 1_000.0] {
        let db = world.hears_db(CAT, hz, 40);
        assert!((db - -16.5).abs() < 1.0, "{hz} Hz at {db} dB in mono");
    }
}

fn red_of(mixer: &Mixer, leg: LegId, copies: usize) -> Vec<u8> {
    let mut out = Vec::new();
    mixer.write_red_for(leg, 111, copies, &mut out);
    out
}

#[test]
fn copies_are_of_what_this_listener_was_sent() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, bursts(1_500.0, 0.2, 60, 90));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let (mut without, mut with_two) = (0, 0);
    for _ in 0..600 {
        world.run(1);
        sent.push(world.mixer.payload_for(BOB).to_vec());
        let bytes = red_of(&world.mixer, BOB, 2);
        let red = Red::parse(&bytes, 111).unwrap();
        assert_eq!(red.primary, sent[sent.len() - 1]);
        for copy in red.copies() {
            let back = copy.age as usize / FRAME_SAMPLES;
            assert_eq!(copy.payload, sent[sent.len() - 1 - back]);
        }
        without += usize::from(red.copies().is_empty());
        with_two += usize::from(red.copies().len() == 2);
        let one = red_of(&world.mixer, BOB, 1);
        assert!(Red::parse(&one, 111).unwrap().copies().len() <= 1);
    }
    // Each time Bob starts or stops there is a packet without copies, and one with one.
    assert!((3..=12).contains(&without), "{without}");
    assert!(with_two > 570, "{with_two}");
    assert_eq!(red_of(&world.mixer, LegId(99), 2), [111, 0xf8, 0xff, 0xfe]);
}

/// Whatever happens, a copy is of what this very listener was sent before. So nobody's own voice is in it, and redundancy may
/// begin and end with any packet.
#[test]
fn in_random_meetings_copies_are_of_what_each_listener_was_sent() {
    for seed in 1..=6 {
        let (mut sent, mut copies) = (BTreeMap::<LegId, Vec<Vec<u8>>>::new(), 0);
        mixing::random_meeting(seed, None, |tick, world| {
            for listener in world.mixer.legs.keys() {
                let sent = sent.entry(*listener).or_default();
                sent.push(world.mixer.payload_for(*listener).to_vec());
                for count in 0..=2 {
                    let bytes = red_of(&world.mixer, *listener, count);
                    let red = Red::parse(&bytes, 111).unwrap();
                    assert!(red.copies().len() <= count && red.primary == sent[tick]);
                    for copy in red.copies() {
                        let before = &sent[tick - copy.age as usize / FRAME_SAMPLES];
                        assert_eq!(copy.payload, before, "seed {seed}, tick {tick}, {listener:?}");
                        copies += 1;
                    }
                }
            }
        });
        assert!(copies > 0, "seed {seed}");
    }
}

#[test]
fn nobody_hears_themselves_from_a_copy() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, bursts(1_500.0, 0.2, 40, 30));
    let (mut decoder, mut heard, mut dice) = (Decoder::new(Channels::Mono).unwrap(), Vec::new(), dice());
    let mut waiting: Vec<Option<Vec<u8>>> = Vec::new();
    for tick in 0..1_000 {
        world.run(1);
        // One packet in five is lost; two ticks later it is played from a copy if one came.
        let arrived = (dice() % 5 != 0).then(|| red_of(&world.mixer, BOB, 2));
        let red = arrived.as_ref().and_then(|bytes| Red::parse(bytes, 111));
        waiting.push(red.map(|red| red.primary.to_vec()));
        for copy in red.iter().flat_map(|red| red.copies()) {
            waiting[tick - copy.age as usize / FRAME_SAMPLES].get_or_insert(copy.payload.to_vec());
        }
        if tick >= 2 {
            let mut out = [0.0; FRAME_SAMPLES];
            decoder.decode_f32(waiting[tick - 2].as_deref(), false, &mut out).unwrap();
            heard.extend(out);
        }
    }
    let lost = waiting.iter().filter(|packet| packet.is_none()).count();
    let (own, other) = (tone_db(&heard, 1_500.0), tone_db(&heard, 440.0));
    println!("{lost} of 1000 packets lost for good; own voice at {own:.1} dB, the other at {other:.1} dB");
    assert!(lost < 30, "{lost}");
    assert!(own < -14.0 - 60.0 && other > -12.0, "{own} dB, {other} dB");
}

#[test]
fn a_profile_may_change_at_any_moment() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, tone(900.0, 0.2));
    for profile in Profile::ALL.into_iter().chain([Profile::Speech]) {
        world.mixer.set_profile(BOB, profile);
        world.run(40);
        let (other, own) = (world.hears_db(BOB, 440.0, 30), world.hears_db(BOB, 900.0, 30));
        assert!((other - -10.5).abs() < 1.0 && own < other - 60.0, "{profile:?}: {other} dB, {own} dB");
    }
    assert!(world.mixer.shared.iter().flatten().count() == 1, "streams without listeners are gone");
}
