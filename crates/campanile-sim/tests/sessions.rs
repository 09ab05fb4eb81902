//! Coming, going, coming back, being sent away; and those who do not play by the rules.

use campanile_sim::{Camera, Conditions, Ending, Page, Seed, State, Watch, World, millis, secs};
use campanile_wire::signaling::{AudioStatus, AudioStreamIdInfo, ClientFrame, ServerFrame};

/// What `page` was told about `other` coming and going: true for here, and whether it was dropped.
fn told(page: &Page, other: &Page) -> Vec<(bool, bool)> {
    let id = other.id();
    page.client().presence.iter().filter(|p| p.attendee == id).map(|p| (p.here, p.dropped)).collect()
}

fn count(page: &Page, is: impl Fn(&ServerFrame) -> bool) -> usize {
    page.client().frames.iter().filter(|(_, frame)| is(frame)).count()
}

fn two(seed: u64) -> (World, Page, Page) {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob").publish(Camera::small());
    world.run_for(secs(3));
    (world, ann, bob)
}

#[test]
fn whoever_leaves_is_acknowledged_at_once_and_gone() {
    let (world, ann, bob) = two(1);
    ann.leave();
    world.run_for(millis(100));
    assert_eq!((ann.client().state, ann.client().ending), (State::Over, Some(Ending::Left)));
    assert_eq!(told(&bob, &ann), [(true, false), (false, false)]);
    assert!(bob.client().index.sources.is_empty());
    assert_eq!(bob.client().index.num_participants, 1);
}

#[test]
fn leave_is_acknowledged_in_every_phase() {
    let leave_acks = |page: &Page| count(page, |frame| *frame == ServerFrame::LeaveAck);
    let world = World::new(Seed(2));
    let early = world.join("early").joins_by_hand();
    world.run_for(secs(1));
    early.leave();
    world.run_for(secs(1));
    assert_eq!(leave_acks(&early), 1, "before JOIN");
    let ended = world.join("ended");
    world.run_for(secs(1));
    world.end_meeting();
    world.run_for(secs(1));
    assert_eq!(leave_acks(&ended), 1, "after the end");
    assert_eq!(ended.client().state, State::Over);
}

#[test]
fn a_page_that_reconnects_is_not_seen_to_leave() {
    let (world, ann, bob) = two(3);
    let before = bob.client().roster[&ann.id()].audio_stream_id;
    let groups = |page: &Page| page.client().index.sources.iter().map(|s| s.group_id).max();
    let group_before = groups(&bob);
    ann.cut();
    world.run_for(secs(4));
    assert_eq!(ann.client().reconnects, 1);
    assert_eq!(told(&bob, &ann), [(true, false)]);
    assert_eq!(told(&ann, &bob), [(true, false)]);
    assert!(bob.client().roster[&ann.id()].audio_stream_id > before);
    assert!(groups(&bob) > group_before);
    let frames = (bob.seen(&ann).frames, ann.seen(&bob).frames);
    world.run_for(secs(2));
    assert!(bob.seen(&ann).frames > frames.0 + 10 && ann.seen(&bob).frames > frames.1 + 10);
    assert_eq!(ann.client().index.num_participants, 2);
}

#[test]
fn a_page_whose_old_socket_is_still_open_takes_its_own_place() {
    let (world, ann, bob) = two(4);
    for _ in 0..5 {
        ann.cut_unnoticed();
        world.run_for(secs(3));
    }
    assert_eq!(ann.client().reconnects, 5);
    assert_eq!(ann.client().ending, None);
    assert_eq!(told(&bob, &ann), [(true, false)]);
    assert_eq!(bob.roster(), ["ann", "bob"]);
    world.run_for(secs(60));
    assert_eq!(world.population(), (1, 2), "the old sockets are closed");
    assert!(ann.client().is_in() && bob.client().is_in());
}

#[test]
fn another_device_takes_over_and_the_old_one_is_told() {
    let (world, ann, bob) = two(5);
    let tablet = world.join_again(&ann);
    world.run_for(secs(2));
    assert_eq!(ann.client().ending, Some(Ending::Status(AudioStatus::JoinedFromAnotherDevice)));
    assert_eq!(ann.client().state, State::Over);
    assert!(tablet.client().is_in());
    assert_eq!(told(&bob, &ann), [(true, false)], "it is the same attendee");
    assert_eq!(bob.roster(), ["ann", "bob"]);
    assert_eq!(tablet.roster(), ["ann", "bob"]);
    world.run_for(secs(30));
    assert_eq!(world.population(), (1, 2));
}

