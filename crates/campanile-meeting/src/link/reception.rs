//! What comes in on a link: which SSRC carries what, and how well each arrives.

use std::time::{Duration, Instant};

use campanile_media::forward::{AllocatedStream, read_allocation};
use campanile_media::peer::sdp::Extensions;
use campanile_media::rtcp::{ReceptionStats, SenderInfo};
use campanile_media::rtp::RtpHeader;

use super::MediaLink;

/// SSRCs remembered of one peer: a microphone, three simulcast layers, their retransmissions, and as many again for a
/// camera that was restarted. A newer one takes the place of the one heard least recently.
const SSRCS_MAX: usize = 16;
/// What comes of a stream after its successor has begun is late or repairs it, and belongs to nothing any more. After this
/// long, nothing of it is under way, and its SSRC may be used again.
const RETIREMENT: Duration = Duration::from_secs(2);

/// One SSRC, and what is known of it.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) ssrc: u32,
    pub(super) route: Route,
    pub(super) stats: ReceptionStats,
    heard_at: Instant,
    /// Another stream has begun in its place.
    retired_at: Option<Instant>,
}

/// What an incoming SSRC carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// The microphone.
    Audio,
    /// Layer number so-and-so of the session's own source.
    Layer(usize),
    /// Retransmissions for that layer (RFC 4588).
    Repair(usize),
}

impl MediaLink {
    /// Whether any of its streams is known yet.
    pub(crate) fn knows_streams(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Finds what this packet is, binding its SSRC the first time it can be told: by media section and RTP stream id
    /// in the header extensions, else by payload type. Also counts it for the reports. `layers` tells how many its session
    /// publishes, if it does.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        packet: &[u8],
        layers: impl FnOnce() -> Option<usize>,
    ) -> Option<Route> {
        let extensions = self.camera.as_ref().map_or(Extensions::default(), |camera| camera.extensions);
        if let Some(&[high, low]) = extensions.transport_cc.and_then(|id| header.extension(packet, id)) {
            self.twcc.record(u16::from_be_bytes([high, low]), now);
        }
        let known = self.routes.iter().position(|reception| reception.ssrc == header.ssrc);
        let retired_at = known.and_then(|at| self.routes[at].retired_at);
        if retired_at.is_some_and(|at| now.saturating_duration_since(at) < RETIREMENT) {
            return None;
        }
        let goes_on = |at: &usize| retired_at.is_none() && self.fits(self.routes[*at].route, header, packet);
        let at = match known.filter(goes_on) {
            Some(at) => at,
            None => {
                let before = known.map(|at| self.routes[at].route).filter(|_| retired_at.is_some());
                let route = self.identify(header, packet, layers().unwrap_or(0)).or(before)?;
                self.retire(known, route, now);
                if self.routes.len() == SSRCS_MAX {
                    let heard =
                        self.routes.iter().enumerate().map(|(at, reception)| (reception.heard_at, at));
                    let (_, oldest) = heard.min()?;
                    self.routes.remove(oldest);
                }
                let clock_hz = if route == Route::Audio { 48_000 } else { 90_000 };
                let stats = ReceptionStats::new(header.ssrc, clock_hz);
                let (ssrc, heard_at) = (header.ssrc, now);
                self.routes.push(Reception { ssrc, route, stats, heard_at, retired_at: None });
                self.routes.len() - 1
            }
        };
        let reception = &mut self.routes[at];
        reception.heard_at = now;
        reception.stats.record(header.sequence, header.timestamp, now);
        Some(reception.route)
    }

    /// A stream begins on this route: the one before it on the same, if there is one, has ended, and so have its repairs.
    /// `known` has its SSRC, and meant something else.
    fn retire(&mut self, known: Option<usize>, route: Route, now: Instant) {
        if let Some(at) = known {
            self.routes.remove(at);
        }
        let Route::Layer(layer) = route else { return };
        let is_its = |reception: &&mut Reception| {
            [Route::Layer(layer), Route::Repair(layer)].contains(&reception.route)
                && reception.retired_at.is_none()
        };
        if self.routes.iter().any(|reception| reception.route == route) {
            self.routes.iter_mut().filter(is_its).for_each(|reception| reception.retired_at = Some(now));
        }
    }

