//! Forwarded video: one camera and many who watch, over ICE, DTLS and SRTP, through our forwarder and Janus' VideoRoom.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use campanile_client::api::{Api, Credentials};
use campanile_client::payload::Packetizer;
use campanile_client::transport::{PeerDescription, Received, Transport, TransportOutput};
use campanile_client::{
    AudioSource, Codec, Config, EngineKind, Event, JoinInfo, Media, Scalability, Session, Subscriptions,
    Trust, VideoLayer, VideoSource,
};
use campanile_media::rtcp::{self, ReceptionStats};
use campanile_media::rtp::{self, RtpHeader};
use campanile_wire::signaling::Secret;
use serde_json::{Value, json};

use crate::janus::{Handle, Janus};
use crate::report::{Comparison, Row};
use crate::system::{Folder, Meter, Server};
use crate::{Failure, Plan};

/// Who watches the one camera.
const WATCHERS: [usize; 3] = [1, 25, 100];
const FRAMERATE: u32 = 30;
/// 30 of them a second are 1.4 Mbit/s in 180 packets, as of a camera of 720p.
const FRAME_BYTES: usize = 6000;
const SIZE: (u16, u16) = (1280, 720);
/// A keyframe every so many frames; nobody's joining brings more.
const KEYFRAME_INTERVAL: u32 = 60;
/// For all to get in and see.
const PATIENCE: Duration = Duration::from_secs(30);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const VP8: u8 = 96;
const MID_EXTENSION: u8 = 4;
/// How long the generator rests when nothing is due.
const NAP: Duration = Duration::from_millis(1);

/// Measures all cases.
pub(crate) fn run(plan: &Plan) -> Result<Comparison, Failure> {
    let mut comparison = Comparison::new("µs of CPU per forwarded packet");
    for watchers in WATCHERS {
        let case = comparison.case(format!("1 camera of 1.4 Mbit/s, {watchers} watching"));
        for _ in 0..plan.pairs {
            case.ours(campanile(plan, watchers)?);
            case.theirs(videoroom(plan, watchers)?);
        }
    }
    Ok(comparison)
}

/// What one watcher has received, by the sequence numbers of its own stream.
#[derive(Debug, Default)]
struct Tally {
    received: AtomicU64,
    first: AtomicU32,
    last: AtomicU32,
}

impl Tally {
    fn count(&self, sequence: u16) {
        let before = self.received.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first.store(sequence.into(), Ordering::Relaxed);
            self.last.store(sequence.into(), Ordering::Relaxed);
        } else {
            // Across its wraps, as long as less than half a round is missing.
            let last = self.last.load(Ordering::Relaxed);
            let step = sequence.wrapping_sub(last as u16);
            if step < 0x8000 {
                self.last.store(last + u32::from(step), Ordering::Relaxed);
            }
        }
    }

    fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// Received, and due.
    fn counts(&self) -> (u64, u64) {
        let received = self.received.load(Ordering::Relaxed);
        if received == 0 {
            return (0, 1);
        }
        let span = self.last.load(Ordering::Relaxed) - self.first.load(Ordering::Relaxed);
        (received, u64::from(span) + 1)
    }
}

