//! The client against a running service, with real sockets: what people in a meeting notice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campanile_client::api::{Api, Credentials};
use campanile_client::clip::Clip;
use campanile_client::pcm::{PcmDecoder, SAMPLE_RATE_HZ, WavWriter, amplitude_of, tone};
use campanile_client::stamp::Stamp;
use campanile_client::{
    AudioSource, Config, EngineKind, Event, Events, JoinInfo, Media, RosterChange, Session, SessionStatus,
    Subscriptions, Trust, VideoLayer, VideoSource,
};
use campanile_wire::signaling::Secret;
use serde_json::Value;
use tokio::time::timeout;

/// Nothing here takes longer, even on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for tones 100 Hz apart.
const WINDOW: usize = SAMPLE_RATE_HZ / 5;
const AMPLITUDE: f32 = 0.1;

struct World {
    running: campanile::Running,
    data: std::path::PathBuf,
    api: Api,
    meeting: Value,
    trust: Trust,
}

impl World {
    async fn new(name: &str) -> World {
        World::with(name, |_| {}).await
    }

    async fn with(name: &str, configure: impl FnOnce(&mut campanile::config::Config)) -> World {
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

    async fn attendees(&self, names: &[&str]) -> Vec<JoinInfo> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.api.create_attendees(&self.meeting, &names).await.expect("attendees are made")
    }

