//! Cameras and content: what is on offer, which layer comes, and that no decoder notices a switch.

use campanile_meeting::service::Limits;
use campanile_sim::{Camera, Conditions, Ending, Page, Seed, State, Watch, World, millis, secs};
use campanile_wire::signaling::{ClientFrame, ServerFrame};

fn assert_sound(page: &Page, other: &Page) {
    let seen = page.seen(other);
    let breaks = [seen.corrupt, seen.picture_breaks, seen.clock_breaks, seen.sequence_jumps];
    assert_eq!(breaks, [0; 4], "{seen:?}");
}

fn layers(page: &Page, other: &Page) -> Vec<u8> {
    page.seen(other).layers.iter().map(|(_, layer)| *layer).collect()
}

#[test]
fn layers_are_switched_without_a_seam_at_any_loss() {
    for (seed, loss) in [(1, 0.0), (2, 0.01), (3, 0.05), (4, 0.1)] {
        for camera in [Camera::simulcast(), Camera::simulcast().h264(), Camera::simulcast().about_to_wrap()] {
            let world = World::new(Seed(seed)).network(Conditions::GOOD.losing(loss).jittery(millis(10)));
            let ann = world.join("ann").publish(camera);
            let bob = world.join("bob").watch(Watch::Layer(0));
            world.run_for(secs(5));
            for layer in [1, 0, 1, 0, 1] {
                bob.watch(Watch::Layer(layer));
                world.run_for(secs(4));
            }
            assert_eq!(layers(&bob, &ann), [0, 2, 0, 2, 0, 2], "loss {loss}");
            assert_sound(&bob, &ann);
            let seen = bob.seen(&ann);
            assert!(seen.frames > 320, "of 15 a second for 25 s at loss {loss}: {seen:?}");
            assert!(seen.longest_gap < secs(2), "at loss {loss}: {seen:?}");
            assert_eq!(bob.client().subscribes, 2, "no new SUBSCRIBE for a switch");
        }
    }
}

#[test]
fn the_server_chooses_by_target_when_asked_to() {
    let world = World::new(Seed(5)).network(Conditions::GOOD.losing(0.01));
    let ann = world.join("ann").publish(Camera::simulcast());
    let bob = world.join("bob").watch(Watch::Server(300));
    let cid = world.join("cid").watch(Watch::Server(1500));
    world.run_for(secs(5));
    let last = |page: &Page| layers(page, &ann).last().copied();
    assert_eq!((last(&bob), last(&cid)), (Some(0), Some(2)));
    bob.watch(Watch::Server(10_000));
    cid.watch(Watch::Server(600));
    world.run_for(secs(3));
    assert_eq!((last(&bob), last(&cid)), (Some(2), Some(0)));
    assert_sound(&bob, &ann);
    assert_sound(&cid, &ann);
}

#[test]
fn a_late_joiner_sees_video_within_a_second() {
    let fair = Conditions::GOOD.losing(0.02).jittery(millis(20));
    for (conditions, limit) in [(fair, secs(1)), (Conditions::MOBILE, secs(2))] {
        for seed in 0..10 {
            let world = World::new(Seed(seed)).network(conditions);
            let ann = world.join("ann").publish(Camera::hd());
            world.run_for(secs(10));
            let bob = world.join("bob");
            assert!(world.run_until(secs(5), || bob.client().state == State::Started));
            let started = world.now();
            assert!(world.run_until(secs(5), || bob.seen(&ann).frames > 0), "seed {seed}");
            assert!(world.now() - started < limit, "seed {seed}: {:?}", world.now() - started);
        }
    }
}

#[test]
fn numbers_wrap_unnoticed() {
    for camera in [Camera::hd(), Camera::hd().h264(), Camera::simulcast()] {
        let world = World::new(Seed(6)).network(Conditions::GOOD.losing(0.02));
        let ann = world.join("ann").publish(camera.about_to_wrap());
        let bob = world.join("bob");
        world.run_for(secs(40));
        assert!(bob.seen(&ann).frames > 550, "{:?}", bob.seen(&ann));
        assert_sound(&bob, &ann);
    }
}

