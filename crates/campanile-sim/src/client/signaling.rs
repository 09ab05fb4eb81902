//! What a client says and is told over its socket: joining, leaving, coming back, the roster.

use std::time::{Duration, Instant};

use campanile_meeting::ids::SessionId;
use campanile_wire::signaling::{
    Adaption, AudioStatus, AudioStreamIdInfo, ClientDetails, ClientFrame, FrameKind, Index, Join, ServerFrame,
};
use rand_core::RngCore;

use super::{Client, Connection, Ending, Out, Presence, RosterEntry, State, Watch};
use crate::link::share;

/// The library's own: between pings, before an answer is given up, and within which it tries to come back.
const PING_INTERVAL: Duration = Duration::from_secs(10);
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const RECONNECT_WINDOW: Duration = Duration::from_secs(120);

impl Client {
    /// The socket is open.
    pub(crate) fn opened(&mut self, now: Instant, session: SessionId) {
        self.session = Some(session);
        self.state = State::Joining;
        self.old_screens.append(&mut self.connection.screens);
        self.connection = Connection {
            next_ping: 1,
            ping_due: Some(now),
            next_mid: 2,
            answer_due: Some(now + ANSWER_TIMEOUT),
            transport_sequence: self.rng.next_u32() as u16,
            ssrc: self.rng.next_u32(),
            ..Connection::default()
        };
        if self.join_by_hand {
            // Connected early: neither pings nor JOIN yet, nor any hurry.
            (self.connection.ping_due, self.connection.answer_due) = (None, None);
        } else {
            self.ping(now);
            self.join(now);
        }
    }

    pub(crate) fn join(&mut self, now: Instant) {
        self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
        let server_side = matches!(self.watch, Watch::Server(_));
        use Adaption::{BandwidthProbing, BandwidthProbingAndVideoQuality, Default, None as NoAdaption};
        self.say(ClientFrame::Join(Join {
            protocol_version: 2,
            flags: 2,
            client: ClientDetails {
                platform_name: self.platform.clone(),
                client_source: "campanile-sim".to_owned(),
                ..ClientDetails::default()
            },
            audio_session_id: Some(self.audio_session_id),
            wants_compressed_sdp: true,
            adaption: if server_side { BandwidthProbingAndVideoQuality } else { Default },
            supported_adaptions: if server_side {
                vec![NoAdaption, BandwidthProbing, BandwidthProbingAndVideoQuality]
            } else {
                Vec::new()
            },
            wants_all_temporal_layers: server_side,
            disable_periodic_keyframes: false,
            max_videos: None,
        }));
    }

    pub(super) fn ping(&mut self, now: Instant) {
        let id = self.connection.next_ping;
        self.connection.next_ping += 1;
        self.connection.ping_due = Some(now + PING_INTERVAL);
        self.connection.missed_pongs += 1;
        self.say(ClientFrame::Ping { id });
    }

    pub(crate) fn say(&mut self, frame: ClientFrame) {
        self.out.push(Out::Frame(Box::new(frame)));
    }

    /// LEAVE, and no more.
    pub(crate) fn leave(&mut self, now: Instant, ending: Ending) {
        self.ending.get_or_insert(ending);
        if self.session.is_none() {
            self.state = State::Over;
            self.reopen_at = None;
            return;
        }
        if !matches!(self.state, State::Leaving | State::Over) {
            self.state = State::Leaving;
            self.connection.answer_due = Some(now + ANSWER_TIMEOUT);
            self.say(ClientFrame::Leave);
        }
    }

    /// Its socket is gone; with `None` without a close frame.
    pub(crate) fn closed(&mut self, now: Instant, code: Option<u16>) {
        self.session = None;
        if let Some(code) = code {
            self.closes.push((now, code));
        }
        let may_return = match code {
            None => true,
            Some(code) => (4500..4600).contains(&code),
        };
        match (self.state, code) {
            (State::Leaving, _) => self.finish(),
            (State::Joining, Some(code)) if !may_return => {
                self.ending = Some(Ending::Closed(code));
                self.finish();
            }
            (State::Joining | State::Starting | State::Started, _) if may_return => self.come_back(now),
            (State::Starting | State::Started, _) => self.zombie = true,
            _ => {}
        }
    }

    pub(super) fn finish(&mut self) {
        self.state = State::Over;
        self.connection.audio_out = None;
        self.connection.sender = None;
    }

    /// Tries again after a while: up to 1 s, then 2, 4, 5.
    pub(crate) fn come_back(&mut self, now: Instant) {
        self.state = State::Away;
        self.connection.audio_out = None;
        self.connection.sender = None;
        let lost_at = *self.lost_at.get_or_insert(now);
        if !self.comes_back {
            self.state = State::Over;
        } else if now - lost_at > RECONNECT_WINDOW {
            self.ending = Some(Ending::GaveUp);
            self.state = State::Over;
        } else {
            let longest = Duration::from_secs(1 << self.attempts.min(3)).min(Duration::from_secs(5));
            self.attempts += 1;
            self.reopen_at = Some(now + longest.mul_f64(share(&mut self.rng)));
        }
    }

