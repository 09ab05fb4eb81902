//! Pictures for newcomers without a keyframe of their own: the last one and what has followed, from the history that
//! serves repairs. Its publisher is asked for another only where that is old, long or incomplete.

use std::time::{Duration, Instant};

use campanile_media::forward::StoredPacket;
use campanile_media::peer::PeerState;
use campanile_media::units::SeqNo;

use crate::ids::SessionId;
use crate::link::MediaLink;
use crate::meeting::Meeting;
use crate::service::Cx;
use crate::source::{Source, Subscriber};

/// What would take longer than this to leave is no quicker than a new keyframe, which brings less.
const SENDING_MAX: Duration = Duration::from_millis(150);
/// A client may have to take up SUBSCRIBE_ACK first, and so miss one; whoever asks again needs something else.
const REPLAYS_MAX: u8 = 2;
/// Who has watched for longer is not sent back into the past, but waits for what is new.
const NEWCOMER: Duration = Duration::from_secs(3);

/// The keyframe that a subscription was sent again last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Replayed {
    stream_id: u32,
    keyframe: SeqNo,
    times: u8,
}

impl Meeting {
    /// Lets subscriptions that show nothing begin, and asks publishers for the keyframes that are awaited.
    pub(crate) fn begin_pictures(&mut self, cx: &mut Cx<'_>) {
        self.forward(cx); // else what is replayed would be sent once more
        let mut begun = Vec::new();
        for source in self.sources.values_mut() {
            for at in 0..source.subscribers.len() {
                let subscriber = &source.subscribers[at];
                if subscriber.overtakes || subscriber.forwarder.current().is_some() {
                    continue; // it would come too early; or what is shown goes on until a keyframe comes
                }
                let Some(stream_id) = subscriber.forwarder.awaits_keyframe_of() else { continue };
                let id = subscriber.session;
                let link = self.sessions.get_mut(&id).and_then(|session| session.link.as_mut());
                if link.is_some_and(|link| source.replay(cx.now, at, stream_id, link)) {
                    begun.push(id);
                }
            }
            source.request_keyframes();
        }
        for id in begun {
            self.note_release(cx.now, id);
            cx.touch(self.id, id);
        }
    }

    /// A receiver cannot decode what it gets under this SSRC (PLI or FIR).
    pub(crate) fn keyframe_wanted(&mut self, cx: &mut Cx<'_>, id: SessionId, ssrc: u32) {
        self.forward(cx); // likewise
        let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link.as_mut()) else { return };
        let is_meant =
            |subscriber: &Subscriber| subscriber.session == id && subscriber.forwarder.ssrc == ssrc;
        let found = self.sources.values_mut().find_map(|source| {
            let at = source.subscribers.iter().position(is_meant)?;
            Some((source, at))
        });
        let Some((source, at)) = found else { return };
        let Subscriber { forwarder, since, .. } = &source.subscribers[at];
        let is_new = cx.now.saturating_duration_since(*since) < NEWCOMER;
        let sent = forwarder.current().map(|layer| layer.stream);
        let Some(stream_id) = forwarder.awaits_keyframe_of().or(sent) else { return };
        if is_new && source.replay(cx.now, at, stream_id, link) {
            self.note_release(cx.now, id);
            cx.touch(self.id, id);
            return;
        }
        let is_on_its_way = source.subscribers[at].share.has_keyframe_on_its_way(cx.now, stream_id, link);
        if let Some(layer) = source.layer_mut(stream_id).filter(|_| !is_on_its_way) {
            layer.uplink.keyframes.request();
        }
    }
}

impl Source {
    /// Sends one subscription the last keyframe of a stream and what has followed; false if that is not possible.
    fn replay(&mut self, now: Instant, at: usize, stream_id: u32, link: &mut MediaLink) -> bool {
        let Source { layers, codecs, subscribers, .. } = self;
        let subscriber = &mut subscribers[at];
        let Some(layer) = layers.iter().find(|layer| layer.stream_id == stream_id) else { return false };
        let Some(keyframe) = layer.uplink.last_keyframe() else { return false };
        let first = Replayed { stream_id, keyframe, times: 1 };
        let replayed = match subscriber.replayed {
            Some(last) if Replayed { times: 1, ..last } == first => {
                Replayed { times: last.times.saturating_add(1), ..first }
            }
            _ => first,
        };
        // What costs nothing to find out comes first: a client may ask as often as it likes.
        if link.peer.state() != PeerState::Connected || replayed.times > REPLAYS_MAX {
            return false;
        }
        let Some(packets) = layer.uplink.since_keyframe(now) else { return false };
        let packets: Vec<&StoredPacket> = packets.collect();
        let bytes = packets.iter().map(|packet| packet.payload.len() as u64).sum();
        // Sent again is sent again, whatever for: all of it counts against one limit.
        if link.peer.time_to_send(bytes) > SENDING_MAX || !packets.iter().all(|_| link.repairs.take(now)) {
            return false;
        }
        subscriber.replayed = Some(replayed);
        let Subscriber { forwarder, share, .. } = subscriber;
        let ssrc = forwarder.ssrc;
        forwarder.replay(now, stream_id, packets.into_iter(), |numbers, packet| {
            if let Some(codec) = codecs.get(packet.codec)
                && link.send_video(now, ssrc, &codec.codec, numbers, packet, false)
            {
                share.note_keyframe(now, stream_id, packet, link);
            }
        });
        true
    }
}
