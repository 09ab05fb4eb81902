use super::*;

const FRAME: usize = 960;

fn celt() -> Encoder {
    Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Celt,
        bitrate_bps: 32_000,
        complexity: 5,
        signal: Signal::Auto,
        bandwidth: Bandwidth::Full,
    })
    .unwrap()
}

fn voip() -> Encoder {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 24_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .unwrap();
    encoder.set_inband_fec(20).unwrap();
    encoder
}

fn tone(hz: f32, from: usize, samples: usize) -> Vec<f32> {
    (from..from + samples)
        .map(|i| 0.5 * (std::f32::consts::TAU * (hz * i as f32 / 48_000.0).fract()).sin())
        .collect()
}

fn rms(pcm: &[f32]) -> f32 {
    (pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32).sqrt()
}

/// Correlation with a tone, normalised: 1.0 for the tone alone, whatever its phase.
fn purity(pcm: &[f32], hz: f32) -> f32 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, sample) in pcm.iter().enumerate() {
        let phase = std::f32::consts::TAU * (hz * i as f32 / 48_000.0).fract();
        re += sample * phase.cos();
        im += sample * phase.sin();
    }
    let n = pcm.len() as f32;
    (2.0 * (re * re + im * im)).sqrt() / n / rms(pcm)
}

fn packets(encoder: &mut Encoder, hz: f32, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let mut packet = [0; 400];
            let length = encoder.encode_f32(&tone(hz, n * FRAME, FRAME), &mut packet).unwrap();
            packet[..length].to_vec()
        })
        .collect()
}

#[test]
fn a_tone_comes_back_at_its_pitch_and_level() {
    for hz in [440.0, 1_000.0, 3_000.0] {
        let mut decoder = Decoder::new(Channels::Mono).unwrap();
        let mut out = vec![0.0; PACKET_SAMPLES_MAX];
        for packet in packets(&mut celt(), hz, 20) {
            assert_eq!(packet_samples(&packet), Ok(FRAME));
            assert_eq!(decoder.decode_f32(Some(&packet), false, &mut out), Ok(FRAME));
        }
        assert!(purity(&out[..FRAME], hz) > 0.98, "{hz} Hz: {}", purity(&out[..FRAME], hz));
        assert!((rms(&out[..FRAME]) - 0.3536).abs() < 0.02);
    }
}

#[test]
fn celt_packets_are_celt_and_keep_to_the_rate() {
    let packets = packets(&mut celt(), 440.0, 50);
    for packet in &packets {
        assert!(packet[0] & 0x80 != 0, "the top bit of the TOC byte says CELT (RFC 6716 table 2)");
    }
    let bytes: usize = packets.iter().map(Vec::len).sum();
    assert!((3_000..=4_400).contains(&bytes), "one second at 32 kb/s took {bytes} bytes");
}

#[test]
fn a_packet_without_prediction_starts_a_fresh_decoder_cleanly() {
    let mut encoder = celt();
    let first = packets(&mut encoder, 440.0, 10);
    encoder.set_prediction_disabled(true);
    let mut packet = [0; 400];
    let length = encoder.encode_f32(&tone(440.0, 10 * FRAME, FRAME), &mut packet).unwrap();
    encoder.set_prediction_disabled(false);
    let (mut old, mut new) = (Decoder::new(Channels::Mono).unwrap(), Decoder::new(Channels::Mono).unwrap());
    let (mut a, mut b) = (vec![0.0; FRAME], vec![0.0; FRAME]);
    for packet in &first {
        old.decode_f32(Some(packet), false, &mut a).unwrap();
    }
    old.decode_f32(Some(&packet[..length]), false, &mut a).unwrap();
    new.decode_f32(Some(&packet[..length]), false, &mut b).unwrap();
    let error: Vec<f32> = a.iter().zip(&b).skip(FRAME / 2).map(|(a, b)| a - b).collect();
    assert!(rms(&error) < 0.01 * rms(&a), "{}", rms(&error));
}

#[test]
fn a_copied_encoder_goes_on_where_the_other_was() {
    let audio = || {
        Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Audio,
            bitrate_bps: 32_000,
            complexity: 7,
            signal: Signal::Auto,
            bandwidth: Bandwidth::Full,
        })
        .unwrap()
    };
    for (signal, configuration) in [(Signal::Voice, 15), (Signal::Music, 31)] {
        let (mut first, mut second) = (audio(), audio());
        first.set_signal(signal);
        packets(&mut first, 440.0, 30);
        packets(&mut second, 3_000.0, 7);
        second.copy_from(&first).unwrap();
        let (first, second) = (packets(&mut first, 300.0, 20), packets(&mut second, 300.0, 20));
        assert_eq!(first, second);
        assert_eq!(first[0][0] >> 3, configuration, "RFC 6716 table 2: hybrid, or CELT, of full band");
    }
    assert_eq!(audio().copy_from(&voip()), Err(OpusError::BadArgument));
    assert_eq!(celt().copy_from(&celt()), Err(OpusError::BadArgument));
}