    pub(super) fn close_socket(&mut self) {
        self.out.extend(self.session.take().map(Out::Close));
    }

    /// Gives its connection up, and comes back. The socket is closed, if one is open.
    pub(crate) fn give_up_connection(&mut self, now: Instant) {
        self.close_socket();
        self.come_back(now);
    }

    pub(crate) fn handle_frame(&mut self, now: Instant, frame: ServerFrame) {
        match frame {
            ServerFrame::AudioMetadata(states) => return self.levels.push((now, states)),
            ServerFrame::Bitrates { .. } => return,
            _ => self.frames.push((now, frame.clone())),
        }
        match frame {
            ServerFrame::Ping { id } => self.say(ClientFrame::Pong { id }),
            ServerFrame::Pong { id } if id + 1 == self.connection.next_ping => {
                self.connection.missed_pongs = 0
            }
            ServerFrame::JoinAck(ack) => {
                self.connection.has_join_ack = true;
                self.connection.server_side =
                    ack.default_adaption == Some(Adaption::BandwidthProbingAndVideoQuality);
            }
            ServerFrame::Index(index) => self.handle_index(now, index),
            ServerFrame::SubscribeAck(ack) => self.handle_subscribe_ack(now, &ack),
            ServerFrame::AudioStreamIdInfo(entries) => self.handle_roster(now, entries),
            ServerFrame::DataMessages(messages) => self.messages.extend(messages),
            ServerFrame::LeaveAck if self.state == State::Leaving => {
                self.close_socket();
                self.finish();
            }
            ServerFrame::AudioStatus(status) => match status {
                AudioStatus::Ok => {}
                AudioStatus::InternalServerError | AudioStatus::ServiceUnavailable => {
                    self.give_up_connection(now);
                }
                status => self.leave(now, Ending::Status(status)),
            },
            ServerFrame::Error { status, on, .. } => match status {
                206 => {
                    // Told so, it stops; no SUBSCRIBE follows.
                    self.view_only = true;
                    self.camera = None;
                    self.connection.camera_sent = None;
                    self.connection.sender = None;
                }
                200..300 => {}
                500..600 if status != 509 => self.give_up_connection(now),
                _ if on == FrameKind::Notification => {}
                status => self.leave(now, Ending::Error(status)),
            },
            _ => {}
        }
    }

    fn handle_index(&mut self, now: Instant, index: Index) {
        self.index = index;
        match self.state {
            State::Joining if self.connection.has_join_ack => {
                self.state = State::Starting;
                if self.watches_at_once {
                    self.wanted().into_iter().for_each(|wish| self.add_section(wish));
                }
                self.subscribe(now);
            }
            State::Started => self.update_video(now),
            _ => {}
        }
    }

    fn handle_roster(&mut self, now: Instant, entries: Vec<AudioStreamIdInfo>) {
        let myself = self.attendee.to_string();
        if !std::mem::replace(&mut self.connection.roster_seen, true) {
            // The first roster of a connection is the whole one: whoever is not in it has gone.
            let listed = |who: &String| {
                entries.iter().any(
                    |e| matches!(e, AudioStreamIdInfo::Present { attendee_id, .. } if attendee_id == who),
                )
            };
            let gone: Vec<_> =
                self.roster.keys().filter(|who| **who != myself && !listed(who)).cloned().collect();
            for attendee in gone {
                self.roster.remove(&attendee);
                self.presence.push(Presence { at: now, attendee, here: false, dropped: false });
            }
        }
        for entry in entries {
            match entry {
                AudioStreamIdInfo::Present { audio_stream_id, attendee_id, external_user_id, muted } => {
                    let known = self.roster.get(&attendee_id).is_some_and(|entry| entry.muted);
                    let muted = muted.unwrap_or(known);
                    let entry = RosterEntry { audio_stream_id, external_user_id, muted };
                    if self.roster.insert(attendee_id.clone(), entry).is_none() {
                        let attendee = attendee_id;
                        self.presence.push(Presence { at: now, attendee, here: true, dropped: false });
                    }
                }
                AudioStreamIdInfo::Mute { audio_stream_id, muted } => {
                    let found = self.roster.values_mut().find(|e| e.audio_stream_id == audio_stream_id);
                    if let Some(entry) = found {
                        entry.muted = muted;
                    }
                }
                AudioStreamIdInfo::Left { audio_stream_id, dropped } => {
                    let found = self.roster.iter().find(|(_, e)| e.audio_stream_id == audio_stream_id);
                    if let Some(attendee) = found.map(|(attendee, _)| attendee.clone()) {
                        self.roster.remove(&attendee);
                        self.presence.push(Presence { at: now, attendee, here: false, dropped });
                    }
                }
            }
        }
    }
}
