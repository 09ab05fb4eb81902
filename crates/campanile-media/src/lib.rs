//! What happens to media: peers, forwarding, mixing.
//!
//! Everything here is plain Rust that takes the time as an argument and leaves outputs to be collected: no socket, no
//! clock, no thread, no lock (`clippy.toml` beside this crate's manifest holds that). It has never heard of protobuf,
//! HTTP or meetings.

pub mod forward;
pub mod mix;
pub mod peer;
pub mod rtcp;
pub mod rtp;
pub mod units;
