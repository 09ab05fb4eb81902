//! What the account's events tell of attendees: who comes and goes, whose picture is on. That every beginning has one end is
//! checked in every run of every test by the simulator itself.

use campanile_sim::{Camera, Page, Seed, World, secs};
use campanile_wire::api::{Capabilities, Capability};
use campanile_wire::events::EventType::{self, *};

/// Ann with her camera on, Bob without.
fn two(seed: u64) -> (World, Page, Page) {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob");
    world.run_for(secs(3));
    (world, ann, bob)
}

/// What was told of somebody.
fn told(world: &World, name: &str) -> Vec<EventType> {
    world.told().into_iter().filter(|(who, _)| who == name).map(|(_, what)| what).collect()
}

#[test]
fn who_leaves_has_left_and_their_picture_before_them() {
    let (world, ann, bob) = two(1);
    assert_eq!(told(&world, "ann"), [AttendeeJoined, AttendeeVideoStarted]);
    assert_eq!(told(&world, "bob"), [AttendeeJoined]);
    ann.unpublish();
    world.run_for(secs(2));
    ann.publish(Camera::small());
    world.run_for(secs(2));
    ann.leave();
    world.run_for(secs(20));
    assert_eq!(
        told(&world, "ann")[2..],
        [AttendeeVideoStopped, AttendeeVideoStarted, AttendeeVideoStopped, AttendeeLeft]
    );
    world.remove_attendee(&bob);
    world.run_for(secs(20));
    assert_eq!(told(&world, "bob"), [AttendeeJoined, AttendeeLeft]);
}

#[test]
fn who_is_lost_for_ten_seconds_has_dropped_and_who_comes_back_has_not() {
    let (world, ann, bob) = two(2);
    bob.cut();
    world.run_for(secs(5));
    assert!(bob.client().is_in());
    assert_eq!(told(&world, "bob"), [AttendeeJoined, AttendeeAuthorized]);
    ann.stays_away().cut();
    world.run_for(secs(9));
    assert_eq!(told(&world, "ann"), [AttendeeJoined, AttendeeVideoStarted]);
    world.run_for(secs(3));
    assert_eq!(told(&world, "ann")[2..], [AttendeeVideoStopped, AttendeeDropped]);
    bob.vanish();
    world.run_for(secs(90));
    assert_eq!(told(&world, "bob")[2..], [AttendeeDropped], "nobody said so, but nothing was heard");
}

#[test]
fn another_device_of_the_same_attendee_is_the_same_attendee() {
    let (world, ann, _bob) = two(3);
    let tablet = world.join_again(&ann);
    world.run_for(secs(3));
    assert!(tablet.client().is_in() && !ann.client().is_in());
    assert_eq!(
        told(&world, "ann")[2..],
        [AttendeeAuthorized, AttendeeVideoStopped],
        "the camera was the old device's"
    );
}

#[test]
fn a_share_has_events_of_its_own() {
    let (world, ann, _bob) = two(4);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(3));
    let of_share = |world: &World| -> Vec<EventType> {
        let told = world.told().into_iter().map(|(_, what)| what);
        told.filter(|what| format!("{what:?}").contains("Content")).collect()
    };
    assert_eq!(of_share(&world), [AttendeeContentJoined, AttendeeContentVideoStarted]);
    share.leave();
    world.run_for(secs(3));
    assert_eq!(of_share(&world)[2..], [AttendeeContentVideoStopped, AttendeeContentLeft]);
    let share = world.share(&ann, Camera::small());
    world.run_for(secs(3));
    share.stays_away().cut();
    world.run_for(secs(12));
    assert_eq!(of_share(&world)[6..], [AttendeeContentVideoStopped, AttendeeContentDropped]);
}

#[test]
fn the_end_of_a_meeting_and_of_a_capability_end_what_was_on() {
    let (world, ann, _bob) = two(5);
    let no_camera = Capabilities { video: Capability::Receive, ..Capabilities::ALL };
    world.set_capabilities(&ann, no_camera);
    world.run_for(secs(1));
    assert_eq!(told(&world, "ann")[2..], [AttendeeVideoStopped]);
    world.end_meeting();
    world.run_for(secs(1));
    assert_eq!(told(&world, "ann")[3..], [AttendeeLeft]);
    assert_eq!(told(&world, "bob"), [AttendeeJoined, AttendeeLeft]);
}

#[test]
fn an_audience_is_in_its_replica_and_whoever_is_promoted_in_both() {
    let world = World::new(Seed(6));
    let _ann = world.join("ann");
    let eve = world.join_replica("eve", 0);
    world.run_for(secs(3));
    assert_eq!(told(&world, "eve"), [AttendeeJoined]);
    let stage = world.invite();
    eve.promote(stage, "eve on stage");
    world.run_for(secs(2));
    assert_eq!(told(&world, "eve on stage"), [AttendeeJoined]);
    eve.demote();
    world.run_for(secs(2));
    assert_eq!(told(&world, "eve on stage"), [AttendeeJoined, AttendeeLeft]);
    assert_eq!(told(&world, "eve"), [AttendeeJoined], "still in the audience");
    eve.promote(stage, "eve on stage").stays_away();
    world.run_for(secs(2));
    eve.cut();
    world.run_for(secs(12));
    assert_eq!(told(&world, "eve on stage")[2..], [AttendeeJoined, AttendeeDropped]);
    assert_eq!(told(&world, "eve"), [AttendeeJoined, AttendeeDropped]);
}
