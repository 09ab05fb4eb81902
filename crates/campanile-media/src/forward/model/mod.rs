//! Encoders without pictures, for tests: what real ones promise about their layers, and nothing else.
//!
//! An [`Encoder`] tells of each [`Frame`] which others it needs, and writes the payload headers and dependency descriptors
//! from which servers and receivers learn that. Whoever tests puts the truth behind them, and compares.

mod descriptor;
mod head;

use std::collections::BTreeMap;

use super::payload::VideoCodec;

/// How a stream is coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coding {
    /// The codec.
    pub codec: VideoCodec,
    /// Sizes of each picture, each twice the one below: 1 to 3.
    pub spatial: u8,
    /// Frame rates, each twice the one below: 1 to 3.
    pub temporal: u8,
    /// Larger pictures need smaller ones in keyframes only (`L3T3_KEY`).
    pub is_key_only: bool,
    /// VP9 that tells the references of each frame, rather than their pattern with each keyframe.
    pub is_flexible: bool,
    /// Its packets carry dependency descriptors. AV1 has no other way to tell its layers.
    pub is_described: bool,
}

impl Coding {
    /// VP8 (RFC 7741) with picture ids of 15 bits and TL0PICIDX.
    pub const VP8: Coding = Coding::plain(VideoCodec::Vp8);
    /// H.264 (RFC 6184) in packetization mode 1.
    pub const H264: Coding = Coding::plain(VideoCodec::H264);
    /// VP9 (RFC 9628) with picture ids of 15 bits.
    pub const VP9: Coding = Coding::plain(VideoCodec::Vp9);
    /// AV1 (its RTP specification).
    pub const AV1: Coding = Coding::plain(VideoCodec::Av1).described();

    const fn plain(codec: VideoCodec) -> Coding {
        let (is_key_only, is_flexible, is_described) = (false, false, false);
        Coding { codec, spatial: 1, temporal: 1, is_key_only, is_flexible, is_described }
    }

    /// The same in so many layers: those of `L3T3` are 3 and 3.
    pub const fn layers(self, spatial: u8, temporal: u8) -> Coding {
        Coding { spatial, temporal, ..self }
    }

    /// The same with larger pictures that need smaller ones in keyframes only.
    pub const fn key_only(self) -> Coding {
        Coding { is_key_only: true, ..self }
    }

    /// The same, telling the references of each frame.
    pub const fn flexible(self) -> Coding {
        Coding { is_flexible: true, ..self }
    }

    /// The same with dependency descriptors.
    pub const fn described(self) -> Coding {
        Coding { is_described: true, ..self }
    }

    /// The temporal layers of successive pictures.
    fn pattern(self) -> &'static [u8] {
        match self.temporal {
            1 => &[0],
            2 => &[0, 1],
            _ => &[0, 2, 1, 2],
        }
    }
}

/// The temporal layers to whose latest frames one refers, at that place in the pattern. In every second round the middle
/// layer goes on from its last frame: nobody can begin it there.
fn referred_layers(temporal: u8, at: usize, is_sync: bool) -> &'static [u8] {
    match (temporal, at) {
        (0, _) | (2, 1) => &[0],
        (1, _) if is_sync => &[0],
        _ => &[0, 1],
    }
}

/// What a stream counts with, beside RTP's own numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// Picture id, of 15 bits.
    pub picture: u16,
    /// TL0PICIDX.
    pub tl0_picture: u8,
    /// The dependency descriptor's frame number.
    pub frame: u16,
}

/// One stream's encoder. It keeps to what real ones promise: at sync frames, switching points and switch indications.
#[derive(Clone, Debug)]
pub struct Encoder {
    coding: Coding,
    /// Width and height of the largest pictures.
    size: (u16, u16),
    /// How many sizes are sent at the moment.
    spatial: u8,
    /// Those of the last picture.
    numbers: Numbers,
    since_keyframe: usize,
    wants_keyframe: bool,
    /// The next picture says which decode targets are left.
    says_active: bool,
    /// The latest frame of each spatial and temporal layer.
    latest: BTreeMap<(u8, u8), Latest>,
}

#[derive(Clone, Copy, Debug)]
struct Latest {
    id: u32,
    numbers: Numbers,
}

/// One frame: one size of one picture.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its own number among all of a test.
    pub id: u32,
    /// Which size.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// It is part of a keyframe.
    pub is_key: bool,
    /// The largest size of its picture.
    pub ends_picture: bool,
    /// The frames without which it cannot be decoded, at once or by those that they need.
    pub needs: Vec<u32>,
    coding: Coding,
    size: (u16, u16),
    numbers: Numbers,
    /// Its place in the pattern.
    at: usize,
    is_sync: bool,
    /// Which sizes are sent, where that is to be said: so many.
    says_active: Option<u8>,
    /// How many pictures back it refers.
    picture_differences: Vec<u16>,
    /// How many frames back.
    frame_differences: Vec<u16>,
}

