//! Packets that are lost, late, repeated, of any duration, or numbered anew.

use super::*;

fn continuity_under(network: impl FnMut(usize) -> Network + 'static) -> (f32, Quality) {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3)).network = Box::new(network);
    world.join(BOB, silence());
    world.run(1_000);
    (continuity(&world.client(BOB).mix[20 * FRAME_SAMPLES..], -13.5), world.mixer.quality_of(ANN))
}

#[test]
fn ten_percent_loss_leaves_the_voice_whole() {
    let mut dice = dice();
    let (continuity, quality) =
        continuity_under(move |_| if dice().is_multiple_of(10) { Network::Lose } else { Network::Deliver });
    assert!(continuity > 0.99, "{continuity} {quality:?}");
    assert!((60..150).contains(&quality.lost), "{quality:?}");
    assert_eq!(quality.expected - quality.received, quality.lost, "{quality:?}");
}

#[test]
fn reordered_and_repeated_packets_do_no_harm() {
    let (continuity, quality) = continuity_under(|n| match n % 10 {
        3 => Network::Delay(1),
        7 => Network::Twice,
        _ => Network::Deliver,
    });
    assert!(continuity > 0.999, "{continuity} {quality:?}");
    assert_eq!((quality.lost, quality.late), (0, 0), "{quality:?}");
    assert_eq!(quality.duplicate, 100);
}

#[test]
fn jitter_of_a_hundred_milliseconds_is_ridden_out() {
    let mut dice = dice();
    let (continuity, quality) = continuity_under(move |_| Network::Delay(dice() as usize % 6));
    assert!(continuity > 0.99, "{continuity} {quality:?}");
    assert!(quality.concealed_samples < 1_000 * FRAME_SAMPLES as u64 / 100, "{quality:?}");
}

#[test]
fn lost_speech_comes_back_from_the_next_packet() {
    let mut world = World::new();
    // A steady tone is no speech to the encoder, which then makes no copies.
    let client = world.join(ANN, bursts(300.0, 0.3, 12, 6));
    client.network = Box::new(|n| if n % 10 == 5 { Network::Lose } else { Network::Deliver });
    client.encoder = speech_encoder(20);
    world.join(BOB, silence());
    world.run(500);
    let quality = world.mixer.quality_of(ANN);
    assert!(quality.recovered > 20, "{quality:?}");
    let concealed = (quality.lost - quality.recovered) * FRAME_SAMPLES as u64;
    assert_eq!(quality.concealed_samples, concealed, "{quality:?}");
}

#[test]
fn packets_of_any_duration_play_at_the_same_pace() {
    for samples in [120, 240, 480, 960, 1_920, 2_880, 3_840, 4_800, 5_760] {
        let mut world = World::new();
        world.join(BOB, silence());
        world.mixer.add(ANN, 1, true);
        let (mut encoder, mut sound) = (speech_encoder(0), tone(440.0, 0.3));
        let mut sent = 0;
        for tick in 1..=200 {
            while (sent + 1) * samples <= tick * FRAME_SAMPLES {
                let pcm: Vec<f32> = (sent * samples..(sent + 1) * samples).map(&mut sound).collect();
                let mut payload = [0; 1_400];
                let length = encoder.encode_f32(&pcm, &mut payload).unwrap();
                let packet = AudioPacket {
                    sequence: sent as u16,
                    timestamp: (sent * samples) as u32,
                    level_db: Some(15),
                    payload: &payload[..length],
                };
                world.mixer.push(world.now, ANN, packet);
                sent += 1;
            }
            world.run(1);
        }
        let mix = &world.client(BOB).mix[30 * FRAME_SAMPLES..];
        assert!((tone_db(mix, 440.0) - -10.5).abs() < 1.0, "{samples}: {} dB", tone_db(mix, 440.0));
        assert!(continuity(mix, -13.5) > 0.99, "{samples} samples a packet");
        let quality = world.mixer.quality_of(ANN);
        assert_eq!((quality.lost, quality.late, quality.malformed), (0, 0, 0), "{samples}: {quality:?}");
    }
}

#[test]
fn a_frame_dropped_to_shorten_the_delay_does_not_click() {
    let mut world = World::new();
    // One late packet makes the delay longer; 3 s later it is made up for.
    world.join(ANN, tone(440.0, 0.5)).network =
        Box::new(|n| if (100..104).contains(&n) { Network::Delay(104 - n) } else { Network::Deliver });
    world.join(BOB, silence());
    world.run(90);
    let before = world.mixer.quality_of(ANN).delay_samples;
    world.run(30);
    assert!(world.mixer.quality_of(ANN).delay_samples > before);
    world.client(BOB).mix.clear();
    world.run(700);
    assert_eq!(world.mixer.quality_of(ANN).delay_samples, before);
    assert!(world.mixer.quality_of(ANN).adjusted > 0);
    assert!(steepest(&world.client(BOB).mix) < 0.05, "{}", steepest(&world.client(BOB).mix));
}

#[test]
fn a_stall_of_three_seconds_leaves_no_lasting_delay() {
    let mut world = World::new();
    // From packet 200 to 349 everything is held back, then comes at once.
    world.join(ANN, tone(440.0, 0.3)).network =
        Box::new(|n| if (200..350).contains(&n) { Network::Delay(350 - n) } else { Network::Deliver });
    world.join(BOB, silence());
    world.run(100);
    let before = world.mixer.quality_of(ANN).delay_samples;
    world.run(245);
    assert_eq!(peak(&world.mixer.mix_for(BOB)), 0.0, "concealment has faded");
    world.run(10);
    let after = world.mixer.quality_of(ANN).delay_samples;
    assert!(after <= before + FRAME_SAMPLES as u32, "{after} samples late, {before} before");
    world.client(BOB).mix.clear();
    world.run(50);
    assert!(continuity(&world.client(BOB).mix, -13.5) > 0.99);
}

#[test]
fn a_sender_that_begins_anew_is_heard_again() {
    for jump in [30_000u16, 40u16.wrapping_neg(), 200, 5_000] {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.3));
        world.join(BOB, silence());
        world.run(100);
        // As if the sequence jumped: the same client with another numbering.
        let sequence = 65_500u16.wrapping_add(100).wrapping_add(jump);
        for n in 0..60u16 {
            let sent = world.client(ANN).speak().remove(0);
            world.now += TICK;
            let sequence = sequence.wrapping_add(n);
            let packet =
                AudioPacket { sequence, timestamp: 5, level_db: sent.level_db, payload: &sent.payload };
            world.mixer.push(world.now, ANN, packet);
            world.mixer.tick(world.now);
        }
        assert!(rms_db(&world.mixer.mix_for(BOB)) > -15.0, "after a jump of {jump}");
    }
}
