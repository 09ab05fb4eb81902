//! Campanile: the client library's light engine, which sends and counts as the others' peers do.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_client::api::{Api, Credentials};
use campanile_client::{
    Codec, Config, EngineKind, Event, JoinInfo, Media, Scalability, Session, Subscriptions, Trust,
    VideoLayer, VideoSource,
};
use campanile_wire::signaling::Secret;
use serde_json::Value;

use super::peers::{NAP, Watched};
use super::{FRAME_BYTES, FRAMERATE, PATIENCE, SIZE, Scene, Tally, frames, row};
use crate::report::Row;
use crate::system::{Folder, Meter, Server};
use crate::{Failure, Plan};

pub(super) fn campanile(plan: &Plan, scene: Scene) -> Result<Row, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(in_campanile(plan, scene))
}

async fn in_campanile(plan: &Plan, scene: Scene) -> Result<Row, Failure> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let data = Folder::new()?;
    let program = std::env::current_exe().map_err(|error| text(&error))?.with_file_name("campanile");
    let free = ["--listen", "127.0.0.1:0", "--media", "127.0.0.1:0", "--json", "--data-dir"];
    let mut server = Server::start(Command::new(program).arg("dev").args(free).arg(data.path()))?;
    let ready: Value = serde_json::from_str(&server.first_line()?).map_err(|error| text(&error))?;
    let field = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    let credentials = Credentials {
        access_key_id: field("access_key_id"),
        secret_access_key: Secret(field("secret_access_key")),
        session_token: None,
    };
    let api = Api::new(&field("api"), &field("region"), credentials, Trust::system())
        .map_err(|error| text(&error))?;

    let layer = VideoLayer {
        rid: None,
        max_bitrate_kbps: 1500,
        size: SIZE,
        scalability: Scalability::NONE,
        frames: frames(FRAME_BYTES).into_iter().map(Arc::from).collect(),
    };
    let camera = VideoSource { codec: Codec::Vp8, layers: vec![layer], framerate: FRAMERATE, stamp: None };
    let names: Vec<String> = (0..=scene.watchers).map(|number| format!("bench-{number}")).collect();
    let (mut cameras, mut watchers, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scene.rooms {
        let meeting = api.create_meeting("bench").await.map_err(|error| text(&error))?;
        let infos = api.create_attendees(&meeting, &names).await.map_err(|error| text(&error))?;
        cameras.push(enter(&infos[0], Some(camera.clone()), None).await?);
        for info in &infos[1..] {
            let tally = Arc::new(Tally::default());
            watchers.push(enter(info, None, Some(tally.clone())).await?);
            tallies.push(tally);
        }
    }
    let began = Instant::now();
    while tallies.iter().any(|tally| tally.counts().0 == 0) {
        if began.elapsed() > PATIENCE {
            return Err("not everybody sees their camera".into());
        }
        run(Duration::from_millis(20)).await;
    }
    run(plan.warm).await;
    tallies.iter().for_each(|tally| tally.reset());
    let meter = Meter::start(server.pid())?;
    let sent = || cameras.iter().map(|camera| camera.stats().video_frames_sent).sum::<u64>();
    let sent_before = sent();
    run(plan.measured).await;
    let used = meter.stop()?;
    // Statistics are a second old at most; a camera that was held up sends fewer frames.
    let sent = (sent() - sent_before) as f64 / cameras.len() as f64;
    let late = sent < f64::from(FRAMERATE) * (used.elapsed.as_secs_f64() - 1.5);
    let counts = tallies.iter().map(|tally| tally.counts());
    let (received, due) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Ok(row(used, Watched { received, due, late }))
}

/// Lets everybody do what is due for so long, with the same naps as the others' peers take: the runtime would wait for sockets.
async fn run(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(NAP);
        tokio::task::yield_now().await;
    }
}

/// Joins for the pictures alone, as the others' peers do: whoever is given no audio host takes part without sound.
async fn enter(
    info: &JoinInfo,
    video: Option<VideoSource>,
    tally: Option<Arc<Tally>>,
) -> Result<Session, Failure> {
    let info = JoinInfo { audio_host_url: None, ..info.clone() };
    let config = Config {
        engine: EngineKind::Light { verify_one_in: 0 },
        video,
        subscriptions: if tally.is_some() { Subscriptions::Highest(1) } else { Subscriptions::Chosen },
        sink: Some(Box::new(move |media| {
            if let (Media::Header(header), Some(tally)) = (media, &tally)
                && header.stream_id.is_some()
            {
                tally.count(header.sequence);
            }
        })),
        ..Config::default()
    };
    let (session, mut events) = Session::join(info, config).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Ended(status) = event {
                eprintln!("an attendee is out: {status:?}");
            }
        }
    });
    Ok(session)
}
