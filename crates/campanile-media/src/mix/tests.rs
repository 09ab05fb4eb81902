mod delay;
mod network;
mod profiles;
mod senders;

use super::*;
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};

const ANN: LegId = LegId(1);
const BOB: LegId = LegId(2);
const CAT: LegId = LegId(3);

/// A meeting in which legs send sounds, for as many ticks as one likes; a client's clock is the mixer's.
struct World {
    mixer: Mixer,
    now: Instant,
    clients: BTreeMap<LegId, Client>,
}

/// A microphone, an encoder, a network, a decoder, an ear.
struct Client {
    sound: Tune,
    /// Announces this level instead of the true one; `Some(None)`: none at all.
    announces: Option<Option<u8>>,
    encoder: Encoder,
    packets_sent: usize,
    /// Packets to hold back, by number; those to lose altogether.
    network: Box<dyn FnMut(usize) -> Network>,
    in_flight: Vec<(usize, Sent)>,
    decoder: Decoder,
    heard: Vec<f32>,
    mix: Vec<f32>,
    payload_lengths: Vec<usize>,
}

#[derive(Clone)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    level_db: Option<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Network {
    Deliver,
    Lose,
    Delay(usize),
    Twice,
}

type Tune = Box<dyn FnMut(usize) -> f32>;

fn tone(hz: f32, amplitude: f32) -> Tune {
    Box::new(move |sample| {
        let turns = (f64::from(hz) * sample as f64 / 48_000.0).fract();
        amplitude * (std::f64::consts::TAU * turns).sin() as f32
    })
}

fn silence() -> Tune {
    Box::new(|_| 0.0)
}

/// A tone that starts and stops: on for `on` ticks, off for `off`.
fn bursts(hz: f32, amplitude: f32, on: usize, off: usize) -> Tune {
    let mut tone = tone(hz, amplitude);
    Box::new(move |sample| {
        let value = tone(sample);
        if sample / FRAME_SAMPLES % (on + off) < on { value } else { 0.0 }
    })
}

impl World {
    fn new() -> World {
        #[allow(clippy::disallowed_methods)] // any instant will do; from here on time is an argument
        let now = Instant::now();
        World { mixer: Mixer::new(), now, clients: BTreeMap::new() }
    }

    fn join(&mut self, leg: LegId, sound: Tune) -> &mut Client {
        self.join_as(leg, leg.0, sound)
    }

    fn join_as(&mut self, leg: LegId, owner: u32, sound: Tune) -> &mut Client {
        self.mixer.add(leg, owner, true);
        let client = Client {
            sound,
            announces: None,
            encoder: Encoder::new(EncoderConfig {
                channels: Channels::Mono,
                application: Application::Audio,
                bitrate_bps: 64_000,
                complexity: 5,
                signal: Signal::Auto,
                bandwidth: Bandwidth::Full,
            })
            .unwrap(),
            packets_sent: 0,
            network: Box::new(|_| Network::Deliver),
            in_flight: Vec::new(),
            decoder: Decoder::new(Channels::Mono).unwrap(),
            heard: Vec::new(),
            mix: Vec::new(),
            payload_lengths: Vec::new(),
        };
        self.clients.insert(leg, client);
        self.client(leg)
    }

    fn client(&mut self, leg: LegId) -> &mut Client {
        self.clients.get_mut(&leg).unwrap()
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now += TICK;
            for (leg, client) in &mut self.clients {
                for sent in client.speak() {
                    let Sent { sequence, timestamp, level_db, payload } = &sent;
                    let packet = AudioPacket {
                        sequence: *sequence,
                        timestamp: *timestamp,
                        level_db: *level_db,
                        payload,
                    };
                    self.mixer.push(self.now, *leg, packet);
                }
            }
            self.mixer.tick(self.now);
            for (leg, client) in &mut self.clients {
                client.mix.extend(self.mixer.mix_for(*leg));
                client.listen(self.mixer.payload_for(*leg));
            }
        }
    }

    /// What a leg hears of a tone, in dB relative to full scale, over the last `ticks`.
    fn hears_db(&mut self, leg: LegId, hz: f32, ticks: usize) -> f32 {
        let heard = &self.client(leg).heard;
        tone_db(&heard[heard.len() - ticks * FRAME_SAMPLES..], hz)
    }
}

