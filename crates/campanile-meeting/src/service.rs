//! The data plane: all live meetings of one worker, behind one sans-IO door.
//!
//! **Handle what has arrived, drain [`MediaService::poll_output`], sleep until [`MediaService::poll_timeout`].** It
//! finds the meeting for each input and leaves the rest to `Meeting`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_media::peer::sdp::Candidates;
use campanile_media::peer::{Certificate, Kind, Outbox, PeerAddr, Run, demux, stun_username_local_ufrag};
use campanile_media::rtcp;
use campanile_wire::api::Capabilities;
use campanile_wire::events::EventType;
use campanile_wire::signaling::{
    ClientFrame, DataMessage, DeliveredMessage, FrameKind, ServerFrame, close_code,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::drain::Drain;
use crate::ids::{AttendeeId, MeetingId, SessionId};
use crate::link::MediaLink;
use crate::meeting::Meeting;
use crate::registry::{Admission, JoinError, Subject};
use crate::trace::{Cause, JoinTrace};

pub use crate::data::DataError;

/// What one worker is given at birth.
#[derive(Debug)]
pub struct ServiceConfig {
    /// The DTLS identity of this worker.
    pub certificate: Certificate,
    /// The addresses that answers announce.
    pub candidates: Candidates,
    /// Whether an offer of bare RTP is accepted: by simulators and gateways, never from the network.
    pub allow_plain: bool,
    /// What a meeting may hold.
    pub limits: Limits,
}

/// Ceilings on the media side, of one meeting unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cameras published at once.
    pub cameras: usize,
    /// Content shares at once; not counted among the cameras.
    pub content_shares: usize,
    /// Voices heard at once; each costs a decode and an encode every 20 ms.
    pub voices: usize,
    /// Attendees in all meetings of the worker at once, content shares not counted.
    pub attendees: usize,
}

impl Default for Limits {
    /// The documented quotas, 25 and 2; eight voices, more than anybody can follow; any number of attendees.
    fn default() -> Limits {
        Limits { cameras: 25, content_shares: 2, voices: 8, attendees: usize::MAX }
    }
}

/// Pairs an instant with the wall clock, once: from then on time only moves forward.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The moment at which the pair was taken.
    pub instant: Instant,
    /// Time since the Unix epoch at that moment.
    pub unix: Duration,
}

/// Addresses remembered of one peer: its interfaces, and a few rebindings of its NAT.
const ADDRESSES_MAX: usize = 8;

/// An address belongs to the peer that was last heard from there, until nothing has been heard for this long (browsers
/// make checks every 2.5 seconds). A check proves who makes it but not where from, and so must not carry off the address
/// of somebody else's call.
const ADDRESS_QUIET: Duration = Duration::from_secs(6);

/// Why clients are asked to come back.
const DRAINING: &str = "the server is draining";

/// Between the NTP epoch (1900) and Unix's (1970) (RFC 5905).
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

impl WallClock {
    /// Time since the Unix epoch at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.instant)
    }

    /// The NTP timestamp of `now`.
    pub(crate) fn ntp(&self, now: Instant) -> u64 {
        rtcp::ntp(self.unix(now) + NTP_TO_UNIX)
    }
}

/// What the API tells the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// The meeting is over: everybody is told, nobody gets in again.
    EndMeeting(MeetingId),
    /// The attendee's record is gone.
    RemoveAttendee(MeetingId, AttendeeId),
    /// The attendee may do something else from now on.
    SetCapabilities(MeetingId, AttendeeId, Capabilities),
    /// Nothing of the attendee is heard until it unmutes, or the permission to.
    MuteAttendee(MeetingId, AttendeeId),
    /// The attendee may unmute itself from now on, or not.
    PermitUnmute(MeetingId, AttendeeId, bool),
    /// Only who is in may stay and come back: answered by [`Event::Locked`].
    LockMeeting(MeetingId),
    /// Take nobody in any more, and ask everybody to come back: the last of them before this has passed.
    Drain(Duration),
    /// Take clients in again. Those not yet asked to come back stay.
    CancelDrain,
}

