//! Servers that stop and start again: who comes back, how soon, and what the others see of it.

use std::time::Duration;

use campanile_sim::{Camera, Page, Seed, State, World, millis, secs};
use campanile_wire::events::EventType::{self, *};

/// For how long a process that starts keeps the places of those who were there before it.
const GRACE: Duration = secs(10);

/// Pages whose sockets the server has closed, by code.
fn closes(pages: &[Page]) -> Vec<u16> {
    pages
        .iter()
        .flat_map(|page| page.client().closes.iter().map(|close| close.1).collect::<Vec<_>>())
        .collect()
}

fn gather(world: &World, count: usize) -> Vec<Page> {
    let pages: Vec<_> = (0..count).map(|at| world.join(&format!("p{at}"))).collect();
    world.run_for(secs(2));
    assert!(pages.iter().all(|page| page.client().state == State::Started));
    pages
}

/// How long the latest of these took until it was in again.
fn until_all_started(world: &World, pages: &[Page], at_most: Duration) -> Duration {
    let before = world.elapsed();
    let started = || pages.iter().all(|page| page.client().state == State::Started);
    assert!(
        world.run_until(at_most, started),
        "{:?}",
        pages.iter().map(|p| p.client().state).collect::<Vec<_>>()
    );
    world.elapsed() - before
}

#[test]
fn a_drain_asks_everybody_back_in_batches_and_says_when_they_are_gone() {
    let world = World::new(Seed(1));
    let pages = gather(&world, 120);
    world.drain_server(secs(10));
    // Three batches: 50, 50, 20, a tenth of a second apart.
    for (after, expected) in [(50, 50), (100, 100), (100, 120)] {
        world.run_for(millis(after));
        let asked: usize = pages.iter().filter(|page| !page.client().closes.is_empty()).count();
        assert_eq!(asked, expected);
    }
    world.run_for(millis(100));
    assert!(world.is_drained());
    assert!(closes(&pages).iter().all(|code| *code == 4500));
    // Whoever tries meanwhile is asked to try again, and nobody gives up.
    world.run_for(secs(5));
    assert!(pages.iter().all(|page| page.client().state != State::Over));
    assert_eq!(world.population().1, 0);
    world.cancel_drain();
    until_all_started(&world, &pages, secs(6));
}

#[test]
fn a_drain_ends_in_time_however_many_there_are() {
    let world = World::new(Seed(2));
    let pages = gather(&world, 120);
    world.drain_server(millis(200));
    world.run_for(millis(250));
    assert!(pages.iter().all(|page| !page.client().closes.is_empty()));
    assert!(world.is_drained());
}

#[test]
fn a_cancelled_drain_leaves_those_in_who_were_not_asked_yet() {
    let world = World::new(Seed(3));
    let pages = gather(&world, 120);
    world.drain_server(secs(10));
    world.run_for(millis(50));
    world.cancel_drain();
    world.run_for(secs(2));
    let asked = pages.iter().filter(|page| !page.client().closes.is_empty()).count();
    assert_eq!(asked, 50);
    assert!(pages.iter().all(|page| page.client().state == State::Started));
    // Nobody was seen to go.
    let presence = |page: &Page| page.client().presence.iter().all(|presence| presence.here);
    assert!(pages.iter().all(presence));
}

#[test]
fn an_empty_server_is_drained_at_once() {
    let world = World::new(Seed(4));
    world.drain_server(secs(10));
    assert!(world.is_drained());
    let ann = world.join("ann");
    world.run_for(millis(500));
    assert_eq!(closes(std::slice::from_ref(&ann))[0], 4500);
}

