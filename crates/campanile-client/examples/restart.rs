//! How long a server's death, and its drain, can be heard. Starts the server, lets clients in, ends the process, starts it
//! again at once on the same ports and data, and measures each client's gap in the sound. `cargo xtask bench restart`
//! runs it.
//!
//!     restart BINARY [CLIENTS [MEETINGS]]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campanile_client::api::{Api, Credentials};
use campanile_client::pcm::tone;
use campanile_client::{
    AudioSource, Config, EngineKind, Event, JoinInfo, JoinTimings, Media, Session, Trust,
};
use campanile_wire::signaling::Secret;
use serde_json::Value;
use tokio::time::{sleep, timeout};

type Failure = Box<dyn std::error::Error>;

/// Who is not back by then is not coming back: the client tries for two minutes.
const PATIENCE: Duration = Duration::from_secs(150);
/// Everybody is to be heard for so long before and after.
const CALM: Duration = Duration::from_secs(3);
/// A pause between two packets, which come every 20 ms, that may be an outage: the longest is.
const PAUSE: Duration = Duration::from_millis(40);
/// Of those who come back: how long they waited, then each step of the attempt that got in.
const STEPS: [&str; 5] = [
    "from listening to the attempt that gets in",
    "to the open socket",
    "window from open socket to INDEX",
    "from INDEX to the answer",
    "from the answer to ICE and DTLS",
];
/// People who speak in each meeting.
const SPEAKERS: usize = 3;

struct Server {
    process: Child,
    ready: Value,
    data: PathBuf,
}

