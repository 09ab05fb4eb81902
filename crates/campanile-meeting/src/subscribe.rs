//! SUBSCRIBE and what follows from it: the answer, what is published, who receives what.

use campanile_media::forward::{Forwarder, Wish};
use campanile_media::mix::{LegId, Profile, announces_stereo};
use campanile_media::peer::sdp::{
    Answer, Codec, Direction, H264Profile, LocalTransport, Negotiated, Offer, OfferTransport, Role, Section,
    SectionKind, answer,
};
use campanile_media::peer::{IceCredentials, Peer, PeerState};
use campanile_media::units::Bitrate;
use campanile_wire::signaling::{
    FrameKind, MediaType, QualityPreference, Sdp, ServerFrame, StreamAllocation, StreamDescriptor, Subscribe,
    SubscribeAck, TrackMapping, VideoCodec, VideoSubscription, close_code,
};
use rand_core::RngCore;
use tracing::info;

use crate::bandwidth::Share;
use crate::ids::SessionId;
use crate::link::{AudioLink, CameraLink, Copies, Downlink, MediaLink};
use crate::meeting::{Meeting, status};
use crate::service::Cx;
use crate::session::Session;
use crate::source::{Layer, Source, Subscriber, forwardable};
use crate::trace::JoinStep;

/// Simulcast layers of one source: the client has three.
const LAYERS_MAX: usize = 4;

/// What one video section of an offer is for.
enum Purpose {
    Nothing,
    Publish,
    /// Receive this group, at first this stream.
    Receive {
        group_id: u32,
        wish: Wish,
        stream_id: u32,
        priority: u32,
        preference: QualityPreference,
    },
}

