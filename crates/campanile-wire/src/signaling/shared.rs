//! What frames of both directions are made of.

use std::fmt;

use super::{FrameError, NAME_BYTES_MAX, name, present, proto};

/// An enum whose discriminants are the wire's numbers.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)+ }

        impl $name {
            /// The number on the wire.
            pub const fn to_wire(self) -> i32 {
                self as i32
            }

            /// `None` for a number this schema does not have; proto2 reads such a field as absent.
            pub const fn from_wire(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

wire_enum! {
    /// Who chooses the layers that a client receives, and how. Ordered by how much the server does.
    Adaption {
        /// The client chooses. Clients read an absent value of JOIN_ACK as this one, and it is *not* neutral there.
        Default = 1,
        /// The client chooses, without help.
        None = 2,
        /// The client chooses; the server may probe for bandwidth with padding.
        BandwidthProbing = 3,
        /// The server chooses within the client's preferences, and pauses what does not fit.
        BandwidthProbingAndVideoQuality = 4,
    }
}

wire_enum! {
    /// Which ways video flows, seen from the client.
    Duplex {
        /// The client only receives: its camera is off.
        Receive = 1,
        /// The client only sends.
        Send = 2,
        /// Both.
        Both = 3,
    }
}

wire_enum! {
    /// What a stream carries.
    MediaType {
        /// A microphone, or what a content share sounds like.
        Audio = 1,
        /// A camera or content share.
        Video = 2,
    }
}

wire_enum! {
    /// What to give up first when a subscription's bandwidth is short.
    QualityPreference {
        /// Some of both.
        Balanced = 1,
        /// Resolution goes first.
        MaintainFramerate = 2,
        /// Frame rate goes first.
        MaintainResolution = 3,
    }
}

wire_enum! {
    /// A video codec that a client can decode.
    VideoCodec {
        /// VP8.
        Vp8 = 1,
        /// H.264 baseline profile.
        H264Baseline = 2,
        /// H.264 constrained baseline profile.
        H264ConstrainedBaseline = 3,
        /// H.264 main profile.
        H264Main = 4,
        /// H.264 high profile.
        H264High = 5,
        /// H.264 constrained high profile.
        H264ConstrainedHigh = 6,
        /// VP9 profile 0.
        Vp9Profile0 = 8,
        /// AV1 main profile.
        Av1Main = 11,
    }
}

wire_enum! {
    /// How well the service hears an attendee.
    SignalStrength {
        /// Not at all.
        Lost = 0,
        /// With losses.
        Weak = 1,
        /// Well.
        Full = 2,
    }
}

wire_enum! {
    /// How loud a notification is in the client's log.
    NotificationLevel {
        /// Worth knowing.
        Info = 1,
        /// Something got worse.
        Warning = 2,
        /// Something failed.
        Error = 3,
    }
}

/// A password or token: never in a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// An SDP offer or answer. `Debug` shows only its size: it holds ICE passwords and addresses.
#[derive(Clone, PartialEq, Eq)]
pub enum Sdp {
    /// The text, lines ending in CRLF.
    Plain(String),
    /// Raw DEFLATE (RFC 1951, no zlib header) of the UTF-8 text, perhaps against the previous text of the same socket
    /// as preset dictionary. Not inflated here: the size it grows to must be bounded by who does.
    Deflated(Vec<u8>),
}

/// The offer of a SUBSCRIBE.
pub type SdpOffer = Sdp;

/// The answer of a SUBSCRIBE_ACK.
pub type SdpAnswer = Sdp;

impl Sdp {
    /// A non-empty compressed text wins, as it does in the clients.
    pub(super) fn from_proto(plain: Option<String>, deflated: Option<Vec<u8>>) -> Option<Self> {
        match (deflated, plain) {
            (Some(bytes), _) if !bytes.is_empty() => Some(Self::Deflated(bytes)),
            (_, Some(text)) if !text.is_empty() => Some(Self::Plain(text)),
            _ => None,
        }
    }

    pub(super) fn to_proto(&self) -> (Option<String>, Option<Vec<u8>>) {
        match self {
            Self::Plain(text) => (Some(text.clone()), None),
            Self::Deflated(bytes) => (None, Some(bytes.clone())),
        }
    }
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "Plain(<{} bytes>)", text.len()),
            Self::Deflated(bytes) => write!(f, "Deflated(<{} bytes>)", bytes.len()),
        }
    }
}

/// One stream: what a client sends (SUBSCRIBE), or what is on offer (INDEX). Numbers are 0 and texts empty when unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescriptor {
    /// The stream. In an INDEX above 0 and unique in the meeting; in a SUBSCRIBE the client's own constants, the ids
    /// last allocated, or 0.
    pub stream_id: u32,
    /// The group: all streams of one source share it. In an INDEX, growing with each publication.
    pub group_id: u32,
    /// Frames per second, at most.
    pub framerate: u32,
    /// The most the stream takes. In a SUBSCRIBE, 0 is a simulcast layer that is switched off.
    pub max_bitrate_kbps: u32,
    /// What the stream takes on average; 0 reads as its maximum.
    pub avg_bitrate_bps: u32,
    /// The sender's name for the track.
    pub track_label: String,
    /// Whose stream this is; ends in `#content` for a content share.
    pub attendee_id: String,
    /// The caller's own name for that attendee.
    pub external_user_id: String,
    /// Audio or video. Always written: clients read an absent one as audio.
    pub media_type: MediaType,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl StreamDescriptor {
    pub(super) fn from_proto(stream: proto::SdkStreamDescriptor) -> Result<Self, FrameError> {
        Ok(Self {
            stream_id: stream.stream_id(),
            group_id: stream.group_id(),
            framerate: stream.framerate(),
            max_bitrate_kbps: stream.max_bitrate_kbps(),
            avg_bitrate_bps: stream.avg_bitrate_bps(),
            media_type: stream.media_type.and_then(MediaType::from_wire).unwrap_or(MediaType::Audio),
            width: stream.width(),
            height: stream.height(),
            track_label: name(stream.track_label, NAME_BYTES_MAX, "track_label")?,
            attendee_id: name(stream.attendee_id, NAME_BYTES_MAX, "attendee_id")?,
            external_user_id: name(stream.external_user_id, NAME_BYTES_MAX, "external_user_id")?,
        })
    }

    pub(super) fn to_proto(&self) -> proto::SdkStreamDescriptor {
        proto::SdkStreamDescriptor {
            stream_id: Some(self.stream_id),
            framerate: Some(self.framerate),
            max_bitrate_kbps: Some(self.max_bitrate_kbps),
            track_label: present(&self.track_label),
            group_id: Some(self.group_id),
            avg_bitrate_bps: Some(self.avg_bitrate_bps),
            attendee_id: present(&self.attendee_id),
            media_type: Some(self.media_type.to_wire()),
            external_user_id: present(&self.external_user_id),
            width: Some(self.width),
            height: Some(self.height),
        }
    }
}

/// One data message as its sender wrote it. `Debug` shows only the size of its body.
#[derive(Clone, PartialEq, Eq)]
pub struct DataMessage {
    /// What it is about; not checked here.
    pub topic: String,
    /// The body.
    pub data: Vec<u8>,
    /// How long late joiners should still receive it; 0 for not at all.
    pub lifetime_ms: u32,
}

impl fmt::Debug for DataMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataMessage({:?}, <{} bytes>, {} ms)", self.topic, self.data.len(), self.lifetime_ms)
    }
}
