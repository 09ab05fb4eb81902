//! Our forwarder by itself, in real time, with more people than others are compared at: real handshakes, SRTP and datagrams,
//! in one process with the product's worker, which is alone on the server's core. Only the sockets of signaling are left out.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use campanile::worker::WorkerHandle;
use tokio::runtime::Runtime;

use super::peers::{
    Camera, MID_EXTENSION, OPUS, Peer, Peers, TRANSPORT_WIDE_EXTENSION, VP8, Watched, own_address,
};
use super::{FRAME_BYTES, PATIENCE};
use crate::system::{MEDIA_WORKER, Thread, pin_generator};
use crate::{Failure, Plan, hall, plain};

const WATCHERS: [usize; 5] = [1, 10, 100, 300, 1000];
/// The same who all send transport-wide feedback.
const REPORTING: [usize; 2] = [100, 300];
/// In the table of many who watch: 0.7 Mbit/s in 90 packets a second. A thousand of them is what one core can do.
const SMALL_FRAME_BYTES: usize = FRAME_BYTES / 2;
const GRID: usize = 25;
/// Of the core, at which the delay is measured, and how near is near enough.
const LOAD: f64 = 0.7;
const LOAD_MARGIN: f64 = 0.03;
/// More than these no generator on one core can take in.
const LOADED_MAX: usize = 200;
/// Watchers who look into packets for their delay: opening costs the generator more than anything else that it does.
const FOLLOWERS: usize = 2;
const SETTLE: Duration = Duration::from_secs(3);
/// Sound is announced and not sent; below it are the SSRCs of cameras.
const SOUND_SSRC: u32 = 1 << 16;
const CAMERA_MID: &str = "1";

/// More and more who watch one camera; 25 cameras to 25; and the delay at the load that operators stay below.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    // Before any other thread is there, so that all inherit it.
    pin_generator()?;
    let mut report = "| live, Campanile alone | µs of CPU per forwarded packet | of a core | delivered | |\n\
                      |---|---|---|---|---|\n"
        .to_owned();
    let largest = if plan.short { 100 } else { 1000 };
    for (numbers, feedback) in [(&WATCHERS[..], false), (&REPORTING[..], true)] {
        let mut live = Live::start(1, SMALL_FRAME_BYTES, feedback)?;
        for &watchers in numbers.iter().filter(|watchers| **watchers <= largest) {
            live.fill(watchers)?;
            let told = if feedback { ", with transport-wide feedback" } else { "" };
            let case = format!("1 camera of 0.7 Mbit/s, {watchers} watching{told}");
            live.measure(plan)?.write(&mut report, &case);
        }
        live.end();
    }
    let mut live = Live::start(GRID, FRAME_BYTES, true)?;
    live.fill(GRID)?;
    let case =
        format!("{GRID} cameras of 1.4 Mbit/s, {GRID} watching all of them, with transport-wide feedback");
    live.measure(plan)?.write(&mut report, &case);
    live.end();
    let mut live = Live::start(GRID, FRAME_BYTES, false)?;
    live.fill(GRID)?;
    let told_of = |watchers| format!("{GRID} cameras of 1.4 Mbit/s, {watchers} watching all of them");
    live.measure(plan)?.write(&mut report, &told_of(GRID));
    // What one more costs falls with their number, so the load is come to in steps, from below.
    let mut watchers = GRID;
    loop {
        let share = live.measure_for(SETTLE, SETTLE)?.share;
        let wanted = ((watchers as f64 * LOAD / share) as usize).min(LOADED_MAX);
        if share > LOAD - LOAD_MARGIN || wanted <= watchers {
            break;
        }
        watchers = wanted;
        live.fill(watchers)?;
    }
    let measured = live.measure(plan)?;
    measured.write(&mut report, &told_of(watchers));
    let delays = told(live.peers.take_delays(), measured.share);
    live.end();
    Ok(report + &delays)
}

/// The distribution of delays.
fn told(mut delays: Vec<Duration>, share: f64) -> String {
    delays.sort_unstable();
    let at = |part: f64| {
        let delay = delays.get((part * (delays.len() as f64 - 1.0)) as usize);
        delay.map_or("–".to_owned(), |delay| format!("{:.2} ms", delay.as_secs_f64() * 1e3))
    };
    format!(
        "\nFrom a frame's last packet on its way to the server until it is at a watcher's socket, with the server at {:.0} % of \
         its core: median {}, 90 % {}, 99 % {}, most {}, of {} frames.\n",
        100.0 * share,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        delays.len()
    )
}

/// A worker, and all people of its one meeting.
struct Live {
    runtime: Runtime,
    worker: WorkerHandle,
    thread: Thread,
    peers: Peers,
    people: usize,
    /// Whether those who watch give it.
    feedback: bool,
}

/// What the worker did in a while.
struct Measured {
    /// Of the core, 0 to 1.
    share: f64,
    cpu: Duration,
    watched: Watched,
}

impl Measured {
    fn write(&self, report: &mut String, case: &str) {
        let Watched { received, due, late } = self.watched;
        let delivered = received as f64 / due.max(1) as f64;
        let flaw = match () {
            () if delivered < 0.999 => "does not count: too few delivered",
            () if late => "does not count: the generator could not keep time",
            () => "",
        };
        let cost_us = self.cpu.as_secs_f64() * 1e6 / received.max(1) as f64;
        let (share, delivered) = (100.0 * self.share, 100.0 * delivered);
        // Writing to a String does not fail.
        let _ = writeln!(report, "| {case} | {cost_us:.2} | {share:.1} % | {delivered:.2} % | {flaw} |");
        eprintln!("{case:60} {cost_us:.2} µs, {share:.1} % of a core, {delivered:.2} % delivered {flaw}");
    }
}

