//! What outsiders see: signaling frames, API JSON, events.
//!
//! Each door here turns outside bytes into types that cannot be wrong, and back. What they mean for a meeting is left to
//! `campanile-meeting`.

pub mod api;
pub mod calendar;
pub mod events;
pub mod fuzz;
pub mod signaling;
