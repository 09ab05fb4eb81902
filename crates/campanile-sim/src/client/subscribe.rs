//! What a client wants to send and to see, as SUBSCRIBE says it, and what the answer makes of it.

use std::collections::BTreeMap;
use std::time::Instant;

use campanile_media::peer::sdp::{
    Direction, Offer, PlainSection, SectionKind, SimulcastRid, asks_for_dtx, plain_offer,
};
use campanile_meeting::ids::{AttendeeKey, CONTENT_SUFFIX};
use campanile_wire::signaling::{
    ClientFrame, Duplex, MediaType, QualityPreference, Sdp, StreamDescriptor, Subscribe, SubscribeAck,
    VideoSubscription,
};
use rand_core::RngCore;

use super::media::{AudioOut, REPORT_INTERVAL};
use super::signaling::ANSWER_TIMEOUT;
use super::{Client, State, Watch};
use crate::picture::{Screen, Sender};

/// What all subscriptions may take together; sources beyond are passed over.
const SUBSCRIBED_KBPS_MAX: u32 = 15_000;

/// A section in which this client receives, or could.
#[derive(Clone, Debug)]
pub(super) struct VideoSection {
    pub(super) mid: String,
    /// What it shows; `None` once stopped.
    pub(super) shows: Option<Wanted>,
    /// It was offered as stopped: its place may be used again.
    pub(super) settled: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) attendee: String,
    pub(super) group_id: u32,
    pub(super) stream_id: u32,
}

