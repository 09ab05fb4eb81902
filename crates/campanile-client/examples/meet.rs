//! Someone with a tone and a moving picture, who says once a second what they hear and see, as JSON: for meeting other
//! clients.
//!
//! ```text
//! curl -s -H 'content-type: application/json' -d '{"meeting":"demo","name":"robot"}' \
//!     http://127.0.0.1:8080/demo/join | cargo run -p campanile-client --example meet -- 660 30 - CLIP.ivf
//! ```
//!
//! The picture is `clips/mid.vp8.ivf` unless another clip is named. Words behind it: with `share`, the clip is also shared
//! as content, each of its layers told apart; with `blind`, nobody is watched.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_client::clip::Clip;
use campanile_client::pcm::{PcmDecoder, SAMPLE_RATE_HZ, amplitude_of, tone};
use campanile_client::{AudioSource, Config, EngineKind, Event, Media, Session, Subscriptions, VideoSource};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let frequency_hz: f32 =
        arguments.next().ok_or("usage: meet HZ SECONDS [JOIN.json|- [CLIP.ivf [share] [blind]]]")?.parse()?;
    let seconds: u64 = arguments.next().unwrap_or_default().parse()?;
    let info = common::join_info(arguments.next().as_deref())?;
    let file = match arguments.next() {
        Some(path) => std::fs::read(path)?,
        None => include_bytes!("../clips/mid.vp8.ivf").to_vec(),
    };
    let clip = Clip::from_ivf(&file).ok_or("the clip cannot be read")?;
    let video = VideoSource {
        codec: clip.codec,
        layers: vec![clip.layer(None)],
        framerate: clip.framerate,
        stamp: None,
    };
    let words: Vec<String> = arguments.collect();
    let told = |what: &str| words.iter().any(|word| word == what);
    let config = Config {
        audio: AudioSource::Loop(tone(frequency_hz, 0.2, 2)?),
        video: Some(video.clone()),
        subscriptions: if told("blind") { Subscriptions::Chosen } else { Subscriptions::Highest(25) },
        ..Config::default()
    };
    let (session, mut events) = Session::join(info.clone(), config).await?;
    let mut content = None;
    if told("share") {
        let layers_apart = Config { engine: EngineKind::Light { verify_one_in: 0 }, ..Config::default() };
        let (share, mut its_events) = Session::share_content(&info, video, layers_apart).await?;
        tokio::spawn(async move { while its_events.next().await.is_some() {} });
        content = Some(share);
    }
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    tokio::pin!(end);
    let (mut decoder, mut samples) = (PcmDecoder::new()?, Vec::new());
    // Of each stream: frames, keyframes, and those with a hole before them.
    let mut seen: BTreeMap<u32, [u32; 3]> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            () = &mut end => break,
            event = events.next() => event,
        };
        match event {
            Some(Event::Media(Media::Audio(packet))) => {
                decoder.push(&packet, |more| samples.extend_from_slice(more));
                if samples.len() >= SAMPLE_RATE_HZ {
                    println!("{}", json!({ "heard": loudest(&samples), "seen": seen }));
                    samples.clear();
                }
            }
            Some(Event::Media(Media::Video(frame))) => {
                let counts = seen.entry(frame.stream_id).or_default();
                counts[0] += 1;
                counts[1] += u32::from(frame.keyframe);
                counts[2] += u32::from(!frame.contiguous);
            }
            Some(Event::Roster(change)) => println!("{change:?}"),
            Some(_) => {}
            None => break,
        }
    }
    if let Some(content) = content {
        content.leave().await;
    }
    session.leave().await;
    Ok(())
}

/// The strongest tone between 100 Hz and 4 kHz, and its amplitude in thousandths.
fn loudest(samples: &[f32]) -> (u32, u32) {
    let strength = |hz: u32| (amplitude_of(samples, hz as f32) * 1000.0) as u32;
    (10..400)
        .map(|tens| (tens * 10, strength(tens * 10)))
        .max_by_key(|(_, strength)| *strength)
        .unwrap_or_default()
}
