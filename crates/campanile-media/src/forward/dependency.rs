//! The dependency descriptor, an RTP header extension (AV1 RTP specification, appendix A): what a frame is needed for,
//! and what it needs, whatever its codec.
//!
//! A keyframe carries a *structure*: the kinds of frames to come (*templates*), and the *decode targets*, each a spatial
//! and a temporal layer and all that is below. Every packet then names its frame's template, with what differs from it.

use std::sync::Arc;

use super::bits::Bits;
use super::payload::PayloadInfo;
use super::size::PictureSize;

/// Longest descriptor kept: what an extension element holds (RFC 8285 section 4.3).
pub const DESCRIPTOR_BYTES_MAX: usize = 255;
/// References are looked at this far back, in frames; whatever reaches further counts as reaching too far.
const REFERENCES_MAX: u32 = 64;

/// What a descriptor says of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Described {
    /// Counts the frames of the stream, all layers; wraps.
    pub frame_number: u16,
    /// The decode targets that the frame is part of: bit i for target i.
    pub present: u32,
    /// Those that can be begun with it, given that the frame itself can be decoded.
    pub switch: u32,
    /// The frames that it refers to: bit i for the one i + 1 before it.
    pub references: u64,
    /// It also refers to some frame out of reach of `references`.
    pub refers_far: bool,
    /// The decode targets that its sender produces at the moment.
    pub active: u32,
    /// The descriptor brings a new structure: it is that of a keyframe's first packet.
    pub has_structure: bool,
    /// Where the structure ends in the descriptor, or would, in bits; 0 for a descriptor of the short form.
    structure_end: u16,
    /// Whether the descriptor says which targets are active.
    states_active: bool,
}

/// The frames and decode targets of a stream, from one keyframe on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    template_id_offset: u8,
    templates: Vec<Template>,
    /// Spatial and temporal layer of each decode target.
    targets: Vec<(u8, u8)>,
    chains: u8,
    sizes: Vec<PictureSize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Template {
    spatial: u8,
    temporal: u8,
    present: u32,
    switch: u32,
    references: u64,
}

/// A packet's descriptor, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    pub(super) begins_frame: bool,
    pub(super) ends_frame: bool,
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    pub(super) described: Described,
}

impl Reading {
    /// What was seen in a payload, overruled by this.
    pub(super) fn describe(self, info: PayloadInfo) -> PayloadInfo {
        let Reading { begins_frame, ends_frame, spatial, temporal, described } = self;
        PayloadInfo { begins_frame, ends_frame, spatial, temporal, described: Some(described), ..info }
    }
}

/// Reads the descriptors of one stream.
#[derive(Debug, Default)]
pub(super) struct DescriptorReader {
    structure: Option<Arc<Structure>>,
    active: u32,
}

impl DescriptorReader {
    pub(super) fn structure(&self) -> Option<&Arc<Structure>> {
        self.structure.as_ref()
    }

