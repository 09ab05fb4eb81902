//! Forwarders against a model of each codec's dependencies: whatever is switched, lost, repaired, restarted or wrapped,
//! a receiver never gets a frame without what the frame needs, and never notices in the numbers that frames are missing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::model::{Coding, Encoder, Numbers};
use super::*;
use crate::rtp::{self, RtpHeader};
use crate::test_start;
use crate::units::SeqNo;

const DESCRIPTOR_ID: u8 = 12;

/// What browsers send, and H.264 in temporal layers, which only the dependency descriptor tells.
const ALL: [Coding; 14] = [
    Coding::VP8.layers(1, 2),
    Coding::VP8.layers(1, 3),
    Coding::H264,
    Coding::H264.layers(1, 3).described(),
    Coding::VP9.layers(1, 3),
    Coding::VP9.layers(3, 3),
    Coding::VP9.layers(3, 3).key_only(),
    Coding::VP9.layers(3, 3).flexible(),
    Coding::VP9.layers(3, 3).flexible().key_only(),
    Coding::VP9.layers(3, 3).flexible().described(),
    Coding::VP9.layers(3, 3).flexible().key_only().described(),
    Coding::AV1.layers(1, 3),
    Coding::AV1.layers(3, 3),
    Coding::AV1.layers(3, 3).key_only(),
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 27
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A frame, counted over all streams and layers of a run.
type FrameId = u32;

#[derive(Clone)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
}

/// One stream as RTP.
struct Stream {
    encoder: Encoder,
    sequence: u16,
    timestamp: u32,
}

impl Stream {
    fn new(coding: Coding, random: &mut Random) -> Stream {
        let wrapping = random.once_in(2);
        let mut number = |bits: u32| {
            let all = u64::MAX >> (64 - bits);
            if wrapping { all - random.below(40) } else { random.next() & all }
        };
        let (sequence, timestamp) = (number(16) as u16, number(32) as u32);
        let first =
            Numbers { picture: number(15) as u16, tl0_picture: number(8) as u8, frame: number(16) as u16 };
        Stream { encoder: Encoder::new(coding, (1280, 720), first), sequence, timestamp }
    }

    /// One picture: the packets of its frames, and what each frame needs.
    fn picture(&mut self, random: &mut Random, truth: &mut Truth) -> Vec<Sent> {
        self.timestamp = self.timestamp.wrapping_add(3000);
        let mut sent: Vec<Sent> = Vec::new();
        for frame in self.encoder.picture(truth.needs.len() as FrameId) {
            let of = 1 + random.below(3) as u8;
            for at in 0..of {
                let packet = frame.packet(at.into(), of.into());
                let (sequence, timestamp, marker) = (self.sequence, self.timestamp, packet.marker);
                let payload = [&packet.head[..], &frame.id.to_be_bytes(), &[at, of]].concat();
                sent.push(Sent { sequence, timestamp, marker, payload, descriptor: packet.descriptor });
                self.sequence = self.sequence.wrapping_add(1);
            }
            truth.needs.push(frame.needs);
            truth.packets.push(of);
        }
        sent
    }
}

/// What is true of all frames: what each needs, and in how many packets it was sent.
#[derive(Default)]
struct Truth {
    needs: Vec<Vec<FrameId>>,
    packets: Vec<u8>,
}

/// One packet as its receiver has it.
struct Received {
    frame: FrameId,
    at: u8,
    timestamp: u32,
    marker: bool,
    info: PayloadInfo,
}

/// One subscription, from the encoders to the receiver.
struct Run {
    seed: u64,
    coding: Coding,
    is_lossless: bool,
    random: Random,
    truth: Truth,
    now: Instant,
    streams: Vec<Stream>,
    uplinks: Vec<Uplink>,
    forwarder: Forwarder,
    /// What the receiver has, by outgoing number; `None` for an empty packet.
    received: BTreeMap<SeqNo, Option<Received>>,
    highest: Option<SeqNo>,
    reader: dependency::DescriptorReader,
    /// Packets that reached the server, by frame.
    arrived: HashMap<FrameId, HashSet<u8>>,
    /// Packets that the receiver has, by frame.
    seen: HashMap<FrameId, HashSet<u8>>,
}

