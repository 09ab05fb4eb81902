//! A bot that plays a WAV file to a meeting and leaves.
//!
//! ```text
//! curl -s -H 'content-type: application/json' -d '{"meeting":"demo","name":"radio"}' \
//!     http://127.0.0.1:8080/demo/join | cargo run -p campanile-client --example play -- song.wav
//! ```

mod common;

use std::fs::File;
use std::time::Duration;

use campanile_client::pcm::{PACKET_SAMPLES, PcmEncoder, read_wav};
use campanile_client::{Config, Session};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let wav = arguments.next().ok_or("usage: play FILE.wav [JOIN.json]")?;
    let samples = read_wav(File::open(wav)?)?;
    let info = common::join_info(arguments.next().as_deref())?;
    let (session, mut events) = Session::join(info, Config::default()).await?;
    // Nobody needs the events here, but someone has to take them.
    tokio::spawn(async move { while events.next().await.is_some() {} });

    let mut encoder = PcmEncoder::new()?;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for frame in samples.chunks(PACKET_SAMPLES) {
        ticks.tick().await;
        encoder.push(frame, |packet, level_db| session.send_audio(packet, level_db))?;
    }
    session.leave().await;
    Ok(())
}
