//! Cameras and screens without pictures: packets that a forwarder cannot tell from an encoder's, and a receiver that
//! decodes a frame exactly when a real one could.
//!
//! Each packet also carries, where the picture would be, the truth about itself. A screen decides by what every
//! receiver sees, numbers and markers, and then compares with the truth: so what the server makes of the numbers is
//! proved right, not only plausible.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use campanile_media::rtp;
use campanile_media::units::video_ticks;

mod screen;

pub(crate) use screen::Screen;
pub use screen::Seen;

/// Payload types and header extensions, as the plain offer names them.
pub(crate) const VP8: u8 = 96;
pub(crate) const H264: u8 = 102;
const TRANSPORT_CC: u8 = 3;
pub(crate) const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
const LAYERS_ALLOCATION: u8 = 9;
/// A browser's packets.
const PACKET_BYTES: usize = 1100;
/// A keyframe takes as much as so many ordinary frames.
const KEYFRAME_WEIGHT: usize = 4;
/// Packets kept for repairs.
const HISTORY: usize = 512;
/// A keyframe begins so, and goes on with its size.
const VP8_KEYFRAME: [u8; 6] = [0, 0, 0, 0x9d, 0x01, 0x2a];

/// How a camera's frames are coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// VP8 with picture ids of 15 bits and TL0PICIDX.
    Vp8,
    /// H.264 in packetization mode 1.
    H264,
}

/// What a client publishes.
#[derive(Clone, PartialEq, Debug)]
pub struct Camera {
    /// How.
    pub coding: Coding,
    /// Frames per second.
    pub framerate: u32,
    /// Kilobits per second of each layer, the smallest picture first; 0 is a layer switched off. One layer is no
    /// simulcast.
    pub layers_kbps: Vec<u32>,
    /// Width and height of the largest layer's pictures, as keyframes of VP8 say it; each layer below has half of both.
    pub size: (u16, u16),
    /// The numbers that all layers begin with; by chance if `None`.
    pub first_numbers: Option<Numbers>,
    /// Its packets say which layers it sends (video layers allocation), as Chrome's do.
    pub tells_layers: bool,
}

/// What an RTP stream of VP8 counts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Sequence number of the first packet.
    pub sequence: u16,
    /// Timestamp of the first frame.
    pub timestamp: u32,
    /// Picture id of the first frame, of 15 bits.
    pub picture: u16,
    /// TL0PICIDX of the first frame.
    pub tl0_picture: u8,
}

impl Camera {
    /// One layer of 1200 kbit/s, 15 frames a second.
    pub fn hd() -> Camera {
        Camera {
            coding: Coding::Vp8,
            framerate: 15,
            layers_kbps: vec![1200],
            size: (1280, 720),
            first_numbers: None,
            tells_layers: false,
        }
    }

    /// One layer that costs little to simulate: 100 kbit/s, 10 frames a second.
    pub fn small() -> Camera {
        Camera { framerate: 10, layers_kbps: vec![100], ..Camera::hd() }
    }

    /// Three simulcast layers, of which the client sends two while few are here: 300 and 1200 kbit/s.
    pub fn simulcast() -> Camera {
        Camera { layers_kbps: vec![300, 0, 1200], ..Camera::hd() }
    }

    /// The same with pictures of this size.
    pub fn sized(self, width: u16, height: u16) -> Camera {
        Camera { size: (width, height), ..self }
    }

    /// The same in H.264.
    pub fn h264(self) -> Camera {
        Camera { coding: Coding::H264, ..self }
    }

    /// The same, with its counters about to wrap.
    pub fn about_to_wrap(self) -> Camera {
        let first_numbers = Some(Numbers {
            sequence: 65_500,
            timestamp: u32::MAX - 90_000,
            picture: 32_750,
            tl0_picture: 250,
        });
        Camera { first_numbers, ..self }
    }

    /// The same, saying in its packets which layers it sends.
    pub fn telling_layers(self) -> Camera {
        Camera { tells_layers: true, ..self }
    }

    /// The RTP stream ids of its layers, as the unmodified client calls them; none without simulcast.
    pub(crate) fn rids(&self) -> &'static [&'static str] {
        match self.layers_kbps.len() {
            0 | 1 => &[],
            2 => &["low", "hi"],
            _ => &["low", "mid", "hi"],
        }
    }
}

/// The truth about one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Truth {
    layer: u8,
    frame: u32,
    at: u16,
    of: u16,
    keyframe: bool,
    /// When it was captured, on the camera's own clock of 90 kHz.
    ticks: u32,
}

