//! Forwarders against a model of each codec's dependencies: whatever is switched, lost, repaired, restarted or wrapped,
//! a receiver never gets a frame without what the frame needs, and never notices in the numbers that frames are missing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::*;
use crate::rtp::{self, RtpHeader};
use crate::test_start;
use crate::units::SeqNo;

const DESCRIPTOR_ID: u8 = 12;
/// Temporal layers of successive pictures.
const PATTERN: [u8; 4] = [0, 2, 1, 2];

/// How a stream is coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Vp8,
    H264,
    /// H.264 in temporal layers, which only the dependency descriptor tells.
    DescribedH264,
    /// As browsers send L3T3 and L3T3_KEY: in the latter larger pictures need smaller ones in keyframes only.
    Vp9 {
        flexible: bool,
        key_only: bool,
        described: bool,
    },
    Av1 {
        spatial: u8,
        key_only: bool,
    },
}

impl Coding {
    const ALL: [Coding; 12] = [
        Coding::Vp8,
        Coding::H264,
        Coding::DescribedH264,
        Coding::Vp9 { flexible: false, key_only: false, described: false },
        Coding::Vp9 { flexible: false, key_only: true, described: false },
        Coding::Vp9 { flexible: true, key_only: false, described: false },
        Coding::Vp9 { flexible: true, key_only: true, described: false },
        Coding::Vp9 { flexible: true, key_only: false, described: true },
        Coding::Vp9 { flexible: true, key_only: true, described: true },
        Coding::Av1 { spatial: 1, key_only: false },
        Coding::Av1 { spatial: 3, key_only: false },
        Coding::Av1 { spatial: 3, key_only: true },
    ];

    fn codec(self) -> VideoCodec {
        match self {
            Coding::Vp8 => VideoCodec::Vp8,
            Coding::H264 | Coding::DescribedH264 => VideoCodec::H264,
            Coding::Vp9 { .. } => VideoCodec::Vp9,
            Coding::Av1 { .. } => VideoCodec::Av1,
        }
    }

    fn spatial(self) -> u8 {
        match self {
            Coding::Vp9 { .. } => 3,
            Coding::Av1 { spatial, .. } => spatial,
            _ => 1,
        }
    }

    fn is_described(self) -> bool {
        matches!(self, Coding::DescribedH264 | Coding::Vp9 { described: true, .. } | Coding::Av1 { .. })
    }

    /// Larger pictures need smaller ones in keyframes only.
    fn is_key_only(self) -> bool {
        matches!(self, Coding::Vp9 { key_only: true, .. } | Coding::Av1 { key_only: true, .. })
    }
}

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

/// One stream's encoder. It keeps to what real ones promise: at sync frames, switching points and switch indications.
struct Encoder {
    coding: Coding,
    spatial: u8,
    sequence: u16,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    frame_number: u16,
    round: u32,
    at: usize,
    wants_keyframe: bool,
    /// The next picture says which decode targets are left.
    says_active: bool,
    /// The latest frame of each spatial and temporal layer: its id and frame number.
    latest: HashMap<(u8, u8), (FrameId, u16)>,
}

impl Encoder {
    fn new(coding: Coding, random: &mut Random) -> Encoder {
        let wrapping = random.once_in(2);
        let mut number = |bits: u32| {
            let all = u64::MAX >> (64 - bits);
            if wrapping { all - random.below(40) } else { random.next() & all }
        };
        Encoder {
            coding,
            spatial: coding.spatial(),
            sequence: number(16) as u16,
            timestamp: number(32) as u32,
            picture: number(15) as u16,
            tl0: number(8) as u8,
            frame_number: number(16) as u16,
            round: 0,
            at: 0,
            wants_keyframe: true,
            says_active: false,
            latest: HashMap::new(),
        }
    }

    /// Stops sending its largest picture, all of it if that is the only one. Unlike a new one, that takes no keyframe.
    fn gives_up_top(&mut self) {
        self.spatial -= 1;
        self.says_active = true;
    }

