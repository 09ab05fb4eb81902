//! How long a sound takes through the mixer, in virtual time: from when its packet could be there at the earliest to when the
//! mix in which it sounds at the same height is there.

use super::*;

/// A tenth of a second of tone every half a second.
const BURST_FRAMES: usize = 5;
const PERIOD_FRAMES: usize = 25;
const SECONDS: usize = 16;

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

/// Delays in ms of all bursts but the first few, sorted, and the share of the time that was invented. Packets are sent
/// `phase_ms` before ticks, and each is late by anything up to `jitter_ms`.
fn delays_ms(phase_ms: f32, jitter_ms: f32) -> (Vec<f32>, f32) {
    let mut world = World::new();
    let client = world.join(ANN, bursts(1_000.0, 0.3, BURST_FRAMES, PERIOD_FRAMES - BURST_FRAMES));
    let sent: Vec<Sent> = (0..SECONDS * 50).map(|_| client.speak().remove(0)).collect();
    world.clients.clear();
    world.mixer.add(BOB, 2, true);
    let ms = |frame: usize, sample: usize| (frame * FRAME_SAMPLES + sample) as f32 / 48.0;
    let mut ear = Ear::new();
    let said: Vec<f32> = sent
        .iter()
        .enumerate()
        .filter_map(|(frame, sent)| Some(ms(frame + 1, ear.hear(&sent.payload)?) - phase_ms))
        .collect();
    let (start, mut dice, mut in_flight) = (world.now, dice(), Vec::new());
    let (mut ear, mut delays_ms) = (Ear::new(), Vec::new());
    for (frame, packet) in sent.iter().enumerate() {
        let now_ms = ms(frame + 1, 0);
        in_flight.push((now_ms - phase_ms + jitter_ms * (dice() % 1_000) as f32 / 1_000.0, packet));
        in_flight.sort_by(|a, b| a.0.total_cmp(&b.0));
        let arrived = in_flight.partition_point(|(at_ms, _)| *at_ms <= now_ms);
        for (at_ms, Sent { sequence, timestamp, level_db, payload }) in in_flight.drain(..arrived) {
            let (sequence, timestamp, level_db) = (*sequence, *timestamp, *level_db);
            let packet = AudioPacket { sequence, timestamp, level_db, payload };
            world.mixer.push(start + Duration::from_micros((1_000.0 * at_ms) as u64), ANN, packet);
        }
        world.mixer.tick(start + TICK * (frame as u32 + 1));
        if let Some(onset) = ear.hear(world.mixer.payload_for(BOB)) {
            let heard = ms(frame + 1, onset);
            let latest = said.iter().rev().find(|said| **said <= heard);
            delays_ms.extend(latest.map(|said| heard - said));
        }
    }
    let concealed = world.mixer.quality_of(ANN).concealed_samples as f32 / (SECONDS * 48_000) as f32;
    delays_ms.drain(..4);
    delays_ms.sort_by(f32::total_cmp);
    (delays_ms, concealed)
}

#[test]
fn without_jitter_the_server_adds_at_most_40_ms_and_with_30_ms_of_it_at_most_100() {
    for (jitter_ms, median_max_ms, most_max_ms, concealed_max) in
        [(0.0, 40.0, 60.0, 0.0), (30.0, 100.0, 100.0, 0.01)]
    {
        let mut all = Vec::new();
        for phase_ms in [0.5, 5.0, 10.0, 15.0, 19.5] {
            let (delays, concealed) = delays_ms(phase_ms, jitter_ms);
            assert!(delays.len() > SECONDS, "{} bursts of {}", delays.len(), 2 * SECONDS);
            assert!(concealed <= concealed_max, "{jitter_ms} ms of jitter: {concealed} concealed");
            all.extend(delays);
        }
        all.sort_by(f32::total_cmp);
        let at = |share: f32| all[(share * (all.len() - 1) as f32) as usize];
        println!(
            "{jitter_ms} ms of jitter: median {:.1} ms, 99 % {:.1} ms, most {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        assert!(at(0.5) <= median_max_ms && at(0.99) <= most_max_ms);
    }
}
