//! A bot that says again, a second later, what it has heard, and sends messages back as well.
//!
//! ```text
//! curl -s -H 'content-type: application/json' -d '{"meeting":"demo","name":"echo"}' \
//!     http://127.0.0.1:8080/demo/join | cargo run -p campanile-client --example echo
//! ```

mod common;

use std::collections::VecDeque;

use campanile_client::pcm::{PACKET_SAMPLES, PcmDecoder, PcmEncoder, SAMPLE_RATE_HZ};
use campanile_client::{Config, Event, Media, Session};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let info = common::join_info(std::env::args().nth(1).as_deref())?;
    let (session, mut events) = Session::join(info, Config::default()).await?;
    let (mut decoder, mut encoder) = (PcmDecoder::new()?, PcmEncoder::new()?);
    let mut heard: VecDeque<f32> = vec![0.0; SAMPLE_RATE_HZ].into();
    while let Some(event) = events.next().await {
        match event {
            Event::Media(Media::Audio(packet)) => {
                // The meeting's packets are the clock: one in, one out.
                decoder.push(&packet, |samples| heard.extend(samples));
                while heard.len() >= SAMPLE_RATE_HZ + PACKET_SAMPLES {
                    let frame: Vec<f32> = heard.drain(..PACKET_SAMPLES).collect();
                    encoder.push(&frame, |packet, level_db| session.send_audio(packet, level_db))?;
                }
            }
            Event::Message(message) => session.send_message(&message.topic, message.data, 0),
            Event::Ended(status) => println!("the session ended: {status:?}"),
            _ => {}
        }
    }
    Ok(())
}