    /// One picture: the packets of its frames, and what each frame needs.
    fn picture(&mut self, random: &mut Random, world: &mut Truth) -> Vec<Sent> {
        let is_key = std::mem::take(&mut self.wants_keyframe);
        if is_key {
            (self.at, self.round) = (0, 0);
            self.latest.clear();
        }
        let layered = self.coding != Coding::H264;
        let temporal = if layered { PATTERN[self.at] } else { 0 };
        // In every second round the middle layer goes on from its last frame: nobody can begin it there.
        let is_sync = self.round.is_multiple_of(2);
        self.picture = (self.picture + 1) & 0x7fff;
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.timestamp = self.timestamp.wrapping_add(3000);
        let mut sent: Vec<Sent> = Vec::new();
        for spatial in 0..self.spatial {
            let id = world.needs.len() as FrameId;
            self.frame_number = self.frame_number.wrapping_add(1);
            let mut references = Vec::new();
            if !is_key {
                let mut refer = |temporal| references.extend(self.latest.get(&(spatial, temporal)).copied());
                match (temporal, self.at) {
                    (0, _) => refer(0),
                    (1, _) if is_sync => refer(0),
                    (1, _) => [0, 1].map(&mut refer).into_iter().collect(),
                    (_, 1) => refer(0),
                    _ => [0, 1].map(&mut refer).into_iter().collect(),
                }
            }
            let leans_on_lower = is_key || !self.coding.is_key_only();
            if spatial > 0 && leans_on_lower {
                references.extend(self.latest.get(&(spatial - 1, temporal)).copied());
            }
            self.latest.insert((spatial, temporal), (id, self.frame_number));
            world.needs.push(references.iter().map(|(id, _)| *id).collect());
            let of = 1 + random.below(3) as u8;
            world.packets.push(of);
            for at in 0..of {
                let (first, last) = (at == 0, at + 1 == of);
                let mut payload = self.payload_header(first, last, is_key, is_sync, spatial, temporal);
                payload.extend_from_slice(&id.to_be_bytes());
                payload.extend_from_slice(&[at, of]);
                let fdiffs: Vec<u16> =
                    references.iter().map(|(_, number)| self.frame_number.wrapping_sub(*number)).collect();
                let descriptor = if self.coding.is_described() {
                    self.descriptor(first, last, is_key, is_sync, (spatial, temporal), &fdiffs)
                } else {
                    Vec::new()
                };
                let marker = last && spatial + 1 == self.spatial;
                let (sequence, timestamp) = (self.sequence, self.timestamp);
                sent.push(Sent { sequence, timestamp, marker, payload, descriptor });
                self.sequence = self.sequence.wrapping_add(1);
            }
        }
        self.says_active = false;
        self.at = (self.at + 1) % PATTERN.len();
        self.round += u32::from(self.at == 0);
        sent
    }

    fn payload_header(
        &self,
        first: bool,
        last: bool,
        is_key: bool,
        is_sync: bool,
        spatial: u8,
        temporal: u8,
    ) -> Vec<u8> {
        let bit = |condition: bool, mask: u8| if condition { mask } else { 0 };
        let [high, low] = (0x8000 | self.picture).to_be_bytes();
        match self.coding {
            Coding::Vp8 => {
                let sync = temporal == 2 && self.at == 1 || temporal == 1 && is_sync;
                let layer = temporal << 6 | bit(sync, 0x20);
                vec![0x80 | bit(first, 0x10), 0xe0, high, low, self.tl0, layer, bit(!is_key, 1)]
            }
            Coding::H264 | Coding::DescribedH264 => {
                vec![0x7c, bit(first, 0x80) | bit(last, 0x40) | if is_key { 5 } else { 1 }]
            }
            Coding::Vp9 { flexible, key_only, .. } => {
                let flags = 0xa0 | bit(!is_key, 0x40) | bit(flexible, 0x10) | bit(first, 8) | bit(last, 4);
                let stands_alone = key_only && !is_key;
                let can_climb = temporal == 0 && is_sync;
                let leans_on_lower = spatial > 0 && !stands_alone;
                let layer = temporal << 5 | bit(can_climb, 0x10) | spatial << 1 | bit(leans_on_lower, 1);
                let mut header = vec![flags | bit(stands_alone, 1), high, low, layer];
                if !flexible {
                    header.push(self.tl0);
                }
                header
            }
            Coding::Av1 { .. } => {
                vec![bit(!first, 0x80) | bit(!last, 0x40) | 0x10 | bit(is_key && first && spatial == 0, 8)]
            }
        }
    }