/// What the API has to know of the live meetings.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Somebody has come or gone, or their picture. This is for those who follow the account's events.
    Attendee {
        /// Who, and in which meeting.
        subject: Box<Subject>,
        /// What of it.
        what: EventType,
    },
    /// So many attendees are present now: their media path stands. Content shares do not count.
    Present {
        /// Where.
        meeting: MeetingId,
        /// How many.
        attendees: usize,
    },
    /// A meeting was locked while these attendees were in it.
    Locked {
        /// Which.
        meeting: MeetingId,
        /// Who.
        inside: Vec<AttendeeId>,
    },
    /// A drain is over: no socket is open.
    Drained,
    /// A connection has come a step further.
    JoinTrace(Box<JoinTrace>),
    /// A connection has ended before its media stood. Once for each that has.
    JoinFailed(Box<JoinTrace>),
}

/// What the worker has to do.
#[derive(Debug)]
pub enum Output<'a> {
    /// Send these datagrams: `bytes` cut into pieces of `segment_size`, the last of which may be shorter.
    Datagrams {
        /// Where to.
        to: PeerAddr,
        /// Bytes of each datagram.
        segment_size: usize,
        /// All of them, one behind another.
        bytes: &'a [u8],
    },
    /// Send this frame on a session's socket.
    Frame {
        /// Whose socket.
        session: SessionId,
        /// What.
        frame: ServerFrame,
    },
    /// Send this one frame on all these sessions' sockets: to be encoded once.
    Frames {
        /// Whose sockets; never none.
        sessions: Vec<SessionId>,
        /// What.
        frame: ServerFrame,
    },
    /// Close a session's socket, after the frames before it.
    Close {
        /// Whose socket.
        session: SessionId,
        /// A code that the client understands (signaling specification, section 2.2).
        code: u16,
        /// For people who read logs.
        reason: &'static str,
    },
    /// Tell the registry.
    Event(Event),
}

impl<'a> From<Run<'a>> for Output<'a> {
    fn from(Run { to, segment_size, bytes }: Run<'a>) -> Output<'a> {
        Output::Datagrams { to, segment_size, bytes }
    }
}

/// Datagrams that led nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceCounters {
    /// From an address that no peer has, and not a connectivity check for any.
    pub unknown_sender: u64,
    /// Neither STUN, DTLS nor RTP.
    pub unknown_kind: u64,
}

/// All live meetings of one worker.
pub struct MediaService {
    config: ServiceConfig,
    clock: WallClock,
    rng: ChaCha20Rng,
    meetings: BTreeMap<MeetingId, Meeting>,
    sessions: BTreeMap<SessionId, MeetingId>,
    /// Replicas whose attendees are here, by the primary meeting that hosts them.
    replicas: BTreeMap<MeetingId, MeetingId>,
    directory: Directory,
    due: BTreeSet<(Instant, MeetingId)>,
    drain: Option<Drain>,
    outputs: Outputs,
    counters: ServiceCounters,
    /// The meeting being worked on, in case that ends in a panic.
    at_work: Option<MeetingId>,
}

/// Which peer a datagram is for.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_ufrag: HashMap<String, (MeetingId, SessionId)>,
    by_address: HashMap<PeerAddr, Place>,
}

/// Whose an address is.
#[derive(Debug)]
struct Place {
    meeting: MeetingId,
    session: SessionId,
    heard_at: Instant,
}

/// What has been decided and not yet carried out.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    signaling: VecDeque<Output<'static>>,
    /// One packet for each leg of the meetings that have had a tick, and no more: the worker drains it after each.
    sound: Outbox,
    /// Sessions whose peers may have datagrams waiting.
    touched: VecDeque<(MeetingId, SessionId)>,
}

/// What a meeting needs of its surroundings while it handles one input.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a ServiceConfig,
    pub(crate) clock: WallClock,
    pub(crate) rng: &'a mut ChaCha20Rng,
    pub(crate) directory: &'a mut Directory,
    outputs: &'a mut Outputs,
}