impl Truth {
    const BYTES: usize = 15;
    const MAGIC: u8 = 0xca;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[Truth::MAGIC, self.layer, u8::from(self.keyframe)]);
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.of.to_be_bytes());
        out.extend_from_slice(&self.ticks.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Truth> {
        let [Truth::MAGIC, layer, keyframe, rest @ ..] = bytes else { return None };
        let (frame, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (of, rest) = rest.split_first_chunk()?;
        let (ticks, _) = rest.split_first_chunk()?;
        Some(Truth {
            layer: *layer,
            keyframe: *keyframe == 1,
            frame: u32::from_be_bytes(*frame),
            at: u16::from_be_bytes(*at),
            of: u16::from_be_bytes(*of),
            ticks: u32::from_be_bytes(*ticks),
        })
    }
}

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

/// One of its layers.
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
    kbps: u32,
    first_timestamp: u32,
    sequence: u16,
    rtx_sequence: u16,
    picture: u16,
    tl0_picture: u8,
    frame: u32,
    size: (u16, u16),
    wants_keyframe: bool,
    history: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// Where a sender's packets go, and the transport-wide number that each gets.
pub(crate) struct Wire<'a> {
    pub(crate) transport_sequence: &'a mut u16,
    pub(crate) send: &'a mut dyn FnMut(Vec<u8>),
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

impl Sender {
    pub(crate) fn new(
        now: Instant,
        epoch: Instant,
        camera: Camera,
        mid: &str,
        mut random: impl FnMut() -> u32,
    ) -> Sender {
        let layers = camera.layers_kbps.iter().enumerate().map(|(at, kbps)| {
            let halvings = camera.layers_kbps.len() - 1 - at;
            let chosen = Numbers {
                sequence: random() as u16,
                timestamp: random(),
                picture: random() as u16 & 0x7fff,
                tl0_picture: random() as u8,
            };
            let numbers = camera.first_numbers.unwrap_or(chosen);
            SentLayer {
                ssrc: random(),
                rtx_ssrc: random(),
                flows: *kbps > 0,
                keyframes: 0,
                nacks: 0,
                plis: 0,
                packets: 0,
                bytes: 0,
                timestamp: numbers.timestamp,
                kbps: *kbps,
                first_timestamp: numbers.timestamp,
                sequence: numbers.sequence,
                rtx_sequence: random() as u16,
                picture: numbers.picture,
                tl0_picture: numbers.tl0_picture,
                frame: 0,
                size: (camera.size.0 >> halvings, camera.size.1 >> halvings),
                wants_keyframe: true,
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
        let (coding, framerate, rids) = (self.camera.coding, self.camera.framerate, self.camera.rids());
        let told = if self.camera.tells_layers { allocation(&self.layers) } else { Vec::new() };
        for (at, layer) in self.layers.iter_mut().enumerate().filter(|(_, layer)| layer.flows) {
            layer.timestamp = layer.first_timestamp.wrapping_add(elapsed);
            let labels = Labels { mid: &self.mid, rid: rids.get(at).copied(), allocation: &told };
            layer.send_frame(coding, framerate, at as u8, labels, wire);
        }
    }

    pub(crate) fn keyframe(&mut self, ssrc: u32) {
        for layer in self.layers.iter_mut().filter(|layer| layer.ssrc == ssrc) {
            layer.wants_keyframe = true;
            layer.plis += 1;
        }
    }

    pub(crate) fn repair(&mut self, ssrc: u32, lost: impl Iterator<Item = u16>, wire: &mut Wire<'_>) {
        let rids = self.camera.rids();
        let pt = payload_type(self.camera.coding) + 1;
        let Some(at) = self.layers.iter().position(|layer| layer.ssrc == ssrc) else { return };
        let layer = &mut self.layers[at];
        layer.nacks += 1;
        for sequence in lost {
            let Some(kept) = layer.history.iter().find(|kept| kept.sequence == sequence) else { continue };
            let mut packet = Vec::with_capacity(PACKET_BYTES + 40);
            let number = wire.transport_sequence.to_be_bytes();
            *wire.transport_sequence = wire.transport_sequence.wrapping_add(1);
            let mut extensions: Vec<(u8, &[u8])> = vec![(TRANSPORT_CC, &number), (MID, self.mid.as_bytes())];
            extensions.extend(rids.get(at).map(|rid| (REPAIRED_RID, rid.as_bytes())));
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

fn payload_type(coding: Coding) -> u8 {
    match coding {
        Coding::Vp8 => VP8,
        Coding::H264 => H264,
    }
}

impl SentLayer {
    /// The encoder begins anew under another SSRC, and with other numbers.
    pub(crate) fn begin_anew(&mut self, mut random: impl FnMut() -> u32) {
        self.ssrc = random();
        self.rtx_ssrc = random();
        self.first_timestamp = random();
        self.sequence = random() as u16;
        self.picture = random() as u16 & 0x7fff;
        self.tl0_picture = random() as u8;
        self.wants_keyframe = true;
        self.history.clear();
    }

    pub(crate) fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.wants_keyframe = true;
    }

    /// What it takes from now on.
    pub(crate) fn takes(&mut self, kbps: u32) {
        self.kbps = kbps;
    }

    /// The encoder goes on after a pause.
    pub(crate) fn begin_again_with_keyframe(&mut self) {
        self.wants_keyframe = true;
    }

    fn send_frame(
        &mut self,
        coding: Coding,
        framerate: u32,
        number: u8,
        labels: Labels<'_>,
        wire: &mut Wire<'_>,
    ) {
        let keyframe = std::mem::take(&mut self.wants_keyframe);
        let frame_bytes = (self.kbps as usize * 125 / framerate.max(1) as usize).max(Truth::BYTES + 8);
        let frame_bytes = if keyframe { frame_bytes * KEYFRAME_WEIGHT } else { frame_bytes };
        let of = frame_bytes.div_ceil(PACKET_BYTES).max(1) as u16;
        self.keyframes += u64::from(keyframe);
        for at in 0..of {
            let ticks = self.timestamp.wrapping_sub(self.first_timestamp);
            let truth = Truth { layer: number, frame: self.frame, at, of, keyframe, ticks };
            let mut payload = Vec::with_capacity(PACKET_BYTES);
            match coding {
                Coding::Vp8 => self.vp8_header(truth, &mut payload),
                Coding::H264 => h264_header(truth, &mut payload),
            }
            truth.write(&mut payload);
            let size = frame_bytes / usize::from(of);
            payload.resize(size.max(payload.len()), 0x5a);
            self.send_packet(coding, at + 1 == of, payload, labels, wire);
        }
        self.frame += 1;
        self.picture = (self.picture + 1) & 0x7fff;
        self.tl0_picture = self.tl0_picture.wrapping_add(1);
    }

    /// RFC 7741 section 4.2, then the first byte of the frame, whose lowest bit is clear in keyframes; these go on with their
    /// size (RFC 6386 section 9.1).
    fn vp8_header(&self, truth: Truth, payload: &mut Vec<u8>) {
        let [high, low] = (0x8000 | self.picture).to_be_bytes();
        let first = if truth.at == 0 { 0x90 } else { 0x80 };
        payload.extend_from_slice(&[first, 0xe0, high, low, self.tl0_picture, 0x20]);
        if truth.keyframe && truth.at == 0 {
            payload.extend_from_slice(&VP8_KEYFRAME);
            payload.extend_from_slice(&self.size.0.to_le_bytes());
            payload.extend_from_slice(&self.size.1.to_le_bytes());
        } else {
            payload.push(if truth.keyframe { 0x00 } else { 0x01 });
        }
    }

    fn send_packet(
        &mut self,
        coding: Coding,
        marker: bool,
        payload: Vec<u8>,
        labels: Labels<'_>,
        wire: &mut Wire<'_>,
    ) {
        let mut packet = Vec::with_capacity(payload.len() + 40);
        let number = wire.transport_sequence.to_be_bytes();
        *wire.transport_sequence = wire.transport_sequence.wrapping_add(1);
        let mut extensions: Vec<(u8, &[u8])> = vec![(TRANSPORT_CC, &number), (MID, labels.mid.as_bytes())];
        extensions.extend(labels.rid.map(|rid| (RID, rid.as_bytes())));
        if !labels.allocation.is_empty() {
            extensions.push((LAYERS_ALLOCATION, labels.allocation));
        }
        let pt = payload_type(coding);
        rtp::write_header(&mut packet, pt, marker, self.sequence, self.timestamp, self.ssrc, &extensions);
        packet.extend_from_slice(&payload);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload.len() as u32);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let (sequence, timestamp) = (self.sequence, self.timestamp);
        self.history.push_back(Kept { sequence, timestamp, marker, payload });
        self.sequence = self.sequence.wrapping_add(1);
        (wire.send)(packet);
    }
}

/// RFC 6184: a single NAL unit, or FU-A fragments of one; IDR slices in keyframes.
fn h264_header(truth: Truth, payload: &mut Vec<u8>) {
    let unit = if truth.keyframe { 5 } else { 1 };
    if truth.of == 1 {
        payload.push(0x60 | unit);
        return;
    }
    let start = if truth.at == 0 { 0x80 } else { 0 };
    let end = if truth.at + 1 == truth.of { 0x40 } else { 0 };
    payload.extend_from_slice(&[0x7c, start | end | unit]);
}
