//! Signaling sockets and the API: drains, by a signal or through the API, to the end or cancelled; and traces of joins.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use campanile::config::Config;
use campanile::serve;
use campanile_wire::signaling::{AudioStatus, ServerFrame};

use super::accounts;
use super::events::events;
use crate::common::{Binary, Client, TempDir, start};
use crate::frames::{join, send, until};

/// Nothing here takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a signaling socket as the client would, without joining.
pub(crate) async fn connect(client: &Client, meeting: &str, attendee: &Value) -> Socket {
    let url = format!("ws://{}/control/{meeting}?X-Chime-Control-Protocol-Version=3", client.address);
    let mut request = url.into_client_request().unwrap();
    let protocols = format!("_aws_wt_session, {}", attendee["JoinToken"].as_str().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// The code by which the server closes this socket.
pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    let search = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    };
    let code = timeout(PATIENCE, search).await.expect("closed in time");
    // Answers the close.
    while let Some(Ok(_)) = socket.next().await {}
    code
}

async fn state(client: &Client) -> String {
    client.call("GET", "/campanile/v1/drain", "").await.ok()["State"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_drained_server_sends_clients_elsewhere_until_the_drain_is_cancelled() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let mut socket = connect(&client, &meeting, &ann).await;
    assert_eq!(state(&client).await, "SERVING");
    assert_eq!(client.get_unsigned("/health").await.status, 200);

    let begun = client.call("POST", "/campanile/v1/drain", r#"{"WithinSeconds":1}"#).await.ok();
    assert_eq!(begun["State"], "DRAINING");
    assert_eq!(close_code(&mut socket).await, 4500);
    let drained = async { while state(&client).await != "DRAINED" {} };
    timeout(PATIENCE, drained).await.expect("the drain ends");
    assert_eq!(client.get_unsigned("/health").await.status, 503);
    // The handshake still succeeds: an HTTP error would not be told from a bad token.
    assert_eq!(close_code(&mut connect(&client, &meeting, &ann).await).await, 4500);
    // And the API goes on.
    let bob = client.create_attendee(&meeting, "bob").await;

    let cancelled = client.call("DELETE", "/campanile/v1/drain", "").await.ok();
    assert_eq!(cancelled["State"], "SERVING");
    assert_eq!(client.get_unsigned("/health").await.status, 200);
    let mut socket = connect(&client, &meeting, &bob).await;
    client.call("DELETE", &format!("/meetings/{meeting}"), "").await;
    assert_eq!(close_code(&mut socket).await, 4410, "it was let in, and hears of the end");
    running.stop().await;
}

#[tokio::test]
async fn only_the_first_account_may_drain_the_server_and_only_if_its_policies_say_so() {
    let directory = TempDir::new();
    let running = accounts::start(&directory, "", "").await;
    let (admin, app, tenant) =
        (accounts::client(&running, 1), accounts::client(&running, 2), accounts::client(&running, 5));
    for method in ["GET", "POST", "DELETE"] {
        app.call(method, "/campanile/v1/drain", "").await.error(403, "ForbiddenException");
        tenant.call(method, "/campanile/v1/drain", "").await.error(403, "ForbiddenException");
    }
    let too_long = r#"{"WithinSeconds":86400}"#;
    admin.call("POST", "/campanile/v1/drain", too_long).await.error(400, "BadRequestException");
    admin.call("POST", "/campanile/v1/drain", "[]").await.error(400, "BadRequestException");
    assert_eq!(state(&admin).await, "SERVING");
    running.stop().await;
}

fn terminate(binary: &Binary) {
    let killed = Command::new("kill").arg("-TERM").arg(binary.process.id().to_string()).status().unwrap();
    assert!(killed.success());
}

async fn exit(mut binary: Binary) -> ExitStatus {
    let waiting = tokio::task::spawn_blocking(move || binary.process.wait().unwrap());
    timeout(PATIENCE, waiting).await.expect("it ends").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_asks_clients_back_and_ends_in_good_order() {
    let directory = TempDir::new();
    let binary = Binary::start(&directory);
    let client = binary.client();
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let mut socket = connect(&client, &meeting, &ann).await;
    terminate(&binary);
    assert_eq!(close_code(&mut socket).await, 4500);
    assert!(exit(binary).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_by_signal_can_be_cancelled_or_cut_short() {
    let directory = TempDir::new();
    let binary = Binary::start(&directory);
    let client = binary.client();
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    // One who does not answer the close keeps the drain from its end.
    let deaf = connect(&client, &meeting, &ann).await;
    terminate(&binary);
    let draining = async { while state(&client).await != "DRAINING" {} };
    timeout(PATIENCE, draining).await.expect("the drain begins");
    client.call("DELETE", "/campanile/v1/drain", "").await.ok();
    drop(deaf);
    let mut socket = connect(&client, &meeting, &ann).await;
    terminate(&binary);
    assert_eq!(close_code(&mut socket).await, 4500);
    assert!(exit(binary).await.success());
}

#[tokio::test]
async fn whoever_is_in_a_meeting_whose_time_is_over_is_told_so() {
    let directory = TempDir::new();
    let mut config = Config::local(directory.path());
    config.control.quotas.records.lifetime_ms = 5_000;
    let running = serve(config).await.unwrap();
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let bob = client.create_attendee(&meeting, "bob").await;
    let mut inside = connect(&client, &meeting, &ann).await;
    let mut at_the_door = connect(&client, &meeting, &bob).await;
    send(&mut inside, join().encode(1)).await;
    let ended = |frame| matches!(frame, ServerFrame::AudioStatus(AudioStatus::MeetingEnded)).then_some(());
    until(&mut inside, ended).await;
    assert_eq!(close_code(&mut at_the_door).await, 4410);
    running.stop().await;
}

#[tokio::test]
async fn a_join_that_came_to_nothing_can_be_looked_up_also_after_the_meeting() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let path =
        format!("/campanile/v1/meetings/{meeting}/attendees/{}/trace", ann["AttendeeId"].as_str().unwrap());
    client.call("GET", &path, "").await.error(404, "NotFoundException");
    drop(connect(&client, &meeting, &ann).await);
    let known = async {
        loop {
            let answer = client.call("GET", &path, "").await;
            if answer.status == 200 && answer.json()["Connections"][0]["Failure"].is_object() {
                return answer.ok();
            }
        }
    };
    let told = timeout(PATIENCE, known).await.expect("the failure is told");
    let one = &told["Connections"][0];
    assert_eq!(one["AttendeeId"], ann["AttendeeId"]);
    assert_eq!(one["StepsMs"]["Opened"], 0.0);
    assert_eq!(one["Failure"]["Step"], "Joined");
    assert!(one["Failure"]["Remedy"].as_str().unwrap().contains("look at its own log"));
    client.call("DELETE", &format!("/meetings/{meeting}"), "").await;
    assert_eq!(client.call("GET", &path, "").await.ok(), told);
    let listed = client.call("GET", &format!("/campanile/v1/meetings/{meeting}/failed-joins"), "").await.ok();
    assert_eq!(listed["FailedJoins"], told["Connections"]);
    running.stop().await;
}

#[tokio::test]
async fn a_join_refused_at_the_door_can_be_looked_up_if_the_token_was_once_given_out() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let id = ann["AttendeeId"].as_str().unwrap();
    let path = format!("/campanile/v1/meetings/{meeting}/attendees/{id}/trace");
    // A stranger's guess leaves nothing behind.
    let mut guess = ann.clone();
    guess["JoinToken"] = ann["JoinToken"].as_str().unwrap().chars().rev().collect::<String>().into();
    assert_eq!(close_code(&mut connect(&client, &meeting, &guess).await).await, 4403);
    client.call("GET", &path, "").await.error(404, "NotFoundException");
    client.call("DELETE", &format!("/meetings/{meeting}/attendees/{id}"), "").await;
    assert_eq!(close_code(&mut connect(&client, &meeting, &ann).await).await, 4403);
    let told = client.call("GET", &path, "").await.ok();
    let failure = &told["Connections"][0]["Failure"];
    assert_eq!(failure["Step"], "Opened");
    assert_eq!(failure["Cause"], "attendee unavailable");
    assert!(failure["Remedy"].as_str().unwrap().contains("join token"));
    running.stop().await;
}

#[tokio::test]
async fn every_failed_join_is_an_event_and_is_listed_strangers_and_latecomers_too() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let ann = client.create_attendee(&meeting, "ann").await;
    let mut guess = ann.clone();
    guess["JoinToken"] = "a-guess".into();
    assert_eq!(close_code(&mut connect(&client, &meeting, &guess).await).await, 4403);
    drop(connect(&client, &meeting, &ann).await);
    let failures = async |count: usize| {
        let of_kind =
            |(_, event): &(u64, Value)| event["detail"]["eventType"] == "campanile:AttendeeJoinFailed";
        let told = async {
            loop {
                let told = events(&client, &format!("meeting-id={meeting}")).await;
                let told: Vec<_> = told.into_iter().filter(of_kind).map(|(_, event)| event).collect();
                if told.len() >= count {
                    return told;
                }
            }
        };
        timeout(PATIENCE, told).await.expect("each is told")
    };
    let told = failures(2).await;
    assert_eq!(told[0]["source"], "campanile");
    assert_eq!(told[0]["detail"]["attendeeId"], Value::Null);
    assert_eq!(told[1]["detail"]["attendeeId"], ann["AttendeeId"]);
    assert_eq!(told[1]["detail"]["externalUserId"], "ann");
    assert_eq!(told[1]["detail"]["phase"], "Joined");
    client.call("DELETE", &format!("/meetings/{meeting}"), "").await;
    assert_eq!(close_code(&mut connect(&client, &meeting, &ann).await).await, 4410);
    let told = failures(3).await;
    assert_eq!(told[2]["detail"]["cause"], "meeting ended");
    for event in &told {
        for member in ["phase", "cause", "remedy"] {
            assert!(event["detail"][member].is_string(), "{member} of {event}");
        }
    }
    let path = format!("/campanile/v1/meetings/{meeting}/failed-joins");
    let listed = client.call("GET", &path, "").await.ok();
    let whose: Vec<_> =
        listed["FailedJoins"].as_array().unwrap().iter().map(|one| &one["AttendeeId"]).collect();
    assert_eq!(whose, [&Value::Null, &ann["AttendeeId"], &ann["AttendeeId"]]);
    running.stop().await;
}
