//! A camera at work: its encoders' frames as RTP, repaired when asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use campanile_media::forward::VideoCodec;
use campanile_media::forward::model::{self, Encoder, Frame};
use campanile_media::rtp;
use campanile_media::units::video_ticks;

use super::{
    Camera, DEPENDENCY_DESCRIPTOR, LAYERS_ALLOCATION, MID, NEEDS_MAX, Numbers, PAYLOAD_TYPES, REPAIRED_RID,
    RID, TRANSPORT_CC, Truth,
};

/// A browser's packets.
const PACKET_BYTES: usize = 1100;
/// What an encoder spares for a keyframe, in ordinary frames.
const KEYFRAME_WEIGHT_SPARED: u32 = 4;
/// Packets kept for repairs.
const HISTORY: usize = 512;

/// A camera at work.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) camera: Camera,
    pub(crate) mid: String,
    pub(crate) layers: Vec<SentLayer>,
    /// When its clock began.
    epoch: Instant,
    next_frame: Instant,
}

/// One of its layers: a stream.
#[derive(Debug)]
pub(crate) struct SentLayer {
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    /// Packets really go out.
    pub(crate) flows: bool,
    pub(crate) keyframes: u64,
    /// NACKs and keyframe requests received for it.
    pub(crate) nacks: u64,
    pub(crate) plis: u64,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
    pub(crate) timestamp: u32,
    pub(crate) encoder: Encoder,
    camera: Camera,
    /// Whose it is, and which of the camera's layers.
    whose: u32,
    layer: u8,
    kbps: u32,
    size: (u16, u16),
    first_timestamp: u32,
    sequence: u16,
    rtx_sequence: u16,
    frame: u32,
    /// Pictures to leave out until the rate is kept.
    owes: u32,
    history: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
}

/// Where a sender's packets go, and the transport-wide number that each gets.
pub(crate) struct Wire<'a> {
    pub(crate) transport_sequence: &'a mut u16,
    pub(crate) send: &'a mut dyn FnMut(Vec<u8>),
}

impl Wire<'_> {
    fn number(&mut self) -> [u8; 2] {
        let number = self.transport_sequence.to_be_bytes();
        *self.transport_sequence = self.transport_sequence.wrapping_add(1);
        number
    }
}

/// What a packet says beside its payload: its section, its stream, and, unless that is empty, which layers are sent.
#[derive(Clone, Copy)]
struct Labels<'a> {
    mid: &'a str,
    rid: Option<&'a str>,
    allocation: &'a [u8],
}

/// The video layers allocation of these: of each its spatial layers (one, or none), no temporal ones, and its target.
fn allocation(layers: &[SentLayer]) -> Vec<u8> {
    let flows = |at: usize| layers.get(at).is_some_and(|layer| layer.flows);
    if !layers.iter().any(|layer| layer.flows) {
        return vec![0];
    }
    let mut out = vec![(layers.len() as u8 - 1) << 4];
    out.extend((0..layers.len()).step_by(2).map(|at| u8::from(flows(at)) << 4 | u8::from(flows(at + 1))));
    out.push(0);
    for mut kbps in layers.iter().filter(|layer| layer.flows).map(|layer| layer.kbps) {
        while kbps > 0x7f {
            out.push(kbps as u8 | 0x80);
            kbps >>= 7;
        }
        out.push(kbps as u8);
    }
    out
}

impl Numbers {
    fn random(mut random: impl FnMut() -> u32) -> Numbers {
        let (sequence, timestamp) = (random() as u16, random());
        let (picture, tl0_picture) = (random() as u16 & 0x7fff, random() as u8);
        Numbers { sequence, timestamp, picture, tl0_picture, frame: (timestamp >> 16) as u16 }
    }

    fn of_model(self) -> model::Numbers {
        model::Numbers { picture: self.picture, tl0_picture: self.tl0_picture, frame: self.frame }
    }
}

