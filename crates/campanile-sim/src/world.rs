//! The world: a clock that jumps from event to event, a server, its shell, and whoever joins.

mod api;
mod outage;
mod page;
mod shell;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use campanile_media::peer::Certificate;
use campanile_media::peer::sdp::Candidates;
use campanile_meeting::ids::{AttendeeId, AttendeeKey, MeetingId, SessionId};
use campanile_meeting::quality::AudioQuality;
use campanile_meeting::registry::Subject;
use campanile_meeting::service::{Command, Limits, MediaService, ServiceConfig, WallClock};
use campanile_meeting::trace::JoinTrace;
use campanile_wire::api::MeetingFeatures;
use campanile_wire::events::EventType;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::client::{Client, Out, State};
use crate::link::{Conditions, Link};
use crate::picture::Camera;
use crate::start_of_time;
use crate::trace::Trace;

/// Wall-clock time at the start: 2026-01-01.
const UNIX_START: Duration = Duration::from_secs(1_767_225_600);
const MEETING: &str = "00000000-0000-4000-8000-000000000001";
/// Replicas of it follow.
const REPLICAS: [&str; 2] = ["00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"];
const ACCOUNT: &str = "000000000000";
const MEDIA_PORT: u16 = 7000;

/// What all chance in a world follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(pub u64);

/// A server, a network and its clients, in virtual time.
pub struct World {
    inner: Rc<RefCell<Inner>>,
}

/// A page that somebody has open: one client. A handle; clones are the same page.
#[derive(Clone)]
pub struct Page {
    at: usize,
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    start: Instant,
    now: Instant,
    clock: WallClock,
    limits: Limits,
    service: MediaService,
    /// There is a server at the address.
    up: bool,
    drained: bool,
    /// The newest of each session.
    join_traces: BTreeMap<SessionId, JoinTrace>,
    /// Whose failure was told: of each once, checked in each run.
    failed_joins: BTreeSet<SessionId>,
    events: BinaryHeap<Reverse<Event>>,
    next_event: u64,
    seats: Vec<Seat>,
    sockets: BTreeMap<SessionId, Socket>,
    next_session: u64,
    next_attendee: u64,
    rng: ChaCha8Rng,
    conditions: Conditions,
    meeting: MeetingId,
    over: bool,
    removed: BTreeSet<AttendeeId>,
    /// Who may come in, once the meeting is locked.
    locked_to: Option<Vec<AttendeeId>>,
    /// Who may not unmute.
    kept_muted: BTreeSet<AttendeeId>,
    features: MeetingFeatures,
    present: usize,
    told: Told,
    trace: Trace,
    most_waiting: usize,
}

/// What the registry was told of attendees. Every beginning has one end, and every end a beginning: checked in each run.
#[derive(Default)]
struct Told {
    events: Vec<(String, EventType)>,
    standing: BTreeSet<(MeetingId, AttendeeKey, EventType)>,
}

impl Told {
    fn note(&mut self, subject: &Subject, what: EventType) {
        let (meeting, attendee) = subject.place();
        if let Some(begun) = what.ends() {
            assert!(
                self.standing.remove(&(meeting, attendee, begun)),
                "{attendee}: {what:?} without {begun:?}"
            );
        } else if what.lost_by().is_some() {
            assert!(self.standing.insert((meeting, attendee, what)), "{attendee}: {what:?} twice");
        }
        self.events.push((subject.external_user_id().to_owned(), what));
    }
}

/// A client and its ways to the server and back: datagrams, and the socket's connection.
struct Seat {
    client: Client,
    up: Link,
    down: Link,
    socket_up: Link,
    socket_down: Link,
    wake: Option<Instant>,
}

/// The server's end of a WebSocket.
struct Socket {
    seat: usize,
    /// Its client knows that it is open.
    opened: bool,
    closing: bool,
    waiting: usize,
}

struct Event {
    at: Instant,
    number: u64,
    what: What,
}

