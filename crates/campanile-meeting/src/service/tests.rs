//! What one client can do to others by doing too much: as little as possible.

use std::net::{Ipv4Addr, SocketAddr};

use aws_lc_rs::hmac;
use campanile_media::forward::Forwarder;
use campanile_media::peer::sdp::{Direction, Offer, PlainSection, SectionKind, SimulcastRid, plain_offer};
use campanile_media::rtcp::RtcpItem;
use campanile_media::rtp;
use campanile_wire::api::{Capabilities, MeetingFeatures};
use campanile_wire::signaling::{
    Adaption, ClientDetails, DataMessage, Duplex, Join, MediaType, Sdp, StreamDescriptor, Subscribe,
};
use uuid::Uuid;

use super::*;
use crate::ids::AttendeeKey;

const MEETING: MeetingId = MeetingId(Uuid::from_u128(1));

/// Sessions are numbered as their attendees.
struct World {
    service: MediaService,
    now: Instant,
    frames: Vec<(u64, ServerFrame)>,
    closed: Vec<(u64, u16)>,
    datagrams: usize,
    nacks: usize,
}

impl World {
    fn new() -> World {
        let now = crate::test_start();
        let config = ServiceConfig {
            certificate: Certificate::generate().expect("the system has randomness"),
            candidates: Candidates { udp: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7000))), tcp: None },
            allow_plain: true,
            limits: Limits::default(),
        };
        let clock = WallClock { instant: now, unix: Duration::ZERO }; // ids of streams begin with 1
        let service = MediaService::new(config, clock, [1; 32]);
        World { service, now, frames: Vec::new(), closed: Vec::new(), datagrams: 0, nacks: 0 }
    }

    /// With `count` attendees who hear each other.
    fn with_attendees(count: u64) -> World {
        let mut world = World::new();
        for who in 1..=count {
            world.join(who, u128::from(who));
            let audio = PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv);
            world.subscribe(who, &plain_offer(address(who), &[audio]), 0);
        }
        world.pass(Duration::from_secs(1));
        world.forget();
        world
    }

    fn join(&mut self, session: u64, attendee: u128) {
        let admission = Admission {
            meeting: MEETING,
            primary: None,
            attendee: AttendeeKey { id: AttendeeId(Uuid::from_u128(attendee)), content: false },
            account: "123456789012".parse().expect("twelve digits"),
            external_user_id: "user".to_owned(),
            external_meeting_id: "meeting".to_owned(),
            media_region: "us-east-1".into(),
            capabilities: Capabilities::ALL,
            may_unmute: true,
            features: MeetingFeatures::default(),
        };
        self.service.connect(self.now, SessionId(session), admission);
        self.say_join(session);
    }

    fn say_join(&mut self, session: u64) {
        let join = Join {
            protocol_version: 2,
            flags: 0,
            client: ClientDetails::default(),
            audio_session_id: Some(session),
            wants_compressed_sdp: false,
            adaption: Adaption::Default,
            supported_adaptions: Vec::new(),
            wants_all_temporal_layers: false,
            disable_periodic_keyframes: false,
            max_videos: None,
        };
        self.frame(session, ClientFrame::Join(join));
    }

    fn subscribe(&mut self, who: u64, offer: &str, layers: usize) {
        let layer = StreamDescriptor {
            stream_id: 0,
            group_id: 0,
            framerate: 15,
            max_bitrate_kbps: 600,
            avg_bitrate_bps: 0,
            track_label: String::new(),
            attendee_id: String::new(),
            external_user_id: String::new(),
            media_type: MediaType::Video,
            width: 0,
            height: 0,
        };
        let subscribe = Subscribe {
            duplex: Duplex::Both,
            send_streams: vec![layer; layers],
            receive_stream_ids: vec![0, 1],
            sdp: Sdp::Plain(offer.to_owned()),
            audio_host: None,
            audio_muted: false,
            video_subscriptions: Vec::new(),
        };
        self.frame(who, ClientFrame::Subscribe(Box::new(subscribe)));
    }

    fn frame(&mut self, who: u64, frame: ClientFrame) {
        self.service.handle_frame(self.now, SessionId(who), frame);
        self.drain();
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.service.handle_datagram(self.now, from, &mut bytes.to_vec());
        self.service.handle_timeout(self.now); // as a turn of the worker ends
        self.drain();
    }

    /// Returns how often the service had something to do.
    fn pass(&mut self, span: Duration) -> usize {
        let until = self.now + span;
        let mut turns = 0;
        while let Some(due) = self.service.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.service.handle_timeout(due);
            self.drain();
            turns += 1;
        }
        self.now = until;
        turns
    }

    fn drain(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                Output::Event(_) => {}
                Output::Frame { session, frame } => self.frames.push((session.0, frame)),
                Output::Frames { sessions, frame } => {
                    self.frames.extend(sessions.iter().map(|session| (session.0, frame.clone())));
                }
                Output::Close { session, code, .. } => self.closed.push((session.0, code)),
                Output::Datagrams { segment_size, bytes, .. } => {
                    self.datagrams += bytes.len().div_ceil(segment_size);
                    let items = bytes.chunks(segment_size).flat_map(rtcp::parse).flatten();
                    self.nacks += items.filter(|item| matches!(item, RtcpItem::Nack { .. })).count();
                }
            }
        }
    }

    fn forget(&mut self) {
        self.frames.clear();
        self.datagrams = 0;
        self.nacks = 0;
    }

    fn frames_to(&self, who: u64) -> impl Iterator<Item = &ServerFrame> {
        self.frames.iter().filter(move |(to, _)| *to == who).map(|(_, frame)| frame)
    }

    /// The SSRC of stream 1, as the last answer says.
    fn ssrc_told(&self, who: u64) -> u32 {
        let told = self.frames_to(who).filter_map(|frame| match frame {
            ServerFrame::SubscribeAck(ack) => ack.tracks.first().map(|track| track.ssrc),
            _ => None,
        });
        told.last().expect("stream 1 is there to receive")
    }

    /// The forwarder of the one subscription.
    fn forwarder(&self) -> &Forwarder {
        let sources = self.service.meetings[&MEETING].sources.values();
        &sources.flat_map(|source| &source.subscribers).next().expect("somebody watches").forwarder
    }

    fn indexes_to(&self, who: u64) -> usize {
        self.frames_to(who).filter(|frame| matches!(frame, ServerFrame::Index(_))).count()
    }
}

