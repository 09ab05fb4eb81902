//! What a moderator decides is done by the server, at once, whatever a client says.

use campanile_sim::{Camera, Ending, Page, Seed, World, millis, secs};

/// Within so long a decision must hold for everybody.
const ENFORCED: u64 = 200;

fn three(seed: u64) -> (World, Page, Page, Page) {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").says(400);
    let bob = world.join("bob").listens();
    let cat = world.join("cat").listens();
    world.run_for(secs(3));
    (world, ann, bob, cat)
}

fn muted(viewer: &Page, whom: &Page) -> bool {
    viewer.client().roster[&whom.id()].muted
}

/// Audio packets with sound that this page gets in one second from now on.
fn audible(world: &World, page: &Page) -> u64 {
    let before = page.client().audible_packets;
    world.run_for(secs(1));
    page.client().audible_packets - before
}

#[test]
fn whoever_is_muted_is_unheard_and_shown_so_within_200_ms_though_the_client_talks_on() {
    let (world, ann, bob, cat) = three(1);
    assert!(audible(&world, &bob) > 40);
    world.mute(&ann);
    world.run_for(millis(ENFORCED));
    assert!(muted(&bob, &ann) && muted(&cat, &ann) && !muted(&bob, &cat));
    assert_eq!([audible(&world, &bob), audible(&world, &cat)], [0, 0]);
    assert!(ann.client().is_in() && !ann.client().is_muted(), "her client knows nothing of it");
    ann.mute(true).mute(false);
    world.run_for(millis(ENFORCED));
    assert!(!muted(&bob, &ann), "and she may unmute");
    assert!(audible(&world, &bob) > 40);
}

#[test]
fn without_the_permission_nobody_unmutes_by_any_means() {
    let (world, ann, bob, _) = three(2);
    world.permit_unmute(&ann, false);
    assert!(audible(&world, &bob) > 40, "who speaks goes on speaking");
    world.mute(&ann);
    ann.mute(false);
    world.run_for(millis(ENFORCED));
    let silent = |world: &World, means: &str| {
        assert!(muted(&bob, &ann), "{means}");
        assert_eq!(audible(world, &bob), 0, "{means}");
    };
    silent(&world, "by a frame");
    ann.cut();
    world.run_for(secs(4));
    assert_eq!(ann.client().reconnects, 1);
    silent(&world, "by a new connection");
    let tablet = world.join_again(&ann).says(400);
    world.run_for(secs(2));
    silent(&world, "by another device");
    tablet.leave();
    world.run_for(secs(1));
    let again = world.join_again(&ann).says(400);
    world.run_for(secs(2));
    silent(&world, "by leaving and coming back");
    world.permit_unmute(&ann, true);
    assert_eq!(audible(&world, &bob), 0, "a permission is not yet a wish");
    again.mute(false);
    world.run_for(millis(ENFORCED));
    assert!(!muted(&bob, &ann) && audible(&world, &bob) > 40);
}

#[test]
fn a_reconnection_is_no_way_round_a_mute() {
    let (world, ann, bob, _) = three(3);
    world.mute(&ann);
    ann.cut_unnoticed();
    world.run_for(secs(4));
    assert_eq!(ann.client().reconnects, 1);
    assert!(muted(&bob, &ann));
    assert_eq!(audible(&world, &bob), 0);
}

#[test]
fn the_sound_of_a_content_share_is_muted_with_its_attendee() {
    let (world, ann, bob, _) = three(4);
    let share = world.share(&ann, Camera::small()).says(900);
    world.run_for(secs(2));
    ann.falls_silent();
    world.run_for(secs(1));
    assert!(audible(&world, &bob) > 40);
    world.mute(&ann);
    world.run_for(millis(ENFORCED));
    assert!(muted(&bob, &share));
    assert_eq!(audible(&world, &bob), 0);
    share.leave();
    world.run_for(secs(1));
    let second = world.share(&ann, Camera::small()).says(900);
    world.run_for(secs(2));
    assert!(muted(&bob, &second), "a new share is no way round it");
    assert_eq!(audible(&world, &bob), 0);
    ann.mute(false);
    world.run_for(millis(ENFORCED));
    assert!(!muted(&bob, &second) && audible(&world, &bob) > 40);
}

#[test]
fn a_locked_meeting_keeps_its_people_and_takes_in_nobody_else() {
    let (world, ann, bob, cat) = three(5);
    let early = world.join("early").joins_by_hand();
    cat.leave();
    world.run_for(secs(1));
    world.lock();
    world.run_for(millis(ENFORCED));
    assert_eq!(early.client().ending, Some(Ending::Closed(4403)), "connected, but not in");
    let late = world.join("late");
    let again = world.join_again(&cat);
    ann.cut();
    world.run_for(secs(5));
    assert_eq!(late.client().ending, Some(Ending::Closed(4403)));
    assert_eq!(again.client().ending, Some(Ending::Closed(4403)), "she had left before");
    assert_eq!((ann.client().reconnects, ann.client().is_in()), (1, true));
    let share = world.share(&bob, Camera::small());
    world.run_for(secs(2));
    assert!(share.client().is_in(), "the share of one who is in");
    world.unlock();
    let later = world.join("later");
    world.run_for(secs(2));
    assert!(later.client().is_in());
}