#[test]
fn a_device_without_a_microphone_is_not_muted_as_the_one_before_it_was() {
    let world = World::new(Seed(9));
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(3));
    ann.mute(true);
    world.run_for(secs(1));
    assert!(bob.client().roster[&ann.id()].muted);
    let screen = world.join_again(&ann).without_audio();
    world.run_for(secs(3));
    assert!(screen.client().is_in() && !screen.client().is_muted());
    assert!(!bob.client().roster[&ann.id()].muted);
    screen.cut();
    world.run_for(secs(5));
    assert!(screen.client().is_in() && !bob.client().roster[&ann.id()].muted);
}

#[test]
fn what_the_old_device_shares_ends_with_it_and_the_new_one_may_share() {
    let (world, ann, bob) = two(24);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
    let tablet = world.join_again(&ann);
    world.run_for(secs(2));
    assert_eq!(share.client().ending, Some(Ending::Status(AudioStatus::JoinedFromAnotherDevice)));
    assert_eq!(bob.roster(), ["ann", "bob"]);
    let again = world.share(&tablet, Camera::small());
    world.run_for(secs(2));
    assert!(again.client().is_in());
    // A page that only comes back keeps its share.
    tablet.cut();
    world.run_for(secs(4));
    assert!(again.client().is_in() && tablet.client().is_in());
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
}

#[test]
fn a_lost_connection_keeps_its_place_for_a_while_then_it_has_dropped() {
    let (world, ann, bob) = two(6);
    ann.stays_away().cut();
    world.run_for(secs(8));
    assert_eq!(told(&bob, &ann), [(true, false)]);
    world.run_for(secs(4));
    assert_eq!(told(&bob, &ann), [(true, false), (false, true)]);
    assert!(bob.client().index.sources.is_empty());
}

#[test]
fn who_vanishes_without_a_word_has_dropped_within_a_minute() {
    let (world, ann, bob) = two(7);
    ann.vanish();
    world.run_for(secs(40));
    assert_eq!(told(&bob, &ann), [(true, false)]);
    world.run_for(secs(22));
    assert_eq!(told(&bob, &ann), [(true, false), (false, true)]);
    assert_eq!(world.population(), (1, 1));
}

#[test]
fn a_short_outage_is_a_freeze_and_nothing_else() {
    let (world, ann, bob) = two(8);
    ann.black_out(secs(5));
    world.run_for(secs(10));
    assert_eq!((ann.client().reconnects, told(&bob, &ann)), (0, vec![(true, false)]));
    let frames = bob.seen(&ann).frames;
    world.run_for(secs(2));
    assert!(bob.seen(&ann).frames > frames + 15);
    assert_eq!(bob.seen(&ann).corrupt + ann.seen(&bob).corrupt, 0);
}

#[test]
fn whoever_is_removed_is_out_with_411_and_their_share_too() {
    let (world, ann, bob) = two(9);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
    world.remove_attendee(&ann);
    world.run_for(secs(1));
    for page in [&ann, &share] {
        assert_eq!(page.client().ending, Some(Ending::Status(AudioStatus::AttendeeRemoved)));
        assert_eq!(page.client().state, State::Over);
    }
    assert_eq!(bob.roster(), ["bob"]);
    assert!(bob.client().is_in());
    let again = world.join_again(&ann);
    world.run_for(secs(1));
    assert_eq!(again.client().ending, Some(Ending::Closed(4403)));
}

#[test]
fn a_share_ends_with_its_sharer() {
    let (world, ann, bob) = two(10);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    ann.leave();
    world.run_for(secs(1));
    assert_eq!(share.client().state, State::Over);
    assert_eq!(bob.roster(), ["bob"]);
}