impl Client {
    fn speak(&mut self) -> Vec<Sent> {
        let number = self.packets_sent;
        self.packets_sent += 1;
        let from = number * FRAME_SAMPLES;
        let pcm: Vec<f32> = (from..from + FRAME_SAMPLES).map(|sample| (self.sound)(sample)).collect();
        let mut payload = vec![0; 1_000];
        let length = self.encoder.encode_f32(&pcm, &mut payload).unwrap();
        payload.truncate(length);
        let level_db = self.announces.unwrap_or(Some(attenuation_db(&pcm) as u8));
        let sent = Sent {
            sequence: 65_500u16.wrapping_add(number as u16),
            timestamp: u32::MAX.wrapping_add((number * FRAME_SAMPLES) as u32),
            level_db,
            payload,
        };
        match (self.network)(number) {
            Network::Deliver => self.in_flight.push((number, sent)),
            Network::Lose => {}
            Network::Delay(ticks) => self.in_flight.push((number + ticks, sent)),
            Network::Twice => self.in_flight.extend([(number, sent.clone()), (number, sent)]),
        }
        let (arrived, rest) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|(due, _)| *due <= number);
        self.in_flight = rest;
        let arrived: Vec<(usize, Sent)> = arrived;
        arrived.into_iter().map(|(_, sent)| sent).collect()
    }

    fn listen(&mut self, payload: &[u8]) {
        assert_eq!(campanile_opus::packet_samples(payload), Ok(FRAME_SAMPLES));
        let mut out = [0.0; FRAME_SAMPLES];
        self.decoder.decode_f32(Some(payload), false, &mut out).unwrap();
        self.heard.extend(out);
        self.payload_lengths.push(payload.len());
    }
}

/// Power of one tone in dB relative to a full-scale sine (Goertzel, under a Hann window so that other tones do not leak in).
fn tone_db(pcm: &[f32], hz: f32) -> f32 {
    let step = std::f64::consts::TAU * f64::from(hz) / 48_000.0;
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (i, sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / pcm.len() as f64).cos();
        re += f64::from(*sample) * window * (step * i as f64).cos();
        im += f64::from(*sample) * window * (step * i as f64).sin();
        weight += window;
    }
    let amplitude = 2.0 * (re * re + im * im).sqrt() / weight;
    (20.0 * amplitude.max(1e-10).log10()) as f32
}

fn rms_db(pcm: &[f32]) -> f32 {
    -attenuation_db(pcm)
}

fn peak(pcm: &[f32]) -> f32 {
    pcm.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// The largest step between neighbouring samples: a click is a large one.
fn steepest(pcm: &[f32]) -> f32 {
    pcm.windows(2).fold(0.0, |steepest, pair| steepest.max((pair[1] - pair[0]).abs()))
}

#[test]
fn two_people_hear_each_other_at_their_pitch_and_never_themselves() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, tone(1_000.0, 0.3));
    world.run(100);
    for (leg, other, own) in [(ANN, 1_000.0, 440.0), (BOB, 440.0, 1_000.0)] {
        let (other, own) = (world.hears_db(leg, other, 50), world.hears_db(leg, own, 50));
        assert!((other - -10.5).abs() < 1.0, "the other is at {other} dB");
        assert!(own < other - 60.0, "oneself is at {own} dB, the other at {other} dB");
    }
}

#[test]
fn one_speaker_alone_hears_exact_silence_and_is_heard() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, silence());
    world.run(100);
    assert!(world.hears_db(BOB, 440.0, 50) > -12.0);
    assert!(peak(&world.client(ANN).heard) < 1e-20);
    assert!(world.client(ANN).payload_lengths.iter().all(|length| *length == stream::SILENCE.len()));
}

#[test]
fn of_three_each_hears_the_two_others() {
    let mut world = World::new();
    let pitches = [(ANN, 440.0), (BOB, 1_000.0), (CAT, 2_300.0)];
    for (leg, hz) in pitches {
        world.join(leg, tone(hz, 0.2));
    }
    world.join(LegId(4), silence());
    world.run(100);
    for (listener, own) in pitches {
        for (speaker, hz) in pitches {
            let db = world.hears_db(listener, hz, 50);
            if speaker == listener {
                assert!(db < -14.0 - 50.0, "{listener:?} hears {own} Hz at {db} dB");
            } else {
                assert!((db - -14.0).abs() < 1.0, "{listener:?} hears {hz} Hz at {db} dB");
            }
        }
    }
    for (_, hz) in pitches {
        assert!((world.hears_db(LegId(4), hz, 50) - -14.0).abs() < 1.0);
    }
}

