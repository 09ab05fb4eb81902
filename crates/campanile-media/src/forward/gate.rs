//! What one subscriber is let have of a stream, and where in the stream that can change.

use super::dependency::Structure;
use super::history::StoredPacket;
use super::layer::Layer;
use super::payload::PayloadInfo;

/// Lets through the frames of some layers, or of one decode target where frames are described.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gate {
    pub(super) layer: Layer,
    target: Option<u8>,
}

impl Gate {
    /// As wished for: with a keyframe everything can begin.
    pub(super) fn at_keyframe(wished: Layer, packet: &StoredPacket) -> Gate {
        match (&packet.structure, packet.info.described) {
            (Some(structure), Some(described)) => {
                let target = structure.target_within(wished.spatial, wished.temporal, described.active);
                Gate::to_target(wished.stream, structure, target)
            }
            _ => Gate { layer: wished, target: None },
        }
    }

    fn to_target(stream: u32, structure: &Structure, target: u8) -> Gate {
        let (spatial, temporal) = structure.layer_of(target);
        Gate { layer: Layer { stream, spatial, temporal }, target: Some(target) }
    }

    /// Whether a packet is let through.
    pub(super) fn includes(&self, info: &PayloadInfo) -> bool {
        if info.is_too_large {
            return false;
        }
        match (self.target, info.described) {
            (Some(target), Some(described)) => described.present >> target & 1 == 1,
            _ => info.spatial <= self.layer.spatial && info.temporal <= self.layer.temporal,
        }
    }

    /// Whether nothing more of the picture is let through after this packet.
    pub(super) fn ends_picture(&self, info: &PayloadInfo) -> bool {
        info.ends_frame && info.spatial == self.layer.spatial
    }

    /// The gate from the frame on whose first packet this is: as near to what is wished for as the frame allows.
    pub(super) fn switched(
        self,
        wished: Layer,
        packet: &StoredPacket,
        begins_picture: bool,
        sent: &SentFrames,
    ) -> Gate {
        let info = &packet.info;
        if info.starts_keyframe {
            return Gate::at_keyframe(wished, packet);
        }
        if let Some(now) = self.target {
            let (Some(structure), Some(described)) = (&packet.structure, info.described) else { return self };
            let best = structure.target_within(wished.spatial, wished.temporal, described.active);
            let same_size = self.layer.spatial.min(wished.spatial);
            let nearest = structure.target_within(same_size, wished.temporal, described.active);
            // The size stays within a picture: the last frame of the old one has been marked as the picture's last.
            let can_take = |target: &u8| {
                let goes_down = begins_picture && structure.contains(now, *target);
                let is_in_time = begins_picture || structure.layer_of(*target).0 == self.layer.spatial;
                let goes_up = is_in_time && described.switch >> target & 1 == 1 && sent.suffice_for(packet);
                goes_down || goes_up
            };
            let target = [best, nearest].into_iter().find(|target| *target == now || can_take(target));
            return target.map_or(self, |target| Gate::to_target(wished.stream, structure, target));
        }
        let Layer { stream, mut spatial, mut temporal } = self.layer;
        if begins_picture {
            spatial = spatial.min(wished.spatial);
            temporal = temporal.min(wished.temporal);
            if let Some((from, to)) = info.temporal_climb
                && temporal >= from
            {
                temporal = temporal.max(to.min(wished.temporal));
            }
        }
        Gate { layer: Layer { stream, spatial, temporal }, target: None }
    }

    /// Whether a picture of another size is wished for than this gate lets through.
    pub(super) fn wants_size(&self, wished: Layer, packet: &StoredPacket) -> bool {
        match (self.target, &packet.structure, packet.info.described) {
            (Some(target), Some(structure), Some(described)) => {
                let best = structure.target_within(wished.spatial, wished.temporal, described.active);
                structure.layer_of(best).0 != structure.layer_of(target).0
            }
            (Some(_), _, _) => false,
            (None, _, _) => self.layer.spatial < wished.spatial,
        }
    }

    /// The decode targets that a packet must call active: at the beginning of each frame while some are left out, and
    /// once when that has changed.
    pub(super) fn active_targets(&self, packet: &StoredPacket, is_switch: bool) -> Option<u32> {
        let (target, structure) = (self.target?, packet.structure.as_ref()?);
        let described = packet.info.described.filter(|_| packet.info.begins_frame)?;
        let left = structure.targets_left(target) & described.active;
        (left != described.active || is_switch).then_some(left)
    }
}

/// Which of the latest frames of a stream were sent, by frame number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentFrames {
    latest: u16,
    /// Bit i: the frame i before the latest.
    bits: u64,
}

impl SentFrames {
    pub(super) fn add(&mut self, frame_number: u16) {
        let ahead = frame_number.wrapping_sub(self.latest) as i16;
        if ahead > 0 || self.bits == 0 {
            self.bits = if self.bits == 0 { 0 } else { self.bits.checked_shl(ahead as u32).unwrap_or(0) } | 1;
            self.latest = frame_number;
        } else {
            self.bits |= 1u64.checked_shl(ahead.unsigned_abs().into()).unwrap_or(0);
        }
    }

    /// Whether all frames that this packet's refers to are among them.
    fn suffice_for(&self, packet: &StoredPacket) -> bool {
        let Some(described) = packet.info.described else { return false };
        let ahead = described.frame_number.wrapping_sub(self.latest) as i16;
        // Bit i: the frame i + 1 before this one.
        let before = match ahead {
            1.. => self.bits.checked_shl(ahead as u32 - 1).unwrap_or(0),
            0 => self.bits >> 1,
            _ => return false,
        };
        self.bits != 0 && !described.refers_far && described.references & !before == 0
    }
}
