//! One incoming video stream: its repairs, its keyframes, its rate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dependency::DescriptorReader;
use super::history::{History, NewPacket, StoredPacket};
use super::layer::{Layer, Rung, SPATIAL_LAYERS};
use super::payload::{PayloadInfo, VideoCodec, inspect};
use super::rates::Rates;
use super::size::{self, PictureSize, Sizes};
use crate::units::{Bitrate, SeqNo};

/// Missing packets tracked at once. More than this is no loss to repair but an outage: a keyframe is cheaper.
const MISSING_MAX: usize = 256;
/// A gap this wide is a stream that began anew rather than loss.
const GAP_MAX: i64 = 3000;
/// Packets whose descriptors are read again when a structure came after them: those of its picture, which is all that a
/// structure overtakes on any network.
const READ_AGAIN_MAX: i64 = 64;
/// How long a gap may be mere reordering before the first NACK.
const REORDER_WAIT: Duration = Duration::from_millis(15);
/// Between two NACKs for the same packet: beyond most round trips, so that the first repair had its chance.
const NACK_INTERVAL: Duration = Duration::from_millis(80);
/// NACKs sent for one packet; after 800 ms its frame is no longer worth it.
const NACK_TRIES_MAX: u8 = 10;
/// Keyframes are asked for at most this often: each costs its publisher several ordinary frames, and a burst of
/// joiners is served by one.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(400);
/// A stream without packets for this long does not flow.
const FLOW_TIMEOUT: Duration = Duration::from_secs(2);
/// Nor does one without packets for this long while another of the same camera goes on: longer than between two pictures
/// in the dark, and than a few that an encoder leaves out.
const BEHIND_TIMEOUT: Duration = Duration::from_millis(600);
/// A keyframe is sent to newcomers again for this long: what has followed since is decoded in a moment, and fits into
/// few runs of a forwarder.
const REPLAY_AGE_MAX: Duration = Duration::from_millis(1500);
/// With so many packets at most, itself and what has followed: a new one costs less than more.
const REPLAY_PACKETS_MAX: i64 = 160;
/// What a picture of half the width is meant to take, of the whole's rate: about what encoders give it.
const HALF_SIZE_PERCENT: u64 = 40;

/// One incoming stream. Retransmitted packets enter by the same door as others, under their original number.
#[derive(Debug, Default)]
pub struct Uplink {
    /// The lowest number that came: nothing is missing before it.
    lowest: Option<SeqNo>,
    highest: Option<SeqNo>,
    missing: BTreeMap<SeqNo, Missing>,
    history: History,
    /// Keyframes wanted from this stream.
    pub keyframes: KeyframeRequests,
    last_keyframe: Option<LastKeyframe>,
    last_packet: Option<Instant>,
    rates: Rates,
    descriptors: DescriptorReader,
    /// The largest pictures that may be forwarded.
    limit: Option<PictureSize>,
    sizes: Sizes,
    /// What the packet about to be taken says of them.
    told_sizes: Option<Sizes>,
}

/// The keyframe that came last.
#[derive(Clone, Copy, Debug)]
struct LastKeyframe {
    /// Its first packet, of those that came.
    first: SeqNo,
    timestamp: u32,
    at: Instant,
}

/// What is given up first when a subscriber cannot have all of a source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Prefer {
    /// A camera's, unless its receiver says otherwise: within a stream size goes before pictures per second. Of a larger
    /// stream half of the pictures are better than all of a smaller one's, as halving them needs no keyframe; fewer are not.
    Balance,
    /// Size goes before pictures per second.
    Motion,
    /// Pictures per second go before size: a content share's, unless its receiver says otherwise.
    Detail,
}

#[derive(Debug)]
struct Missing {
    due: Instant,
    tries: u8,
}

impl Uplink {
    /// A stream of which pictures larger than this are not forwarded.
    pub fn within(limit: PictureSize) -> Uplink {
        Uplink { limit: Some(limit), ..Uplink::default() }
    }

    /// The stream begins anew, under other numbers.
    pub fn restart(&mut self) {
        *self = Uplink { limit: self.limit, ..Uplink::default() };
    }

