//! How much each layer of a stream takes.

use std::time::{Duration, Instant};

use super::layer::{SPATIAL_LAYERS, TEMPORAL_LAYERS};
use super::payload::PayloadInfo;
use crate::units::Bitrate;

/// Rates are measured over windows of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// Windows that what goes on must have filled: more than a burst that ends within two seconds does.
const STEADY_WINDOWS: usize = 3;
/// Cells: one for each spatial layer and each temporal layer of it.
const CELLS: usize = SPATIAL_LAYERS * TEMPORAL_LAYERS;

/// Measures a stream by layers, over the last full second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    window_start: Option<Instant>,
    /// Bytes of frames of exactly this layer, in the window under way.
    bytes: [u64; CELLS],
    /// The same as rates, in the last full window; `None` where there was no such frame.
    measured: [Option<Bitrate>; CELLS],
    /// All of it in the last windows, the latest first; `None` where there was none yet.
    totals: [Option<Bitrate>; STEADY_WINDOWS],
}

impl Rates {
    pub(super) fn count(&mut self, now: Instant, info: &PayloadInfo, bytes: usize) {
        let start = *self.window_start.get_or_insert(now);
        self.bytes[cell(info.spatial, info.temporal)] += bytes as u64;
        let span = now.saturating_duration_since(start);
        if span >= WINDOW {
            self.measured = self.bytes.map(|bytes| (bytes > 0).then(|| Bitrate::measured(bytes, span)));
            self.totals.rotate_right(1);
            self.totals[0] = Some(self.total());
            self.bytes = [0; CELLS];
            self.window_start = Some(now);
        }
    }

    /// The rate of everything up to these layers.
    pub(super) fn up_to(&self, spatial: u8, temporal: u8) -> Bitrate {
        let cells = (0..=spatial).flat_map(|s| (0..=temporal).map(move |t| cell(s, t)));
        Bitrate::bps(cells.filter_map(|cell| self.measured[cell]).map(Bitrate::as_bps).sum())
    }

    /// The rate of the whole stream.
    pub(super) fn total(&self) -> Bitrate {
        Bitrate::bps(self.measured.iter().flatten().map(|rate| rate.as_bps()).sum())
    }

    /// What the whole stream has taken at least in each of the last few seconds; `None` before the first.
    pub(super) fn steady(&self) -> Option<Bitrate> {
        self.totals.iter().flatten().min().copied()
    }

    /// The highest spatial layer there is, and the highest temporal one of any.
    pub(super) fn highest(&self) -> (u8, u8) {
        let there = |s: usize, t: usize| self.measured[s * TEMPORAL_LAYERS + t].is_some();
        let spatial = (0..SPATIAL_LAYERS).rev().find(|s| (0..TEMPORAL_LAYERS).any(|t| there(*s, t)));
        let temporal = (0..TEMPORAL_LAYERS).rev().find(|t| (0..SPATIAL_LAYERS).any(|s| there(s, *t)));
        (spatial.unwrap_or(0) as u8, temporal.unwrap_or(0) as u8)
    }
}

fn cell(spatial: u8, temporal: u8) -> usize {
    let (spatial, temporal) = (usize::from(spatial), usize::from(temporal));
    spatial.min(SPATIAL_LAYERS - 1) * TEMPORAL_LAYERS + temporal.min(TEMPORAL_LAYERS - 1)
}
