//! A meeting larger than any machine here could serve: many listen to three who speak, in virtual time. What stands here is
//! the core's work alone: nothing is sealed and nothing is sent.

use std::fmt;
use std::time::{Duration, Instant};

use campanile_client::pcm::tone;

use crate::Failure;
use crate::hall::Hall;

const TICK: Duration = Duration::from_millis(20);
const SPEAKERS: usize = 3;
/// What passes before anything is measured, and what is measured.
const WARM_TICKS: u32 = 50;
const TICKS: u32 = 500;

/// What it took.
#[derive(Debug)]
pub(crate) struct Work {
    listeners: usize,
    /// For all to come in.
    joining: Duration,
    frames_of_joining: u64,
    /// Sorted.
    ticks: Vec<Duration>,
    datagrams: u64,
}

/// Lets so many listen for ten seconds.
pub(crate) fn run(listeners: usize) -> Result<Work, Failure> {
    let mut hall = Hall::new()?;
    let voices = (0..SPEAKERS).map(|number| tone(300.0 + 200.0 * number as f32, 0.1, 1));
    let voices: Vec<_> = voices.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let began = Instant::now();
    for _ in 0..SPEAKERS + listeners {
        hall.enter(false, false)?;
    }
    let (joining, frames_of_joining) = (began.elapsed(), hall.sent.frames);
    let mut ticks = Vec::new();
    let mut before = 0;
    for tick in 0..WARM_TICKS + TICKS {
        if tick == WARM_TICKS {
            before = hall.sent.datagrams;
        }
        let began = Instant::now();
        for (number, voice) in voices.iter().enumerate() {
            hall.speak(number, tick, &voice.packets[tick as usize % voice.packets.len()]);
        }
        hall.pass(TICK);
        if tick >= WARM_TICKS {
            ticks.push(began.elapsed());
        }
    }
    ticks.sort_unstable();
    let datagrams = hall.sent.datagrams - before;
    Ok(Work { listeners, joining, frames_of_joining, ticks, datagrams })
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            let place = ((self.ticks.len() as f64 * share) as usize).min(self.ticks.len().saturating_sub(1));
            self.ticks.get(place).map_or(0.0, |tick| tick.as_secs_f64() * 1e3)
        };
        let people = (self.listeners + SPEAKERS) as f64;
        writeln!(f, "| {} listen to {SPEAKERS} | |\n|---|---|", self.listeners)?;
        writeln!(
            f,
            "| work of a tick of 20 ms: median, 99 %, most | {:.2}, {:.2}, {:.2} ms |",
            at(0.5),
            at(0.99),
            at(1.0)
        )?;
        writeln!(f, "| of each listener | {:.0} ns |", at(0.5) * 1e6 / people)?;
        writeln!(f, "| datagrams in a tick | {:.0} |", self.datagrams as f64 / self.ticks.len() as f64)?;
        let joining = self.joining.as_secs_f64();
        writeln!(
            f,
            "| all joining, one after another | {joining:.1} s, {} signaling frames |",
            self.frames_of_joining
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_served_in_every_tick() {
        let work = run(100).unwrap();
        // And reports, of which each gets one a second or so.
        let sound = u64::from(TICKS) * 103;
        assert!((sound..sound * 105 / 100).contains(&work.datagrams), "{work}");
        assert_eq!(work.ticks.len(), TICKS as usize);
    }
}
