//! What a session knows about how it went.

use std::time::Duration;

use crate::engine::EngineCounters;
use crate::status::SessionStatus;

/// How long the steps of getting in took, each from the start of the attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinTimings {
    /// The signaling socket was open.
    pub opened: Duration,
    /// The first INDEX was there.
    pub indexed: Duration,
    /// The first offer was answered.
    pub answered: Duration,
    /// ICE and DTLS were done: the session has started.
    pub started: Duration,
    /// The first packet of audio came, if any did.
    pub first_audio: Option<Duration>,
}

/// A time without connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub status: SessionStatus,
    /// From the last packet received before to being connected again; still growing when not `recovered`.
    pub duration: Duration,
    /// The session came back.
    pub recovered: bool,
}

/// Delays of what should have happened at a certain time, by size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagCounts {
    /// How many took up to 1, 5, 10, 20, 50 ms, and longer.
    pub counts: [u64; 6],
    /// The longest.
    pub max: Duration,
}

impl LagCounts {
    /// The bounds of `counts`, in milliseconds; the last is open.
    pub const BOUNDS_MS: [u64; 5] = [1, 5, 10, 20, 50];

    pub(crate) fn record(&mut self, lag: Duration) {
        let place = Self::BOUNDS_MS.iter().position(|bound| lag <= Duration::from_millis(*bound));
        self.counts[place.unwrap_or(Self::BOUNDS_MS.len())] += 1;
        self.max = self.max.max(lag);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &LagCounts) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.max = self.max.max(other.max);
    }

    /// The bound in milliseconds below which 99 in a hundred lie; `u64::MAX` when beyond the last.
    pub fn p99_ms(&self) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let mut so_far = 0;
        for (count, bound) in self.counts.iter().zip(Self::BOUNDS_MS) {
            so_far += count;
            if so_far * 100 >= total * 99 {
                return bound;
            }
        }
        u64::MAX
    }
}

/// Counters of one session, over all its connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// The first successful attempt; `None` before.
    pub join: Option<JoinTimings>,
    /// Times without connection.
    pub outages: Vec<Outage>,
    /// Datagrams received, of any kind.
    pub datagrams_received: u64,
    /// Datagrams sent, of any kind.
    pub datagrams_sent: u64,
    /// Datagrams that the socket did not take.
    pub datagrams_refused: u64,
    /// Video frames sent: moments, not layers.
    pub video_frames_sent: u64,
    /// Someone needed a keyframe of ours.
    pub keyframes_wanted: u64,
    /// Video was refused: the meeting has no room for more cameras.
    pub view_only: bool,
    /// Events dropped because the application did not take them.
    pub events_dropped: u64,
    /// How late packets were sent that were due at a time: the delay of this process, not of the network.
    pub lag: LagCounts,
    /// The engine's own, of the present connection.
    pub engine: EngineCounters,
    /// How the session ended; `None` while it lasts.
    pub ended: Option<SessionStatus>,
}

impl Stats {
    /// How often the session came back.
    pub fn reconnects(&self) -> usize {
        self.outages.iter().filter(|outage| outage.recovered).count()
    }
}
