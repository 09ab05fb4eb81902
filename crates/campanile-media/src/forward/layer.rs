//! Which of a source's streams a subscriber should get.

use crate::units::Bitrate;

/// What a subscriber asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// The client chose: exactly this stream.
    Stream(u32),
    /// The server chooses: the best stream within this rate.
    Within(Bitrate),
}

/// One stream of a source, as far as the choice needs to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerState {
    /// Its stream id.
    pub stream_id: u32,
    /// The rate that its publisher announced as the most it will take.
    pub max_bitrate: Bitrate,
    /// Whether packets have been coming lately.
    pub flowing: bool,
}

/// The stream to forward; `None` when nothing flows.
///
/// A wish that cannot be met now gets the next best: a stream announced but not flowing would be a black tile. Below
/// the wish the highest, else (everything flowing is above the wish) the lowest, since some picture beats none.
pub fn choose_layer(layers: impl Iterator<Item = LayerState> + Clone, wish: Wish) -> Option<u32> {
    let limit = match wish {
        Wish::Within(limit) => limit,
        Wish::Stream(wanted) => match layers.clone().find(|layer| layer.stream_id == wanted) {
            Some(layer) if layer.flowing => return Some(wanted),
            Some(layer) => layer.max_bitrate,
            None => Bitrate::bps(u64::MAX),
        },
    };
    let flowing = layers.filter(|layer| layer.flowing);
    let fits =
        flowing.clone().filter(|layer| layer.max_bitrate <= limit).max_by_key(|layer| layer.max_bitrate);
    fits.or_else(|| flowing.min_by_key(|layer| layer.max_bitrate)).map(|layer| layer.stream_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_flowing_layer_within_the_wish() {
        fn check(flowing: [bool; 3], wish: Wish, expected: Option<u32>) {
            let layers = [(11, 300), (12, 600), (13, 1200)].into_iter().zip(flowing).map(
                |((stream_id, kbps), flowing)| LayerState {
                    stream_id,
                    max_bitrate: Bitrate::kbps(kbps),
                    flowing,
                },
            );
            assert_eq!(choose_layer(layers, wish), expected, "{flowing:?} {wish:?}");
        }
        let within = |kbps| Wish::Within(Bitrate::kbps(kbps));
        check([true; 3], within(10_000), Some(13));
        check([true; 3], within(1500), Some(13));
        check([true; 3], within(600), Some(12));
        check([true; 3], within(300), Some(11));
        check([true; 3], within(100), Some(11));
        check([true, true, false], within(1500), Some(12));
        check([false, false, true], within(300), Some(13));
        check([false; 3], within(1500), None);
        check([true; 3], Wish::Stream(12), Some(12));
        check([true, false, true], Wish::Stream(12), Some(11));
        check([false, false, true], Wish::Stream(12), Some(13));
        check([true, true, false], Wish::Stream(99), Some(12));
    }
}