    /// Looks into a packet about to be taken: its payload, and its dependency descriptor unless that is empty.
    pub fn inspect(&mut self, codec: VideoCodec, payload: &[u8], descriptor: &[u8]) -> PayloadInfo {
        let mut info = inspect(codec, payload);
        let reading = if descriptor.is_empty() { None } else { self.descriptors.read(descriptor) };
        if let Some(reading) = reading {
            if codec == VideoCodec::Av1 {
                info.starts_keyframe = reading.described.has_structure && reading.begins_frame;
            }
            info = reading.describe(info);
        }
        let structure = self.descriptors.structure().filter(|_| info.brings_structure());
        let described = structure.and_then(|structure| size::described(structure.sizes()));
        // The descriptor tells AV1's layers apart, and the sequence header does not; elsewhere the codec knows best.
        self.told_sizes = match codec {
            VideoCodec::Av1 => described.or_else(|| size::told(codec, payload, &info)),
            _ => size::told(codec, payload, &info).or(described),
        };
        info
    }

    /// The highest spatial layer whose pictures are within the limit, as far as their sizes are known; `None` when even the
    /// smallest are too large.
    pub fn ceiling(&self) -> Option<u8> {
        let all = SPATIAL_LAYERS as u8;
        let Some(limit) = self.limit else { return Some(all - 1) };
        let too_large = |size: &Option<PictureSize>| size.is_some_and(|size| !size.fits(limit));
        let within = self.sizes.iter().position(too_large).map_or(all, |at| at as u8);
        within.checked_sub(1)
    }

    /// The size of the smallest pictures, when even they are larger than the limit.
    pub fn too_large(&self) -> Option<PictureSize> {
        if self.ceiling().is_some() { None } else { self.sizes[0] }
    }

    /// What came before the structure that it goes by could not be read, or was misread. What goes by another is left alone.
    fn read_again(&mut self, after: SeqNo, highest: SeqNo) {
        for step in 1..=after.distance_to(highest).min(READ_AGAIN_MAX) {
            let Some(packet) = self.history.get_mut(after.plus(step)) else { continue };
            if packet.info.brings_structure() {
                break;
            }
            if let Some(reading) = self.descriptors.read(&packet.descriptor) {
                packet.info = reading.describe(packet.info);
                packet.structure = self.descriptors.structure().cloned();
            }
        }
    }

    /// Takes one packet; returns it as stored, or `None` when it is a duplicate or too old to matter. `wire_seq` is
    /// its number on the wire.
    pub fn receive(
        &mut self,
        now: Instant,
        wire_seq: u16,
        mut packet: NewPacket<'_>,
    ) -> Option<&StoredPacket> {
        let seq = match self.highest {
            None => SeqNo::first(wire_seq),
            Some(highest) => highest.extend(wire_seq),
        };
        let highest = *self.highest.get_or_insert(seq);
        let ahead = highest.distance_to(seq);
        if ahead > GAP_MAX {
            self.missing.clear();
            self.last_keyframe = None;
        } else if ahead > 0 {
            if self.missing.len() + ahead as usize > MISSING_MAX + 1 {
                self.missing.clear();
                self.keyframes.request();
            } else {
                for step in 1..ahead {
                    self.missing.insert(highest.plus(step), Missing { due: now + REORDER_WAIT, tries: 0 });
                }
            }
        } else {
            self.missing.remove(&seq);
        }
        self.lowest = Some(self.lowest.map_or(seq, |lowest| lowest.min(seq)));
        self.highest = Some(highest.max(seq));
        self.last_packet = Some(now);
        self.rates.count(now, &packet.info, packet.payload.len());
        if ahead < 0 && packet.info.brings_structure() {
            self.read_again(seq, highest);
        }
        // A repair of what is past tells nothing of what comes.
        let is_past = |last: LastKeyframe| seq < last.first && packet.timestamp != last.timestamp;
        let is_news = !self.last_keyframe.is_some_and(is_past);
        self.sizes = self.told_sizes.take().filter(|_| is_news).unwrap_or(self.sizes);
        packet.info.is_too_large = self.ceiling().is_none_or(|ceiling| packet.info.spatial > ceiling);
        let structure = self.descriptors.structure().filter(|_| packet.info.described.is_some());
        let stored = self.history.store(now, seq, packet, structure)?;
        if stored.info.starts_keyframe {
            self.keyframes.arrived();
            match &mut self.last_keyframe {
                // Parameter sets, too, are what a keyframe begins with.
                Some(last) if last.timestamp == stored.timestamp => last.first = last.first.min(seq),
                Some(last) if seq < last.first => {}
                last => *last = Some(LastKeyframe { first: seq, timestamp: stored.timestamp, at: now }),
            }
        }
        Some(stored)
    }

