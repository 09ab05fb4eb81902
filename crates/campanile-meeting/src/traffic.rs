//! Packets through a meeting: what comes in is mixed or forwarded, and repaired, reported and requested both ways.

use std::time::{Duration, Instant};

use campanile_media::forward::{NewPacket, StoredPacket};
use campanile_media::mix::{AudioPacket, LegId, Mixer};
use campanile_media::peer::sdp::NegotiatedCodec;
use campanile_media::peer::{PeerAddr, Received};
use campanile_media::rtcp::{self, RtcpItem, SenderInfo};
use campanile_media::rtp::RtpHeader;
use campanile_media::units::{Bitrate, SeqNo};
use campanile_wire::signaling::{ServerFrame, StreamBitrate};

use crate::ids::SessionId;
use crate::link::{MediaLink, Route};
use crate::meeting::Meeting;
use crate::roster::SILENT_DB;
use crate::service::{Cx, Event};
use crate::session::Session;
use crate::source::{Layer, Source, Subscriber, forwardable};
use crate::trace::JoinStep;

/// Items read of one RTCP datagram: reports on all streams and feedback on a few. A FIR may name hundreds.
const RTCP_ITEMS_MAX: usize = 64;
/// Packets repaired for one feedback message: a receiver that lacks more wants a keyframe.
const REPAIRS_PER_NACK_MAX: usize = 64;
/// Content shares that are watched are asked for a keyframe this often, in reports (seconds), as their codecs repair
/// themselves badly.
const CONTENT_KEYFRAME_SECONDS: u64 = 10;
/// What has overtaken the packet that a stream begins with is sent after it no more often than this: whoever sends in reverse
/// must not have everything sent to everybody many times over.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(500);
/// Packets of one source that may wait to be forwarded together: as many as its history holds at the least.
const FRESH_MAX: usize = 256;
/// Receivers whose memory is fetched at once before they are sent to: some lines of each, which the nearest cache holds.
const FETCHED_AT_ONCE: usize = 32;

impl Meeting {
    /// Decrypts one datagram and does what it says. True if it was media, which changes nothing about its link.
    pub(crate) fn receive_datagram(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        from: PeerAddr,
        bytes: &mut [u8],
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(link) = &mut session.link else { return false };
        match link.peer.handle_datagram(cx.now, from, bytes) {
            Received::Nothing => return false,
            Received::Rtcp(compound) => self.receive_rtcp(cx, id, compound),
            Received::Rtp(header, packet) => {
                let layers =
                    || self.sources.values().find(|source| source.owner == id).map(|s| s.layers.len());
                // The trace is another line of memory, which only the first packet is worth.
                let may_be_first = !link.knows_streams();
                let route = link.receive(cx.now, &header, packet, layers);
                if may_be_first && session.trace.reach(cx.now, JoinStep::FirstPacketIn) {
                    cx.event(Event::JoinTrace(session.trace.clone()));
                }
                match route {
                    None => {}
                    Some(Route::Audio) => {
                        let leg = LegId(session.audio_stream_id);
                        receive_audio(cx.now, &mut self.mixer, leg, link, &header, packet);
                    }
                    Some(Route::Layer(layer)) => self.receive_picture(cx, id, layer, false, &header, packet),
                    Some(Route::Repair(layer)) => self.receive_picture(cx, id, layer, true, &header, packet),
                }
            }
        }
        true
    }

    /// A packet of a layer, or the repair of one.
    fn receive_picture(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        layer: usize,
        is_repair: bool,
        header: &RtpHeader,
        packet: &[u8],
    ) {
        let payload = &packet[header.payload.clone()];
        let Some((link, source)) = self.publisher(id) else { return };
        let Some(codec) = link.camera_codec(header.payload_type) else { return };
        let (group_id, descriptor) = (source.group_id, link.descriptor(header, packet));
        if is_repair {
            // RFC 4588 section 4: the original number stands before the payload. Less is mere padding.
            let [high, low, original @ ..] = payload else { return };
            let sequence = u16::from_be_bytes([*high, *low]);
            let incoming = Incoming { layer, descriptor, codec, ssrc: None, sequence, orientation: None };
            self.receive_video(cx, group_id, incoming, header, original);
        } else {
            let before = source.layers.get(layer).and_then(|layer| layer.ssrc);
            if before.is_some_and(|before| before != header.ssrc) && !link.restarts.take(cx.now) {
                return;
            }
            let orientation_id = link.camera.as_ref().and_then(|camera| camera.extensions.video_orientation);
            let orientation = orientation_id.and_then(|id| header.extension(packet, id));
            let orientation = orientation.and_then(|value| value.first()).copied();
            let allocation = link.layers_allocation(header, packet);
            let changed = allocation.is_some_and(|allocation| source.allocate(&allocation));
            let (ssrc, sequence) = (Some(header.ssrc), header.sequence);
            let incoming = Incoming { layer, descriptor, codec, ssrc, sequence, orientation };
            self.index_due |= changed;
            self.retarget_due |= changed;
            self.receive_video(cx, group_id, incoming, header, payload);
        }
    }

