//! What one attendee sets off at the others: however often it changes something, they are told a bounded number of times,
//! and in the end how it is. And many who come at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use campanile_media::peer::sdp::{Direction, PlainSection, SectionKind, plain_offer};
use campanile_sim::{Camera, Page, Seed, State, World, millis, secs};
use campanile_wire::signaling::{
    AudioStreamIdInfo, ClientFrame, Duplex, MediaType, Sdp, ServerFrame, StreamDescriptor, Subscribe,
};

/// A toggle so often is 100 a second.
const TURN: Duration = millis(10);

fn count(page: &Page, is: impl Fn(&ServerFrame) -> bool) -> usize {
    page.client().frames.iter().filter(|(_, frame)| is(frame)).count()
}

fn is_index(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Index(_))
}

fn is_mute(frame: &ServerFrame) -> bool {
    let of_mute = |entry: &AudioStreamIdInfo| matches!(entry, AudioStreamIdInfo::Mute { .. });
    matches!(frame, ServerFrame::AudioStreamIdInfo(entries) if entries.iter().any(of_mute))
}

/// Ann, who does too much of something, and bob, who is told.
fn two(seed: u64) -> (World, Page, Page) {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").says(400);
    let bob = world.join("bob").publish(Camera::small());
    world.run_for(secs(3));
    (world, ann, bob)
}

#[test]
fn two_hundred_mutings_in_two_seconds_are_told_a_few_dozen_times_and_the_last_one_is() {
    let (world, ann, bob) = two(1);
    for muted in [true, false].into_iter().cycle().take(199) {
        ann.mute(muted);
        world.run_for(TURN);
    }
    world.run_for(secs(1));
    // Ten at once, five a second, and as many with the levels.
    let told = count(&bob, is_mute);
    assert!((10..=40).contains(&told), "{told}");
    assert!(bob.client().roster[&ann.id()].muted && ann.client().is_muted(), "odd: muted in the end");
}

#[test]
fn cameras_that_come_and_go_are_told_ten_times_a_second_at_most() {
    let (world, ann, bob) = two(2);
    let before = count(&bob, is_index);
    for on in [true, false].into_iter().cycle().take(60) {
        if on {
            ann.publish(Camera::small())
        } else {
            ann.unpublish()
        };
        world.run_for(millis(30));
    }
    ann.publish(Camera::small());
    world.run_for(secs(1));
    let told = count(&bob, is_index) - before;
    // 2.8 s, and whatever was due when they began.
    assert!((5..=30).contains(&told), "{told}");
    assert_eq!(bob.client().index.sources.len(), 1, "on in the end");
    assert!(ann.client().is_in() && bob.client().is_in());
}

/// A SUBSCRIBE that publishes a camera, or does not.
fn subscribe(publishes: bool) -> ClientFrame {
    let address = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 9));
    let direction = if publishes { Direction::SendRecv } else { Direction::Inactive };
    let camera = StreamDescriptor {
        stream_id: 2,
        group_id: 2,
        framerate: 15,
        max_bitrate_kbps: 600,
        avg_bitrate_bps: 400_000,
        track_label: String::new(),
        attendee_id: String::new(),
        external_user_id: String::new(),
        media_type: MediaType::Video,
        width: 0,
        height: 0,
    };
    let sections = [PlainSection::new(SectionKind::Video, "1", direction)];
    ClientFrame::Subscribe(Box::new(Subscribe {
        duplex: Duplex::Both,
        send_streams: if publishes { vec![camera] } else { Vec::new() },
        receive_stream_ids: vec![0],
        sdp: Sdp::Plain(plain_offer(address, &sections)),
        audio_host: None,
        audio_muted: false,
        video_subscriptions: Vec::new(),
    }))
}

#[test]
fn fifty_subscribes_at_once_are_two_indexes_for_others_at_most_and_a_hundred_end_their_sender() {
    let (world, ann, bob) = two(3);
    let before = count(&bob, is_index);
    for publishes in [true, false].into_iter().cycle().take(50) {
        ann.say(subscribe(publishes));
    }
    world.run_for(millis(90));
    let told = count(&bob, is_index) - before;
    assert!(told <= 2, "{told}");
    assert_eq!(ann.client().closes, []);
    for _ in 0..50 {
        ann.say(subscribe(false));
    }
    world.run_for(secs(1));
    assert_eq!(ann.client().closes.first().map(|close| close.1), Some(4508));
    assert!(bob.client().is_in() && bob.client().closes.is_empty());
}

#[test]
fn messages_beyond_the_hard_limit_end_their_sender_and_reach_nobody() {
    let (world, ann, bob) = two(7);
    for _ in 0..2_100 {
        ann.sends("chat", "x", secs(60));
    }
    ann.stays_away();
    world.run_for(secs(1));
    assert_eq!(ann.client().closes.iter().map(|close| close.1).collect::<Vec<_>>(), [4508]);
    assert_eq!(bob.client().messages.len(), 200, "as many as the meeting takes at once");
    assert!(bob.client().closes.is_empty(), "what comes back fills the sender's own queue");
}

