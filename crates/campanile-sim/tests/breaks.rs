//! Connections of which only a part breaks, and machines that sleep: who notices what, how soon, and what others see.

use campanile_sim::{Camera, Conditions, Page, Seed, World, millis, secs};

/// What `page` was told about `other` coming and going: true for here, and whether it was dropped.
fn told(page: &Page, other: &Page) -> Vec<(bool, bool)> {
    let id = other.id();
    page.client().presence.iter().filter(|p| p.attendee == id).map(|p| (p.here, p.dropped)).collect()
}

fn two(seed: u64) -> (World, Page, Page) {
    let world = World::new(Seed(seed));
    let (ann, bob) = (world.join("ann").says(400), world.join("bob"));
    world.run_for(secs(3));
    (world, ann, bob)
}

/// Media gets through to `page`, and from it to `other`.
fn flows(world: &World, page: &Page, other: &Page) -> bool {
    let before = (page.client().audio_packets, other.client().audible_packets);
    world.run_for(secs(1));
    page.client().audio_packets > before.0 + 40 && other.client().audible_packets > before.1 + 40
}

#[test]
fn who_loses_media_for_a_moment_only_misses_it() {
    let (world, ann, bob) = two(1);
    ann.lose_media(secs(20));
    world.run_for(secs(21));
    assert!(flows(&world, &ann, &bob));
    assert_eq!((ann.client().reconnects, told(&bob, &ann)), (0, vec![(true, false)]));
}

#[test]
fn who_loses_media_for_longer_comes_anew_and_is_not_seen_to_go() {
    let (world, ann, bob) = two(2);
    ann.lose_media(secs(28));
    world.run_for(secs(40));
    assert_eq!(ann.client().reconnects, 1);
    assert_eq!(told(&bob, &ann), [(true, false)]);
    assert_eq!(told(&ann, &bob), [(true, false)], "the first roster is whole");
    assert!(flows(&world, &ann, &bob));
}

#[test]
fn media_flows_on_while_signaling_stands_still() {
    let (world, ann, bob) = two(3);
    ann.lose_signaling(secs(20));
    for _ in 0..19 {
        assert!(flows(&world, &ann, &bob));
    }
    world.run_for(secs(5));
    assert_eq!((ann.client().reconnects, told(&bob, &ann)), (0, vec![(true, false)]));
}

#[test]
fn who_loses_signaling_for_longer_comes_anew_and_is_not_seen_to_go() {
    let (world, ann, bob) = two(4);
    ann.lose_signaling(secs(50));
    world.run_for(secs(60));
    assert_eq!(ann.client().reconnects, 1);
    assert_eq!(told(&bob, &ann), [(true, false)]);
    assert_eq!(told(&ann, &bob), [(true, false)]);
    assert!(flows(&world, &ann, &bob));
}

#[test]
fn who_sleeps_for_minutes_has_dropped_and_is_back_soon_after_waking() {
    let (world, ann, bob) = two(5);
    ann.sleep(secs(300));
    world.run_for(secs(62));
    assert_eq!(told(&bob, &ann), [(true, false), (false, true)]);
    world.run_for(secs(238));
    assert_eq!((world.population(), bob.roster()), ((1, 1), vec!["bob".to_owned()]));
    assert!(world.run_until(secs(5), || ann.client().reconnects == 1));
    world.run_for(secs(1));
    assert_eq!(told(&bob, &ann), [(true, false), (false, true), (true, false)]);
    assert_eq!(ann.roster(), ["ann", "bob"]);
    assert!(flows(&world, &ann, &bob));
}

/// How much later than it was said the sound of a share is heard, and how much later the sender reports place it; both
/// beside the picture, which takes a network's time and is placed at the time at which it left.
fn sound_behind_picture(seed: u64, conditions: Conditions) -> (i64, i64) {
    let world = World::new(Seed(seed));
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    let share = world.share(&ann, Camera::hd()).network(conditions, Conditions::GOOD);
    world.run_for(secs(20));
    assert!(bob.seen(&share).frames > 200);
    let said = world.elapsed();
    share.says(700);
    world.run_for(secs(3));
    let (heard, placed) = bob.sound_began().expect("it is heard, and reports came");
    let from = |moment: std::time::Duration, base: std::time::Duration| {
        moment.as_millis() as i64 - base.as_millis() as i64
    };
    let heard = from(heard, said + conditions.latency + Conditions::GOOD.latency);
    let placed = from(placed, said + conditions.latency);
    println!("the sound comes {heard} ms after the picture, and {placed} ms by the reports");
    (heard, placed)
}

#[test]
fn sound_and_picture_of_a_share_belong_together_to_within_80_ms() {
    let (calm, placed) = sound_behind_picture(6, Conditions::GOOD);
    assert!((0..80).contains(&calm), "{calm} ms as the packets come");
    assert!((-20..40).contains(&placed), "{placed} ms by the reports");
    // Where the sound has to wait for late packets, the reports tell the receiver how long.
    // How late the first packet of a sound itself is, is chance: the middle of several.
    let late = (1..=9).map(|seed| sound_behind_picture(seed, Conditions::GOOD.jittery(millis(90))));
    let (mut heard, mut placed): (Vec<_>, Vec<_>) = late.unzip();
    heard.sort_unstable();
    placed.sort_unstable();
    assert!(heard[4] > calm, "{heard:?} ms as the packets come");
    assert!((-40..80).contains(&placed[4]), "{placed:?} ms by the reports");
    assert!(placed.iter().all(|placed| (-80..80).contains(placed)), "{placed:?} ms by the reports");
}