    /// Who publishes, and what. `None` if it was refused or has ended: its client has not stopped yet.
    fn publisher(&mut self, id: SessionId) -> Option<(&mut MediaLink, &mut Source)> {
        let source = self.sources.values_mut().find(|source| source.owner == id)?;
        Some((self.sessions.get_mut(&id)?.link.as_mut()?, source))
    }

    fn receive_video(
        &mut self,
        cx: &mut Cx<'_>,
        group_id: u32,
        incoming: Incoming<'_>,
        header: &RtpHeader,
        payload: &[u8],
    ) {
        let now = cx.now;
        let Some(source) = self.sources.get_mut(&group_id) else { return };
        let Some(layer) = source.layers.get_mut(incoming.layer) else { return };
        if incoming.ssrc.is_none() && !layer.uplink.is_missing(incoming.sequence) {
            return;
        }
        let stream_id = layer.stream_id;
        if let (Some(ssrc), true) = (incoming.ssrc, layer.ssrc != incoming.ssrc) {
            // A first or a new SSRC: numbers begin anew, so subscribers wait for its keyframe.
            if layer.ssrc.replace(ssrc).is_some() {
                layer.uplink.restart();
                source.fresh.retain(|(layer, _)| *layer != incoming.layer);
                for subscriber in &mut source.subscribers {
                    subscriber.forwarder.restart(stream_id);
                }
            }
        }
        let was_flowing = source.layers[incoming.layer].uplink.is_flowing(now);
        if !was_flowing && incoming.ssrc.is_some() {
            source.layers[incoming.layer].uplink.touch(now);
            source.retarget(now);
            self.index_due |= source.layers.len() > 1;
        }
        let Source { layers, codecs, .. } = source;
        let Some(codec) = codecs.get(incoming.codec) else { return };
        let Some(video_codec) = forwardable(&codec.codec) else { return };
        let uplink = &mut layers[incoming.layer].uplink;
        let packet = NewPacket {
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
            info: uplink.inspect(video_codec, payload, incoming.descriptor),
            codec: incoming.codec,
            orientation: incoming.orientation,
            descriptor: incoming.descriptor,
        };
        let ceiling = uplink.ceiling();
        let Some(stored) = uplink.receive(now, incoming.sequence, packet) else { return };
        source.fresh.push((incoming.layer, stored.seq));
        let lacks_packets = uplink.lacks_packets();
        if uplink.ceiling() != ceiling {
            source.retarget(now); // before any of it is offered
            self.retarget_due = true;
        }
        let is_full = source.fresh.len() == FRESH_MAX;
        self.fresh_since.get_or_insert(now);
        if lacks_packets {
            self.next_tick_soon(now);
        }
        if is_full {
            self.forward(cx);
        }
    }

    /// Offers what has come in since the last time to everybody who watches: a frame's packets to one receiver, then to the
    /// next, so that what is known of each comes into the processor's cache once.
    pub(crate) fn forward(&mut self, cx: &mut Cx<'_>) {
        if self.fresh_since.take().is_none() {
            return;
        }
        for source in self.sources.values_mut().filter(|source| !source.fresh.is_empty()) {
            let Source { layers, codecs, subscribers, fresh, .. } = source;
            for subscribers in subscribers.chunks_mut(FETCHED_AT_ONCE) {
                for subscriber in subscribers.iter() {
                    let session = self.sessions.get(&subscriber.session);
                    if let Some(link) = session.and_then(|session| session.link.as_ref()) {
                        link.fetch_for_video(cx.now, subscriber.forwarder.ssrc);
                    }
                }
                for subscriber in subscribers {
                    let session = self.sessions.get_mut(&subscriber.session);
                    let Some(link) = session.and_then(|session| session.link.as_mut()) else { continue };
                    if subscriber.offer_fresh(cx.now, fresh, layers, codecs, link) {
                        let next = link.peer.next_release(cx.now);
                        self.release_at = [self.release_at, next].into_iter().flatten().min();
                        cx.touch(self.id, subscriber.session);
                    }
                }
            }
            fresh.clear();
        }
    }

