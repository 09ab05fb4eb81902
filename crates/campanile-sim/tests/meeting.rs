//! The meeting itself: people hear and read each other, over networks good and bad.

use campanile_sim::{Camera, Conditions, Page, Seed, World, millis, secs};
use campanile_wire::api::{Capabilities, Capability};

/// At least so much louder is another's tone than one's own.
const OWN_TONE_BELOW_DB: f32 = 40.0;

fn three(seed: u64) -> (World, [Page; 3]) {
    let world = World::new(Seed(seed)).network(Conditions::MOBILE);
    let ann = world.join("ann").publish(Camera::simulcast()).says(400).listens();
    let bob = world.join("bob").publish(Camera::hd()).says(600).listens();
    let cid = world.join("cid").publish(Camera::hd().h264()).says(900).listens();
    (world, [ann, bob, cid])
}

#[test]
fn three_meet_over_a_lossy_network() {
    (0..4).chain([8]).for_each(meet_over_a_lossy_network);
}

fn meet_over_a_lossy_network(seed: u64) {
    let (world, pages) = three(seed);
    world.run_for(secs(10));
    for (at, page) in pages.iter().enumerate() {
        page.sends("chat", &format!("from {at}"), millis(0));
    }
    world.run_for(secs(10));
    for (at, page) in pages.iter().enumerate() {
        assert_eq!(page.roster(), ["ann", "bob", "cid"]);
        let levels = [400, 600, 900].map(|hz| page.client().hears_db(hz));
        for (other_at, other) in pages.iter().enumerate().filter(|(other_at, _)| *other_at != at) {
            assert!(levels[other_at] - levels[at] >= OWN_TONE_BELOW_DB, "seed {seed}: {levels:?}");
            let seen = page.seen(other);
            assert!(seen.frames > 230, "seed {seed}, 15 frames a second for nearly 20 s: {seen:?}");
            assert!(seen.longest_gap < secs(1), "seed {seed}: {seen:?}");
            assert_eq!((seen.corrupt, seen.picture_breaks, seen.clock_breaks), (0, 0, 0), "{seen:?}");
        }
        let mut read: Vec<_> =
            page.client().messages.iter().map(|m| String::from_utf8_lossy(&m.data).into_owned()).collect();
        read.sort();
        let expected: Vec<_> = (0..3).filter(|i| *i != at).map(|i| format!("from {i}")).collect();
        assert_eq!(read, expected);
        assert_eq!(page.seen(page).packets, 0, "nobody sees themselves");
    }
}

#[test]
fn the_operator_sees_whose_sound_suffers() {
    let world = World::new(Seed(5)).network(Conditions::GOOD);
    let lossy = Conditions::GOOD.losing(0.1);
    let ann = world.join("ann").says(400).network(lossy, Conditions::GOOD);
    let bob = world.join("bob").says(600).listens();
    world.run_for(secs(20));
    ann.mute(true);
    world.run_for(secs(1));
    let quality = world.audio_quality();
    let of = |page: &Page| {
        let theirs = quality.iter().find(|audio| audio.attendee.to_string() == page.id());
        theirs.expect("everybody with audio is there").clone()
    };
    let (ann, bob) = (of(&ann), of(&bob));
    assert_eq!((quality.len(), ann.external_user_id.as_str(), ann.muted), (2, "ann", true));
    assert!((900..=1_050).contains(&ann.uplink.expected), "{:?}", ann.uplink);
    assert!((50..200).contains(&ann.uplink.lost), "a tenth of a thousand: {:?}", ann.uplink);
    assert!(ann.uplink.concealed_samples > 0 && bob.uplink.concealed_samples < 4_800, "{:?}", bob.uplink);
    assert!(bob.uplink.lost < 5 && bob.uplink.received > 900, "{:?}", bob.uplink);
    assert!(bob.level.speaking && !ann.level.speaking);
    assert!(bob.sent > 900 && ann.sent > 900);
}

