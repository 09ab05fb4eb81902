//! What is published: a camera or a content share, its streams, and who is subscribed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use campanile_media::forward::{
    AllocatedStream, Forwarder, PictureSize, Prefer, Rung, Uplink, VideoCodec, Wish,
};
use campanile_media::peer::sdp::{Codec, NegotiatedCodec};
use campanile_media::units::{Bitrate, SeqNo};
use campanile_wire::signaling::{MediaType, QualityPreference, StreamDescriptor};

use crate::bandwidth::Share;
use crate::ids::{AttendeeKey, SessionId};
use crate::replay::Replayed;

/// How long an announced layer may stay silent before it leaves the index: its encoder may still be starting.
const ANNOUNCED_GRACE: Duration = Duration::from_secs(4);

/// One source: a *group* of streams of the same picture.
#[derive(Debug)]
pub(crate) struct Source {
    /// Unique in the meeting and rising: clients keep an attendee's highest.
    pub(crate) group_id: u32,
    /// Whose session sends it.
    pub(crate) owner: SessionId,
    /// Who shows it.
    pub(crate) attendee: AttendeeKey,
    /// The caller's own name for that attendee.
    pub(crate) external_user_id: String,
    /// Its streams in the order in which the client described them: low, mid, hi, or only one.
    pub(crate) layers: Vec<Layer>,
    /// The codecs that its publisher may send, as negotiated.
    pub(crate) codecs: Vec<NegotiatedCodec>,
    /// Everyone who watches it.
    pub(crate) subscribers: Vec<Subscriber>,
    /// What has come in and was not offered to them yet: of which layer, and its number.
    pub(crate) fresh: Vec<(usize, SeqNo)>,
    /// Its sender has been told what its only receiver bears.
    pub(crate) told_estimate: bool,
    /// Since when nothing comes that is small enough for this meeting.
    pub(crate) too_large_since: Option<Instant>,
}

/// One stream of a source: a simulcast layer, or the only one.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Unique in the meeting, never used again.
    pub(crate) stream_id: u32,
    /// The RTP stream id that names it, in simulcast.
    pub(crate) rid: Option<String>,
    /// What the publisher announced as its most; zero is a layer switched off.
    pub(crate) max_bitrate: Bitrate,
    /// Pictures per second, as announced.
    pub(crate) framerate: u32,
    /// The SSRC it comes under, once known.
    pub(crate) ssrc: Option<u32>,
    /// Its packets.
    pub(crate) uplink: Uplink,
    announced_at: Instant,
    /// What its publisher says in its packets that it sends at the moment, if it ever did.
    allocation: Option<AllocatedStream>,
}

/// One subscription to a source.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Whose session receives it.
    pub(crate) session: SessionId,
    /// In which media section.
    pub(crate) mid: String,
    /// Since when it is this source's.
    pub(crate) since: Instant,
    /// Whether media flowed to it already: what is sent at once then overtakes the answer that says whose it is.
    pub(crate) overtakes: bool,
    /// Which stream.
    pub(crate) wish: Wish,
    /// What it gives up last.
    pub(crate) preference: QualityPreference,
    /// Paused by the client.
    pub(crate) paused: bool,
    /// What it gets of its receiver's bandwidth.
    pub(crate) share: Share,
    /// The outgoing stream.
    pub(crate) forwarder: Forwarder,
    /// What of the past it was sent last.
    pub(crate) replayed: Option<Replayed>,
    /// When it was last sent what had overtaken the packet to begin with.
    pub(crate) caught_up_at: Option<Instant>,
}

impl Layer {
    /// A layer just announced, of pictures that may be so large.
    pub(crate) fn new(
        stream_id: u32,
        rid: Option<String>,
        descriptor: &StreamDescriptor,
        largest: PictureSize,
        now: Instant,
    ) -> Layer {
        let mut layer = Layer {
            stream_id,
            rid,
            max_bitrate: Bitrate::default(),
            framerate: 0,
            ssrc: None,
            uplink: Uplink::within(largest),
            announced_at: now,
            allocation: None,
        };
        layer.announce(descriptor, now);
        layer
    }

    /// Takes what the client now says of it; true if that is new.
    pub(crate) fn announce(&mut self, descriptor: &StreamDescriptor, now: Instant) -> bool {
        let max_bitrate = Bitrate::kbps(u64::from(descriptor.max_bitrate_kbps));
        let is_news = (self.max_bitrate, self.framerate) != (max_bitrate, descriptor.framerate);
        if self.max_bitrate != max_bitrate {
            self.announced_at = now;
            self.allocation = None;
        }
        self.max_bitrate = max_bitrate;
        self.framerate = descriptor.framerate;
        is_news
    }