#[test]
fn pauses_by_the_thousand_are_told_to_nobody_and_ask_for_few_keyframes() {
    let (world, ann, bob) = two(4);
    let stream_ids: Vec<u32> = ann.client().index.sources.iter().map(|source| source.stream_id).collect();
    assert_eq!(stream_ids.len(), 1, "she watches bob");
    let told = || (bob.client().frames.len(), bob.client().plis_received());
    let (frames, plis) = told();
    for pause in [true, false].into_iter().cycle().take(1_000) {
        let stream_ids = stream_ids.clone();
        ann.say(if pause { ClientFrame::Pause { stream_ids } } else { ClientFrame::Resume { stream_ids } });
    }
    world.run_for(secs(1));
    assert_eq!(told().0, frames, "not a frame");
    assert!(told().1 - plis <= 4, "{} keyframes", told().1 - plis);
    let seen = ann.seen(&bob).frames;
    world.run_for(secs(2));
    assert!(ann.seen(&bob).frames > seen + 10, "resumed in the end");
}

/// A newcomer's requests for keyframes are answered from the past, which is the dearest answer there is: so it is given
/// twice for each keyframe, and on top of that within the limit of all repairs.
#[test]
fn requests_for_keyframes_by_the_thousand_cost_two_replays_and_few_keyframes() {
    for feedback in [true, false] {
        let world = World::new(Seed(8));
        let ann = world.join("ann").publish(Camera::hd());
        world.run_for(secs(2));
        let bob = world.join("bob");
        assert!(world.run_until(secs(2), || bob.seen(&ann).frames > 0));
        world.run_for(millis(300));
        let cid = world.join("cid").watches_at_once().gives_feedback(feedback);
        assert!(world.run_until(secs(1), || cid.seen(&ann).frames > 0));
        let counts = || (cid.seen(&ann).packets, bob.seen(&ann).packets, ann.client().plis_received());
        let before = counts();
        for _ in 0..100 {
            cid.begs(50);
            world.run_for(TURN);
        }
        let after = counts();
        let (theirs, others, plis) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        assert!(others > 80, "{others} packets of a second");
        // What everybody gets, and of the keyframes asked for meanwhile two replays each.
        assert!(plis <= 3, "{plis} requests to the publisher");
        let replayed = theirs.saturating_sub(others);
        assert!(replayed <= 400, "{replayed} packets again");
        world.run_for(secs(3));
        assert!(cid.client().is_in() && cid.seen(&ann).corrupt == 0, "{:?}", cid.seen(&ann));
        assert!(bob.seen(&ann).longest_gap < millis(200));
    }
}

#[test]
fn fifty_a_second_come_into_one_meeting_and_each_is_served_in_turn() {
    const COMERS: usize = 150;
    let world = World::new(Seed(5));
    let ann = world.join("ann").says(400);
    world.run_for(secs(2));
    let before = count(&ann, is_index);
    let began = world.now();
    let mut comers = Vec::new();
    for at in 0..COMERS {
        comers.push(world.join(&format!("comer {at:03}")));
        world.run_for(millis(20));
    }
    let took = world.now() - began;
    world.run_for(secs(2));
    let told = count(&ann, is_index) - before;
    assert!(told <= took.as_millis() as usize / 100 + 2, "{told} indexes in {took:?}");
    let mut last = 0;
    for comer in &comers {
        let client = comer.client();
        assert_eq!((client.state, client.reconnects, client.roster.len()), (State::Started, 0, COMERS + 1));
        let own = client.roster[&comer.id()].audio_stream_id;
        assert!(own > last, "in the order in which they came");
        last = own;
        let kind = |at: usize| std::mem::discriminant(&client.frames[at].1);
        let wanted = [ServerFrame::JoinAck(Default::default()), ServerFrame::Index(Default::default())];
        let first: Vec<_> = (0..client.frames.len())
            .map(kind)
            .filter(|kind| wanted.iter().any(|w| std::mem::discriminant(w) == *kind))
            .collect();
        assert_eq!(first[..2], wanted.each_ref().map(std::mem::discriminant));
        assert!(client.audio_packets > 50, "and hears");
    }
    assert_eq!(ann.client().presence.iter().filter(|presence| presence.here).count(), COMERS + 1);
    assert!(world.most_frames_waiting() < 512, "no mailbox is near its end: {}", world.most_frames_waiting());
}

#[test]
fn bad_43_after_days_without_anybody_the_next_one_gets_in_at_once() {
    let (world, ann, bob) = two(6);
    ann.leave();
    bob.leave();
    for _ in 0..7 {
        world.run_for(secs(24 * 60 * 60));
        assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
    }
    let (cat, dan) = (world.join("cat").says(700), world.join("dan").listens());
    world.run_for(secs(2));
    assert_eq!([cat.roster(), dan.roster()], [["cat", "dan"], ["cat", "dan"]]);
    assert!(dan.client().hears_db(700) > -30.0);
}
