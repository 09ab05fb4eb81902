//! A worker that has room for so many: who is told to stay out, and who is not.

use campanile_meeting::service::Limits;
use campanile_sim::{Camera, Ending, Seed, State, World, secs};
use campanile_wire::signaling::ServerFrame;

fn world_for(attendees: usize) -> World {
    World::with_limits(Seed(1), Limits { attendees, ..Limits::default() })
}

#[test]
fn whoever_comes_when_all_places_are_taken_is_told_409_and_others_notice_nothing() {
    let world = world_for(2);
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    let frames = bob.client().frames.len();
    let cat = world.join("cat");
    world.run_for(secs(2));
    assert_eq!((cat.client().ending, cat.client().state), (Some(Ending::Error(409)), State::Over));
    assert!(!cat.client().frames.iter().any(|(_, frame)| matches!(frame, ServerFrame::JoinAck(_))));
    assert_eq!(bob.client().frames.len(), frames);
    assert_eq!([ann.roster(), bob.roster()], [["ann", "bob"], ["ann", "bob"]]);
    assert!(
        cat.client().frames.iter().any(|(_, frame)| *frame == ServerFrame::LeaveAck),
        "and its leave is answered"
    );
    // In a replica it is the same room.
    let eve = world.join_replica("eve", 0);
    world.run_for(secs(2));
    assert_eq!(eve.client().ending, Some(Ending::Error(409)));
}

#[test]
fn whoever_is_in_may_come_back_take_over_and_share() {
    let world = world_for(2);
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    let share = world.share(&ann, Camera::small());
    ann.cut();
    bob.cut_unnoticed();
    world.run_for(secs(5));
    assert!(ann.client().is_in() && bob.client().is_in() && share.client().is_in());
    assert_eq!((ann.client().reconnects, bob.client().reconnects), (1, 1));
    let tablet = world.join_again(&bob);
    world.run_for(secs(2));
    assert!(tablet.client().is_in());
    assert_eq!(ann.roster(), ["ann", "ann#content", "bob"]);
}

#[test]
fn a_place_that_somebody_gives_up_is_free() {
    let world = world_for(2);
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    bob.leave();
    world.run_for(secs(1));
    let cat = world.join("cat");
    world.run_for(secs(2));
    assert!(cat.client().is_in());
    // One who has vanished keeps it for as long as others see them.
    cat.stays_away().cut();
    world.run_for(secs(5));
    let early = world.join("early");
    world.run_for(secs(8));
    assert_eq!(early.client().ending, Some(Ending::Error(409)));
    let late = world.join("late");
    world.run_for(secs(2));
    assert!(late.client().is_in());
    assert_eq!(ann.roster(), ["ann", "late"]);
}
