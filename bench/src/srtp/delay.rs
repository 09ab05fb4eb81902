//! How long a sound takes through the server: twelve meetings at once, in each one who makes bursts of a tone and one who
//! hears them.

use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use campanile_media::mix::FRAME_SAMPLES;
use campanile_opus::{Application, Bandwidth, Channels, Decoder, Encoder, EncoderConfig, Signal};

use super::{Bench, PATIENCE, Person, SILENCE, TIMERS_TICKS, text};
use crate::generator::{Frame, TICK};
use crate::{Failure, Plan, hall};

/// A tenth of a second of tone every half a second, in samples.
const BURST: usize = 4_800;
const BURST_PERIOD: usize = 24_000;
const BURST_PERIOD_MS: usize = BURST_PERIOD / 48;
/// Meetings at once: in each, the speaker's packets come at another moment between the server's ticks, and keep to it.
const MEETINGS_DELAYED: usize = 12;
/// By then a jitter buffer has forgotten what it believed before it had seen anything, as it has when people who have been
/// there for a while begin to speak.
const SETTLED: Duration = Duration::from_secs(10);

/// How long bursts of a tone take through the server: from the moment at which a packet could be there at the earliest, to
/// the moment at which the packet is there that sounds at the same height of the burst. So the speaker's own codec does
/// not count; the look-ahead of the mixer's does.
pub(super) fn measure(plan: &Plan) -> Result<(), Failure> {
    let bursts = &Bursts::new()?;
    println!(
        "\n| delay added by the server | median | 99 % | most | bursts | invented | |\n|---|---|---|---|---|---|---|"
    );
    for jitter in [Duration::ZERO, Duration::from_millis(30)] {
        let mut bench = Bench::start(&bursts.frames)?;
        bench.fill(MEETINGS_DELAYED, 2, 1)?;
        let Bench { worker, runtime, people, .. } = &mut bench;
        let mut lines = Vec::new();
        for (meeting, pair) in people.chunks_exact_mut(2).enumerate() {
            let [speaker, listener] = pair else { unreachable!("two at a time") };
            lines.push(Line::new(meeting, speaker, listener, jitter)?);
        }
        let mut run = |time: Duration| -> Result<(), Failure> {
            let end = Instant::now() + time;
            while Instant::now() < end {
                for line in &mut lines {
                    line.go_on(bursts)?;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            Ok(())
        };
        let invented = || -> u64 {
            let meeting =
                |meeting| runtime.block_on(worker.audio_quality(hall::admission(meeting, 0).meeting));
            let legs = (0..MEETINGS_DELAYED).flat_map(meeting);
            legs.map(|leg| leg.uplink.concealed_samples).sum()
        };
        run(plan.warm.max(SETTLED))?;
        let (began, before) = (Instant::now(), invented());
        run(plan.measured)?;
        let invented = samples((invented() - before) as usize).as_secs_f64();
        let invented = invented / (began.elapsed().as_secs_f64() * MEETINGS_DELAYED as f64);
        let heard = lines.iter().flat_map(|line| &line.delays_ms).filter(|(at, _)| *at > began);
        let mut delays_ms: Vec<f64> = heard.map(|(_, delay_ms)| *delay_ms).collect();
        let late = lines.iter().map(|line| line.late).sum::<u32>() * 100;
        let made = plan.measured.as_millis() as usize / BURST_PERIOD_MS * MEETINGS_DELAYED;
        let flaw = match () {
            () if late > lines.iter().map(|line| line.tick).sum() => {
                "does not count: the generator could not keep time"
            }
            () if delays_ms.len() * 100 < made * 99 => "does not count: not all bursts were heard",
            () => "",
        };
        bench.stop();
        delays_ms.sort_by(f64::total_cmp);
        let at = |share: f64| delays_ms.get((share * (delays_ms.len() as f64 - 1.0)) as usize);
        let [median, most_of, most] = [0.5, 0.99, 1.0].map(|share| at(share).copied().unwrap_or(f64::NAN));
        println!(
            "| {} ms of jitter on the way in | {median:.1} ms | {most_of:.1} ms | {most:.1} ms | {} | {:.2} % | {flaw} |",
            jitter.as_millis(),
            delays_ms.len(),
            100.0 * invented,
        );
    }
    Ok(())
}

/// Two seconds of bursts, to be repeated.
struct Bursts {
    frames: Vec<Frame>,
    /// At which samples, counted from the first, a listener without any server between would hear a burst begin.
    onsets: Vec<usize>,
}

impl Bursts {
    fn new() -> Result<Bursts, Failure> {
        let mut encoder = Encoder::new(EncoderConfig {
            channels: Channels::Mono,
            application: Application::Celt,
            bitrate_bps: 64_000,
            complexity: 5,
            signal: Signal::Music,
            bandwidth: Bandwidth::Full,
        })
        .map_err(text)?;
        let tone = |sample: usize| {
            let sounds = sample % BURST_PERIOD < BURST;
            if sounds { 0.3 * (TAU * 1_000.0 * sample as f32 / 48_000.0).sin() } else { 0.0 }
        };
        let mut bursts = Bursts { frames: Vec::new(), onsets: Vec::new() };
        let mut ear = Ear::new()?;
        for from in (0..4 * BURST_PERIOD).step_by(FRAME_SAMPLES) {
            let pcm: Vec<f32> = (from..from + FRAME_SAMPLES).map(tone).collect();
            let frame = Frame::encode(&mut encoder, &pcm)?;
            bursts.onsets.extend(ear.hear(&frame.payload)?.map(|at| from + at));
            bursts.frames.push(frame);
        }
        Ok(bursts)
    }
}

/// Hears bursts begin.
struct Ear {
    decoder: Decoder,
    quiet_samples: usize,
}

impl Ear {
    fn new() -> Result<Ear, Failure> {
        Ok(Ear { decoder: Decoder::new(Channels::Mono).map_err(text)?, quiet_samples: BURST_PERIOD })
    }

    /// The sample of this packet at which a burst begins, if one does: the first at half its height after a pause.
    fn hear(&mut self, packet: &[u8]) -> Result<Option<usize>, Failure> {
        let (mut pcm, mut onset) = ([0.0; FRAME_SAMPLES], None);
        self.decoder.decode_f32(Some(packet), false, &mut pcm).map_err(text)?;
        for (at, sample) in pcm.into_iter().enumerate() {
            if sample.abs() < 0.15 {
                self.quiet_samples += 1;
                continue;
            }
            if self.quiet_samples > BURST_PERIOD / 2 {
                onset = Some(at);
            }
            self.quiet_samples = 0;
        }
        Ok(onset)
    }
}

/// One who makes bursts, one who hears them, and the network before the server.
struct Line<'a> {
    speaker: &'a mut Person,
    listener: &'a mut Person,
    /// When the speaker's first packet is made; the next each a tick later.
    start: Instant,
    tick: u32,
    /// Packets that were made more than half a tick after that.
    late: u32,
    jitter: Duration,
    noise: u32,
    in_flight: Vec<(Instant, u32)>,
    ear: Ear,
    /// When a burst was heard, and how long it took.
    delays_ms: Vec<(Instant, f64)>,
}

impl<'a> Line<'a> {
    /// The speaker begins at a moment between the server's ticks that is this meeting's own: as many people, evenly spread.
    fn new(
        meeting: usize,
        speaker: &'a mut Person,
        listener: &'a mut Person,
        jitter: Duration,
    ) -> Result<Line<'a>, Failure> {
        (speaker.opens, listener.opens) = (u16::MAX, 1);
        let begun = Instant::now();
        listener.receive()?;
        let ticked = loop {
            listener.receive()?;
            match listener.heard.first() {
                Some((at, _)) => break *at,
                None if begun.elapsed() > PATIENCE => return Err("the server sends nothing".into()),
                None => std::thread::sleep(Duration::from_micros(100)),
            }
        };
        Ok(Line {
            speaker,
            listener,
            start: ticked + TICK * meeting as u32 / MEETINGS_DELAYED as u32,
            tick: 0,
            late: 0,
            jitter,
            noise: meeting as u32,
            in_flight: Vec::new(),
            ear: Ear::new()?,
            delays_ms: Vec::new(),
        })
    }

    /// Sends what is due and listens to what has come.
    fn go_on(&mut self, bursts: &Bursts) -> Result<(), Failure> {
        let Bursts { frames, onsets } = bursts;
        let now = Instant::now();
        while self.start + TICK * self.tick <= now {
            self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let late = self.jitter * (self.noise >> 16) / 0xffff;
            self.in_flight.push((self.start + TICK * self.tick + late, self.tick));
            self.listener.send(self.tick as u16, self.tick, 127, &SILENCE)?;
            self.late += u32::from(now - (self.start + TICK * self.tick) > TICK / 2);
            self.tick += 1;
        }
        for (_, number) in self.in_flight.extract_if(.., |(due, _)| *due <= now) {
            let Frame { payload, level_db } = &frames[number as usize % frames.len()];
            self.speaker.send(number as u16, number, *level_db, payload)?;
        }
        for person in [&mut *self.speaker, &mut *self.listener] {
            person.receive()?;
            if self.tick.is_multiple_of(TIMERS_TICKS) {
                person.transport.handle_timeout(now);
            }
            person.flush()?;
        }
        for (at, packet) in &self.listener.heard {
            let Some(onset) = self.ear.hear(packet)? else { continue };
            let heard = *at + samples(onset);
            let round = frames.len() * FRAME_SAMPLES;
            let sent = (0..)
                .flat_map(|n| onsets.iter().map(move |onset| samples(n * round + onset)))
                .map(|sent| self.start + sent);
            if let Some(sent) = sent.take_while(|sent| *sent <= heard).last() {
                self.delays_ms.push((*at, (heard - sent).as_secs_f64() * 1e3));
            }
        }
        Ok(())
    }
}

fn samples(count: usize) -> Duration {
    Duration::from_secs_f64(count as f64 / 48_000.0)
}