    /// The first packet of the last keyframe.
    pub fn last_keyframe(&self) -> Option<SeqNo> {
        self.last_keyframe.as_ref().map(|last| last.first)
    }

    /// The packets from the last keyframe on, for a newcomer to begin with. `None` when it is not recent, when too much
    /// has followed, and when something of it is missing.
    pub fn since_keyframe(&self, now: Instant) -> Option<impl Iterator<Item = &StoredPacket>> {
        let last = self.last_keyframe?;
        let count = last.first.distance_to(self.highest?) + 1;
        let packets = move || (0..count).map_while(move |step| self.history.get(last.first.plus(step)));
        let is_recent = now.saturating_duration_since(last.at) <= REPLAY_AGE_MAX;
        let is_within = packets().next().is_some_and(|first| !first.info.is_too_large);
        let is_whole = count <= REPLAY_PACKETS_MAX && packets().count() as i64 == count;
        // What is missing before it may be the parameter sets that it begins with, unless another picture ends there.
        let timestamp = packets().next().map(|first| first.timestamp);
        let is_before = |packet: &StoredPacket| Some(packet.timestamp) != timestamp;
        let mut earlier = (1..=REPLAY_PACKETS_MAX).map(|step| last.first.plus(-step));
        let end = earlier.find(|seq| self.history.get(*seq).is_none_or(is_before));
        let has_beginning =
            end.is_some_and(|end| self.history.get(end).is_some() || self.lowest == Some(end.plus(1)));
        (is_recent && is_within && is_whole && has_beginning).then(packets)
    }

    /// What there is from this packet on, in the publisher's order, if it is little enough to be sent at once.
    pub fn since(&self, first: SeqNo) -> Option<impl Iterator<Item = &StoredPacket>> {
        let count = first.distance_to(self.highest?) + 1;
        let packets = (0..count).filter_map(move |step| self.history.get(first.plus(step)));
        (count <= REPLAY_PACKETS_MAX).then_some(packets)
    }

    /// Whether this number is missing and may still come: a repair of another is of a stream that has ended, or nothing new.
    pub fn is_missing(&self, wire_seq: u16) -> bool {
        self.highest.is_some_and(|highest| self.missing.contains_key(&highest.extend(wire_seq)))
    }

    /// Notes that packets are coming, before the first is taken.
    pub fn touch(&mut self, now: Instant) {
        self.last_packet = Some(now);
    }

