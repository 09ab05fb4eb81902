//! One worker: a thread, a UDP port (and the same over TCP), a `MediaService`, a select loop.
//!
//! It handles what has arrived, drains what has been decided, and sleeps until there is more. Control (connections,
//! API commands) comes by a queue without a bound, each entry of which an admitted call has paid for; frames come by a
//! bounded one, so that a flooding client slows down only itself. What goes out to a socket waits in that socket's own
//! bounded mailbox: a client that does not read loses its connection, and nobody else anything.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as control};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use campanile_media::peer::{PeerAddr, Transport};
use campanile_meeting::ids::{MeetingId, SessionId};
use campanile_meeting::quality::AudioQuality;
use campanile_meeting::registry::{Admission, JoinError, Subject};
use campanile_meeting::service::{MediaService, Output, ServiceConfig, WallClock};
use campanile_wire::signaling::{ClientFrame, DataMessage, DeliveredMessage, close_code};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use crate::tcp::Tcp;
use crate::udp::{ReceiveBuffers, Udp};

pub use campanile_meeting::service::{Command, DataError, Event};

/// Frames of all clients waiting for the worker. Beyond this, sockets are not read any further.
const FRAMES_WAITING_MAX: usize = 1024;
/// So many waiting wake the worker up, even if none of them is urgent.
const FRAMES_WAKE_AT: usize = FRAMES_WAITING_MAX / 2;
/// A report of more metrics than this, which no client has of all its streams, does not wait: it takes megabytes.
const METRICS_WAITING_MAX: usize = 1024;
/// Frames and closings waiting for one socket: several seconds of the busiest meeting. Beyond it, the client is too slow.
const MAILBOX_MAX: usize = 512;
/// Frames taken in one turn, so that media never waits for more of them than this.
const FRAMES_PER_TURN: usize = 64;
/// Batches of datagrams taken in one turn, likewise.
const BATCHES_PER_TURN: usize = 4;
/// Turns begin at least so far apart: what comes meanwhile, or is due, is taken together, which spares a wake-up for each
/// datagram of a busy meeting and for each meeting of many. A packet or a timer is late by this at most. Who gets a whole batch
/// in a turn has no need to wait for more, and the socket's buffer might not hold it.
const TURN: Duration = Duration::from_millis(1);
/// Where two turns took less than this, something will have come by the next, so the worker rests before it polls; else it
/// polls first. One turn after another is no sign of that: a frame's packets often come in two.
const BUSY: Duration = Duration::from_millis(4);

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
/// The listener for media over TCP; its connections follow.
const TCP: Token = Token(2);
/// What the poll tells at once; the rest comes with the next turn.
const EVENTS_MAX: usize = 256;

/// What a worker is given at birth.
pub struct WorkerConfig {
    /// Its own UDP socket, bound.
    pub socket: UdpSocket,
    /// Where it takes media over TCP, bound, if it does.
    pub listener: Option<std::net::TcpListener>,
    /// What its `MediaService` is given.
    pub service: ServiceConfig,
    /// What all of its choices by chance follow from.
    pub seed: [u8; 32],
    /// Who was in which meeting when the process before ended.
    pub expected: BTreeMap<MeetingId, Vec<Subject>>,
    /// Where it tells what the registry has to know. Needs no bound: each event comes of an admitted session's coming or
    /// going.
    pub events: mpsc::UnboundedSender<Event>,
}

/// The way to a worker, for any number of doors.
#[derive(Clone)]
pub struct WorkerHandle {
    control: control::Sender<Control>,
    frames: mpsc::Sender<(SessionId, FromSocket)>,
    waker: Arc<Waker>,
    next_session: Arc<AtomicU64>,
}

/// Where a socket's task finds what it has to do. It ends when the client reads too slowly, or the worker has stopped.
pub type Mailbox = mpsc::Receiver<ToSocket>;