    fn is_on_offer(&self, now: Instant) -> bool {
        self.limit() > Bitrate::default() && self.is_alive(now) && self.uplink.ceiling().is_some()
    }

    /// Packets come, or may still be about to.
    fn is_alive(&self, now: Instant) -> bool {
        let starting = now.saturating_duration_since(self.announced_at) < ANNOUNCED_GRACE;
        starting || self.uplink.is_flowing(now)
    }

    /// Its publisher says in its packets that it sends nothing of it.
    fn is_disclaimed(&self) -> bool {
        self.allocation.is_some_and(|allocation| allocation.bitrate == Bitrate::default())
    }

    /// Its publisher says in its packets that it sends some of it.
    fn is_claimed(&self) -> bool {
        self.allocation.is_some_and(|allocation| allocation.bitrate > Bitrate::default())
    }

    /// The most that its publisher will send; zero for a layer switched off.
    fn limit(&self) -> Bitrate {
        match self.allocation {
            // A client that tells in its packets which layers it sends does not tell it in signaling.
            Some(allocation) if allocation.bitrate == Bitrate::default() => allocation.bitrate,
            Some(allocation) if self.max_bitrate == Bitrate::default() => allocation.bitrate,
            _ => self.max_bitrate,
        }
    }
}

impl Source {
    /// The streams that belong into the index: those that flow or have just been announced, and are not too large. While
    /// nothing of a source flows, all that was announced stays on offer, as its publisher does not take it away either.
    pub(crate) fn on_offer(&self, now: Instant) -> impl Iterator<Item = &Layer> {
        let only_one = self.layers.len() == 1;
        let is_silent = !self.layers.iter().any(|layer| layer.is_on_offer(now));
        let is_announced = move |layer: &Layer| is_silent && layer.limit() > Bitrate::default();
        self.layers.iter().filter(move |layer| only_one || layer.is_on_offer(now) || is_announced(layer))
    }

    /// A camera of which nothing comes, though its publisher has not switched it off: its network may be down, or its
    /// page asleep. Content may stand still.
    pub(crate) fn is_paused_at_source(&self, now: Instant) -> bool {
        !self.attendee.content && !self.layers.iter().any(|layer| layer.is_alive(now))
    }

    /// The index's description of the streams on offer.
    pub(crate) fn describe(&self, now: Instant) -> impl Iterator<Item = StreamDescriptor> {
        self.on_offer(now).map(move |layer| {
            let measured = layer.uplink.rate(now);
            let average =
                if measured > Bitrate::default() { measured.min(layer.limit()) } else { layer.limit() };
            let (width, height) = layer.allocation.and_then(|allocation| allocation.size).unwrap_or((0, 0));
            StreamDescriptor {
                stream_id: layer.stream_id,
                group_id: self.group_id,
                framerate: layer.framerate,
                max_bitrate_kbps: layer.limit().as_kbps().try_into().unwrap_or(u32::MAX),
                avg_bitrate_bps: average.as_bps().try_into().unwrap_or(u32::MAX),
                attendee_id: self.attendee.to_string(),
                external_user_id: self.external_user_id.clone(),
                media_type: MediaType::Video,
                track_label: String::new(),
                width,
                height,
            }
        })
    }

    /// Takes what the publisher says in its packets on what it sends; true if the index has to tell it.
    pub(crate) fn allocate(&mut self, streams: &[AllocatedStream]) -> bool {
        // The only layer is what there is, even while there is no bandwidth for it.
        if self.layers.len() == 1 && streams.iter().all(|stream| stream.bitrate == Bitrate::default()) {
            return false;
        }
        let mut is_news = false;
        for (at, layer) in self.layers.iter_mut().enumerate() {
            let told = streams.get(at).copied().unwrap_or_default();
            let known = layer.allocation.unwrap_or_default();
            // Sizes come along now and then only.
            let allocation = AllocatedStream { size: told.size.or(known.size), ..told };
            let is_off = |allocation: AllocatedStream| allocation.bitrate == Bitrate::default();
            let was_off = layer.allocation.map_or(layer.max_bitrate == Bitrate::default(), is_off);
            is_news |= was_off != is_off(allocation) || known.size != allocation.size;
            layer.allocation = Some(allocation);
        }
        is_news
    }

