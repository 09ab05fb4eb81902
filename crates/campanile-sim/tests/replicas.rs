//! Replica meetings: an audience that hears and sees the primary meeting's people, and is perceived by nobody until it is
//! promoted.

use campanile_sim::{Camera, Ending, Page, Seed, State, World, millis, secs};
use campanile_wire::api::{Capabilities, Capability};
use campanile_wire::signaling::{AudioStatus, ServerFrame};

/// Ann speaks in the primary meeting with her camera on; eve and fred are the audience of one replica, gus of another.
struct Hall {
    world: World,
    ann: Page,
    eve: Page,
    fred: Page,
    gus: Page,
}

fn hall(seed: u64) -> Hall {
    let world = World::new(Seed(seed));
    let ann = world.join("ann").says(400).publish(Camera::small()).listens();
    let eve = world.join_replica("eve", 0).says(1000).listens();
    let fred = world.join_replica("fred", 0).says(1500).listens();
    let gus = world.join_replica("gus", 1).publish(Camera::small()).listens();
    world.run_for(secs(4));
    Hall { world, ann, eve, fred, gus }
}

fn hears(page: &Page, hz: u32) -> bool {
    page.client().hears_db(hz) > -30.0
}

/// How the server answered this page's wishes to be promoted.
fn promotions(page: &Page) -> Vec<Option<u32>> {
    let ack = |frame: &ServerFrame| match frame {
        ServerFrame::PrimaryMeetingJoinAck { error } => Some(*error),
        _ => None,
    };
    page.client().frames.iter().filter_map(|(_, frame)| ack(frame)).collect()
}

fn demoted_by_server(page: &Page) -> bool {
    page.client().frames.iter().any(|(_, frame)| *frame == ServerFrame::PrimaryMeetingLeave)
}

#[test]
fn the_audience_perceives_the_primarys_people_and_nobody_perceives_it() {
    let Hall { world, ann, eve, fred, gus } = hall(1);
    assert_eq!(ann.roster(), ["ann"]);
    for (page, names) in [(&eve, ["ann", "eve"]), (&fred, ["ann", "fred"]), (&gus, ["ann", "gus"])] {
        assert_eq!(page.roster(), names);
        assert!(hears(page, 400) && page.seen(&ann).frames > 20);
        assert!(page.client().index.at_capacity, "no camera can be switched on");
    }
    for hz in [1000, 1500] {
        assert!([&ann, &eve, &fred, &gus].iter().all(|page| !hears(page, hz)));
    }
    assert!(gus.client().view_only, "the camera that was on is refused");
    assert_eq!([&ann, &eve].map(|page| page.seen(&gus).frames), [0, 0]);
    eve.sends("chat", "from the audience", secs(60));
    ann.sends("chat", "from the stage", secs(60));
    world.run_for(secs(1));
    let texts = |page: &Page| page.client().messages.iter().map(|m| m.data.clone()).collect::<Vec<_>>();
    assert_eq!([texts(&ann), texts(&eve)], [vec![], vec![b"from the stage".to_vec()]]);
    let late = world.join_replica("late", 1);
    world.run_for(secs(1));
    assert_eq!(texts(&late), [b"from the stage"], "what is kept is kept for the audience too");
    assert_eq!(world.present(), 1, "of the primary meeting, only ann is present");
}

#[test]
fn coming_and_going_of_an_audience_is_told_to_nobody() {
    let Hall { world, ann, eve, fred, gus } = hall(2);
    let told = |page: &Page| (page.client().presence.len(), page.client().frames.len());
    let before = [&ann, &eve, &gus].map(told);
    fred.leave();
    let hal = world.join_replica("hal", 0);
    world.run_for(secs(2));
    assert_eq!(hal.roster(), ["ann", "hal"]);
    assert_eq!([&ann, &eve, &gus].map(told), before, "not even by an index");
    hal.stays_away().cut();
    world.run_for(secs(15));
    assert_eq!([&ann, &eve, &gus].map(|page| told(page).0), before.map(|(presence, _)| presence));
}

#[test]
fn a_promotion_puts_on_stage_without_a_new_offer_and_a_demotion_takes_off() {
    let Hall { world, ann, eve, fred, .. } = hall(3);
    let offers = eve.client().subscribes;
    let guest = world.invite();
    eve.promote(guest, "guest");
    world.run_for(secs(1));
    assert_eq!(promotions(&eve), [None]);
    assert_eq!(eve.client().subscribes, offers);
    assert_eq!(ann.roster(), ["ann", "guest"]);
    assert_eq!(fred.roster(), ["ann", "fred", "guest"]);
    assert_eq!(eve.roster(), ["ann", "eve", "guest"]);
    assert!(hears(&ann, 1000) && hears(&fred, 1000) && !hears(&eve, 1000));
    assert!(!eve.client().index.at_capacity);
    assert_eq!(world.present(), 2);
    eve.publish(Camera::small()).sends("chat", "hello", secs(0));
    world.run_for(secs(3));
    let seen = |page: &Page| page.client().seen(&guest.to_string()).frames;
    assert!(seen(&ann) > 20 && seen(&fred) > 20 && seen(&eve) == 0);
    let said: Vec<_> = ann.client().messages.iter().map(|m| m.sender_attendee_id.clone()).collect();
    assert_eq!(said, [guest.to_string()]);
    eve.mute(true);
    world.run_for(secs(1));
    assert!(ann.client().roster[&guest.to_string()].muted && !hears(&ann, 1000));
    eve.mute(false).demote();
    world.run_for(secs(1));
    assert_eq!([ann.roster(), fred.roster()], [vec!["ann"], vec!["ann", "fred"]]);
    assert!(!hears(&ann, 1000) && ann.client().index.sources.is_empty());
    assert!(eve.client().is_in() && hears(&eve, 400), "she stays in the audience");
    assert!(!demoted_by_server(&eve));
    assert_eq!(world.present(), 1);
}