impl Sender {
    /// The camera of this attendee.
    pub(crate) fn new(
        now: Instant,
        epoch: Instant,
        camera: Camera,
        (attendee, mid): (&str, &str),
        mut random: impl FnMut() -> u32,
    ) -> Sender {
        let whose = Truth::mark_of(attendee);
        let layers = (0..camera.layers_kbps.len()).map(|at| {
            let halvings = camera.layers_kbps.len() - 1 - at;
            let chosen = Numbers::random(&mut random);
            let numbers = camera.first_numbers.unwrap_or(chosen);
            let size = (camera.size.0 >> halvings, camera.size.1 >> halvings);
            SentLayer {
                ssrc: random(),
                rtx_ssrc: random(),
                flows: camera.layers_kbps[at] > 0,
                keyframes: 0,
                nacks: 0,
                plis: 0,
                packets: 0,
                bytes: 0,
                timestamp: numbers.timestamp,
                encoder: Encoder::new(camera.coding, size, numbers.of_model()),
                camera: camera.clone(),
                whose,
                layer: at as u8,
                kbps: camera.layers_kbps[at],
                size,
                first_timestamp: numbers.timestamp,
                sequence: numbers.sequence,
                rtx_sequence: random() as u16,
                frame: 0,
                owes: 0,
                history: VecDeque::new(),
            }
        });
        let layers = layers.collect();
        Sender { camera, mid: mid.to_owned(), layers, epoch, next_frame: now }
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        self.next_frame
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, wire: &mut Wire<'_>) {
        if now < self.next_frame {
            return;
        }
        self.next_frame += Duration::from_micros(1_000_000 / u64::from(self.camera.framerate.max(1)));
        let elapsed = video_ticks(now - self.epoch);
        let rids = self.camera.rids();
        let told = if self.camera.tells_layers { allocation(&self.layers) } else { Vec::new() };
        for (at, layer) in self.layers.iter_mut().enumerate().filter(|(_, layer)| layer.flows) {
            layer.timestamp = layer.first_timestamp.wrapping_add(elapsed);
            let labels = Labels { mid: &self.mid, rid: rids.get(at).copied(), allocation: &told };
            layer.send_picture(labels, wire);
        }
    }

    pub(crate) fn keyframe(&mut self, ssrc: u32) {
        for layer in self.layers.iter_mut().filter(|layer| layer.ssrc == ssrc) {
            layer.encoder.want_keyframe();
            layer.plis += 1;
        }
    }

    pub(crate) fn repair(&mut self, ssrc: u32, lost: impl Iterator<Item = u16>, wire: &mut Wire<'_>) {
        let rids = self.camera.rids();
        let pt = payload_type(self.camera.coding.codec) + 1;
        let Some(at) = self.layers.iter().position(|layer| layer.ssrc == ssrc) else { return };
        let layer = &mut self.layers[at];
        layer.nacks += 1;
        for sequence in lost {
            let Some(kept) = layer.history.iter().find(|kept| kept.sequence == sequence) else { continue };
            let mut packet = Vec::with_capacity(PACKET_BYTES + 40);
            let number = wire.number();
            let mut extensions: Vec<(u8, &[u8])> = vec![(TRANSPORT_CC, &number), (MID, self.mid.as_bytes())];
            extensions.extend(rids.get(at).map(|rid| (REPAIRED_RID, rid.as_bytes())));
            extensions.extend(kept.descriptor_extension());
            rtp::write_header(
                &mut packet,
                pt,
                kept.marker,
                layer.rtx_sequence,
                kept.timestamp,
                layer.rtx_ssrc,
                &extensions,
            );
            layer.rtx_sequence = layer.rtx_sequence.wrapping_add(1);
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&kept.payload);
            (wire.send)(packet);
        }
    }
}

fn payload_type(codec: VideoCodec) -> u8 {
    PAYLOAD_TYPES.iter().find(|(of, _)| *of == codec).expect("every codec is offered").1
}

impl Kept {
    fn descriptor_extension(&self) -> Option<(u8, &[u8])> {
        (!self.descriptor.is_empty()).then_some((DEPENDENCY_DESCRIPTOR, &self.descriptor))
    }
}

