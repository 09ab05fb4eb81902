//! Plausible mistakes that silently break the unmodified client (signaling specification, section 12), one by one. What
//! is not told here is told by the browsers or beside the code; `docs/traps.md` says where.

use campanile_meeting::service::Limits;
use campanile_sim::{Camera, Conditions, Ending, Page, Seed, State, Watch, World, millis, secs};
use campanile_wire::signaling::{AudioStatus, AudioStreamIdInfo, ClientFrame, MediaType, ServerFrame};

fn two(seed: u64) -> (World, Page, Page) {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").publish(Camera::hd());
    let bob = world.join("bob").publish(Camera::simulcast());
    world.run_for(secs(3));
    (world, ann, bob)
}

fn frames(page: &Page) -> Vec<ServerFrame> {
    page.client().frames.iter().map(|(_, frame)| frame.clone()).collect()
}

fn last_answer(page: &Page) -> String {
    page.client().answers.last().expect("an answer").clone()
}

#[test]
fn trap_01_a_leave_is_a_leave_to_everybody() {
    let (world, ann, bob) = two(1);
    ann.leave();
    world.run_for(secs(1));
    let left = |frame: &ServerFrame| match frame {
        ServerFrame::AudioStreamIdInfo(entries) => {
            entries.iter().any(|entry| matches!(entry, AudioStreamIdInfo::Left { dropped: false, .. }))
        }
        _ => false,
    };
    assert!(frames(&bob).iter().any(left));
    assert_eq!(bob.roster(), ["bob"]);
}

#[test]
fn trap_05_whoever_is_in_is_never_closed_without_a_word_or_a_code_to_come_back_on() {
    let (world, ann, bob) = two(5);
    let cid = world.join("cid");
    let tablet = world.join_again(&cid);
    world.run_for(secs(1));
    ann.cut_unnoticed();
    world.remove_attendee(&bob);
    world.run_for(secs(60));
    world.end_meeting();
    world.run_for(secs(30));
    for page in [&ann, &bob, &cid, &tablet] {
        assert!(!page.client().zombie && page.client().state == State::Over);
    }
}

#[test]
fn trap_12_a_subscribe_that_changes_nothing_for_others_makes_no_index() {
    let (world, ann, bob) = two(12);
    world.run_for(secs(3));
    let told = || frames(&bob).iter().filter(|frame| matches!(frame, ServerFrame::Index(_))).count();
    let (before, subscribed) = (told(), ann.client().subscribes);
    for watch in [Watch::Nothing, Watch::Highest, Watch::Nothing] {
        ann.watch(watch);
        world.run_for(secs(1));
    }
    assert!(ann.client().subscribes >= subscribed + 3, "her camera is on, and she has said so again");
    assert_eq!(told(), before);
}

#[test]
fn trap_06_whoever_is_joining_is_closed_only_with_what_they_understand() {
    let world = World::new(Seed(6));
    let pages = [world.join("ann").joins_by_hand(), world.join("bob").joins_by_hand()];
    world.run_for(secs(1));
    world.remove_attendee(&pages[0]);
    world.run_for(secs(1));
    world.end_meeting();
    world.run_for(secs(1));
    assert_eq!(pages[0].client().ending, Some(Ending::Closed(4403)));
    assert_eq!(pages[1].client().ending, Some(Ending::Closed(4410)));
    // And one who waits for too long may try again.
    let world = World::new(Seed(6));
    let late = world.join("late").joins_by_hand().stays_away();
    world.run_for(secs(130));
    assert!(late.client().closes.iter().all(|(_, code)| (4500..4600).contains(code)));
    assert_eq!(late.client().closes.len(), 1);
}

#[test]
fn trap_07_index_comes_after_join_ack_and_trap_08_ping_is_answered_before_either() {
    let (_, ann, _) = two(7);
    let at = |is: fn(&ServerFrame) -> bool| frames(&ann).iter().position(is).expect("it came");
    let pong = at(|frame| matches!(frame, ServerFrame::Pong { id: 1 }));
    let ack = at(|frame| matches!(frame, ServerFrame::JoinAck(_)));
    let index = at(|frame| matches!(frame, ServerFrame::Index(_)));
    let roster = at(|frame| matches!(frame, ServerFrame::AudioStreamIdInfo(_)));
    assert!(pong < ack && ack < index && ack < roster);
    let world = World::new(Seed(8));
    let early = world.join("early").joins_by_hand();
    world.run_for(secs(1));
    early.say(ClientFrame::Ping { id: 77 });
    world.run_for(secs(1));
    assert_eq!(frames(&early), [ServerFrame::Pong { id: 77 }]);
}

