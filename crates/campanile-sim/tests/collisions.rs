//! Streams under numbers that others have, or had: nobody gets a packet of one for another's.
//!
//! `CAMPANILE_SEEDS=n` tries so many seeds.

use campanile_sim::{Camera, Coding, Conditions, Page, Seed, World, millis, secs};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

const SEEDS: u64 = 20;
/// A late repair of a stream that had ended came under a number never heard before, and with it the numbers of its end.
const LATE_REPAIR: u64 = 1023;

fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("CAMPANILE_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"))
}

fn assert_sound(page: &Page, other: &Page, seed: u64) {
    let seen = page.seen(other);
    let breaks = [seen.corrupt, seen.picture_breaks, seen.clock_breaks, seen.sequence_jumps];
    assert_eq!(breaks, [0; 4], "seed {seed}: {seen:?}");
}

/// A stream in layers.
fn layered() -> [Camera; 4] {
    let codings = [
        Coding::VP8.layers(1, 3),
        Coding::VP9.layers(3, 3).flexible(),
        Coding::VP9.layers(3, 3).key_only().described(),
        Coding::AV1.layers(3, 3),
    ];
    codings.map(|coding| Camera::hd().coded(coding))
}

/// A network on which repairs are under way at any time.
const ROUGH: Conditions =
    Conditions { latency: millis(60), ..Conditions::GOOD.losing(0.03).jittery(millis(30)) };

#[test]
fn publishers_under_the_same_numbers_are_not_mixed_up() {
    let cameras =
        [Camera::simulcast(), Camera::simulcast(), Camera::simulcast()].into_iter().chain(layered());
    for (seed, camera) in (0..).zip(cameras) {
        let world = World::new(Seed(seed)).network(Conditions::GOOD.losing(0.02).jittery(millis(10)));
        let pages = ["ann", "bob", "cid"].map(|name| world.join(name).publish(camera.clone()));
        world.run_for(secs(3));
        for _ in 0..3 {
            pages[0].change_ssrcs();
            let ssrcs = pages[0].client().camera_ssrcs();
            pages[1..].iter().for_each(|page| drop(page.change_ssrcs_to(&ssrcs)));
            world.run_for(secs(3));
        }
        for page in &pages {
            for other in pages.iter().filter(|other| other.id() != page.id()) {
                assert_sound(page, other, seed);
                let seen = page.seen(other);
                assert!(seen.frames > 110 && seen.longest_gap < secs(2), "seed {seed}: {seen:?}");
            }
        }
    }
}

#[test]
fn a_stream_that_begins_anew_gets_nothing_of_the_one_before() {
    for seed in seeds().chain([LATE_REPAIR]) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let cameras = [Camera::hd(), Camera::hd().h264(), Camera::simulcast()];
        begins_anew(seed, cameras[rng.next_u32() as usize % 3].clone(), rng);
    }
    for seed in seeds() {
        let camera = layered()[seed as usize % 4].clone();
        begins_anew(seed, camera, ChaCha8Rng::seed_from_u64(seed));
    }
}

fn begins_anew(seed: u64, camera: Camera, mut rng: ChaCha8Rng) {
    let world = World::new(Seed(seed)).network(ROUGH);
    let ann = world.join("ann").publish(camera);
    let bob = world.join("bob");
    world.run_for(secs(3));
    for _ in 0..10 {
        ann.change_ssrcs();
        world.run_for(millis(u64::from(300 + rng.next_u32() % 700)));
    }
    assert_sound(&bob, &ann, seed);
    let before = bob.seen(&ann).frames;
    world.run_for(secs(5));
    assert!(bob.seen(&ann).frames > before + 45, "seed {seed}: {:?}", bob.seen(&ann));
    assert_sound(&bob, &ann, seed);
}

/// What no browser does, but a client may: a layer takes the number of another, media that of repairs, the camera that of
/// the microphone.
#[test]
fn numbers_that_change_their_meaning_are_learnt_anew() {
    for seed in seeds() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Nothing is late: of a late packet under such a number nobody could tell what it is.
        let world = World::new(Seed(seed));
        let ann = world.join("ann").publish(Camera::simulcast()).says(400);
        let bob = world.join("bob").listens();
        world.run_for(secs(3));
        for _ in 0..4 {
            let mut numbers: Vec<u32> = ann.client().camera_ssrcs().into_iter().flatten().collect();
            // None stays where it is: that would be the same stream, which has no two beginnings.
            for at in (1..numbers.len()).rev() {
                numbers.swap(at, rng.next_u32() as usize % at);
            }
            let microphone = ann.client().microphone_ssrc();
            if rng.next_u32().is_multiple_of(4) && !numbers.contains(&microphone) {
                numbers[4] = microphone;
            }
            let pairs: Vec<[u32; 2]> = numbers.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
            ann.change_ssrcs_to(&pairs);
            world.run_for(secs(3));
        }
        assert_sound(&bob, &ann, seed);
        let before = bob.seen(&ann).frames;
        world.run_for(secs(5));
        assert!(bob.seen(&ann).frames > before + 30, "seed {seed}: {:?}", bob.seen(&ann));
        assert!(bob.client().hears_db(400) > -30.0, "seed {seed}");
    }
}