enum What {
    Open(usize),
    Opened(usize, SessionId),
    Refused(usize),
    Reset(usize, SessionId),
    FrameUp(SessionId, Vec<u8>),
    ClosedUp(SessionId),
    FrameDown(SessionId, Vec<u8>),
    CloseDown(SessionId, u16),
    DatagramUp(usize, Vec<u8>),
    DatagramDown(usize, Vec<u8>),
    Wake(usize),
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.number == other.number
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

fn service_config(limits: Limits) -> ServiceConfig {
    ServiceConfig {
        // Fresh in every run, but nothing that plain peers ever see.
        certificate: Certificate::generate().expect("a certificate can be made"),
        candidates: Candidates {
            udp: Some(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), MEDIA_PORT))),
            tcp: None,
        },
        allow_plain: true,
        limits,
    }
}

impl World {
    /// An empty meeting on a good network.
    pub fn new(seed: Seed) -> World {
        World::with_limits(seed, Limits::default())
    }

    /// The same, with other ceilings.
    pub fn with_limits(seed: Seed, limits: Limits) -> World {
        let start = start_of_time();
        let mut rng = ChaCha8Rng::seed_from_u64(seed.0);
        let mut service_seed = [0; 32];
        rng.fill_bytes(&mut service_seed);
        let clock = WallClock { instant: start, unix: UNIX_START };
        let inner = Inner {
            start,
            now: start,
            clock,
            limits,
            service: MediaService::new(service_config(limits), clock, service_seed),
            up: true,
            drained: false,
            join_traces: BTreeMap::new(),
            failed_joins: BTreeSet::new(),
            events: BinaryHeap::new(),
            next_event: 0,
            seats: Vec::new(),
            sockets: BTreeMap::new(),
            next_session: 1,
            next_attendee: 1,
            rng,
            conditions: Conditions::GOOD,
            meeting: MEETING.parse().expect("a UUID"),
            over: false,
            removed: BTreeSet::new(),
            locked_to: None,
            kept_muted: BTreeSet::new(),
            features: MeetingFeatures::default(),
            present: 0,
            told: Told::default(),
            trace: Trace::EMPTY,
            most_waiting: 0,
        };
        World { inner: Rc::new(RefCell::new(inner)) }
    }

    /// The meeting offers this, for whoever joins from now on.
    #[must_use]
    pub fn offering(self, features: MeetingFeatures) -> World {
        self.inner.borrow_mut().features = features;
        self
    }

    /// Whoever joins from now on is reached over a network like this, in both directions.
    #[must_use]
    pub fn network(self, conditions: Conditions) -> World {
        self.inner.borrow_mut().conditions = conditions;
        self
    }

    /// A new attendee opens a page and joins. What is set on the page before time goes on holds from the start.
    pub fn join(&self, name: &str) -> Page {
        let attendee = self.inner.borrow_mut().new_attendee();
        self.open_page(name, AttendeeKey { id: attendee, content: false })
    }

    /// A new attendee of the meeting's replica number 0 or 1 opens a page and joins.
    pub fn join_replica(&self, name: &str, replica: usize) -> Page {
        let page = self.join(name);
        page.act(|client, _| client.replica = Some(REPLICAS[replica].parse().expect("a UUID")))
    }

    /// CreateAttendee in the meeting itself, for somebody who does not join by it.
    pub fn invite(&self) -> AttendeeId {
        self.inner.borrow_mut().new_attendee()
    }

    /// The same attendee joins on another device.
    pub fn join_again(&self, page: &Page) -> Page {
        let (name, attendee, capabilities) = {
            let client = page.client();
            (client.name.clone(), client.attendee, client.capabilities)
        };
        let other = self.open_page(&name, attendee);
        other.capable(capabilities)
    }

    /// The attendee of this page shares content: a second session, under its own address.
    pub fn share(&self, page: &Page, camera: Camera) -> Page {
        let (name, attendee, capabilities, replica) = {
            let client = page.client();
            (client.name.clone(), client.attendee, client.capabilities, client.replica)
        };
        let share = self.open_page(&name, AttendeeKey { content: true, ..attendee });
        share.act(|client, _| client.replica = replica);
        share.capable(capabilities).publish(camera)
    }

    fn open_page(&self, name: &str, attendee: AttendeeKey) -> Page {
        let at = self.inner.borrow_mut().seat(name, attendee);
        Page { at, inner: Rc::clone(&self.inner) }
    }

    /// Time passes.
    pub fn run_for(&self, span: Duration) {
        let mut inner = self.inner.borrow_mut();
        let until = inner.now + span;
        inner.run_until(until);
    }

