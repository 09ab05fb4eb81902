//! What to receive and to send, asked for in a SUBSCRIBE and answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use campanile_media::peer::sdp::asks_for_dtx;
use campanile_wire::signaling::{
    ClientFrame, Duplex, MediaType, QualityPreference, Sdp, StreamDescriptor, Subscribe, SubscribeAck,
    VideoSubscription,
};

use super::{Driver, Link, STEP_TIMEOUT};
use crate::engine::{Engine, Wish};
use crate::join::CONTENT_SUFFIX;
use crate::media::{Subscriptions, VideoLayer, VideoSource};
use crate::status::SessionStatus::{self, TaskFailed};
use crate::status::Stage;

impl Driver {
    /// Asks for what is wanted, if that is not what there is.
    pub(super) async fn subscribe(&mut self, link: &mut Link) -> Option<SessionStatus> {
        let first = link.engine.is_none();
        // The first SUBSCRIBE never asks for video, and only one waits for its answer.
        if link.stage == Stage::Joining || !first && link.stage < Stage::Live || link.outstanding.is_some() {
            return None;
        }
        link.settled = true;
        let now = Instant::now();
        if first {
            let local = SocketAddr::new(link.socket.local.ip(), link.udp.local_addr().ok()?.port());
            match Engine::new(self.config.engine, now, local) {
                Ok(engine) => link.engine = Some(engine),
                Err(why) => {
                    tracing::warn!(%why, "no media engine");
                    return Some(TaskFailed);
                }
            }
        } else {
            link.receiving = self.wanted(&link.receiving);
        }
        let camera = self.video.source.as_ref().filter(|_| !first);
        let wish = Wish { audio: self.info.audio_host_url.is_some(), camera, receive: &link.receiving };
        let offer = link.engine.as_mut()?.offer(now, &wish)?;
        let camera_on = camera.is_some();
        let mut send_streams = Vec::new();
        if wish.audio {
            send_streams.push(StreamDescriptor {
                stream_id: 1,
                group_id: 1,
                framerate: 15,
                max_bitrate_kbps: 600,
                avg_bitrate_bps: 400_000,
                track_label: "AmazonChimeExpressAudio".into(),
                attendee_id: self.info.attendee_id.clone(),
                external_user_id: String::new(),
                media_type: MediaType::Audio,
                width: 0,
                height: 0,
            });
        }
        send_streams.extend(self.camera_streams(camera));
        let subscribe = Subscribe {
            duplex: if camera_on { Duplex::Both } else { Duplex::Receive },
            send_streams,
            video_subscriptions: self.preferences(link, &offer.mids),
            receive_stream_ids: offer.receive_stream_ids,
            sdp: Sdp::Plain(offer.sdp),
            audio_host: self.info.audio_host_url.clone(),
            audio_muted: self.muted,
        };
        link.camera_offered = camera_on;
        link.outstanding = Some(now + STEP_TIMEOUT);
        link.say(&ClientFrame::Subscribe(Box::new(subscribe))).await;
        self.pump(link)
    }

    pub(super) fn camera_streams(&self, camera: Option<&VideoSource>) -> Vec<StreamDescriptor> {
        let Some(source) = camera else { return Vec::new() };
        let simulcast = source.layers.len() > 1;
        let stream = |(place, layer): (usize, &VideoLayer)| {
            let allocated = self.video.allocations.get(place).filter(|_| simulcast);
            // The JavaScript client's constants: the service gives its own ids to everybody else.
            let constant = if simulcast { 0 } else { 2 };
            StreamDescriptor {
                stream_id: allocated.map_or(constant, |ids| ids.stream_id),
                group_id: allocated.map_or(constant, |ids| ids.group_id),
                framerate: source.framerate,
                max_bitrate_kbps: layer.max_bitrate_kbps,
                avg_bitrate_bps: layer.max_bitrate_kbps * 1000,
                track_label: if simulcast { String::new() } else { "AmazonChimeExpressVideo".into() },
                attendee_id: self.info.attendee_id.clone(),
                external_user_id: String::new(),
                media_type: MediaType::Video,
                width: 0,
                height: 0,
            }
        };
        source.layers.iter().enumerate().map(stream).collect()
    }

