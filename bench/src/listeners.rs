//! A meeting larger than any machine here could serve: many listen to three who speak, in virtual time. What stands here is
//! the core's work alone: nothing is sealed and nothing is sent.

use std::time::Duration;

use campanile_client::pcm::tone;

use crate::Failure;
use crate::hall::Hall;
use crate::system::own_cpu;

const TICK: Duration = Duration::from_millis(20);
const SPEAKERS: usize = 3;
/// What passes before anything is measured, and what is measured.
const WARM_TICKS: u32 = 50;
const TICKS: u32 = 500;

/// What it took. Times are of the processor: others who use the machine do not count.
#[derive(Debug)]
struct Work {
    listeners: usize,
    /// For all to come in.
    joining: Duration,
    frames_of_joining: u64,
    /// For all ticks.
    ticks: Duration,
    datagrams: u64,
}

/// Lets so many listen for ten seconds.
fn run(listeners: usize) -> Result<Work, Failure> {
    let mut hall = Hall::new()?;
    let voices = (0..SPEAKERS).map(|number| tone(300.0 + 200.0 * number as f32, 0.1, 1));
    let voices: Vec<_> = voices.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let began = own_cpu()?;
    for _ in 0..SPEAKERS + listeners {
        hall.enter(false, false)?;
    }
    let (joining, frames_of_joining) = (own_cpu()? - began, hall.sent.frames);
    let (mut before, mut began) = (0, Duration::ZERO);
    for tick in 0..WARM_TICKS + TICKS {
        if tick == WARM_TICKS {
            (before, began) = (hall.sent.datagrams, own_cpu()?);
        }
        for (number, voice) in voices.iter().enumerate() {
            hall.speak(number, tick, &voice.packets[tick as usize % voice.packets.len()]);
        }
        hall.pass(TICK);
    }
    let datagrams = hall.sent.datagrams - before;
    Ok(Work { listeners, joining, frames_of_joining, ticks: own_cpu()? - began, datagrams })
}

impl Work {
    fn row(&self) -> String {
        let tick = self.ticks / TICKS;
        let people = (self.listeners + SPEAKERS) as u32;
        format!(
            "| {} | {:.2} ms | {} ns | {:.0} | {:.1} s | {} |\n",
            self.listeners,
            tick.as_secs_f64() * 1e3,
            (tick / people).as_nanos(),
            self.datagrams as f64 / f64::from(TICKS),
            self.joining.as_secs_f64(),
            self.frames_of_joining,
        )
    }
}

/// Meetings of several sizes, one below the other: what grows faster than the meeting shows in the third column.
pub(crate) fn table(sizes: &[usize]) -> Result<String, Failure> {
    let mut table = format!(
        "| listen to {SPEAKERS} | CPU of a tick of 20 ms, mean | of each listener | datagrams in a tick | CPU of \
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
        assert!(work.ticks > Duration::ZERO);
    }
}