    fn receive_rtcp(&mut self, cx: &mut Cx<'_>, id: SessionId, compound: &[u8]) {
        for item in rtcp::parse(compound).flatten().take(RTCP_ITEMS_MAX) {
            match item {
                RtcpItem::SenderReport { ssrc, info, reports } => {
                    if let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link.as_mut()) {
                        link.sender_report(cx.now, ssrc, &info);
                        reports.for_each(|block| link.note_report(&block));
                    }
                }
                RtcpItem::ReceiverReport { reports, .. } => {
                    if let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link.as_mut()) {
                        reports.for_each(|block| link.note_report(&block));
                    }
                }
                RtcpItem::Pli { ssrc } | RtcpItem::Fir { ssrc, .. } => self.keyframe_wanted(cx, id, ssrc),
                RtcpItem::Nack { ssrc, lost } => self.repair(cx, id, ssrc, lost),
                RtcpItem::TransportFeedback(feedback) => {
                    if let Some(peer) = self.peer(id) {
                        peer.handle_feedback(cx.now, &feedback);
                    }
                }
                RtcpItem::Remb { bitrate_bps, .. } => {
                    if let Some(peer) = self.peer(id) {
                        peer.handle_remb(Bitrate::bps(bitrate_bps));
                    }
                }
                _ => {}
            }
        }
    }

    /// Answers a NACK from the history that all subscribers share.
    fn repair(&mut self, cx: &mut Cx<'_>, id: SessionId, ssrc: u32, numbers: impl Iterator<Item = u16>) {
        let meeting = self.id;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(link) = &mut session.link else { return };
        let source = self
            .sources
            .values_mut()
            .find(|source| source.subscribers.iter().any(|s| s.session == id && s.forwarder.ssrc == ssrc));
        let Some(Source { layers, codecs, subscribers, .. }) = source else { return };
        let Some(subscriber) = subscribers.iter_mut().find(|s| s.session == id && s.forwarder.ssrc == ssrc)
        else {
            return;
        };
        let is_limited = link.peer.estimator().is_limited();
        for number in numbers.take(REPAIRS_PER_NACK_MAX) {
            // Where not all of it has room, repairs of the past would keep out the keyframe that ends it.
            if is_limited && subscriber.forwarder.is_outdated(number) {
                continue;
            }
            let Some((stream_id, original, rewrite)) = subscriber.forwarder.find(number) else { continue };
            let layer = layers.iter().find(|layer| layer.stream_id == stream_id);
            let Some(packet) = layer.and_then(|layer| layer.uplink.history().get(original)) else { continue };
            let Some(codec) = codecs.get(packet.codec) else { continue };
            if !link.repairs.take(cx.now) {
                break;
            }
            let (codec, numbers) = (&codec.codec, rewrite(packet));
            link.send_video(cx.now, ssrc, codec, numbers, packet, true);
        }
        self.note_release(cx.now, id);
        cx.touch(meeting, id);
    }

    /// One tick of audio for everybody who hears.
    pub(crate) fn send_audio(&mut self, cx: &mut Cx<'_>) {
        self.mixer.tick(cx.now);
        let mut waiting = Vec::new();
        let mut sessions: Vec<_> =
            self.sessions.values_mut().filter(|session| session.link.is_some()).collect();
        for sessions in sessions.chunks_mut(FETCHED_AT_ONCE) {
            sessions.iter().filter_map(|session| session.link.as_ref()).for_each(|link| link.peer.fetch());
            for session in sessions {
                let Some(link) = &mut session.link else { continue };
                let hears = session.capabilities.audio.receives();
                let leg = hears.then_some(LegId(session.audio_stream_id));
                let is_first = link.send_audio(cx.sound(), &self.mixer, leg);
                if is_first && session.trace.reach(cx.now, JoinStep::FirstPacketOut) {
                    cx.event(Event::JoinTrace(session.trace.clone()));
                }
                if !session.present {
                    waiting.push(session.id);
                }
            }
        }
        for id in waiting {
            self.note_connected(cx, id, None);
        }
    }

    /// Lets the links' own timers run.
    pub(crate) fn pass_time(&mut self, cx: &mut Cx<'_>) {
        for session in self.sessions.values_mut() {
            if session.link.as_mut().is_some_and(|link| link.handle_timeout(cx.now)) {
                cx.touch(self.id, session.id);
            }
        }
    }

    /// Sends what the publishers have to hear: repairs and keyframes wanted, of layers that somebody takes, and transport
    /// feedback.
    pub(crate) fn repair_and_request(&mut self, cx: &mut Cx<'_>, feedback: bool) {
        let now = cx.now;
        let mut numbers = Vec::new();
        for source in self.sources.values_mut() {
            let link = self.sessions.get_mut(&source.owner).and_then(|session| session.link.as_mut());
            let Some(link) = link else { continue };
            for layer in &mut source.layers {
                let Some(media_ssrc) = layer.ssrc else { continue };
                // Asked last: it looks at every subscriber.
                let is_taken = || source.subscribers.iter().any(|s| s.forwarder.takes(layer.stream_id));
                if layer.uplink.wants_something() && !is_taken() {
                    layer.uplink.want_nothing();
                }
                numbers.clear();
                layer.uplink.nacks_due(now, &mut numbers);
                let keyframe = layer.uplink.keyframes.poll(now);
                let sender_ssrc = link.local_ssrc;
                if !numbers.is_empty() {
                    link.peer
                        .send_rtcp(|out| rtcp::nack(out, sender_ssrc, media_ssrc, numbers.iter().copied()));
                }
                if keyframe {
                    link.peer.send_rtcp(|out| rtcp::pli(out, sender_ssrc, media_ssrc));
                }
            }
            cx.touch(self.id, source.owner);
        }
        if feedback {
            for session in self.sessions.values_mut() {
                if session.link.as_mut().is_some_and(|link| link.send_transport_feedback(now)) {
                    cx.touch(self.id, session.id);
                }
            }
        }
    }

    /// Once a second: sender and receiver reports, and the signal strength that follows from the losses.
    pub(crate) fn send_reports(&mut self, cx: &mut Cx<'_>) {
        let mut sent = Vec::new();
        let sound_delay = self.sound_delay_samples();
        for session in self.sessions.values_mut() {
            let Some(link) = &mut session.link else { continue };
            sent.clear();
            let theirs = self.sources.values().flat_map(|source| &source.subscribers);
            for subscriber in theirs.filter(|subscriber| subscriber.session == session.id) {
                let forwarder = &subscriber.forwarder;
                sent.extend(forwarder.sent().map(|(rtp_timestamp, at, packets, octets)| {
                    let ntp = cx.clock.ntp(at);
                    (forwarder.ssrc, SenderInfo { ntp, rtp_timestamp, packets, octets })
                }));
            }
            let microphone = link.send_reports(cx.now, cx.clock.ntp(cx.now), sound_delay, &sent);
            cx.touch(self.id, session.id);
            if let (Some((expected, lost)), Some(number)) = (microphone, session.stage_number()) {
                self.levels.note_loss(number, expected, lost);
            }
        }
        self.seconds += 1;
        if self.seconds.is_multiple_of(CONTENT_KEYFRAME_SECONDS) {
            for source in self.sources.values_mut().filter(|source| source.attendee.content) {
                let spared =
                    self.sessions.get(&source.owner).is_none_or(|s: &Session| s.disable_periodic_keyframes);
                for layer in source.layers.iter_mut().filter(|layer| !spared && layer.ssrc.is_some()) {
                    layer.uplink.keyframes.request();
                }
            }
        }
    }

    /// How much longer than a picture the sound of this moment has been here, in samples at 48 kHz: what the mixer waits
    /// for the packets of whoever is heard. A content share goes before people, for there the two come from one file.
    fn sound_delay_samples(&self) -> u32 {
        let legs = self.sessions.values().filter(|session| session.present && !session.muted);
        let heard = legs.map(|session| (session, LegId(session.audio_stream_id)));
        let loudest = heard
            .map(|(session, leg)| (self.mixer.level_of(leg).volume_db, session.attendee.content, leg))
            .filter(|(volume_db, ..)| *volume_db < SILENT_DB)
            .min_by_key(|(volume_db, content, _)| (!content, *volume_db));
        loudest.map_or(0, |(_, _, leg)| self.mixer.quality_of(leg).delay_samples)
    }

    /// Every two seconds: how much each stream takes and how much there is, for the clients' own policies.
    pub(crate) fn send_bitrates(&mut self, cx: &mut Cx<'_>) {
        for session in self.sessions.values_mut().filter(|s| s.is_listening() && !s.attendee.content) {
            let estimate = session.link.as_mut().and_then(|link| link.peer.estimator().estimate());
            let available_kbps = estimate.map(|estimate| estimate.as_kbps() as u32);
            let others = self.sources.values().filter(|source| !session.is_own(source.attendee.id));
            let layers = others.flat_map(|source| source.on_offer(cx.now));
            let bitrates: Vec<_> = layers
                .map(|layer| StreamBitrate {
                    stream_id: layer.stream_id,
                    avg_bitrate_bps: layer.uplink.rate(cx.now).as_bps().try_into().unwrap_or(u32::MAX),
                })
                .filter(|bitrate| bitrate.avg_bitrate_bps > 0)
                .collect();
            if !bitrates.is_empty() || available_kbps.is_some() {
                let server_available_outgoing_bitrate_kbps = available_kbps;
                let frame = ServerFrame::Bitrates { bitrates, server_available_outgoing_bitrate_kbps };
                cx.frame(session.id, frame);
            }
        }
    }
}