#[test]
fn trap_10_no_relay_is_named_and_trap_39_the_subscription_limit_does_not_bind() {
    let fewer = Limits { cameras: 16, content_shares: 1, ..Limits::default() };
    for (world, most) in [(World::new(Seed(10)), 27), (World::with_limits(Seed(10), fewer), 17)] {
        let ann = world.join("ann");
        world.run_for(secs(1));
        let acks = frames(&ann).into_iter().filter_map(|frame| match frame {
            ServerFrame::JoinAck(ack) => Some(ack),
            _ => None,
        });
        let [ack] = acks.collect::<Vec<_>>().try_into().expect("one answer to JOIN");
        assert_eq!(ack.turn.expect("the fastest start").uris, Vec::<String>::new());
        // All cameras and shares, of which the client would keep the lowest stream ids.
        assert!(ack.video_subscription_limit > most, "{}", ack.video_subscription_limit);
        assert!(!ack.wants_compressed_sdp);
    }
}

#[test]
fn trap_12_a_new_index_alone_makes_nobody_negotiate_again() {
    let (world, ann, _) = two(12);
    let before = ann.client().subscribes;
    let cid = world.join("cid");
    world.run_for(secs(2));
    cid.leave();
    world.run_for(secs(2));
    assert_eq!(ann.client().subscribes, before);
}

#[test]
fn trap_13_names_and_ssrcs_of_a_section_never_change() {
    let (world, ann, bob) = two(13);
    let facts = |answer: &str, mid: &str| -> Vec<String> {
        let sections = answer.split("m=").skip(1);
        let section =
            sections.filter(|s| s.contains(&format!("a=mid:{mid}\r\n"))).last().expect("the section");
        let keep = |line: &&str| line.starts_with("a=msid:") || line.starts_with("a=ssrc");
        section.split("\r\n").filter(keep).map(str::to_owned).collect()
    };
    let mid = bob.client().subscriptions()[0].0.clone();
    let before = (facts(&last_answer(&bob), "0"), facts(&last_answer(&bob), &mid));
    assert!(before.0.iter().any(|line| line == "a=msid:audio audio"));
    assert!(before.1.iter().any(|line| line.starts_with(&format!("a=msid:v_{mid} "))));
    let cid = world.join("cid").publish(Camera::small());
    world.run_for(secs(2));
    cid.unpublish();
    bob.unpublish();
    world.run_for(secs(2));
    assert!(bob.client().subscribes >= 5);
    assert_eq!(before, (facts(&last_answer(&bob), "0"), facts(&last_answer(&bob), &mid)));
    assert_eq!(bob.client().seen(&ann.id()).corrupt, 0);
}

#[test]
fn trap_14_a_recycled_section_shows_the_right_picture() {
    let world = World::new(Seed(14));
    let bob = world.join("bob");
    let others: Vec<_> = (0..3).map(|at| world.join(&format!("p{at}")).publish(Camera::small())).collect();
    world.run_for(secs(3));
    for round in 0..6 {
        let other = &others[round % 3];
        other.unpublish();
        world.run_for(secs(2));
        other.publish(Camera::small());
        world.run_for(secs(2));
        for other in &others {
            let before = bob.seen(other).frames;
            world.run_for(secs(1));
            assert!(bob.seen(other).frames >= before + 8, "round {round}");
        }
    }
    // Three sections in use, and no more than one place lies idle.
    assert!(last_answer(&bob).matches("m=video").count() <= 5);
}

#[test]
fn trap_15_sources_are_video_and_trap_38_nobody_is_offered_their_own() {
    let (world, ann, bob) = two(15);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    for page in [&ann, &bob, &share] {
        let base = page.client().attendee.id.to_string();
        for frame in frames(page) {
            let ServerFrame::Index(index) = frame else { continue };
            for source in index.sources {
                assert_eq!(source.media_type, MediaType::Video);
                assert!(
                    !source.attendee_id.starts_with(&base),
                    "{} in the index of {base}",
                    source.attendee_id
                );
            }
        }
    }
}