#[test]
fn a_content_share_is_heard_by_all_but_its_owner() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.2));
    let share = LegId(9);
    world.join_as(share, ANN.0, tone(3_000.0, 0.2));
    world.join(BOB, tone(1_000.0, 0.2));
    world.run(100);
    assert!(world.hears_db(ANN, 3_000.0, 50) < -74.0);
    assert!(world.hears_db(ANN, 440.0, 50) < -74.0);
    assert!(world.hears_db(ANN, 1_000.0, 50) > -15.0);
    assert!(world.hears_db(BOB, 3_000.0, 50) > -15.0);
    assert!(world.hears_db(BOB, 440.0, 50) > -15.0);
    assert!(world.hears_db(share, 440.0, 50) < -74.0, "nor does the share hear its owner");
}

#[test]
fn an_owner_alone_with_their_share_hears_exact_silence() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.37));
    world.join_as(LegId(9), ANN.0, tone(3_000.0, 0.29));
    world.join(BOB, silence());
    world.run(60);
    assert!(peak(&world.client(ANN).mix) == 0.0);
}

#[test]
fn mute_is_exact_both_ways() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, silence());
    world.run(50);
    world.mixer.set_muted(ANN, true);
    world.client(BOB).mix.clear();
    world.run(50); // a client that goes on sending its voice
    assert_eq!(peak(&world.client(BOB).mix), 0.0);
    assert_eq!(world.mixer.level_of(ANN), Level::SILENT);
    // Unmuted, nothing sent before is heard: the pitch changes at that very moment.
    world.client(ANN).sound = tone(2_000.0, 0.3);
    world.mixer.set_muted(ANN, false);
    world.client(BOB).mix.clear();
    world.run(50);
    let mix = &world.client(BOB).mix;
    let starts = mix.iter().position(|sample| *sample != 0.0).unwrap();
    assert!(starts < 3 * FRAME_SAMPLES, "heard again after {starts} samples");
    assert!(tone_db(mix, 440.0) < -70.0, "{}", tone_db(mix, 440.0));
    assert!(tone_db(mix, 2_000.0) > -13.0);
}

#[test]
fn who_may_not_speak_is_never_heard() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, silence());
    world.mixer.set_can_speak(ANN, false);
    world.run(50);
    assert_eq!(peak(&world.client(BOB).mix), 0.0);
    assert_eq!(world.mixer.level_of(ANN), Level::SILENT);
    assert!(world.mixer.is_idle());
    world.mixer.set_can_speak(ANN, true);
    world.run(50);
    assert!(world.hears_db(BOB, 440.0, 40) > -13.0);
}

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
fn silence_is_exact_and_never_stops() {
    let mut world = World::new();
    world.join(ANN, silence());
    world.join(BOB, silence());
    assert!(world.mixer.is_idle());
    assert_eq!(world.mixer.payload_for(ANN), stream::SILENCE);
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

#[test]
fn eight_voices_at_full_scale_do_not_clip() {
    let mut world = World::new();
    for n in 0..8 {
        world.join(LegId(n), tone(310.0 + 170.0 * n as f32, 1.0));
    }
    world.join(LegId(20), silence());
    world.run(150);
    let client = world.client(LegId(20));
    assert!(peak(&client.mix) <= 0.8901, "{}", peak(&client.mix));
    assert!(peak(&client.heard) < 1.0, "{}", peak(&client.heard));
    assert!(rms_db(&client.mix[50 * FRAME_SAMPLES..]) > -15.0);
    // Nor do they pump: once the gain is found, each keeps its level.
    for hz in (0..8).map(|n| 310.0 + 170.0 * n as f32) {
        let windows = client.mix[60 * FRAME_SAMPLES..].chunks_exact(10 * FRAME_SAMPLES);
        let levels: Vec<f32> = windows.map(|window| tone_db(window, hz)).collect();
        let (low, high) = levels.iter().fold((f32::MAX, f32::MIN), |(l, h), db| (l.min(*db), h.max(*db)));
        assert!(high - low < 1.0, "{hz} Hz wanders from {low} to {high} dB");
    }
}

#[test]
fn each_mix_is_the_sum_of_the_others() {
    let mut world = World::new();
    for n in 0..6 {
        world.join_as(LegId(n), n / 2 * 10, bursts(300.0 + 333.0 * n as f32, 0.1, 10 + n as usize, 40));
    }
    world.join(LegId(9), silence());
    for _ in 0..200 {
        world.run(1);
        for (listener, leg) in &world.mixer.legs {
            let mut expected = Sound::default();
            for other in world.mixer.legs.values() {
                if other.heard && other.owner != leg.owner {
                    expected.add(other.sound(), 1.0);
                }
            }
            let mut error = Sound { mid: world.mixer.mix_for(*listener), ..Sound::default() };
            error.add(&expected, -1.0);
            assert!(peak(&error.mid) < 1e-6, "{listener:?}: {}", peak(&error.mid));
        }
    }
    // And that is what arrives, as far as the codec can tell: the speech mode keeps the spectrum rather than the wave.
    let client = world.client(LegId(9));
    for hz in (0..6).map(|n| 300.0 + 333.0 * n as f32) {
        let (sent, heard) = (tone_db(&client.mix, hz), tone_db(&client.heard, hz));
        assert!((sent - heard).abs() < 1.0, "{hz} Hz: {sent} dB sent, {heard} dB heard");
    }
}

/// Share of the frames in which a steady tone sounds at no less than half its level.
fn continuity(mix: &[f32], level_db: f32) -> f32 {
    let frames: Vec<&[f32]> = mix.chunks_exact(FRAME_SAMPLES).collect();
    let sounding = frames.iter().filter(|frame| rms_db(frame) > level_db - 6.0).count();
    sounding as f32 / frames.len() as f32
}

fn dice() -> impl FnMut() -> u32 {
    let mut state = 7u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    }
}

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