    /// Collects the numbers to ask for again now, in order. What has been asked for too often is given up.
    pub fn nacks_due(&mut self, now: Instant, numbers: &mut Vec<u16>) {
        self.missing.retain(|seq, missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries == NACK_TRIES_MAX {
                return false;
            }
            missing.tries += 1;
            missing.due = now + NACK_INTERVAL;
            numbers.push(seq.wire());
            true
        });
    }

    /// Whether [`nacks_due`](Self::nacks_due) will have something to ask for.
    pub fn lacks_packets(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether its publisher is to be asked for something: a repair or a keyframe.
    pub fn wants_something(&self) -> bool {
        self.lacks_packets() || self.keyframes.wanted
    }

    /// Nobody takes any of it: nothing is asked for, and what is missing is given up. Whoever comes later begins with a
    /// keyframe that [`since_keyframe`](Self::since_keyframe) has whole, or with a new one.
    pub fn want_nothing(&mut self) {
        self.missing.clear();
        self.keyframes.wanted = false;
    }

    /// The recent packets, for repairs towards subscribers.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// True while packets keep coming.
    pub fn is_flowing(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|last| now.saturating_duration_since(last) < FLOW_TIMEOUT)
    }

    /// Whether this stream has stopped while `other`, of the same pictures, has gone on.
    pub fn is_behind(&self, other: &Uplink) -> bool {
        match (self.last_packet, other.last_packet) {
            (Some(last), Some(other)) => other.saturating_duration_since(last) >= BEHIND_TIMEOUT,
            _ => false,
        }
    }

    /// The payload rate over the last full second; zero before that and once the stream has stopped.
    pub fn rate(&self, now: Instant) -> Bitrate {
        if self.is_flowing(now) { self.rates.total() } else { Bitrate::default() }
    }

    /// What it has gone on taking for a few seconds, bursts left out; `None` while that is not known.
    pub fn steady_rate(&self) -> Option<Bitrate> {
        self.rates.steady()
    }

    /// Appends this stream's rungs to a ladder, lowest first; none for what is too large. `announced` is the most that its
    /// publisher will send, zero if it did not say; a stream that has not been measured yet is one rung of that rate.
    pub fn rungs(
        &self,
        now: Instant,
        stream: u32,
        announced: Bitrate,
        prefer: Prefer,
        ladder: &mut Vec<Rung>,
    ) {
        let Some(ceiling) = self.ceiling() else { return };
        let flowing = self.is_flowing(now);
        let whole = self.rates.total();
        let most = if announced > Bitrate::default() { announced } else { whole };
        let all = Layer { spatial: ceiling, ..Layer::whole(stream) };
        if !flowing || whole == Bitrate::default() {
            return ladder.push(Rung { layer: all, bitrate: most, nominal: most, flowing });
        }
        let (largest, temporal) = self.rates.highest();
        let spatial = largest.min(ceiling);
        let mut put = |s: u8, t: u8| {
            // The highest of each is called all there is: so it still fits when the encoder adds one.
            let layer = Layer {
                stream,
                spatial: if s == spatial { all.spatial } else { s },
                temporal: if t == temporal { all.temporal } else { t },
            };
            let halvings = u32::from(largest - s);
            let nominal =
                Bitrate::bps(most.as_bps() * HALF_SIZE_PERCENT.pow(halvings) / 100u64.pow(halvings));
            ladder.push(Rung { layer, bitrate: self.rates.up_to(s, t).min(most), nominal, flowing });
        };
        // One path from the smallest to the whole: first all of what is given up last.
        match prefer {
            Prefer::Balance | Prefer::Motion => {
                (0..temporal).for_each(|t| put(0, t));
                (0..=spatial).for_each(|s| put(s, temporal));
            }
            Prefer::Detail => {
                (0..spatial).for_each(|s| put(s, 0));
                (0..=temporal).for_each(|t| put(spatial, t));
            }
        }
    }
}

