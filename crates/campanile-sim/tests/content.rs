//! Content shares, as a second session of an attendee. More of them in `video.rs`, `sessions.rs` and `traps.rs`.

use campanile_sim::{Camera, Ending, Page, Seed, State, World, secs};

fn hears(page: &Page, hz: u32) -> bool {
    page.client().hears_db(hz) > -30.0
}

/// What `page` was told about `other` coming and going.
fn told(page: &Page, other: &Page) -> Vec<bool> {
    let id = other.id();
    page.client().presence.iter().filter(|p| p.attendee == id).map(|p| p.here).collect()
}

#[test]
fn a_share_of_sound_alone_is_heard_and_on_the_roster() {
    let world = World::new(Seed(1));
    let (ann, bob) = (world.join("ann").listens(), world.join("bob").listens());
    world.run_for(secs(2));
    let share = world.share(&ann, Camera::small()).unpublish().says(700);
    world.run_for(secs(3));
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
    assert!(hears(&bob, 700) && !hears(&ann, 700));
    assert!(bob.client().index.sources.is_empty(), "there is nothing to see");
    share.leave();
    world.run_for(secs(1));
    assert_eq!((share.client().state, share.client().ending), (State::Over, Some(Ending::Left)));
    assert_eq!(bob.roster(), ["ann", "bob"]);
    assert!(!hears(&bob, 700));
}

#[test]
fn a_share_that_reconnects_keeps_its_place_among_two_and_is_not_seen_to_go() {
    let world = World::new(Seed(2));
    let (ann, bob, cat) = (world.join("ann"), world.join("bob"), world.join("cat"));
    world.run_for(secs(2));
    let share = world.share(&ann, Camera::small());
    let _other = world.share(&bob, Camera::small());
    world.run_for(secs(3));
    share.cut();
    let third = world.share(&cat, Camera::small());
    world.run_for(secs(6));
    assert_eq!(third.client().ending, Some(Ending::Error(409)), "its place is kept");
    assert_eq!((share.client().reconnects, share.client().is_in()), (1, true));
    assert_eq!(told(&cat, &share), [true]);
    let before = cat.seen(&share).frames;
    world.run_for(secs(2));
    assert!(cat.seen(&share).frames > before + 10);
}

#[test]
fn a_base_that_reconnects_does_not_take_its_share_along() {
    let world = World::new(Seed(3));
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(2));
    ann.cut();
    world.run_for(secs(5));
    assert_eq!((ann.client().reconnects, share.client().reconnects), (1, 0));
    assert!(share.client().is_in());
    assert_eq!(told(&bob, &share), [true]);
    assert_eq!(bob.roster(), ["ann", "ann#content", "bob"]);
}