fn address(who: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5000 + who as u16))
}

/// A camera in section 1, in two layers; and in section 2 whatever has stream id 1.
fn video_offer(who: u64) -> String {
    let audio = PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv);
    let [camera, watched] = video_sections();
    plain_offer(address(who), &[audio, camera, watched])
}

fn video_sections() -> [PlainSection; 2] {
    let mut camera = PlainSection::new(SectionKind::Video, "1", Direction::SendRecv);
    camera.rids = ["low", "hi"].map(|rid| SimulcastRid { rid: rid.to_owned(), paused: false }).into();
    [camera, PlainSection::new(SectionKind::Video, "2", Direction::RecvOnly)]
}

/// One packet of a VP8 keyframe in the low layer, its first.
fn keyframe(ssrc: u32, sequence: u16) -> Vec<u8> {
    vp8(ssrc, sequence, 0x10)
}

fn vp8(ssrc: u32, sequence: u16, descriptor: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    rtp::write_header(&mut packet, 96, true, sequence, 0, ssrc, &[(10, b"low")]);
    packet.extend_from_slice(&[descriptor, 0, 0, 0]);
    packet
}

#[test]
fn a_meeting_ticks_as_often_as_somebody_in_it_needs() {
    let second = Duration::from_secs(1);
    assert_eq!(World::with_attendees(2).pass(second), 50, "for 20 ms of sound each");

    let mut world = World::new();
    for who in [1, 2] {
        world.join(who, who.into());
        world.subscribe(who, &plain_offer(address(who), &video_sections()), 2 * usize::from(who == 1));
    }
    world.pass(second);
    assert!((16..=17).contains(&world.pass(second)), "for transport feedback alone");
    let pictures = (1..=30).map(|sequence| {
        world.datagram(address(1), &keyframe(9, sequence));
        world.pass(second / 30)
    });
    assert_eq!(pictures.sum::<usize>(), 0, "together with what is forwarded anyway");
    for sequence in [31, 32, 34] {
        world.datagram(address(1), &keyframe(9, sequence));
    }
    world.forget();
    world.pass(Duration::from_millis(36));
    assert_eq!(world.nacks, 1, "what is missing is asked for as soon as with sound");
}