impl Live {
    fn start(cameras: usize, frame_bytes: usize, feedback: bool) -> Result<Live, Failure> {
        let text = |error: std::io::Error| error.to_string();
        let socket = own_address().and_then(|ip| UdpSocket::bind((ip, 0))).map_err(text)?;
        let before = Thread::ids(MEDIA_WORKER)?;
        let worker = plain::start(socket, false, 8);
        let thread = Thread::pinned(MEDIA_WORKER, &before)?;
        // Its one thread empties the mailboxes.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut live = Live {
            runtime: runtime.map_err(text)?,
            worker,
            thread,
            peers: Peers::new(frame_bytes),
            people: 0,
            feedback,
        };
        for number in 0..cameras {
            let mut camera = Camera::new(1 + number as u32, CAMERA_MID)?;
            let answer = live.enter(offer(&camera.peer, true, 0), true)?;
            camera.peer.accept(&answer)?;
            live.peers.add_camera(camera)?;
        }
        Ok(live)
    }

    /// Lets nobody notice that the worker stops.
    fn end(self) {
        self.runtime.shutdown_background();
        self.worker.stop();
    }

    /// Lets people in who watch all cameras, until there are so many.
    fn fill(&mut self, watchers: usize) -> Result<(), Failure> {
        let cameras = self.peers.cameras.len();
        while self.peers.watchers.len() < watchers {
            let mut peer = Peer::new(10_000 + self.people as u32)?;
            if self.peers.watchers.len() < FOLLOWERS {
                peer.follow_delays();
            }
            if self.feedback {
                peer.give_feedback();
            }
            let answer = self.enter(offer(&peer, false, cameras), false)?;
            peer.accept(&answer)?;
            self.peers.add_watcher(peer, cameras)?;
        }
        Ok(())
    }

    /// One more person, with a camera or watching all that there are; the answer to their offer.
    fn enter(&mut self, offer: String, sends_camera: bool) -> Result<String, Failure> {
        let (number, cameras) = (self.people, self.peers.cameras.len());
        self.people += 1;
        let entered = async {
            let (session, mut mailbox) = plain::connect(&self.worker, 0, number).await;
            let watched = if sends_camera { Vec::new() } else { plain::cameras(&mut mailbox, cameras).await };
            let wanted = hall::subscription(offer, sends_camera, &watched);
            plain::subscribe(&self.worker, session, mailbox, wanted).await
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, entered).await });
        answer.map_err(|_| format!("person {number} does not get in"))
    }

    fn measure(&mut self, plan: &Plan) -> Result<Measured, Failure> {
        self.measure_for(plan.warm, plan.measured)
    }

    fn measure_for(&mut self, warm: Duration, measured: Duration) -> Result<Measured, Failure> {
        self.peers.warm(warm)?;
        self.peers.take_delays();
        let (before, sent_before, began) =
            (self.thread.so_far()?.0, self.peers.packets_sent(), Instant::now());
        let mut watched = self.peers.watch(measured)?;
        let cpu = self.thread.so_far()?.0 - before;
        // Everybody watches all there is: whoever is left without a picture must show.
        watched.due = (self.peers.packets_sent() - sent_before) * self.peers.watchers.len() as u64;
        Ok(Measured { share: cpu.as_secs_f64() / began.elapsed().as_secs_f64(), cpu, watched })
    }
}

/// Sound, and with any video the own camera's section and one for each that is watched.
fn offer(peer: &Peer, sends_camera: bool, watches: usize) -> String {
    let (local, transport, ssrc) = (peer.transport.local(), peer.transport.sdp_lines("actpass"), peer.ssrc);
    let (ip, port) = (local.ip(), local.port());
    let mids: Vec<String> = (0..watches + 2).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         m=audio {port} UDP/TLS/RTP/SAVPF {OPUS}\r\nc=IN IP4 {ip}\r\n\
         a=candidate:1 1 udp 2122260223 {ip} {port} typ host generation 0\r\n{transport}a=mid:0\r\na=sendrecv\r\n\
         a=msid:audio microphone\r\na=rtcp-mux\r\na=rtpmap:{OPUS} opus/48000/2\r\na=ssrc:{} cname:bench\r\n",
        mids.join(" "),
        SOUND_SSRC + ssrc
    );
    for mid in &mids[1..] {
        let direction = match (mid.as_str(), sends_camera) {
            (CAMERA_MID, true) => "sendrecv",
            (CAMERA_MID, false) => "inactive",
            _ => "recvonly",
        };
        // Writing to a String does not fail.
        let _ = write!(
            sdp,
            "m=video 9 UDP/TLS/RTP/SAVPF {VP8}\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:{mid}\r\na={direction}\r\n\
             a=rtcp-mux\r\na=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} nack\r\na=rtcp-fb:{VP8} nack pli\r\n\
             a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        );
        if peer.gives_feedback() {
            let _ = write!(
                sdp,
                "a=rtcp-fb:{VP8} transport-cc\r\na=extmap:{TRANSPORT_WIDE_EXTENSION} \
                 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
            );
        }
        if direction == "sendrecv" {
            let _ = write!(sdp, "a=msid:camera camera\r\na=ssrc:{ssrc} cname:bench\r\n");
        }
    }
    sdp
}