#[test]
fn whoever_breaks_off_is_off_the_stage_and_comes_back_to_the_audience() {
    let Hall { world, ann, eve, .. } = hall(4);
    eve.promote(world.invite(), "guest");
    world.run_for(secs(1));
    eve.cut();
    world.run_for(millis(100));
    assert_eq!(ann.roster(), ["ann"], "at once, without the grace of a member");
    assert!(ann.client().presence.last().is_some_and(|last| !last.here && last.dropped));
    world.run_for(secs(6));
    assert_eq!(eve.client().reconnects, 1);
    assert_eq!([ann.roster(), eve.roster()], [vec!["ann"], vec!["ann", "eve"]]);
    assert!(!hears(&ann, 1000) && hears(&eve, 400));
}

#[test]
fn a_page_that_reconnects_beside_its_old_socket_is_off_the_stage_too() {
    let Hall { world, ann, eve, .. } = hall(5);
    eve.promote(world.invite(), "guest");
    world.run_for(secs(1));
    eve.cut_unnoticed();
    world.run_for(secs(5));
    assert_eq!(eve.client().reconnects, 1);
    assert_eq!([ann.roster(), eve.roster()], [vec!["ann"], vec!["ann", "eve"]]);
    assert!(!hears(&ann, 1000));
}

#[test]
fn a_deleted_attendee_is_off_the_stage_and_told_so() {
    let Hall { world, ann, eve, .. } = hall(6);
    let guest = world.invite();
    eve.promote(guest, "guest");
    world.run_for(secs(1));
    world.remove(guest);
    world.run_for(millis(200));
    assert!(demoted_by_server(&eve) && eve.client().is_in());
    assert_eq!(ann.roster(), ["ann"]);
    eve.promote(guest, "guest");
    world.run_for(secs(1));
    assert_eq!(promotions(&eve), [None, Some(403)], "nor can they be shown again");
}

#[test]
fn the_attendee_of_a_promotion_takes_part_once() {
    let Hall { world, ann, eve, fred, .. } = hall(7);
    let bob = world.join("bob").says(700);
    world.run_for(secs(2));
    let bobs = bob.client().attendee.id;
    eve.promote(bobs, "bob");
    world.run_for(secs(1));
    assert_eq!(bob.client().ending, Some(Ending::Status(AudioStatus::JoinedFromAnotherDevice)));
    assert!(hears(&ann, 1000) && !hears(&ann, 700));
    fred.promote(bobs, "bob");
    world.run_for(secs(1));
    assert!(demoted_by_server(&eve));
    assert!(hears(&ann, 1500) && !hears(&ann, 1000));
    let tablet = world.join_again(&bob).says(900);
    world.run_for(secs(2));
    assert!(demoted_by_server(&fred) && tablet.client().is_in());
    assert!(hears(&ann, 900) && !hears(&ann, 1500));
    assert_eq!(ann.roster(), ["ann", "bob"]);
}

#[test]
fn only_an_audience_can_be_promoted() {
    let Hall { world, ann, .. } = hall(8);
    ann.promote(world.invite(), "guest");
    world.run_for(secs(1));
    assert_eq!(promotions(&ann), [Some(400)]);
    assert!(ann.client().is_in() && ann.roster() == ["ann"]);
}

#[test]
fn what_a_promoted_attendee_may_do_is_what_the_credentials_allow() {
    let Hall { world, ann, eve, .. } = hall(9);
    let guest = world.invite();
    eve.promote(guest, "guest");
    world.run_for(secs(1));
    assert!(hears(&ann, 1000));
    world.limit(guest, Capabilities { audio: Capability::Receive, ..Capabilities::ALL });
    world.run_for(secs(1));
    assert!(!hears(&ann, 1000) && hears(&eve, 400));
}

#[test]
fn a_screen_is_shared_from_a_replica_while_promoted_and_no_longer() {
    let Hall { world, ann, eve, .. } = hall(10);
    let refused = world.share(&eve, Camera::small());
    world.run_for(secs(1));
    assert_eq!(refused.client().ending, Some(Ending::Error(409)));
    let guest = world.invite();
    eve.promote(guest, "guest");
    world.run_for(secs(1));
    let share = world.share(&eve, Camera::small());
    world.run_for(secs(3));
    assert_eq!(ann.roster(), ["ann", "guest", "guest#content"]);
    assert!(ann.client().seen(&format!("{guest}#content")).frames > 20);
    assert!(eve.client().roster.contains_key(&share.id()), "by which its own client knows that it has begun");
    eve.demote();
    world.run_for(secs(1));
    assert_eq!(share.client().state, State::Over);
    assert_eq!([ann.roster(), eve.roster()], [vec!["ann"], vec!["ann", "eve"]]);
}

#[test]
fn a_replica_ends_alone_and_the_primary_takes_all_along() {
    let Hall { world, ann, eve, fred, gus } = hall(11);
    let ended = Some(Ending::Status(AudioStatus::MeetingEnded));
    world.end_replica(0);
    world.run_for(secs(1));
    assert_eq!([&eve, &fred].map(|page| page.client().ending), [ended, ended]);
    assert!(ann.client().is_in() && gus.client().is_in());
    world.end_meeting();
    world.run_for(secs(1));
    assert_eq!([&ann, &gus].map(|page| page.client().ending), [ended, ended]);
    world.run_for(secs(30));
    assert_eq!(world.population(), (0, 0));
}