impl Subscriber {
    /// Offers it what has come in of these layers, by their places and the publisher's numbers; true if any of it is sent.
    fn offer_fresh(
        &mut self,
        now: Instant,
        fresh: &[(usize, SeqNo)],
        layers: &[Layer],
        codecs: &[NegotiatedCodec],
        link: &mut MediaLink,
    ) -> bool {
        let (mut any, mut caught_up) = (false, None);
        for &(at, sequence) in fresh {
            let Some(layer) = layers.get(at).filter(|_| caught_up != Some(at)) else { continue };
            let Some(packet) = layer.uplink.history().get(sequence) else { continue };
            let begins = self.forwarder.begins_with(layer.stream_id, packet);
            any |= self.offer(now, layer.stream_id, packet, codecs, link);
            // What has overtaken the first packet of a keyframe was offered in vain.
            let may_catch_up = begins
                && self.caught_up_at.is_none_or(|at| now.saturating_duration_since(at) >= CATCH_UP_INTERVAL);
            if may_catch_up && let Some(others) = layer.uplink.since(sequence.plus(1)) {
                self.caught_up_at = Some(now);
                for packet in others {
                    any |= self.offer(now, layer.stream_id, packet, codecs, link);
                }
                caught_up = Some(at);
            }
        }
        any
    }