    /// Reads one descriptor; `None` when it is malformed or its structure has not been seen.
    pub(super) fn read(&mut self, descriptor: &[u8]) -> Option<Reading> {
        let mut bits = Bits::of(descriptor);
        let (begins_frame, ends_frame) = (bits.flag()?, bits.flag()?);
        let template_id = bits.take(6)? as u8;
        let frame_number = bits.take(16)? as u16;
        let mut flags = [false; 5];
        if descriptor.len() > 3 {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [has_structure, states_active, custom_dtis, custom_fdiffs, custom_chains] = flags;
        let read = if has_structure { Some(Structure::read(&mut bits)?) } else { None };
        let structure_end = if descriptor.len() > 3 { bits.position() as u16 } else { 0 };
        let structure = read.as_ref().or(self.structure.as_deref())?;
        let targets = structure.targets.len() as u32;
        let stated = if states_active { Some(bits.take(targets)?) } else { None };
        let active = stated.unwrap_or(if has_structure { u32::MAX >> (32 - targets) } else { self.active });
        let at = (64 + template_id - structure.template_id_offset) % 64;
        let mut template = *structure.templates.get(usize::from(at))?;
        if custom_dtis {
            (template.present, template.switch) = indications(&mut bits, targets)?;
        }
        let mut refers_far = false;
        if custom_fdiffs {
            template.references = 0;
            loop {
                let nibbles = bits.take(2)?;
                if nibbles == 0 {
                    break;
                }
                match bits.take(4 * nibbles)? {
                    before @ 0..REFERENCES_MAX => template.references |= 1 << before,
                    _ => refers_far = true,
                }
            }
        }
        if custom_chains {
            bits.skip(8 * usize::from(structure.chains))?;
        }
        if let Some(structure) = read {
            // A structure comes with every keyframe and hardly ever changes.
            if self.structure.as_deref() != Some(&structure) {
                self.structure = Some(Arc::new(structure));
            }
        }
        self.active = active;
        Some(Reading {
            begins_frame,
            ends_frame,
            spatial: template.spatial,
            temporal: template.temporal,
            described: Described {
                frame_number,
                present: template.present,
                switch: template.switch,
                references: template.references,
                refers_far,
                active,
                has_structure,
                structure_end,
                states_active,
            },
        })
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Structure> {
        let template_id_offset = bits.take(6)? as u8;
        let target_count = bits.take(5)? + 1;
        let mut templates = vec![Template::default()];
        loop {
            let last = *templates.last()?;
            let next = match bits.take(2)? {
                0 => last,
                1 => Template { temporal: last.temporal + 1, ..last },
                2 => Template { spatial: last.spatial + 1, temporal: 0, ..last },
                _ => break,
            };
            if templates.len() == 64 || next.temporal > 7 || next.spatial > 3 {
                return None;
            }
            templates.push(next);
        }
        for template in &mut templates {
            (template.present, template.switch) = indications(bits, target_count)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.references |= 1 << bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(target_count + 1)?;
        if chains > 0 {
            for _ in 0..target_count {
                bits.non_symmetric(chains)?;
            }
            bits.skip(4 * templates.len() * chains as usize)?;
        }
        let target = |at: u32| {
            let parts = templates.iter().filter(|template| template.present >> at & 1 == 1);
            let layers = parts.map(|template| (template.spatial, template.temporal));
            layers.fold((0, 0), |(s, t), (spatial, temporal)| (spatial.max(s), temporal.max(t)))
        };
        let targets = (0..target_count).map(target).collect();
        let mut sizes = Vec::new();
        if bits.flag()? {
            let largest = templates.iter().map(|template| template.spatial).max()?;
            for _ in 0..=largest {
                let (width, height) = (bits.take(16)? + 1, bits.take(16)? + 1);
                sizes.push(PictureSize { width, height });
            }
        }
        Some(Structure { template_id_offset, templates, targets, chains: chains as u8, sizes })
    }

    /// The size of each spatial layer's pictures, the smallest first; empty where the sender does not say.
    pub(super) fn sizes(&self) -> &[PictureSize] {
        &self.sizes
    }

    /// The best of the active decode targets within these layers; the lowest of all if none is.
    pub(super) fn target_within(&self, spatial: u8, temporal: u8, active: u32) -> u8 {
        let all = self.targets.iter().enumerate().filter(|(at, _)| active >> at & 1 == 1);
        let fitting = all.clone().filter(|(_, (s, t))| *s <= spatial && *t <= temporal);
        let best = fitting.max_by_key(|(_, layer)| **layer);
        best.or_else(|| all.min_by_key(|(_, layer)| **layer)).map_or(0, |(at, _)| at as u8)
    }

    pub(super) fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Spatial and temporal layer of a decode target.
    pub(super) fn layer_of(&self, target: u8) -> (u8, u8) {
        self.targets.get(usize::from(target)).copied().unwrap_or_default()
    }

    /// Whether everything that `part` needs is part of `whole` too.
    pub(super) fn contains(&self, whole: u8, part: u8) -> bool {
        self.templates
            .iter()
            .all(|template| template.present >> part & 1 == 0 || template.present >> whole & 1 == 1)
    }

    /// The decode targets left to whoever gets `target` alone: bit i for target i.
    pub(super) fn targets_left(&self, target: u8) -> u32 {
        let (spatial, temporal) = self.layer_of(target);
        let left = self
            .targets
            .iter()
            .enumerate()
            .filter(|(at, (s, t))| *s <= spatial && *t <= temporal && self.contains(target, *at as u8));
        left.fold(0, |mask, (at, _)| mask | 1 << at)
    }
}

/// Writes a descriptor again, with another frame number and, if `active` is given, saying that these decode targets are
/// active. Returns how many bytes of `out` it takes; a descriptor that would not fit keeps its own targets.
pub(super) fn rewrite(
    descriptor: &[u8],
    described: &Described,
    targets: usize,
    frame_number: u16,
    active: Option<u32>,
    out: &mut [u8; DESCRIPTOR_BYTES_MAX],
) -> usize {
    const FLAGS_AT: usize = 24;
    const STATES_ACTIVE_AT: usize = 25;
    const STRUCTURE_AT: usize = 29;
    let length = descriptor.len().min(DESCRIPTOR_BYTES_MAX);
    let has_room = length + 1 + (STRUCTURE_AT - FLAGS_AT + targets).div_ceil(8) <= DESCRIPTOR_BYTES_MAX;
    let written = match active.filter(|_| has_room) {
        None => {
            out[..length].copy_from_slice(&descriptor[..length]);
            length
        }
        Some(active) => {
            let mut writer = BitWriter { bytes: out, at: 0 };
            let is_short = described.structure_end == 0;
            let structure_end = usize::from(described.structure_end);
            writer.copy(descriptor, 0..FLAGS_AT);
            if is_short {
                writer.put(0, STRUCTURE_AT - FLAGS_AT);
            } else {
                writer.copy(descriptor, FLAGS_AT..structure_end);
            }
            writer.put(active, targets);
            if !is_short {
                let tail = structure_end + if described.states_active { targets } else { 0 };
                writer.copy(descriptor, tail..length * 8);
            }
            let written = writer.at.div_ceil(8);
            writer.bytes[STATES_ACTIVE_AT / 8] |= 0x80 >> (STATES_ACTIVE_AT % 8);
            written
        }
    };
    out[1..3].copy_from_slice(&frame_number.to_be_bytes());
    written
}

/// Two bits for each decode target: those that the frame is part of, and those that it switches to.
fn indications(bits: &mut Bits<'_>, targets: u32) -> Option<(u32, u32)> {
    const SWITCH: u32 = 2;
    let (mut present, mut switch) = (0, 0);
    for at in 0..targets {
        let indication = bits.take(2)?;
        present |= u32::from(indication != 0) << at;
        switch |= u32::from(indication == SWITCH) << at;
    }
    Some((present, switch))
}

struct BitWriter<'a> {
    bytes: &'a mut [u8; DESCRIPTOR_BYTES_MAX],
    at: usize,
}

impl BitWriter<'_> {
    fn put_bit(&mut self, bit: bool) {
        let (byte, mask) = (self.at / 8, 0x80 >> (self.at % 8));
        if mask == 0x80 {
            self.bytes[byte] = 0;
        }
        if bit {
            self.bytes[byte] |= mask;
        }
        self.at += 1;
    }

    /// The lowest `count` bits of `value`, the highest of them first.
    fn put(&mut self, value: u32, count: usize) {
        (0..count).rev().for_each(|at| self.put_bit(value >> at & 1 == 1));
    }

    fn copy(&mut self, from: &[u8], range: std::ops::Range<usize>) {
        range.for_each(|at| self.put_bit(from[at / 8] >> (7 - at % 8) & 1 == 1));
    }
}

/// The fuzz target of this module.
pub(super) mod fuzz {
    use super::*;

