//! The media connection, without socket, clock or task: offers in, datagrams in and out, media in and out.
//!
//! Two of them behind one face. *Full* is str0m: all that a browser does short of codecs, and none of the server's own
//! code, so that each tests the other. *Light* is a real ICE and DTLS handshake and then no more than a look at each
//! packet's header: so that a load generator costs less than what it measures.

mod full;
mod light;

use std::net::SocketAddr;
use std::time::Instant;

use campanile_wire::signaling::TrackMapping;

use self::full::Full;
use self::light::Light;
use crate::media::{Media, VideoSource};

/// How a session treats media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Everything.
    #[default]
    Full,
    /// Receives only by counting: one packet in [`Light`](EngineKind::Light)'s number is decrypted and checked. Sends
    /// audio and video, but nothing again: it is for local networks that lose nothing.
    Light {
        /// One in how many; 0 for none.
        verify_one_in: u32,
    },
}

/// What a connection shall carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) audio: bool,
    pub(crate) camera: Option<&'a VideoSource>,
    /// Streams of the index.
    pub(crate) receive: &'a [u32],
}

/// An offer for a wish.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) sdp: String,
    /// For each video section in order: the stream wanted there, or 0.
    pub(crate) receive_stream_ids: Vec<u32>,
    /// The mid that each wanted stream will come on.
    pub(crate) mids: Vec<(u32, String)>,
}

pub(crate) enum Output {
    Transmit {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// ICE and DTLS are done.
    Connected,
    /// Neither will be.
    Failed(&'static str),
    Media(Media),
    /// Someone needs a keyframe of our layer, by its place in the source.
    KeyframeWanted {
        rid: Option<String>,
    },
}

/// One packet of audio to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioOut<'a> {
    pub(crate) time: u64,
    pub(crate) level_db: u8,
    pub(crate) payload: &'a [u8],
}

/// One frame of video to send.
#[derive(Clone, Debug)]
pub(crate) struct VideoOut {
    pub(crate) rid: Option<&'static str>,
    pub(crate) codec: crate::media::Codec,
    pub(crate) time: u64,
    pub(crate) data: std::sync::Arc<[u8]>,
}

/// What an engine counted that no media event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Light engine: packets decrypted as a check.
    pub verified: u64,
    /// Light engine: packets that failed that check.
    pub unauthentic: u64,
    /// Light engine: packets of video with a dependency descriptor, as AV1's have it.
    pub described: u64,
    /// Datagrams that were nothing expected.
    pub unknown: u64,
}

pub(crate) enum Engine {
    Full(Box<Full>),
    Light(Box<Light>),
}

macro_rules! each {
    ($self:expr, $engine:ident => $body:expr) => {
        match $self {
            Engine::Full($engine) => $body,
            Engine::Light($engine) => $body,
        }
    };
}

impl Engine {
    pub(crate) fn new(kind: EngineKind, now: Instant, local: SocketAddr) -> Result<Engine, String> {
        Ok(match kind {
            EngineKind::Full => Engine::Full(Box::new(Full::new(now, local)?)),
            EngineKind::Light { verify_one_in } => {
                Engine::Light(Box::new(Light::new(now, local, verify_one_in)?))
            }
        })
    }

    /// An offer that adds to the sections of the last one, or `None` when nothing changes. Only when none is open.
    pub(crate) fn offer(&mut self, now: Instant, wish: &Wish<'_>) -> Option<Offer> {
        each!(self, engine => engine.offer(now, wish))
    }

    /// The answer to the open offer.
    pub(crate) fn answer(&mut self, now: Instant, sdp: &str, tracks: &[TrackMapping]) -> Result<(), String> {
        each!(self, engine => engine.answer(now, sdp, tracks))
    }

    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        each!(self, engine => engine.receive(now, from, bytes))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        each!(self, engine => engine.handle_timeout(now))
    }

    /// To be called until `None` after everything else.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        each!(self, engine => engine.poll())
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        each!(self, engine => engine.poll_timeout())
    }

    pub(crate) fn send_audio(&mut self, now: Instant, audio: AudioOut<'_>) {
        each!(self, engine => engine.send_audio(now, audio))
    }

    pub(crate) fn send_video(&mut self, now: Instant, video: VideoOut) {
        match self {
            Engine::Full(engine) => engine.send_video(now, video),
            Engine::Light(engine) => engine.send_video(now, &video),
        }
    }

    pub(crate) fn request_keyframe(&mut self, now: Instant, stream_id: u32) {
        match self {
            Engine::Full(engine) => engine.request_keyframe(stream_id),
            Engine::Light(engine) => engine.request_keyframe(now, stream_id),
        }
    }

    pub(crate) fn counters(&self) -> EngineCounters {
        each!(self, engine => engine.counters())
    }
}