/// What a socket has to do.
#[derive(Debug)]
pub enum ToSocket {
    /// Send this binary message.
    Frame(Bytes),
    /// Close with this code, after what came before.
    Close {
        /// The close code.
        code: u16,
        /// For people.
        reason: &'static str,
    },
}

enum Control {
    Connect(SessionId, Box<Admission>, mpsc::Sender<ToSocket>),
    Promote(SessionId, Box<Result<Admission, JoinError>>),
    Command(Command),
    SendDataMessage(MeetingId, String, DataMessage, oneshot::Sender<Result<i64, DataError>>),
    DataMessages(MeetingId, oneshot::Sender<Vec<DeliveredMessage>>),
    AudioQuality(MeetingId, oneshot::Sender<Vec<AudioQuality>>),
    Stop,
}

enum FromSocket {
    Frame(Box<ClientFrame>),
    BadFrame(String),
    Disconnected,
}

impl WorkerHandle {
    /// Tells the worker what the API has decided.
    pub fn send(&self, command: Command) {
        self.control(Control::Command(command));
    }

    /// Sends a data message to everybody in a meeting, and tells when it was taken in. To be called under the registry's
    /// lock, as [`connect`](Self::connect) is.
    pub fn send_data_message(
        &self,
        meeting: MeetingId,
        external_user_id: String,
        message: DataMessage,
    ) -> oneshot::Receiver<Result<i64, DataError>> {
        let (sender, answer) = oneshot::channel();
        self.control(Control::SendDataMessage(meeting, external_user_id, message, sender));
        answer
    }

    /// The data messages of a meeting that a newcomer would get; of a worker that has stopped, none.
    pub async fn data_messages(&self, meeting: MeetingId) -> Vec<DeliveredMessage> {
        let (sender, answer) = oneshot::channel();
        self.control(Control::DataMessages(meeting, sender));
        answer.await.unwrap_or_default()
    }

    /// How well everybody's sound gets into a meeting and back; of a worker that has stopped, nothing.
    pub async fn audio_quality(&self, meeting: MeetingId) -> Vec<AudioQuality> {
        let (sender, answer) = oneshot::channel();
        self.control(Control::AudioQuality(meeting, sender));
        answer.await.unwrap_or_default()
    }