/// As browsers encode speech: SILK or hybrid, with in-band FEC for the loss that they are told of.
fn speech_encoder(loss_percent: u8) -> Encoder {
    let mut encoder = Encoder::new(EncoderConfig {
        channels: Channels::Mono,
        application: Application::Voip,
        bitrate_bps: 24_000,
        complexity: 5,
        signal: Signal::Voice,
        bandwidth: Bandwidth::Full,
    })
    .unwrap();
    encoder.set_inband_fec(loss_percent).unwrap();
    encoder
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

#[test]
fn a_hostile_leg_leaves_the_others_unchanged() {
    let run = |hostile: bool| {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.3));
        world.join(BOB, tone(900.0, 0.2));
        world.mixer.add(CAT, 3, true);
        let mut dice = dice();
        for n in 0..200u16 {
            if hostile {
                let payload: Vec<u8> = (0..dice() % 200).map(|_| dice() as u8).collect();
                let packet = AudioPacket {
                    sequence: n,
                    timestamp: dice(),
                    level_db: Some(dice() as u8),
                    payload: &payload,
                };
                world.mixer.push(world.now, CAT, packet);
            }
            world.run(1);
        }
        let voices = [ANN, BOB].map(|leg| world.mixer.legs[&leg].sound().mid);
        assert!(world.client(ANN).mix.iter().all(|sample| sample.abs() < 0.9));
        (voices, world.mixer.quality_of(CAT))
    };
    let (quiet, _) = run(false);
    let (noisy, quality) = run(true);
    assert!(quality.malformed > 20, "{quality:?}");
    assert_eq!(quiet, noisy);
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

#[test]
fn the_same_packets_make_the_same_mix() {
    let run = || {
        let mut world = World::new();
        for n in 0..5 {
            world.join(LegId(n), bursts(300.0 + 100.0 * n as f32, 0.2, 10 + n as usize, 13)).network =
                Box::new(
                    move |packet| if packet % 9 == n as usize { Network::Lose } else { Network::Deliver },
                );
        }
        world.run(200);
        world.client(LegId(2)).heard.clone()
    };
    assert_eq!(run(), run());
}

#[test]
fn legs_come_and_go_at_any_moment() {
    let mut world = World::new();
    world.join(ANN, tone(440.0, 0.3));
    world.join(BOB, tone(900.0, 0.3));
    world.run(30);
    world.mixer.remove(ANN);
    assert_eq!(world.mixer.payload_for(LegId(1_000)), stream::SILENCE);
    world.run(30);
    assert_eq!(peak(&world.mixer.mix_for(BOB)), 0.0);
    world.join(ANN, tone(440.0, 0.3));
    world.run(30);
    assert!(world.hears_db(BOB, 440.0, 20) > -13.0);
    world.mixer.add(ANN, 1, true); // the same again, while it speaks
    world.run(30);
    assert!(world.hears_db(BOB, 440.0, 20) > -13.0);
}

#[test]
fn any_bytes_are_survived() {
    let mut dice = dice();
    for _ in 0..300 {
        let data: Vec<u8> = (0..dice() % 3_000).map(|_| dice() as u8).collect();
        fuzz::mixer(World::new().now, &data);
    }
}
