//! What outsiders see: signaling frames and API JSON.

pub mod api;
