//! Layered codecs through the whole server: whatever a network does, every picture shown has all that it needs.
//!
//! `CAMPANILE_SEEDS=n` tries so many seeds.

use campanile_sim::bed::narrow;
use campanile_sim::{Camera, Coding, Conditions, Page, Seed, Seen, State, Watch, World, millis, secs};
use campanile_wire::signaling::ClientFrame;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

const SEEDS: u64 = 2;
/// Keyframes whose first packets were overtaken, for ever; numbers given twice, as all packets of some pictures were.
const OVERTAKEN: [u64; 2] = [9, 11];

/// What is asked of twelve seconds of 15 pictures each at so many lost packets in a hundred, towards the server and from it: so
/// many pictures, and none shown for longer than so many milliseconds. At 10 % one view in a hundred stands still for more than
/// 1.2 s; at 20 % hardly more is asked than that it goes on.
const ASKED: [(u32, u64, u64); 6] =
    [(0, 170, 200), (1, 155, 500), (3, 145, 600), (5, 135, 700), (10, 90, 3500), (20, 12, 6000)];

/// What browsers send in layers.
const CODINGS: [Coding; 11] = [
    Coding::VP8.layers(1, 2),
    Coding::VP8.layers(1, 3),
    Coding::VP9.layers(1, 3),
    Coding::VP9.layers(3, 3),
    Coding::VP9.layers(3, 3).key_only(),
    Coding::VP9.layers(3, 3).flexible(),
    Coding::VP9.layers(3, 3).flexible().described(),
    Coding::VP9.layers(3, 3).flexible().key_only().described(),
    Coding::AV1.layers(1, 3),
    Coding::AV1.layers(3, 3),
    Coding::AV1.layers(3, 3).key_only(),
];

/// Those of several sizes.
fn sized() -> impl Iterator<Item = Coding> {
    CODINGS.into_iter().filter(|coding| coding.spatial > 1)
}

/// One stream of 1200 kbit/s, 15 pictures a second.
fn camera(coding: Coding) -> Camera {
    Camera::hd().coded(coding)
}

fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("CAMPANILE_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"))
}

/// What one page has seen of another, nothing of which was wrong.
#[track_caller]
fn sound(page: &Page, other: &Page, story: &str) -> Seen {
    let seen = page.seen(other);
    let breaks = [seen.corrupt, seen.picture_breaks, seen.clock_breaks, seen.sequence_jumps];
    assert_eq!(breaks, [0; 4], "{story}: {seen:?}");
    seen
}

/// The same, and nothing was sent in vain.
#[track_caller]
fn frugal(page: &Page, other: &Page, story: &str) -> Seen {
    let seen = sound(page, other, story);
    assert_eq!(seen.strays, 0, "{story}: {seen:?}");
    seen
}

/// The sizes that a page has seen of another's pictures, in order.
fn sizes(page: &Page, other: &Page) -> Vec<u8> {
    page.seen(other).layers.iter().map(|(_, size)| *size).collect()
}

#[test]
fn every_picture_has_what_it_needs_on_any_network() {
    for seed in seeds() {
        for (number, coding) in (0..).zip(CODINGS) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (percent, pictures, still_ms) = ASKED[(seed + number) as usize % ASKED.len()];
            let jitter = millis(u64::from(rng.next_u32() % 40));
            let story = format!("seed {seed}, {coding:?}, losing {percent} %, {jitter:?}");
            let conditions = Conditions::GOOD.losing(f64::from(percent) / 100.0).jittery(jitter);
            let world = World::new(Seed(seed)).network(conditions);
            let camera = if seed % 2 == 0 { camera(coding) } else { camera(coding).about_to_wrap() };
            let pages = ["ann", "bob", "cid"].map(|name| world.join(name).publish(camera.clone()));
            world.run_for(secs(12));
            for page in &pages {
                for other in pages.iter().filter(|other| other.id() != page.id()) {
                    let seen = sound(page, other, &story);
                    assert!(seen.frames >= pictures, "{story}: {seen:?}");
                    assert!(seen.longest_gap < millis(still_ms), "{story}: {seen:?}");
                }
            }
        }
    }
}