    /// A dependency descriptor in which everything is said: custom indications and references.
    fn descriptor(
        &self,
        first: bool,
        last: bool,
        is_key: bool,
        is_sync: bool,
        (spatial, temporal): (u8, u8),
        fdiffs: &[u16],
    ) -> Vec<u8> {
        let layers = self.coding.spatial();
        let targets: Vec<_> = (0..layers).flat_map(|s| (0..3).map(move |t| (s, t))).collect();
        let lone = self.coding.is_key_only();
        let indication = |(s, t): (u8, u8), of: (u8, u8), is_key: bool| {
            let is_part = t >= of.1 && (s == of.0 || s > of.0 && (is_key || !lone));
            let begins = is_key || of.1 == 0 && s == of.0 && (t == 0 || is_sync);
            match (is_part, begins) {
                (false, _) => 0,
                (true, true) => 2,
                (true, false) => 3,
            }
        };
        let mut bits = Vec::new();
        let mut put = |value: u32, count: u32| bits.extend((0..count).rev().map(|at| value >> at & 1 == 1));
        let has_structure = is_key && first && spatial == 0;
        let offset = 5;
        put(u32::from(first), 1);
        put(u32::from(last), 1);
        put(offset + u32::from(spatial) * 3 + u32::from(temporal), 6);
        put(u32::from(self.frame_number), 16);
        let states_active = has_structure && self.spatial < layers || self.says_active;
        for flag in [has_structure, states_active, true, true, false] {
            put(u32::from(flag), 1);
        }
        if has_structure {
            put(offset, 6);
            put(targets.len() as u32 - 1, 5);
            for (at, (_, t)) in targets.iter().enumerate() {
                let next = if at + 1 == targets.len() {
                    3
                } else if *t == 2 {
                    2
                } else {
                    1
                };
                put(next, 2);
            }
            for template in &targets {
                targets.iter().for_each(|target| put(indication(*target, *template, false), 2));
            }
            targets.iter().for_each(|_| put(0, 1));
            // No chains: ns(targets + 1) of 0 takes one bit less than the largest value.
            put(0, u32::BITS - (targets.len() as u32 + 1).leading_zeros() - 1);
            put(1, 1);
            (0..layers).for_each(|_| put(0x027f_0167, 32));
        }
        if states_active {
            put((1 << (usize::from(self.spatial) * 3)) - 1, targets.len() as u32);
        }
        targets.iter().for_each(|target| put(indication(*target, (spatial, temporal), is_key), 2));
        for fdiff in fdiffs {
            let nibbles = if *fdiff <= 16 { 1 } else { 2 };
            put(nibbles, 2);
            put(u32::from(*fdiff) - 1, 4 * nibbles);
        }
        put(0, 2);
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |b, bit| b << 1 | u8::from(*bit)) << (8 - byte.len()))
            .collect()
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
    encoders: Vec<Encoder>,
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
            encoders: (0..streams).map(|_| Encoder::new(coding, &mut random)).collect(),
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
        for stream in 0..self.encoders.len() {
            let packets = self.encoders[stream].picture(&mut self.random, &mut self.truth);
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
            self.encoders[stream as usize].wants_keyframe = true;
        }
    }

    fn arrive(&mut self, stream: usize, sent: &Sent) {
        let tail = sent.payload.len() - 6;
        let frame = FrameId::from_be_bytes(sent.payload[tail..tail + 4].try_into().expect("four bytes"));
        self.arrived.entry(frame).or_default().insert(sent.payload[tail + 4]);
        let uplink = &mut self.uplinks[stream];
        let info = uplink.inspect(self.coding.codec(), &sent.payload, &sent.descriptor);
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
            let mut info = inspect(self.coding.codec(), payload);
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
                run.encoders[stream] = Encoder::new(coding, &mut run.random);
                run.uplinks[stream] = Uplink::default();
                run.forwarder.restart(stream as u32);
            }
            // The encoder gives up or takes up a size, with a keyframe as encoders do.
            1 => {
                let encoder = &mut run.encoders[stream];
                encoder.spatial = 1 + random.below(coding.spatial().into()) as u8;
                encoder.wants_keyframe = true;
            }
            2 if run.encoders[stream].spatial > 1 => run.encoders[stream].gives_up_top(),
            _ => {}
        }
        (0..random.below(16)).for_each(|_| run.picture(loss));
    }
    for encoder in &mut run.encoders {
        encoder.spatial = coding.spatial();
        encoder.wants_keyframe = true;
    }
    let best = Layer::whole(0);
    run.forwarder.set_target(Some(best));
    (0..24).for_each(|_| run.picture(0));
    assert_eq!(run.forwarder.awaits_keyframe_of(), None, "{run:?}");
    let current = run.forwarder.current().expect("something is sent");
    assert!(current.spatial + 1 >= coding.spatial(), "{run:?}: {current:?}");
    assert!(coding == Coding::H264 || current.temporal >= 2, "{run:?}: {current:?}");
    run.check();
}