impl Meeting {
    /// Answers one SUBSCRIBE. Every one is answered, in order, even when the video it offers is refused.
    pub(crate) fn subscribe(&mut self, cx: &mut Cx<'_>, id: SessionId, subscribe: Subscribe) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.subscribes.take(cx.now) {
            return self.send_away(cx, id, close_code::TOO_MUCH, "too many SUBSCRIBE frames");
        }
        let offer = match &subscribe.sdp {
            Sdp::Plain(text) => Offer::parse(text).map_err(|why| why.to_string()),
            // JOIN_ACK never asks for it.
            Sdp::Deflated(_) => Err("compressed SDP was not agreed on".to_owned()),
        };
        let offer = match offer {
            Ok(offer) => offer,
            Err(why) => return self.refuse(cx, id, FrameKind::SubscribeAck, &why),
        };
        let overtakes = self.peer(id).is_some_and(|peer| peer.state() == PeerState::Connected);
        if let Err(why) = self.ensure_link(cx, id, &offer) {
            return self.refuse(cx, id, FrameKind::SubscribeAck, why);
        }
        let purposes = self.purposes(id, &subscribe, &offer);
        let answer = self.answer(cx, id, &offer, &purposes);
        self.take_up_audio(cx, id, &subscribe, &offer, &answer);
        let allocations = self.take_up_publication(cx, id, &subscribe, &offer, &purposes, &answer);
        let tracks = self.take_up_subscriptions(cx, id, &offer, &purposes, &answer, overtakes);
        let refused = allocations.is_none();
        cx.frame(
            id,
            ServerFrame::SubscribeAck(Box::new(SubscribeAck {
                duplex: subscribe.duplex,
                allocations: allocations.unwrap_or_default(),
                sdp: Sdp::Plain(answer.text),
                tracks,
            })),
        );
        if refused {
            let description = "no more video can be published in this meeting".to_owned();
            cx.frame(
                id,
                ServerFrame::Error { status: status::VIEW_ONLY, description, on: FrameKind::SubscribeAck },
            );
        }
        self.reach(cx, id, JoinStep::Subscribed);
        self.note_connected(cx, id, None);
    }

    /// Makes the peer with the first offer, and again if the offer is another connection's.
    fn ensure_link(&mut self, cx: &mut Cx<'_>, id: SessionId, offer: &Offer) -> Result<(), &'static str> {
        let meeting = self.id;
        self.next_tick_soon(cx.now);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let remote_ufrag = match &offer.transport {
            OfferTransport::WebRtc { ufrag, .. } => ufrag.clone(),
            OfferTransport::Plain { .. } => String::new(),
        };
        if session.link.as_ref().is_some_and(|link| link.remote_ufrag == remote_ufrag) {
            return Ok(());
        }
        let (peer, local_ice) = match &offer.transport {
            OfferTransport::WebRtc { ufrag, pwd, fingerprint } => {
                let local = IceCredentials::generate(cx.rng);
                cx.directory.add(&local.ufrag, meeting, id);
                let remote = IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() };
                let peer = Peer::webrtc(cx.now, &cx.config.certificate, local.clone(), remote, *fingerprint);
                (peer, Some(local))
            }
            OfferTransport::Plain { addr } if cx.config.allow_plain => (Peer::plain(*addr), None),
            OfferTransport::Plain { .. } => return Err("only DTLS-SRTP is accepted here"),
        };
        let ssrc = cx.rng.next_u32();
        if let Some(old) = session.link.replace(MediaLink::new(cx.now, peer, local_ice, remote_ufrag, ssrc)) {
            cx.directory.remove(&old, id);
            self.unpublish(id);
        }
        Ok(())
    }

    /// What each section is for, aligned with the offer's sections.
    fn purposes(&self, id: SessionId, subscribe: &Subscribe, offer: &Offer) -> Vec<Purpose> {
        let Some(session) = self.sessions.get(&id) else { return Vec::new() };
        let mut wanted = subscribe.receive_stream_ids.iter();
        let mut publishing = false;
        let purpose = |section: &Section| {
            if section.kind != SectionKind::Video {
                return Purpose::Nothing;
            }
            // One entry for each video section in the order of the offer, rejected ones included (trap 36).
            let stream_id = wanted.next().copied().unwrap_or(0);
            if section.rejected {
                return Purpose::Nothing;
            }
            if matches!(section.direction, Direction::SendRecv | Direction::SendOnly) {
                // One camera per attendee: a second sending section has no place.
                return if std::mem::replace(&mut publishing, true) {
                    Purpose::Nothing
                } else {
                    Purpose::Publish
                };
            }
            let configured = subscribe.video_subscriptions.iter().find(|wish| wish.mid == section.mid);
            self.find_subscription(session, stream_id, configured).unwrap_or(Purpose::Nothing)
        };
        offer.sections.iter().map(purpose).collect()
    }

    /// The source that a stream id or a group id names, and the wish that goes with it. One's own is never found, nor
    /// what one may not see.
    fn find_subscription(
        &self,
        session: &Session,
        stream_id: u32,
        configured: Option<&VideoSubscription>,
    ) -> Option<Purpose> {
        let group_id = configured.and_then(|wish| wish.group_id);
        let stream_id = configured.and_then(|wish| wish.stream_id).unwrap_or(stream_id);
        let source = match group_id.and_then(|group_id| self.sources.get(&group_id)) {
            Some(source) => source,
            None => self.sources.values().find(|source| source.layer(stream_id).is_some())?,
        };
        if session.is_own(source.attendee.id) || !session.may_see(source.attendee.content) {
            return None;
        }
        let target = configured.and_then(|wish| wish.target_bitrate_kbps);
        let wish = match target {
            Some(kbps) if session.server_picks_layers() => Wish::Within(Bitrate::kbps(u64::from(kbps))),
            _ => Wish::Stream(stream_id),
        };
        let stream_id = if stream_id == 0 { source.layers.first()?.stream_id } else { stream_id };
        // Where the client says nothing of it, a share is what everybody looks at.
        let priority = configured.and_then(|wish| wish.priority).unwrap_or(source.attendee.content.into());
        let preference = configured.map_or(QualityPreference::Balanced, |wish| wish.preference);
        Some(Purpose::Receive { group_id: source.group_id, wish, stream_id, priority, preference })
    }

    fn answer(&mut self, cx: &mut Cx<'_>, id: SessionId, offer: &Offer, purposes: &[Purpose]) -> Answer {
        let session = self.sessions.get_mut(&id).expect("it has sent this");
        let (both_ways, is_content) = (!session.is_firefox, session.attendee.content);
        let link = session.link.as_mut().expect("ensure_link has made it");
        let mut roles = Vec::with_capacity(offer.sections.len());
        for (section, purpose) in offer.sections.iter().zip(purposes) {
            roles.push(match (section.kind, purpose) {
                (SectionKind::Audio, _) => {
                    Role::Audio { ssrc: link.local_ssrc, dtx: !is_content && is_speech(section) }
                }
                (_, Purpose::Publish) => Role::ReceiveVideo { both_ways },
                (_, Purpose::Receive { .. }) => {
                    // Numbers stay with the section as long as it lives: a client takes a changed one for a new track.
                    let known = link.downlinks.iter().find(|downlink| downlink.mid == section.mid);
                    let (ssrc, rtx_ssrc) = match known {
                        Some(downlink) => (downlink.ssrc, downlink.rtx_ssrc),
                        None => (cx.rng.next_u32(), cx.rng.next_u32()),
                    };
                    Role::SendVideo { ssrc, rtx_ssrc }
                }
                _ => Role::Inactive,
            });
        }
        let (ufrag, pwd) =
            link.local_ice.as_ref().map_or(("", ""), |ice| (ice.ufrag.as_str(), ice.pwd.as_str()));
        let local = LocalTransport {
            ufrag,
            pwd,
            fingerprint: &cx.config.certificate.fingerprint(),
            candidates: cx.config.candidates,
        };
        let answer = answer(offer, &local, |section| role_of(&offer.sections, &roles, section), &link.cname);
        for (role, negotiated) in roles.iter().zip(&answer.sections) {
            let Role::SendVideo { ssrc, rtx_ssrc } = *role else { continue };
            let Negotiated { mid, codecs, extensions, .. } = negotiated;
            let (mid, codecs, extensions) = (mid.clone(), codecs.clone(), *extensions);
            match link.downlinks.iter_mut().find(|downlink| downlink.mid == mid) {
                Some(downlink) => (downlink.codecs, downlink.extensions) = (codecs, extensions),
                None => {
                    // In the lower half: loss at the start may then not hide a wrap, which SRTP would count wrong.
                    let rtx_seq = cx.rng.next_u32() as u16 & 0x7fff;
                    link.downlinks.push(Downlink {
                        mid,
                        ssrc,
                        rtx_ssrc,
                        rtx_seq,
                        codecs,
                        extensions,
                        is_reported: false,
                    });
                }
            }
        }
        // A section's number in the offer may be used again, but under a new mid: the old one is gone for good.
        link.downlinks.retain(|downlink| {
            offer.sections.iter().any(|section| section.mid == downlink.mid && !section.rejected)
        });
        link.decodable = offer.decodable_video_codecs();
        self.index_due |= self.codecs_changed();
        answer
    }

    fn take_up_audio(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        subscribe: &Subscribe,
        offer: &Offer,
        answer: &Answer,
    ) {
        let owner = self.sessions.get(&id).map(|session| session.attendee.id);
        let Some(owner) = owner.map(|attendee| self.owner_number(attendee)) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(link) = &mut session.link else { return };
        let audio = answer.sections.iter().zip(&offer.sections).find(|(negotiated, section)| {
            section.kind == SectionKind::Audio && !section.rejected && !negotiated.codecs.is_empty()
        });
        let leg = LegId(session.audio_stream_id);
        let told_mute = std::mem::replace(&mut link.told_mute, true);
        if link.audio.is_none() && (audio.is_some() || !told_mute) {
            // The only place where the client says it at a (re)connect, also one that has no microphone and takes over from
            // a muted one.
            session.muted = subscribe.audio_muted || session.silenced || !session.may_unmute;
        }
        let Some((negotiated, _)) = audio else { return };
        let pt = |codec: Codec| negotiated.codecs.iter().find(|one| one.codec == codec).map(|one| one.pt);
        let Some(payload_type) = pt(Codec::Opus) else { return };
        let red_payload_type = pt(Codec::Red);
        let opus = negotiated.codecs.iter().find(|one| one.codec == Codec::Opus);
        let fmtp = opus.and_then(|opus| opus.fmtp.as_deref()).unwrap_or_default();
        let (profile, stereo) = (Profile::from_fmtp(fmtp), announces_stereo(fmtp));
        match &mut link.audio {
            Some(audio) => {
                audio.payload_type = payload_type;
                audio.red_payload_type = red_payload_type;
                audio.level_extension = negotiated.extensions.audio_level;
            }
            None => {
                link.audio = Some(AudioLink {
                    payload_type,
                    red_payload_type,
                    ssrc: link.local_ssrc,
                    level_extension: negotiated.extensions.audio_level,
                    sequence: cx.rng.next_u32() as u16 & 0x7fff,
                    timestamp: cx.rng.next_u32(),
                    packets: 0,
                    bytes: 0,
                    copies: Copies::default(),
                });
                self.mixer.add(leg, owner, session.may_speak());
                self.mixer.set_muted(leg, session.muted);
            }
        }
        self.mixer.set_profile(leg, profile);
        self.mixer.set_stereo(leg, stereo);
    }

    /// Takes up what the client sends. `None` when its video is refused; else the ids of its streams, in its order.
    fn take_up_publication(
        &mut self,
        cx: &Cx<'_>,
        id: SessionId,
        subscribe: &Subscribe,
        offer: &Offer,
        purposes: &[Purpose],
        answer: &Answer,
    ) -> Option<Vec<StreamAllocation>> {
        let at = purposes.iter().position(|purpose| matches!(purpose, Purpose::Publish));
        let descriptors: Vec<&StreamDescriptor> =
            subscribe.send_streams.iter().filter(|stream| stream.media_type == MediaType::Video).collect();
        let (Some(at), false) = (at, descriptors.is_empty()) else {
            self.unpublish(id);
            return Some(Vec::new());
        };
        let (section, negotiated) = (&offer.sections[at], &answer.sections[at]);
        let session = self.sessions.get_mut(&id)?;
        let (attendee, external_user_id) = session.appears_as();
        let external_user_id = external_user_id.to_owned();
        let largest = session.largest_picture();
        let link = session.link.as_mut()?;
        // Chrome names the layer of an SSRC only until our first report on it: a camera that comes back is known by
        // what was learnt then.
        if link.camera.as_ref().is_some_and(|camera| camera.rids != negotiated.rids) {
            link.forget_camera_routes();
        }
        link.camera = Some(CameraLink {
            mid: section.mid.clone(),
            codecs: negotiated.codecs.clone(),
            extensions: negotiated.extensions,
            rids: negotiated.rids.clone(),
        });
        let cameras = self.sources.values().filter(|s| s.owner != id && !s.attendee.content).count();
        let full = !attendee.content && cameras >= cx.config.limits.cameras;
        if full || !session.may_show() || descriptors.len() > LAYERS_MAX {
            info!(meeting_id = %self.id, attendee_id = %attendee, cameras, "video refused");
            self.unpublish(id);
            return None;
        }
        let rid = |layer: usize| negotiated.rids.get(layer).cloned();
        let existing = self.sources.values_mut().find(|source| source.owner == id);
        let source = match existing {
            // Ids live as long as the source: a switched layer must not look like another camera.
            Some(source) if source.layers.len() == descriptors.len() => {
                // No news, no index: there are clients who answer each with a SUBSCRIBE.
                for (at, (layer, descriptor)) in source.layers.iter_mut().zip(&descriptors).enumerate() {
                    self.index_due |= layer.announce(descriptor, cx.now);
                    layer.rid = rid(at);
                }
                source.codecs = negotiated.codecs.clone();
                &*source
            }
            _ => {
                self.unpublish(id);
                let group_id = self.next_group_id;
                self.next_group_id += 1;
                let mut layers = Vec::with_capacity(descriptors.len());
                for (at, descriptor) in descriptors.iter().enumerate() {
                    layers.push(Layer::new(self.next_stream_id, rid(at), descriptor, largest, cx.now));
                    self.next_stream_id += 1;
                }
                info!(meeting_id = %self.id, attendee_id = %attendee, group_id, layers = layers.len(), "video published");
                let source = Source {
                    group_id,
                    owner: id,
                    attendee,
                    external_user_id,
                    layers,
                    codecs: negotiated.codecs.clone(),
                    subscribers: Vec::new(),
                    fresh: Vec::new(),
                    told_estimate: false,
                    too_large_since: None,
                };
                self.index_due = true;
                &*self.sources.entry(group_id).or_insert(source)
            }
        };
        self.attendance.note_pictures();
        let allocation = |(layer, descriptor): (&Layer, &&StreamDescriptor)| StreamAllocation {
            track_label: descriptor.track_label.clone(),
            stream_id: layer.stream_id,
            group_id: source.group_id,
        };
        Some(source.layers.iter().zip(&descriptors).map(allocation).collect())
    }

    /// Ends what this session publishes.
    pub(crate) fn unpublish(&mut self, id: SessionId) {
        let before = self.sources.len();
        self.sources.retain(|_, source| source.owner != id);
        if self.sources.len() != before {
            self.index_due = true;
            self.attendance.note_pictures();
        }
    }

    /// Sets this session's subscriptions to exactly what its sections are for.
    fn take_up_subscriptions(
        &mut self,
        cx: &mut Cx<'_>,
        id: SessionId,
        offer: &Offer,
        purposes: &[Purpose],
        answer: &Answer,
        overtakes: bool,
    ) -> Vec<TrackMapping> {
        let mut old = Vec::new();
        for source in self.sources.values_mut() {
            let group_id = source.group_id;
            old.extend(source.subscribers.extract_if(.., |s| s.session == id).map(|s| (group_id, s)));
        }
        let mut tracks = Vec::new();
        for ((section, purpose), negotiated) in offer.sections.iter().zip(purposes).zip(&answer.sections) {
            let Purpose::Receive { group_id, wish, stream_id, priority, preference } = *purpose else {
                continue;
            };
            if negotiated.codecs.is_empty() {
                continue;
            }
            let link = self.sessions.get(&id).and_then(|session| session.link.as_ref());
            let Some(downlink) = link.and_then(|l| l.downlinks.iter().find(|d| d.mid == section.mid)) else {
                continue;
            };
            // The outgoing numbers run on with the section, whatever it shows. On another connection it is another one.
            let before = old.iter().position(|(_, subscriber)| subscriber.forwarder.ssrc == downlink.ssrc);
            let subscriber = match before.map(|at| old.swap_remove(at)) {
                Some((old_group, mut subscriber)) => {
                    if old_group != group_id {
                        subscriber.forwarder.set_target(None);
                        subscriber.paused = false;
                        subscriber.share = Share::new(priority);
                        (subscriber.since, subscriber.overtakes) = (cx.now, overtakes);
                    }
                    subscriber.share.priority = priority;
                    Subscriber { wish, preference, ..subscriber }
                }
                None => {
                    let first_seq = cx.rng.next_u32() as u16 & 0x7fff;
                    let forwarder = Forwarder::new(downlink.ssrc, downlink.rtx_ssrc, first_seq);
                    let (mid, share) = (section.mid.clone(), Share::new(priority));
                    Subscriber {
                        session: id,
                        mid,
                        since: cx.now,
                        overtakes,
                        wish,
                        preference,
                        paused: false,
                        share,
                        forwarder,
                        replayed: None,
                        caught_up_at: None,
                    }
                }
            };
            tracks.push(TrackMapping {
                stream_id,
                ssrc: downlink.ssrc,
                track_label: format!("v_{}", section.mid),
            });
            if let Some(source) = self.sources.get_mut(&group_id) {
                source.subscribers.push(subscriber);
            }
        }
        self.retarget_all(cx);
        tracks
    }

    /// REMOTE_VIDEO_UPDATE: another layer, another priority, or no more of it. Has no answer.
    pub(crate) fn update_subscriptions(
        &mut self,
        id: SessionId,
        updated: &[VideoSubscription],
        removed_mids: &[String],
    ) {
        for source in self.sources.values_mut() {
            source.subscribers.retain(|s| s.session != id || !removed_mids.contains(&s.mid));
        }
        for update in updated {
            let Some(session) = self.sessions.get(&id) else { return };
            let found = self.find_subscription(session, update.stream_id.unwrap_or(0), Some(update));
            let Some(Purpose::Receive { group_id, wish, priority, preference, .. }) = found else { continue };
            let Some(source) = self.sources.get_mut(&group_id) else { continue };
            // Only within the group that the section shows: another source takes a SUBSCRIBE.
            let subscriber = source.subscribers.iter_mut().find(|s| s.session == id && s.mid == update.mid);
            if let Some(subscriber) = subscriber {
                // A client that chooses by itself and only says what matters to it names no stream.
                if wish != Wish::Stream(0) {
                    subscriber.wish = wish;
                }
                subscriber.share.priority = priority;
                subscriber.preference = preference;
            }
        }
        self.retarget_due = true;
    }

    /// PAUSE and RESUME of the client name streams; a stream stands for its whole group.
    pub(crate) fn pause(&mut self, id: SessionId, stream_ids: &[u32], paused: bool) {
        for source in self.sources.values_mut() {
            let named = source.layers.iter().any(|layer| stream_ids.contains(&layer.stream_id));
            for subscriber in source.subscribers.iter_mut().filter(|s| named && s.session == id) {
                subscriber.paused = paused;
            }
        }
        self.retarget_due = true;
    }

    /// The codecs that every receiver decodes, of those that are forwarded; empty while there is nothing to say.
    pub(crate) fn common_codecs(&self) -> Vec<VideoCodec> {
        let mut common: Option<Vec<VideoCodec>> = None;
        for link in self.sessions.values().filter(|s| !s.attendee.content).filter_map(|s| s.link.as_ref()) {
            if link.decodable.is_empty() {
                continue;
            }
            let theirs: Vec<_> = link.decodable.iter().filter_map(capability).collect();
            common = Some(match common {
                None => theirs,
                Some(common) => common.into_iter().filter(|codec| theirs.contains(codec)).collect(),
            });
        }
        let mut common = common.unwrap_or_default();
        common.sort_by_key(|codec| *codec as i32);
        common.dedup();
        common
    }

    fn codecs_changed(&mut self) -> bool {
        let common = self.common_codecs();
        let changed = self.last_common_codecs != common;
        self.last_common_codecs = common;
        changed
    }
}