impl Run {
    fn new(seed: u64, coding: Coding, is_lossless: bool, streams: usize) -> Run {
        let mut random = Random(seed);
        let first_seq = if random.once_in(2) { 65_500 } else { random.next() as u16 };
        Run {
            seed,
            coding,
            is_lossless,
            truth: Truth::default(),
            now: test_start(),
            streams: (0..streams).map(|_| Stream::new(coding, &mut random)).collect(),
            uplinks: (0..streams).map(|_| Uplink::default()).collect(),
            forwarder: Forwarder::new(1, 2, first_seq),
            received: BTreeMap::new(),
            highest: None,
            reader: dependency::DescriptorReader::default(),
            arrived: HashMap::new(),
            seen: HashMap::new(),
            random,
        }
    }

    /// Everybody's next picture, with one packet in `loss` lost or late; 0 for none.
    fn picture(&mut self, loss: u64) {
        self.now += Duration::from_millis(33);
        for stream in 0..self.streams.len() {
            let packets = self.streams[stream].picture(&mut self.random, &mut self.truth);
            let mut late = Vec::new();
            for packet in packets {
                match loss > 0 && self.random.once_in(loss) {
                    true if self.random.once_in(3) => {}
                    true => late.push(packet),
                    false => self.arrive(stream, &packet),
                }
            }
            late.iter().for_each(|packet| self.arrive(stream, packet));
        }
        self.repair();
        if let Some(stream) = self.forwarder.awaits_keyframe_of() {
            self.streams[stream as usize].encoder.want_keyframe();
        }
    }

    fn arrive(&mut self, stream: usize, sent: &Sent) {
        let tail = sent.payload.len() - 6;
        let frame = FrameId::from_be_bytes(sent.payload[tail..tail + 4].try_into().expect("four bytes"));
        self.arrived.entry(frame).or_default().insert(sent.payload[tail + 4]);
        let uplink = &mut self.uplinks[stream];
        let info = uplink.inspect(self.coding.codec, &sent.payload, &sent.descriptor);
        let new = NewPacket {
            timestamp: sent.timestamp,
            marker: sent.marker,
            payload: &sent.payload,
            info,
            codec: 0,
            orientation: None,
            descriptor: &sent.descriptor,
        };
        let Some(stored) = uplink.receive(self.now, sent.sequence, new) else { return };
        let Some(numbers) = self.forwarder.offer(self.now, stream as u32, stored) else { return };
        let stored = stored.clone();
        self.deliver(numbers, &stored);
    }

    /// The receiver asks for what it lacks.
    fn repair(&mut self) {
        const LOOKS_BACK: i64 = 100;
        let Some(highest) = self.highest else { return };
        let Some((first, _)) = self.received.first_key_value() else { return };
        let from = highest.plus(-LOOKS_BACK).max(*first);
        for step in 0..from.distance_to(highest) {
            let seq = from.plus(step);
            if self.received.contains_key(&seq) {
                continue;
            }
            assert!(!self.is_lossless, "{self:?}: nothing was lost");
            let Some((stream, original, rewrite)) = self.forwarder.find(seq.wire()) else { continue };
            let Some(stored) = self.uplinks[stream as usize].history().get(original).cloned() else {
                continue;
            };
            self.deliver(rewrite(&stored), &stored);
        }
    }

    fn deliver(&mut self, numbers: Rewritten, stored: &StoredPacket) {
        let mut buffer = [0; DESCRIPTOR_BYTES_MAX];
        let mut out = Vec::new();
        let descriptor = numbers.descriptor(stored, &mut buffer);
        let extensions: Vec<(u8, &[u8])> =
            descriptor.map(|bytes| (DESCRIPTOR_ID, bytes)).into_iter().collect();
        write_copy(&mut out, 1, 96, &extensions, numbers, stored);
        let header = RtpHeader::parse(&out).expect("an RTP packet");
        let seq =
            self.highest.map_or(SeqNo::first(header.sequence), |highest| highest.extend(header.sequence));
        self.highest = Some(self.highest.map_or(seq, |highest| highest.max(seq)));
        let payload = &out[header.payload.clone()];
        let received = (!payload.is_empty()).then(|| {
            let mut info = inspect(self.coding.codec, payload);
            if let Some(descriptor) = header.extension(&out, DESCRIPTOR_ID) {
                let reading = self.reader.read(descriptor).expect("a descriptor stays readable");
                info.described = Some(reading.described);
                (info.spatial, info.temporal) = (reading.spatial, reading.temporal);
                let described = reading.described;
                let is_wanted = described.present & described.active != 0;
                assert!(is_wanted || !self.is_lossless, "{self:?}: a frame of no active target");
            }
            let tail = payload.len() - 6;
            let frame = FrameId::from_be_bytes(payload[tail..tail + 4].try_into().expect("four bytes"));
            let (timestamp, marker) = (header.timestamp, header.marker);
            Received { frame, at: payload[tail + 4], timestamp, marker, info }
        });
        if let Some(Received { frame, at, .. }) = received {
            self.seen.entry(frame).or_default().insert(at);
        }
        assert!(self.received.insert(seq, received).is_none(), "{self:?}: a number given twice");
    }