impl Server {
    /// Starts it, and tells how long it took until it listened.
    fn start(binary: &Path, data: &Path, listen: &str, media: &str) -> Result<(Server, Duration), Failure> {
        let began = Instant::now();
        let mut process = Command::new(binary)
            .args(["dev", "--json", "--listen", listen, "--media", media, "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let took = began.elapsed();
        Ok((Server { process, ready: serde_json::from_str(&line)?, data: data.to_owned() }, took))
    }

    fn text(&self, name: &str) -> Result<String, Failure> {
        Ok(self.ready[name]
            .as_str()
            .ok_or_else(|| format!("the server does not tell its {name}"))?
            .to_owned())
    }

    fn api(&self) -> Result<Api, Failure> {
        let credentials = Credentials {
            access_key_id: self.text("access_key_id")?,
            secret_access_key: Secret(self.text("secret_access_key")?),
            session_token: None,
        };
        Ok(Api::new(&self.text("api")?, &self.text("region")?, credentials, Trust::system())?)
    }

    /// Sends the signal, waits for the end, and starts it again where it was.
    fn restart(&mut self, binary: &Path, signal: &str) -> Result<Restart, Failure> {
        let listen = self.text("api")?.replacen("http://", "", 1);
        let media = self.text("media")?;
        let ended = Instant::now();
        Command::new("kill").args([signal, &self.process.id().to_string()]).status()?;
        self.process.wait()?;
        let stopping = ended.elapsed();
        let (server, start_up) = Server::start(binary, &self.data, &listen, &media)?;
        *self = server;
        Ok(Restart { ended, stopping, start_up, listens: Instant::now() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Restart {
    ended: Instant,
    stopping: Duration,
    start_up: Duration,
    listens: Instant,
}

/// What one client has heard, and how it got in.
#[derive(Default)]
struct Heard {
    last: Option<Instant>,
    /// Pauses, by when they began and ended.
    pauses: Vec<(Instant, Instant)>,
    /// When each attempt that got in began, and how it went.
    joins: Vec<(Instant, JoinTimings)>,
    ended: bool,
}

struct Client {
    _session: Session,
    heard: Arc<Mutex<Heard>>,
}

async fn join(info: JoinInfo, speaks: bool) -> Result<Client, Failure> {
    let heard = Arc::<Mutex<Heard>>::default();
    let sink = heard.clone();
    let config = Config {
        engine: EngineKind::Light { verify_one_in: 0 },
        audio: if speaks { AudioSource::Loop(tone(400.0, 0.1, 2)?) } else { AudioSource::Silence },
        sink: Some(Box::new(move |media| {
            let Media::Header(packet) = media else { return };
            let mut heard = sink.lock().expect("no panic while it is held");
            if let Some(last) = heard.last.filter(|last| packet.arrival - *last > PAUSE) {
                heard.pauses.push((last, packet.arrival));
            }
            heard.last = Some(packet.arrival);
        })),
        ..Config::default()
    };
    let (session, mut events) = Session::join(info, config).await?;
    let told = heard.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let mut heard = told.lock().expect("no panic while it is held");
            match event {
                Event::Started(timings) => heard.joins.push((Instant::now() - timings.started, timings)),
                Event::Ended(_) => heard.ended = true,
                _ => {}
            }
        }
    });
    Ok(Client { _session: session, heard })
}

/// Waits until this holds for every client; how many there are for which it does, at last.
async fn until_all(clients: &[Client], holds: impl Fn(&Heard) -> bool) -> usize {
    let count = || clients.iter().filter(|client| holds(&client.heard.lock().expect("no panic"))).count();
    let wait = async {
        while count() < clients.len() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(PATIENCE, wait).await;
    count()
}

fn row(what: &str, mut values: Vec<Duration>) {
    values.sort_unstable();
    let at = |share: f64| match values.len() {
        0 => "–".to_owned(),
        n => format!("{} ms", values[((n - 1) as f64 * share).round() as usize].as_millis()),
    };
    println!("| {what} | {} | {} | {} | {} | {} |", values.len(), at(0.0), at(0.5), at(0.95), at(1.0));
}

async fn measure(
    server: &mut Server,
    binary: &Path,
    clients: &[Client],
    signal: &str,
) -> Result<(), Failure> {
    for client in clients {
        let mut heard = client.heard.lock().expect("no panic");
        (heard.pauses, heard.joins) = (Vec::new(), Vec::new());
    }
    let restart = server.restart(binary, signal)?;
    let back =
        until_all(clients, |heard| !heard.joins.is_empty() && heard.last > Some(restart.listens)).await;
    sleep(CALM).await;
    let (mut gaps, mut from_listening) = (Vec::new(), Vec::new());
    let mut steps: [Vec<Duration>; STEPS.len()] = Default::default();
    let mut ended = 0;
    for client in clients {
        let heard = client.heard.lock().expect("no panic");
        ended += usize::from(heard.ended);
        // Nobody goes without one: the old process is gone before the new one begins.
        let since = heard.pauses.iter().filter(|(_, end)| *end > restart.ended);
        if let Some((begin, end)) = since.max_by_key(|(begin, end)| *end - *begin) {
            gaps.push(*end - *begin);
            from_listening.push(end.saturating_duration_since(restart.listens));
        }
        if let Some((began, join)) = heard.joins.first() {
            let ends = [join.opened, join.indexed, join.answered, join.started];
            let begins = [Duration::ZERO, join.opened, join.indexed, join.answered];
            let taken = ends.into_iter().zip(begins).map(|(end, begin)| end - begin);
            let waited = began.saturating_duration_since(restart.listens);
            steps
                .iter_mut()
                .zip(std::iter::once(waited).chain(taken))
                .for_each(|(step, took)| step.push(took));
        }
    }
    println!(
        "\n`kill {signal}`: {back} of {} clients back, {ended} ended for good; the old process took {} ms to end, the new \
         one {} ms until it listened.\n",
        clients.len(),
        restart.stopping.as_millis(),
        restart.start_up.as_millis(),
    );
    println!("| | clients | least | median | 95 % | most |\n|---|---|---|---|---|---|");
    row("gap in the sound", gaps);
    row("from listening to sound", from_listening);
    STEPS.into_iter().zip(steps).for_each(|(what, took)| row(what, took));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let binary = PathBuf::from(args.first().ok_or("restart BINARY [CLIENTS [MEETINGS]]")?);
    let number = |at: usize, otherwise: usize| args.get(at).map_or(Ok(otherwise), |text| text.parse());
    let (count, meetings) = (number(1, 200)?, number(2, 20)?);
    let data = std::env::temp_dir().join(format!("campanile-restart-{}", std::process::id()));
    let (mut server, start_up) = Server::start(&binary, &data, "127.0.0.1:0", "127.0.0.1:0")?;
    println!(
        "{count} clients in {meetings} meetings; first start of the server: {} ms.",
        start_up.as_millis()
    );
    let api = server.api()?;
    let mut clients = Vec::with_capacity(count);
    for meeting in 0..meetings {
        let names: Vec<String> = (meeting..count).step_by(meetings).map(|at| format!("c{at}")).collect();
        let made = api.create_meeting(&format!("restart-{meeting}")).await?;
        for (at, info) in api.create_attendees(&made, &names).await?.into_iter().enumerate() {
            clients.push(join(info, at < SPEAKERS).await?);
        }
    }
    until_all(&clients, |heard| !heard.joins.is_empty() && heard.last.is_some()).await;
    let windows = clients.iter().filter_map(|client| {
        let heard = client.heard.lock().expect("no panic");
        heard.joins.first().map(|(_, join)| join.indexed - join.opened)
    });
    println!("\n| | clients | least | median | 95 % | most |\n|---|---|---|---|---|---|");
    row("window from open socket to INDEX", windows.collect());
    for signal in ["-KILL", "-TERM"] {
        sleep(CALM).await;
        measure(&mut server, &binary, &clients, signal).await?;
    }
    drop(server);
    let _ = std::fs::remove_dir_all(&data);
    Ok(())
}