#[test]
fn the_end_is_told_to_all_with_410_and_nobody_gets_in_again() {
    let (world, ann, bob) = two(11);
    let share = world.share(&ann, Camera::small());
    let early = world.join("early").joins_by_hand();
    world.run_for(secs(2));
    world.end_meeting();
    world.run_for(secs(1));
    for page in [&ann, &bob, &share] {
        assert_eq!(page.client().ending, Some(Ending::Status(AudioStatus::MeetingEnded)));
        assert_eq!(page.client().state, State::Over);
    }
    assert_eq!(early.client().ending, Some(Ending::Closed(4410)));
    let late = world.join("late");
    world.run_for(secs(1));
    assert_eq!(late.client().ending, Some(Ending::Closed(4410)));
    world.run_for(secs(30));
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
}

#[test]
fn the_first_roster_after_coming_back_is_whole() {
    let (world, ann, bob) = two(12);
    let cid = world.join("cid");
    world.run_for(secs(1));
    ann.cut();
    bob.cut(); // away at the same time, and still in the meeting
    world.run_for(secs(5));
    for page in [&ann, &bob, &cid] {
        assert_eq!(page.roster(), ["ann", "bob", "cid"]);
        assert!(page.client().presence.iter().all(|p| p.here), "{:?}", page.client().presence);
    }
}

#[test]
fn a_data_message_is_replayed_to_who_comes_back() {
    let (world, ann, bob) = two(13);
    ann.cut_unnoticed();
    bob.sends("chat", "while away", secs(60));
    world.run_for(secs(3));
    let client = ann.client();
    assert_eq!(client.messages.len(), 1);
    assert!(client.messages[0].ingest_time_ns > 0);
}

#[test]
fn a_socket_that_never_joins_may_wait_but_not_for_ever() {
    let world = World::new(Seed(14));
    let ann = world.join("ann").joins_by_hand().stays_away();
    let bob = world.join("bob");
    world.run_for(secs(100));
    assert!(ann.client().closes.is_empty());
    assert_eq!(bob.roster(), ["bob"]);
    world.run_for(secs(25));
    assert_eq!(ann.client().closes.iter().map(|c| c.1).collect::<Vec<_>>(), [4500]);
    assert_eq!(world.population(), (1, 1));
}

#[test]
fn a_socket_opened_early_joins_when_it_likes() {
    let world = World::new(Seed(15));
    let ann = world.join("ann").joins_by_hand();
    world.run_for(secs(60));
    ann.joins();
    world.run_for(secs(1));
    assert_eq!(ann.client().state, State::Started);
    assert_eq!(ann.roster(), ["ann"]);
}

#[test]
fn malformed_messages_end_only_their_own_session() {
    let messages: [(&str, Vec<u8>); 6] = [
        ("no bytes", vec![]),
        ("text", b"hello".to_vec()),
        ("not protobuf", vec![5, 0xff, 0xff, 0xff]),
        ("a type without its part", vec![5, 8, 1, 16, 3]),
        ("2 MiB", vec![5; 2 << 20]),
        (
            "a topic that no client sends",
            ClientFrame::DataMessages(vec![campanile_wire::signaling::DataMessage {
                topic: "aws:chime:transcription".to_owned(),
                data: vec![1],
                lifetime_ms: 0,
            }])
            .encode(1),
        ),
    ];
    for (what, bytes) in messages {
        let (world, ann, bob) = two(16);
        ann.say_bytes(bytes);
        world.run_for(secs(2));
        assert_eq!(ann.client().ending, Some(Ending::Error(400)), "{what}");
        assert_eq!(ann.client().state, State::Over, "{what}");
        assert_eq!(ann.client().closes.iter().map(|c| c.1).collect::<Vec<_>>(), [4400], "{what}");
        assert!(bob.client().is_in() && !bob.client().zombie, "{what}");
        assert_eq!(bob.roster(), ["bob"], "{what}: it was sent away, so it is not waited for");
    }
}

#[test]
fn a_subscribe_before_join_or_with_a_broken_offer_is_an_error() {
    let (world, ann, _bob) = two(17);
    let broken = campanile_wire::signaling::Subscribe {
        duplex: campanile_wire::signaling::Duplex::Receive,
        send_streams: Vec::new(),
        receive_stream_ids: Vec::new(),
        sdp: campanile_wire::signaling::Sdp::Plain("v=0\r\nm=nonsense".to_owned()),
        audio_host: None,
        audio_muted: false,
        video_subscriptions: Vec::new(),
    };
    let early = world.join("early").joins_by_hand();
    world.run_for(millis(100));
    for page in [&ann, &early] {
        page.say(ClientFrame::Subscribe(Box::new(broken.clone())));
        world.run_for(secs(1));
        assert_eq!(page.client().ending, Some(Ending::Error(400)));
        assert_eq!(page.client().state, State::Over);
    }
}