    /// The number of a connection that the worker never hears of.
    pub fn number(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// Announces a socket whose token the registry has just admitted. To be called under the registry's lock, so that
    /// a deletion decided later also arrives later.
    pub fn connect(&self, admission: Admission) -> (SessionId, Mailbox) {
        let session = self.number();
        let (sender, mailbox) = mpsc::channel(MAILBOX_MAX);
        self.control(Control::Connect(session, Box::new(admission), sender));
        (session, mailbox)
    }

    /// Passes on what the registry says to the credentials of a PRIMARY_MEETING_JOIN. Under the registry's lock too. The
    /// queue has no bound: whoever calls counts the frames.
    pub fn promote(&self, session: SessionId, admitted: Result<Admission, JoinError>) {
        self.control(Control::Promote(session, Box::new(admitted)));
    }

    /// Passes on a frame; waits while the worker has too many.
    pub async fn frame(&self, session: SessionId, frame: ClientFrame) {
        self.pass_on(session, FromSocket::Frame(Box::new(frame))).await;
    }

    /// Tells of something that is no frame; the mailbox brings the end.
    pub async fn bad_frame(&self, session: SessionId, why: String) {
        self.pass_on(session, FromSocket::BadFrame(why)).await;
    }

    /// Tells that a socket is gone.
    pub async fn disconnected(&self, session: SessionId) {
        self.pass_on(session, FromSocket::Disconnected).await;
    }

    /// Whether the worker's thread has ended: whoever connects now is never heard of.
    pub fn has_stopped(&self) -> bool {
        self.frames.is_closed()
    }

    /// Ends the worker's thread.
    pub fn stop(&self) {
        self.control(Control::Stop);
    }

    fn control(&self, control: Control) {
        // Fails only when the worker has stopped, and then nobody is left to be told.
        let _ = self.control.send(control);
        let _ = self.waker.wake();
    }

    async fn pass_on(&self, session: SessionId, what: FromSocket) {
        let can_wait = what.can_wait();
        let _ = self.frames.send((session, what)).await;
        if !can_wait || FRAMES_WAITING_MAX - self.frames.capacity() >= FRAMES_WAKE_AT {
            let _ = self.waker.wake();
        }
    }
}

impl FromSocket {
    /// Whether it may wait for the worker's next turn, a second at most while anybody is connected: it has no answer, and
    /// only says that a client is there and how it fares. Each client sends one a second.
    fn can_wait(&self) -> bool {
        match self {
            FromSocket::Frame(frame) => match &**frame {
                ClientFrame::Pong { .. } => true,
                ClientFrame::ClientMetric(report) => {
                    let streams = report.stream_metric_frames.iter();
                    let count: usize = streams.map(|one| 1 + one.metrics.len() + one.dimensions.len()).sum();
                    count <= METRICS_WAITING_MAX
                }
                _ => false,
            },
            FromSocket::BadFrame(_) | FromSocket::Disconnected => false,
        }
    }
}

/// Starts a worker's thread.
pub fn start(config: WorkerConfig) -> io::Result<WorkerHandle> {
    let WorkerConfig { socket, listener, service, seed, expected, events } = config;
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (control_sender, control) = control::channel();
    let (frames_sender, frames) = mpsc::channel(FRAMES_WAITING_MAX);
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock = WallClock { instant: Instant::now(), unix };
    let tcp = Tcp::new(listener, poll.registry().try_clone()?, TCP, clock.instant)?;
    let mut service = MediaService::new(service, clock, seed);
    for (meeting, people) in expected {
        service.expect(clock.instant, meeting, people);
    }
    let worker = Worker {
        udp: Udp::new(socket)?,
        tcp,
        service,
        clock,
        control,
        frames,
        mailboxes: HashMap::new(),
        events,
    };
    let handle = WorkerHandle {
        control: control_sender,
        frames: frames_sender,
        waker,
        next_session: Arc::new(AtomicU64::new(1)),
    };
    std::thread::Builder::new().name("media-worker".to_owned()).spawn(move || worker.run(poll))?;
    Ok(handle)
}

struct Worker {
    udp: Udp,
    tcp: Tcp,
    service: MediaService,
    clock: WallClock,
    control: control::Receiver<Control>,
    frames: mpsc::Receiver<(SessionId, FromSocket)>,
    mailboxes: HashMap<SessionId, mpsc::Sender<ToSocket>>,
    events: mpsc::UnboundedSender<Event>,
}

impl Worker {
    fn run(mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffers = self.udp.receive_buffers();
        // The poll tells only of changes: what could not be finished in one turn goes on in the next.
        let (mut more, mut full, mut busy) = (true, false, false);
        let mut began = Instant::now();
        let mut began_before = began;
        loop {
            let may_rest = !more && !full;
            if may_rest && busy {
                rest(began);
            }
            let timeout = if more { Some(Duration::ZERO) } else { self.until_timeout() };
            if let Err(error) = poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "the media worker cannot wait for its socket");
                return;
            }
            if may_rest && !busy {
                rest(began);
            }
            let now = Instant::now();
            busy = now - began_before < BUSY;
            (began_before, began) = (began, now);
            let readable = more || full || events.iter().any(|event| event.token() == SOCKET);
            for event in &events {
                self.tcp.note(now, event);
            }
            if !self.take_control() {
                return;
            }
            let frames_left = self.take_frames();
            let batches = if readable { self.take_datagrams(&mut buffers) } else { 0 };
            let stream_left = self.take_streams();
            full = batches > 0;
            more = frames_left || batches == BATCHES_PER_TURN || stream_left;
            self.tcp.sweep(now);
            self.pass_time();
            self.drain();
        }
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        self.guarded(|service| service.handle_timeout(now));
    }

    fn until_timeout(&self) -> Option<Duration> {
        let due = [self.service.poll_timeout(), self.tcp.poll_timeout()].into_iter().flatten().min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn take_control(&mut self) -> bool {
        while let Ok(control) = self.control.try_recv() {
            let now = Instant::now();
            match control {
                Control::Connect(session, admission, mailbox) => {
                    self.mailboxes.insert(session, mailbox);
                    self.guarded(|service| service.connect(now, session, *admission));
                }
                Control::Promote(session, admitted) => {
                    self.guarded(|service| service.promote(now, session, *admitted));
                }
                Control::SendDataMessage(meeting, external_user_id, message, answer) => {
                    self.guarded(|service| {
                        let _ =
                            answer.send(service.send_data_message(now, meeting, &external_user_id, message));
                    });
                }
                Control::DataMessages(meeting, answer) => {
                    let _ = answer.send(self.service.data_messages(now, meeting));
                }
                Control::AudioQuality(meeting, answer) => {
                    // Whoever asked may have gone meanwhile.
                    let _ = answer.send(self.service.audio_quality(meeting));
                }
                Control::Command(command) => self.guarded(|service| service.handle_command(now, command)),
                Control::Stop => {
                    // A code on which clients come back: whoever stops is mostly about to start again.
                    for mailbox in self.mailboxes.values() {
                        let _ = mailbox.try_send(ToSocket::Close {
                            code: close_code::COME_BACK,
                            reason: "the server is stopping",
                        });
                    }
                    return false;
                }
            }
        }
        true
    }

    fn take_frames(&mut self) -> bool {
        for _ in 0..FRAMES_PER_TURN {
            let Ok((session, what)) = self.frames.try_recv() else { return false };
            // A connection announces itself before its frames, but by another queue: it may have come just now.
            if !self.mailboxes.contains_key(&session) && !self.take_control() {
                return false;
            }
            let now = Instant::now();
            match what {
                FromSocket::Frame(frame) => {
                    self.guarded(|service| service.handle_frame(now, session, *frame))
                }
                FromSocket::BadFrame(why) => {
                    self.guarded(|service| service.handle_bad_frame(now, session, &why));
                }
                FromSocket::Disconnected => {
                    self.mailboxes.remove(&session);
                    self.guarded(|service| service.disconnected(now, session));
                }
            }
        }
        true
    }

    /// Returns how many full batches there were; after as many as fit into a turn there may be more.
    fn take_datagrams(&mut self, buffers: &mut ReceiveBuffers) -> usize {
        for full in 0..BATCHES_PER_TURN {
            let datagrams = match self.udp.receive(buffers) {
                Ok(datagrams) => datagrams,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        // Such as an ICMP answer to what was sent to a client that has gone.
                        tracing::debug!(%error, "receiving failed");
                        continue;
                    }
                    return full;
                }
            };
            let (now, was_last) = (Instant::now(), !datagrams.is_full());
            for (from, datagram) in datagrams.into_datagrams() {
                self.guarded(|service| service.handle_datagram(now, from, datagram));
            }
            if was_last {
                return full; // drained with what else the turn brings, so that all leave together
            }
            self.pass_time();
            self.drain();
        }
        BATCHES_PER_TURN
    }

    fn take_streams(&mut self) -> bool {
        let Worker { tcp, service, .. } = self;
        let now = Instant::now();
        tcp.receive(|from, datagram| {
            guarded(service, |service| service.handle_datagram(now, PeerAddr::tcp(from), datagram));
        })
    }

    fn guarded(&mut self, work: impl FnOnce(&mut MediaService)) {
        guarded(&mut self.service, work);
    }

    fn drain(&mut self) {
        let now = Instant::now();
        let timestamp_ms = self.clock.unix(now).as_millis() as u64;
        loop {
            match self.service.poll_output() {
                None => break,
                Some(Output::Datagrams { to, segment_size, bytes }) => match to.transport {
                    Transport::Udp => self.udp.send(to.addr, segment_size, bytes),
                    Transport::Tcp => self.tcp.send(now, to.addr, segment_size, bytes),
                },
                Some(Output::Frame { session, frame }) => {
                    post(&mut self.mailboxes, session, ToSocket::Frame(frame.encode(timestamp_ms).into()));
                }
                Some(Output::Frames { sessions, frame }) => {
                    let bytes = Bytes::from(frame.encode(timestamp_ms));
                    for session in sessions {
                        post(&mut self.mailboxes, session, ToSocket::Frame(bytes.clone()));
                    }
                }
                Some(Output::Close { session, code, reason }) => {
                    post(&mut self.mailboxes, session, ToSocket::Close { code, reason });
                }
                Some(Output::Event(event)) => {
                    // Fails only when the server is stopping.
                    let _ = self.events.send(event);
                }
            }
        }
        self.udp.flush();
    }
}

