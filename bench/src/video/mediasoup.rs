//! mediasoup's worker, driven by its own Node.js library.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::peers::{Camera, Peer, Peers, own_address};
use super::{FRAME_BYTES, Scene};
use crate::report::Row;
use crate::system::pin_server;
use crate::{Failure, Plan};

/// What drives it, beside our sources.
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mediasoup/driver.mjs");

/// `folder` is where `mediasoup/build.sh` has built it.
pub(super) fn mediasoup(plan: &Plan, scene: Scene, folder: &Path) -> Result<Row, Failure> {
    let mut driver = Driver::start(folder)?;
    let mut peers = Peers::new(FRAME_BYTES);
    for _ in 0..scene.rooms {
        let mut camera = Camera::new(1, "0")?;
        let described = json!({ "fingerprint": fingerprint(&camera.peer)?, "ssrc": camera.peer.ssrc });
        camera.peer.accept(&driver.ask(&json!({ "camera": described }))?)?;
        peers.add_camera(camera)?;
        for number in 0..scene.watchers {
            let mut peer = Peer::new(2 + number as u32)?;
            let described = json!({ "fingerprint": fingerprint(&peer)? });
            peer.accept(&driver.ask(&json!({ "watcher": described }))?)?;
            peers.add_watcher(peer, 1)?;
        }
    }
    peers.measure(plan, driver.worker)
}

fn fingerprint(peer: &Peer) -> Result<String, Failure> {
    let lines = peer.transport.sdp_lines("active");
    let found = lines.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 "));
    Ok(found.ok_or("a peer has no fingerprint")?.to_owned())
}

/// The process that tells the worker what to do. The worker ends when its driver does.
struct Driver {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// The process that is measured.
    worker: u32,
}

impl Driver {
    fn start(folder: &Path) -> Result<Driver, Failure> {
        let text = |error: std::io::Error| format!("mediasoup cannot be started: {error}");
        let address = own_address().map_err(text)?.to_string();
        let mut child = Command::new("node")
            .args([Path::new(DRIVER), folder, Path::new(&address)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).expect("both are piped");
        let mut driver = Driver { child, to, from: BufReader::new(from), worker: 0 };
        let pid = driver.told()?["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        driver.worker = pid.ok_or("mediasoup has no worker")?;
        pin_server(driver.worker)?;
        Ok(driver)
    }

    /// How to reach the worker.
    fn ask(&mut self, question: &Value) -> Result<String, Failure> {
        writeln!(self.to, "{question}").map_err(|error| format!("mediasoup is gone: {error}"))?;
        let answer = self.told()?;
        answer["sdp"].as_str().map(str::to_owned).ok_or_else(|| format!("mediasoup refuses: {answer}"))
    }

    fn told(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|_| format!("mediasoup's driver said {line:?}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
