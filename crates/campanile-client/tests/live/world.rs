//! A running service with one meeting, and what tests look for in it.

use std::time::Duration;

use campanile_client::api::{Api, Credentials};
use campanile_client::clip::Clip;
use campanile_client::pcm::{PcmDecoder, SAMPLE_RATE_HZ, amplitude_of, tone};
use campanile_client::stamp::Stamp;
use campanile_client::{
    AudioSource, Codec, Config, Event, Events, JoinInfo, Media, Session, Trust, VideoLayer, VideoSource,
};
use campanile_wire::signaling::Secret;
use serde_json::Value;
use tokio::time::timeout;

/// Nothing here takes longer, even on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for tones 100 Hz apart.
pub(crate) const WINDOW: usize = SAMPLE_RATE_HZ / 5;
pub(crate) const AMPLITUDE: f32 = 0.1;

pub(crate) struct World {
    pub(crate) running: campanile::Running,
    pub(crate) data: std::path::PathBuf,
    pub(crate) api: Api,
    pub(crate) meeting: Value,
    pub(crate) trust: Trust,
}

impl World {
    pub(crate) async fn new(name: &str) -> World {
        World::with(name, |_| {}).await
    }

    pub(crate) async fn with(name: &str, configure: impl FnOnce(&mut campanile::config::Config)) -> World {
        let data = std::env::temp_dir().join(format!("campanile-client-{}-{name}", std::process::id()));
        let mut config = campanile::config::Config::local(&data);
        configure(&mut config);
        let running = campanile::serve(config).await.expect("the service starts");
        let ready = &running.ready;
        let trust = ready.ca.as_ref().map_or_else(Trust::system, |ca| Trust::bundle(ca).expect("its own CA"));
        let credentials = Credentials {
            access_key_id: ready.access_key_id.clone().expect("dev has credentials of its own"),
            secret_access_key: Secret(
                ready.secret_access_key.as_ref().expect("and their secret").reveal().to_owned(),
            ),
            session_token: None,
        };
        let api = Api::new(&ready.api, &ready.region, credentials, trust.clone()).unwrap();
        let meeting = api.create_meeting(name).await.expect("a meeting is made");
        World { running, data, api, meeting, trust }
    }

    pub(crate) async fn attendees(&self, names: &[&str]) -> Vec<JoinInfo> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.api.create_attendees(&self.meeting, &names).await.expect("attendees are made")
    }

    pub(crate) async fn end(self) {
        self.running.stop().await;
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

pub(crate) fn speaking(frequency_hz: f32) -> AudioSource {
    AudioSource::Loop(tone(frequency_hz, AMPLITUDE, 2).unwrap())
}

pub(crate) async fn join(info: &JoinInfo, config: Config) -> (Session, Events) {
    timeout(PATIENCE, Session::join(info.clone(), config)).await.expect("in time").expect("joined")
}

/// The first event that `wanted` makes something of.
pub(crate) async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = events.next().await.expect("the session lasts");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("in time")
}

/// Waits until exactly the tones in `present` are heard, and none of `absent`, for two windows in a row.
pub(crate) async fn hears(events: &mut Events, present: &[f32], absent: &[f32]) {
    let mut decoder = PcmDecoder::new().unwrap();
    let (mut samples, mut good) = (Vec::new(), 0);
    until(events, |event| {
        let Event::Media(Media::Audio(packet)) = event else { return None };
        decoder.push(&packet, |more| samples.extend_from_slice(more));
        if samples.len() >= WINDOW {
            let strength = |hz: &f32| amplitude_of(&samples, *hz);
            let right = present.iter().all(|hz| strength(hz) > AMPLITUDE / 2.0)
                && absent.iter().all(|hz| strength(hz) < AMPLITUDE / 20.0);
            good = if right { good + 1 } else { 0 };
            samples.clear();
        }
        (good == 2).then_some(())
    })
    .await;
}

/// A layer of one of the VP8 clips, and its pictures per second.
pub(crate) fn layer(name: &'static str, rid: Option<&'static str>) -> (VideoLayer, u32) {
    let file: &[u8] = match name {
        "low" => include_bytes!("../../clips/low.vp8.ivf"),
        "mid" => include_bytes!("../../clips/mid.vp8.ivf"),
        _ => include_bytes!("../../clips/hi.vp8.ivf"),
    };
    let clip = Clip::from_ivf(file).expect("a committed clip");
    (clip.layer(rid), clip.framerate)
}

pub(crate) fn camera(sender: u32) -> VideoSource {
    let (layer, framerate) = layer("mid", None);
    VideoSource { codec: Codec::Vp8, layers: vec![layer], framerate, stamp: Some(sender) }
}

/// The stamps of decodable frames: from the first keyframe on, without a hole.
pub(crate) async fn sees(events: &mut Events, sender: u32, count: usize) -> Vec<Stamp> {
    let mut seen: Vec<Stamp> = Vec::new();
    until(events, |event| {
        let Event::Media(Media::Video(frame)) = event else { return None };
        let stamp = Stamp::read(&frame.data).expect("a stamped frame");
        if stamp.sender != sender {
            return None;
        }
        if !frame.keyframe && seen.last().is_none_or(|last| last.number + 1 != stamp.number) {
            seen.clear();
            return None;
        }
        seen.push(stamp);
        (seen.len() == count).then(|| seen.clone())
    })
    .await
}