#[test]
fn after_a_kill_everybody_is_back_as_who_they_were() {
    let world = World::new(Seed(5));
    let ann = world.join("ann").publish(Camera::small());
    let bob = world.join("bob").publish(Camera::small());
    world.run_for(secs(3));
    let ids: Vec<_> = [&ann, &bob].map(|page| bob.client().roster[&page.id()].audio_stream_id).to_vec();
    world.kill_server();
    world.run_for(secs(2));
    world.start_server();
    let pages = [ann.clone(), bob.clone()];
    until_all_started(&world, &pages, secs(6));
    world.run_for(secs(3));
    for page in &pages {
        assert_eq!(page.roster(), ["ann", "bob"]);
        assert_eq!(page.client().subscriptions().len(), 1);
    }
    // Clients keep the highest ids they know: the new process goes on above them.
    assert!(
        [&ann, &bob]
            .iter()
            .zip(ids)
            .all(|(page, before)| { bob.client().roster[&page.id()].audio_stream_id > before })
    );
    let frames = bob.seen(&ann).frames;
    world.run_for(secs(2));
    assert!(bob.seen(&ann).frames > frames + 10);
}

/// Whether `page` was told of `other` that it is here, and when it went, that it had dropped.
fn told(page: &Page, other: &Page) -> Vec<(bool, bool)> {
    let id = other.id();
    page.client().presence.iter().filter(|p| p.attendee == id).map(|p| (p.here, p.dropped)).collect()
}

#[test]
fn after_a_kill_nobody_who_comes_back_is_seen_to_go() {
    let world = World::new(Seed(6));
    let pages = gather(&world, 8);
    pages[0].mute(true);
    let share = world.share(&pages[1], Camera::small());
    world.run_for(secs(2));
    world.kill_server();
    world.run_for(millis(300));
    world.start_server();
    let everybody = [&pages[..], &[share]].concat();
    until_all_started(&world, &everybody, secs(6));
    world.run_for(GRACE + secs(2));
    let muted = pages[0].id();
    for page in &everybody {
        let client = page.client();
        assert!(client.presence.iter().all(|presence| presence.here), "{:?}", client.presence);
        assert_eq!((client.roster.len(), client.index.num_participants), (9, 8));
        // Nor is it heard of anybody that they had unmuted meanwhile.
        assert!(client.roster[&muted].muted);
    }
}

/// Whose presence has ended by the events, and how.
fn ends(world: &World) -> Vec<(String, EventType)> {
    world.told().into_iter().filter(|(_, what)| what.ends().is_some()).collect()
}

#[test]
fn after_a_kill_whoever_stays_away_has_dropped_once_the_grace_is_over() {
    let world = World::new(Seed(7));
    let pages = gather(&world, 3);
    pages[0].stays_away();
    world.kill_server();
    world.start_server();
    let rest = pages[1..].to_vec();
    until_all_started(&world, &rest, secs(6));
    for page in &rest {
        assert_eq!(told(page, &pages[0]), [(true, false)]);
        assert_eq!(page.client().index.num_participants, 3);
    }
    world.run_for(GRACE + secs(2));
    for page in &rest {
        assert_eq!(told(page, &pages[0]), [(true, false), (false, true)]);
        assert_eq!(page.client().index.num_participants, 2);
    }
}

#[test]
fn a_second_kill_before_everybody_is_back_loses_nobody() {
    let world = World::new(Seed(12));
    let pages = gather(&world, 8);
    let share = world.share(&pages[1], Camera::small());
    world.run_for(secs(2));
    pages[0].stays_away();
    for _ in 0..3 {
        world.kill_server();
        world.run_for(millis(100));
        world.start_server();
        world.run_for(millis(200));
        let back = pages.iter().filter(|page| page.client().state == State::Started).count();
        assert!(back < 7, "somebody is still on the way");
    }
    let rest = [&pages[1..], &[share]].concat();
    until_all_started(&world, &rest, secs(6));
    world.run_for(GRACE + secs(2));
    for page in &rest {
        for other in &rest {
            let gone = told(page, other).into_iter().filter(|(here, _)| !here).count();
            assert_eq!(gone, 0, "{} about {}", page.id(), other.id());
        }
        assert_eq!(told(page, &pages[0]), [(true, false), (false, true)]);
        assert_eq!((page.client().roster.len(), page.client().index.num_participants), (8, 7));
    }
    // Events say the same: whoever is back was never away, and the one who is not has dropped, once.
    assert_eq!(ends(&world), [("p0".into(), AttendeeDropped)]);
}

