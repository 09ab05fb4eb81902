//! The task of one session: it owns the sockets, keeps the time and follows the JavaScript client's rules.

mod commands;
mod frames;
mod sending;
mod subscribe;

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use campanile_opus::RestingMicrophone;
use campanile_wire::signaling::{ClientFrame, ServerFrame, StreamAllocation, StreamDescriptor, proto};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use crate::engine::{Engine, Output};
use crate::join::JoinInfo;
use crate::media::{Media, VideoSource};
use crate::network::{Datagram, Impairment, Way};
use crate::reconnect::Retries;
use crate::roster::Roster;
use crate::session::{Command, Config, Event};
use crate::signaling::{Incoming, Socket};
use crate::stats::{JoinTimings, Outage, Stats};
use crate::status::SessionStatus::{self, ConnectionHealthReconnect, Left, TaskFailed};
use crate::status::Stage;

/// For getting in, and for each answer (the JavaScript client's `connectionTimeoutMs`).
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered pings that make a connection unhealthy.
const MISSED_PONGS_MAX: u32 = 4;
/// Media silent for so long makes it unhealthy too.
const SILENCE_MAX: Duration = Duration::from_secs(25);
const SECOND: Duration = Duration::from_secs(1);
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// Packets sent at once when the process was held up: what a browser's microphone buffers.
const CATCH_UP_MAX: u32 = 10;
/// Reads before anything else has its turn.
const BATCH_MAX: usize = 64;
/// What one read brings at most: the kernel glues together what comes of one sender in one go.
const READ_BYTES_MAX: usize = 1 << 16;
/// Room for a video burst while the process is held up: a quarter of a second at 20 Mbit/s.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;

pub(crate) struct Driver {
    info: JoinInfo,
    config: Config,
    commands: mpsc::Receiver<Command>,
    commands_open: bool,
    events: mpsc::Sender<Event>,
    publish: watch::Sender<Stats>,
    started: Option<oneshot::Sender<Result<(), SessionStatus>>>,
    stats: Stats,
    audio_session_id: u32,
    muted: bool,
    roster: Roster,
    index: Vec<StreamDescriptor>,
    chosen: Vec<u32>,
    audio: AudioState,
    video: VideoState,
    /// Who wants to know that we have left.
    leaving: Option<oneshot::Sender<()>>,
    last_received: Option<Instant>,
    /// Since when there is no connection; `None` while there is, and before the first.
    lost_since: Option<Instant>,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct AudioState {
    time: u64,
    position: usize,
    due: Option<Instant>,
    /// When the last packet was due, sent or rested.
    sent_until: Option<Instant>,
    silence: RestingMicrophone,
}

#[derive(Default)]
struct VideoState {
    source: Option<VideoSource>,
    /// As the service last allocated them.
    allocations: Vec<StreamAllocation>,
    number: u32,
    /// For each layer, the next frame of its loop.
    positions: Vec<usize>,
    due: Option<Instant>,
    began: Option<Instant>,
}

/// One connection: lives until it breaks.
struct Link {
    socket: Socket,
    socket_open: bool,
    udp: UdpSocket,
    udp_state: UdpSocketState,
    network: Option<Impairment>,
    engine: Option<Engine>,
    stage: Stage,
    began: Instant,
    timings: JoinTimings,
    ack_seen: bool,
    server_chooses: bool,
    /// A SUBSCRIBE waits for its answer until then.
    outstanding: Option<Instant>,
    /// What the last SUBSCRIBE asked for.
    camera_offered: bool,
    camera_answered: bool,
    /// The service asks that no silence be sent (DTX).
    rests: bool,
    receiving: Vec<u32>,
    ping_id: u32,
    pinged: bool,
    missed: u32,
    ping_due: Instant,
    second_due: Instant,
    /// Nothing changed since the wish was last looked at.
    settled: bool,
}

impl Link {
    /// Sends a frame, unless the socket is known to be closed; that it broke is told by reading.
    async fn say(&mut self, frame: &ClientFrame) {
        if self.socket_open {
            self.socket.send(frame).await;
        }
    }
}

/// Why a connection is over.
enum End {
    Status(SessionStatus),
    /// On purpose, politely or not.
    Left,
    Vanished,
}

impl Driver {
    pub(crate) fn new(
        info: JoinInfo,
        mut config: Config,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        publish: watch::Sender<Stats>,
        started: oneshot::Sender<Result<(), SessionStatus>>,
    ) -> Driver {
        let mut id = [0; 4];
        // Without random numbers DTLS fails soon after, and says so.
        let _ = rand::fill(&mut id);
        let video = VideoState { source: config.video.take(), ..VideoState::default() };
        Driver {
            info,
            muted: config.muted,
            config,
            commands,
            commands_open: true,
            events,
            publish,
            started: Some(started),
            stats: Stats::default(),
            audio_session_id: u32::from_be_bytes(id),
            roster: Roster::default(),
            index: Vec::new(),
            chosen: Vec::new(),
            audio: AudioState::default(),
            video,
            leaving: None,
            last_received: None,
            lost_since: None,
            buffer: vec![0; READ_BYTES_MAX],
        }
    }