#[test]
fn of_two_sections_that_send_one_is_the_camera_and_the_other_takes_its_place_when_that_ends() {
    let mut world = World::with_attendees(2);
    let audio = PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv);
    let [camera, _] = video_sections();
    let section = |mid: &str, direction| PlainSection { mid: mid.to_owned(), direction, ..camera.clone() };
    let offer = |[first, second]: [Direction; 2]| {
        plain_offer(address(1), &[audio.clone(), section("1", first), section("2", second)])
    };
    let (sends, rests) = (Direction::SendRecv, Direction::Inactive);
    let steps = [([sends, sends], 9), ([sends, rests], 9), ([rests, sends], 10), ([sends, sends], 11)];
    for ((directions, ssrc), sequence) in steps.into_iter().zip(1..) {
        world.forget();
        world.subscribe(1, &offer(directions), 2);
        let answers = world.frames_to(1).filter_map(|frame| match frame {
            ServerFrame::SubscribeAck(ack) => Some(ack.sdp.clone()),
            _ => None,
        });
        let [Sdp::Plain(answer)] = &answers.collect::<Vec<_>>()[..] else { panic!("one answer") };
        let answer = Offer::parse(answer).expect("an answer reads like an offer");
        let takes: Vec<_> = answer.sections[1..].iter().map(|section| section.direction != rests).collect();
        let expected = if directions[0] == sends { [true, false] } else { [false, true] };
        assert_eq!(takes, expected, "{directions:?}");
        let groups: Vec<_> = world.service.meetings[&MEETING].sources.keys().copied().collect();
        assert_eq!(groups, [1], "{directions:?}");
        world.subscribe(2, &video_offer(2), 0);
        world.forget();
        world.datagram(address(1), &keyframe(ssrc, sequence));
        assert_eq!(world.datagrams, 1, "it is seen: {directions:?}");
    }
}

#[test]
fn a_flood_of_mutings_reaches_others_at_a_bounded_rate_and_ends_right() {
    let mut world = World::with_attendees(2);
    for toggle in 0..1001 {
        world.frame(1, ClientFrame::AudioControl { muted: toggle % 2 == 0 });
    }
    assert!(world.frames_to(2).count() <= 10);
    world.pass(Duration::from_secs(1));
    let infos = world.frames_to(2).filter_map(|frame| match frame {
        ServerFrame::AudioStreamIdInfo(entries) => Some(entries),
        _ => None,
    });
    let last = infos.last().expect("the last muting is told");
    assert!(format!("{last:?}").contains("muted: true"), "{last:?}");
    assert_eq!(world.closed, []);
}

#[test]
fn wishes_by_the_hundred_have_bandwidth_shared_anew_now_and_then_only() {
    let mut world = World::with_attendees(3);
    let is_due = |world: &World| world.service.meetings[&MEETING].retarget_due;
    world.frame(1, ClientFrame::Pause { stream_ids: vec![1] });
    assert!(!is_due(&world), "the first at once");
    for _ in 0..100 {
        world.frame(1, ClientFrame::Resume { stream_ids: vec![1] });
        world.frame(2, ClientFrame::RemoteVideoUpdate { updated: Vec::new(), removed_mids: Vec::new() });
        assert!(is_due(&world), "the others wait together");
    }
    world.pass(Duration::from_millis(70));
    assert!(!is_due(&world), "and not for long");
}

