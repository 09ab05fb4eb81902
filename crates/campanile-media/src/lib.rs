//! What happens to media: peers, forwarding, mixing.
//!
//! Everything here is plain Rust that takes the time as an argument and leaves outputs to be collected: no socket, no
//! clock, no thread, no lock (`clippy.toml` beside this crate's manifest holds that). It has never heard of protobuf,
//! HTTP or meetings.

pub mod allocate;
pub mod estimate;
pub mod forward;
pub mod mix;
pub mod peer;
pub mod rtcp;
pub mod rtp;
pub mod units;

/// The instant at which a test's time begins. What follows is arithmetic on it.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "only differences to this instant are ever looked at")]
pub(crate) fn test_start() -> std::time::Instant {
    std::time::Instant::now()
}