    /// What each section is for, when the service chooses the layers.
    pub(super) fn preferences(&self, link: &Link, mids: &[(u32, String)]) -> Vec<VideoSubscription> {
        if !link.server_chooses {
            return Vec::new();
        }
        let of = |(stream_id, mid): &(u32, String)| {
            let stream = self.index.iter().find(|stream| stream.stream_id == *stream_id);
            VideoSubscription {
                mid: mid.clone(),
                attendee_id: stream.map(|stream| stream.attendee_id.clone()),
                stream_id: None,
                group_id: stream.map(|stream| stream.group_id),
                // The wire's form of the JavaScript client's priority 1.
                priority: Some(u32::MAX - 1),
                target_bitrate_kbps: Some(match self.config.subscriptions {
                    Subscriptions::Lowest(_) => 300,
                    _ => 10_000,
                }),
                preference: QualityPreference::Balanced,
            }
        };
        mids.iter().map(of).collect()
    }

    /// The streams to watch, by the rule. What is watched already stays as long as it is on offer.
    pub(super) fn wanted(&self, receiving: &[u32]) -> Vec<u32> {
        let own = self.info.attendee_id.trim_end_matches(CONTENT_SUFFIX);
        let foreign = |stream: &&StreamDescriptor| {
            stream.media_type == MediaType::Video
                && stream.attendee_id.trim_end_matches(CONTENT_SUFFIX) != own
        };
        let (highest, most) = match self.config.subscriptions {
            Subscriptions::Highest(most) => (true, most),
            Subscriptions::Lowest(most) => (false, most),
            Subscriptions::Chosen => {
                let on_offer = |id: &u32| self.index.iter().any(|stream| stream.stream_id == *id);
                return self.chosen.iter().copied().filter(on_offer).collect();
            }
        };
        // Of one attendee only the newest group counts.
        let mut groups: BTreeMap<&str, u32> = BTreeMap::new();
        for stream in self.index.iter().filter(foreign) {
            let newest = groups.entry(&stream.attendee_id).or_default();
            *newest = stream.group_id.max(*newest);
        }
        let mut picked: BTreeMap<u32, &StreamDescriptor> = BTreeMap::new();
        for stream in self.index.iter().filter(foreign) {
            if groups.get(stream.attendee_id.as_str()) != Some(&stream.group_id) {
                continue;
            }
            let best = picked.entry(stream.group_id).or_insert(stream);
            let kept = receiving.contains(&best.stream_id);
            let better = if highest {
                stream.max_bitrate_kbps > best.max_bitrate_kbps
            } else {
                stream.max_bitrate_kbps < best.max_bitrate_kbps
            };
            if receiving.contains(&stream.stream_id) || better && !kept {
                *best = stream;
            }
        }
        let mut wanted: Vec<u32> = picked.values().map(|stream| stream.stream_id).collect();
        wanted.sort_by_key(|id| !receiving.contains(id));
        wanted.truncate(most);
        wanted
    }

    pub(super) fn answered(&mut self, link: &mut Link, ack: &SubscribeAck) -> Result<(), SessionStatus> {
        let Some(engine) = &mut link.engine else { return Ok(()) };
        let Sdp::Plain(sdp) = &ack.sdp else {
            tracing::warn!("the service answers with compressed SDP, which was not agreed on");
            return Err(TaskFailed);
        };
        link.outstanding = None;
        link.settled = false;
        let now = Instant::now();
        if let Err(why) = engine.answer(now, sdp, &ack.tracks) {
            tracing::warn!(%why, "the answer cannot be used");
            return Err(TaskFailed);
        }
        link.rests = asks_for_dtx(sdp);
        if link.stage == Stage::Subscribing {
            link.stage = Stage::Connecting;
            link.timings.answered = link.began.elapsed();
        }
        if link.camera_offered {
            self.video.allocations = ack.allocations.clone();
        }
        let newly = link.camera_offered && !link.camera_answered;
        link.camera_answered = link.camera_offered;
        match &self.video.source {
            Some(source) if newly => {
                self.video.positions = vec![0; source.layers.len()];
                self.video.began.get_or_insert(now);
                let plays = source.layers.iter().any(|layer| !layer.frames.is_empty());
                self.video.due = plays.then_some(now);
            }
            Some(_) => {}
            None => self.video.due = None,
        }
        Ok(())
    }
}