impl Cx<'_> {
    pub(crate) fn frame(&mut self, session: SessionId, frame: ServerFrame) {
        self.outputs.signaling.push_back(Output::Frame { session, frame });
    }

    /// The same frame to all of them.
    pub(crate) fn frame_to_all(&mut self, sessions: impl Iterator<Item = SessionId>, frame: ServerFrame) {
        let sessions: Vec<_> = sessions.collect();
        if !sessions.is_empty() {
            self.outputs.signaling.push_back(Output::Frames { sessions, frame });
        }
    }

    pub(crate) fn close(&mut self, session: SessionId, code: u16, reason: &'static str) {
        self.outputs.signaling.push_back(Output::Close { session, code, reason });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.signaling.push_back(Output::Event(event));
    }

    /// Where everybody's sound goes.
    pub(crate) fn sound(&mut self) -> &mut Outbox {
        &mut self.outputs.sound
    }

    /// Notes that this session's peer may have datagrams to send.
    pub(crate) fn touch(&mut self, meeting: MeetingId, session: SessionId) {
        if self.outputs.touched.back() != Some(&(meeting, session)) {
            self.outputs.touched.push_back((meeting, session));
        }
    }
}

impl Directory {
    pub(crate) fn add(&mut self, local_ufrag: &str, meeting: MeetingId, session: SessionId) {
        self.by_ufrag.insert(local_ufrag.to_owned(), (meeting, session));
    }

    /// Learns an address that a link's peer has proved to be at. DTLS and media come from there next, perhaps before
    /// the client has settled on one of several.
    pub(crate) fn learn_address(
        &mut self,
        now: Instant,
        link: &mut MediaLink,
        address: PeerAddr,
        meeting: MeetingId,
        session: SessionId,
    ) {
        if !link.peer.is_validated(address) {
            return;
        }
        if let Some(place) = self.by_address.get(&address) {
            // A plain peer is at the one address that it was given.
            let in_use = now.saturating_duration_since(place.heard_at) < ADDRESS_QUIET;
            if place.session == session || (in_use && link.local_ice.is_some()) {
                return;
            }
        }
        if link.known_addresses.len() == ADDRESSES_MAX {
            let oldest = link.known_addresses.remove(0);
            self.forget_address(oldest, session);
        }
        link.known_addresses.push(address);
        self.by_address.insert(address, Place { meeting, session, heard_at: now });
    }

    pub(crate) fn remove(&mut self, link: &MediaLink, session: SessionId) {
        if let Some(ice) = &link.local_ice {
            self.by_ufrag.remove(&ice.ufrag);
        }
        for address in &link.known_addresses {
            self.forget_address(*address, session);
        }
    }

    /// An address may have passed to another session meanwhile (the same browser, reconnecting).
    fn forget_address(&mut self, address: PeerAddr, session: SessionId) {
        if self.by_address.get(&address).is_some_and(|place| place.session == session) {
            self.by_address.remove(&address);
        }
    }
}

impl MediaService {
    /// No meetings yet. `seed` makes everything that is chosen at random; a worker takes it from the system.
    pub fn new(config: ServiceConfig, clock: WallClock, seed: [u8; 32]) -> MediaService {
        MediaService {
            config,
            clock,
            rng: ChaCha20Rng::from_seed(seed),
            meetings: BTreeMap::new(),
            sessions: BTreeMap::new(),
            replicas: BTreeMap::new(),
            directory: Directory::default(),
            due: BTreeSet::new(),
            drain: None,
            outputs: Outputs::default(),
            counters: ServiceCounters::default(),
            at_work: None,
        }
    }

    /// A client's socket has opened, and the registry has admitted it.
    pub fn connect(&mut self, now: Instant, session: SessionId, admission: Admission) {
        if self.drain.is_some() {
            return self.ask_back(session);
        }
        let (meeting, unix) = (admission.primary.unwrap_or(admission.meeting), self.clock.unix(now));
        if let Some(primary) = admission.primary {
            self.replicas.insert(admission.meeting, primary);
        }
        self.sessions.insert(session, meeting);
        let limits = &self.config.limits;
        self.meetings.entry(meeting).or_insert_with(|| Meeting::new(meeting, now, unix, limits));
        self.with_meeting(now, meeting, |meeting, cx| meeting.connect(cx, session, admission));
    }