#[test]
fn a_new_ssrc_in_the_middle_goes_on_at_its_keyframe() {
    let world = World::new(Seed(7)).network(Conditions::GOOD.losing(0.01));
    let ann = world.join("ann").publish(Camera::hd());
    let bob = world.join("bob");
    for _ in 0..3 {
        world.run_for(secs(5));
        ann.change_ssrcs();
    }
    world.run_for(secs(5));
    let seen = bob.seen(&ann);
    assert!(seen.frames > 270 && seen.longest_gap < secs(1), "{seen:?}");
    assert_sound(&bob, &ann);
}

#[test]
fn a_layer_that_disappears_is_replaced_and_leaves_the_index() {
    let world = World::new(Seed(8));
    let ann = world.join("ann").publish(Camera::simulcast());
    let bob = world.join("bob");
    world.run_for(secs(6));
    let last = || layers(&bob, &ann).last().copied();
    let offered = || bob.client().index.sources.iter().map(|s| s.max_bitrate_kbps).collect::<Vec<_>>();
    assert_eq!((offered(), last()), (vec![300, 1200], Some(2)));
    ann.let_flow(2, false);
    world.run_for(secs(5));
    assert_eq!((offered(), last()), (vec![300], Some(0)));
    assert!(bob.seen(&ann).longest_gap < millis(1100), "{:?}", bob.seen(&ann));
    ann.let_flow(2, true);
    world.run_for(secs(5));
    assert_eq!((offered(), last()), (vec![300, 1200], Some(2)));
    assert!(bob.seen(&ann).longest_gap < millis(1100), "{:?}", bob.seen(&ann));
    assert_sound(&bob, &ann);
}

#[test]
fn a_layer_that_its_sender_says_it_gives_up_is_replaced_at_once() {
    for seed in 0..5 {
        let world = World::new(Seed(seed));
        let ann = world.join("ann").publish(Camera::simulcast().telling_layers());
        // Of bob's the server chooses the layer.
        let (bob, cid) =
            (world.join("bob").watch(Watch::Server(10_000)), world.join("cid").watch(Watch::Layer(0)));
        world.run_for(secs(6) + millis(13 * seed));
        let last = |page: &Page| layers(page, &ann).last().copied();
        assert_eq!((last(&bob), last(&cid)), (Some(2), Some(0)), "seed {seed}");
        ann.let_flow(2, false);
        world.run_for(secs(3));
        assert_eq!(last(&bob), Some(0), "seed {seed}");
        // A word to the camera, a keyframe back, and a picture's time at 15 per second each.
        let gap = bob.seen(&ann).longest_gap;
        assert!(gap < millis(250), "seed {seed}: {gap:?}");
        let others = cid.seen(&ann).longest_gap;
        assert!(others < millis(100), "seed {seed}: who watches the other sees nothing of it: {others:?}");
        ann.let_flow(2, true);
        world.run_for(secs(3));
        assert_eq!(last(&bob), Some(2), "seed {seed}");
        assert!(bob.seen(&ann).longest_gap < millis(250), "seed {seed}: {:?}", bob.seen(&ann));
        assert_sound(&bob, &ann);
    }
}

#[test]
fn a_camera_of_which_nothing_comes_is_told_as_paused_at_its_source() {
    for camera in [Camera::small(), Camera::simulcast()] {
        let world = World::new(Seed(21));
        let ann = world.join("ann").publish(camera);
        let bob = world.join("bob");
        world.run_for(secs(6));
        let paused = || bob.client().index.paused_at_source_ids.clone();
        let offered = || bob.client().index.sources.iter().map(|s| s.stream_id).collect::<Vec<_>>();
        let (subscribes, streams) = (bob.client().subscribes, offered());
        assert!(paused().is_empty() && !streams.is_empty());
        let let_flow = |flows| [0, 2].map(|layer| drop(ann.let_flow(layer, flows)));
        for _ in 0..2 {
            let_flow(false);
            assert!(world.run_until(millis(2500), || !paused().is_empty()));
            assert_eq!((paused(), offered()), (streams.clone(), streams.clone()), "and still on offer");
            let_flow(true);
            assert!(world.run_until(millis(500), || paused().is_empty()));
            world.run_for(secs(3));
        }
        assert_eq!((bob.client().subscribes, offered()), (subscribes, streams), "nobody subscribes anew");
        assert!(ann.client().index.paused_at_source_ids.is_empty(), "oneself is not told");
        let frames = bob.seen(&ann).frames;
        world.run_for(secs(1));
        assert!(bob.seen(&ann).frames > frames + 5);
        assert_sound(&bob, &ann);
    }
}