/// The beginning of one packet of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// It is the last of its picture.
    pub marker: bool,
    /// The payload's descriptor, and of the frame as much as a server looks at.
    pub head: Vec<u8>,
    /// The dependency descriptor, if there is one; else empty.
    pub descriptor: Vec<u8>,
}

impl Encoder {
    /// An encoder that begins with a keyframe under these numbers. Width and height are those of the largest pictures.
    pub fn new(coding: Coding, size: (u16, u16), first: Numbers) -> Encoder {
        let numbers = Numbers {
            picture: first.picture.wrapping_sub(1) & 0x7fff,
            tl0_picture: first.tl0_picture.wrapping_sub(1),
            frame: first.frame.wrapping_sub(1),
        };
        Encoder {
            coding,
            size,
            spatial: coding.spatial,
            numbers,
            since_keyframe: 0,
            wants_keyframe: true,
            says_active: false,
            latest: BTreeMap::new(),
        }
    }

    /// The next picture is a keyframe.
    pub fn want_keyframe(&mut self) {
        self.wants_keyframe = true;
    }

    /// Whether it is.
    pub fn wants_keyframe(&self) -> bool {
        self.wants_keyframe
    }

    /// How many sizes are sent at the moment.
    pub fn spatial(&self) -> u8 {
        self.spatial
    }

    /// Sends so many sizes from now on, at most those of its coding. A new one takes a keyframe.
    pub fn send_sizes(&mut self, spatial: u8) {
        self.spatial = spatial.min(self.coding.spatial);
        self.wants_keyframe = true;
    }

    /// Stops sending its largest picture, all of it if that is the only one. That takes no keyframe.
    pub fn give_up_top(&mut self) {
        self.spatial = self.spatial.saturating_sub(1);
        self.says_active = true;
    }

    /// Pictures of this size from its next keyframe on, which is the next picture.
    pub fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.wants_keyframe = true;
    }

    /// The frames of the next picture, the smallest size first, under ids from this one on.
    pub fn picture(&mut self, first_id: u32) -> Vec<Frame> {
        let is_key = std::mem::take(&mut self.wants_keyframe);
        if is_key {
            self.since_keyframe = 0;
            self.latest.clear();
        }
        let pattern = self.coding.pattern();
        let (round, at) = (self.since_keyframe / pattern.len(), self.since_keyframe % pattern.len());
        let (temporal, is_sync) = (pattern[at], round.is_multiple_of(2));
        self.numbers.picture = (self.numbers.picture + 1) & 0x7fff;
        if temporal == 0 {
            self.numbers.tl0_picture = self.numbers.tl0_picture.wrapping_add(1);
        }
        let states_active = self.says_active || is_key && self.spatial < self.coding.spatial;
        let mut frames = Vec::new();
        for spatial in 0..self.spatial {
            self.numbers.frame = self.numbers.frame.wrapping_add(1);
            let (id, numbers) = (first_id + u32::from(spatial), self.numbers);
            let referred = referred_layers(temporal, at, is_sync).iter();
            let mut references: Vec<Latest> =
                referred.filter_map(|layer| self.latest.get(&(spatial, *layer))).copied().collect();
            let picture_differences = references
                .iter()
                .map(|of| numbers.picture.wrapping_sub(of.numbers.picture) & 0x7fff)
                .collect();
            if spatial > 0 && (is_key || !self.coding.is_key_only) {
                references.extend(self.latest.get(&(spatial - 1, temporal)));
            }
            self.latest.insert((spatial, temporal), Latest { id, numbers });
            let frame_difference = |of: &Latest| numbers.frame.wrapping_sub(of.numbers.frame);
            frames.push(Frame {
                id,
                spatial,
                temporal,
                is_key,
                ends_picture: spatial + 1 == self.spatial,
                needs: references.iter().map(|of| of.id).collect(),
                coding: self.coding,
                size: self.size,
                numbers,
                at,
                is_sync,
                says_active: states_active.then_some(self.spatial),
                picture_differences,
                frame_differences: references.iter().map(frame_difference).collect(),
            });
        }
        self.says_active = false;
        self.since_keyframe += 1;
        frames
    }
}

impl Frame {
    /// The packet at this place of so many.
    pub fn packet(&self, at: u16, of: u16) -> Packet {
        let (first, last) = (at == 0, at + 1 == of);
        let descriptor =
            if self.coding.is_described { descriptor::write(self, first, last) } else { Vec::new() };
        Packet { marker: last && self.ends_picture, head: head::write(self, first, last), descriptor }
    }

    /// Width and height of a size's pictures.
    fn size_of(&self, spatial: u8) -> (u16, u16) {
        let halvings = self.coding.spatial - 1 - spatial;
        (self.size.0 >> halvings, self.size.1 >> halvings)
    }
}
