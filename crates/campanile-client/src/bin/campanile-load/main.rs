//! `campanile-load`: many attendees at once, and an honest report.

#![allow(clippy::print_stderr, reason = "progress and table are for the person at the terminal")]

mod delay;
mod generator;
mod observe;
mod options;
mod process;
mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_client::api::{Api, Credentials};
use campanile_client::clip::Clip;
use campanile_client::pcm;
use campanile_client::{
    Adaption, AudioLoop, AudioSource, Codec, Config, EngineKind, Event, Events, JoinInfo, LoopTap,
    NetworkProfile, Session, SessionStatus, Stats, Subscriptions, Trust, VideoLayer, VideoSource,
};
use campanile_wire::signaling::Secret;
use clap::Parser as _;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::delay::Onset;
use crate::observe::{AMPLITUDE, Clock, Observer, Speaker};
use crate::options::Options;
use crate::report::{Measured, Snapshot};

/// After the last join, before measuring: cameras start, everybody subscribes.
const SETTLE: Duration = Duration::from_secs(4);
/// A join that takes longer has failed.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// For all to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One attendee of the run.
pub(crate) struct Participant {
    pub(crate) light: bool,
    pub(crate) checked: bool,
    pub(crate) meeting: usize,
    /// The number on its camera's stamps.
    pub(crate) camera: Option<u32>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) session: Result<Session, SessionStatus>,
    pub(crate) left_early: bool,
}