#[test]
fn a_share_that_stands_still_is_not_paused() {
    let world = World::new(Seed(22));
    let ann = world.join("ann");
    let bob = world.join("bob");
    world.run_for(secs(1));
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(6));
    share.let_flow(0, false);
    world.run_for(secs(10));
    let index = bob.client().index.clone();
    assert_eq!((index.sources.len(), index.paused_at_source_ids), (1, vec![]));
}

#[test]
fn a_camera_switched_on_again_gets_a_higher_group() {
    let world = World::new(Seed(9));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob");
    let mut groups = Vec::new();
    for _ in 0..4 {
        world.run_for(secs(2));
        let group = bob.client().index.sources.iter().map(|s| s.group_id).max();
        groups.push(group.expect("a camera is on"));
        let frames = bob.seen(&ann).frames;
        ann.unpublish();
        world.run_for(secs(2));
        assert!(bob.client().index.sources.is_empty());
        assert!(bob.client().subscriptions().is_empty());
        assert!(frames > 10 && bob.seen(&ann).frames < frames + 3);
        ann.publish(Camera::small());
    }
    assert!(groups.is_sorted_by(|a, b| a < b), "{groups:?}");
    assert_sound(&bob, &ann);
}

#[test]
fn twenty_five_cameras_and_no_more_or_sixteen_where_that_is_the_limit() {
    let sixteen = Limits { cameras: 16, ..Limits::default() };
    for (cameras, world) in [(25, World::new(Seed(10))), (16, World::with_limits(Seed(10), sixteen))] {
        fills_up(&world, cameras);
    }
}

/// So many cameras are taken; the next is refused in the words that the client understands, and finds a place that is
/// left.
fn fills_up(world: &World, cameras: usize) {
    let pages: Vec<_> = (0..cameras).map(|at| world.join(&format!("p{at}")).watch(Watch::Nothing)).collect();
    world.run_for(secs(1));
    for page in &pages {
        page.publish(Camera::small());
        world.run_for(millis(50));
    }
    let late = world.join("late").watch(Watch::Nothing);
    world.run_for(secs(1));
    assert!(late.client().index.at_capacity);
    assert_eq!(late.client().index.sources.len(), cameras);
    assert!(!pages[0].client().index.at_capacity, "whoever shows may go on");
    late.publish(Camera::small());
    world.run_for(secs(1));
    assert!(late.client().view_only && late.client().is_in());
    assert_eq!(pages[0].client().index.sources.len(), cameras - 1, "all others, and not the refused one");
    let acks = late.client().frames.iter().filter(|(_, f)| matches!(f, ServerFrame::SubscribeAck(_))).count();
    assert_eq!(acks as u32, late.client().subscribes, "a refusal is an answer too");
    pages[3].unpublish();
    world.run_for(secs(1));
    assert!(!late.client().index.at_capacity);
    late.publish(Camera::small());
    world.run_for(secs(1));
    assert_eq!(pages[0].client().index.sources.len(), cameras - 1, "the place that was left is taken");
}

#[test]
fn a_paused_tile_costs_nothing_and_comes_back_with_a_keyframe() {
    let world = World::new(Seed(11));
    let ann = world.join("ann").publish(Camera::hd());
    let bob = world.join("bob");
    world.run_for(secs(3));
    let stream_ids: Vec<_> = bob.client().index.sources.iter().map(|s| s.stream_id).collect();
    bob.say(ClientFrame::Pause { stream_ids: vec![0, stream_ids[0], 999] });
    world.run_for(millis(100));
    let before = bob.seen(&ann);
    world.run_for(secs(5));
    assert_eq!(bob.seen(&ann).packets, before.packets);
    bob.say(ClientFrame::Resume { stream_ids });
    world.run_for(secs(1));
    let after = bob.seen(&ann);
    assert!(after.frames > before.frames + 8 && after.keyframes > before.keyframes, "{after:?}");
    assert_sound(&bob, &ann);
}

