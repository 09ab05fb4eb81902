//! A virtual clock and a simulated network: meetings lived in milliseconds, and lived again exactly by their seed.
//!
//! A [`World`] holds one real `MediaService`, plays the shell to it, and lets simulated clients ([`Page`]s) join: they
//! speak real signaling frames, encoded and decoded both ways, and bare RTP, over [`link`]s that lose, delay and
//! reorder. No thread, no socket, no clock.

pub mod bed;
mod client;
pub mod link;
mod picture;
mod sound;
mod trace;
mod world;

use std::time::{Duration, Instant};

pub use client::{Client, Ending, Presence, RosterEntry, State, Watch};
pub use link::{Bottleneck, Conditions, Loss};
pub use picture::{Camera, Coding, Numbers, Seen};
pub use trace::Trace;
pub use world::{Page, Seed, World};

/// So many seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many milliseconds.
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The instant at which a world's time begins. All that follows is arithmetic on it.
#[expect(clippy::disallowed_methods, reason = "only differences to this instant are ever looked at")]
pub(crate) fn start_of_time() -> Instant {
    Instant::now()
}