    /// Time passes until this holds, or for `span` at most; true if it came to hold. Looks every 10 ms.
    pub fn run_until(&self, span: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let end = self.now() + span;
        while self.now() < end {
            if holds() {
                return true;
            }
            self.run_for(Duration::from_millis(10));
        }
        holds()
    }

    /// How many attendees the registry was last told are present.
    pub fn present(&self) -> usize {
        self.inner.borrow().present
    }

    /// How the connections of this page got in, or did not, oldest first.
    pub fn join_traces(&self, page: &Page) -> Vec<JoinTrace> {
        let attendee = page.client().attendee;
        let inner = self.inner.borrow();
        inner.join_traces.values().filter(|trace| trace.attendee == Some(attendee)).cloned().collect()
    }

    /// How many joins have failed, and were told so.
    pub fn failed_joins(&self) -> usize {
        self.inner.borrow().failed_joins.len()
    }

    /// What the account's events have told of attendees so far, by their names.
    pub fn told(&self) -> Vec<(String, EventType)> {
        self.inner.borrow().told.events.clone()
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.inner.borrow().now
    }

    /// The time since the beginning.
    pub fn elapsed(&self) -> Duration {
        let inner = self.inner.borrow();
        inner.now - inner.start
    }

    /// All that has been delivered.
    pub fn trace(&self) -> Trace {
        self.inner.borrow().trace
    }

    /// When the server wants to be woken; `None` when it rests.
    pub fn server_timeout(&self) -> Option<Instant> {
        self.inner.borrow().service.poll_timeout()
    }

    /// Live meetings and connected sessions.
    pub fn population(&self) -> (usize, usize) {
        self.inner.borrow().service.population()
    }

    /// What the operator sees of everybody's audio.
    pub fn audio_quality(&self) -> Vec<AudioQuality> {
        let inner = self.inner.borrow();
        inner.service.audio_quality(inner.meeting)
    }

    /// The most frames that ever waited for one socket.
    pub fn most_frames_waiting(&self) -> usize {
        self.inner.borrow().most_waiting
    }

    /// A datagram from an address that is nobody's.
    pub fn send_from_nowhere(&self, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        let from = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 1));
        inner.service.handle_datagram(now, from, &mut bytes.to_vec());
        inner.drain();
    }
}

impl Inner {
    fn new_attendee(&mut self) -> AttendeeId {
        let id = format!("00000000-0000-4000-8000-1{:011}", self.next_attendee);
        self.next_attendee += 1;
        id.parse().expect("a UUID")
    }