impl SentLayer {
    /// The encoder begins anew under another SSRC, and with other numbers.
    pub(crate) fn begin_anew(&mut self, mut random: impl FnMut() -> u32) {
        self.ssrc = random();
        self.rtx_ssrc = random();
        let numbers = Numbers::random(random);
        (self.first_timestamp, self.sequence) = (numbers.timestamp, numbers.sequence);
        self.encoder = Encoder::new(self.camera.coding, self.size, numbers.of_model());
        self.history.clear();
    }

    pub(crate) fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.encoder.resize(size);
    }

    /// What it takes from now on.
    pub(crate) fn takes(&mut self, kbps: u32) {
        self.kbps = kbps;
    }

    /// What a frame takes: of the stream's rate as much as encoders give its size and its temporal layer.
    fn frame_bytes(&self, frame: &Frame) -> usize {
        let coding = self.camera.coding;
        let percent = match (coding.spatial, frame.spatial) {
            (3, _) => [16, 24, 60][usize::from(frame.spatial)],
            (2, _) => [40, 60][usize::from(frame.spatial)],
            _ => 100,
        };
        let weight = match (coding.temporal, frame.temporal) {
            (3, 0) => 160,
            (2, 0) => 120,
            (2 | 3, _) => 80,
            _ => 100,
        };
        let weight = if frame.is_key { 100 * self.camera.keyframe_weight as usize } else { weight };
        let average = self.kbps as usize * 125 / self.camera.framerate.max(1) as usize;
        (average * percent * weight / 10_000).max(Truth::BYTES + 8)
    }

    fn send_picture(&mut self, labels: Labels<'_>, wire: &mut Wire<'_>) {
        if self.encoder.wants_keyframe() {
            self.owes += self.camera.keyframe_weight.saturating_sub(KEYFRAME_WEIGHT_SPARED);
        } else if self.owes > 0 {
            self.owes -= 1;
            return;
        }
        let frames = self.encoder.picture(self.frame);
        self.frame += frames.len() as u32;
        self.keyframes += u64::from(frames.first().is_some_and(|frame| frame.is_key));
        for frame in &frames {
            let frame_bytes = self.frame_bytes(frame);
            let of = frame_bytes.div_ceil(PACKET_BYTES).max(1) as u16;
            let mut needs = [0; NEEDS_MAX];
            needs.iter_mut().zip(&frame.needs).for_each(|(back, id)| *back = (frame.id - id) as u16);
            for at in 0..of {
                let packet = frame.packet(at, of);
                let truth = Truth {
                    whose: self.whose,
                    layer: self.layer,
                    spatial: frame.spatial,
                    temporal: frame.temporal,
                    keyframe: frame.is_key,
                    frame: frame.id,
                    at,
                    of,
                    ticks: self.timestamp.wrapping_sub(self.first_timestamp),
                    needs,
                };
                let mut payload = packet.head;
                truth.write(&mut payload);
                let bytes = frame_bytes / usize::from(of);
                payload.resize(bytes.max(payload.len()), 0x5a);
                let (sequence, timestamp) = (self.sequence, self.timestamp);
                let (marker, descriptor) = (packet.marker, packet.descriptor);
                self.send_packet(Kept { sequence, timestamp, marker, payload, descriptor }, labels, wire);
            }
        }
    }

    fn send_packet(&mut self, kept: Kept, labels: Labels<'_>, wire: &mut Wire<'_>) {
        let mut packet = Vec::with_capacity(kept.payload.len() + 80);
        let number = wire.number();
        let mut extensions: Vec<(u8, &[u8])> = vec![(TRANSPORT_CC, &number), (MID, labels.mid.as_bytes())];
        extensions.extend(labels.rid.map(|rid| (RID, rid.as_bytes())));
        if !labels.allocation.is_empty() {
            extensions.push((LAYERS_ALLOCATION, labels.allocation));
        }
        extensions.extend(kept.descriptor_extension());
        let pt = payload_type(self.camera.coding.codec);
        rtp::write_header(
            &mut packet,
            pt,
            kept.marker,
            kept.sequence,
            kept.timestamp,
            self.ssrc,
            &extensions,
        );
        packet.extend_from_slice(&kept.payload);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(kept.payload.len() as u32);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(kept);
        self.sequence = self.sequence.wrapping_add(1);
        (wire.send)(packet);
    }
}
