//! Senders that find out by themselves how much a link bears: ours, str0m's, and the `Gcc` of `rtc-interceptor`, each over
//! the same simulated links, in virtual time. What they do on their way is theirs: pacing, probing, repairs.

mod gcc;
mod ours;
mod str0m;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use campanile_media::rtcp;
use campanile_media::rtp::RtpHeader;
use campanile_media::units::Bitrate;
use campanile_sim::bed::narrow;
use campanile_sim::link::Link;
use campanile_sim::{Conditions, millis, secs};

use crate::Failure;

/// What each believes before it has heard anything.
const START: Bitrate = campanile_media::estimate::START;
/// The video, by its payload type: what repairs and probes consist of is not counted.
const VP8: u8 = 96;
const FRAME: Duration = Duration::from_millis(33);
const FRAME_TICKS: u64 = 2970;
/// The encoder makes no more.
const DEMAND: Bitrate = Bitrate::kbps(8000);
/// What encoders make of what they are told, since headers come on top, and frames that are larger than others.
const ENCODED: f64 = 0.9;
const STEP: Duration = Duration::from_millis(1);
/// A frame that is this old when it arrives, the path's latency not counted, is late in a call.
const LATE: Duration = Duration::from_millis(250);

/// A sender and its receiver.
trait Contestant {
    /// What the encoder is told to make.
    fn target(&mut self) -> Bitrate;
    /// Takes frame number so-and-so, of so many bytes.
    fn send_frame(&mut self, now: Instant, number: u64, bytes: usize);
    /// Lets time pass at the sender; what leaves there is appended.
    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);
    /// A datagram of the receiver's reaches the sender.
    fn handle_feedback(&mut self, now: Instant, bytes: &[u8]);
    /// A datagram of the sender's reaches the receiver.
    fn receive(&mut self, now: Instant, bytes: &[u8]);
    /// Lets time pass at the receiver; what leaves there is appended.
    fn poll_receiver(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);
}

/// A link, and how it changes.
struct Course {
    name: &'static str,
    begins: Conditions,
    changes: Vec<(Duration, Conditions)>,
    /// What the row tells.
    asks: Asks,
}

/// What one wants to know of a course.
#[derive(Clone, Copy)]
enum Asks {
    /// How much of `of` is used from `from` on, and how old packets are.
    Use { of: Bitrate, from: Duration },
    /// For how long after `at` packets come late, because there is suddenly less.
    Down { at: Duration },
    /// How long after `at` it takes until so much arrives, within a second.
    Up { at: Duration, wanted: Bitrate },
}

/// What arrived in one tenth of a second.
#[derive(Clone, Default)]
struct Tenth {
    bytes: u64,
    /// How old each packet was, beyond the path's latency.
    ages: Vec<Duration>,
}

const TENTH: Duration = Duration::from_millis(100);

/// Runs all courses with all contestants.
pub(crate) fn run() -> Result<String, Failure> {
    let (wide, narrowed) = (narrow(3000, millis(400)), narrow(500, millis(400)));
    let steps = || vec![(secs(20), narrowed), (secs(40), wide)];
    let constant = |name, kbps, conditions: Conditions| Course {
        name,
        begins: conditions,
        changes: Vec::new(),
        asks: Asks::Use { of: Bitrate::kbps(kbps), from: secs(20) },
    };
    let courses = [
        constant("300 kbit/s", 300, narrow(300, millis(400))),
        constant("1 Mbit/s", 1000, narrow(1000, millis(400))),
        constant("5 Mbit/s", 5000, narrow(5000, millis(400))),
        constant("3 Mbit/s, 2 % lost", 3000, narrow(3000, millis(300)).losing(0.02)),
        constant("3 Mbit/s, 10 % lost", 3000, narrow(3000, millis(300)).losing(0.10)),
        constant("3 Mbit/s, 30 ms of jitter", 3000, narrow(3000, millis(300)).jittery(millis(30))),
        constant("1 Mbit/s, a queue of 50 ms", 1000, narrow(1000, millis(50))),
        Course {
            name: "5 Mbit/s, from the beginning until 3.5 arrive",
            begins: narrow(5000, millis(400)),
            changes: Vec::new(),
            asks: Asks::Up { at: Duration::ZERO, wanted: Bitrate::kbps(3500) },
        },
        Course {
            name: "3 Mbit/s become 0.5: packets are late for",
            begins: wide,
            changes: steps(),
            asks: Asks::Down { at: secs(20) },
        },
        Course {
            name: "0.5 Mbit/s become 3: until 2 arrive",
            begins: wide,
            changes: steps(),
            asks: Asks::Up { at: secs(40), wanted: Bitrate::kbps(2000) },
        },
    ];
    let mut table = "| link | Campanile | str0m | rtc-interceptor's Gcc |\n|---|---|---|---|\n".to_owned();
    for (seed, course) in courses.iter().enumerate() {
        let seed = seed as u64 + 1;
        let cells = [
            course.run(&mut ours::Ours::new(), seed),
            course.run(&mut str0m::Str0m::connected()?, seed),
            course.run(&mut gcc::Gcc::new(), seed),
        ];
        eprintln!("{:48} {}", course.name, cells.join(" | "));
        let _ = writeln!(table, "| {} | {} |", course.name, cells.join(" | "));
    }
    Ok(table)
}

