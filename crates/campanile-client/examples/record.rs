//! A bot that records what it hears to a WAV file, or as it came to an Ogg Opus file, for so many seconds or until the
//! meeting ends.
//!
//! ```text
//! curl -s -H 'content-type: application/json' -d '{"meeting":"demo","name":"recorder"}' \
//!     http://127.0.0.1:8080/demo/join | cargo run -p campanile-client --example record -- meeting.opus 60
//! ```

mod common;

use std::fs::File;
use std::io::BufWriter;
use std::time::Duration;

use campanile_client::opus_file::OpusFile;
use campanile_client::pcm::{PcmDecoder, WavWriter};
use campanile_client::{AudioPacket, Config, Event, Media, RosterChange, Session};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: record FILE.wav|FILE.opus [SECONDS [JOIN.json]]")?;
    let seconds: u64 = arguments.next().map_or(Ok(u64::MAX), |text| text.parse())?;
    let info = common::join_info(arguments.next().as_deref())?;
    let mut recording = Recording::create(&path)?;
    let (session, mut events) = Session::join(info, Config { muted: true, ..Config::default() }).await?;
    let end = tokio::time::sleep(Duration::from_secs(seconds.min(24 * 3600)));
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            () = &mut end => break,
            event = events.next() => event,
        };
        match event {
            Some(Event::Media(Media::Audio(packet))) => recording.write(&packet)?,
            Some(Event::Roster(RosterChange::Joined(who))) => println!("{} came", who.external_user_id),
            Some(Event::Roster(RosterChange::Left { attendee, .. })) => {
                println!("{} left", attendee.external_user_id);
            }
            Some(_) => {}
            None => break,
        }
    }
    session.leave().await;
    recording.finish()?;
    Ok(())
}

/// By the file's name.
enum Recording {
    Wav(WavWriter<BufWriter<File>>, Box<PcmDecoder>),
    Opus(OpusFile<BufWriter<File>>),
}

impl Recording {
    fn create(path: &str) -> Result<Recording, Box<dyn std::error::Error>> {
        let file = BufWriter::new(File::create(path)?);
        Ok(if path.ends_with(".wav") {
            Recording::Wav(WavWriter::new(file)?, Box::new(PcmDecoder::new()?))
        } else {
            Recording::Opus(OpusFile::new(file)?)
        })
    }

    fn write(&mut self, packet: &AudioPacket) -> std::io::Result<()> {
        match self {
            Recording::Wav(file, decoder) => {
                let mut written = Ok(());
                decoder.push(packet, |samples| written = file.write(samples));
                written
            }
            Recording::Opus(file) => file.write(packet),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Recording::Wav(file, _) => file.finish().map(drop),
            Recording::Opus(file) => file.finish().map(drop),
        }
    }
}