#[test]
fn the_same_seed_is_the_same_meeting_and_another_is_another() {
    let trace = |seed| {
        let (world, _pages) = three(seed);
        world.run_for(secs(5));
        world.trace()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn minutes_pass_in_moments_and_nothing_grows_stale() {
    let world = World::new(Seed(3)).network(Conditions::GOOD.losing(0.01));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob").publish(Camera::small());
    world.run_for(secs(300));
    for (page, other) in [(&ann, &bob), (&bob, &ann)] {
        let seen = page.seen(other);
        assert!(seen.frames > 2900, "{seen:?}");
        assert!(page.client().audio_packets > 14_700, "50 a second, of which 1 % are lost");
        assert_eq!(page.client().reconnects, 0);
        assert!(!page.client().zombie);
    }
    assert!(world.most_frames_waiting() < 64);
}

#[test]
fn fifty_packets_a_second_always_with_numbers_that_run_on() {
    let world = World::new(Seed(1));
    let ann = world.join("ann").says(400);
    let bob = world.join("bob");
    world.run_for(secs(2));
    let count = || [ann.client().audio_packets, bob.client().audio_packets];
    for silent in [false, true] {
        if silent {
            ann.falls_silent();
            world.run_for(secs(3));
        }
        let before = count();
        world.run_for(secs(20));
        let after = count();
        assert_eq!([after[0] - before[0], after[1] - before[1]], [1000, 1000], "silent: {silent}");
    }
    assert_eq!([ann.client().audio_breaks, bob.client().audio_breaks], [0, 0]);
}

#[test]
fn muting_is_exact_and_everybody_is_told() {
    let world = World::new(Seed(2));
    let ann = world.join("ann").says(400);
    let bob = world.join("bob").listens();
    world.run_for(secs(3));
    assert!(bob.client().hears_db(400) > -20.0);
    let muted = |page: &Page| page.client().roster[&ann.id()].muted;
    assert!(!muted(&bob));
    ann.mute(true);
    world.run_for(secs(2));
    assert!(muted(&bob) && muted(&ann));
    let before = bob.client().audible_packets;
    world.run_for(secs(5));
    assert_eq!(bob.client().audible_packets, before, "digital silence");
    assert!(bob.client().peak() < 1e-9, "but for what a decoder makes of it");
    ann.mute(false);
    world.run_for(secs(2));
    assert!(bob.client().hears_db(400) > -20.0 && !muted(&bob));
}

#[test]
fn whoever_joins_muted_is_muted_for_all_from_the_start() {
    let world = World::new(Seed(2));
    let bob = world.join("bob");
    let ann = world.join("ann").says(400).mute(true);
    world.run_for(secs(3));
    assert!(bob.client().roster[&ann.id()].muted);
    assert_eq!(bob.client().audible_packets, 0);
}

#[test]
fn levels_come_five_times_a_second_while_somebody_speaks() {
    let world = World::new(Seed(4));
    let ann = world.join("ann").says(400);
    let bob = world.join("bob");
    world.run_for(secs(3));
    let (id, before) = (bob.client().roster[&ann.id()].audio_stream_id, bob.client().levels.len());
    world.run_for(secs(10));
    {
        let client = bob.client();
        let levels = &client.levels[before..];
        assert_eq!(levels.len(), 50);
        for (_, states) in levels {
            assert_eq!(states.iter().map(|s| s.audio_stream_id).collect::<Vec<_>>(), [id]);
            assert!(states[0].volume_db.is_some_and(|volume| volume <= 20), "{states:?}");
        }
    }
    ann.falls_silent();
    world.run_for(secs(3));
    let (fell, last) = (bob.client().levels.len(), bob.client().levels.last().cloned());
    let (_, last) = last.expect("levels");
    assert_eq!(last.iter().map(|s| (s.audio_stream_id, s.volume_db)).collect::<Vec<_>>(), [(0, Some(42))]);
    world.run_for(secs(3));
    assert_eq!(bob.client().levels.len(), fell, "silence is said once");
}

#[test]
fn a_bad_uplink_is_told_as_a_weak_signal_and_its_recovery_too() {
    let world = World::new(Seed(5));
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(3));
    ann.network(Conditions::GOOD.losing(0.3), Conditions::GOOD);
    world.run_for(secs(10));
    let id = bob.client().roster[&ann.id()].audio_stream_id;
    let latest = || {
        let client = bob.client();
        let states = client.levels.iter().flat_map(|(_, states)| states);
        states.filter(|s| s.audio_stream_id == id).filter_map(|s| s.signal_strength).next_back()
    };
    assert!(latest().is_some_and(|signal| (signal as u8) < 2), "{:?}", latest());
    ann.network(Conditions::GOOD, Conditions::GOOD);
    world.run_for(secs(10));
    assert_eq!(latest().map(|signal| signal as u8), Some(2));
}

#[test]
fn who_may_only_receive_is_never_heard_nor_seen() {
    let receive = Capability::Receive;
    let only = Capabilities { audio: receive, video: receive, content: receive };
    let world = World::new(Seed(6));
    let ann = world.join("ann").capable(only).says(400).publish(Camera::small()).listens();
    let bob = world.join("bob").says(600).publish(Camera::small()).listens();
    world.run_for(secs(5));
    assert!(bob.client().hears_db(400) < -60.0);
    assert!(ann.client().hears_db(600) > -20.0);
    assert!(bob.client().index.sources.is_empty() && bob.seen(&ann).packets == 0);
    assert!(ann.client().view_only && ann.client().index.at_capacity);
    assert!(ann.seen(&bob).frames > 30);
}

#[test]
fn what_is_taken_away_ends_at_once_and_what_is_given_back_returns() {
    let receive = Capability::Receive;
    let only = Capabilities { audio: receive, video: receive, content: receive };
    let world = World::new(Seed(6));
    let ann = world.join("ann").says(400).publish(Camera::small()).listens();
    let bob = world.join("bob").says(600).publish(Camera::small()).listens();
    world.run_for(secs(5));
    assert!(bob.client().hears_db(400) > -20.0 && bob.seen(&ann).frames > 30);
    world.set_capabilities(&ann, only);
    world.run_for(millis(500));
    let seen = bob.seen(&ann).packets;
    world.run_for(secs(4));
    assert_eq!(bob.seen(&ann).packets, seen, "nothing more of a camera that may not be shown");
    assert!(bob.client().hears_db(400) < -60.0, "nor of a microphone that may not be heard");
    assert!(bob.client().index.sources.is_empty() && ann.client().index.at_capacity);
    assert!(ann.client().hears_db(600) > -20.0 && ann.seen(&bob).frames > 60);

    let nothing =
        Capabilities { audio: Capability::None, video: Capability::None, content: Capability::None };
    world.set_capabilities(&ann, nothing);
    world.run_for(millis(500));
    let seen = ann.seen(&bob).packets;
    world.run_for(secs(4));
    assert_eq!(ann.seen(&bob).packets, seen, "nothing more of others");
    assert!(ann.client().hears_db(600) < -60.0);

    world.set_capabilities(&ann, Capabilities::ALL);
    world.run_for(secs(4));
    assert!(bob.client().hears_db(400) > -20.0, "sound needs no renegotiation");
    assert!(ann.client().hears_db(600) > -20.0);
}

#[test]
fn the_registry_is_told_how_many_are_present() {
    let world = World::new(Seed(6));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob");
    world.share(&ann, Camera::hd());
    world.run_for(secs(5));
    assert_eq!(world.present(), 2, "a content share is nobody");
    bob.vanish();
    // Silence is noticed after 45 s, and the place kept for ten more.
    world.run_for(secs(60));
    assert_eq!(world.present(), 1);
    world.remove_attendee(&ann);
    world.run_for(secs(5));
    assert_eq!(world.present(), 0);
}

#[test]
fn who_may_only_send_hears_and_sees_nobody() {
    let send = Capability::Send;
    let only = Capabilities { audio: send, video: send, content: send };
    let world = World::new(Seed(6));
    let ann = world.join("ann").capable(only).says(400).publish(Camera::small());
    let bob = world.join("bob").says(600).publish(Camera::small()).listens();
    world.run_for(secs(5));
    assert!(ann.client().audio_packets > 200, "silence comes all the same");
    assert_eq!(ann.client().audible_packets, 0);
    assert!(ann.client().index.sources.is_empty());
    assert!(bob.client().hears_db(400) > -20.0 && bob.seen(&ann).frames > 30);
}

#[test]
fn data_with_a_lifetime_is_there_for_those_who_come_later_oldest_first() {
    let world = World::new(Seed(8));
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(1));
    ann.sends("a", "one", secs(60)).sends("a", "gone", millis(0)).sends("a", "two", secs(5));
    world.run_for(secs(1));
    bob.sends("b", "three", secs(60));
    world.run_for(secs(1));
    let texts = |page: &Page| -> Vec<(String, String, i64)> {
        let client = page.client();
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        let read = client.messages.iter();
        read.map(|m| (text(&m.data), m.sender_external_user_id.clone(), m.ingest_time_ns)).collect()
    };
    let live = texts(&bob);
    assert_eq!(live.iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["one", "gone", "two"]);
    assert!(live.iter().all(|m| m.1 == "ann") && live.is_sorted_by(|a, b| a.2 < b.2));
    let cid = world.join("cid");
    world.run_for(secs(1));
    let replayed = texts(&cid);
    assert_eq!(replayed.iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(replayed[0], live[0], "with the time of its first delivery");
    world.run_for(secs(10));
    let dan = world.join("dan");
    world.run_for(secs(1));
    assert_eq!(texts(&dan).iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["one", "three"]);
}

#[test]
fn data_outlives_a_moment_in_which_nobody_is_there() {
    let world = World::new(Seed(8));
    let ann = world.join("ann");
    world.run_for(secs(1));
    ann.sends("a", "still here", secs(60)).leave();
    world.run_for(secs(20));
    let bob = world.join("bob");
    world.run_for(secs(1));
    assert_eq!(bob.client().messages.len(), 1);
    bob.leave();
    world.run_for(secs(60));
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None), "but nothing is kept for ever");
}