impl Course {
    /// What one makes of it, in words.
    fn run(&self, contestant: &mut dyn Contestant, seed: u64) -> String {
        let tenths = self.drive(contestant, seed);
        let from = |at: Duration| (at.as_millis() / TENTH.as_millis()) as usize;
        let until = |tenth: Option<usize>| match tenth {
            Some(count) => format!("{:.1} s", count as f64 / 10.0),
            None => "never".to_owned(),
        };
        match self.asks {
            Asks::Use { of, from: start } => {
                let counted = &tenths[from(start)..];
                let bytes: u64 = counted.iter().map(|tenth| tenth.bytes).sum();
                let used = Bitrate::measured(bytes, TENTH * counted.len() as u32);
                let mut ages: Vec<_> = counted.iter().flat_map(|tenth| &tenth.ages).collect();
                ages.sort_unstable();
                let age = |share: f64| ages[(share * (ages.len() - 1) as f64) as usize].as_millis();
                let percent = 100.0 * used.as_bps() as f64 / of.as_bps() as f64;
                format!("{percent:.0} %, {} and {} ms", age(0.5), age(0.95))
            }
            Asks::Down { at } => {
                let window = &tenths[from(at)..from(at + secs(20))];
                let is_late = |tenth: &Tenth| tenth.ages.iter().any(|age| *age > LATE);
                until(Some(window.iter().filter(|tenth| is_late(tenth)).count()))
            }
            Asks::Up { at, wanted } => {
                let enough = |second: &[Tenth]| {
                    let bytes = second.iter().map(|tenth| tenth.bytes).sum();
                    Bitrate::measured(bytes, secs(1)) >= wanted
                };
                until(tenths[from(at)..].windows(10).position(enough).map(|first| first + 10))
            }
        }
    }

    /// A minute of it.
    fn drive(&self, contestant: &mut dyn Contestant, seed: u64) -> Vec<Tenth> {
        // Some need a handshake first; their clocks may already run.
        let start = Instant::now() + secs(10);
        let mut down = Link::new(self.begins, seed);
        let mut up = Link::new(Conditions { latency: self.begins.latency, ..Conditions::GOOD }, seed);
        let mut tenths = vec![Tenth::default(); 600];
        let (mut arriving, mut returning) = (Queue::default(), Queue::default());
        let (mut datagrams, mut reports) = (Vec::new(), Vec::new());
        let (mut frames, mut first_timestamp) = (0_u64, None);
        for ms in 0..60_000 {
            let now = start + STEP * ms;
            let elapsed = now - start;
            if let Some((_, change)) = self.changes.iter().rev().find(|(at, _)| *at <= elapsed) {
                down.conditions = *change;
            }
            while let Some((_, bytes)) = returning.pop(now) {
                contestant.handle_feedback(now, &bytes);
            }
            if elapsed >= FRAME * frames as u32 {
                let bytes = frame_bytes(contestant.target().min(DEMAND).scaled(ENCODED), frames);
                contestant.send_frame(now, frames, bytes);
                frames += 1;
            }
            contestant.poll(now, &mut datagrams);
            for bytes in datagrams.drain(..) {
                if let Some(timestamp) = video_timestamp(&bytes) {
                    first_timestamp.get_or_insert(timestamp);
                }
                if let Some(at) = down.pass(now, bytes.len()).first {
                    arriving.push(at, bytes);
                }
            }
            while let Some((at, bytes)) = arriving.pop(now) {
                if let (Some(timestamp), Some(first)) = (video_timestamp(&bytes), first_timestamp) {
                    let tenth = &mut tenths[(elapsed.as_millis() / TENTH.as_millis()) as usize];
                    tenth.bytes += bytes.len() as u64;
                    let ticks = timestamp.wrapping_sub(first);
                    let made = FRAME * (u64::from(ticks) / FRAME_TICKS) as u32;
                    tenth.ages.push((at - start).saturating_sub(made + down.conditions.latency));
                }
                contestant.receive(at, &bytes);
            }
            contestant.poll_receiver(now, &mut reports);
            for bytes in reports.drain(..) {
                if let Some(at) = up.pass(now, bytes.len()).first {
                    returning.push(at, bytes);
                }
            }
        }
        tenths
    }
}

/// Frames are not all alike: between 0.6 and 1.4 of the mean, and one in 90 three times that.
fn frame_bytes(rate: Bitrate, number: u64) -> usize {
    let weight = if number % 90 == 89 { 3.0 } else { 0.6 + 0.2 * (number % 5) as f64 };
    rate.scaled(weight).bytes_in(FRAME).max(100) as usize
}

/// The RTP timestamp of a packet of video, sealed or not; `None` for all else.
fn video_timestamp(bytes: &[u8]) -> Option<u32> {
    if rtcp::is_rtcp(bytes) {
        return None;
    }
    RtpHeader::parse_sealed(bytes)
        .ok()
        .filter(|header| header.payload_type == VP8)
        .map(|header| header.timestamp)
}

/// Datagrams on their way, in the order of their arrival.
#[derive(Default)]
struct Queue(VecDeque<(Instant, Vec<u8>)>);

impl Queue {
    fn push(&mut self, at: Instant, bytes: Vec<u8>) {
        let place = self.0.partition_point(|(before, _)| *before <= at);
        self.0.insert(place, (at, bytes));
    }

    fn pop(&mut self, now: Instant) -> Option<(Instant, Vec<u8>)> {
        if self.0.front()?.0 <= now { self.0.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contestant_uses_a_constant_link() {
        let course = Course {
            name: "1 Mbit/s",
            begins: narrow(1000, millis(400)),
            changes: Vec::new(),
            asks: Asks::Up { at: Duration::ZERO, wanted: Bitrate::kbps(500) },
        };
        for mut contestant in [
            Box::new(ours::Ours::new()) as Box<dyn Contestant>,
            Box::new(str0m::Str0m::connected().unwrap()),
            Box::new(gcc::Gcc::new()),
        ] {
            assert_ne!(course.run(&mut *contestant, 1), "never");
        }
    }
}
