//! The whole media path, by str0m.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_wire::signaling::TrackMapping;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec as StrCodec;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Rtc};

use super::{AudioOut, EngineCounters, Offer, Output, VideoOut, Wish};
use crate::media::{AudioPacket, Codec, Media, VideoFrame};

/// How long a keyframe that was asked for is waited for.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Full {
    rtc: Rtc,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    camera: Option<Mid>,
    camera_on: bool,
    camera_rids: Vec<&'static str>,
    /// In the order of the offer.
    sections: Vec<VideoSection>,
    timeout: Option<Instant>,
    outputs: VecDeque<Output>,
    over: bool,
}

/// A video section, and how its picture began.
struct VideoSection {
    mid: Mid,
    /// What is wanted there; 0 in the camera's and stopped ones.
    stream_id: u32,
    start: Start,
}

/// The first keyframe may overtake the answer that tells of its stream, and no other comes unless it is asked for.
#[derive(Clone, Copy)]
enum Start {
    /// No picture has come.
    Unseen,
    /// Pictures come, but no keyframe: one was asked for then.
    Asked(Instant),
    /// A keyframe has come.
    Begun,
}

impl VideoSection {
    fn new(mid: Mid, stream_id: u32) -> VideoSection {
        VideoSection { mid, stream_id, start: Start::Unseen }
    }

    /// Takes a picture; true if a keyframe is to be asked for.
    fn lacks_keyframe(&mut self, now: Instant, keyframe: bool) -> bool {
        let lacks = match self.start {
            _ if keyframe => {
                self.start = Start::Begun;
                false
            }
            Start::Unseen => true,
            Start::Asked(at) => now >= at + KEYFRAME_PATIENCE,
            Start::Begun => false,
        };
        if lacks {
            self.start = Start::Asked(now);
        }
        lacks
    }
}

impl Full {
    pub(super) fn new(now: Instant, local: SocketAddr) -> Result<Full, String> {
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .enable_av1(true)
            // Whoever measures wants to see what comes when it comes: a hole in the sound is waited for 60 ms.
            .set_reordering_size_audio(3)
            .set_reordering_timeout_audio(Some(Duration::from_millis(60)))
            // The largest keyframe of a 1080p clip takes some 200 packets.
            .set_reordering_size_video(300)
            .build(now);
        let candidate = Candidate::host(local, "udp").map_err(|error| error.to_string())?;
        rtc.add_local_candidate(candidate);
        let mut full = Full {
            rtc,
            local,
            pending: None,
            audio: None,
            camera: None,
            camera_on: false,
            camera_rids: Vec::new(),
            sections: Vec::new(),
            timeout: None,
            outputs: VecDeque::new(),
            over: false,
        };
        full.drain();
        Ok(full)
    }

    pub(super) fn offer(&mut self, _now: Instant, wish: &Wish<'_>) -> Option<Offer> {
        let mut change = self.rtc.sdp_api();
        if self.audio.is_none() && wish.audio {
            let (stream, track) = (Some("audio".to_owned()), Some("microphone".to_owned()));
            self.audio = Some(change.add_media(MediaKind::Audio, Direction::SendRecv, stream, track, None));
        }
        let rids: Vec<&'static str> = wish
            .camera
            .iter()
            .flat_map(|source| source.layers.iter().filter_map(|layer| layer.rid))
            .collect();
        let direction = if wish.camera.is_some() { Direction::SendRecv } else { Direction::Inactive };
        match self.camera {
            Some(mid) if wish.camera.is_none() || rids == self.camera_rids => {
                if self.camera_on != wish.camera.is_some() {
                    change.set_direction(mid, direction);
                }
            }
            // str0m sets a section's layers once: others need another section.
            old => {
                if let Some(mid) = old {
                    change.stop_media(mid);
                }
                let mut simulcast = Simulcast::new();
                for rid in &rids {
                    simulcast.add_send_layer(SimulcastLayer::new(rid));
                }
                let simulcast = (!rids.is_empty()).then_some(simulcast);
                let mid = change.add_media(MediaKind::Video, direction, None, None, simulcast);
                self.camera = Some(mid);
                self.camera_rids = rids;
                self.sections.push(VideoSection::new(mid, 0));
            }
        }
        self.camera_on = wish.camera.is_some();
        for section in &mut self.sections {
            if section.stream_id != 0 && !wish.receive.contains(&section.stream_id) {
                change.stop_media(section.mid);
                section.stream_id = 0;
            }
        }
        for stream_id in wish.receive {
            if !self.sections.iter().any(|section| section.stream_id == *stream_id) {
                let mid = change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
                self.sections.push(VideoSection::new(mid, *stream_id));
            }
        }
        let (offer, pending) = change.apply()?;
        self.pending = Some(pending);
        let sdp = offer.to_sdp_string();
        self.drain();
        Some(Offer {
            sdp,
            receive_stream_ids: self.sections.iter().map(|section| section.stream_id).collect(),
            mids: self
                .sections
                .iter()
                .filter(|section| section.stream_id != 0)
                .map(|section| (section.stream_id, section.mid.to_string()))
                .collect(),
        })
    }

