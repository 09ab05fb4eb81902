//! How long a sound takes through the mixer, in virtual time: from when its packet could be there at the earliest to when the
//! mix in which it sounds at the same height is there.

use super::*;

/// A tenth of a second of tone every half a second.
const BURST_FRAMES: usize = 5;
const PERIOD_FRAMES: usize = 25;
const SECONDS: usize = 30;
/// Each with its packets at another moment between two ticks.
const LINES: usize = 6;
/// Bursts before this do not count: the buffer begins with what it expects of any network.
const SETTLED_FRAMES: usize = 100;

/// Hears bursts begin: the first sample at half their height after a pause.
struct Ear {
    decoder: Decoder,
    quiet: usize,
}

impl Ear {
    fn new() -> Ear {
        Ear { decoder: Decoder::new(Channels::Mono).unwrap(), quiet: 0 }
    }

    fn hear(&mut self, payload: &[u8]) -> Option<usize> {
        let (mut pcm, mut onset) = ([0.0; FRAME_SAMPLES], None);
        self.decoder.decode_f32(Some(payload), false, &mut pcm).unwrap();
        for (at, sample) in pcm.into_iter().enumerate() {
            if sample.abs() < 0.15 {
                self.quiet += 1;
                continue;
            }
            if self.quiet > PERIOD_FRAMES * FRAME_SAMPLES / 2 {
                onset = Some(at);
            }
            self.quiet = 0;
        }
        onset
    }
}

/// How late the network makes a packet, sent so many ms after the first; in ms.
type Network = Box<dyn FnMut(f32) -> f32>;

/// Numbers from 0 up to 1, others for each line.
fn chance(seed: usize) -> impl FnMut() -> f32 {
    let mut dice = dice();
    (0..31 * seed).for_each(|_| _ = dice());
    move || dice() as f32 / 65_536.0
}

fn steady(_: usize) -> Network {
    Box::new(|_| 0.0)
}

/// Each packet by itself is late by anything up to 30 ms, in whatever order that makes.
fn uniform(line: usize) -> Network {
    let mut chance = chance(line);
    Box::new(move |_| 30.0 * chance())
}

/// Each packet by itself is late by 10 ms on average with an exponential tail: one in 20 by more than 30 ms, one in 400 by
/// more than 60.
fn tailed(line: usize) -> Network {
    let mut chance = chance(line);
    Box::new(move |_| -10.0 * (1.0 - chance()).ln())
}

/// A radio link that is elsewhere for 50 ms every second: what is sent meanwhile comes at once, after.
fn elsewhere(line: usize) -> Network {
    let mut chance = chance(line);
    let from_ms = 1_000.0 * chance();
    Box::new(move |at_ms| (50.0 - (at_ms + from_ms) % 1_000.0).max(2.0 * chance()))
}

/// A queue on the way that others fill in 300 ms and drain in as long, by up to 30 ms, somewhat irregularly; nobody overtakes.
fn queued(line: usize) -> Network {
    let mut chance = chance(line);
    Box::new(move |at_ms| 28.0 * (1.0 - (at_ms % 600.0 / 300.0 - 1.0).abs()) + 2.0 * chance())
}

/// What is heard of the bursts through the mixer.
struct Heard {
    /// Without those at the beginning.
    delays_ms: Vec<f32>,
    /// Share of all the time that was invented.
    concealed: f32,
}

/// The bursts as they are sent; made once.
fn sent() -> &'static [Sent] {
    static SENT: std::sync::OnceLock<Vec<Sent>> = std::sync::OnceLock::new();
    SENT.get_or_init(|| {
        let mut world = World::new();
        let tune = bursts(1_000.0, 0.3, BURST_FRAMES, PERIOD_FRAMES - BURST_FRAMES);
        let client = world.join(ANN, tune);
        (0..SECONDS * 50).map(|_| client.speak().remove(0)).collect()
    })
}

