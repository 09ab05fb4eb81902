//! A meeting larger than any machine here could serve: many listen to three who speak, in virtual time. What stands here is
//! the core's work alone: nothing is sealed and nothing is sent.

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
struct Work {
    listeners: usize,
    /// For all to come in.
    joining: Duration,
    frames_of_joining: u64,
    /// Sorted.
    ticks: Vec<Duration>,
    datagrams: u64,
}

/// Lets so many listen for ten seconds.
fn run(listeners: usize) -> Result<Work, Failure> {
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

impl Work {
    /// Of all ticks, what this share of them took at the most.
    fn tick(&self, share: f64) -> Duration {
        let place = ((self.ticks.len() as f64 * share) as usize).min(self.ticks.len().saturating_sub(1));
        self.ticks.get(place).copied().unwrap_or_default()
    }

    fn row(&self) -> String {
        let ms = |share| self.tick(share).as_secs_f64() * 1e3;
        let people = (self.listeners + SPEAKERS) as f64;
        format!(
            "| {} | {:.2} / {:.2} / {:.2} | {:.0} ns | {:.0} | {:.1} s | {} |\n",
            self.listeners,
            ms(0.5),
            ms(0.99),
            ms(1.0),
            self.tick(0.5).as_secs_f64() * 1e9 / people,
            self.datagrams as f64 / self.ticks.len() as f64,
            self.joining.as_secs_f64(),
            self.frames_of_joining,
        )
    }
}

/// Meetings of several sizes, one below the other: what grows faster than the meeting shows in the third column.
pub(crate) fn table(sizes: &[usize]) -> Result<String, Failure> {
    let mut table = format!(
        "| listen to {SPEAKERS} | a tick of 20 ms: median / 99 % / most, ms | of each listener | datagrams in a tick | \
         all joining | signaling frames of that |\n|---|---|---|---|---|---|\n"
    );
    for listeners in sizes {
        table += &run(*listeners)?.row();
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_served_in_every_tick() {
        let work = run(100).unwrap();
        // And reports, of which each gets one a second or so.
        let sound = u64::from(TICKS) * 103;
        assert!((sound..sound * 105 / 100).contains(&work.datagrams), "{work:?}");
        assert_eq!(work.ticks.len(), TICKS as usize);
    }
}