#[test]
fn an_encoder_codes_in_the_mode_it_is_told_and_tells_what_it_hears() {
    let encoder = |complexity| {
        Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Audio,
            bitrate_bps: 64_000,
            complexity,
            signal: Signal::Auto,
            bandwidth: Bandwidth::Full,
        })
        .unwrap()
    };
    let mut hears = encoder(7);
    assert_eq!(hears.speech_percent(), None);
    for (mode, configuration) in [(Mode::Celt, 31), (Mode::Hybrid, 15), (Mode::Auto, 31)] {
        hears.set_mode(mode);
        let last = packets(&mut hears, 440.0, 50).pop().unwrap();
        assert_eq!(last[0] >> 3, configuration, "RFC 6716 table 2: CELT, or hybrid, of full band");
    }
    let percent = hears.speech_percent().unwrap();
    assert!(percent < 10, "a tone is no speech, and {percent} % likely to be");
    let mut deaf = encoder(6);
    packets(&mut deaf, 440.0, 50);
    assert_eq!(deaf.speech_percent(), None);
}

#[test]
fn a_lost_frame_comes_back_from_the_next_packet_or_is_concealed() {
    let packets = packets(&mut voip(), 300.0, 30);
    assert!(has_fec(&packets[25]), "VOIP at 20 % declared loss should carry copies");
    assert!(!has_fec(&celt_packet()));
    let mut decoder = Decoder::new(Channels::Mono).unwrap();
    let mut out = vec![0.0; FRAME];
    for packet in &packets[..24] {
        decoder.decode_f32(Some(packet), false, &mut out).unwrap();
    }
    assert_eq!(decoder.decode_f32(Some(&packets[25]), true, &mut out), Ok(FRAME));
    assert!(purity(&out, 300.0) > 0.9, "{}", purity(&out, 300.0));
    assert_eq!(decoder.decode_f32(None, false, &mut out), Ok(FRAME));
    assert!(rms(&out) > 0.05, "one lost frame is filled, not silent");
}

fn celt_packet() -> Vec<u8> {
    packets(&mut celt(), 500.0, 3).pop().unwrap()
}

#[test]
fn every_duration_from_2_5_to_120_ms_is_understood() {
    for milliseconds_x2 in [5, 10, 20, 40, 80, 120, 160, 200, 240] {
        let samples = milliseconds_x2 * 24;
        let mut packet = [0; 1_500];
        let length = voip().encode_f32(&tone(400.0, 0, samples), &mut packet).unwrap();
        assert_eq!(packet_samples(&packet[..length]), Ok(samples));
        let mut out = vec![0.0; PACKET_SAMPLES_MAX];
        let decoded =
            Decoder::new(Channels::Mono).unwrap().decode_f32(Some(&packet[..length]), false, &mut out);
        assert_eq!(decoded, Ok(samples));
    }
}

#[test]
fn stereo_packets_play_in_a_mono_decoder() {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Stereo,
        application: Application::Audio,
        bitrate_bps: 128_000,
        complexity: 5,
        signal: Signal::Music,
        bandwidth: Bandwidth::Full,
    })
    .unwrap();
    let mut decoder = Decoder::new(Channels::Mono).unwrap();
    let mut out = vec![0.0; FRAME];
    for n in 0..10 {
        let pcm: Vec<f32> = tone(440.0, n * FRAME, FRAME).into_iter().flat_map(|s| [s, s]).collect();
        let mut packet = [0; 1_000];
        let length = encoder.encode_f32(&pcm, &mut packet).unwrap();
        assert_eq!(decoder.decode_f32(Some(&packet[..length]), false, &mut out), Ok(FRAME));
    }
    assert!(purity(&out, 440.0) > 0.98);
}

#[test]
fn hostile_packets_give_errors_or_sound() {
    fn check(packet: &[u8], expected: Result<usize, OpusError>) {
        assert_eq!(packet_samples(packet), expected, "{packet:02x?}");
        fuzz::opus_packet(&[&[packet.len() as u8], packet].concat());
    }
    check(&[], Err(OpusError::InvalidPacket));
    check(&[0xf8], Ok(960)); // a TOC byte alone is a frame of no bytes: concealment by the sender's wish
    check(&[0xff], Err(OpusError::InvalidPacket)); // code 3 without its count
    check(&[0xfb, 0x00], Err(OpusError::InvalidPacket)); // no frames
    check(&[0xfb, 0x3f], Err(OpusError::InvalidPacket)); // 63 frames of 20 ms
    check(&[0xfb, 0x06], Ok(5_760)); // six empty frames
    check(&[0xf9, 0x01, 0x02, 0x03], Err(OpusError::InvalidPacket)); // two equal frames of odd total
    check(&[0x1b, 0xc1, 0xff], Err(OpusError::InvalidPacket)); // padding longer than the packet
    let mut noise = 1u32;
    for _ in 0..2_000 {
        let packet: Vec<u8> = (0..noise % 90)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        fuzz::opus_packet(&packet);
    }
}

#[test]
fn misuse_is_an_error_and_no_overrun() {
    let mut packet = [0; 400];
    assert_eq!(celt().encode_f32(&[0.0; 333], &mut packet), Err(OpusError::BadArgument));
    assert!(celt().encode_f32(&[0.0; FRAME], &mut []).is_err());
    let mut decoder = Decoder::new(Channels::Mono).unwrap();
    assert_eq!(
        decoder.decode_f32(Some(&celt_packet()), false, &mut [0.0; 120]),
        Err(OpusError::BufferTooSmall)
    );
    assert_eq!(decoder.decode_f32(None, false, &mut [0.0; 100]), Err(OpusError::BadArgument));
    assert!(decoder.decode_f32(None, false, &mut []).is_err());
    let config = EncoderConfig {
        channels: Channels::Mono,
        application: Application::Celt,
        bitrate_bps: 32_000,
        complexity: 11,
        signal: Signal::Auto,
        bandwidth: Bandwidth::Full,
    };
    assert_eq!(Encoder::new(config).err(), Some(OpusError::BadArgument));
}