#[test]
fn a_replay_to_a_newcomer_fits_its_mailbox() {
    let mut world = World::with_attendees(1);
    for _ in 0..1100 {
        let message = DataMessage { topic: "chat".to_owned(), data: vec![0; 2048], lifetime_ms: 300_000 };
        world.frame(1, ClientFrame::DataMessages(vec![message]));
        world.pass(Duration::from_millis(10));
    }
    world.join(2, 2);
    let replayed = world.frames_to(2).filter_map(|frame| match frame {
        ServerFrame::DataMessages(messages) => Some(messages.len()),
        _ => None,
    });
    assert_eq!(replayed.sum::<usize>(), 1024);
    assert!(world.frames_to(2).count() < 64);
}

#[test]
fn joining_again_and_again_ends_only_the_one_who_does() {
    let mut world = World::with_attendees(2);
    for _ in 0..20 {
        world.say_join(1);
    }
    assert!(world.indexes_to(2) <= 2, "{}", world.indexes_to(2));
    assert!(world.closed.iter().all(|(who, _)| *who == 1) && !world.closed.is_empty());
}

#[test]
fn a_publisher_who_changes_ssrc_with_each_packet_sets_off_few_indexes() {
    let mut world = World::with_attendees(2);
    world.subscribe(1, &video_offer(1), 2);
    world.forget();
    for sequence in 0..500 {
        world.datagram(address(1), &keyframe(u32::from(sequence % 2), sequence));
        world.pass(Duration::from_millis(2));
    }
    assert!(world.indexes_to(2) <= 11, "{}", world.indexes_to(2));
}

#[test]
fn a_camera_restarted_many_times_is_still_seen() {
    let mut world = World::with_attendees(2);
    world.subscribe(1, &video_offer(1), 2);
    world.subscribe(2, &video_offer(2), 0);
    for restart in 0..50 {
        world.forget();
        world.datagram(address(1), &keyframe(restart, 7));
        assert_eq!(world.datagrams, 1, "restart {restart}");
    }
    // But not as often as it likes: each costs everybody who watches.
    world.forget();
    for restart in 50..1050 {
        world.datagram(address(1), &keyframe(restart, 7));
    }
    assert!(world.datagrams < 60, "{}", world.datagrams);
    world.pass(Duration::from_secs(1));
    world.forget();
    world.datagram(address(1), &keyframe(9000, 7));
    assert_eq!(world.datagrams, 1, "after a second it is seen again");
}

#[test]
fn what_overtakes_the_first_packet_of_a_keyframe_follows_it() {
    let mut world = World::with_attendees(2);
    world.subscribe(1, &video_offer(1), 2);
    world.subscribe(2, &video_offer(2), 0);
    world.forget();
    for sequence in [10, 8, 9] {
        world.datagram(address(1), &vp8(9, sequence, 0));
    }
    assert_eq!(world.datagrams, 0, "nobody can begin with these");
    world.datagram(address(1), &keyframe(9, 7));
    assert_eq!(world.datagrams, 4);
    world.datagram(address(1), &vp8(9, 11, 0));
    assert_eq!(world.datagrams, 5);
    // A publisher that begins anew again and again does not have all of it sent again and again.
    world.forget();
    for ssrc in 10..20 {
        world.datagram(address(1), &vp8(ssrc, 8, 0));
        world.datagram(address(1), &keyframe(ssrc, 7));
    }
    assert_eq!(world.datagrams, 10);
}

