//! The selective forwarding of video: one publisher's streams, renumbered for each subscriber.
//!
//! [`Uplink`] is one incoming stream: it repairs itself (NACK), measures itself and keeps the [`History`] from which
//! repairs are served. [`Forwarder`] is one subscription: it switches streams at keyframes and makes of them one
//! stream with continuous numbers. Which stream to want is decided in [`choose_layer`] alone; who subscribes to whom
//! is the meeting's business.

mod forwarder;
mod history;
mod layer;
mod payload;
mod uplink;

pub use forwarder::{Forwarder, Rewritten, write_copy, write_retransmission};
pub use history::{History, NewPacket, StoredPacket};
pub use layer::{LayerState, Wish, choose_layer};
pub use payload::{PayloadInfo, VideoCodec, Vp8Numbers, fuzz, inspect};
pub use uplink::{KeyframeRequests, Uplink};
