//! What people in a meeting notice: sound, messages, shared content, and who gets in.

use std::time::Duration;

use campanile_client::{
    AudioSource, Config, Event, RosterChange, Session, SessionStatus, Subscriptions, Trust,
};
use tokio::time::timeout;

use crate::world::{PATIENCE, World, camera, hears, join, sees, speaking, until};

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_heard_by_all_but_themselves() {
    let world = World::new("mix").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let speak = |hz| Config { audio: speaking(hz), ..Config::default() };
    let (ann, mut ann_hears) = join(&people[0], speak(400.0)).await;
    let (_bob, mut bob_hears) = join(&people[1], speak(700.0)).await;
    let (_cat, mut cat_hears) = join(&people[2], Config { muted: true, ..speak(1000.0) }).await;
    tokio::join!(
        hears(&mut ann_hears, &[700.0], &[400.0, 1000.0]),
        hears(&mut bob_hears, &[400.0], &[700.0, 1000.0]),
        hears(&mut cat_hears, &[400.0, 700.0], &[1000.0]),
    );
    ann.set_muted(true);
    let told = |event| match event {
        Event::Roster(RosterChange::Muted(who)) if who.external_user_id == "ann" && who.muted => Some(()),
        _ => None,
    };
    until(&mut bob_hears, told).await;
    hears(&mut cat_hears, &[700.0], &[400.0, 1000.0]).await;
    timeout(PATIENCE, ann.leave()).await.expect("leaving is answered");
    let gone = |event| match event {
        Event::Roster(RosterChange::Left { attendee, dropped }) if attendee.external_user_id == "ann" => {
            Some(dropped)
        }
        _ => None,
    };
    assert!(!until(&mut bob_hears, gone).await, "she left, she was not lost");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_everybody_else_and_who_comes_later() {
    let world = World::new("data").await;
    let people = world.attendees(&["ann", "bob", "cat"]).await;
    let (ann, _ann_events) = join(&people[0], Config::default()).await;
    let (_bob, mut bob_events) = join(&people[1], Config::default()).await;
    ann.send_message("chat", b"hello".to_vec(), 60_000);
    let message = |event| match event {
        Event::Message(message) => Some((message.sender_external_user_id, message.topic, message.data)),
        _ => None,
    };
    let expected = ("ann".to_owned(), "chat".to_owned(), b"hello".to_vec());
    assert_eq!(until(&mut bob_events, message).await, expected);
    let (_cat, mut cat_events) = join(&people[2], Config::default()).await;
    assert_eq!(until(&mut cat_events, message).await, expected);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_content_is_seen_and_heard_by_others() {
    let world = World::new("content").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_ann, mut ann_events) =
        join(&people[0], Config { audio: AudioSource::Silence, ..Config::default() }).await;
    let watching = Config { subscriptions: Subscriptions::Highest(4), ..Config::default() };
    let (_bob, mut bob_events) = join(&people[1], watching).await;
    let config = Config { audio: speaking(700.0), ..Config::default() };
    let sharing = Session::share_content(&people[0], camera(9), config);
    let (content, _content_events) = timeout(PATIENCE, sharing).await.expect("in time").expect("shares");
    let announced = |event| match event {
        Event::Roster(RosterChange::Joined(who)) if who.attendee_id.ends_with("#content") => Some(who),
        _ => None,
    };
    let who = until(&mut ann_events, announced).await;
    assert_eq!(who.external_user_id, "ann");
    sees(&mut bob_events, 9, 20).await;
    hears(&mut bob_events, &[700.0], &[]).await;
    // Nobody hears their own content.
    hears(&mut ann_events, &[], &[700.0]).await;
    timeout(PATIENCE, content.leave()).await.expect("leaving is answered");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_authority_is_trusted_when_it_is_named_and_only_then() {
    let world = World::with("tls", |config| config.tls_local = true).await;
    let people = world.attendees(&["ann", "bob", "eve"]).await;
    assert!(people[0].signaling_url.starts_with("wss://"), "{}", people[0].signaling_url);
    let trusting = || Config { trust: world.trust.clone(), ..Config::default() };
    let (_ann, _events) = join(&people[0], Config { audio: speaking(400.0), ..trusting() }).await;
    let (_bob, mut bob_hears) = join(&people[1], trusting()).await;
    hears(&mut bob_hears, &[400.0], &[]).await;
    // Who does not trust it tries again and again, as a browser does when it cannot connect.
    let stranger = Session::join(people[2].clone(), Config { trust: Trust::system(), ..Config::default() });
    assert!(timeout(Duration::from_secs(5), stranger).await.is_err(), "nobody is let in without trust");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_meeting_ends_sessions_and_lets_nobody_in() {
    let world = World::new("end").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_ann, mut events) = join(&people[0], Config::default()).await;
    world.api.delete_meeting(&people[0].meeting_id).await.unwrap();
    let ended = |event| match event {
        Event::Ended(status) => Some(status),
        _ => None,
    };
    assert_eq!(until(&mut events, ended).await, SessionStatus::MeetingEnded);
    let late = timeout(PATIENCE, Session::join(people[1].clone(), Config::default())).await.expect("in time");
    assert_eq!(late.err().map(|error| error.0), Some(SessionStatus::MeetingEnded));
    world.end().await;
}