/// Whether a section is for a voice, by what the client offers of Opus: in music, silence is not to be told from what is soft.
fn is_speech(section: &Section) -> bool {
    let opus = section.codecs.iter().find(|offered| offered.codec == Codec::Opus);
    let fmtp = opus.and_then(|opus| opus.fmtp.as_deref()).unwrap_or_default();
    !Profile::from_fmtp(fmtp).is_for_music() && !announces_stereo(fmtp)
}

/// The role decided for a section, which the answerer asks for by the section itself.
fn role_of(sections: &[Section], roles: &[Role], section: &Section) -> Role {
    let at = sections.iter().position(|known| known.mid == section.mid);
    at.and_then(|at| roles.get(at)).copied().unwrap_or(Role::Inactive)
}

/// The name of a codec in INDEX; `None` for what is not forwarded.
fn capability(codec: &Codec) -> Option<VideoCodec> {
    forwardable(codec)?;
    Some(match codec.h264_profile() {
        None if *codec == Codec::Vp8 => VideoCodec::Vp8,
        None if *codec == Codec::Av1 => VideoCodec::Av1Main,
        None if matches!(codec, Codec::Vp9 { .. }) => VideoCodec::Vp9Profile0,
        Some(H264Profile::ConstrainedBaseline) => VideoCodec::H264ConstrainedBaseline,
        Some(H264Profile::Baseline) => VideoCodec::H264Baseline,
        Some(H264Profile::Main) => VideoCodec::H264Main,
        Some(H264Profile::ConstrainedHigh) => VideoCodec::H264ConstrainedHigh,
        Some(H264Profile::High) => VideoCodec::H264High,
        None => return None,
    })
}