    /// Whether a packet is of the kind that its SSRC stands for: a number may be given anew.
    fn fits(&self, route: Route, header: &RtpHeader, packet: &[u8]) -> bool {
        let pt = header.payload_type;
        let Some(camera) = &self.camera else { return route == Route::Audio };
        let (layer, id, is_kind) = match route {
            Route::Audio => {
                return !camera.codecs.iter().any(|codec| codec.pt == pt || codec.rtx_pt == Some(pt));
            }
            Route::Layer(layer) => {
                (layer, camera.extensions.rid, camera.codecs.iter().any(|codec| codec.pt == pt))
            }
            Route::Repair(layer) => {
                let is_repair = camera.codecs.iter().any(|codec| codec.rtx_pt == Some(pt));
                (layer, camera.extensions.repaired_rid, is_repair)
            }
        };
        // RFC 8852 section 3: the stream id comes along until the receiver is known to know.
        let rid = id.and_then(|id| header.extension(packet, id));
        is_kind && rid.is_none_or(|rid| camera.rids.get(layer).is_none_or(|known| known.as_bytes() == rid))
    }

    fn identify(&self, header: &RtpHeader, packet: &[u8], layers: usize) -> Option<Route> {
        if self.audio.as_ref().is_some_and(|audio| {
            [Some(audio.payload_type), audio.red_payload_type].contains(&Some(header.payload_type))
        }) {
            return Some(Route::Audio);
        }
        let camera = self.camera.as_ref()?;
        let text = |id: Option<u8>| {
            id.and_then(|id| header.extension(packet, id)).and_then(|value| std::str::from_utf8(value).ok())
        };
        if text(camera.extensions.mid).is_some_and(|mid| mid != camera.mid) {
            return None;
        }
        let is_repair = camera.codecs.iter().any(|codec| codec.rtx_pt == Some(header.payload_type));
        let is_media = camera.codecs.iter().any(|codec| codec.pt == header.payload_type);
        let rid_extension = if is_repair { camera.extensions.repaired_rid } else { camera.extensions.rid };
        let layer = match text(rid_extension) {
            Some(rid) => camera.rids.iter().position(|known| known == rid)?,
            None if layers == 1 => 0,
            None => return None,
        };
        match (is_media, is_repair) {
            (true, _) => Some(Route::Layer(layer)),
            (false, true) => Some(Route::Repair(layer)),
            (false, false) => None,
        }
    }

    /// Forgets the bindings of video SSRCs: the source they belonged to is gone.
    pub(crate) fn forget_camera_routes(&mut self) {
        self.routes.retain(|reception| reception.route == Route::Audio);
    }

    /// The codec of a packet of the camera, as an index into what was negotiated; for repairs, of what they repair.
    pub(crate) fn camera_codec(&self, payload_type: u8) -> Option<usize> {
        let codecs = &self.camera.as_ref()?.codecs;
        codecs.iter().position(|codec| codec.pt == payload_type || codec.rtx_pt == Some(payload_type))
    }

    /// The dependency descriptor of a packet of the camera; empty without one.
    pub(crate) fn descriptor<'a>(&self, header: &RtpHeader, packet: &'a [u8]) -> &'a [u8] {
        let id = self.camera.as_ref().and_then(|camera| camera.extensions.dependency_descriptor);
        id.and_then(|id| header.extension(packet, id)).unwrap_or_default()
    }

    /// What a packet of the camera says on which layers are sent, if it does.
    pub(crate) fn layers_allocation(
        &self,
        header: &RtpHeader,
        packet: &[u8],
    ) -> Option<Vec<AllocatedStream>> {
        let id = self.camera.as_ref()?.extensions.layers_allocation?;
        read_allocation(header.extension(packet, id)?)
    }

    /// The peer told when it sent; its next report block will echo that, so that it can measure the round trip.
    pub(crate) fn sender_report(&mut self, now: Instant, ssrc: u32, info: &SenderInfo) {
        if let Some(reception) = self.routes.iter_mut().find(|reception| reception.ssrc == ssrc) {
            reception.stats.record_sender_report(info, now);
        }
    }
}