    /// Offers it a packet; true if that is sent.
    fn offer(
        &mut self,
        now: Instant,
        stream_id: u32,
        packet: &StoredPacket,
        codecs: &[NegotiatedCodec],
        link: &mut MediaLink,
    ) -> bool {
        let Some(codec) = codecs.get(packet.codec) else { return false };
        if packet.info.begins_frame {
            self.stop_if_late(now, link);
        }
        let Some(numbers) = self.forwarder.offer(now, stream_id, packet) else { return false };
        if link.send_video(now, self.forwarder.ssrc, &codec.codec, numbers, packet, false) {
            self.share.note_keyframe(now, stream_id, packet, link);
        }
        true
    }
}

/// Gives a packet of sound to the mixer.
fn receive_audio(
    now: Instant,
    mixer: &mut Mixer,
    leg: LegId,
    link: &MediaLink,
    header: &RtpHeader,
    packet: &[u8],
) {
    let Some(audio) = &link.audio else { return };
    let level = audio.level_extension.and_then(|id| header.extension(packet, id));
    let packet = AudioPacket {
        sequence: header.sequence,
        timestamp: header.timestamp,
        // RFC 6464 section 3: the high bit is the sender's own opinion on voice.
        level_db: level.and_then(|value| value.first()).map(|level| level & 0x7f),
        payload: &packet[header.payload.clone()],
    };
    if header.payload_type == audio.payload_type {
        mixer.push(now, leg, packet);
    } else if Some(header.payload_type) == audio.red_payload_type {
        mixer.push_red(now, leg, audio.payload_type, packet);
    }
}

/// Where a video packet belongs.
struct Incoming<'a> {
    /// Its dependency descriptor; empty without one.
    descriptor: &'a [u8],
    layer: usize,
    codec: usize,
    /// `None` for a repair, which comes under an SSRC of its own.
    ssrc: Option<u32>,
    sequence: u16,
    orientation: Option<u8>,
}
