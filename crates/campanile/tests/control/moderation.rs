//! The moderation extension: what it keeps, whom it lets do what. What it does to those in a meeting is told by the
//! simulator's stories and the browser's.

use campanile_meeting::ids::MeetingId;
use campanile_meeting::registry::JoinError;
use serde_json::json;

use crate::common::{self, Client, TempDir};

fn path(meeting: &str, rest: &str) -> String {
    format!("/campanile/v1/meetings/{meeting}/{rest}")
}

#[tokio::test]
async fn a_lock_and_a_permission_taken_away_outlive_a_restart() {
    let directory = TempDir::new();
    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let meeting = client.create_meeting("moderated").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let token = ann["JoinToken"].as_str().unwrap().to_owned();
    let id: MeetingId = meeting.parse().unwrap();
    let attendee = ann["AttendeeId"].as_str().unwrap();

    let mute = path(&meeting, &format!("attendees/{attendee}/mute"));
    let muted = client.call("POST", &mute, "").await.ok();
    assert_eq!(muted, json!({ "AttendeeId": attendee, "CanUnmute": true }));
    let muted = client.call("POST", &mute, r#"{"CanUnmute":false}"#).await.ok();
    assert_eq!(muted["CanUnmute"], false);
    let locked = client.call("POST", &path(&meeting, "lock"), "").await.ok();
    assert_eq!(locked, json!({ "MeetingId": meeting, "Locked": true }));
    client.call("POST", &path(&meeting, "lock"), "").await.ok();
    // Nobody is in it: once the worker has said so, nobody gets in.
    while server.state.registry().admit(id, &token).is_ok() {
        tokio::task::yield_now().await;
    }
    server.stop().await;

    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let admit = || server.state.registry().admit(id, &token);
    assert_eq!(admit().unwrap_err(), JoinError::Locked);
    let unlocked = client.call("DELETE", &path(&meeting, "lock"), "").await.ok();
    assert_eq!(unlocked["Locked"], false);
    assert!(!admit().unwrap().may_unmute);
    let permission = path(&meeting, &format!("attendees/{attendee}/unmute-permission"));
    client.call("PUT", &permission, "{}").await.error(400, "BadRequestException");
    client.call("PUT", &permission, r#"{"CanUnmute":true}"#).await.ok();
    assert!(admit().unwrap().may_unmute);
    server.stop().await;
}

#[tokio::test]
async fn who_is_removed_needs_a_new_token() {
    let directory = TempDir::new();
    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let meeting = client.create_meeting("moderated").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let attendee = ann["AttendeeId"].as_str().unwrap();
    let id: MeetingId = meeting.parse().unwrap();
    let removed = client.call("POST", &path(&meeting, &format!("attendees/{attendee}/remove")), "").await;
    assert_eq!(removed.status, 204);
    let admit = |token: &str| server.state.registry().admit(id, token).map(drop);
    let old = ann["JoinToken"].as_str().unwrap();
    assert_eq!(admit(old), Err(JoinError::AttendeeUnavailable));
    let shown = client.call("GET", &format!("/meetings/{meeting}/attendees/{attendee}"), "").await.ok();
    assert_eq!(admit(shown["Attendee"]["JoinToken"].as_str().unwrap()), Ok(()));
    server.stop().await;
}

#[tokio::test]
async fn moderation_of_what_is_not_there_is_refused_by_the_apis_own_errors() {
    let directory = TempDir::new();
    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let meeting = client.create_meeting("moderated").await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    client.call("POST", &path(nobody, "lock"), "").await.error(404, "NotFoundException");
    let mute = format!("attendees/{nobody}/mute");
    client.call("POST", &path(&meeting, &mute), "").await.error(404, "NotFoundException");
    client.call("POST", &path(&meeting, "attendees/x/mute"), "").await.error(400, "BadRequestException");
    client.call("POST", &path(&meeting, "dance"), "").await.error(404, "UnknownOperationException");
    let extra = client.call("POST", &path(&meeting, &mute), r#"{"Loudly":true}"#).await;
    extra.error(400, "BadRequestException");
    server.stop().await;
}
