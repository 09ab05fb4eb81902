//! A client whose connection breaks: what it tries again, and what it takes for the end. The rules are the JavaScript
//! client's.

use std::net::{Ipv4Addr, TcpListener};

use campanile_client::{AudioSource, Config, Event, Events, JoinInfo, Session, SessionStatus};
use tokio::time::timeout;

use crate::meddler::{Meddler, Moment};
use crate::world::{PATIENCE, World, hears, join, speaking, until};

/// What comes of joining past someone who closes connections as planned; and the audio sessions of all that were begun.
async fn attempt(info: &JoinInfo, plan: &[(Moment, u16)]) -> (Result<(), SessionStatus>, Vec<Option<u64>>) {
    let meddler = Meddler::before(info, plan).await;
    let joining = Session::join(meddler.way_in(info), Config::default());
    let outcome = timeout(PATIENCE, joining).await.expect("in time").map(drop).map_err(|error| error.0);
    (outcome, meddler.joins())
}

async fn lost(events: &mut Events) -> SessionStatus {
    let reason = |event| match event {
        Event::Reconnecting(status) => Some(status),
        _ => None,
    };
    until(events, reason).await
}

async fn started(events: &mut Events) {
    until(events, |event| matches!(event, Event::Started(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_index_only_the_service_s_own_trouble_is_tried_again() {
    let world = World::new("opening").await;
    let people = world.attendees(&["ann"]).await;
    for code in [1000, 1001, 1011, 4400, 4403] {
        let (outcome, connections) = attempt(&people[0], &[(Moment::Opening, code)]).await;
        assert_eq!(outcome, Err(SessionStatus::SignalingBadRequest), "{code}");
        assert_eq!(connections.len(), 1, "{code}");
    }
    let (outcome, connections) = attempt(&people[0], &[(Moment::Opening, 4410)]).await;
    assert_eq!((outcome, connections.len()), (Err(SessionStatus::MeetingEnded), 1));
    let (outcome, connections) =
        attempt(&people[0], &[(Moment::Opening, 4500), (Moment::Opening, 4599)]).await;
    assert_eq!((outcome, connections.len()), (Ok(()), 3));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_answer_every_close_is_tried_again_as_the_same_audio_session() {
    let world = World::new("subscribing").await;
    let people = world.attendees(&["ann"]).await;
    let plan = [(Moment::Subscribing, 4403), (Moment::Subscribing, 1000), (Moment::Subscribing, 4503)];
    let (outcome, connections) = attempt(&people[0], &plan).await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(connections.len(), 4);
    assert!(
        connections[0].is_some() && connections.iter().all(|one| *one == connections[0]),
        "{connections:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_comes_back_as_itself_and_passes_over_a_clean_close() {
    let world = World::new("live").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (_bob, mut bob_hears) =
        join(&people[1], Config { audio: speaking(700.0), ..Config::default() }).await;
    let meddler = Meddler::before(&people[0], &[]).await;
    let config = Config { audio: speaking(400.0), ..Config::default() };
    let (ann, mut ann_hears) = join(&meddler.way_in(&people[0]), config).await;
    hears(&mut ann_hears, &[700.0], &[400.0]).await;
    meddler.close(4508);
    assert_eq!(lost(&mut ann_hears).await, SessionStatus::SignalingInternalServerError);
    started(&mut ann_hears).await;
    hears(&mut bob_hears, &[400.0], &[700.0]).await;
    let joins = meddler.joins();
    assert!(joins.len() == 2 && joins[0].is_some() && joins[0] == joins[1], "{joins:?}");
    // As the JavaScript client, it believes that it is still in the meeting.
    meddler.close(1000);
    hears(&mut ann_hears, &[700.0], &[]).await;
    assert!(ann.is_alive());
    assert_eq!((ann.stats().reconnects(), meddler.joins().len()), (1, 2));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_comes_back() {
    let world = World::new("cut").await;
    let people = world.attendees(&["ann", "bob"]).await;
    let (ann, mut ann_events) =
        join(&people[0], Config { audio: speaking(400.0), ..Config::default() }).await;
    let (_bob, mut bob_events) = join(&people[1], Config::default()).await;
    hears(&mut bob_events, &[400.0], &[]).await;
    ann.cut();
    assert_eq!(lost(&mut ann_events).await, SessionStatus::SignalingChannelClosedUnexpectedly);
    started(&mut ann_events).await;
    assert_eq!(ann.stats().reconnects(), 1);
    hears(&mut bob_events, &[400.0], &[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_device_and_removal_are_the_end() {
    let world = World::new("terminal").await;
    let people = world.attendees(&["ann"]).await;
    let ended = |event| match event {
        Event::Ended(status) => Some(status),
        _ => None,
    };
    let silent = || Config { audio: AudioSource::Silence, ..Config::default() };
    let (_first, mut first_events) = join(&people[0], silent()).await;
    let (_second, mut second_events) = join(&people[0], silent()).await;
    assert_eq!(until(&mut first_events, ended).await, SessionStatus::AudioJoinedFromAnotherDevice);
    let path = format!("/meetings/{}/attendees/{}", people[0].meeting_id, people[0].attendee_id);
    world.api.call(hyper::Method::DELETE, &path, None).await.expect("she is removed");
    assert_eq!(until(&mut second_events, ended).await, SessionStatus::AudioAttendeeRemoved);
    world.end().await;
}

/// In virtual time: nobody listens where the client is sent to.
#[tokio::test(start_paused = true)]
async fn where_nobody_is_a_client_tries_for_two_minutes() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    let text = serde_json::json!({
        "Meeting": {
            "MeetingId": "m",
            "MediaPlacement": { "SignalingUrl": format!("ws://{}/control/m", closed.expect("a port")) },
        },
        "Attendee": { "AttendeeId": "a", "JoinToken": "t" },
    });
    let began = tokio::time::Instant::now();
    let outcome = Session::join(JoinInfo::parse(&text.to_string()).unwrap(), Config::default()).await;
    assert_eq!(outcome.err().map(|error| error.0), Some(SessionStatus::TaskFailed));
    // The last wait, or connecting, may begin before the two minutes have passed and end after.
    let took = began.elapsed();
    assert!((120..140).contains(&took.as_secs()), "{took:?}");
}