    fn seat(&mut self, name: &str, attendee: AttendeeKey) -> usize {
        let at = self.seats.len();
        let addr = SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + at as u32), 5000));
        let audio_session_id = u64::from(self.rng.next_u32());
        let client_rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        let conditions = self.conditions;
        let mut link = || Link::new(conditions, self.rng.next_u64());
        let (up, down, socket_up, socket_down) = (link(), link(), link(), link());
        let client = Client::new(name, attendee, addr, self.now, audio_session_id, client_rng);
        self.seats.push(Seat { client, up, down, socket_up, socket_down, wake: None });
        self.open(at);
        at
    }

    fn open(&mut self, at: usize) {
        let arrival = self.seats[at].socket_up.pass_in_order(self.now);
        self.schedule(arrival, What::Open(at));
    }

    fn schedule(&mut self, at: Instant, what: What) {
        let number = self.next_event;
        self.next_event += 1;
        self.events.push(Reverse(Event { at, number, what }));
    }

    fn run_until(&mut self, until: Instant) {
        loop {
            let event = self.events.peek().map(|Reverse(event)| event.at);
            let server = self.service.poll_timeout();
            let Some(next) = event.into_iter().chain(server).min().filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if server.is_some_and(|due| due <= self.now) {
                self.service.handle_timeout(self.now);
                self.drain();
                let again = self.service.poll_timeout();
                assert!(
                    again.is_none_or(|again| again > self.now),
                    "the server asks for time that has passed"
                );
                continue;
            }
            if let Some(Reverse(event)) = self.events.pop() {
                self.happen(event.what);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, what: What) {
        let at = self.now - self.start;
        let (kind, whose, bytes): (u8, u64, &[u8]) = match &what {
            What::Open(seat) => (0, *seat as u64, &[]),
            What::Opened(_, session) => (1, session.0, &[]),
            What::FrameUp(session, bytes) => (2, session.0, bytes),
            What::ClosedUp(session) => (3, session.0, &[]),
            What::FrameDown(session, bytes) => (4, session.0, bytes),
            What::CloseDown(session, _) => (5, session.0, &[]),
            What::DatagramUp(seat, bytes) => (6, *seat as u64, bytes),
            What::DatagramDown(seat, bytes) => (7, *seat as u64, bytes),
            What::Wake(seat) => (8, *seat as u64, &[]),
            What::Refused(seat) => (9, *seat as u64, &[]),
            What::Reset(_, session) => (10, session.0, &[]),
        };
        self.trace.record(at, kind, whose, bytes);
        match what {
            What::Open(seat) => self.accept(seat),
            What::Opened(seat, session) => {
                let client = &mut self.seats[seat].client;
                if let Some(socket) = self.sockets.get_mut(&session)
                    && !client.dead
                {
                    socket.opened = true;
                    client.opened(self.now, session);
                    self.flush(seat);
                }
            }
            What::Refused(seat) => {
                let client = &mut self.seats[seat].client;
                if !client.dead && client.state == State::Away {
                    client.come_back(self.now);
                    self.flush(seat);
                }
            }
            What::Reset(seat, session) => {
                if self.seats[seat].client.session == Some(session) {
                    self.seats[seat].client.closed(self.now, None);
                    self.flush(seat);
                }
            }
            What::FrameUp(session, bytes) => self.frame_up(session, &bytes),
            What::ClosedUp(session) => {
                if self.sockets.remove(&session).is_some() {
                    self.service.disconnected(self.now, session);
                    self.drain();
                }
            }
            What::FrameDown(session, bytes) => self.frame_down(session, &bytes),
            What::CloseDown(session, code) => self.close_down(session, code),
            What::DatagramUp(seat, mut bytes) => {
                let from = self.seats[seat].client.addr;
                self.service.handle_datagram(self.now, from, &mut bytes);
                self.drain();
            }
            What::DatagramDown(seat, bytes) => {
                let client = &mut self.seats[seat].client;
                if !client.dead {
                    client.handle_datagram(self.now, &bytes);
                    self.flush(seat);
                }
            }
            What::Wake(seat) => {
                self.seats[seat].wake = None;
                self.seats[seat].client.handle_timeout(self.now);
                self.flush(seat);
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.service.handle_command(self.now, command);
        self.drain();
    }

    fn unix_ms(&self) -> u64 {
        (UNIX_START + (self.now - self.start)).as_millis() as u64
    }

    /// Carries out what a client wants, and sees to it that it is woken.
    fn flush(&mut self, at: usize) {
        let timestamp_ms = self.unix_ms();
        for out in std::mem::take(&mut self.seats[at].client.out) {
            let seat = &mut self.seats[at];
            if seat.client.dead {
                continue;
            }
            let session = seat.client.session;
            let bytes = match out {
                Out::Frame(frame) => frame.encode(timestamp_ms),
                Out::Bytes(bytes) => bytes,
                Out::Datagram(bytes) => {
                    let arrivals = seat.up.pass(self.now, bytes.len());
                    if let Some(second) = arrivals.second {
                        self.schedule(second, What::DatagramUp(at, bytes.clone()));
                    }
                    if let Some(first) = arrivals.first {
                        self.schedule(first, What::DatagramUp(at, bytes));
                    }
                    continue;
                }
                Out::Close(session) => {
                    let arrival = seat.socket_up.pass_in_order(self.now);
                    self.schedule(arrival, What::ClosedUp(session));
                    continue;
                }
                Out::Open => {
                    self.open(at);
                    continue;
                }
            };
            if let Some(session) = session {
                let arrival = seat.socket_up.pass_in_order(self.now);
                self.schedule(arrival, What::FrameUp(session, bytes));
            }
        }
        let seat = &self.seats[at];
        let due = seat.client.poll_timeout().map(|due| due.max(self.now));
        if let Some(due) = due.filter(|due| seat.wake.is_none_or(|wake| *due < wake)) {
            self.seats[at].wake = Some(due);
            self.schedule(due, What::Wake(at));
        }
    }
}