#[test]
fn a_newcomer_can_take_all_that_is_kept() {
    let world = World::new(Seed(8));
    let ann = world.join("ann");
    world.run_for(secs(1));
    for _ in 0..20 {
        for _ in 0..80 {
            ann.sends("a", &"x".repeat(2000), secs(300));
        }
        world.run_for(secs(1));
    }
    let bob = world.join("bob");
    world.run_for(secs(1));
    assert_eq!(bob.client().messages.len(), 1024);
    assert!(world.most_frames_waiting() < 128, "{}", world.most_frames_waiting());
}

#[test]
fn too_much_data_comes_back_and_nobody_else_suffers() {
    let world = World::new(Seed(9));
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(1));
    for _ in 0..250 {
        ann.sends("flood", "x", millis(0));
    }
    world.run_for(secs(1));
    assert_eq!(bob.client().messages.len(), 200);
    assert_eq!(ann.client().messages.len(), 50);
    assert!(ann.client().messages.iter().all(|m| m.ingest_time_ns == 0));
    assert!(ann.client().is_in());
}

#[test]
fn nobody_there_means_no_ticks_at_all() {
    let world = World::new(Seed(10));
    assert_eq!(world.server_timeout(), None);
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(5));
    assert!(world.server_timeout().is_some());
    ann.leave();
    bob.leave();
    world.run_for(secs(2));
    assert_eq!(world.population().1, 0);
    assert_eq!(world.server_timeout(), None);
}