#[test]
fn repairs_have_a_budget() {
    let mut world = World::with_attendees(2);
    world.subscribe(1, &video_offer(1), 2);
    world.subscribe(2, &video_offer(2), 0);
    let ssrc = world.ssrc_told(2);
    for sequence in 0..20 {
        world.datagram(address(1), &keyframe(9, sequence));
    }
    let first = (0..=u16::MAX).find(|seq| world.forwarder().find(*seq).is_some()).expect("video flows");
    world.forget();
    let mut nacks = Vec::new();
    for _ in 0..60 {
        rtcp::nack(&mut nacks, 1, ssrc, first..first + 17);
    }
    for _ in 0..100 {
        world.datagram(address(2), &nacks);
    }
    assert!((100..=500).contains(&world.datagrams), "{} repairs", world.datagrams);
}

#[test]
fn a_section_of_another_connection_is_another_whatever_its_name() {
    let mut world = World::with_attendees(1);
    world.subscribe(1, &video_offer(1), 2);
    world.join(2, 2);
    let offer = include_str!("../../../campanile-media/testdata/sdp/offer-duplex-one-remote.sdp");
    let ssrcs = ["BBuQ", "BBuQ", "another"].map(|ufrag| {
        world.subscribe(2, &offer.replace("BBuQ", ufrag), 0);
        let told = world.ssrc_told(2);
        assert_eq!(
            world.forwarder().ssrc,
            told,
            "what is sent is reported, and repaired, under what was told"
        );
        told
    });
    assert_eq!(ssrcs[0], ssrcs[1]);
    assert_ne!(ssrcs[0], ssrcs[2]);
}

#[test]
fn an_attendee_has_few_connections_at_once() {
    let mut world = World::with_attendees(2);
    for session in 10..40 {
        world.join(session, 1);
    }
    let (_, sessions) = world.service.population();
    assert_eq!(sessions, 32, "sockets close in their own time");
    let meeting = world.service.meetings.get(&MEETING).expect("it lives");
    assert_eq!(meeting.sessions.len(), 8 + 1);
    assert!(world.closed.iter().all(|(who, _)| *who != 2 && *who != 39), "{:?}", world.closed);
}

/// A binding request of this user, made authentic with `pwd`.
fn check(username: &str, pwd: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    message.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    message.extend_from_slice(username.as_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    message.extend_from_slice(&[0, 0x24, 0, 4, 0x6E, 0, 0x1E, 0xFF]); // PRIORITY
    message[3] = (message.len() + 24 - 20) as u8;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend_from_slice(&[0, 8, 0, 20]);
    message.extend_from_slice(tag.as_ref());
    message
}

#[test]
fn a_check_from_a_spoofed_address_does_not_carry_it_off() {
    let mut world = World::new();
    let offer = include_str!("../../../campanile-media/testdata/sdp/offer-audio-only.sdp");
    let remote_ufrag = offer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("it has one");
    for who in [1, 2] {
        world.join(who, u128::from(who));
        world.subscribe(who, offer, 0);
    }
    let check_of = |world: &World, who: u64| {
        let ack = world.frames_to(who).find_map(|frame| match frame {
            ServerFrame::SubscribeAck(ack) => Some(ack),
            _ => None,
        });
        let Some(Sdp::Plain(answer)) = ack.map(|ack| &ack.sdp) else { panic!("no answer") };
        let value = |name| answer.lines().find_map(|line| line.strip_prefix(name)).expect("ICE is offered");
        check(&format!("{}:{remote_ufrag}", value("a=ice-ufrag:")), value("a=ice-pwd:"))
    };
    let owner =
        |world: &World| world.service.directory.by_address.get(&address(1).into()).map(|p| p.session.0);
    let (victim, attacker) = (check_of(&world, 1), check_of(&world, 2));
    world.datagram(address(1), &victim);
    assert_eq!(owner(&world), Some(1));
    for _ in 0..10 {
        world.pass(Duration::from_millis(2500));
        world.datagram(address(1), &attacker);
        assert_eq!(owner(&world), Some(1));
        world.datagram(address(1), &victim);
    }
    world.pass(ADDRESS_QUIET);
    world.datagram(address(1), &attacker);
    assert_eq!(owner(&world), Some(2), "nobody has been there for long");
}