#[test]
fn a_share_is_seen_and_heard_by_all_but_its_sharer() {
    let world = World::new(Seed(12));
    let ann = world.join("ann").publish(Camera::small()).listens();
    let bob = world.join("bob").listens();
    world.run_for(secs(2));
    let share = world.share(&ann, Camera::hd()).says(700).listens();
    world.run_for(secs(3));
    for page in [&ann, &bob] {
        assert_eq!(page.roster(), ["ann", "ann#content", "bob"]);
        assert_eq!(page.client().index.num_participants, 2, "a share is nobody");
    }
    assert!(bob.seen(&share).frames > 20 && bob.seen(&ann).frames > 20);
    assert!(bob.client().hears_db(700) > -20.0);
    assert!(ann.client().hears_db(700) < -60.0, "one's own share is not for one's own ears");
    assert_eq!(ann.seen(&share).packets, 0);
    assert_eq!(share.client().index.sources, []);
    share.leave();
    world.run_for(secs(1));
    assert_eq!(share.client().ending, Some(Ending::Left));
    assert_eq!(bob.roster(), ["ann", "bob"]);
    assert!(bob.client().index.sources.iter().all(|s| !s.attendee_id.ends_with("#content")));
}

#[test]
fn a_third_share_is_refused_with_409_and_a_place_that_is_left_is_free() {
    let world = World::new(Seed(13));
    let pages: Vec<_> = ["ann", "bob", "cid"].map(|name| world.join(name)).into();
    world.run_for(secs(1));
    let first = world.share(&pages[0], Camera::small());
    let _second = world.share(&pages[1], Camera::small());
    world.run_for(secs(1));
    let third = world.share(&pages[2], Camera::small());
    world.run_for(secs(1));
    assert_eq!(third.client().ending, Some(Ending::Error(409)));
    assert_eq!(third.client().state, State::Over);
    let shares = |page: &Page| page.roster().iter().filter(|name| name.ends_with("#content")).count();
    assert!(pages.iter().all(|page| shares(page) == 2 && page.client().is_in()));
    first.leave();
    world.run_for(secs(1));
    let again = world.share(&pages[2], Camera::small());
    world.run_for(secs(2));
    assert!(again.client().is_in() && pages.iter().all(|page| shares(page) == 2));
    assert!(pages[0].seen(&again).frames > 0);
}

#[test]
fn shares_do_not_count_among_the_cameras() {
    let world = World::with_limits(Seed(14), Limits { cameras: 1, content_shares: 2, ..Limits::default() });
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob");
    world.run_for(secs(1));
    let share = world.share(&bob, Camera::small());
    world.run_for(secs(3));
    assert!(ann.seen(&share).frames > 10 && !share.client().view_only);
}

#[test]
fn whoever_shares_slides_is_asked_for_a_keyframe_every_ten_seconds() {
    let world = World::new(Seed(15));
    let ann = world.join("ann");
    let _bob = world.join("bob");
    world.run_for(secs(1));
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    let before = share.client().keyframes_sent()[0];
    world.run_for(secs(30));
    assert_eq!(share.client().keyframes_sent()[0] - before, 3);
}

#[test]
fn many_newcomers_cost_the_publisher_few_keyframes() {
    let world = World::new(Seed(16));
    let ann = world.join("ann").publish(Camera::hd());
    world.run_for(secs(2));
    let before = ann.client().keyframes_sent()[0];
    let others: Vec<_> = (0..10).map(|at| world.join(&format!("p{at}"))).collect();
    world.run_for(secs(2));
    assert!(others.iter().all(|other| other.seen(&ann).frames > 15));
    assert!(ann.client().keyframes_sent()[0] - before <= 3);
}

#[test]
fn whoever_comes_right_after_another_sees_a_picture_at_once() {
    for camera in [Camera::small(), Camera::small().h264(), Camera::small().about_to_wrap()] {
        for at_once in [false, true] {
            let world = World::new(Seed(18));
            let ann = world.join("ann").publish(camera.clone());
            world.run_for(secs(2));
            let bob = world.join("bob");
            assert!(world.run_until(secs(2), || bob.seen(&ann).frames > 0));
            let keyframes = || ann.client().keyframes_sent()[0];
            let before = keyframes();
            world.run_for(millis(400));
            let cid = world.join("cid");
            if at_once {
                cid.watches_at_once();
            }
            assert!(world.run_until(secs(2), || !cid.client().answers.is_empty()));
            if !at_once {
                assert!(world.run_until(secs(2), || !cid.client().subscriptions().is_empty()));
            }
            assert!(world.run_until(millis(200), || cid.seen(&ann).frames > 0), "{:?}", cid.seen(&ann));
            world.run_for(secs(5));
            // None for whom no media flowed to yet: the last one was sent again. Otherwise a replay would overtake the
            // answer, and there is one of their own.
            let own = u64::from(!at_once);
            assert_eq!(keyframes(), before + own, "asked for video at once: {at_once}");
            let seen = cid.seen(&ann);
            assert!(seen.frames > 45 && seen.longest_gap < millis(200) && seen.plis == 0, "{seen:?}");
            assert_sound(&cid, &ann);
        }
    }
}

