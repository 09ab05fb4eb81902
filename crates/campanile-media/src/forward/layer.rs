//! What a subscriber can get of a source, and which of it it should get.

use crate::units::Bitrate;

/// Spatial layers that a codec can count (AV1 and the dependency descriptor; VP9 has room for more, nobody sends them).
pub(super) const SPATIAL_LAYERS: usize = 4;
/// Temporal layers that a codec can count.
pub(super) const TEMPORAL_LAYERS: usize = 8;

/// What a forwarder is told to send: one stream of a source, up to a spatial and a temporal layer of it, both counted
/// from 0. What the stream does not have is no matter: the next lower is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layer {
    /// The stream's id: a simulcast layer's, or the only one's.
    pub stream: u32,
    /// The highest spatial layer: the size of the picture.
    pub spatial: u8,
    /// The highest temporal layer: pictures per second.
    pub temporal: u8,
}

impl Layer {
    /// All that a stream has.
    pub const fn whole(stream: u32) -> Layer {
        Layer { stream, spatial: SPATIAL_LAYERS as u8 - 1, temporal: TEMPORAL_LAYERS as u8 - 1 }
    }

    /// Whether it has the largest pictures of its stream.
    pub const fn is_whole_size(self) -> bool {
        self.spatial == Layer::whole(self.stream).spatial
    }
}

/// One step of a source's *ladder*: what can be sent to a subscriber, and what that takes. A ladder goes from the
/// lowest rung to the highest; a higher one is a better picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rung {
    /// What to tell the forwarder.
    pub layer: Layer,
    /// As measured over the last second, never more than its publisher announced; what was announced until then.
    pub bitrate: Bitrate,
    /// What a picture of this size is meant to take, whatever it shows: as announced, or a part of that for a smaller
    /// size. A client's wish goes by it, since a large picture that stands still is no smaller for that.
    pub nominal: Bitrate,
    /// Whether packets have been coming lately.
    pub flowing: bool,
}

/// What a subscriber asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// The client chose: exactly this stream.
    Stream(u32),
    /// The server chooses: the best within this rate.
    Within(Bitrate),
}

/// The layer to forward, of a ladder; `None` when nothing flows.
///
/// A wish that cannot be met now gets the next best: a stream announced but not flowing would be a black tile. Below
/// the wish the highest, else (everything flowing is above the wish) the lowest, since some picture beats none.
pub fn choose_layer(ladder: &[Rung], wish: Wish) -> Option<Layer> {
    let limit = match wish {
        Wish::Within(limit) => limit,
        Wish::Stream(wanted) => match ladder.iter().rfind(|rung| rung.layer.stream == wanted) {
            Some(rung) if rung.flowing => return Some(rung.layer),
            Some(rung) => rung.nominal,
            None => Bitrate::bps(u64::MAX),
        },
    };
    let mut flowing = ladder.iter().filter(|rung| rung.flowing);
    let best = flowing.clone().rfind(|rung| rung.nominal <= limit);
    best.or_else(|| flowing.next()).map(|rung| rung.layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_flowing_rung_within_the_wish() {
        fn check(flowing: [bool; 4], wish: Wish, expected: Option<(u32, u8)>) {
            let rungs = [(11, 0, 150), (11, 1, 300), (12, 1, 600), (13, 1, 1200)].into_iter().zip(flowing);
            let ladder: Vec<_> = rungs
                .map(|((stream, temporal, kbps), flowing)| Rung {
                    layer: Layer { stream, spatial: 0, temporal },
                    bitrate: Bitrate::kbps(50),
                    nominal: Bitrate::kbps(kbps),
                    flowing,
                })
                .collect();
            let chosen = choose_layer(&ladder, wish).map(|layer| (layer.stream, layer.temporal));
            assert_eq!(chosen, expected, "{flowing:?} {wish:?}");
        }
        let within = |kbps| Wish::Within(Bitrate::kbps(kbps));
        check([true; 4], within(10_000), Some((13, 1)));
        check([true; 4], within(1200), Some((13, 1)));
        check([true; 4], within(1199), Some((12, 1)));
        check([true; 4], within(300), Some((11, 1)));
        check([true; 4], within(200), Some((11, 0)));
        check([true; 4], within(100), Some((11, 0)));
        check([true, true, true, false], within(1500), Some((12, 1)));
        check([false, false, false, true], within(300), Some((13, 1)));
        check([false; 4], within(1500), None);
        check([true; 4], Wish::Stream(11), Some((11, 1)));
        check([true; 4], Wish::Stream(12), Some((12, 1)));
        check([true, true, false, true], Wish::Stream(12), Some((11, 1)));
        check([false, false, false, true], Wish::Stream(12), Some((13, 1)));
        check([true, true, true, false], Wish::Stream(99), Some((12, 1)));
    }
}
