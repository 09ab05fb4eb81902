//! The selective forwarding of video: one publisher's streams, renumbered for each subscriber.
//!
//! [`Uplink`] is one incoming stream: it repairs itself (NACK), measures itself and keeps the [`History`] from which repairs
//! are served; what is larger than it may be it marks. [`Forwarder`] is one subscription: it is told a [`Layer`], switches
//! where the codec allows it, and makes of all that one stream with continuous numbers. Which layer to want is decided on the
//! source's ladder of [`Rung`]s; who subscribes to whom is the meeting's business.

mod allocation;
mod bits;
mod dependency;
mod forwarder;
mod gate;
mod history;
mod layer;
pub mod model;
#[cfg(test)]
mod model_tests;
mod payload;
mod rates;
mod size;
mod uplink;
mod vp9;
mod write;

pub use allocation::{AllocatedStream, read_allocation};
pub use bits::BitWriter;
pub use dependency::{DESCRIPTOR_BYTES_MAX, Described, Structure};
pub use forwarder::Forwarder;
pub use history::{History, NewPacket, StoredPacket};
pub use layer::{Layer, Rung, Wish, choose_layer};
pub use payload::{PayloadInfo, PictureNumbers, VideoCodec, inspect};
pub use size::PictureSize;
pub use uplink::{KeyframeRequests, Prefer, Uplink};
pub use write::{Rewritten, write_copy, write_retransmission};

/// The fuzz targets of this module.
pub mod fuzz {
    pub use super::allocation::fuzz::layers_allocation;
    pub use super::dependency::fuzz::dependency_descriptor;
    pub use super::payload::fuzz::payload;
    pub use super::size::fuzz::picture_size;
}
