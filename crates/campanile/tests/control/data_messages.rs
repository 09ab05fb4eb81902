//! Data messages by the API. How they reach clients is told by the simulator's stories and the browser's.

use serde_json::{Value, json};

use crate::common::{self, Client, TempDir, meeting_body};

#[tokio::test]
async fn what_is_sent_is_kept_in_order_for_as_long_as_it_lives() {
    let directory = TempDir::new();
    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let meeting = client.create_meeting("talk").await;
    let path = format!("/campanile/v1/meetings/{meeting}/data-messages");
    let mut times = Vec::new();
    for (content, lifetime) in
        [(r#""Text":"grün""#, 60_000), (r#""Data":"AAH/""#, 60_000), (r#""Text":"gone""#, 0)]
    {
        let body = format!(
            r#"{{"Topic":"chat",{content},"LifetimeMs":{lifetime},"SenderExternalUserId":"the host"}}"#
        );
        let sent = client.call("POST", &path, &body).await.ok();
        times.push(sent["IngestTimeNs"].as_str().unwrap().parse::<i64>().unwrap());
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let listed = client.call("GET", &path, "").await.ok();
    let message = |data: &str, time: i64| {
        json!({
            "Topic": "chat", "Data": data, "SenderAttendeeId": "", "SenderExternalUserId": "the host",
            "IngestTimeNs": time.to_string(),
        })
    };
    assert_eq!(listed, json!({ "Messages": [message("Z3LDvG4=", times[0]), message("AAH/", times[1])] }));
    let count = |answer: Value| answer["Messages"].as_array().unwrap().len();
    let after = client.call("GET", &format!("{path}?after={}", times[0]), "").await.ok();
    let first = client.call("GET", &format!("{path}?max-results=1"), "").await.ok();
    assert_eq!((count(after), count(first)), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_too_many_are_throttled() {
    let directory = TempDir::new();
    let server = common::start(&directory).await;
    let client = Client::of(&server);
    let meeting = client.create_meeting("talk").await;
    let path = |meeting: &str| format!("/campanile/v1/meetings/{meeting}/data-messages");
    let long = format!(r#"{{"Topic":"chat","Text":"{}"}}"#, "x".repeat(2049));
    let name = format!(r#"{{"Topic":"chat","Text":"x","SenderExternalUserId":"{}"}}"#, "x".repeat(65));
    for body in [
        "{}",
        r#"{"Topic":"chat"}"#,
        r#"{"Topic":"chat","Text":"x","Data":"eA=="}"#,
        r#"{"Topic":"chat","Data":"not base64!"}"#,
        r#"{"Topic":"","Text":"x"}"#,
        r#"{"Topic":"a topic","Text":"x"}"#,
        &long,
        &name,
    ] {
        client.call("POST", &path(&meeting), body).await.error(400, "BadRequestException");
    }
    let more = format!(r#","PrimaryMeetingId":"{meeting}""#);
    let replica = client.call("POST", "/meetings", &meeting_body("replica", &more)).await.ok();
    let replica = replica["Meeting"]["MeetingId"].as_str().unwrap();
    let body = r#"{"Topic":"chat","Text":"x"}"#;
    client.call("POST", &path(replica), body).await.error(400, "BadRequestException");
    let nobody = "00000000-0000-4000-8000-000000000000";
    client.call("POST", &path(nobody), body).await.error(404, "NotFoundException");
    client.call("GET", &path(nobody), "").await.error(404, "NotFoundException");
    server.stop().await;
}
