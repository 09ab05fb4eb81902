//! Servers that stop and start again: who comes back, how soon, and what the others see of it.

use std::time::Duration;

use campanile_sim::{Camera, Page, Seed, State, World, millis, secs};

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