#[test]
fn trap_16_the_constant_ids_of_clients_never_reach_others() {
    let world = World::new(Seed(16));
    let pages: Vec<_> = (0..4).map(|at| world.join(&format!("p{at}")).publish(Camera::small())).collect();
    world.run_for(secs(3));
    for page in &pages {
        let client = page.client();
        let mut ids: Vec<_> =
            client.index.sources.iter().flat_map(|s| [s.stream_id, s.group_id << 16]).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "three others, each with a stream and a group of its own");
        let own = &client.allocations[0];
        let others = client.index.sources.iter();
        assert!(others.clone().all(|s| s.stream_id != own.stream_id && s.group_id != own.group_id));
    }
}

#[test]
fn trap_17_ids_only_rise() {
    let (world, ann, bob) = two(17);
    for _ in 0..3 {
        ann.cut();
        world.run_for(secs(4));
    }
    let (mut audio, mut groups) = (Vec::new(), Vec::new());
    let id = ann.id();
    for frame in frames(&bob) {
        match frame {
            ServerFrame::AudioStreamIdInfo(entries) => audio.extend(entries.iter().filter_map(|e| match e {
                AudioStreamIdInfo::Present { attendee_id, audio_stream_id, .. } if *attendee_id == id => {
                    Some(*audio_stream_id)
                }
                _ => None,
            })),
            ServerFrame::Index(index) => {
                groups.extend(index.sources.iter().filter(|s| s.attendee_id == id).map(|s| s.group_id));
            }
            _ => {}
        }
    }
    audio.dedup();
    groups.dedup();
    assert_eq!((audio.len(), groups.len()), (4, 4));
    assert!(audio.is_sorted_by(|a, b| a < b) && groups.is_sorted_by(|a, b| a < b));
}

#[test]
fn trap_18_the_first_roster_after_a_reconnect_is_whole_whoever_else_is_on_the_way_back() {
    for seed in 0..20 {
        let world = World::new(Seed(seed)).network(Conditions::MOBILE);
        let pages: Vec<_> = (0..5).map(|at| world.join(&format!("p{at}"))).collect();
        world.run_for(secs(3));
        for page in &pages {
            page.cut();
        }
        world.run_for(secs(6));
        for page in &pages {
            assert!(page.client().presence.iter().all(|p| p.here), "seed {seed}");
        }
    }
}

#[test]
fn trap_19_the_index_counts_people() {
    let (world, ann, bob) = two(19);
    let _share = world.share(&ann, Camera::small());
    let cid = world.join("cid");
    world.run_for(secs(1));
    assert_eq!(bob.client().index.num_participants, 3);
    cid.leave();
    world.run_for(secs(1));
    assert_eq!(bob.client().index.num_participants, 2);
}

#[test]
fn trap_21_simulcast_is_answered_as_offered() {
    let (_, _, bob) = two(21);
    let answer = last_answer(&bob);
    for line in ["a=rid:low recv", "a=rid:mid recv", "a=rid:hi recv", "a=simulcast:recv low;~mid;hi"] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}");
    }
}

#[test]
fn trap_22_the_server_grants_the_adaption_that_was_asked_for() {
    let world = World::new(Seed(22));
    for (watch, expected) in [(Watch::Highest, None), (Watch::Server(600), Some(4))] {
        let page = world.join("ann").watch(watch);
        world.run_for(secs(1));
        let adaption = frames(&page).into_iter().find_map(|frame| match frame {
            ServerFrame::JoinAck(ack) => Some(ack.default_adaption.map(|adaption| adaption as i32)),
            _ => None,
        });
        assert_eq!(adaption, Some(expected));
    }
}

#[test]
fn trap_23_a_switch_keeps_ssrc_and_numbers_and_starts_with_a_keyframe() {
    let (world, ann, bob) = two(23);
    for layer in [0, 1, 0, 1] {
        ann.watch(Watch::Layer(layer));
        world.run_for(secs(2));
    }
    let seen = ann.seen(&bob);
    let switches = seen.layers.len() as u64;
    assert!(switches >= 4 && seen.keyframes >= switches, "{seen:?}");
    assert_eq!([seen.corrupt, seen.picture_breaks, seen.clock_breaks, seen.sequence_jumps], [0; 4]);
}

#[test]
fn trap_24_fifty_packets_a_second_though_nobody_speaks() {
    let (world, ann, _) = two(24);
    let before = ann.client().audio_packets;
    world.run_for(secs(10));
    assert_eq!(ann.client().audio_packets - before, 500);
    assert_eq!(ann.client().audible_packets, 0);
}