    /// The layer with this stream id.
    pub(crate) fn layer(&self, stream_id: u32) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.stream_id == stream_id)
    }

    /// The layer with this stream id, to change.
    pub(crate) fn layer_mut(&mut self, stream_id: u32) -> Option<&mut Layer> {
        self.layers.iter_mut().find(|layer| layer.stream_id == stream_id)
    }

    /// What a subscriber would rather keep of it.
    pub(crate) fn preference(&self, subscriber: &Subscriber) -> Prefer {
        match subscriber.preference {
            QualityPreference::MaintainFramerate => Prefer::Motion,
            QualityPreference::MaintainResolution => Prefer::Detail,
            QualityPreference::Balanced if self.attendee.content => Prefer::Detail,
            QualityPreference::Balanced => Prefer::Balance,
        }
    }

    /// What can be sent of it, and what that takes, lowest first.
    pub(crate) fn ladder(&self, now: Instant, prefer: Prefer) -> Vec<Rung> {
        let mut ladder: Vec<Rung> = Vec::new();
        for layer in &self.layers {
            let smaller_flows = ladder.iter().any(|rung| rung.flowing);
            let mut rungs = Vec::new();
            layer.uplink.rungs(now, layer.stream_id, layer.limit(), prefer, &mut rungs);
            // Those who watch it wait for no timeout. What is shared may stand still in one size, and an encoder that has made a
            // large keyframe leaves frames out until it has kept its rate: what its publisher says that it sends goes on.
            let is_behind = !self.attendee.content
                && !layer.is_claimed()
                && self.layers.iter().any(|other| layer.uplink.is_behind(&other.uplink));
            if is_behind || self.is_abandoned(layer, now) {
                rungs.iter_mut().for_each(|rung| rung.flowing = false);
            }
            // A slide that changes takes much for a moment, and makes nothing else stop for that.
            if let Some(steady) = layer.uplink.steady_rate().filter(|_| self.attendee.content) {
                rungs.iter_mut().for_each(|rung| rung.bitrate = rung.bitrate.min(steady));
            }
            // How often its pictures per second may be halved before all of a smaller stream's are better.
            let halvings = match prefer {
                Prefer::Motion => 0,
                Prefer::Balance => 1,
                Prefer::Detail => usize::MAX,
            };
            if smaller_flows {
                // Encoders double them with each temporal layer.
                let temporal: BTreeSet<u8> = rungs.iter().map(|rung| rung.layer.temporal).collect();
                let kept: BTreeSet<u8> =
                    temporal.into_iter().rev().take(halvings.saturating_add(1)).collect();
                rungs.retain(|rung| kept.contains(&rung.layer.temporal));
            }
            ladder.extend(rungs);
        }
        // The only stream is what there is: a still screen may send nothing for seconds and is not gone. It takes nothing then,
        // whatever was announced.
        if let [only] = &self.layers[..] {
            ladder.iter_mut().for_each(|rung| rung.flowing = true);
            if !only.is_alive(now) {
                ladder.iter_mut().for_each(|rung| rung.bitrate = Bitrate::default());
            }
        }
        ladder
    }

    /// Whether its publisher says that it has stopped while it sends another, and so it seems.
    fn is_abandoned(&self, layer: &Layer, now: Instant) -> bool {
        let goes_on = |other: &Layer| !other.is_disclaimed() && other.uplink.is_flowing(now);
        layer.is_disclaimed() && self.layers.iter().any(goes_on)
    }

    /// What its publisher announced as the most, of its largest stream.
    pub(crate) fn most(&self) -> Bitrate {
        self.layers.iter().map(|layer| layer.max_bitrate).max().unwrap_or_default()
    }

    /// What flows has changed: sets the subscriptions that get what they want to what suits them now.
    pub(crate) fn retarget(&mut self, now: Instant) {
        let mut ladders: BTreeMap<Prefer, Vec<Rung>> = BTreeMap::new();
        for at in 0..self.subscribers.len() {
            let prefer = self.preference(&self.subscribers[at]);
            let ladder = ladders.entry(prefer).or_insert_with(|| self.ladder(now, prefer));
            self.subscribers[at].retarget(ladder);
        }
        self.request_keyframes();
    }

    /// Asks for the keyframes that subscriptions wait for.
    pub(crate) fn request_keyframes(&mut self) {
        for subscriber in &self.subscribers {
            let awaited = subscriber.forwarder.awaits_keyframe_of();
            let layer = awaited.and_then(|id| self.layers.iter_mut().find(|layer| layer.stream_id == id));
            if let Some(layer) = layer {
                layer.uplink.keyframes.request();
            }
        }
    }
}

