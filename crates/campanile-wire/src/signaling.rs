//! Signaling frames: what clients and the service say to each other over the WebSocket.
//!
//! One WebSocket message is the byte [`FRAME_TYPE_BYTE`] and one protobuf `SdkSignalFrame` (`signaling.proto`, proto2).
//! Protobuf makes everything optional; here it becomes [`ClientFrame`] and [`ServerFrame`], enums that cannot be wrong.
//! Both can be read and written, as the service needs one half and the client library the other.
//!
//! Left to others: whether a frame fits the moment, what the SDP inside says, inflating it, and the topics, sizes and
//! rates of data messages.

mod client;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;

use prost::Message;

pub use self::client::*;
pub use self::proto::sdk_signal_frame::Type as FrameKind;
pub use self::server::*;
pub use self::shared::*;

/// The generated protobuf types. Only metrics and timings, which nothing here interprets, reach the checked types.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/campanile.signaling.rs"));
}

/// Close codes of the WebSocket, as the unmodified client takes them. Once it is in a meeting it comes back after 45xx and
/// after no close frame at all; any other code strands it there, so its session is ended by a frame first.
pub mod close_code {
    /// The session is over, and its client knows.
    pub const NORMAL: u16 = 1000;
    /// What was sent is no frame, or not one for this moment. Terminal.
    pub const BAD_FRAME: u16 = 4400;
    /// The join token opens nothing here: foreign, forged, or its attendee is gone. Terminal.
    pub const ATTENDEE_UNAVAILABLE: u16 = 4403;
    /// The meeting has ended or never was. Terminal.
    pub const MEETING_ENDED: u16 = 4410;
    /// Our fault, or a restart: come back.
    pub const COME_BACK: u16 = 4500;
    /// The client read too slowly or sent too much. It may come back.
    pub const TOO_MUCH: u16 = 4508;
}

/// The first byte of every message, in both directions.
pub const FRAME_TYPE_BYTE: u8 = 0x05;

/// Bytes of one client frame. The largest is a SUBSCRIBE with an uncompressed offer: 132 KB were seen for 25 remote
/// videos; this leaves room for as much again.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one server frame, for those who read them. The largest replays 1024 data messages of 2 KB to a late joiner.
pub const SERVER_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries of a list that goes with the video sections of an offer (subscriptions, stream ids to pause or receive). A
/// meeting has at most 25 remote videos, but some browsers keep stopped sections in the offer.
const SECTIONS_MAX: usize = 256;

/// Streams that one client sends: its audio and three simulcast layers, with room for temporal layers.
const SEND_STREAMS_MAX: usize = 16;

/// Data messages in one frame. Clients send them one by one.
const DATA_MESSAGES_MAX: usize = 16;

/// Network adaptions that a client supports. Four are known.
const ADAPTIONS_MAX: usize = 16;

/// Entries of one list of metrics, dimensions or timings. 128 metric types are known, and there is one list per stream.
const METRICS_MAX: usize = 512;

/// Bytes of a name that a client gives: labels, mids, ids. The API's longest id has 64 characters.
const NAME_BYTES_MAX: usize = 256;

/// Bytes of a URL or token that a client echoes to us.
const URL_BYTES_MAX: usize = 2048;

/// Why a message is no frame. For the service: the client is told 400 and closed; nothing here is worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No byte at all.
    #[error("empty message")]
    Empty,
    /// The message does not begin with [`FRAME_TYPE_BYTE`].
    #[error("message starts with byte {0:#04x}")]
    FrameType(u8),
    /// Longer than the bound.
    #[error("frame of {len} bytes, at most {max} are taken")]
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// Bytes that are taken.
        max: usize,
    },
    /// Not a protobuf message of this schema.
    #[error(transparent)]
    Protobuf(#[from] prost::DecodeError),
    /// The part that the frame's type promises, or one that the frame makes no sense without, is absent.
    #[error("frame without {0}")]
    Missing(&'static str),
    /// An AUDIO_STATUS with a number that none of the documented ones is.
    #[error("audio status {0}")]
    UnknownAudioStatus(u32),
    /// A list is longer than its bound.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// A name or URL is longer than its bound.
    #[error("{0} is too long")]
    NameTooLong(&'static str),
    /// A value that has no meaning here.
    #[error("{0} has no such value")]
    Invalid(&'static str),
    /// A server frame of a type that this schema does not have, to be passed over. (A client's is
    /// [`ClientFrame::Unknown`].)
    #[error("frame of unknown type {0}")]
    UnknownType(i32),
}

/// Reads a client's message, with its leading [`FRAME_TYPE_BYTE`].
///
/// # Errors
/// Anything that is not a whole, bounded frame. A frame of an unknown type is not an error but
/// [`ClientFrame::Unknown`].
pub fn decode(bytes: &[u8]) -> Result<ClientFrame, FrameError> {
    ClientFrame::from_proto(envelope(bytes, FRAME_BYTES_MAX)?)
}

/// Reads a server's message, with its leading [`FRAME_TYPE_BYTE`].
///
/// # Errors
/// Anything that is not a whole, bounded frame; [`FrameError::UnknownType`] can be passed over.
pub fn decode_server(bytes: &[u8]) -> Result<ServerFrame, FrameError> {
    ServerFrame::from_proto(envelope(bytes, SERVER_FRAME_BYTES_MAX)?)
}

fn envelope(bytes: &[u8], max: usize) -> Result<proto::SdkSignalFrame, FrameError> {
    if bytes.len() > max {
        return Err(FrameError::TooLong { len: bytes.len(), max });
    }
    match bytes.split_first() {
        None => Err(FrameError::Empty),
        Some((&FRAME_TYPE_BYTE, rest)) => Ok(proto::SdkSignalFrame::decode(rest)?),
        Some((&other, _)) => Err(FrameError::FrameType(other)),
    }
}

fn to_bytes(frame: &proto::SdkSignalFrame) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + frame.encoded_len());
    out.push(FRAME_TYPE_BYTE);
    frame.encode(&mut out).expect("a Vec grows as needed");
    out
}

/// An otherwise empty frame. The clients drop a frame that lacks either field, so this is the one way to begin one.
fn frame(kind: i32, timestamp_ms: u64) -> proto::SdkSignalFrame {
    proto::SdkSignalFrame { timestamp_ms, r#type: kind, ..Default::default() }
}

fn bounded<T>(list: Vec<T>, max: usize, what: &'static str) -> Result<Vec<T>, FrameError> {
    if list.len() > max { Err(FrameError::TooMany(what)) } else { Ok(list) }
}

/// A text that stands for something, so that cutting it short would make it stand for something else.
fn name(text: Option<String>, max: usize, what: &'static str) -> Result<String, FrameError> {
    let text = text.unwrap_or_default();
    if text.len() > max { Err(FrameError::NameTooLong(what)) } else { Ok(text) }
}

fn present(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl fmt::Debug for proto::SdkTurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkTurnCredentials").field("uris", &self.uris).finish_non_exhaustive()
    }
}

impl fmt::Debug for proto::SdkMeetingSessionCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SdkMeetingSessionCredentials");
        out.field("attendee_id", &self.attendee_id).finish_non_exhaustive()
    }
}
