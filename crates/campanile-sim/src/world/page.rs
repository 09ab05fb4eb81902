//! What somebody does with a page, and what is seen on it.

use std::cell::Ref;
use std::time::{Duration, Instant};

use campanile_meeting::ids::AttendeeId;
use campanile_wire::api::Capabilities;
use campanile_wire::signaling::{ClientFrame, DataMessage, Secret};

use super::{Page, Seat, UNIX_START};
use crate::client::{Client, Ending, Out, Watch};
use crate::link::Conditions;
use crate::picture::{Camera, Seen};
use crate::sound::{Ear, Microphone};

/// Between the NTP epoch (1900) and Unix's (1970) (RFC 5905).
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

impl Page {
    /// What its client has seen so far.
    pub fn client(&self) -> Ref<'_, Client> {
        Ref::map(self.inner.borrow(), |inner| &inner.seats[self.at].client)
    }

    /// Its attendee's id, with `#content` for a share.
    pub fn id(&self) -> String {
        self.client().attendee.to_string()
    }

    pub(super) fn act(&self, act: impl FnOnce(&mut Client, Instant)) -> Page {
        {
            let mut inner = self.inner.borrow_mut();
            let now = inner.now;
            act(&mut inner.seats[self.at].client, now);
            inner.flush(self.at);
        }
        self.clone()
    }

    fn rewire(&self, rewire: impl FnOnce(&mut Seat, Instant)) -> Page {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        rewire(&mut inner.seats[self.at], now);
        self.clone()
    }

    /// What its attendee may do; before it joins.
    pub fn capable(&self, capabilities: Capabilities) -> Page {
        self.act(|client, _| client.capabilities = capabilities)
    }

    /// Switches the camera on, or, on a share, shows the content.
    pub fn publish(&self, camera: Camera) -> Page {
        self.act(|client, now| {
            client.camera = Some(camera);
            client.update_video(now);
        })
    }

    /// The camera's pictures have this size from now on, and its layers below half of it each.
    pub fn resize(&self, width: u16, height: u16) -> Page {
        self.act(|client, _| client.resize(width, height))
    }

    /// Switches the camera off.
    pub fn unpublish(&self) -> Page {
        self.act(|client, now| {
            client.camera = None;
            client.update_video(now);
        })
    }

    /// Chooses what to receive. Between client-side and server-side choice only before joining.
    pub fn watch(&self, watch: Watch) -> Page {
        self.act(|client, now| client.watch(now, watch))
    }

    /// Says how much somebody's video matters: the larger, the more important.
    pub fn ranks(&self, other: &Page, priority: u32) -> Page {
        let attendee = other.id();
        self.act(|client, _| client.rank(attendee, priority))
    }

    /// Asks for video with its first SUBSCRIBE, as a client may; the browser's asks for audio first. Before it joins.
    pub fn watches_at_once(&self) -> Page {
        self.act(|client, _| client.watches_at_once = true)
    }

    /// Calls itself this browser. Before it joins.
    pub fn runs_in(&self, platform: &str) -> Page {
        self.act(|client, _| client.platform = platform.to_owned())
    }

    /// Whether it says what arrives, so that the server can estimate its network. Before it joins.
    pub fn gives_feedback(&self, feedback: bool) -> Page {
        self.act(|client, _| client.feedback = feedback)
    }

    /// Says from its next report on that it can receive so much (REMB). It is heard where no feedback is given.
    pub fn says_it_bears(&self, kbps: u64) -> Page {
        self.act(|client, _| client.bears_kbps = Some(kbps))
    }

    /// Asks for a keyframe of each camera it watches, so many times at once, whatever it sees.
    pub fn begs(&self, times: usize) -> Page {
        self.act(|client, _| client.beg(times))
    }

    /// Says a tone of so many Hz, a multiple of 50, from now on.
    pub fn says(&self, hz: u32) -> Page {
        self.act(|client, _| client.microphone = Microphone::tone(hz))
    }

    /// Says nothing any more.
    pub fn falls_silent(&self) -> Page {
        self.act(|client, _| client.microphone = Microphone::default())
    }

    /// Listens to what it receives from now on, at the price of decoding it.
    pub fn listens(&self) -> Page {
        self.act(|client, _| client.ear = Some(Ear::new()))
    }

    /// Mutes or unmutes, and says so; nothing without audio.
    pub fn mute(&self, muted: bool) -> Page {
        self.act(|client, _| {
            client.muted = muted && client.audio;
            if client.is_in() && client.audio {
                client.say(ClientFrame::AudioControl { muted });
            }
        })
    }

    /// Joins without audio.
    pub fn without_audio(&self) -> Page {
        self.act(|client, _| client.audio = false)
    }

    /// Opens its socket but does not join before [`joins`](Self::joins).
    pub fn joins_by_hand(&self) -> Page {
        self.act(|client, _| client.join_by_hand = true)
    }

    /// Sends the JOIN that it held back.
    pub fn joins(&self) -> Page {
        self.act(|client, now| client.join(now))
    }

    /// Asks to be promoted with the credentials of this attendee of the primary meeting.
    pub fn promote(&self, attendee: AttendeeId, name: &str) -> Page {
        self.say(ClientFrame::PrimaryMeetingJoin {
            attendee_id: attendee.to_string(),
            external_user_id: name.to_owned(),
            join_token: Secret(attendee.to_string()),
        })
    }

    /// Goes back to the audience.
    pub fn demote(&self) -> Page {
        self.say(ClientFrame::PrimaryMeetingLeave)
    }

    /// Does not come back when its connection is lost.
    pub fn stays_away(&self) -> Page {
        self.act(|client, _| client.comes_back = false)
    }

    /// Sends a data message.
    pub fn sends(&self, topic: &str, data: &str, lifetime: Duration) -> Page {
        let message = DataMessage {
            topic: topic.to_owned(),
            data: data.as_bytes().to_vec(),
            lifetime_ms: lifetime.as_millis() as u32,
        };
        self.say(ClientFrame::DataMessages(vec![message]))
    }

    /// Sends any frame.
    pub fn say(&self, frame: ClientFrame) -> Page {
        self.act(|client, _| client.say(frame))
    }

    /// Sends any bytes as a message.
    pub fn say_bytes(&self, bytes: Vec<u8>) -> Page {
        self.act(|client, _| client.out.push(Out::Bytes(bytes)))
    }

    /// Sends any datagram.
    pub fn send_datagram(&self, bytes: Vec<u8>) -> Page {
        self.act(|client, _| client.out.push(Out::Datagram(bytes)))
    }

    /// Leaves.
    pub fn leave(&self) -> Page {
        self.act(|client, now| client.leave(now, Ending::Left))
    }

    /// Its socket breaks, and both ends notice.
    pub fn cut(&self) -> Page {
        {
            let mut inner = self.inner.borrow_mut();
            let now = inner.now;
            if let Some(session) = inner.seats[self.at].client.session {
                inner.sockets.remove(&session);
                inner.service.disconnected(now, session);
                inner.drain();
                inner.seats[self.at].client.closed(now, None);
                inner.flush(self.at);
            }
        }
        self.clone()
    }

    /// Its socket breaks, and only it notices: to the server the old one is still open.
    pub fn cut_unnoticed(&self) -> Page {
        self.act(|client, now| client.closed(now, None))
    }

    /// The machine is switched off: nothing more comes, and nobody is told.
    pub fn vanish(&self) -> Page {
        self.act(|client, _| client.dead = true)
    }

    /// No packet passes in either direction for so long.
    pub fn black_out(&self, span: Duration) -> Page {
        self.rewire(|seat, now| {
            for link in [&mut seat.up, &mut seat.down, &mut seat.socket_up, &mut seat.socket_down] {
                link.black_out(now + span);
            }
        })
    }

    /// No datagram passes in either direction for so long; its socket knows nothing of it.
    pub fn lose_media(&self, span: Duration) -> Page {
        self.rewire(|seat, now| {
            for link in [&mut seat.up, &mut seat.down] {
                link.black_out(now + span);
            }
        })
    }

    /// Its socket stands still for so long; what it carries arrives afterwards. Media flows on.
    pub fn lose_signaling(&self, span: Duration) -> Page {
        self.rewire(|seat, now| {
            for link in [&mut seat.socket_up, &mut seat.socket_down] {
                link.black_out(now + span);
            }
        })
    }

    /// The machine sleeps for so long: it neither sends nor receives, and no timer of its runs.
    pub fn sleep(&self, span: Duration) -> Page {
        self.act(|client, now| client.asleep_until = Some(now + span));
        self.black_out(span)
    }

    /// When the sound that it hears now began, since the beginning: as it arrived, and as the sender's reports have it.
    pub fn sound_began(&self) -> Option<(Duration, Duration)> {
        let inner = self.inner.borrow();
        let client = &inner.seats[self.at].client;
        let ((arrived, timestamp), report) = (client.sound_began?, client.sound_report?);
        let ahead = timestamp.wrapping_sub(report.rtp_timestamp) as i32;
        let reported = Duration::from_secs(report.ntp >> 32)
            + Duration::from_nanos(((report.ntp & u64::from(u32::MAX)) * 1_000_000_000) >> 32);
        let since_start = (reported - NTP_TO_UNIX - UNIX_START).as_secs_f64() + f64::from(ahead) / 48_000.0;
        Some((arrived - inner.start, Duration::from_secs_f64(since_start)))
    }

    /// Another network, for datagrams, from now on: towards the server, and from it.
    pub fn network(&self, up: Conditions, down: Conditions) -> Page {
        self.rewire(|seat, _| (seat.up.conditions, seat.down.conditions) = (up, down))
    }

    /// A layer of its camera stops or goes on, unannounced.
    pub fn let_flow(&self, layer: usize, flows: bool) -> Page {
        self.act(|client, _| client.let_flow(layer, flows))
    }

    /// A layer of its camera or content takes so many kilobits per second from now on, whatever was announced.
    pub fn takes(&self, layer: usize, kbps: u32) -> Page {
        self.act(|client, _| client.layer_takes(layer, kbps))
    }

    /// Its camera stops sending the largest size of its pictures, without a keyframe, as encoders do.
    pub fn gives_up_top(&self) -> Page {
        self.act(|client, _| client.give_up_top())
    }

    /// Its camera sends so many sizes of each picture, from a keyframe on.
    pub fn sends_sizes(&self, spatial: u8) -> Page {
        self.act(|client, _| client.send_sizes(spatial))
    }

    /// Its camera's encoders begin anew under new SSRCs.
    pub fn change_ssrcs(&self) -> Page {
        self.act(|client, _| client.change_ssrcs())
    }

    /// The same, under these: of each layer its own and its repairs'.
    pub fn change_ssrcs_to(&self, ssrcs: &[[u32; 2]]) -> Page {
        self.act(|client, _| client.change_ssrcs_to(ssrcs))
    }

    /// What it has seen of another page's camera or content.
    pub fn seen(&self, other: &Page) -> Seen {
        let other = other.id();
        self.client().seen(&other)
    }

    /// Whom it believes to be in the meeting, by name, shares with `#content`; sorted.
    pub fn roster(&self) -> Vec<String> {
        let client = self.client();
        let name = |(id, entry): (&String, &crate::RosterEntry)| {
            let content = if id.ends_with("#content") { "#content" } else { "" };
            format!("{}{content}", entry.external_user_id)
        };
        let mut names: Vec<_> = client.roster.iter().map(name).collect();
        names.sort();
        names
    }
}