#[test]
fn trap_25_an_audio_status_means_an_end_and_trap_26_an_error_a_refusal() {
    let (world, ann, bob) = two(25);
    let cid = world.join("cid").publish(Camera::small());
    let _share = world.share(&ann, Camera::small());
    world.run_for(secs(5));
    for page in [&ann, &bob, &cid] {
        page.cut();
        page.sends("chat", "hello", millis(0));
    }
    world.run_for(secs(5));
    for page in [&ann, &bob, &cid] {
        let told =
            |frame: &ServerFrame| matches!(frame, ServerFrame::AudioStatus(_) | ServerFrame::Error { .. });
        assert!(!frames(page).iter().any(told));
    }
    world.end_meeting();
    world.run_for(secs(1));
    let ended = ServerFrame::AudioStatus(AudioStatus::MeetingEnded);
    assert_eq!(frames(&ann).iter().filter(|frame| **frame == ended).count(), 1);
}

#[test]
fn trap_27_every_leave_and_every_subscribe_is_answered() {
    let (world, ann, bob) = two(27);
    for _ in 0..5 {
        ann.unpublish();
        world.run_for(millis(300));
        ann.publish(Camera::small());
        world.run_for(millis(300));
    }
    bob.leave();
    ann.leave();
    world.run_for(secs(1));
    for page in [&ann, &bob] {
        let all = frames(page);
        let acks = all.iter().filter(|frame| matches!(frame, ServerFrame::SubscribeAck(_))).count();
        assert_eq!(acks as u32, page.client().subscribes);
        assert_eq!(all.iter().filter(|frame| **frame == ServerFrame::LeaveAck).count(), 1);
    }
}

#[test]
fn trap_30_no_message_comes_back_to_its_sender() {
    let (world, ann, bob) = two(30);
    for _ in 0..3 {
        ann.sends("chat", "hello", secs(60));
    }
    world.run_for(secs(1));
    assert!(ann.client().messages.is_empty());
    let times: Vec<_> = bob.client().messages.iter().map(|m| m.ingest_time_ns).collect();
    assert!(times.len() == 3 && times[0] > 0 && times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[test]
fn trap_34_a_page_that_comes_back_is_not_another_device() {
    let (world, ann, bob) = two(34);
    ann.cut_unnoticed();
    world.run_for(secs(5));
    assert_eq!((ann.client().ending, ann.client().state), (None, State::Started));
    let tablet = world.join_again(&bob);
    world.run_for(secs(2));
    let elsewhere = AudioStatus::JoinedFromAnotherDevice;
    assert_eq!(bob.client().ending, Some(Ending::Status(elsewhere)));
    assert_eq!(tablet.client().state, State::Started);
}

#[test]
fn trap_35_a_share_is_somebody_of_its_own() {
    let (world, ann, bob) = two(35);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    assert_eq!(share.client().state, State::Started);
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
    assert!(bob.seen(&share).frames > 5 && bob.seen(&ann).frames > 5);
    assert_eq!(ann.client().state, State::Started);
}

#[test]
fn trap_36_stream_ids_go_by_the_sections_of_the_offer() {
    let world = World::new(Seed(36));
    let bob = world.join("bob").publish(Camera::small());
    let others: Vec<_> = (0..4).map(|at| world.join(&format!("p{at}")).publish(Camera::small())).collect();
    world.run_for(secs(2));
    others[1].unpublish(); // leaves a stopped section in the middle
    world.run_for(secs(2));
    for (at, other) in others.iter().enumerate().filter(|(at, _)| *at != 1) {
        let before = bob.seen(other).frames;
        world.run_for(secs(1));
        let seen = bob.seen(other);
        assert!(seen.frames >= before + 8 && seen.corrupt == 0, "p{at}: {seen:?}");
    }
}

/// A camera's section that goes both ways makes Firefox take the first video that comes for its own.
#[test]
fn trap_11_cameras_are_answered_sendrecv_but_to_firefox() {
    let world = World::new(Seed(40));
    let bob = world.join("bob");
    for (platform, expected) in [("chrome", "a=sendrecv"), ("firefox", "a=recvonly")] {
        let page = world.join(platform).runs_in(platform).publish(Camera::small());
        world.run_for(secs(3));
        let answer = page.client().answers.last().cloned().expect("an answer");
        let camera = answer.split("m=video").nth(1).expect("a section for the camera");
        assert!(camera.contains(expected), "{platform}: {camera}");
        assert!(bob.seen(&page).frames > 10, "and seen");
    }
}
