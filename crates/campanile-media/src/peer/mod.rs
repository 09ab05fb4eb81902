//! The media link to one attendee.

pub mod dtls;
pub mod ice;
pub mod plain;
pub mod sdp;
pub mod srtp;