#[test]
fn a_receiver_whose_link_narrows_gets_a_smaller_picture_and_the_large_one_back() {
    for (seed, coding) in seeds().flat_map(|seed| sized().map(move |coding| (seed, coding))) {
        let story = format!("seed {seed}, {coding:?}");
        let world = World::new(Seed(seed));
        let ann = world.join("ann").publish(camera(coding));
        let (bob, cid) = (world.join("bob"), world.join("cid"));
        world.run_for(secs(7) + millis(131 * (seed % 10)));
        assert_eq!((sizes(&bob, &ann), sizes(&cid, &ann)), (vec![2], vec![2]), "{story}");
        bob.network(Conditions::GOOD, narrow(300, millis(330)));
        let fell = world.run_until(secs(3), || sizes(&bob, &ann).last() == Some(&0));
        assert!(fell, "{story}: {:?}", bob.seen(&ann));
        world.run_for(secs(10));
        assert_eq!(sizes(&bob, &ann).last(), Some(&0), "{story}: {:?}", bob.seen(&ann));
        bob.network(Conditions::GOOD, Conditions::GOOD);
        let is_back = world.run_until(secs(10), || sizes(&bob, &ann).last() == Some(&2));
        assert!(is_back, "{story}: {:?}", bob.seen(&ann));
        let seen = frugal(&bob, &ann, &story);
        assert!(seen.longest_gap < secs(3), "{story}: {seen:?}");
        let others = frugal(&cid, &ann, &story);
        assert_eq!(sizes(&cid, &ann), [2], "{story}");
        assert!(others.longest_gap < millis(200), "{story}: {others:?}");
    }
}

#[test]
fn a_late_joiner_sees_a_picture_within_a_second() {
    for (seed, coding) in seeds().flat_map(|seed| CODINGS.map(move |coding| (seed, coding))) {
        let story = format!("seed {seed}, {coding:?}");
        let world = World::new(Seed(seed)).network(Conditions::GOOD.losing(0.02).jittery(millis(20)));
        let ann = world.join("ann").publish(camera(coding));
        let cid = world.join("cid");
        world.run_for(secs(5));
        let bob = world.join("bob");
        assert!(world.run_until(secs(5), || bob.client().state == State::Started), "{story}");
        assert!(world.run_until(secs(1), || bob.seen(&ann).frames > 0), "{story}");
        world.run_for(secs(2));
        sound(&bob, &ann, &story);
        sound(&cid, &ann, &story);
    }
}

#[test]
fn a_size_that_its_sender_gives_up_is_replaced_and_comes_back() {
    for (seed, coding) in seeds().flat_map(|seed| sized().map(move |coding| (seed, coding))) {
        let story = format!("seed {seed}, {coding:?}");
        let world = World::new(Seed(seed)).network(Conditions::GOOD.losing(0.01));
        let ann = world.join("ann").publish(camera(coding));
        let (bob, cid) = (world.join("bob"), world.join("cid"));
        world.run_for(secs(4) + millis(31 * (seed % 20)));
        for _ in 0..2 {
            ann.gives_up_top();
            world.run_for(secs(4));
            ann.sends_sizes(3);
            world.run_for(secs(4));
        }
        for page in [&bob, &cid] {
            let seen = sound(page, &ann, &story);
            assert_eq!(sizes(page, &ann), [2, 1, 2, 1, 2], "{story}");
            assert!(seen.longest_gap < secs(1), "{story}: {seen:?}");
        }
    }
}

#[test]
fn whoever_bears_two_thirds_of_the_pictures_gets_fewer_and_no_frozen_one() {
    for (seed, coding) in seeds().flat_map(|seed| CODINGS.map(move |coding| (seed, coding))) {
        if coding.spatial > 1 {
            continue;
        }
        let story = format!("seed {seed}, {coding:?}");
        let world = World::new(Seed(seed));
        let ann = world.join("ann").publish(camera(coding));
        let (bob, cid) = (world.join("bob"), world.join("cid"));
        world.run_for(secs(7));
        bob.network(Conditions::GOOD, narrow(850, millis(330)));
        world.run_for(secs(5));
        let before = bob.seen(&ann);
        world.run_for(secs(20));
        let seen = frugal(&bob, &ann, &story);
        let pictures = seen.frames - before.frames;
        assert!((100..=225).contains(&pictures), "{story}: {pictures} of 300");
        assert!(seen.longest_gap < millis(500), "{story}: {seen:?}");
        bob.network(Conditions::GOOD, Conditions::GOOD);
        world.run_for(secs(10));
        let before = bob.seen(&ann).frames;
        world.run_for(secs(4));
        let pictures = frugal(&bob, &ann, &story).frames - before;
        assert!(pictures >= 58, "{story}: {pictures} of 60");
        let others = frugal(&cid, &ann, &story);
        assert!(others.longest_gap < millis(200), "{story}: {others:?}");
    }
}