#[test]
fn a_flood_ends_only_its_own_session_with_a_code_to_come_back_on() {
    let (world, ann, bob) = two(18);
    for id in 0..3000 {
        ann.say(ClientFrame::Ping { id });
    }
    ann.stays_away();
    world.run_for(secs(1));
    assert_eq!(ann.client().closes.iter().map(|c| c.1).collect::<Vec<_>>(), [4508]);
    world.run_for(secs(12));
    assert_eq!(bob.roster(), ["bob"]);
    assert!(bob.client().is_in());
}

#[test]
fn wild_datagrams_change_nothing() {
    let (world, ann, bob) = two(19);
    for first in 0..=255 {
        world.send_from_nowhere(&[first; 40]);
        ann.send_datagram(vec![first; 40]);
        ann.send_datagram(vec![first]);
    }
    let frames = bob.seen(&ann).frames;
    world.run_for(secs(3));
    assert!(bob.seen(&ann).frames > frames + 20);
    assert!(ann.client().is_in() && bob.client().is_in());
}

#[test]
fn an_attendee_without_audio_takes_part() {
    let world = World::new(Seed(20));
    let ann = world.join("ann").without_audio().publish(Camera::small());
    let bob = world.join("bob").publish(Camera::small());
    world.run_for(secs(3));
    assert_eq!(bob.roster(), ["ann", "bob"]);
    assert!(bob.seen(&ann).frames > 15 && ann.seen(&bob).frames > 15);
    assert_eq!(ann.client().audio_packets, 0);
}

#[test]
fn everybody_can_be_cut_at_once_and_comes_back() {
    let world = World::new(Seed(21)).network(Conditions::MOBILE);
    let pages: Vec<_> = (0..6).map(|at| world.join(&format!("p{at}")).publish(Camera::small())).collect();
    world.run_for(secs(3));
    for page in &pages {
        page.cut();
    }
    world.run_for(secs(6));
    for page in &pages {
        assert_eq!(page.roster().len(), 6);
        assert!(page.client().presence.iter().all(|p| p.here));
        assert_eq!(page.client().subscriptions().len(), 5);
    }
}

#[test]
fn ids_go_on_rising_after_a_moment_in_which_nobody_was_there() {
    let world = World::new(Seed(22));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob").watch(Watch::Nothing);
    world.run_for(secs(2));
    let ids = |page: &Page| -> (Option<u32>, Option<u32>) {
        let client = page.client();
        let groups = client.index.sources.iter().map(|s| s.group_id).max();
        (groups, client.roster.values().map(|entry| entry.audio_stream_id).max())
    };
    let before = ids(&bob);
    // Away for longer than their places are kept, and back within the two minutes that clients try.
    ann.black_out(secs(75));
    bob.black_out(secs(75));
    world.run_for(secs(100));
    assert!(ann.client().reconnects > 0 && bob.client().reconnects > 0);
    let after = ids(&bob);
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    assert_eq!(bob.roster(), ["ann", "bob"]);
}

#[test]
fn the_roster_never_names_anybody_twice() {
    let (world, ann, bob) = two(23);
    for _ in 0..4 {
        ann.cut();
        world.run_for(secs(3));
    }
    let entries = bob.client().frames.iter().fold(Vec::new(), |mut here: Vec<u32>, (_, frame)| {
        if let ServerFrame::AudioStreamIdInfo(entries) = frame {
            for entry in entries {
                match entry {
                    AudioStreamIdInfo::Present { audio_stream_id, .. } => here.push(*audio_stream_id),
                    AudioStreamIdInfo::Left { audio_stream_id, .. } => {
                        here.retain(|id| id != audio_stream_id)
                    }
                    AudioStreamIdInfo::Mute { .. } => {}
                }
            }
        }
        here
    });
    assert_eq!(entries.len(), 2);
}