    /// These were in a meeting when the process before ended: if they come back soon, nobody sees them gone. Before any
    /// of them connects.
    pub fn expect(&mut self, now: Instant, meeting: MeetingId, people: Vec<Subject>) {
        let unix = self.clock.unix(now);
        self.meetings.entry(meeting).or_insert_with(|| Meeting::new(meeting, now, unix, &self.config.limits));
        self.with_meeting(now, meeting, |meeting, cx| meeting.expect(cx, people));
    }

    /// The client of a replica's attendee asks to take part in the primary meeting (PRIMARY_MEETING_JOIN): `admitted` is
    /// what the registry says to the credentials that it shows.
    pub fn promote(&mut self, now: Instant, session: SessionId, admitted: Result<Admission, JoinError>) {
        if let Some(&meeting) = self.sessions.get(&session) {
            self.with_meeting(now, meeting, |meeting, cx| meeting.promote(cx, session, admitted));
        }
    }

    /// SendDataMessage of the API, to everybody in the meeting and, if it has a lifetime, whoever comes within it. Returns
    /// the time at which it was taken in, in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`DataError`] says.
    pub fn send_data_message(
        &mut self,
        now: Instant,
        meeting: MeetingId,
        external_user_id: &str,
        message: DataMessage,
    ) -> Result<i64, DataError> {
        let unix = self.clock.unix(now);
        self.meetings.entry(meeting).or_insert_with(|| Meeting::new(meeting, now, unix, &self.config.limits));
        let mut outcome = Err(DataError::Throttled);
        self.with_meeting(now, meeting, |meeting, cx| {
            outcome = meeting.data_message_of_api(cx, external_user_id, message);
        });
        outcome
    }

    /// The data messages of a meeting that whoever came now would get, oldest first.
    pub fn data_messages(&mut self, now: Instant, meeting: MeetingId) -> Vec<DeliveredMessage> {
        let (host, unix_ns) = (self.host_of(meeting), self.clock.unix(now).as_nanos() as i64);
        let meeting = self.meetings.get_mut(&host);
        meeting.map_or_else(Vec::new, |meeting| meeting.kept_data_messages(unix_ns))
    }

    /// A client's socket is gone, whoever closed it.
    pub fn disconnected(&mut self, now: Instant, session: SessionId) {
        if let Some(meeting) = self.sessions.remove(&session) {
            self.with_meeting(now, meeting, |meeting, cx| meeting.disconnected(cx, session));
            self.note_drained();
        }
    }

    /// A frame has come in.
    pub fn handle_frame(&mut self, now: Instant, session: SessionId, frame: ClientFrame) {
        let Some(&meeting) = self.sessions.get(&session) else { return };
        let has_room = !matches!(frame, ClientFrame::Join(_)) || self.has_room_for(meeting, session);
        self.with_meeting(now, meeting, |meeting, cx| {
            if has_room {
                meeting.handle_frame(cx, session, frame);
            } else {
                meeting.refuse_for_want_of_room(cx, session);
            }
        });
    }

    /// Whether a session may join as far as the whole worker is concerned. Whoever is in has a place, and may take it up from
    /// another connection.
    fn has_room_for(&self, meeting: MeetingId, session: SessionId) -> bool {
        let is_newcomer = self.meetings.get(&meeting).is_some_and(|meeting| meeting.is_newcomer(session));
        let max = self.config.limits.attendees;
        !is_newcomer
            || max == usize::MAX
            || self.meetings.values().map(Meeting::attendees_in).sum::<usize>() < max
    }

    /// Something has come in that is no frame: its sender is told so, and its session ends.
    pub fn handle_bad_frame(&mut self, now: Instant, session: SessionId, why: &str) {
        if let Some(&meeting) = self.sessions.get(&session) {
            self.with_meeting(now, meeting, |meeting, cx| {
                meeting.refuse(cx, session, FrameKind::AudioStatus, why);
            });
        }
    }