#[test]
fn a_meeting_that_ends_while_somebody_is_awaited_ends_for_them_too() {
    let world = World::new(Seed(13));
    let pages = gather(&world, 2);
    pages.iter().for_each(|page| drop(page.stays_away()));
    world.kill_server();
    world.start_server();
    world.end_meeting();
    assert_eq!(ends(&world), [("p0".into(), AttendeeLeft), ("p1".into(), AttendeeLeft)]);
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
}

#[test]
fn whoever_is_removed_after_a_kill_is_waited_for_no_longer() {
    let world = World::new(Seed(8));
    let pages = gather(&world, 2);
    pages[0].stays_away();
    world.kill_server();
    world.start_server();
    until_all_started(&world, &pages[1..], secs(6));
    world.remove_attendee(&pages[0]);
    world.run_for(millis(200));
    assert_eq!(told(&pages[1], &pages[0]), [(true, false), (false, false)]);
    assert_eq!(pages[1].client().index.num_participants, 1);
}

#[test]
fn whoever_does_not_come_back_has_dropped_in_time_whatever_is_kept_for_newcomers() {
    let world = World::new(Seed(14));
    let pages = gather(&world, 1);
    pages[0].stays_away();
    world.kill_server();
    world.start_server();
    world.send_data_message("the office", "chat", "anybody there?", secs(60)).unwrap();
    world.run_for(GRACE + secs(1));
    assert_eq!(ends(&world), [("p0".into(), AttendeeDropped)]);
    assert_eq!((world.data_messages().len(), world.population()), (1, (1, 0)));
    world.run_for(secs(60));
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
}

#[test]
fn a_meeting_to_which_nobody_comes_back_is_forgotten() {
    let world = World::new(Seed(9));
    let pages = gather(&world, 2);
    pages.iter().for_each(|page| drop(page.stays_away()));
    world.kill_server();
    world.start_server();
    assert_eq!(world.population(), (1, 0));
    world.run_for(GRACE + secs(1));
    assert_eq!((world.population(), world.server_timeout()), ((0, 0), None));
}

/// How long from now until each of these gets sound again, in order.
fn until_sound(world: &World, pages: &[Page], at_most: Duration) -> Vec<Duration> {
    let before: Vec<_> = pages.iter().map(|page| page.client().audio_packets).collect();
    let began = world.elapsed();
    let mut back = vec![None; pages.len()];
    let all_back = world.run_until(at_most, || {
        for ((page, before), back) in pages.iter().zip(&before).zip(&mut back) {
            if page.client().audio_packets > *before {
                back.get_or_insert(world.elapsed() - began);
            }
        }
        back.iter().all(Option::is_some)
    });
    assert!(all_back, "somebody hears nothing");
    let mut back: Vec<Duration> = back.into_iter().flatten().collect();
    back.sort_unstable();
    back
}

#[test]
fn of_two_hundred_95_in_100_hear_again_within_three_seconds_of_the_restart() {
    let world = World::new(Seed(10));
    let pages = gather(&world, 200);
    world.kill_server();
    world.run_for(millis(250)); // the time that a process takes to start
    world.start_server();
    let back = until_sound(&world, &pages, secs(12));
    assert!(back[189] < secs(3), "{back:?}");
    assert!(pages.iter().all(|page| page.client().presence.iter().all(|presence| presence.here)));
}

#[test]
fn of_two_hundred_95_in_100_hear_again_within_three_seconds_of_a_drain() {
    let world = World::new(Seed(11));
    let pages = gather(&world, 200);
    world.drain_server(secs(10));
    assert!(world.run_until(secs(2), || world.is_drained()));
    world.kill_server();
    world.run_for(millis(250));
    world.start_server();
    let back = until_sound(&world, &pages, secs(12));
    assert!(back[189] < secs(3), "{back:?}");
    assert!(pages.iter().all(|page| page.client().presence.iter().all(|presence| presence.here)));
}
