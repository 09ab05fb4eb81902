//! What a meeting means: the records of the control plane and the live sessions of the data plane.
//!
//! Pure, like `campanile-media`: it opens no socket, reads no clock, takes no lock.

mod attendance;
mod audience;
mod awaited;
mod bandwidth;
pub mod bucket;
mod data;
mod drain;
mod ending;
pub mod ids;
mod join;
mod link;
mod meeting;
mod moderation;
pub mod quality;
pub mod registry;
mod replay;
mod resolution;
mod roster;
pub mod service;
mod session;
mod source;
mod subscribe;
pub mod trace;
mod traffic;

/// The instant at which a test's time begins. What follows is arithmetic on it.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "only differences to this instant are ever looked at")]
pub(crate) fn test_start() -> std::time::Instant {
    std::time::Instant::now()
}