/// Bursts of one who sends packets `phase_ms` before ticks through such a network.
fn hear(phase_ms: f32, mut network: Network) -> Heard {
    let mut world = World::new();
    world.mixer.add(ANN, 1, true);
    world.mixer.add(BOB, 2, true);
    let sent = sent();
    let ms = |frame: usize, sample: usize| (frame * FRAME_SAMPLES + sample) as f32 / 48.0;
    let mut ear = Ear::new();
    let said: Vec<f32> = sent
        .iter()
        .enumerate()
        .filter_map(|(frame, sent)| Some(ms(frame + 1, ear.hear(&sent.payload)?) - phase_ms))
        .collect();
    let (start, mut in_flight) = (world.now, Vec::new());
    let (mut ear, mut delays_ms) = (Ear::new(), Vec::new());
    for (frame, packet) in sent.iter().enumerate() {
        let now_ms = ms(frame + 1, 0);
        in_flight.push((now_ms - phase_ms + network(now_ms - phase_ms), packet));
        in_flight.sort_by(|a, b| a.0.total_cmp(&b.0));
        let arrived = in_flight.partition_point(|(at_ms, _)| *at_ms <= now_ms);
        for (at_ms, Sent { sequence, timestamp, level_db, payload }) in in_flight.drain(..arrived) {
            let (sequence, timestamp, level_db) = (*sequence, *timestamp, *level_db);
            let packet = AudioPacket { sequence, timestamp, level_db, payload };
            world.mixer.push(start + Duration::from_micros((1_000.0 * at_ms) as u64), ANN, packet);
        }
        world.mixer.tick(start + TICK * (frame as u32 + 1));
        if let Some(onset) = ear.hear(world.mixer.payload_for(BOB)) {
            let at_ms = ms(frame + 1, onset);
            let latest = said.iter().rev().find(|said| **said <= at_ms).filter(|_| frame >= SETTLED_FRAMES);
            delays_ms.extend(latest.map(|said| at_ms - said));
        }
    }
    let concealed = world.mixer.quality_of(ANN).concealed_samples as f32 / (SECONDS * 48_000) as f32;
    Heard { delays_ms, concealed }
}

/// What so many lines hear, each with its own moment between two ticks and its own luck.
#[track_caller]
fn check(
    name: &str,
    network: fn(usize) -> Network,
    median_max_ms: f32,
    most_of_max_ms: f32,
    concealed_max: f32,
) {
    let (mut all, mut concealed) = (Vec::new(), 0.0f32);
    for line in 0..LINES {
        let heard = hear(20.0 * (line as f32 + 0.5) / LINES as f32, network(line));
        let bursts = (SECONDS * 50 - SETTLED_FRAMES) / PERIOD_FRAMES;
        assert!(heard.delays_ms.len() + 1 >= bursts, "{name}: {} bursts of {bursts}", heard.delays_ms.len());
        all.extend(heard.delays_ms);
        concealed = concealed.max(heard.concealed);
    }
    all.sort_by(f32::total_cmp);
    let [median, most_of, most] =
        [0.5, 0.99, 1.0].map(|share| all[(share * (all.len() - 1) as f32) as usize]);
    println!(
        "{name}: median {median:.1} ms, 99 % {most_of:.1} ms, most {most:.1} ms; at most {:.2} % concealed",
        100.0 * concealed
    );
    assert!(median <= median_max_ms && most_of <= most_of_max_ms, "{name}: {median} ms, {most_of} ms");
    assert!(concealed <= concealed_max, "{name}: {concealed} concealed");
}

#[test]
fn without_jitter_the_server_adds_at_most_40_ms() {
    check("steady", steady, 40.0, 60.0, 0.0);
}

#[test]
fn with_30_ms_of_jitter_of_any_kind_the_server_adds_at_most_100_ms() {
    check("uniform", uniform, 60.0, 100.0, 0.01);
    check("with a tail", tailed, 80.0, 100.0, 0.01);
    check("elsewhere now and then", elsewhere, 80.0, 100.0, 0.005);
    check("queued", queued, 60.0, 100.0, 0.01);
}