#[test]
fn fifty_who_come_at_once_are_shown_the_last_keyframe_and_cost_no_other() {
    let world = World::new(Seed(19));
    let ann = world.join("ann").publish(Camera::hd());
    world.run_for(secs(2));
    let bob = world.join("bob");
    assert!(world.run_until(secs(2), || bob.seen(&ann).frames > 0));
    let before = ann.client().keyframes_sent()[0];
    let others: Vec<_> = (0..50).map(|at| world.join(&format!("p{at}")).watches_at_once()).collect();
    assert!(world.run_until(millis(500), || others.iter().all(|other| other.seen(&ann).frames > 0)));
    world.run_for(secs(1));
    assert_eq!(ann.client().keyframes_sent()[0], before);
    others.iter().for_each(|other| assert_sound(other, &ann));
}

/// A client that takes up the answer late would else take them for another section's, and some do so for good.
#[test]
fn the_first_packets_name_their_section_until_the_client_reports_on_them() {
    let world = World::new(Seed(20)).network(Conditions::GOOD.losing(0.05));
    let ann = world.join("ann").publish(Camera::hd());
    let dan = world.join("dan").publish(Camera::hd());
    let bob = world.join("bob");
    assert!(world.run_until(secs(3), || bob.seen(&ann).frames > 0 && bob.seen(&dan).frames > 0));
    for other in [&ann, &dan] {
        let seen = bob.seen(other);
        assert_eq!(seen.named, seen.packets, "all of them");
    }
    world.run_for(secs(3));
    let named = [&ann, &dan].map(|other| bob.seen(other).named);
    world.run_for(secs(5));
    assert_eq!([&ann, &dan].map(|other| bob.seen(other).named), named, "none any more");
}

#[test]
fn of_what_nobody_watches_neither_repairs_nor_keyframes_are_asked_for() {
    let world = World::new(Seed(23)).network(Conditions::GOOD.losing(0.05));
    let ann = world.join("ann").publish(Camera::simulcast()).watch(Watch::Nothing);
    let share = world.share(&ann, Camera::hd());
    let asked = |layer: usize| ann.client().asked_of_layers()[layer];
    world.run_for(secs(25));
    assert_eq!([asked(0), asked(2), share.client().asked_of_layers()[0]], [[0; 2]; 3], "nobody is there");
    let bob = world.join("bob").watch(Watch::Layer(0));
    world.run_for(secs(20));
    let [nacks, plis] = asked(0);
    assert!(nacks > 10 && plis > 0, "{nacks} and {plis}");
    let [nacks, plis] = share.client().asked_of_layers()[0];
    assert!(nacks > 10 && plis > 1, "{nacks} and {plis}");
    assert_eq!(asked(2), [0; 2], "nobody watches the large one");
    bob.watch(Watch::Layer(1));
    world.run_for(secs(1));
    let small = asked(0);
    world.run_for(secs(20));
    let [nacks, plis] = asked(2);
    assert!(nacks > 10 && plis > 0, "{nacks} and {plis}");
    assert_eq!(asked(0), small, "nobody watches the small one any more");
    let seen = bob.seen(&ann);
    assert!(seen.frames > 500 && seen.longest_gap < secs(1), "of 15 a second for 41 s: {seen:?}");
    assert_sound(&bob, &ann);
}

#[test]
fn a_subscriber_on_a_bad_network_harms_no_other() {
    let world = World::new(Seed(17));
    let ann = world.join("ann").publish(Camera::hd());
    let bob = world.join("bob");
    let cid = world.join("cid");
    cid.network(Conditions::GOOD, Conditions::GOOD.losing(0.3));
    world.run_for(secs(20));
    assert!(bob.seen(&ann).frames > 280 && bob.seen(&ann).longest_gap < millis(200), "{:?}", bob.seen(&ann));
    assert!(ann.client().keyframes_sent()[0] < 50);
    assert_sound(&cid, &ann);
}
