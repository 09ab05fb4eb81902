//! Clients of every kind: each rate, mode, number of channels and duration of a packet, and those that change in between.

use super::*;

/// A way to encode: how a device of some rate, or an encoder in some mode, does it.
#[derive(Clone, Copy, Debug)]
struct Way {
    application: Application,
    signal: Signal,
    bandwidth: Bandwidth,
    channels: Channels,
    bitrate_bps: u32,
    samples: usize,
}

const SPEECH: Way = Way {
    application: Application::Voip,
    signal: Signal::Voice,
    bandwidth: Bandwidth::Full,
    channels: Channels::Mono,
    bitrate_bps: 24_000,
    samples: FRAME_SAMPLES,
};

fn encoder(way: Way) -> Encoder {
    let Way { application, signal, bandwidth, channels, bitrate_bps, .. } = way;
    Encoder::new(EncoderConfig { channels, application, bitrate_bps, complexity: 5, signal, bandwidth })
        .unwrap()
}

/// What a listener's mix is when a client sends 600 Hz for four seconds, in these ways by turns of 0.48 s.
fn heard_of(ways: &[Way]) -> (Vec<f32>, Quality) {
    const TURN: usize = 24 * FRAME_SAMPLES;
    let mut world = World::new();
    world.join(BOB, silence());
    world.mixer.add(ANN, 1, true);
    world.mixer.set_stereo(ANN, ways.iter().any(|way| way.channels == Channels::Stereo));
    let mut encoders: Vec<Encoder> = ways.iter().map(|way| encoder(*way)).collect();
    let (mut sound, mut sent, mut sequence) = (tone(600.0, 0.3), 0, 0u16);
    for tick in 1..=200 {
        loop {
            let turn = sent / TURN % ways.len();
            let way = ways[turn];
            if sent + way.samples > tick * FRAME_SAMPLES {
                break;
            }
            let pcm: Vec<f32> = (sent..sent + way.samples)
                .flat_map(|sample| std::iter::repeat_n(sound(sample), way.channels as usize))
                .collect();
            let mut payload = [0; 1_400];
            let length = encoders[turn].encode_f32(&pcm, &mut payload).unwrap();
            let payload = &payload[..length];
            let packet = AudioPacket { sequence, timestamp: sent as u32, level_db: Some(13), payload };
            world.mixer.push(world.now, ANN, packet);
            (sent, sequence) = (sent + way.samples, sequence + 1);
        }
        world.run(1);
    }
    let mix = world.client(BOB).mix.split_off(30 * FRAME_SAMPLES);
    (mix, world.mixer.quality_of(ANN))
}

/// Each change of mode may cost a frame or two: a decoder fades from the one into the other.
fn check(name: &str, ways: &[Way]) {
    let (mix, quality) = heard_of(ways);
    // In short windows: encoders of different look-ahead shift the phase where they take turns.
    let mut levels: Vec<f32> =
        mix.chunks_exact(5 * FRAME_SAMPLES).map(|window| tone_db(window, 600.0)).collect();
    levels.sort_by(f32::total_cmp);
    let (level, continuity) = (levels[levels.len() / 2], continuity(&mix, -13.5));
    assert!((level - -10.5).abs() < 2.0, "{name}: {level} dB"); // coarse in packets of 2.5 ms
    assert!(continuity > if ways.len() > 1 { 0.9 } else { 0.98 }, "{name}: {continuity}, {quality:?}");
    assert_eq!((quality.lost, quality.malformed), (0, 0), "{name}: {quality:?}");
}

#[test]
fn devices_of_any_rate_are_heard() {
    for bandwidth in
        [Bandwidth::Narrow, Bandwidth::Medium, Bandwidth::Wide, Bandwidth::SuperWide, Bandwidth::Full]
    {
        check(&format!("{bandwidth:?}"), &[Way { bandwidth, ..SPEECH }]);
    }
}

#[test]
fn packets_of_any_duration_are_heard_in_stereo_too() {
    for samples in [120, 240, 480, 960, 1_920, 2_880, 3_840, 4_800, 5_760] {
        let way = Way { channels: Channels::Stereo, bitrate_bps: 64_000, samples, ..SPEECH };
        check(&format!("{samples} samples in stereo"), &[way]);
    }
}

#[test]
fn senders_may_change_mode_rate_channels_and_duration_at_any_packet() {
    let celt = Way { application: Application::Celt, signal: Signal::Music, bitrate_bps: 48_000, ..SPEECH };
    let silk = Way { bandwidth: Bandwidth::Wide, bitrate_bps: 16_000, ..SPEECH };
    let stereo = Way { channels: Channels::Stereo, bitrate_bps: 64_000, ..celt };
    check("hybrid and CELT", &[SPEECH, celt]);
    check("SILK and CELT", &[silk, celt]);
    check("SILK, hybrid", &[silk, SPEECH]);
    check("mono and stereo", &[SPEECH, stereo]);
    check("narrow and full", &[Way { bandwidth: Bandwidth::Narrow, ..silk }, celt]);
}
