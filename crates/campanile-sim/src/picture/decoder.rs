//! What a decoder has, and whether a frame can be decoded with that: by the numbers that every receiver sees, in the way
//! in which browsers conclude from them.

use std::collections::VecDeque;

use super::received::{Numbers, Packet};

/// Frames remembered: farther back none refers.
const REMEMBERED: usize = 200;
/// Picture ids have 15 bits.
const PICTURE_MASK: u16 = 0x7fff;

/// The frames decoded since the last keyframe.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    decoded: VecDeque<Decoded>,
    /// How VP9's pictures refer to others, told with the keyframe.
    pattern: Vec<Vec<u8>>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    pub(super) numbers: Numbers,
    pub(super) temporal: u8,
    spatial: u8,
    /// Its place in VP9's pattern.
    place: usize,
    /// What it truly was: its number in its layer.
    layer: u8,
    frame: u32,
}

impl Decoder {
    /// A frame as decoded, if it can be: with what has been, and what of its picture is `before` it. `follows` is whether it
    /// comes right after the last.
    pub(super) fn decodes(&self, before: &[Decoded], packet: &Packet, follows: bool) -> Option<Decoded> {
        let all = || self.decoded.iter().chain(before).rev();
        let mut place = 0;
        let can = packet.keyframe
            || match packet.numbers {
                Numbers::None => follows,
                Numbers::Described { frame, references, refers_far } => {
                    let mut referred = (0..64).filter(|bit| references >> bit & 1 == 1);
                    let is_known = |back: u16| all().any(|of| of.is_frame(frame.wrapping_sub(back + 1)));
                    !refers_far && referred.all(is_known)
                }
                Numbers::Vp8 { picture, tl0_picture, is_sync } => {
                    let base = if packet.temporal == 0 { tl0_picture.wrapping_sub(1) } else { tl0_picture };
                    let has_base = all().any(|of| of.is_base(base));
                    has_base && (packet.temporal == 0 || is_sync || self.lacks_none(picture, packet.temporal))
                }
                Numbers::Vp9 { picture, leans_on_lower, is_predicted, told, tl0_picture } => {
                    let is_known = |picture: u16, spatial: u8| {
                        all().any(|of| of.picture() == Some(picture) && of.spatial == spatial)
                    };
                    let back = |back: u8| picture.wrapping_sub(back.into()) & PICTURE_MASK;
                    let has_lower = !leans_on_lower || is_known(picture, packet.spatial - 1);
                    let base = tl0_picture
                        .map(|number| if packet.temporal == 0 { number.wrapping_sub(1) } else { number });
                    let has_pictures = match base.filter(|_| is_predicted) {
                        None => {
                            told.iter().filter(|of| **of > 0).all(|of| is_known(back(*of), packet.spatial))
                        }
                        Some(base) => all().find(|of| of.is_base(base)).is_some_and(|base| {
                            let since = picture.wrapping_sub(base.picture().unwrap_or(0)) & PICTURE_MASK;
                            place = (base.place + usize::from(since)) % self.pattern.len().max(1);
                            let referred = self.pattern.get(place);
                            referred.is_some_and(|of| of.iter().all(|of| is_known(back(*of), packet.spatial)))
                        }),
                    };
                    has_lower && has_pictures
                }
            };
        let (spatial, temporal, numbers) = (packet.spatial, packet.temporal, packet.numbers);
        let (layer, frame) = (packet.truth.layer, packet.truth.frame);
        can.then_some(Decoded { numbers, temporal, spatial, place, layer, frame })
    }

    /// Whether no picture of VP8 is missing since the last of each temporal layer up to this: a frame that is no sync frame
    /// may refer to them all.
    fn lacks_none(&self, picture: u16, temporal: u8) -> bool {
        let last_of = |layer| self.decoded.iter().rposition(|of| of.temporal == layer);
        let places: Option<Vec<usize>> = (0..=temporal).map(last_of).collect();
        let Some(first) = places.and_then(|places| places.into_iter().min()) else { return false };
        let since = picture.wrapping_sub(self.decoded[first].picture().unwrap_or(0)) & PICTURE_MASK;
        usize::from(since) == self.decoded.len() - first
    }

    /// Takes the frames of a picture; `first` is the first packet of them.
    pub(super) fn take(&mut self, first: &Packet, frames: &[Decoded]) {
        if first.keyframe {
            self.decoded.clear();
            self.pattern.clone_from(&first.pattern);
        }
        self.decoded.extend(frames);
        let excess = self.decoded.len().saturating_sub(REMEMBERED);
        self.decoded.drain(..excess);
    }

    /// Whether the decoder truly has had this frame of a layer, or it is among these.
    pub(super) fn truly_has(&self, frames: &[Decoded], layer: u8, frame: u32) -> bool {
        self.decoded.iter().chain(frames).any(|of| (of.layer, of.frame) == (layer, frame))
    }
}

impl Decoded {
    pub(super) fn picture(&self) -> Option<u16> {
        match self.numbers {
            Numbers::Vp8 { picture, .. } | Numbers::Vp9 { picture, .. } => Some(picture),
            _ => None,
        }
    }

    pub(super) fn tl0_picture(&self) -> Option<u8> {
        match self.numbers {
            Numbers::Vp8 { tl0_picture, .. } => Some(tl0_picture),
            Numbers::Vp9 { tl0_picture, .. } => tl0_picture,
            _ => None,
        }
    }

    fn is_frame(&self, number: u16) -> bool {
        matches!(self.numbers, Numbers::Described { frame, .. } if frame == number)
    }

    /// It is of the lowest temporal layer, and counted so.
    fn is_base(&self, number: u8) -> bool {
        self.temporal == 0 && self.tl0_picture() == Some(number)
    }
}