#[test]
fn whatever_is_switched_every_frame_comes_with_what_it_needs() {
    for coding in Coding::ALL {
        (0..200).for_each(|seed| run(seed, coding, 0));
    }
}

#[test]
fn loss_before_the_server_confuses_nobody() {
    for coding in Coding::ALL {
        (0..200).for_each(|seed| run(seed, coding, 4 + seed % 60));
    }
}

/// Within so many pictures after a switch was wished for, what is switched to or from vanishes.
const VANISHES_WITHIN: u32 = 6;

#[test]
fn a_size_that_vanishes_in_the_middle_of_a_switch_leaves_the_others() {
    for coding in Coding::ALL.into_iter().filter(|coding| coding.spatial() > 1) {
        // Where a size needs nothing of the others but in keyframes, and a description says so, the next takes one.
        let allowed = u32::from(coding.is_key_only() && coding.is_described());
        for (from, to) in [(0, 2), (1, 2), (2, 1), (2, 0), (2, 2)] {
            for seed in 0..u64::from(VANISHES_WITHIN) * 20 {
                let mut run = Run::new(seed, coding, true, 1);
                let layer = |spatial| Some(Layer { spatial, ..Layer::whole(0) });
                run.forwarder.set_target(layer(from));
                run.stands_still(5 + seed as u32 % 7);
                run.forwarder.set_target(layer(to));
                run.stands_still(seed as u32 % VANISHES_WITHIN);
                run.encoders[0].gives_up_top();
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
    for coding in Coding::ALL.into_iter().filter(|coding| coding.spatial() == 1) {
        for (from, to) in [(0, 1), (1, 0), (1, 1)] {
            for seed in 0..u64::from(VANISHES_WITHIN) * 20 {
                let mut run = Run::new(seed, coding, true, 2);
                run.forwarder.set_target(Some(Layer::whole(from)));
                run.stands_still(5 + seed as u32 % 7);
                run.forwarder.set_target(Some(Layer::whole(to)));
                run.stands_still(seed as u32 % VANISHES_WITHIN);
                run.encoders[1].gives_up_top();
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