/// What all watchers together cost.
fn row(used: crate::system::Used, tallies: &[Arc<Tally>], late: bool) -> Row {
    let (received, due) =
        tallies.iter().map(|tally| tally.counts()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Row {
        cost_us: used.cpu.as_secs_f64() * 1e6 / received.max(1) as f64,
        cores: used.cpu.as_secs_f64() / used.elapsed.as_secs_f64(),
        delivered: received as f64 / due as f64,
        others: used.others,
        late,
    }
}

/// Frames that look like VP8 from outside: the first of each round is a keyframe with its size, the rest is noise.
fn frames() -> Vec<Vec<u8>> {
    let mut noise = 1_u32;
    let mut frame = |number| {
        let mut bytes: Vec<u8> = (0..FRAME_BYTES)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        // RFC 6386 section 9.1: the frame tag, whose first bit is clear in keyframes, the start code and the size.
        bytes[0] = 0x10 | u8::from(number % KEYFRAME_INTERVAL != 0);
        if number % KEYFRAME_INTERVAL == 0 {
            bytes[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
            bytes[6..8].copy_from_slice(&SIZE.0.to_le_bytes());
            bytes[8..10].copy_from_slice(&SIZE.1.to_le_bytes());
        }
        bytes
    };
    (0..KEYFRAME_INTERVAL).map(&mut frame).collect()
}

// ---- Campanile: the client library, its light engine ------------------------------------------------------------------

fn campanile(plan: &Plan, watchers: usize) -> Result<Row, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(in_campanile(plan, watchers))
}

async fn in_campanile(plan: &Plan, watchers: usize) -> Result<Row, Failure> {
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
    let meeting = api.create_meeting("bench").await.map_err(|error| text(&error))?;
    let names: Vec<String> = (0..=watchers).map(|number| format!("bench-{number}")).collect();
    let infos = api.create_attendees(&meeting, &names).await.map_err(|error| text(&error))?;

    let layer = VideoLayer {
        rid: None,
        max_bitrate_kbps: 1500,
        size: SIZE,
        scalability: Scalability::NONE,
        frames: frames().into_iter().map(Arc::from).collect(),
    };
    let camera = VideoSource { codec: Codec::Vp8, layers: vec![layer], framerate: FRAMERATE, stamp: None };
    let mut sessions = vec![enter(&infos[0], Some(camera), None).await?];
    let mut tallies = Vec::new();
    for info in &infos[1..] {
        let tally = Arc::new(Tally::default());
        sessions.push(enter(info, None, Some(tally.clone())).await?);
        tallies.push(tally);
    }
    let began = Instant::now();
    while tallies.iter().any(|tally| tally.counts().0 == 0) {
        if began.elapsed() > PATIENCE {
            return Err("not everybody sees the camera".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(plan.warm).await;
    tallies.iter().for_each(|tally| tally.reset());
    let meter = Meter::start(server.pid())?;
    let sent_before = sessions[0].stats().video_frames_sent;
    tokio::time::sleep(plan.measured).await;
    let used = meter.stop()?;
    // Statistics are a second old at most; a camera that was held up sends fewer frames.
    let sent = sessions[0].stats().video_frames_sent - sent_before;
    let late = (sent as f64) < f64::from(FRAMERATE) * (used.elapsed.as_secs_f64() - 1.5);
    Ok(row(used, &tallies, late))
}

/// Sends no audio, and counts none; but a meeting has sound, so each also gets 50 packets of silence a second. What they
/// cost is charged to us.
async fn enter(
    info: &JoinInfo,
    video: Option<VideoSource>,
    tally: Option<Arc<Tally>>,
) -> Result<Session, Failure> {
    let config = Config {
        engine: EngineKind::Light { verify_one_in: 0 },
        muted: true,
        audio: AudioSource::Application,
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
    let (session, mut events) =
        Session::join(info.clone(), config).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Ended(status) = event {
                eprintln!("an attendee is out: {status:?}");
            }
        }
    });
    Ok(session)
}

// ---- Janus: the same transport and packets, signaled as it likes ------------------------------------------------------

/// One end of a connection to Janus, with a socket of its own.
struct Peer {
    socket: UdpSocket,
    transport: Transport,
    connected: bool,
    ssrc: u32,
    reception: Option<ReceptionStats>,
    tally: Arc<Tally>,
}

impl Peer {
    fn new(ssrc: u32) -> Result<Peer, Failure> {
        let bound = || {
            let socket = UdpSocket::bind((own_address()?, 0))?;
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            Ok::<_, std::io::Error>((socket, local))
        };
        let (socket, local) = bound().map_err(|error| error.to_string())?;
        let transport = Transport::new(Instant::now(), local)?;
        let tally = Arc::new(Tally::default());
        Ok(Peer { socket, transport, connected: false, ssrc, reception: None, tally })
    }

    /// An SDP with one section of VP8.
    fn sdp(&self, mid: &str, payload_type: &str, direction: &str) -> Value {
        let (local, transport) = (self.transport.local(), self.transport.sdp_lines("active"));
        let (ip, port, ssrc) = (local.ip(), local.port(), self.ssrc);
        let kind = if direction == "sendonly" { "offer" } else { "answer" };
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\na=msid-semantic: WMS bench\r\n\
             m=video {port} UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 {ip}\r\n{transport}a=mid:{mid}\r\na={direction}\r\n\
             a=candidate:1 1 udp 2122260223 {ip} {port} typ host\r\na=end-of-candidates\r\na=rtcp-mux\r\n\
             a=rtpmap:{payload_type} VP8/90000\r\na=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n\
             a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\na=msid:bench bench\r\na=ssrc:{ssrc} cname:bench\r\n"
        );
        json!({ "type": kind, "sdp": sdp })
    }

    fn accept(&mut self, sdp: &str) -> Result<(), Failure> {
        self.transport.accept(Instant::now(), &PeerDescription::parse(sdp))
    }

    /// Takes what has come and sends what is to be sent.
    fn turn(&mut self, now: Instant) -> Result<(), Failure> {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let bytes = &buffer[..length];
                    if self.transport.receive(now, from, bytes) == Received::Rtp
                        && let Ok(header) = RtpHeader::parse_sealed(bytes)
                    {
                        self.tally.count(header.sequence);
                        let reception =
                            self.reception.get_or_insert_with(|| ReceptionStats::new(header.ssrc, 90_000));
                        reception.record(header.sequence, header.timestamp, now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What ICMP tells of an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if self.transport.poll_timeout().is_some_and(|due| due <= now) {
            self.transport.handle_timeout(now);
        }
        while let Some(output) = self.transport.poll() {
            match output {
                TransportOutput::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                TransportOutput::Connected => self.connected = true,
                TransportOutput::Failed(why) => return Err(format!("a connection to Janus failed: {why}")),
            }
        }
        Ok(())
    }

    /// What browsers tell a sender once a second.
    fn report(&mut self, now: Instant) {
        let blocks: Vec<_> =
            self.reception.as_mut().and_then(|stats| stats.report(now)).into_iter().collect();
        let ssrc = self.ssrc;
        self.transport.send_rtcp(|out| {
            rtcp::receiver_report(out, ssrc, &blocks);
            rtcp::sdes_cname(out, ssrc, "bench");
        });
    }
}

/// This machine's own address: Janus takes no loopback ones. Datagrams between the two stay in the kernel all the same.
fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing: it only asks for the way to an address that is nobody's (RFC 5737).
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

/// All peers of one run: the camera and who watches it.
struct Room {
    camera: Peer,
    watchers: Vec<Peer>,
    packetizer: Packetizer,
    frames: Vec<Vec<u8>>,
    sequence: u16,
    number: usize,
    next_frame: Instant,
    next_report: Instant,
    late_frames: u32,
}

impl Room {
    fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if self.camera.connected && now >= self.next_frame {
                self.late_frames += u32::from(now > self.next_frame + Duration::from_millis(20));
                self.next_frame = (self.next_frame + Duration::from_secs(1) / FRAMERATE).max(now);
                self.send_frame();
            }
            if now >= self.next_report {
                self.next_report = now + REPORT_INTERVAL;
                self.watchers.iter_mut().for_each(|peer| peer.report(now));
            }
            self.camera.turn(now)?;
            self.watchers.iter_mut().try_for_each(|peer| peer.turn(now))?;
            std::thread::sleep(NAP);
        }
    }

    /// As the light engine sends it to Campanile.
    fn send_frame(&mut self) {
        let frame = &self.frames[self.number % self.frames.len()];
        let time = (self.number as u32).wrapping_mul(90_000 / FRAMERATE);
        self.number += 1;
        let ssrc = self.camera.ssrc;
        for payload in self.packetizer.packetize(frame) {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            self.camera.transport.send_rtp(|out| {
                let extensions: [(u8, &[u8]); 1] = [(MID_EXTENSION, b"0")];
                rtp::write_header(out, VP8, payload.marker, sequence, time, ssrc, &extensions);
                out.extend_from_slice(&payload.bytes);
            });
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Room) -> bool) -> Result<(), Failure> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > PATIENCE {
                return Err(format!("Janus: {what} takes too long"));
            }
            self.run(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

fn videoroom(plan: &Plan, watchers: usize) -> Result<Row, Failure> {
    const ROOM: u64 = 1;
    let janus = Janus::start("videoroom")?;
    let host = janus.attach("videoroom")?;
    janus.request(
        host,
        json!({ "request": "create", "room": ROOM, "publishers": 1, "bitrate": 2_000_000, "videocodec": "vp8",
            "fir_freq": 0, "record": false }),
    )?;
    let joined =
        janus.negotiate(host, json!({ "request": "join", "ptype": "publisher", "room": ROOM }), None)?;
    let feed = joined["plugindata"]["data"]["id"].clone();
    let now = Instant::now();
    let mut room = Room {
        camera: Peer::new(1)?,
        watchers: Vec::new(),
        packetizer: Packetizer::new(Codec::Vp8, Scalability::NONE, SIZE),
        frames: frames(),
        sequence: 0,
        number: 0,
        next_frame: now,
        next_report: now,
        late_frames: 0,
    };
    let offer = room.camera.sdp("0", &VP8.to_string(), "sendonly");
    let published = janus.negotiate(host, json!({ "request": "publish" }), Some(offer))?;
    room.camera.accept(sdp_of(&published)?)?;
    room.run_until("connecting the camera", |room| room.camera.connected)?;
    for number in 0..watchers {
        watch(&janus, ROOM, &feed, 2 + number as u32, &mut room)?;
    }
    room.run_until("showing the camera to all", |room| {
        room.watchers.iter().all(|peer| peer.tally.counts().0 > 0)
    })?;
    room.run(plan.warm)?;
    let tallies: Vec<Arc<Tally>> = room.watchers.iter().map(|peer| peer.tally.clone()).collect();
    tallies.iter().for_each(|tally| tally.reset());
    room.late_frames = 0;
    let meter = Meter::start(janus.pid())?;
    room.run(plan.measured)?;
    let used = meter.stop()?;
    let frames = used.elapsed.as_secs_f64() * f64::from(FRAMERATE);
    Ok(row(used, &tallies, f64::from(room.late_frames) > frames / 100.0))
}

/// VideoRoom offers to those who watch.
fn watch(janus: &Janus, room_id: u64, feed: &Value, ssrc: u32, room: &mut Room) -> Result<(), Failure> {
    let handle: Handle = janus.attach("videoroom")?;
    let join =
        json!({ "request": "join", "ptype": "subscriber", "room": room_id, "streams": [{ "feed": feed }] });
    let attached = janus.negotiate(handle, join, None)?;
    let sdp = sdp_of(&attached)?;
    let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start));
    let mid = line("a=mid:").ok_or("Janus offers no section")?;
    let payload_type =
        line("m=video ").and_then(|line| line.split(' ').nth(2)).ok_or("Janus offers no video")?;
    let mut peer = Peer::new(ssrc)?;
    let answer = peer.sdp(mid, payload_type, "recvonly");
    peer.accept(sdp)?;
    janus.negotiate(handle, json!({ "request": "start" }), Some(answer))?;
    room.watchers.push(peer);
    room.run_until("connecting a watcher", |room| room.watchers.last().is_some_and(|peer| peer.connected))
}

fn sdp_of(answer: &Value) -> Result<&str, Failure> {
    answer["jsep"]["sdp"].as_str().ok_or_else(|| format!("Janus answered without SDP: {answer}"))
}