/// Merges everybody's wish for a keyframe into few requests to the publisher.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    wanted: bool,
    last_sent: Option<Instant>,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe.
    pub fn request(&mut self) {
        self.wanted = true;
    }

    /// True when a request should go out now. Repeated until a keyframe has arrived, since either may be lost.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.last_sent.is_none_or(|last| now.saturating_duration_since(last) >= KEYFRAME_INTERVAL);
        let send = self.wanted && due;
        if send {
            self.last_sent = Some(now);
        }
        send
    }

    fn arrived(&mut self) {
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_start as start;

    fn packet(starts_keyframe: bool) -> NewPacket<'static> {
        let info = PayloadInfo { starts_keyframe, ..PayloadInfo::default() };
        NewPacket {
            timestamp: 0,
            marker: false,
            payload: &[0; 1000],
            info,
            codec: 0,
            orientation: None,
            descriptor: &[],
        }
    }

    fn nacks(uplink: &mut Uplink, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        uplink.nacks_due(now, &mut numbers);
        numbers
    }

    #[test]
    fn a_gap_is_asked_for_after_a_moment_and_not_for_ever() {
        let (mut uplink, now) = (Uplink::default(), start());
        for seq in [65_534, 65_535, 3] {
            uplink.receive(now, seq, packet(false));
        }
        assert_eq!(nacks(&mut uplink, now), [0u16; 0], "it may be reordering");
        uplink.receive(now, 1, packet(false));
        let mut asked = Vec::new();
        for ms in 0..2000 {
            asked.extend(nacks(&mut uplink, now + Duration::from_millis(ms)));
        }
        assert_eq!(asked.len(), 2 * usize::from(NACK_TRIES_MAX));
        assert_eq!(asked[..2], [0, 2]);
    }

    #[test]
    fn an_outage_asks_for_a_keyframe_instead() {
        let (mut uplink, now) = (Uplink::default(), start());
        uplink.receive(now, 0, packet(true));
        uplink.receive(now, 1000, packet(false));
        assert_eq!(nacks(&mut uplink, now + Duration::from_secs(1)), [0u16; 0]);
        assert!(uplink.keyframes.poll(now));
    }

    #[test]
    fn keyframe_requests_are_merged_repeated_and_stop() {
        let (mut uplink, now) = (Uplink::default(), start());
        assert!(!uplink.keyframes.poll(now));
        uplink.keyframes.request();
        uplink.keyframes.request();
        assert!(uplink.keyframes.poll(now));
        assert!(!uplink.keyframes.poll(now + KEYFRAME_INTERVAL / 2));
        assert!(uplink.keyframes.poll(now + KEYFRAME_INTERVAL), "the first may have been lost");
        uplink.receive(now, 7, packet(true));
        assert!(!uplink.keyframes.poll(now + KEYFRAME_INTERVAL * 3));
    }

    #[test]
    fn a_keyframe_is_replayed_while_it_is_recent_short_and_whole() {
        fn check(packets: &[(u64, u16, u32, bool)], at_ms: u64, expected: Option<&[u16]>) {
            let (mut uplink, start) = (Uplink::default(), start());
            for (ms, seq, timestamp, starts_keyframe) in packets {
                let packet = NewPacket { timestamp: *timestamp, ..packet(*starts_keyframe) };
                uplink.receive(start + Duration::from_millis(*ms), *seq, packet);
            }
            let replayed = uplink.since_keyframe(start + Duration::from_millis(at_ms));
            let numbers = replayed.map(|packets| packets.map(|packet| packet.seq.wire()).collect::<Vec<_>>());
            assert_eq!(numbers.as_deref(), expected, "{packets:?} after {at_ms} ms");
        }
        check(&[(0, 7, 0, false)], 0, None);
        let stream = [(0, 65_534, 0, true), (0, 65_535, 0, false), (33, 0, 3000, false)];
        check(&stream, 100, Some(&[65_534, 65_535, 0]));
        check(&stream, 1500, Some(&[65_534, 65_535, 0]));
        check(&stream, 1501, None);
        check(&[stream[0], stream[2]], 100, None);
        check(&[stream[0], stream[2], (50, 65_535, 0, false)], 100, Some(&[65_534, 65_535, 0]));
        // The latest, from the first of its parameter sets on, in whatever order they came.
        let latest = [(0, 1, 0, true), (33, 4, 3000, true), (34, 3, 3000, true), (35, 2, 0, false)];
        check(&latest, 100, Some(&[3, 4]));
        // Before an IDR slice there may have been parameter sets.
        check(&[(0, 1, 0, false), (33, 3, 3000, true)], 100, None);
        check(&[(0, 1, 0, false), (33, 3, 3000, false), (33, 4, 3000, true)], 100, None);
        check(&[(0, 1, 0, false), (33, 2, 3000, false), (33, 3, 3000, true)], 100, Some(&[3]));
        check(&[(0, 1, 0, false), (33, 3, 3000, true), (50, 2, 3000, true)], 100, Some(&[2, 3]));
        let long: Vec<_> = (0..161).map(|seq| (0, seq, 0, seq == 0)).collect();
        check(&long, 0, None);
        assert_eq!(long.len() as i64, REPLAY_PACKETS_MAX + 1);
    }

    #[test]
    fn a_ladder_gives_up_first_what_matters_least() {
        fn check(prefer: Prefer, expected: &[(u8, u8, u64)]) {
            let (mut uplink, now) = (Uplink::default(), start());
            // Two spatial layers in three temporal ones, as L2T3 sends them: 0 2 1 2.
            for seq in 0..=200u16 {
                let (spatial, temporal) = ((seq % 2) as u8, [0, 2, 1, 2][usize::from(seq / 2 % 4)]);
                let info = PayloadInfo { spatial, temporal, ..PayloadInfo::default() };
                uplink.receive(
                    now + Duration::from_millis(5) * u32::from(seq),
                    seq,
                    NewPacket { info, ..packet(false) },
                );
            }
            let mut ladder = Vec::new();
            uplink.rungs(now + Duration::from_secs(1), 7, Bitrate::kbps(1500), prefer, &mut ladder);
            let seen: Vec<_> = ladder
                .iter()
                .map(|rung| (rung.layer.spatial, rung.layer.temporal, rung.bitrate.as_kbps()))
                .collect();
            assert_eq!(seen, expected, "{prefer:?}");
        }
        check(Prefer::Motion, &[(0, 0, 208), (0, 1, 408), (0, 7, 808), (3, 7, 1500)]);
        check(Prefer::Detail, &[(0, 0, 208), (3, 0, 408), (3, 1, 808), (3, 7, 1500)]);
    }

    /// A keyframe of VP8, or what follows one.
    fn vp8(size: Option<(u16, u16)>) -> Vec<u8> {
        let Some((width, height)) = size else { return vec![0x10, 0x31] };
        let (w, h) = (width.to_le_bytes(), height.to_le_bytes());
        vec![0x10, 0x30, 0x35, 0, 0x9d, 1, 0x2a, w[0], w[1], h[0], h[1]]
    }

    #[test]
    fn what_is_larger_than_the_limit_is_marked_until_a_keyframe_is_not() {
        let (mut uplink, now) = (Uplink::within(PictureSize::HD), start());
        let mut check = |seq: u16, size: Option<(u16, u16)>, too_large: bool, rungs: usize| {
            let payload = vp8(size);
            let info = uplink.inspect(VideoCodec::Vp8, &payload, &[]);
            let timestamp = u32::from(seq) * 3000;
            let stored =
                uplink.receive(now, seq, NewPacket { timestamp, info, payload: &payload, ..packet(false) });
            assert_eq!(stored.map(|stored| stored.info.is_too_large), Some(too_large), "{seq}: {size:?}");
            let mut ladder = Vec::new();
            uplink.rungs(now, 7, Bitrate::kbps(1500), Prefer::Motion, &mut ladder);
            assert_eq!(ladder.len(), rungs, "{seq}: {size:?}");
        };
        check(1, None, false, 1); // nothing is known yet
        check(3, Some((1280, 720)), false, 1);
        check(4, None, false, 1);
        check(5, Some((1920, 1080)), true, 0);
        check(6, None, true, 0);
        check(2, Some((320, 180)), true, 0); // the repair of an older one
        check(7, Some((720, 1280)), false, 1);
        check(8, None, false, 1);
        assert_eq!(uplink.too_large(), None);
        uplink.restart();
        let payload = vp8(Some((1920, 1080)));
        let info = uplink.inspect(VideoCodec::Vp8, &payload, &[]);
        uplink.receive(now, 1, NewPacket { info, payload: &payload, ..packet(false) });
        assert_eq!(uplink.too_large(), Some(PictureSize::FHD), "the limit outlives a new beginning");
    }

    #[test]
    fn of_spatial_layers_those_within_the_limit_are_left() {
        // VP9 in three layers: 480x270, 960x540, 1920x1080.
        let structure = [0x50, 1, 224, 1, 14, 3, 192, 2, 28, 7, 128, 4, 56];
        let (mut uplink, now) = (Uplink::within(PictureSize::HD), start());
        let mut marked = Vec::new();
        for seq in 0..=200u16 {
            let spatial = (seq % 3) as u8;
            let begins = if seq == 0 { 0xaa } else { 0xe8 };
            let descriptor = [begins, 0x80, 1, spatial << 1, 5];
            let payload = [&descriptor[..], if seq == 0 { &structure } else { &[] }].concat();
            let payload = [payload, vec![0; 1000]].concat();
            let info = uplink.inspect(VideoCodec::Vp9, &payload, &[]);
            let at = now + Duration::from_millis(5) * u32::from(seq);
            let timestamp = u32::from(seq / 3) * 3000;
            let stored =
                uplink.receive(at, seq, NewPacket { timestamp, info, payload: &payload, ..packet(false) });
            marked.push(stored.is_some_and(|stored| stored.info.is_too_large));
        }
        assert!(marked.iter().enumerate().all(|(seq, marked)| *marked == (seq % 3 == 2)), "{marked:?}");
        assert_eq!((uplink.ceiling(), uplink.too_large()), (Some(1), None));
        let mut ladder = Vec::new();
        uplink.rungs(now + Duration::from_secs(1), 7, Bitrate::kbps(1500), Prefer::Motion, &mut ladder);
        let sizes: Vec<_> = ladder.iter().map(|rung| rung.layer.spatial).collect();
        assert_eq!(sizes, [0, 1]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let (mut uplink, now) = (Uplink::default(), start());
        for seq in 0..=100u16 {
            uplink.receive(now + Duration::from_millis(10) * u32::from(seq), seq, packet(false));
        }
        let end = now + Duration::from_secs(1);
        assert_eq!(uplink.rate(end).as_kbps(), 808);
        assert!(uplink.is_flowing(end));
        assert!(!uplink.is_flowing(end + FLOW_TIMEOUT));
        assert_eq!(uplink.rate(end + FLOW_TIMEOUT).as_bps(), 0);
    }
}