    /// The API has decided something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::EndMeeting(meeting) => {
                self.with_meeting(now, self.host_of(meeting), |host, cx| {
                    if host.id == meeting { host.end(cx) } else { host.end_replica(cx, meeting) }
                });
            }
            Command::RemoveAttendee(meeting, attendee) => {
                self.with_meeting(now, self.host_of(meeting), |host, cx| host.remove_attendee(cx, attendee));
            }
            Command::SetCapabilities(meeting, attendee, capabilities) => {
                self.with_meeting(now, self.host_of(meeting), |host, cx| {
                    host.set_capabilities(cx, attendee, capabilities);
                });
            }
            Command::MuteAttendee(meeting, attendee) => {
                self.with_meeting(now, self.host_of(meeting), |host, cx| {
                    host.mute_by_moderator(cx, attendee)
                });
            }
            Command::PermitUnmute(meeting, attendee, may_unmute) => {
                self.with_meeting(now, self.host_of(meeting), |host, _| {
                    host.permit_unmute(attendee, may_unmute)
                });
            }
            Command::LockMeeting(meeting) => {
                let host = self.host_of(meeting);
                if self.meetings.contains_key(&host) {
                    self.with_meeting(now, host, |host, cx| host.lock(cx, meeting));
                } else {
                    let event = Event::Locked { meeting, inside: Vec::new() };
                    self.outputs.signaling.push_back(Output::Event(event));
                }
            }
            Command::Drain(within) => self.drain(now, within),
            Command::CancelDrain => self.drain = None,
        }
    }

    /// The meeting that hosts this one's sessions: itself, or the primary of a replica.
    pub(crate) fn meeting(&self, id: MeetingId) -> Option<&Meeting> {
        self.meetings.get(&id)
    }

    pub(crate) fn host_of(&self, meeting: MeetingId) -> MeetingId {
        self.replicas.get(&meeting).copied().unwrap_or(meeting)
    }

    /// Whole meetings go together: their people lose and find each other at the same time.
    fn drain(&mut self, now: Instant, within: Duration) {
        let mut sessions: Vec<_> =
            self.sessions.iter().map(|(session, meeting)| (*meeting, *session)).collect();
        sessions.sort_unstable();
        self.drain = Some(Drain::new(now, within, sessions.into_iter().map(|(_, session)| session)));
        self.note_drained();
    }

    fn ask_back(&mut self, session: SessionId) {
        let reason = DRAINING;
        self.outputs.signaling.push_back(Output::Close { session, code: close_code::COME_BACK, reason });
    }

    fn ask_next_batch_back(&mut self, now: Instant) {
        let Some(drain) = &mut self.drain else { return };
        for session in drain.take(now) {
            let Some(meeting) = self.sessions.get(&session) else { continue };
            if let Some(meeting) = self.meetings.get_mut(meeting) {
                meeting.note_cause(session, Cause::SentAway(DRAINING.to_owned()));
            }
            self.ask_back(session);
        }
    }

    fn note_drained(&mut self) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| !drain.told)
            && self.sessions.is_empty()
        {
            drain.told = true;
            self.outputs.signaling.push_back(Output::Event(Event::Drained));
        }
    }

    /// A datagram has come in; it is decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: impl Into<PeerAddr>, bytes: &mut [u8]) {
        let from = from.into();
        let place = self.directory.by_address.get_mut(&from);
        let known = place.as_ref().map(|place| (place.meeting, place.session));
        let found = match bytes.first().map_or(Kind::Unknown, |first| demux(*first)) {
            // A check may come from a new address of a known peer, or be the first of a new one: its name decides.
            Kind::Stun => {
                let named =
                    stun_username_local_ufrag(bytes).and_then(|ufrag| self.directory.by_ufrag.get(ufrag));
                named.copied().or(known)
            }
            Kind::Dtls | Kind::Rtp => known,
            Kind::Unknown => {
                self.counters.unknown_kind += 1;
                return;
            }
        };
        let Some((meeting, session)) = found else {
            self.counters.unknown_sender += 1;
            return;
        };
        if let Some(place) = place.filter(|place| place.session == session) {
            place.heard_at = now;
        }
        self.with_meeting(now, meeting, |meeting, cx| meeting.handle_datagram(cx, session, from, bytes));
    }

    /// Some time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ask_next_batch_back(now);
        while let Some(&(due, meeting)) = self.due.first() {
            if due > now {
                break;
            }
            self.due.pop_first();
            self.with_meeting(now, meeting, |meeting, cx| meeting.tick(cx));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next; `None` while nobody is connected and
    /// nothing is kept for those who come.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let meeting = self.due.first().map(|(due, _)| *due);
        let drain = self.drain.as_ref().and_then(Drain::due);
        meeting.into_iter().chain(drain).min()
    }

    /// The next thing to do, until `None`. Frames come before datagrams, and sound before pictures.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some(output) = self.outputs.signaling.pop_front() {
            return Some(output);
        }
        if !self.outputs.sound.is_empty() {
            return self.outputs.sound.next_run().map(Output::from);
        }
        while let Some((meeting, session)) = self.outputs.touched.front().copied() {
            let waiting = self.meetings.get_mut(&meeting).and_then(|meeting| meeting.peer(session));
            if waiting.is_some_and(|peer| !peer.outbox().is_empty()) {
                break;
            }
            self.outputs.touched.pop_front();
        }
        let (meeting, session) = self.outputs.touched.front().copied()?;
        self.meetings.get_mut(&meeting)?.peer(session)?.outbox().next_run().map(Output::from)
    }

    /// After a panic: drops the meeting that was being worked on, so that its broken state harms no other. Its
    /// clients are sent away with a code on which they come back.
    pub fn abandon_meeting_at_work(&mut self) -> Option<MeetingId> {
        let id = self.at_work.take()?;
        self.outputs.touched.retain(|(meeting, _)| *meeting != id);
        self.due.retain(|(_, meeting)| *meeting != id);
        self.replicas.retain(|_, host| *host != id);
        if let Some(mut meeting) = self.meetings.remove(&id) {
            self.outputs.signaling.push_back(Output::Event(Event::Present { meeting: id, attendees: 0 }));
            let reason = "the meeting met an internal error";
            for trace in meeting.sessions.values_mut().map(|session| &mut session.trace) {
                if trace.end(Cause::SentAway(reason.to_owned())) {
                    self.outputs.signaling.push_back(Output::Event(Event::JoinFailed(trace.clone())));
                }
            }
            for session in meeting.connected_sessions() {
                self.sessions.remove(&session);
                self.outputs.signaling.push_back(Output::Close {
                    session,
                    code: close_code::COME_BACK,
                    reason,
                });
            }
            for event in meeting.attendance.lost(id) {
                self.outputs.signaling.push_back(Output::Event(event));
            }
        }
        self.directory.by_ufrag.retain(|_, (meeting, _)| *meeting != id);
        self.directory.by_address.retain(|_, place| place.meeting != id);
        Some(id)
    }

    /// Datagrams that led nowhere, so far.
    pub fn counters(&self) -> ServiceCounters {
        self.counters
    }

    /// Live meetings and connected sessions.
    pub fn population(&self) -> (usize, usize) {
        (self.meetings.len(), self.sessions.len())
    }

    fn with_meeting(&mut self, now: Instant, id: MeetingId, work: impl FnOnce(&mut Meeting, &mut Cx<'_>)) {
        let Some(meeting) = self.meetings.get_mut(&id) else { return };
        self.at_work = Some(id);
        let mut cx = Cx {
            now,
            config: &self.config,
            clock: self.clock,
            rng: &mut self.rng,
            directory: &mut self.directory,
            outputs: &mut self.outputs,
        };
        let before = meeting.next_tick();
        work(meeting, &mut cx);
        meeting.settle(&mut cx);
        let after = meeting.next_tick();
        if let (Some(before), true) = (before, before != after) {
            self.due.remove(&(before, id));
        }
        match after {
            Some(after) => {
                self.due.insert((after, id));
            }
            None => {
                self.meetings.remove(&id);
                self.replicas.retain(|_, host| *host != id);
            }
        }
        self.at_work = None;
    }
}

#[cfg(test)]
mod tests;