    pub(super) fn answer(
        &mut self,
        _now: Instant,
        sdp: &str,
        _tracks: &[TrackMapping],
    ) -> Result<(), String> {
        let pending = self.pending.take().ok_or("an answer without an offer")?;
        let answer = SdpAnswer::from_sdp_string(&described(sdp)).map_err(|error| error.to_string())?;
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        self.drain();
        accepted.map_err(|error| error.to_string())
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Ok(datagram) = Receive::new(Protocol::Udp, from, self.local, bytes) else { return };
        self.input(Input::Receive(now, datagram));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.input(Input::Timeout(now));
    }

    fn input(&mut self, input: Input<'_>) {
        if self.over {
            return;
        }
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%error, "media failed");
            self.fail("the media connection failed");
        }
        self.drain();
    }

    fn fail(&mut self, why: &'static str) {
        self.over = true;
        self.timeout = None;
        self.outputs.push_back(Output::Failed(why));
    }

    /// str0m wants to be asked after each change until it only waits.
    fn drain(&mut self) {
        while !self.over {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(due)) => {
                    self.timeout = Some(due);
                    return;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let bytes = transmit.contents.to_vec();
                    self.outputs.push_back(Output::Transmit { to: transmit.destination, bytes });
                }
                Ok(str0m::Output::Event(event)) => self.event(event),
                Err(error) => {
                    tracing::debug!(%error, "media failed");
                    self.fail("the media connection failed");
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        let output = match event {
            Event::Connected => Output::Connected,
            Event::KeyframeRequest(request) => {
                Output::KeyframeWanted { rid: request.rid.map(|rid| rid.to_string()) }
            }
            Event::MediaData(data) if Some(data.mid) == self.audio => {
                Output::Media(Media::Audio(AudioPacket {
                    arrival: data.network_time,
                    sequence: **data.seq_range.start(),
                    time: data.time.numer(),
                    payload: data.data,
                }))
            }
            Event::MediaData(data) => {
                let Some(section) = self.sections.iter_mut().find(|section| section.mid == data.mid) else {
                    return;
                };
                let codec = match data.params.spec().codec {
                    StrCodec::Vp8 => Codec::Vp8,
                    StrCodec::H264 => Codec::H264,
                    StrCodec::Vp9 => Codec::Vp9,
                    StrCodec::Av1 => Codec::Av1,
                    _ => return,
                };
                let (now, keyframe) = (data.network_time, data.is_keyframe());
                let stream_id = section.stream_id;
                if section.lacks_keyframe(now, keyframe)
                    && let Some(mut writer) = self.rtc.writer(data.mid)
                {
                    let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
                }
                Output::Media(Media::Video(VideoFrame {
                    arrival: now,
                    stream_id,
                    codec,
                    keyframe,
                    contiguous: data.contiguous,
                    packets: **data.seq_range.start()..=**data.seq_range.end(),
                    time: data.time.numer(),
                    data: data.data,
                }))
            }
            Event::Closed => return self.fail("the peer closed"),
            _ => return,
        };
        self.outputs.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub(super) fn send_audio(&mut self, now: Instant, audio: AudioOut<'_>) {
        let Some(writer) = self.audio.and_then(|mid| self.rtc.writer(mid)) else { return };
        let Some(pt) = writer.payload_params().map(|params| params.pt()).next() else { return };
        let time = MediaTime::new(audio.time, str0m::media::Frequency::FORTY_EIGHT_KHZ);
        // RFC 6464 levels are in dB below full scale; str0m keeps them negative.
        let level = -(audio.level_db.min(127) as i8);
        let written = writer.audio_level(level, audio.level_db < 60).write(pt, now, time, audio.payload);
        if let Err(error) = written {
            tracing::debug!(%error, "audio not sent");
        }
        self.drain();
    }

    pub(super) fn send_video(&mut self, now: Instant, video: VideoOut) {
        let wanted = match video.codec {
            Codec::Vp8 => StrCodec::Vp8,
            Codec::H264 => StrCodec::H264,
            Codec::Vp9 => StrCodec::Vp9,
            Codec::Av1 => StrCodec::Av1,
        };
        let Some(mut writer) = self.camera.and_then(|mid| self.rtc.writer(mid)) else { return };
        let pt =
            writer.payload_params().find(|params| params.spec().codec == wanted).map(|params| params.pt());
        let Some(pt) = pt else { return };
        if let Some(rid) = video.rid {
            writer = writer.rid(Rid::from(rid));
        }
        let written = writer.write(pt, now, MediaTime::from_90khz(video.time), video.data);
        if let Err(error) = written {
            tracing::debug!(%error, "video not sent");
        }
        self.drain();
        // Packets leave on a timeout; waiting for it would only make a frame late.
        self.handle_timeout(now);
    }

    pub(super) fn request_keyframe(&mut self, stream_id: u32) {
        let mid =
            self.sections.iter().find(|section| section.stream_id == stream_id).map(|section| section.mid);
        if let Some(mut writer) = mid.and_then(|mid| self.rtc.writer(mid)) {
            let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
        }
        self.drain();
    }

    pub(super) fn counters(&self) -> EngineCounters {
        EngineCounters::default()
    }
}

/// The answer with an `a=rtpmap` for each payload type of rejected sections, at their ends: SDP lets them be bare, str0m
/// does not.
fn described(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len() + 64);
    for (place, section) in sdp.split("\r\nm=").enumerate() {
        let section = section.trim_end_matches("\r\n");
        out.push_str(if place == 0 { "" } else { "m=" });
        out.push_str(section);
        out.push_str("\r\n");
        let words: Vec<&str> = section.lines().next().unwrap_or_default().split(' ').collect();
        if let [kind @ ("audio" | "video"), "0", _, formats @ ..] = &words[..] {
            let name = if *kind == "audio" { "opus/48000/2" } else { "VP8/90000" };
            for format in formats.iter().filter(|format| !section.contains(&format!("a=rtpmap:{format} "))) {
                out.push_str(&format!("a=rtpmap:{format} {name}\r\n"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_begins_without_a_keyframe_has_one_asked_for() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut section = VideoSection::new(Mid::from("1"), 7);
        let asks: Vec<u64> =
            (0..1_100).step_by(33).filter(|ms| section.lacks_keyframe(at(*ms), false)).collect();
        assert_eq!(asks, [0, 528, 1056]);
        assert!(!section.lacks_keyframe(at(1_100), true));
        assert!((1_100..3_000).step_by(33).all(|ms| !section.lacks_keyframe(at(ms), false)));
    }

    #[test]
    fn bare_rejected_sections_are_described() {
        let sdp = "v=0\r\nm=video 0 X 96\r\na=mid:1\r\nm=video 9 X 97\r\na=mid:2\r\n";
        let expected =
            "v=0\r\nm=video 0 X 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\nm=video 9 X 97\r\na=mid:2\r\n";
        assert_eq!(described(sdp), expected);
        assert_eq!(described(expected), expected);
    }
}
