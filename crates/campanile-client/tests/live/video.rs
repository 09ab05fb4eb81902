//! Cameras, in each way of sending and receiving them.

use std::sync::{Arc, Mutex};

use campanile_client::clip::Clip;
use campanile_client::stamp::Stamp;
use campanile_client::{
    Adaption, Codec, Config, EngineKind, Event, Events, Media, Subscriptions, VideoFrame, VideoLayer,
    VideoSource,
};
use tokio::time::timeout;

use crate::world::{PATIENCE, World, camera, hears, join, layer, sees, speaking, until};

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
async fn h264_is_seen_as_vp8_is() {
    let world = World::new("h264").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let clip = Clip::from_ivf(include_bytes!("../../clips/mid.h264.ivf")).unwrap();
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
    let source = VideoSource { codec: Codec::Vp8, layers: vec![low, mid, hi], framerate, stamp: Some(1) };
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
async fn the_light_engine_counts_what_the_full_one_receives() {
    let world = World::new("light").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let both = Config { audio: speaking(400.0), video: Some(camera(3)), ..Config::default() };
    let (_ann, _ann_events) = join(&people[0], both).await;
    let counts = Arc::new(Mutex::new([0_u64; 2]));
    let seen = counts.clone();
    let light = Config {
        engine: EngineKind::Light { verify_one_in: 10 },
        audio: speaking(900.0),
        subscriptions: Subscriptions::Highest(4),
        sink: Some(Box::new(move |media| {
            if let Media::Header(header) = media {
                seen.lock().unwrap()[usize::from(header.stream_id.is_some())] += 1;
            }
        })),
        ..Config::default()
    };
    let (bob, _bob_events) = join(&people[1], light).await;
    let (_cat, mut cat_events) = join(&people[2], Config::default()).await;
    hears(&mut cat_events, &[400.0, 900.0], &[]).await;
    hears(&mut cat_events, &[400.0, 900.0], &[]).await;
    let counted = async |least| {
        let counting = async {
            while counts.lock().unwrap().iter().any(|count| *count < least)
                && bob.next_stats().await.is_some()
            {}
        };
        timeout(PATIENCE, counting).await.expect("packets are counted");
        bob.next_stats().await.expect("the session goes on").engine
    };
    // Pictures may overtake the answer that says whose they are.
    let overtaking = counted(1).await.unknown;
    let verified = async { while bob.next_stats().await.is_some_and(|stats| stats.engine.verified < 10) {} };
    timeout(PATIENCE, verified).await.expect("packets are verified");
    let engine = counted(60).await;
    assert_eq!((engine.unauthentic, engine.unknown), (0, overtaking));
    world.end().await;
}

/// What a layered camera of this clip sends, each layer told apart.
fn layered(clip: &Clip) -> Config {
    // As much as a browser's camera announces; what is wanted of it is counted in such terms.
    let layer = VideoLayer { max_bitrate_kbps: 1200, ..clip.layer(None) };
    let (codec, framerate) = (clip.codec, clip.framerate);
    let video = VideoSource { codec, layers: vec![layer], framerate, stamp: None };
    Config { engine: EngineKind::Light { verify_one_in: 1 }, video: Some(video), ..Config::default() }
}

/// The next `count` frames from a keyframe on, of which no packet is missing.
async fn frames(events: &mut Events, count: usize) -> Vec<VideoFrame> {
    let mut seen: Vec<VideoFrame> = Vec::new();
    until(events, |event| {
        let Event::Media(Media::Video(frame)) = event else { return None };
        match (frame.keyframe, frame.contiguous) {
            (true, _) => seen = vec![frame],
            (false, false) => seen.clear(),
            (false, true) if seen.is_empty() => {}
            (false, true) => seen.push(frame),
        }
        (seen.len() == count).then(|| std::mem::take(&mut seen))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn vp9_arrives_in_the_layers_that_each_one_wants() {
    let world = World::new("vp9").await;
    let people = world.attendees(&["ann", "all", "small"]).await;
    let clip = Clip::from_ivf(include_bytes!("../../clips/l3t3.vp9.ivf")).unwrap();
    let (_ann, _events) = join(&people[0], layered(&clip)).await;
    let watching = |subscriptions| Config {
        subscriptions,
        adaption: Adaption::BandwidthProbingAndVideoQuality,
        ..Config::default()
    };
    let (_all, mut all_sees) = join(&people[1], watching(Subscriptions::Highest(4))).await;
    let (_small, mut small_sees) = join(&people[2], watching(Subscriptions::Lowest(4))).await;
    // A superframe ends in an index of its pictures, which RTP leaves out (VP9 bitstream specification, annex B).
    let index_bytes = |sent: &[u8]| {
        let marker = sent.last().expect("no frame is empty");
        2 + 3 * (usize::from(marker >> 3 & 3) + 1)
    };
    for (frame, sent) in frames(&mut all_sees, 20).await.iter().zip(clip.frames.iter()) {
        assert_eq!(frame.codec, Codec::Vp9);
        assert!(sent.starts_with(&frame.data), "what comes is what was sent");
        assert_eq!(frame.data.len() + index_bytes(sent), sent.len(), "all three layers");
    }
    // Once the service has seen the layers: all three at most 1200 kbit/s, and 300 are wanted.
    let narrowed = async {
        loop {
            let seen = frames(&mut small_sees, 20).await;
            assert!(seen.iter().zip(clip.frames.iter()).all(|(frame, sent)| sent.starts_with(&frame.data)));
            let bytes: usize = seen.iter().map(|frame| frame.data.len()).sum();
            let of: usize = clip.frames.iter().take(20).map(|frame| frame.len()).sum();
            if bytes * 3 < of * 2 {
                break;
            }
        }
    };
    timeout(PATIENCE, narrowed).await.expect("the upper layer is left out");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn av1_arrives_as_it_was_sent_and_with_its_dependencies() {
    let world = World::new("av1").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let clip = Clip::from_ivf(include_bytes!("../../clips/l1t3.av1.ivf")).unwrap();
    let (_ann, _events) = join(&people[0], layered(&clip)).await;
    let watching = |engine| Config { engine, subscriptions: Subscriptions::Highest(4), ..Config::default() };
    let (_bob, mut bob_sees) = join(&people[1], watching(EngineKind::Full)).await;
    let (cat, _cat_events) = join(&people[2], watching(EngineKind::Light { verify_one_in: 1 })).await;
    for (frame, sent) in frames(&mut bob_sees, 20).await.iter().zip(clip.frames.iter()) {
        assert_eq!(frame.codec, Codec::Av1);
        // RTP leaves temporal delimiters out: an OBU of two bytes at the beginning.
        assert_eq!(*frame.data, sent[2..]);
    }
    let described =
        async { while cat.next_stats().await.is_some_and(|stats| stats.engine.described < 30) {} };
    timeout(PATIENCE, described).await.expect("descriptors are passed on");
    world.end().await;
}