    async fn end(self) {
        self.running.stop().await;
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn speaking(frequency_hz: f32) -> AudioSource {
    AudioSource::Loop(tone(frequency_hz, AMPLITUDE, 2).unwrap())
}

async fn join(info: &JoinInfo, config: Config) -> (Session, Events) {
    timeout(PATIENCE, Session::join(info.clone(), config)).await.expect("in time").expect("joined")
}

/// The first event that `wanted` makes something of.
async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
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
async fn hears(events: &mut Events, present: &[f32], absent: &[f32]) {
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

fn layer(name: &'static str, rid: Option<&'static str>) -> (VideoLayer, u32) {
    let file: &[u8] = match name {
        "low" => include_bytes!("../clips/low.vp8.ivf"),
        "mid" => include_bytes!("../clips/mid.vp8.ivf"),
        _ => include_bytes!("../clips/hi.vp8.ivf"),
    };
    let clip = Clip::from_ivf(file).expect("a committed clip");
    (clip.layer(rid), clip.framerate)
}

fn camera(sender: u32) -> VideoSource {
    let (layer, framerate) = layer("mid", None);
    VideoSource { codec: campanile_client::Codec::Vp8, layers: vec![layer], framerate, stamp: Some(sender) }
}

/// The stamps of decodable frames: from the first keyframe on, without a hole.
async fn sees(events: &mut Events, sender: u32, count: usize) -> Vec<Stamp> {
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

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_heard_by_all_but_themselves() {
    let world = World::new("mix").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let speak = |hz| Config { audio: speaking(hz), ..Config::default() };
    let (ann, mut ann_hears) = join(&people[0], speak(400.0)).await;
    let (_bob, mut bob_hears) = join(&people[1], speak(700.0)).await;
    let (_cat, mut cat_hears) = join(&people[2], Config { muted: true, ..speak(1000.0) }).await;
    tokio::join!(
        hears(&mut ann_hears, &[700.0], &[400.0, 1000.0]),
        hears(&mut bob_hears, &[400.0], &[700.0, 1000.0]),
        hears(&mut cat_hears, &[400.0, 700.0], &[1000.0]),
    );
    ann.set_muted(true);
    let told = |event| match event {
        Event::Roster(RosterChange::Muted(who)) if who.external_user_id == "ann" && who.muted => Some(()),
        _ => None,
    };
    until(&mut bob_hears, told).await;
    hears(&mut cat_hears, &[700.0], &[400.0, 1000.0]).await;
    timeout(PATIENCE, ann.leave()).await.expect("leaving is answered");
    let gone = |event| match event {
        Event::Roster(RosterChange::Left { attendee, dropped }) if attendee.external_user_id == "ann" => {
            Some(dropped)
        }
        _ => None,
    };
    assert!(!until(&mut bob_hears, gone).await, "she left, she was not lost");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_seen_from_a_keyframe_on_without_a_hole() {
    let world = World::new("video").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_ann, mut ann_sees) = join(&people[0], Config { video: Some(camera(7)), ..Config::default() }).await;
    let watching = || Config { subscriptions: Subscriptions::Highest(4), ..Config::default() };
    let (bob, mut bob_sees) = join(&people[1], watching()).await;
    let seen = sees(&mut bob_sees, 7, 40).await;
    assert!(seen.windows(2).all(|two| two[1].number == two[0].number + 1), "{seen:?}");
    // And the other way, on the same connection.
    bob.publish_video(Some(camera(8)));
    let source = until(&mut ann_sees, |event| match event {
        Event::Sources(sources) => sources.into_iter().find(|source| source.external_user_id == "bob"),
        _ => None,
    })
    .await;
    _ann.watch(vec![source.stream_id]);
    sees(&mut ann_sees, 8, 20).await;
    sees(&mut bob_sees, 7, 20).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_authority_is_trusted_when_it_is_named_and_only_then() {
    let world = World::with("tls", |config| config.tls_local = true).await;
    let people = world.attendees(&["ann", "bob", "eve"]).await;
    assert!(people[0].signaling_url.starts_with("wss://"), "{}", people[0].signaling_url);
    let trusting = || Config { trust: world.trust.clone(), ..Config::default() };
    let (_ann, _events) = join(&people[0], Config { audio: speaking(400.0), ..trusting() }).await;
    let (_bob, mut bob_hears) = join(&people[1], trusting()).await;
    hears(&mut bob_hears, &[400.0], &[]).await;
    // Who does not trust it tries again and again, as a browser does when it cannot connect.
    let stranger = Session::join(people[2].clone(), Config { trust: Trust::system(), ..Config::default() });
    assert!(timeout(Duration::from_secs(5), stranger).await.is_err(), "nobody is let in without trust");
    world.end().await;
}

/// An example of this package, which `cargo test` has built.
fn example(name: &str) -> tokio::process::Command {
    let tests = std::env::current_exe().expect("this test has a file");
    let examples = tests.ancestors().nth(2).expect("deps lie in the profile's folder").join("examples");
    let mut command = tokio::process::Command::new(examples.join(name));
    command.kill_on_drop(true).stdout(std::process::Stdio::piped());
    command
}

/// What an example takes for join information.
fn invitation(world: &World, info: &JoinInfo) -> std::path::PathBuf {
    let text = serde_json::json!({
        "Meeting": world.meeting["Meeting"],
        "Attendee": { "AttendeeId": info.attendee_id, "ExternalUserId": info.external_user_id, "JoinToken": info.join_token.0 },
    });
    let path = world.data.join(format!("{}.json", info.external_user_id));
    std::fs::write(&path, text.to_string()).expect("a file of our own");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_play_echo_and_record() {
    let world = World::new("examples").await;
    let people = world.attendees(&["radio", "parrot", "recorder", "ann"]).await;
    let (_ann, mut ann_hears) = join(&people[3], Config::default()).await;
    let opus = world.data.join("meeting.opus");
    let mut recorder = example("record");
    recorder.arg(&opus).arg("12").arg(invitation(&world, &people[2]));
    let recorder = recorder.spawn().expect("it is built");
    let mut parrot = example("echo").arg(invitation(&world, &people[1])).spawn().expect("it is built");
    // Both are in before anything is played.
    let mut waiting = vec!["parrot", "recorder"];
    until(&mut ann_hears, |event| {
        if let Event::Roster(RosterChange::Joined(who)) = event {
            waiting.retain(|name| *name != who.external_user_id);
        }
        waiting.is_empty().then_some(())
    })
    .await;
    let wav = world.data.join("tone.wav");
    let mut file = WavWriter::new(std::fs::File::create(&wav).unwrap()).unwrap();
    let samples: Vec<f32> = (0..4 * SAMPLE_RATE_HZ)
        .map(|n| 0.1 * (std::f32::consts::TAU * 700.0 * n as f32 / SAMPLE_RATE_HZ as f32).sin())
        .collect();
    file.write(&samples).unwrap();
    file.finish().unwrap();
    let mut radio =
        example("play").arg(&wav).arg(invitation(&world, &people[0])).spawn().expect("it is built");
    hears(&mut ann_hears, &[700.0], &[]).await;
    let played = timeout(PATIENCE, radio.wait()).await.expect("the file ends").unwrap();
    assert!(played.success());
    // The radio has left; what is heard now is the parrot.
    let gone = |event| match event {
        Event::Roster(RosterChange::Left { attendee, .. }) => {
            (attendee.external_user_id == "radio").then_some(())
        }
        _ => None,
    };
    until(&mut ann_hears, gone).await;
    parrot.kill().await.expect("it runs until it is stopped");
    let recorded =
        timeout(PATIENCE, recorder.wait_with_output()).await.expect("twelve seconds pass").unwrap();
    assert!(recorded.status.success());
    let recording = std::fs::read(&opus).unwrap();
    assert!(recording.starts_with(b"OggS") && recording.len() > 12 * 50 * 3, "{} bytes", recording.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_is_seen_as_vp8_is() {
    let world = World::new("h264").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let clip = Clip::from_ivf(include_bytes!("../clips/mid.h264.ivf")).unwrap();
    let video = VideoSource {
        codec: clip.codec,
        layers: vec![clip.layer(None)],
        framerate: clip.framerate,
        stamp: Some(7),
    };
    let (_ann, _events) = join(&people[0], Config { video: Some(video), ..Config::default() }).await;
    let watching = Config { subscriptions: Subscriptions::Highest(4), ..Config::default() };
    let (_bob, mut bob_sees) = join(&people[1], watching).await;
    // From one keyframe to the next: the whole clip.
    let mut keyframes = 0;
    until(&mut bob_sees, |event| {
        let Event::Media(Media::Video(frame)) = event else { return None };
        let stamp = Stamp::read(&frame.data).expect("a stamped frame");
        assert_eq!((frame.codec, stamp.sender), (clip.codec, 7));
        assert!(keyframes == 0 || frame.contiguous, "no packet is missing");
        keyframes += u32::from(frame.keyframe);
        (keyframes == 2).then_some(())
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_light_engine_publishes_what_the_full_one_sees() {
    let world = World::new("light-publisher").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let light = |video| Config {
        engine: EngineKind::Light { verify_one_in: 1 },
        video: Some(video),
        ..Config::default()
    };
    let watching = || Config { subscriptions: Subscriptions::Highest(4), ..Config::default() };
    // One layer, known by its SSRC, and several, known by their rids.
    let (ann, _ann_events) = join(&people[0], light(camera(7))).await;
    let mut simulcast = camera(8);
    simulcast.layers = vec![layer("low", Some("low")).0, layer("hi", Some("hi")).0];
    let (_bob, _bob_events) = join(&people[1], light(simulcast)).await;
    let (_cat, mut cat_sees) = join(&people[2], watching()).await;
    sees(&mut cat_sees, 7, 20).await;
    sees(&mut cat_sees, 8, 20).await;
    assert_eq!(ann.stats().engine.unauthentic, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_simulcast_layer_can_be_watched() {
    let world = World::new("simulcast").await;
    let people = world.attendees(&["ann", "low", "high", "third"]).await;
    let (low, framerate) = layer("low", Some("low"));
    let (mid, _) = layer("mid", Some("mid"));
    let (hi, _) = layer("hi", Some("hi"));
    let source = VideoSource {
        codec: campanile_client::Codec::Vp8,
        layers: vec![low, mid, hi],
        framerate,
        stamp: Some(1),
    };
    let (_ann, _events) = join(&people[0], Config { video: Some(source), ..Config::default() }).await;
    let watching = |subscriptions| Config { subscriptions, ..Config::default() };
    let (_low, mut low_sees) = join(&people[1], watching(Subscriptions::Lowest(4))).await;
    let (_high, mut high_sees) = join(&people[2], watching(Subscriptions::Highest(4))).await;
    let size = |event| match event {
        Event::Media(Media::Video(frame)) if frame.keyframe => Some(frame.data.len()),
        _ => None,
    };
    let (small, large) = (until(&mut low_sees, size).await, until(&mut high_sees, size).await);
    assert!(large > 4 * small, "keyframes of {small} and {large} bytes");
    sees(&mut low_sees, 1, 20).await;
    sees(&mut high_sees, 1, 20).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_everybody_else_and_who_comes_later() {
    let world = World::new("data").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let (ann, _ann_events) = join(&people[0], Config::default()).await;
    let (_bob, mut bob_events) = join(&people[1], Config::default()).await;
    ann.send_message("chat", b"hello".to_vec(), 60_000);
    let message = |event| match event {
        Event::Message(message) => Some((message.sender_external_user_id, message.topic, message.data)),
        _ => None,
    };
    let expected = ("ann".to_owned(), "chat".to_owned(), b"hello".to_vec());
    assert_eq!(until(&mut bob_events, message).await, expected);
    let (_cat, mut cat_events) = join(&people[2], Config::default()).await;
    assert_eq!(until(&mut cat_events, message).await, expected);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_content_is_seen_and_heard_by_others() {
    let world = World::new("content").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_ann, mut ann_events) =
        join(&people[0], Config { audio: AudioSource::Silence, ..Config::default() }).await;
    let watching = Config { subscriptions: Subscriptions::Highest(4), ..Config::default() };
    let (_bob, mut bob_events) = join(&people[1], watching).await;
    let config = Config { audio: speaking(700.0), ..Config::default() };
    let sharing = Session::share_content(&people[0], camera(9), config);
    let (content, _content_events) = timeout(PATIENCE, sharing).await.expect("in time").expect("shares");
    let announced = |event| match event {
        Event::Roster(RosterChange::Joined(who)) if who.attendee_id.ends_with("#content") => Some(who),
        _ => None,
    };
    let who = until(&mut ann_events, announced).await;
    assert_eq!(who.external_user_id, "ann");
    sees(&mut bob_events, 9, 20).await;
    hears(&mut bob_events, &[700.0], &[]).await;
    // Nobody hears their own content.
    hears(&mut ann_events, &[], &[700.0]).await;
    timeout(PATIENCE, content.leave()).await.expect("leaving is answered");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_comes_back() {
    let world = World::new("cut").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (ann, mut ann_events) =
        join(&people[0], Config { audio: speaking(400.0), ..Config::default() }).await;
    let (_bob, mut bob_events) = join(&people[1], Config::default()).await;
    hears(&mut bob_events, &[400.0], &[]).await;
    ann.cut();
    let lost = |event| match event {
        Event::Reconnecting(status) => Some(status),
        _ => None,
    };
    assert_eq!(until(&mut ann_events, lost).await, SessionStatus::SignalingChannelClosedUnexpectedly);
    until(&mut ann_events, |event| matches!(event, Event::Started(_)).then_some(())).await;
    assert_eq!(ann.stats().reconnects(), 1);
    hears(&mut bob_events, &[400.0], &[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_meeting_ends_sessions_and_lets_nobody_in() {
    let world = World::new("end").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_ann, mut events) = join(&people[0], Config::default()).await;
    world.api.delete_meeting(&people[0].meeting_id).await.unwrap();
    let ended = |event| match event {
        Event::Ended(status) => Some(status),
        _ => None,
    };
    assert_eq!(until(&mut events, ended).await, SessionStatus::MeetingEnded);
    let late = timeout(PATIENCE, Session::join(people[1].clone(), Config::default())).await.expect("in time");
    assert_eq!(late.err().map(|error| error.0), Some(SessionStatus::MeetingEnded));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_light_engine_counts_what_the_full_one_receives() {
    let world = World::new("light").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let both = Config { audio: speaking(400.0), video: Some(camera(3)), ..Config::default() };
    let (_ann, _ann_events) = join(&people[0], both).await;
    let counts = Arc::new(Mutex::new([0_u64; 2]));
    let counted = counts.clone();
    let light = Config {
        engine: EngineKind::Light { verify_one_in: 10 },
        audio: speaking(900.0),
        subscriptions: Subscriptions::Highest(4),
        sink: Some(Box::new(move |media| {
            if let Media::Header(header) = media {
                counted.lock().unwrap()[usize::from(header.stream_id.is_some())] += 1;
            }
        })),
        ..Config::default()
    };
    let (bob, _bob_events) = join(&people[1], light).await;
    let (_cat, mut cat_events) = join(&people[2], Config::default()).await;
    hears(&mut cat_events, &[400.0, 900.0], &[]).await;
    hears(&mut cat_events, &[400.0, 900.0], &[]).await;
    let enough = async {
        while bob.stats().engine.verified < 10 || counts.lock().unwrap().iter().any(|count| *count < 30) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, enough).await.expect("packets are counted");
    let engine = bob.stats().engine;
    assert_eq!((engine.unauthentic, engine.unknown), (0, 0));
    world.end().await;
}