/// The codec that the forwarder can read, of those that can be negotiated.
pub(crate) fn forwardable(codec: &Codec) -> Option<VideoCodec> {
    match codec {
        Codec::Vp8 => Some(VideoCodec::Vp8),
        Codec::H264 { .. } => Some(VideoCodec::H264),
        Codec::Vp9 { profile: 0 } => Some(VideoCodec::Vp9),
        Codec::Av1 => Some(VideoCodec::Av1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use campanile_media::forward::{NewPacket, PayloadInfo};
    use uuid::Uuid;

    use super::*;
    use crate::ids::AttendeeId;

    /// A camera in two streams of 300 and 1200 kbit/s, each in three temporal layers: 0 2 1 2.
    fn simulcast(now: Instant) -> Source {
        let layer = |stream_id: u32, max_bitrate_kbps: u32| {
            let descriptor = StreamDescriptor {
                stream_id,
                group_id: 1,
                framerate: 15,
                max_bitrate_kbps,
                avg_bitrate_bps: 0,
                attendee_id: String::new(),
                external_user_id: String::new(),
                media_type: MediaType::Video,
                track_label: String::new(),
                width: 0,
                height: 0,
            };
            let mut layer = Layer::new(stream_id, None, &descriptor, PictureSize::HD, now);
            for seq in 0..=100u16 {
                let info =
                    PayloadInfo { temporal: [0, 2, 1, 2][usize::from(seq % 4)], ..PayloadInfo::default() };
                let packet = NewPacket {
                    timestamp: u32::from(seq) * 900,
                    marker: true,
                    payload: &[0; 300],
                    info,
                    codec: 0,
                    orientation: None,
                    descriptor: &[],
                };
                layer.uplink.receive(now + Duration::from_millis(10) * u32::from(seq), seq, packet);
            }
            layer
        };
        Source {
            group_id: 1,
            owner: SessionId(1),
            attendee: AttendeeKey { id: AttendeeId(Uuid::from_u128(1)), content: false },
            external_user_id: String::new(),
            layers: vec![layer(1, 300), layer(2, 1200)],
            codecs: Vec::new(),
            subscribers: Vec::new(),
            fresh: Vec::new(),
            told_estimate: false,
            too_large_since: None,
        }
    }

    #[test]
    fn a_ladder_of_simulcast_goes_by_what_is_to_be_kept() {
        let now = crate::test_start();
        let mut source = simulcast(now);
        let check = |source: &Source, prefer: Prefer, expected: &[(u32, u8)]| {
            let ladder = source.ladder(now + Duration::from_secs(1), prefer);
            let rungs: Vec<_> = ladder.iter().map(|rung| (rung.layer.stream, rung.layer.temporal)).collect();
            assert_eq!(rungs, expected, "{prefer:?}");
        };
        check(&source, Prefer::Balance, &[(1, 0), (1, 1), (1, 7), (2, 1), (2, 7)]);
        check(&source, Prefer::Detail, &[(1, 0), (1, 1), (1, 7), (2, 0), (2, 1), (2, 7)]);
        check(&source, Prefer::Motion, &[(1, 0), (1, 1), (1, 7), (2, 7)]);
        source.layers.remove(0);
        for prefer in [Prefer::Balance, Prefer::Detail, Prefer::Motion] {
            check(&source, prefer, &[(2, 0), (2, 1), (2, 7)]); // there is no smaller one to have instead
        }
    }

    #[test]
    fn what_its_publisher_says_it_gives_up_is_not_waited_for() {
        let now = crate::test_start();
        let mut source = simulcast(now);
        let at = now + Duration::from_secs(1);
        let mut check = |told_kbps: [u64; 2], expected: [bool; 2]| {
            source.allocate(
                &told_kbps.map(|kbps| AllocatedStream { bitrate: Bitrate::kbps(kbps), size: None }),
            );
            let ladder = source.ladder(at, Prefer::Balance);
            let flows = [1, 2].map(|id| ladder.iter().any(|rung| rung.layer.stream == id && rung.flowing));
            assert_eq!(flows, expected, "{told_kbps:?}");
        };
        check([300, 1200], [true, true]);
        check([300, 0], [true, false]);
        check([300, 1200], [true, true]);
        check([0, 1200], [false, true]);
        check([0, 0], [true, true]); // and yet it comes
    }
}
