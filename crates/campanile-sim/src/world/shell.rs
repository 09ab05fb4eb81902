//! The shell's part, played for the server: sockets, admission, and carrying out what it decides.

use std::cmp::Reverse;
use std::time::Duration;

use campanile_meeting::ids::{AttendeeKey, SessionId};
use campanile_meeting::registry::{Admission, JoinError};
use campanile_meeting::service::{Event as ServiceEvent, Output};
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{ClientFrame, SERVER_FRAME_BYTES_MAX, ServerFrame, decode, decode_server};

use super::{ACCOUNT, Event, Inner, Socket, What};

/// How long the shell waits for a client to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl Inner {
    /// The shell: a handshake always succeeds, and what is wrong is said by a close code.
    pub(super) fn accept(&mut self, seat: usize) {
        if self.seats[seat].client.dead {
            return;
        }
        if !self.up {
            return self.refuse(seat);
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sockets.insert(session, Socket { seat, opened: false, closing: false, waiting: 0 });
        let opened = self.seats[seat].socket_down.pass_in_order(self.now);
        self.schedule(opened, What::Opened(seat, session));
        let client = &self.seats[seat].client;
        let code = match client.attendee.id {
            _ if self.over => Some(4410),
            id if self.removed.contains(&id) => Some(4403),
            id if self.locked_to.as_ref().is_some_and(|inside| !inside.contains(&id)) => Some(4403),
            _ => None,
        };
        if let Some(code) = code {
            return self.close(session, code);
        }
        let (attendee, capabilities) = (client.attendee, client.capabilities);
        let admission = self.admission(attendee, client.name.clone(), capabilities);
        let admission = match client.replica {
            Some(replica) => Admission { meeting: replica, primary: Some(self.meeting), ..admission },
            None => admission,
        };
        self.service.connect(self.now, session, admission);
        self.drain();
    }

    pub(super) fn admission(
        &self,
        attendee: AttendeeKey,
        name: String,
        capabilities: Capabilities,
    ) -> Admission {
        Admission {
            meeting: self.meeting,
            primary: None,
            attendee,
            account: ACCOUNT.parse().expect("12 digits"),
            external_user_id: name,
            external_meeting_id: "sim".to_owned(),
            media_region: "us-east-1".into(),
            capabilities,
            may_unmute: !self.kept_muted.contains(&attendee.id),
            features: self.features,
        }
    }

    pub(super) fn frame_up(&mut self, session: SessionId, bytes: &[u8]) {
        match self.sockets.get(&session) {
            Some(socket) if socket.closing => return,
            Some(_) => {}
            None => return self.reset(session),
        }
        match decode(bytes) {
            // As the shell does: the registry says what the credentials are worth. Here a token is the attendee's id.
            Ok(ClientFrame::PrimaryMeetingJoin { join_token, external_user_id, .. }) => {
                let attendee = join_token.0.parse().ok().filter(|id| !self.removed.contains(id));
                let admitted = attendee.ok_or(JoinError::AttendeeUnavailable).map(|id| {
                    let attendee = AttendeeKey { id, content: false };
                    self.admission(attendee, external_user_id, Capabilities::ALL)
                });
                self.service.promote(self.now, session, admitted);
                self.drain();
            }
            Ok(frame) => {
                self.service.handle_frame(self.now, session, frame);
                self.drain();
            }
            Err(why) => {
                self.service.handle_bad_frame(self.now, session, &why.to_string());
                self.drain();
            }
        }
    }

    /// The host answers whatever comes for a connection that is no more.
    fn reset(&mut self, session: SessionId) {
        let seat = self.seats.iter().position(|seat| seat.client.session == Some(session));
        if let Some(seat) = seat.filter(|seat| !self.seats[*seat].client.dead) {
            let arrival = self.seats[seat].socket_down.pass_in_order(self.now);
            self.schedule(arrival, What::Reset(seat, session));
        }
    }

    pub(super) fn frame_down(&mut self, session: SessionId, bytes: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&session) else { return };
        socket.waiting -= 1;
        let seat = socket.seat;
        let client = &mut self.seats[seat].client;
        if client.dead || client.session != Some(session) {
            return;
        }
        assert!(bytes.len() <= SERVER_FRAME_BYTES_MAX);
        let frame = decode_server(bytes).expect("the server writes what clients read");
        client.handle_frame(self.now, frame);
        self.flush(seat);
    }

    pub(super) fn close_down(&mut self, session: SessionId, code: u16) {
        let Some(socket) = self.sockets.get(&session) else { return };
        let seat = socket.seat;
        let client = &mut self.seats[seat].client;
        if client.dead || client.session != Some(session) {
            return; // the shell will not wait for ever
        }
        client.closed(self.now, Some(code));
        let arrival = self.seats[seat].socket_up.pass_in_order(self.now);
        self.schedule(arrival, What::ClosedUp(session));
        self.flush(seat);
    }

    fn send_frame(&mut self, session: SessionId, frame: &ServerFrame) {
        let timestamp_ms = self.unix_ms();
        let Some(socket) = self.sockets.get_mut(&session).filter(|socket| !socket.closing) else { return };
        socket.waiting += 1;
        self.most_waiting = self.most_waiting.max(socket.waiting);
        let arrival = self.seats[socket.seat].socket_down.pass_in_order(self.now);
        self.schedule(arrival, What::FrameDown(session, frame.encode(timestamp_ms)));
    }

    pub(super) fn close(&mut self, session: SessionId, code: u16) {
        let Some(socket) = self.sockets.get_mut(&session).filter(|socket| !socket.closing) else { return };
        socket.closing = true;
        let arrival = self.seats[socket.seat].socket_down.pass_in_order(self.now);
        self.schedule(arrival, What::CloseDown(session, code));
        self.schedule(self.now + CLOSE_TIMEOUT, What::ClosedUp(session));
    }

    /// Carries out what the server has decided.
    pub(super) fn drain(&mut self) {
        loop {
            match self.service.poll_output() {
                None => break,
                Some(Output::Frame { session, frame }) => self.send_frame(session, &frame),
                Some(Output::Frames { sessions, frame }) => {
                    sessions.into_iter().for_each(|session| self.send_frame(session, &frame));
                }
                Some(Output::Close { session, code, .. }) => self.close(session, code),
                Some(Output::Event(ServiceEvent::Present { attendees, .. })) => self.present = attendees,
                Some(Output::Event(ServiceEvent::Locked { inside, .. })) => self.locked_to = Some(inside),
                Some(Output::Event(ServiceEvent::Attendee { subject, what })) => {
                    self.told.note(&subject, what)
                }
                Some(Output::Event(ServiceEvent::Drained)) => self.drained = true,
                Some(Output::Event(ServiceEvent::JoinTrace(trace))) => {
                    self.join_traces.insert(trace.session, *trace);
                }
                Some(Output::Event(ServiceEvent::JoinFailed(trace))) => {
                    let session = trace.session;
                    assert!(self.failed_joins.insert(session), "{session:?} has failed twice");
                    self.join_traces.insert(session, *trace);
                }
                Some(Output::Datagrams { to, segment_size, bytes }) => {
                    let Some(at) = self.seats.iter().position(|seat| seat.client.addr == to.addr) else {
                        continue;
                    };
                    for datagram in bytes.chunks(segment_size) {
                        let arrivals = self.seats[at].down.pass(self.now, datagram.len());
                        for arrival in arrivals.first.into_iter().chain(arrivals.second) {
                            let number = self.next_event;
                            self.next_event += 1;
                            let what = What::DatagramDown(at, datagram.to_vec());
                            self.events.push(Reverse(Event { at: arrival, number, what }));
                        }
                    }
                }
            }
        }
    }
}
