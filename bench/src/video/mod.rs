//! Forwarded video: one camera and many who watch, and many cameras with one each, over ICE, DTLS and SRTP, through our forwarder, Janus' VideoRoom and
//! mediasoup's worker.

mod live;
mod mediasoup;
mod ours;
mod peers;
mod videoroom;

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use live::run as live;
use peers::Watched;

use crate::report::{Comparison, OURS, Row};
use crate::system::Used;
use crate::{Failure, Plan};

const FRAMERATE: u32 = 30;
/// 30 of them a second are 1.4 Mbit/s in 180 packets, as of a camera of 720p.
const FRAME_BYTES: usize = 6000;
const SIZE: (u16, u16) = (1280, 720);
/// A keyframe every so many frames; nobody's joining brings more.
const KEYFRAME_INTERVAL: u32 = 60;
/// For all to get in and see.
const PATIENCE: Duration = Duration::from_secs(30);

/// Beside whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    pub(crate) janus: bool,
    /// Where mediasoup's worker is, if it is anywhere.
    pub(crate) mediasoup: Option<&'a Path>,
}

/// Who is shown to whom.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// Each with a camera.
    rooms: usize,
    /// Who watch the camera of their room, in each.
    watchers: usize,
}

/// Measures a case for each number of those who watch one camera, and for each number of rooms of one camera and one who
/// watches it.
pub(crate) fn run(
    plan: &Plan,
    watchers: &[usize],
    rooms: &[usize],
    beside: Beside<'_>,
) -> Result<Comparison, Failure> {
    let one_room = watchers.iter().map(|&watchers| {
        (format!("1 camera of 1.4 Mbit/s, {watchers} watching"), Scene { rooms: 1, watchers })
    });
    let many_rooms = rooms
        .iter()
        .map(|&rooms| (format!("{rooms} rooms of one camera and one watcher"), Scene { rooms, watchers: 1 }));
    let mut comparison = Comparison::new("µs of CPU per forwarded packet");
    for (name, scene) in one_room.chain(many_rooms) {
        let case = comparison.case(name);
        for _ in 0..plan.pairs {
            case.run(OURS, || ours::campanile(plan, scene))?;
            if beside.janus {
                case.run("Janus", || videoroom::videoroom(plan, scene))?;
            }
            if let Some(folder) = beside.mediasoup {
                case.run("mediasoup", || mediasoup::mediasoup(plan, scene, folder))?;
            }
        }
    }
    Ok(comparison)
}

/// What one watcher has received, by the sequence numbers of its own stream.
#[derive(Debug, Default)]
struct Tally {
    received: AtomicU64,
    first: AtomicU32,
    last: AtomicU32,
}

impl Tally {
    fn count(&self, sequence: u16) {
        let before = self.received.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first.store(sequence.into(), Ordering::Relaxed);
            self.last.store(sequence.into(), Ordering::Relaxed);
        } else {
            // Across its wraps, as long as less than half a round is missing.
            let last = self.last.load(Ordering::Relaxed);
            let step = sequence.wrapping_sub(last as u16);
            if step < 0x8000 {
                self.last.store(last + u32::from(step), Ordering::Relaxed);
            }
        }
    }

    fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// Received, and due.
    fn counts(&self) -> (u64, u64) {
        let received = self.received.load(Ordering::Relaxed);
        if received == 0 {
            return (0, 1);
        }
        let span = self.last.load(Ordering::Relaxed) - self.first.load(Ordering::Relaxed);
        (received, u64::from(span) + 1)
    }
}

/// What all watchers together cost.
fn row(used: Used, watched: Watched) -> Row {
    let Watched { received, due, late } = watched;
    Row {
        cost_us: used.cpu.as_secs_f64() * 1e6 / received.max(1) as f64,
        kernel: used.kernel,
        cores: used.cpu.as_secs_f64() / used.elapsed.as_secs_f64(),
        delivered: received as f64 / due as f64,
        others: used.others,
        late,
        heard: None,
        complexity: None,
    }
}

/// Frames of this size that look like VP8 from outside: the first of each round is a keyframe with its size, the rest is noise.
fn frames(bytes: usize) -> Vec<Vec<u8>> {
    let mut noise = 1_u32;
    let mut frame = |number| {
        let mut bytes: Vec<u8> = (0..bytes)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        // RFC 6386 section 9.1: the frame tag, whose first bit is clear in keyframes, the start code and the size.
        bytes[0] = 0x10 | u8::from(number % KEYFRAME_INTERVAL != 0);
        if number % KEYFRAME_INTERVAL == 0 {
            bytes[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
            bytes[6..8].copy_from_slice(&SIZE.0.to_le_bytes());
            bytes[8..10].copy_from_slice(&SIZE.1.to_le_bytes());
        }
        bytes
    };
    (0..KEYFRAME_INTERVAL).map(&mut frame).collect()
}
