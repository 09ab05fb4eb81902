//! How the cost of forwarding grows with those who watch and those who are seen, in virtual time: the core alone, from
//! datagram in to datagrams out. Nothing is sealed and nothing is sent.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use campanile_client::Scalability;
use campanile_client::payload::Packetizer;

use crate::hall::Hall;
use crate::system::{Thread, resident};
use crate::{Failure, Plan};

const CAMERAS: [usize; 3] = [1, 5, 25];
const WATCHERS: [usize; 6] = [1, 10, 25, 100, 300, 1000];
/// In packets of some 1,100 bytes: six of them.
const FRAME_BYTES: usize = 6000;
const FRAME: Duration = Duration::from_millis(33);
/// Frames from each camera before anything is measured: histories fill up.
const WARM_FRAMES: u32 = 30;
/// Packets forwarded in one measurement, and frames at least and at most: enough that the kernel's account of CPU time,
/// which moves in steps of a few milliseconds, tells something.
const PACKETS: usize = 1_500_000;
const FRAMES_MIN: usize = 20;
const FRAMES_MAX: usize = 3_000;
/// Fewer subscriptions than this are lost in what a process needs anyway.
const SUBSCRIPTIONS_MIN: usize = 250;

/// One case, in a process of its own, so that no other has left memory behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    cameras: usize,
    watchers: usize,
    /// CPU time of a forwarded packet, in nanoseconds.
    packet_ns: f64,
    /// Memory of all who watch.
    bytes: u64,
}

/// All cases, each a process.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut cells = Vec::new();
    for cameras in CAMERAS {
        for watchers in WATCHERS.into_iter().filter(|watchers| !plan.short || watchers * cameras <= 2500) {
            let [cameras, watchers] = [cameras, watchers].map(|count| count.to_string());
            let output = Command::new(&program).args(["grid-cell", &cameras, &watchers]).output();
            let output = output.map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            let cell = Cell::parse(&String::from_utf8_lossy(&output.stdout))?;
            eprintln!("{cell:?}");
            cells.push(cell);
        }
    }
    Ok(table(&cells))
}

fn table(cells: &[Cell]) -> String {
    let mut table = "| who watch |".to_owned();
    for cameras in CAMERAS {
        let _ = write!(table, " cameras: {cameras} | memory of a subscription |");
    }
    table += "\n|---|";
    table += &"---|---|".repeat(CAMERAS.len());
    for watchers in WATCHERS {
        let _ = write!(table, "\n| {watchers} |");
        for cameras in CAMERAS {
            let cell = cells.iter().find(|cell| (cell.cameras, cell.watchers) == (cameras, watchers));
            let cost = cell.map_or("–".to_owned(), |cell| format!("{:.0} ns", cell.packet_ns));
            let enough = cell.filter(|_| cameras * watchers >= SUBSCRIPTIONS_MIN);
            let memory = enough.map_or("–".to_owned(), |cell| {
                format!("{:.1} KB", cell.bytes as f64 / 1000.0 / (cameras * watchers) as f64)
            });
            let _ = write!(table, " {cost} | {memory} |");
        }
    }
    table + "\n"
}

impl Cell {
    /// Measures one case.
    pub(crate) fn measure(cameras: usize, watchers: usize) -> Result<Cell, Failure> {
        let mut hall = Hall::new()?;
        let mut shown = Vec::new();
        for _ in 0..cameras {
            let packetizer = Packetizer::new(campanile_client::Codec::Vp8, Scalability::NONE, (1280, 720));
            shown.push(Shown { number: hall.enter(true, false)?, packetizer, frames: 0, sequence: 0 });
        }
        // Whoever comes in is told what there is to see, by which the others know what to ask for.
        hall.enter(false, false)?;
        hall.pass(Duration::from_secs(1));
        let before = resident()?;
        for _ in 0..watchers {
            hall.enter(false, true)?;
        }
        hall.pass(Duration::from_secs(1));
        let mut show = |hall: &mut Hall| {
            shown.iter_mut().for_each(|camera| camera.show(hall));
            hall.pass(FRAME);
        };
        (0..WARM_FRAMES).for_each(|_| show(&mut hall));
        let bytes = resident()?.saturating_sub(before);
        let frames = (PACKETS / (6 * cameras * watchers)).clamp(FRAMES_MIN, FRAMES_MAX);
        let thread = Thread::this()?;
        let mut timed = |work: &mut dyn FnMut(&mut Hall)| -> Result<(Duration, u64), Failure> {
            let (cpu, sent) = (thread.so_far()?.0, hall.sent.datagrams);
            (0..frames).for_each(|_| work(&mut hall));
            Ok((thread.so_far()?.0 - cpu, hall.sent.datagrams - sent))
        };
        // Sound and reports go on all the time: what they cost is taken off.
        let (without, others) = timed(&mut |hall| hall.pass(FRAME))?;
        let (with, all) = timed(&mut show)?;
        let (packets, due) = (all.saturating_sub(others), (6 * frames * cameras * watchers) as u64);
        // Reports do not fall on the same moments in both.
        if packets.abs_diff(due) > due / 50 + 10 {
            return Err(format!("{cameras} cameras, {watchers} watching: {packets} of {due} packets came"));
        }
        let packet_ns = with.saturating_sub(without).as_secs_f64() * 1e9 / packets as f64;
        Ok(Cell { cameras, watchers, packet_ns, bytes })
    }

    /// For the process that asked.
    pub(crate) fn line(&self) -> String {
        format!("{} {} {} {}\n", self.cameras, self.watchers, self.packet_ns, self.bytes)
    }

    fn parse(line: &str) -> Result<Cell, Failure> {
        let parsed = || {
            let mut words = line.split_whitespace();
            Some(Cell {
                cameras: words.next()?.parse().ok()?,
                watchers: words.next()?.parse().ok()?,
                packet_ns: words.next()?.parse().ok()?,
                bytes: words.next()?.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| format!("a case told {line:?}"))
    }
}

/// One camera at work.
struct Shown {
    number: usize,
    packetizer: Packetizer,
    frames: u32,
    sequence: u16,
}

impl Shown {
    fn show(&mut self, hall: &mut Hall) {
        let mut frame = vec![0x11; FRAME_BYTES];
        // RFC 6386 section 9.1: a keyframe first, with its start code and size.
        frame[0] = 0x10 | u8::from(self.frames > 0);
        frame[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        for payload in self.packetizer.packetize(&frame) {
            hall.show(self.number, self.sequence, self.frames * 2970, payload.marker, &payload.bytes);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.frames += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watcher_gets_every_camera() {
        // It fails when packets are missing.
        let cell = Cell::measure(2, 3).unwrap();
        assert_eq!((cell.cameras, cell.watchers), (2, 3));
    }

    #[test]
    fn cells_find_their_place() {
        let cell = Cell::parse("5 100 431.5 2000000").unwrap();
        assert_eq!(cell.line(), "5 100 431.5 2000000\n");
        assert!(table(&[cell]).contains("\n| 100 | – | – | 432 ns | 4.0 KB | – | – |"), "{}", table(&[cell]));
    }
}