impl Participant {
    pub(crate) fn stats(&self) -> Stats {
        self.session.as_ref().map(Session::stats).unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = match Options::parse().completed() {
        Ok(options) => options,
        Err(why) => return failed(&why),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = options.threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(run(&options)) {
        Ok(code) => code,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("campanile-load: {why}");
    ExitCode::from(2)
}

async fn run(options: &Options) -> Result<ExitCode, String> {
    let trust = match &options.ca {
        Some(path) => Trust::bundle(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => Trust::system(),
    };
    let credentials = Credentials {
        access_key_id: options.access_key_id.clone(),
        secret_access_key: Secret(options.secret_access_key.0.clone()),
        session_token: options.session_token.clone().map(|token| Secret(token.0)),
    };
    let endpoint = options.api.clone().unwrap_or_default();
    let api = Api::new(&endpoint, &options.region, credentials, trust.clone()).map_err(|e| e.to_string())?;
    let mut meetings = Vec::new();
    let made = make_meetings(options, &api, &mut meetings).await;
    let outcome = match made {
        Ok(()) => measure(options, &trust, &meetings).await,
        Err(why) => Err(why),
    };
    for infos in &meetings {
        if let Some(info) = infos.first()
            && let Err(error) = api.delete_meeting(&info.meeting_id).await
        {
            eprintln!("meeting {} could not be deleted: {error}", info.meeting_id);
        }
    }
    Ok(report::present(options, &outcome?))
}

async fn make_meetings(
    options: &Options,
    api: &Api,
    meetings: &mut Vec<Vec<JoinInfo>>,
) -> Result<(), String> {
    let run = std::process::id();
    let names: Vec<String> = (0..options.attendees).map(|number| format!("load-{number}")).collect();
    for number in 0..options.meetings {
        let name = format!("load-{run}-{number}");
        let meeting = api.create_meeting(&name).await.map_err(|error| error.to_string())?;
        match api.create_attendees(&meeting, &names).await {
            Ok(infos) => meetings.push(infos),
            Err(error) => {
                if let Some(id) = meeting["Meeting"]["MeetingId"].as_str() {
                    let _ = api.delete_meeting(id).await;
                }
                return Err(error.to_string());
            }
        }
    }
    Ok(())
}

/// What everybody has in common.
struct Material {
    clock: Arc<Clock>,
    /// Of each speaker of a meeting.
    tones: Vec<AudioLoop>,
    /// Where the first one's beat begins.
    onset: Onset,
    layers: Vec<VideoLayer>,
    framerate: u32,
    trust: Trust,
}

fn material(options: &Options, trust: &Trust) -> Result<Material, String> {
    let (first, onset) = delay::beating(Speaker::frequency_hz(0), AMPLITUDE)?;
    let mut tones = vec![first];
    for number in 1..options.speakers {
        let tone = pcm::tone(Speaker::frequency_hz(number), AMPLITUDE, 2);
        tones.push(tone.map_err(|error| error.to_string())?);
    }
    let clip = |file: &[u8], rid| {
        let clip = Clip::from_ivf(file).ok_or("a built-in clip cannot be read")?;
        Ok::<_, &str>((clip.layer(rid), clip.framerate))
    };
    let (best, framerate) = match options.codec {
        options::Codec::Vp8 => {
            clip(include_bytes!("../../../clips/hi.vp8.ivf"), options.simulcast.then_some("hi"))?
        }
        options::Codec::H264 => clip(include_bytes!("../../../clips/mid.h264.ivf"), None)?,
        options::Codec::Vp9 => clip(include_bytes!("../../../clips/l3t3.vp9.ivf"), None)?,
        options::Codec::Av1 => clip(include_bytes!("../../../clips/l1t3.av1.ivf"), None)?,
    };
    let mut layers = Vec::new();
    if options.simulcast {
        layers.push(clip(include_bytes!("../../../clips/low.vp8.ivf"), Some("low"))?.0);
        layers.push(clip(include_bytes!("../../../clips/mid.vp8.ivf"), Some("mid"))?.0);
    }
    layers.push(best);
    Ok(Material { clock: Arc::new(Clock::new()), tones, onset, layers, framerate, trust: trust.clone() })
}

/// How one attendee is in the meeting.
struct Part {
    info: JoinInfo,
    config: Config,
    participant: Participant,
    /// Its place among the meeting's speakers, and those.
    speaker: Option<usize>,
    speakers: Arc<[Speaker]>,
}

fn part(
    options: &Options,
    material: &Material,
    meeting: usize,
    number: usize,
    info: &JoinInfo,
    speakers: &Arc<[Speaker]>,
) -> Part {
    let speaker = (number < options.speakers).then_some(number);
    // Publishers are counted from the end, so that whoever speaks need not also show.
    let publishes = number >= options.attendees - options.publishers;
    let silent = speaker.is_none() && (!publishes || options.light_publishers);
    let full = ((options.attendees as f64) * (1.0 - options.light)).ceil() as usize;
    // The light engine tells a stream's layers apart, which str0m does not.
    let layered = publishes && speaker.is_none() && options.codec.has_layers();
    let light = layered || silent && number >= full.max(options.speakers);
    let checked = !light && (speaker.is_some() || number < options.speakers + options.checked);
    let overall = (meeting * options.attendees + number) as u32;
    let total = (options.meetings * options.attendees) as f64;
    let impaired = f64::from(overall) < total * options.impaired;
    let network = NetworkProfile {
        loss_percent: options.loss,
        jitter: Duration::from_millis(options.jitter_ms),
        reorder_percent: options.reorder,
        seed: overall.into(),
    };
    let observer = Arc::new(Observer::new());
    let watch = if options.small {
        Subscriptions::Lowest(options.tiles)
    } else {
        Subscriptions::Highest(options.tiles)
    };
    let config = Config {
        engine: if light {
            EngineKind::Light { verify_one_in: options.verify_one_in }
        } else {
            EngineKind::Full
        },
        muted: speaker.is_none(),
        audio: match speaker {
            Some(place) => AudioSource::Loop(material.tones[place].clone()),
            None if options.quiet => AudioSource::Application,
            None => AudioSource::Silence,
        },
        video: publishes.then(|| VideoSource {
            codec: match options.codec {
                options::Codec::Vp8 => Codec::Vp8,
                options::Codec::H264 => Codec::H264,
                options::Codec::Vp9 => Codec::Vp9,
                options::Codec::Av1 => Codec::Av1,
            },
            layers: material.layers.clone(),
            framerate: material.framerate,
            stamp: Some(overall),
        }),
        subscriptions: if options.publishers == 0 { Subscriptions::Chosen } else { watch },
        adaption: if options.server_layers {
            Adaption::BandwidthProbingAndVideoQuality
        } else {
            Adaption::Default
        },
        trust: material.trust.clone(),
        network: if impaired { network } else { NetworkProfile::default() },
        sink: Some(observer.sink(&material.clock, checked, speaker, speakers)),
        tap: (speaker == Some(0)).then(|| tap(material.clock.clone(), speakers.clone())),
    };
    let participant = Participant {
        light,
        checked,
        meeting,
        camera: publishes.then_some(overall),
        observer,
        session: Err(SessionStatus::TaskFailed),
        left_early: false,
    };
    Part { info: info.clone(), config, participant, speaker, speakers: speakers.clone() }
}

/// Notes when the first speaker's beat is sent.
fn tap(clock: Arc<Clock>, speakers: Arc<[Speaker]>) -> LoopTap {
    Box::new(move |packet, at| {
        if let Some(beat) = speakers.first().and_then(|first| first.beat.as_ref()) {
            beat.sent(packet, clock.since_start(at));
        }
    })
}

async fn enter(part: Part, clock: Arc<Clock>) -> Participant {
    let Part { info, config, mut participant, speaker, speakers } = part;
    participant.session = match timeout(JOIN_TIMEOUT, Session::join(info, config)).await {
        Err(_) => Err(SessionStatus::TaskFailed),
        Ok(Err(error)) => Err(error.0),
        Ok(Ok((session, events))) => {
            tokio::spawn(follow(events, participant.observer.clone(), clock, speaker, speakers));
            Ok(session)
        }
    };
    participant
}

/// Notes what matters to the counting.
async fn follow(
    mut events: Events,
    observer: Arc<Observer>,
    clock: Arc<Clock>,
    speaker: Option<usize>,
    speakers: Arc<[Speaker]>,
) {
    let speaker = speaker.and_then(|place| speakers.get(place));
    while let Some(event) = events.next().await {
        match event {
            Event::Started(_) => {
                if let Some(speaker) = speaker {
                    speaker.connected(&clock, true);
                }
            }
            Event::Reconnecting(_) | Event::Ended(_) => {
                observer.restarted();
                if let Some(speaker) = speaker {
                    speaker.connected(&clock, false);
                }
            }
            Event::Sources(sources) => observer.offered(sources.iter().map(|source| source.stream_id)),
            _ => {}
        }
    }
}

async fn measure(options: &Options, trust: &Trust, meetings: &[Vec<JoinInfo>]) -> Result<Measured, String> {
    let material = material(options, trust)?;
    let clock = material.clock.clone();
    let total = options.meetings * options.attendees;
    let mut joining = JoinSet::new();
    let began = Instant::now();
    let mut last_progress = began;
    let mut count = 0_u32;
    for (meeting, infos) in meetings.iter().enumerate() {
        let speakers: Arc<[Speaker]> =
            (0..options.speakers).map(|number| Speaker::new(number, material.onset)).collect();
        for (number, info) in infos.iter().enumerate() {
            let part = part(options, &material, meeting, number, info, &speakers);
            joining.spawn(enter(part, clock.clone()));
            count += 1;
            let due = began + Duration::from_secs_f64(f64::from(count) / options.join_rate);
            tokio::time::sleep_until(due.into()).await;
            if last_progress.elapsed() > PROGRESS_INTERVAL {
                last_progress = Instant::now();
                eprintln!(
                    "[{:>4} s] {count} of {total} attendees on their way in",
                    began.elapsed().as_secs()
                );
            }
        }
    }
    let mut participants: Vec<Participant> = Vec::with_capacity(total);
    while let Some(joined) = joining.join_next().await {
        participants.push(joined.map_err(|error| error.to_string())?);
    }
    let inside = participants.iter().filter(|one| one.session.is_ok()).count();
    eprintln!("[{:>4} s] {inside} of {total} are in", began.elapsed().as_secs());
    sleep(SETTLE).await;

    let before = Snapshot::take(options, &participants);
    let window = Instant::now();
    clock.measure(true);
    let mut leavers_left = options.leavers;
    while window.elapsed() < options.duration {
        let rest = options.duration.saturating_sub(window.elapsed());
        let half = (options.duration / 2).saturating_sub(window.elapsed());
        let nap = if leavers_left > 0 && !half.is_zero() { half } else { rest };
        sleep(nap.min(PROGRESS_INTERVAL)).await;
        if leavers_left > 0 && window.elapsed() >= options.duration / 2 {
            vanish(&mut participants, options);
            leavers_left = 0;
        }
        let now = Snapshot::take(options, &participants);
        eprintln!(
            "[{:>4} s] {}",
            began.elapsed().as_secs(),
            report::progress(&before, &now, window.elapsed())
        );
    }
    clock.measure(false);
    let window = window.elapsed();
    // Each session publishes its counters once a second.
    sleep(Duration::from_millis(1100)).await;
    let after = Snapshot::take(options, &participants);
    let stats: Vec<Stats> = participants.iter().map(Participant::stats).collect();

    let mut leaving = JoinSet::new();
    for session in participants.iter().filter_map(|one| one.session.as_ref().ok()) {
        let session = session.clone();
        leaving.spawn(async move { session.leave().await });
    }
    let all = async { while leaving.join_next().await.is_some() {} };
    if timeout(LEAVE_TIMEOUT, all).await.is_err() {
        eprintln!("some could not leave in {} s", LEAVE_TIMEOUT.as_secs());
    }
    Ok(Measured { participants, stats, window, framerate: material.framerate, before, after })
}

/// The last silent ones of each meeting are gone without a word.
fn vanish(participants: &mut [Participant], options: &Options) {
    for meeting in 0..options.meetings {
        let silent = participants
            .iter_mut()
            .filter(|one| one.meeting == meeting && one.camera.is_none() && !one.checked);
        for one in silent.take(options.leavers) {
            if let Ok(session) = &one.session {
                session.vanish();
                one.left_early = true;
            }
        }
    }
}