/// By REMB, so that nothing is lost on the way.
#[test]
fn of_what_is_thinned_and_whole_again_nothing_is_sent_in_vain() {
    for (seed, coding) in (0..6).flat_map(|seed| CODINGS.map(move |coding| (seed, coding))) {
        let story = format!("seed {seed}, {coding:?}");
        let world = World::new(Seed(seed));
        let ann = world.join("ann").publish(camera(coding));
        let bob = world.join("bob").gives_feedback(false).says_it_bears(5000);
        let _cid = world.join("cid");
        world.run_for(secs(6));
        bob.says_it_bears(800);
        world.run_for(secs(6) + millis(131 * seed));
        let thin = bob.seen(&ann);
        bob.says_it_bears(5000);
        world.run_for(secs(6));
        let before = frugal(&bob, &ann, &story).frames;
        assert!(thin.frames < 160 || coding.spatial > 1, "{story}: {thin:?}");
        world.run_for(secs(4));
        assert!(frugal(&bob, &ann, &story).frames >= before + 58, "{story}");
    }
}

/// One thing at random that happens to a camera in that coding, or to who watches it.
fn happens(world: &World, rng: &mut ChaCha8Rng, coding: Coding, [ann, bob, _]: &[Page; 3]) {
    let mut choose = |below: u32| rng.next_u32() % below;
    match choose(14) {
        0..3 => drop(bob.watch(Watch::Server([100, 200, 400, 700, 1500][choose(5) as usize]))),
        // One size stays.
        3 if coding.spatial > 1 => drop(ann.sends_sizes(coding.spatial).gives_up_top()),
        4 => drop(ann.sends_sizes(1 + choose(coding.spatial.into()) as u8)),
        5 => drop(ann.change_ssrcs()),
        6 => drop(bob.begs(2)),
        7 => drop(bob.black_out(millis(choose(1000).into()))),
        8..10 => drop(bob.network(Conditions::GOOD, narrow(u64::from(200 + choose(1500)), millis(330)))),
        10 => drop(bob.network(Conditions::GOOD, Conditions::MOBILE)),
        11 => drop(bob.network(Conditions::GOOD, Conditions::GOOD)),
        12 => {
            let stream_ids: Vec<_> = bob.client().index.sources.iter().map(|s| s.stream_id).collect();
            bob.say(ClientFrame::Pause { stream_ids: stream_ids.clone() });
            world.run_for(millis(choose(300).into()));
            bob.say(ClientFrame::Resume { stream_ids });
        }
        _ => {
            ann.let_flow(0, false);
            world.run_for(millis(choose(900).into()));
            ann.let_flow(0, true);
        }
    }
}

#[test]
fn whatever_happens_no_picture_is_wrong_and_in_the_end_all_of_it_comes() {
    let seeds = seeds().chain(OVERTAKEN);
    for (seed, coding) in seeds.flat_map(|seed| CODINGS.map(move |coding| (seed, coding))) {
        let story = format!("seed {seed}, {coding:?}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let conditions =
            [Conditions::GOOD, Conditions::GOOD.losing(0.02).jittery(millis(20))][seed as usize % 2];
        let world = World::new(Seed(seed)).network(conditions);
        let camera = if seed % 4 < 2 { camera(coding).about_to_wrap() } else { camera(coding) };
        let ann = world.join("ann").publish(camera);
        let pages = [ann, world.join("bob").watch(Watch::Server(1500)), world.join("cid")];
        world.run_for(secs(2));
        for _ in 0..15 {
            happens(&world, &mut rng, coding, &pages);
            world.run_for(millis(u64::from(rng.next_u32() % 900)));
        }
        let [ann, bob, cid] = &pages;
        ann.sends_sizes(coding.spatial);
        bob.watch(Watch::Server(1500)).network(Conditions::GOOD, Conditions::GOOD);
        let late = world.join("dan");
        // What has been paused again and again is not tried again before long.
        world.run_for(secs(30));
        let before: Vec<Seen> = [bob, cid, &late].map(|page| sound(page, ann, &story)).into();
        world.run_for(secs(2));
        for (page, before) in [bob, cid, &late].into_iter().zip(before) {
            let seen = sound(page, ann, &story);
            let pictures = seen.frames - before.frames;
            // Where 2 % are lost each way, 22 is the least that was seen.
            assert!(pictures >= 18, "{story}: {} sees {pictures} of 30: {seen:?}", page.client().name);
            assert_eq!(
                sizes(page, ann).last(),
                Some(&(coding.spatial - 1)),
                "{story}: {}",
                page.client().name
            );
        }
    }
}
