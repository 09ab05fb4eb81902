//! A client of services that speak the Amazon Chime SDK's protocol: for bots, recorders, native applications and load
//! tests.
//!
//! [`Session::join`] takes the JSON that CreateMeeting and CreateAttendee answered ([`JoinInfo`]) and returns once media
//! flows. The session then goes on in a task of its own, and comes back by the JavaScript client's rules when the
//! connection breaks. What happens is told by [`Events`]; what to do is said through [`Session`].
//!
//! ```no_run
//! # async fn example(text: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use campanile_client::{Config, Event, JoinInfo, Session};
//!
//! let (session, mut events) = Session::join(JoinInfo::parse(text)?, Config::default()).await?;
//! session.send_message("chat", b"hello".to_vec(), 0);
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{} says {:?}", message.sender_external_user_id, message.data);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Capture, encoding and rendering of video are left to others; sound comes and goes as Opus packets, and [`pcm`] turns
//! them into samples and back.

pub mod api;
pub mod clip;
mod dependency;
mod driver;
mod engine;
mod join;
mod media;
mod network;
pub mod opus_file;
pub mod payload;
pub mod pcm;
mod reconnect;
mod roster;
mod session;
mod signaling;
pub mod stamp;
mod stats;
mod status;
mod tls;
pub mod transport;

pub use self::engine::{EngineCounters, EngineKind};
pub use self::join::{CONTENT_SUFFIX, JoinInfo, JoinInfoError};
pub use self::media::*;
pub use self::network::NetworkProfile;
pub use self::roster::{Attendee, RosterChange};
pub use self::session::{Config, Event, Events, JoinError, Level, LoopTap, MediaSink, Session};
pub use self::stats::{JoinTimings, LagCounts, Outage, Stats};
pub use self::status::SessionStatus;
pub use self::tls::Trust;
pub use campanile_wire::signaling::{Adaption, DeliveredMessage, SignalStrength, StreamDescriptor};