    /// Reads any bytes as the descriptors of a stream, each behind a byte that says how long it is and which targets to
    /// call active; what is written of it must read the same but for what was to be changed.
    pub fn dependency_descriptor(mut data: &[u8]) {
        let (mut reader, mut downstream) = (DescriptorReader::default(), DescriptorReader::default());
        while let [length, seed, rest @ ..] = data {
            let (descriptor, rest) = rest.split_at(rest.len().min(usize::from(*length)));
            data = rest;
            let Some(reading) = reader.read(descriptor) else { continue };
            let structure = reader.structure().expect("nothing is read without one").clone();
            let all = u32::MAX >> (32 - structure.target_count());
            let active = (seed & 1 == 1).then_some(u32::from(*seed).wrapping_mul(0x0101_0101) & all);
            let number = reading.described.frame_number.wrapping_add(u16::from(*seed));
            let mut out = [0; DESCRIPTOR_BYTES_MAX];
            let count = structure.target_count();
            let length = rewrite(descriptor, &reading.described, count, number, active, &mut out);
            downstream.structure = Some(structure);
            downstream.active = reading.described.active;
            let again = downstream.read(&out[..length]).expect("what is written can be read");
            let Described { present, switch, references, refers_far, .. } = reading.described;
            assert_eq!(again.described.frame_number, number);
            let seen = again.described;
            assert_eq!((seen.present, seen.switch), (present, switch));
            assert_eq!((seen.references, seen.refers_far), (references, refers_far));
            if let Some(active) = active.filter(|_| descriptor.len() < 200) {
                assert_eq!(seen.active, active);
            }
        }
    }
}