/// Waits until a turn's time has passed since the last began.
fn rest(began: Instant) {
    let rest = TURN.saturating_sub(began.elapsed());
    if !rest.is_zero() {
        std::thread::sleep(rest);
    }
}

/// Runs one input through the service. A panic there is a bug: it ends the meeting it happened in, and no other.
fn guarded(service: &mut MediaService, work: impl FnOnce(&mut MediaService)) {
    if catch_unwind(AssertUnwindSafe(|| work(service))).is_err() {
        let meeting = service.abandon_meeting_at_work();
        let meeting_id = meeting.map(|id| id.to_string()).unwrap_or_default();
        error!(meeting_id, "internal error: the meeting's clients are asked to come back");
    }
}

fn post(mailboxes: &mut HashMap<SessionId, mpsc::Sender<ToSocket>>, session: SessionId, what: ToSocket) {
    let Some(mailbox) = mailboxes.get(&session) else { return };
    if mailbox.try_send(what).is_err() {
        // Full: the client does not read. Without its sender the mailbox ends, and the socket closes.
        info!(session = session.0, "a client reads too slowly and is disconnected");
        mailboxes.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use campanile_wire::signaling::proto;

    use super::*;

    #[tokio::test]
    async fn what_has_no_answer_waits_for_the_next_turn_unless_there_is_much_of_it() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let (control, _control) = control::channel();
        let (frames, mut waiting) = mpsc::channel(FRAMES_WAITING_MAX);
        let worker = WorkerHandle { control, frames, waker, next_session: Arc::default() };
        let mut is_woken = || {
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        let metrics = || ClientFrame::ClientMetric(Default::default());

        worker.frame(SessionId(1), metrics()).await;
        worker.frame(SessionId(1), ClientFrame::Pong { id: 1 }).await;
        assert!(!is_woken());
        worker.frame(SessionId(1), ClientFrame::Ping { id: 1 }).await;
        assert!(is_woken());
        let mut large = proto::SdkClientMetricFrame::default();
        large.stream_metric_frames.resize_with(METRICS_WAITING_MAX + 1, Default::default);
        worker.frame(SessionId(1), ClientFrame::ClientMetric(large)).await;
        assert!(is_woken());
        assert_eq!(std::iter::from_fn(|| waiting.try_recv().ok()).count(), 4, "and finds all of them");

        for _ in 1..FRAMES_WAKE_AT {
            worker.frame(SessionId(1), metrics()).await;
        }
        assert!(!is_woken());
        worker.frame(SessionId(1), metrics()).await;
        assert!(is_woken(), "long before they have no room");
        worker.disconnected(SessionId(1)).await;
        assert!(is_woken());
        assert!(!worker.has_stopped());
        drop(waiting);
        assert!(worker.has_stopped());
    }
}