impl Client {
    /// What the policy wants of the index: one stream of each attendee's newest group.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        if self.watch == Watch::Nothing {
            return Vec::new();
        }
        let base = self.attendee.id.to_string();
        let content = format!("{base}{CONTENT_SUFFIX}");
        let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
        for source in &self.index.sources {
            let newest = newest.entry(&source.attendee_id).or_default();
            *newest = source.group_id.max(*newest);
        }
        let mut wanted = Vec::new();
        let mut total_kbps = 0;
        for (attendee, group_id) in newest {
            if attendee == base || attendee == content {
                continue;
            }
            let mut streams: Vec<_> = self
                .index
                .sources
                .iter()
                .filter(|s| s.group_id == group_id && s.media_type == MediaType::Video)
                .collect();
            streams.sort_by_key(|stream| stream.max_bitrate_kbps);
            let at = match self.watch {
                Watch::Layer(at) => at.min(streams.len().saturating_sub(1)),
                _ => streams.len().saturating_sub(1),
            };
            let Some(stream) = streams.get(at) else { continue };
            total_kbps += stream.max_bitrate_kbps;
            if total_kbps <= SUBSCRIBED_KBPS_MAX {
                wanted.push(Wanted { attendee: attendee.to_owned(), group_id, stream_id: stream.stream_id });
            }
        }
        wanted
    }

    /// Compares what is wanted with what is negotiated, and says the difference in the cheapest way.
    pub(crate) fn update_video(&mut self, now: Instant) {
        if self.state != State::Started {
            return;
        }
        if self.connection.answer_due.is_some() {
            self.connection.update_wanted = true;
            return;
        }
        let wanted = self.wanted();
        let mut removed = false;
        for section in &mut self.connection.sections {
            let Some(shows) = &section.shows else { continue };
            if !wanted.iter().any(|w| w.attendee == shows.attendee && w.group_id == shows.group_id) {
                section.shows = None;
                section.settled = false;
                removed = true;
            }
        }
        let mut added = false;
        let mut updated = Vec::new();
        for wish in wanted {
            let shown = self.connection.sections.iter_mut().find_map(|section| {
                let shows = section.shows.as_mut().filter(|shows| shows.group_id == wish.group_id)?;
                Some((section.mid.clone(), shows))
            });
            match shown {
                Some((mid, shows)) if *shows != wish => {
                    *shows = wish.clone();
                    updated.push(self.wish_for(&mid, &wish));
                }
                Some(_) => {}
                None => {
                    added = true;
                    self.add_section(wish);
                }
            }
        }
        if added || removed || self.connection.camera_sent != self.camera {
            self.subscribe(now);
        } else if !updated.is_empty() && !self.connection.server_side {
            self.say(ClientFrame::RemoteVideoUpdate { updated, removed_mids: Vec::new() });
        }
    }

    /// A new target for all that the server chooses.
    pub(crate) fn watch(&mut self, now: Instant, watch: Watch) {
        let before = std::mem::replace(&mut self.watch, watch);
        if matches!((before, watch), (Watch::Server(_), Watch::Server(_))) && self.connection.server_side {
            let sections = self.connection.sections.clone();
            let updated = sections
                .iter()
                .filter_map(|section| Some(self.wish_for(&section.mid, section.shows.as_ref()?)))
                .collect();
            self.say(ClientFrame::RemoteVideoUpdate { updated, removed_mids: Vec::new() });
        } else {
            self.update_video(now);
        }
    }

    /// Says how much somebody's video matters, and nothing of the stream: as a client does that leaves the probing to the
    /// server and chooses by itself (adaption 3).
    pub(crate) fn rank(&mut self, attendee: String, priority: u32) {
        self.priorities.insert(attendee.clone(), priority);
        let sections = self.connection.sections.clone();
        let theirs = sections.iter().filter_map(|section| {
            let shows = section.shows.as_ref().filter(|shows| shows.attendee == attendee)?;
            Some(VideoSubscription {
                stream_id: None,
                group_id: Some(shows.group_id),
                ..self.wish_for(&section.mid, shows)
            })
        });
        let updated = theirs.collect();
        self.say(ClientFrame::RemoteVideoUpdate { updated, removed_mids: Vec::new() });
    }

    fn wish_for(&self, mid: &str, wanted: &Wanted) -> VideoSubscription {
        let target = match self.watch {
            Watch::Server(kbps) => Some(kbps),
            _ => None,
        };
        let server_side = self.connection.server_side && target.is_some();
        VideoSubscription {
            mid: mid.to_owned(),
            attendee_id: Some(wanted.attendee.clone()),
            stream_id: (!server_side).then_some(wanted.stream_id),
            group_id: server_side.then_some(wanted.group_id),
            priority: match self.priorities.get(&wanted.attendee) {
                Some(priority) => Some(*priority),
                None => server_side.then_some(u32::MAX - 1),
            },
            target_bitrate_kbps: target.filter(|_| server_side),
            preference: QualityPreference::Balanced,
        }
    }

    /// A stopped section's place is used again, under a new mid.
    pub(super) fn add_section(&mut self, wish: Wanted) {
        let mid = self.connection.next_mid.to_string();
        self.connection.next_mid += 1;
        let section = VideoSection { mid, shows: Some(wish), settled: false };
        let free = self.connection.sections.iter_mut().find(|s| s.shows.is_none() && s.settled);
        match free {
            Some(place) => *place = section,
            None => self.connection.sections.push(section),
        }
    }

    /// SUBSCRIBE with a whole offer.
    pub(super) fn subscribe(&mut self, now: Instant) {
        self.subscribes += 1;
        self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
        self.connection.update_wanted = false;
        // The first SUBSCRIBE publishes audio alone.
        let camera = self.camera.clone().filter(|_| self.state == State::Started);
        self.connection.camera_sent = camera.clone();
        if self.connection.sender.as_ref().is_some_and(|sender| Some(&sender.camera) != camera.as_ref()) {
            self.connection.sender = None;
        }
        let mut sections = Vec::new();
        if self.audio {
            sections.push(PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv));
        }
        let direction = if camera.is_some() { Direction::SendRecv } else { Direction::Inactive };
        let mut section = PlainSection::new(SectionKind::Video, "1", direction);
        if let Some(camera) = &camera {
            let rids = camera.rids().iter().zip(&camera.layers_kbps);
            section.rids =
                rids.map(|(rid, kbps)| SimulcastRid { rid: (*rid).to_owned(), paused: *kbps == 0 }).collect();
        }
        sections.push(section);
        let mut receive_stream_ids = vec![0];
        let mut video_subscriptions = Vec::new();
        for section in &self.connection.sections {
            let direction = if section.shows.is_some() { Direction::RecvOnly } else { Direction::Inactive };
            let mut offered = PlainSection::new(SectionKind::Video, &*section.mid, direction);
            offered.rejected = section.shows.is_none();
            sections.push(offered);
            receive_stream_ids.push(section.shows.as_ref().map_or(0, |shows| shows.stream_id));
            if let (Some(shows), true) = (&section.shows, self.connection.server_side) {
                video_subscriptions.push(self.wish_for(&section.mid, shows));
            }
        }
        let mut send_streams = Vec::new();
        if self.audio {
            send_streams.push(descriptor(
                1,
                1,
                MediaType::Audio,
                "AmazonChimeExpressAudio",
                600,
                self.attendee,
            ));
        }
        if let Some(camera) = &camera {
            let simulcast = camera.layers_kbps.len() > 1;
            for (at, kbps) in camera.layers_kbps.iter().enumerate() {
                let (stream_id, group_id) = match self.allocations.get(at) {
                    Some(known) if simulcast => (known.stream_id, known.group_id),
                    _ if simulcast => (0, 0),
                    _ => (2, 2), // the client's constants
                };
                let label = if simulcast { "" } else { "AmazonChimeExpressVideo" };
                let video = MediaType::Video;
                send_streams.push(descriptor(stream_id, group_id, video, label, *kbps, self.attendee));
            }
        }
        self.say(ClientFrame::Subscribe(Box::new(Subscribe {
            duplex: if camera.is_some() { Duplex::Both } else { Duplex::Receive },
            send_streams,
            receive_stream_ids,
            sdp: Sdp::Plain(plain_offer(self.addr, &sections)),
            audio_host: self.audio.then(|| "sim".to_owned()),
            audio_muted: self.muted,
            video_subscriptions,
        })));
    }

    pub(super) fn handle_subscribe_ack(&mut self, now: Instant, ack: &SubscribeAck) {
        self.connection.answer_due = None;
        let Sdp::Plain(text) = &ack.sdp else { panic!("compressed SDP was not agreed on") };
        // An answer reads like an offer, only the other way round.
        let answer = Offer::parse(text).expect("the server writes what it reads");
        self.answers.push(text.clone());
        self.allocations.clone_from(&ack.allocations);
        for section in self.connection.sections.iter_mut().filter(|section| section.shows.is_none()) {
            section.settled = true;
        }
        let connection = &mut self.connection;
        let tracks: Vec<_> = ack
            .tracks
            .iter()
            .filter_map(|track| {
                let mid = track.track_label.strip_prefix("v_")?;
                let shows = connection.sections.iter().find(|s| s.mid == mid)?.shows.as_ref()?;
                Some((mid.to_owned(), track.ssrc, shows.attendee.clone()))
            })
            .collect();
        let gone = connection.screens.extract_if(.., |screen| {
            !tracks
                .iter()
                .any(|(mid, ssrc, who)| (mid, *ssrc, who) == (&screen.mid, screen.ssrc, &screen.attendee))
        });
        self.old_screens.extend(gone);
        for (mid, ssrc, attendee) in tracks {
            if connection.screens.iter().any(|screen| screen.mid == mid) {
                continue;
            }
            let section = answer.sections.iter().find(|section| section.mid == mid);
            let pairs = section.into_iter().flat_map(|section| &section.rtx_pairs);
            let rtx = pairs.copied().find(|(main, _)| *main == ssrc).map(|(_, rtx)| rtx);
            connection.screens.push(Screen::new(now, &mid, &attendee, ssrc, rtx));
        }
        if self.state == State::Starting {
            self.state = State::Started;
            if self.lost_at.take().is_some() {
                self.reconnects += 1;
            }
            self.attempts = 0;
            let connection = &mut self.connection;
            connection.report_due = Some(now + REPORT_INTERVAL);
            connection.media_heard_at = Some(now);
            if self.audio {
                connection.audio_out = Some(AudioOut {
                    due: now,
                    sequence: self.rng.next_u32() as u16,
                    timestamp: self.rng.next_u32(),
                    packets: 0,
                    bytes: 0,
                    rests: asks_for_dtx(text),
                });
            }
        }
        if self.connection.sender.is_none()
            && let Some(camera) = self.connection.camera_sent.clone()
        {
            let (rng, attendee) = (&mut self.rng, self.attendee.to_string());
            let place = (attendee.as_str(), "1");
            self.connection.sender = Some(Sender::new(now, self.born, camera, place, || rng.next_u32()));
        }
        self.update_video(now);
    }
}

fn descriptor(
    stream_id: u32,
    group_id: u32,
    media_type: MediaType,
    track_label: &str,
    max_bitrate_kbps: u32,
    attendee: AttendeeKey,
) -> StreamDescriptor {
    StreamDescriptor {
        stream_id,
        group_id,
        framerate: 15,
        max_bitrate_kbps,
        avg_bitrate_bps: max_bitrate_kbps * 800,
        track_label: track_label.to_owned(),
        attendee_id: attendee.to_string(),
        external_user_id: String::new(),
        media_type,
        width: 0,
        height: 0,
    }
}