    pub(crate) async fn run(mut self) {
        let mut retries = Retries::new(now());
        let status = loop {
            let lost = match self.connection().await {
                End::Left => break Left,
                End::Vanished => break Left,
                End::Status(status) if status.is_terminal() => break status,
                End::Status(status) => status,
            };
            if self.stats.join.is_some() && self.lost_since.is_none() {
                let since = self.last_received.unwrap_or_else(Instant::now);
                (retries, self.lost_since) = (Retries::new(since), Some(since));
                self.stats.outages.push(Outage { status: lost, duration: since.elapsed(), recovered: false });
                self.emit(Event::Reconnecting(lost));
            }
            let mut random = [0; 4];
            let _ = rand::fill(&mut random);
            let chance = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
            let Some(wait) = retries.next(now(), chance) else { break lost };
            if self.wait_to_retry(wait).await {
                break Left;
            }
        };
        if let (Some(since), Some(outage)) = (self.lost_since, self.stats.outages.last_mut()) {
            outage.duration = since.elapsed();
        }
        self.stats.ended = Some(status);
        let _ = self.publish.send(self.stats.clone());
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(status));
        }
        // The last word is worth waiting for, but not for ever.
        let _ = timeout(SECOND, self.events.send(Event::Ended(status))).await;
        if let Some(done) = self.leaving.take() {
            let _ = done.send(());
        }
    }

    /// True when told to leave meanwhile. Commands about media mean nothing without a connection.
    async fn wait_to_retry(&mut self, wait: Duration) -> bool {
        let end = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(end) => return false,
                command = self.commands.recv(), if self.commands_open => match command {
                    Some(Command::Leave(done)) => {
                        self.leaving = Some(done);
                        return true;
                    }
                    None | Some(Command::Vanish) => return true,
                    Some(Command::Mute(muted)) => self.muted = muted,
                    Some(Command::PlayAudio(source)) => self.config.audio = source,
                    Some(Command::Publish(source)) => self.video.source = source,
                    Some(Command::Watch(rule, chosen)) => {
                        (self.config.subscriptions, self.chosen) = (rule, chosen);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn emit(&mut self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.stats.events_dropped += 1;
        }
    }

    async fn connection(&mut self) -> End {
        let began = Instant::now();
        let mut socket = match timeout(STEP_TIMEOUT, Socket::open(&self.info, &self.config.trust)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => {
                tracing::debug!(%why, "signaling cannot be reached");
                return End::Status(TaskFailed);
            }
            Err(_) => return End::Status(TaskFailed),
        };
        let Some((udp, udp_state)) = bind(socket.local.ip()) else { return End::Status(TaskFailed) };
        let opened = began.elapsed();
        // A socket that takes them no more was closed by the service: reading tells why.
        socket.send(&ClientFrame::Ping { id: 1 }).await;
        socket.send(&self.join_frame()).await;
        self.roster.reconnected();
        self.audio.due = None;
        self.video.due = None;
        self.video.allocations.clear();
        let mut link = Link {
            socket,
            socket_open: true,
            udp,
            udp_state,
            network: Impairment::new(self.config.network),
            engine: None,
            stage: Stage::Joining,
            began,
            timings: JoinTimings { opened, ..JoinTimings::default() },
            ack_seen: false,
            server_chooses: false,
            outstanding: None,
            camera_offered: false,
            camera_answered: false,
            rests: false,
            receiving: Vec::new(),
            ping_id: 1,
            pinged: true,
            missed: 0,
            ping_due: began + PING_INTERVAL,
            second_due: began + SECOND,
            settled: true,
        };
        let end = self.converse(&mut link).await;
        if !matches!(end, End::Vanished) && link.socket_open {
            // Also after a terminal status: the service then knows that we know.
            let polite =
                matches!(end, End::Left) || matches!(end, End::Status(status) if status.is_terminal());
            if polite {
                leave(&mut link.socket).await;
            }
            link.socket.close().await;
        }
        self.stats.engine = link.engine.as_ref().map(Engine::counters).unwrap_or_default();
        end
    }

    async fn converse(&mut self, link: &mut Link) -> End {
        let mut wake = tokio::time::Instant::now();
        let sleep = sleep_until(wake);
        tokio::pin!(sleep);
        loop {
            let due = tokio::time::Instant::from_std(self.next_due(link));
            if due != wake {
                wake = due;
                sleep.as_mut().reset(due);
            }
            let step = tokio::select! {
                incoming = link.socket.recv(), if link.socket_open => match incoming {
                    Incoming::Frame(frame) => self.frame(link, frame).await,
                    Incoming::UnknownAudioStatus(number) => {
                        SessionStatus::of_unknown_audio(number).map(End::Status)
                    }
                    Incoming::Closed(code) => {
                        link.socket_open = false;
                        SessionStatus::of_close(code, link.stage).map(End::Status)
                    }
                },
                _ = link.udp.readable() => {
                    self.read(link);
                    None
                }
                command = self.commands.recv(), if self.commands_open => match command {
                    Some(command) => self.command(link, command).await,
                    // Nobody is left to say anything: the session leaves.
                    None => Some(End::Left),
                },
                () = &mut sleep => self.timers(link).await,
            };
            if let Some(end) = step {
                return end;
            }
            if let Some(status) = self.pump(link) {
                return End::Status(status);
            }
            if !link.settled
                && let Some(status) = self.subscribe(link).await
            {
                return End::Status(status);
            }
        }
    }

    fn next_due(&self, link: &mut Link) -> Instant {
        let network = link.network.as_ref().and_then(Impairment::due);
        let engine = link.engine.as_mut().and_then(Engine::poll_timeout);
        let connecting = (link.stage < Stage::Live).then_some(link.began + STEP_TIMEOUT);
        [network, engine, connecting, link.outstanding, self.audio.due, self.video.due]
            .into_iter()
            .flatten()
            .fold(link.ping_due.min(link.second_due), Instant::min)
    }

    async fn timers(&mut self, link: &mut Link) -> Option<End> {
        let now = Instant::now();
        if link.stage < Stage::Live && now >= link.began + STEP_TIMEOUT
            || link.outstanding.is_some_and(|due| due <= now)
        {
            return Some(End::Status(TaskFailed));
        }
        while let Some(datagram) = link.network.as_mut().and_then(|network| network.pop(now)) {
            deliver(&mut self.stats, link, now, datagram);
        }
        if let Some(engine) = &mut link.engine
            && engine.poll_timeout().is_some_and(|due| due <= now)
        {
            engine.handle_timeout(now);
        }
        self.audio_due(link, now);
        self.video_due(link, now);
        if link.ping_due <= now {
            link.ping_due = now + PING_INTERVAL;
            link.missed += u32::from(link.pinged);
            if link.missed >= MISSED_PONGS_MAX {
                return Some(End::Status(ConnectionHealthReconnect));
            }
            (link.ping_id, link.pinged) = (link.ping_id.wrapping_add(1), true);
            let ping = ClientFrame::Ping { id: link.ping_id };
            link.say(&ping).await;
        }
        if link.second_due <= now {
            link.second_due = now + SECOND;
            if let Some(engine) = &link.engine {
                self.stats.engine = engine.counters();
            }
            let _ = self.publish.send(self.stats.clone());
            if link.stage == Stage::Live {
                if self.last_received.is_some_and(|last| now - last > SILENCE_MAX) {
                    return Some(End::Status(ConnectionHealthReconnect));
                }
                link.say(&ClientFrame::ClientMetric(proto::SdkClientMetricFrame::default())).await;
            }
        }
        None
    }

    fn read(&mut self, link: &mut Link) {
        for _ in 0..BATCH_MAX {
            let (mut slices, mut metas) = ([IoSliceMut::new(&mut self.buffer)], [RecvMeta::default()]);
            let read = link.udp.try_io(Interest::READABLE, || {
                link.udp_state.recv(UdpSockRef::from(&link.udp), &mut slices, &mut metas)
            });
            let (Ok(_), [meta]) = (read, metas) else { return };
            let now = Instant::now();
            self.last_received = Some(now);
            for datagram in self.buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                self.stats.datagrams_received += 1;
                match (&mut link.network, &mut link.engine) {
                    (Some(network), _) => {
                        network
                            .push(now, Datagram { way: Way::In, peer: meta.addr, bytes: datagram.to_vec() });
                    }
                    (None, Some(engine)) => engine.receive(now, meta.addr, datagram),
                    (None, None) => {}
                }
            }
        }
    }

    /// Takes what the engine has to say.
    fn pump(&mut self, link: &mut Link) -> Option<SessionStatus> {
        while let Some(output) = link.engine.as_mut().and_then(Engine::poll) {
            match output {
                Output::Transmit { to, bytes } => {
                    let datagram = Datagram { way: Way::Out, peer: to, bytes };
                    match &mut link.network {
                        Some(network) => network.push(Instant::now(), datagram),
                        None => deliver(&mut self.stats, link, Instant::now(), datagram),
                    }
                }
                Output::Media(media) => {
                    if matches!(media, Media::Audio(_) | Media::Header(_)) {
                        self.first_audio(link);
                    }
                    match &mut self.config.sink {
                        Some(sink) => sink(media),
                        None => self.emit(Event::Media(media)),
                    }
                }
                Output::KeyframeWanted { rid } => {
                    self.stats.keyframes_wanted += 1;
                    self.restart_loop(rid.as_deref());
                    self.emit(Event::KeyframeWanted { rid });
                }
                Output::Connected if link.stage < Stage::Live => self.live(link),
                Output::Connected => {}
                Output::Failed(why) => {
                    tracing::debug!(why, "the media connection is lost");
                    let live = link.stage == Stage::Live;
                    return Some(if live { ConnectionHealthReconnect } else { TaskFailed });
                }
            }
        }
        None
    }

    fn first_audio(&mut self, link: &mut Link) {
        if link.timings.first_audio.is_none() {
            link.timings.first_audio = Some(link.began.elapsed());
            if let Some(join) = &mut self.stats.join
                && join.first_audio.is_none()
            {
                join.first_audio = link.timings.first_audio;
            }
        }
    }

    fn live(&mut self, link: &mut Link) {
        let now = Instant::now();
        link.stage = Stage::Live;
        link.settled = false;
        link.timings.started = link.began.elapsed();
        self.stats.join.get_or_insert(link.timings);
        if let (Some(since), Some(outage)) = (self.lost_since.take(), self.stats.outages.last_mut()) {
            (outage.recovered, outage.duration) = (true, now - since);
        }
        self.last_received = Some(now);
        self.wake_audio(now);
        if let Some(started) = self.started.take() {
            let _ = started.send(Ok(()));
        }
        let _ = self.publish.send(self.stats.clone());
        self.emit(Event::Started(link.timings));
    }
}