    /// So many pictures; returns the most in a row of which the receiver got nothing.
    fn stands_still(&mut self, pictures: u32) -> u32 {
        let (mut still, mut most) = (0, 0);
        for _ in 0..pictures {
            let before = self.seen.len();
            self.picture(0);
            still = if self.seen.len() > before { 0 } else { still + 1 };
            most = most.max(still);
        }
        most
    }

    /// Checks all that was received.
    fn check(&self) {
        let is_lossless = self.is_lossless;
        let mut by_number: HashMap<u16, FrameId> = HashMap::new();
        let mut last: Option<(SeqNo, &Received)> = None;
        for (seq, received) in &self.received {
            let Some(received) = received else { continue };
            for need in &self.truth.needs[received.frame as usize] {
                let all = usize::from(self.truth.packets[*need as usize]);
                let was_there = self.arrived.get(need).is_some_and(|packets| packets.len() == all);
                let is_known = self.seen.get(need).is_some_and(|packets| packets.len() == all);
                assert!(is_known || !was_there, "{self:?}: frame {} without {need}", received.frame);
            }
            if let Some(described) = received.info.described {
                by_number.insert(described.frame_number, received.frame);
                if is_lossless && received.at == 0 {
                    let needs: HashSet<_> =
                        self.truth.needs[received.frame as usize].iter().copied().collect();
                    let said = (0..64).filter(|at| described.references >> at & 1 == 1);
                    let said: HashSet<_> = said
                        .filter_map(|at| by_number.get(&described.frame_number.wrapping_sub(at + 1)).copied())
                        .collect();
                    assert_eq!(needs, said, "{self:?}: frame {}", received.frame);
                }
            }
            if let Some((before_seq, before)) = last {
                let is_next = before_seq.plus(1) == *seq;
                assert!(is_next || !is_lossless, "{self:?}: a gap before frame {}", received.frame);
                let is_new = before.timestamp != received.timestamp;
                assert!(
                    received.timestamp.wrapping_sub(before.timestamp) as i32 >= 0,
                    "{self:?}: time goes back"
                );
                if is_next && is_lossless {
                    assert_eq!(before.marker, is_new, "{self:?}: the marker before frame {}", received.frame);
                }
                let id = |received: &Received| received.info.numbers.picture_id.map(|(_, id, _)| id);
                if let (Some(before), Some(after), true) = (id(before), id(received), is_lossless) {
                    let step = after.wrapping_sub(before) & 0x7fff;
                    let fits =
                        if received.info.numbers.gapless { step == u16::from(is_new) } else { step < 8 };
                    assert!(fits, "{self:?}: picture {after} after {before}");
                }
            }
            last = Some((*seq, received));
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {} of {:?}", self.seed, self.coding)
    }
}

/// Switches at random for 200 pictures, then comes to rest and must have what it wants.
fn run(seed: u64, coding: Coding, loss: u64) {
    let mut random = Random(!seed);
    let streams = 1 + random.below(2) as usize;
    let mut run = Run::new(seed, coding, loss == 0, streams);
    for _ in 0..25 {
        let wish = Layer {
            stream: random.below(streams as u64) as u32,
            spatial: random.below(4) as u8,
            temporal: random.below(4) as u8,
        };
        run.forwarder.set_target((!random.once_in(12)).then_some(wish));
        let stream = random.below(streams as u64) as usize;
        match random.below(20) {
            // The publisher's stream begins anew, under another SSRC.
            0 => {
                run.streams[stream] = Stream::new(coding, &mut run.random);
                run.uplinks[stream] = Uplink::default();
                run.forwarder.restart(stream as u32);
            }
            // The encoder gives up or takes up a size, with a keyframe as encoders do.
            1 => {
                run.streams[stream].encoder.send_sizes(1 + random.below(coding.spatial.into()) as u8);
            }
            2 if run.streams[stream].encoder.spatial() > 1 => run.streams[stream].encoder.give_up_top(),
            _ => {}
        }
        (0..random.below(16)).for_each(|_| run.picture(loss));
    }
    run.streams.iter_mut().for_each(|stream| stream.encoder.send_sizes(coding.spatial));
    let best = Layer::whole(0);
    run.forwarder.set_target(Some(best));
    (0..24).for_each(|_| run.picture(0));
    assert_eq!(run.forwarder.awaits_keyframe_of(), None, "{run:?}");
    let current = run.forwarder.current().expect("something is sent");
    assert!(current.spatial + 1 >= coding.spatial, "{run:?}: {current:?}");
    assert!(current.temporal + 1 >= coding.temporal, "{run:?}: {current:?}");
    run.check();
}

#[test]
fn whatever_is_switched_every_frame_comes_with_what_it_needs() {
    for coding in ALL {
        (0..200).for_each(|seed| run(seed, coding, 0));
    }
}

#[test]
fn loss_before_the_server_confuses_nobody() {
    for coding in ALL {
        (0..200).for_each(|seed| run(seed, coding, 4 + seed % 60));
    }
}

/// Within so many pictures after a switch was wished for, what is switched to or from vanishes.
const VANISHES_WITHIN: u32 = 6;

#[test]
fn a_size_that_vanishes_in_the_middle_of_a_switch_leaves_the_others() {
    for coding in ALL.into_iter().filter(|coding| coding.spatial > 1) {
        // Where a size needs nothing of the others but in keyframes, and a description says so, the next takes one.
        let allowed = u32::from(coding.is_key_only && coding.is_described);
        for (from, to) in [(0, 2), (1, 2), (2, 1), (2, 0), (2, 2)] {
            for seed in 0..u64::from(VANISHES_WITHIN) * 20 {
                let mut run = Run::new(seed, coding, true, 1);
                let layer = |spatial| Some(Layer { spatial, ..Layer::whole(0) });
                run.forwarder.set_target(layer(from));
                run.stands_still(5 + seed as u32 % 7);
                run.forwarder.set_target(layer(to));
                run.stands_still(seed as u32 % VANISHES_WITHIN);
                run.streams[0].encoder.give_up_top();
                let still = run.stands_still(12);
                assert!(still <= allowed, "{run:?}, {from} to {to}: {still} pictures");
                assert_eq!(run.forwarder.awaits_keyframe_of(), None, "{run:?}, {from} to {to}");
                let current = run.forwarder.current().map(|layer| layer.spatial.min(1));
                assert_eq!(current, Some(to.min(1)), "{run:?}, {from} to {to}");
                run.check();
            }
        }
    }
}

#[test]
fn a_stream_that_vanishes_in_the_middle_of_a_switch_leaves_the_other() {
    for coding in ALL.into_iter().filter(|coding| coding.spatial == 1) {
        for (from, to) in [(0, 1), (1, 0), (1, 1)] {
            for seed in 0..u64::from(VANISHES_WITHIN) * 20 {
                let mut run = Run::new(seed, coding, true, 2);
                run.forwarder.set_target(Some(Layer::whole(from)));
                run.stands_still(5 + seed as u32 % 7);
                run.forwarder.set_target(Some(Layer::whole(to)));
                run.stands_still(seed as u32 % VANISHES_WITHIN);
                run.streams[1].encoder.give_up_top();
                // What was to be switched from goes on, as long as nothing else comes.
                let is_on_other = run.forwarder.current().is_some_and(|layer| layer.stream == 0);
                let still = if is_on_other { run.stands_still(12) } else { 0 };
                run.forwarder.set_target(Some(Layer::whole(0)));
                let still = still + run.stands_still(12);
                let allowed = u32::from(!is_on_other);
                assert!(still <= allowed, "{run:?}, {from} to {to}: {still} pictures");
                assert_eq!(run.forwarder.current().map(|layer| layer.stream), Some(0), "{run:?}");
                assert_eq!(run.forwarder.awaits_keyframe_of(), None, "{run:?}, {from} to {to}");
                run.check();
            }
        }
    }
}

#[test]
fn a_header_extension_of_any_length_fits() {
    // The longest descriptor there can be, in the two-byte form.
    let mut out = Vec::new();
    rtp::write_header(&mut out, 96, false, 1, 2, 3, &[(DESCRIPTOR_ID, &[7; DESCRIPTOR_BYTES_MAX])]);
    let header = RtpHeader::parse(&out).expect("an RTP packet");
    assert_eq!(header.extension(&out, DESCRIPTOR_ID), Some(&[7; DESCRIPTOR_BYTES_MAX][..]));
}
