//! The media link to one attendee.

pub mod dtls;
pub mod ice;
mod outbox;
pub mod plain;
pub mod sdp;
pub mod srtp;

pub use outbox::{OUTBOX_BYTES_MAX, Outbox, Run};