/// By the clock of the waits between attempts, which tests stop and turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn deliver(stats: &mut Stats, link: &mut Link, now: Instant, mut datagram: Datagram) {
    match datagram.way {
        Way::In => {
            if let Some(engine) = &mut link.engine {
                engine.receive(now, datagram.peer, &mut datagram.bytes);
            }
        }
        Way::Out => match link.udp.try_send_to(&datagram.bytes, datagram.peer) {
            Ok(_) => stats.datagrams_sent += 1,
            Err(_) => stats.datagrams_refused += 1,
        },
    }
}

/// LEAVE, and the answer or the end.
async fn leave(socket: &mut Socket) {
    if socket.send(&ClientFrame::Leave).await {
        let _ = timeout(STEP_TIMEOUT, async {
            while !matches!(socket.recv().await, Incoming::Closed(_) | Incoming::Frame(ServerFrame::LeaveAck))
            {
            }
        })
        .await;
    }
}

fn bind(ip: IpAddr) -> Option<(UdpSocket, UdpSocketState)> {
    let any = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let domain = socket2::Domain::for_address(SocketAddr::new(any, 0));
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).ok()?;
    // The system may grant less; what it then drops is counted by the load tool.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true).ok()?;
    socket.bind(&SocketAddr::new(any, 0).into()).ok()?;
    let udp = UdpSocket::from_std(socket.into()).ok()?;
    let state = UdpSocketState::new(UdpSockRef::from(&udp)).ok()?;
    Some((udp, state))
}