#[test]
fn a_message_of_the_server_reaches_everybody_and_waits_for_who_comes_late() {
    let world = World::new(Seed(71));
    let early = world.send_data_message("the server", "chat", "before anybody came", secs(60));
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(2));
    let now = world.send_data_message("the server", "chat", "to whoever is here", secs(0));
    ann.sends("chat", "from ann", secs(60));
    world.run_for(secs(1));
    assert!(early.expect("sent") < now.expect("sent"));
    let texts = |page: &Page| page.client().messages.iter().map(|m| m.data.clone()).collect::<Vec<_>>();
    let said = [&b"before anybody came"[..], b"to whoever is here"];
    assert_eq!(texts(&ann), said);
    assert_eq!(texts(&bob), [said[0], said[1], b"from ann"]);
    let first = bob.client().messages[0].clone();
    assert_eq!([first.sender_attendee_id, first.sender_external_user_id], ["", "the server"]);
    assert_eq!(world.data_messages(), ["before anybody came", "from ann"], "what has a lifetime");
    world.run_for(secs(62));
    assert_eq!(world.data_messages(), [""; 0]);
}

#[test]
fn a_message_of_the_server_keeps_the_rules_of_all_and_costs_an_empty_meeting_nothing_for_long() {
    use campanile_meeting::service::DataError;
    let world = World::new(Seed(72));
    let send = |topic: &str, data: &str| world.send_data_message("", topic, data, secs(5)).map(drop);
    assert_eq!(send("aws:chime", "x"), Err(DataError::Topic));
    assert_eq!(send("chat", &"x".repeat(2049)), Err(DataError::Size(2049)));
    assert_eq!((0..250).filter(|_| send("chat", "x").is_ok()).count(), 200);
    assert_eq!(send("chat", "x"), Err(DataError::Throttled));
    world.run_for(secs(6));
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
}
