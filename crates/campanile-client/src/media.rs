//! What is sent and received: Opus packets, encoded video frames, and the sources that a session can send by itself.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

/// Samples of one Opus packet: 20 ms at 48 kHz.
pub const AUDIO_PACKET_SAMPLES: u64 = 960;
/// Ticks of the RTP clock of video in one second.
pub const VIDEO_CLOCK_HZ: u64 = 90_000;

/// How a video frame is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// VP8.
    Vp8,
    /// H.264, as Annex B: each NAL unit after a start code.
    H264,
    /// VP9; all spatial layers of one moment together, as a superframe.
    Vp9,
    /// AV1, as OBUs that tell their sizes.
    Av1,
}

/// Something received.
#[derive(Clone, Debug)]
pub enum Media {
    /// One packet of the meeting's sound: everybody's but one's own.
    Audio(AudioPacket),
    /// One whole encoded frame.
    Video(VideoFrame),
    /// From the light engine, which looks no further: one RTP packet's header.
    Header(PacketHeader),
}

/// One Opus packet as received.
#[derive(Clone, Debug)]
pub struct AudioPacket {
    /// When it came.
    pub arrival: Instant,
    /// Its place; a gap is a loss.
    pub sequence: u64,
    /// In samples at 48 kHz.
    pub time: u64,
    /// The packet.
    pub payload: Arc<[u8]>,
}

/// One encoded frame as received.
#[derive(Clone, Debug)]
pub struct VideoFrame {
    /// When its first packet came.
    pub arrival: Instant,
    /// The stream of the index that was subscribed to; under it the service may send any layer of its group.
    pub stream_id: u32,
    /// Its encoding.
    pub codec: Codec,
    /// Can be decoded without any frame before it.
    pub keyframe: bool,
    /// No packet is missing between the frame before and this one.
    pub contiguous: bool,
    /// The RTP packets that made it.
    pub packets: RangeInclusive<u64>,
    /// In ticks of 90 kHz.
    pub time: u64,
    /// The frame.
    pub data: Arc<[u8]>,
}

/// What the light engine sees of a packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketHeader {
    /// When it came.
    pub arrival: Instant,
    /// The stream subscribed to; `None` is the audio.
    pub stream_id: Option<u32>,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marks a frame's last packet.
    pub marker: bool,
    /// Bytes of the packet.
    pub bytes: usize,
}

/// What a session says by itself, 50 packets a second.
#[derive(Clone, Debug, Default)]
pub enum AudioSource {
    /// Nothing; the application sends packets when it has some.
    #[default]
    Application,
    /// What a muted browser sends: silence, or next to nothing if the service asks for that (DTX).
    Silence,
    /// These packets, over and over.
    Loop(AudioLoop),
}

/// Opus packets of 20 ms, encoded once and sent many times.
#[derive(Clone, Debug)]
pub struct AudioLoop {
    /// At least one.
    pub packets: Arc<[Arc<[u8]>]>,
    /// Their level as RFC 6464 gives it: 0 is loudest, 127 silent.
    pub level_db: u8,
}

/// How a stream is layered: what WebRTC calls L3T3 is three spatial and three temporal layers. Three temporal ones come
/// in the order 0 2 1 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalability {
    /// Pictures of growing size within each frame.
    pub spatial: u8,
    /// Frame rates, each twice the one below.
    pub temporal: u8,
}

impl Scalability {
    /// One layer only.
    pub const NONE: Scalability = Scalability { spatial: 1, temporal: 1 };
}

/// One simulcast layer, or the whole of a camera that has but one.
#[derive(Clone, Debug)]
pub struct VideoLayer {
    /// `a=rid`; `None` for the only layer.
    pub rid: Option<&'static str>,
    /// What is announced.
    pub max_bitrate_kbps: u32,
    /// Pixels across and down, of the largest spatial layer.
    pub size: (u16, u16),
    /// Layers within it.
    pub scalability: Scalability,
    /// Frames to send over and over, the first one a keyframe; empty when the application sends them.
    pub frames: Arc<[Arc<[u8]>]>,
}

/// A camera or content share to publish.
#[derive(Clone, Debug)]
pub struct VideoSource {
    /// Encoding of all layers.
    pub codec: Codec,
    /// From low to high, at least one.
    pub layers: Vec<VideoLayer>,
    /// Frames per second.
    pub framerate: u32,
    /// Adds to each frame who sends it, its number and when ([`crate::stamp`]); decoders do not notice.
    pub stamp: Option<u32>,
}

/// Which remote videos to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subscriptions {
    /// Only what the application asks for.
    #[default]
    Chosen,
    /// Each source's largest stream, up to so many.
    Highest(usize),
    /// Each source's smallest stream, up to so many.
    Lowest(usize),
}
