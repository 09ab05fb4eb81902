//! Capabilities, tags, transcription, replicas; how meetings end; what clients ask for beside the API.

use campanile::config::Config;
use campanile::serve;
use serde_json::{Value, json};

use crate::common::{Client, TempDir, meeting_body, raw, start};

const LISTENER: &str = r#"{"Audio":"Receive","Video":"Receive","Content":"None"}"#;

#[tokio::test]
async fn capabilities_change_for_one_and_for_all_but_some() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    let ann = client.create_attendee(&id, "ann").await["AttendeeId"].as_str().unwrap().to_owned();
    let bob = client.create_attendee(&id, "bob").await["AttendeeId"].as_str().unwrap().to_owned();
    let path = format!("/meetings/{id}/attendees/{ann}/capabilities");
    let body = format!(r#"{{"Capabilities":{LISTENER}}}"#);
    let updated = client.call("PUT", &path, &body).await.ok();
    let listener: Value = serde_json::from_str(LISTENER).unwrap();
    assert_eq!(updated["Attendee"]["Capabilities"], listener);
    assert!(updated["Attendee"]["JoinToken"].is_string());

    let except = format!("/meetings/{id}/attendees/capabilities?operation=batch-update-except");
    let all = r#"{"Audio":"SendReceive","Video":"SendReceive","Content":"SendReceive"}"#;
    let body = format!(r#"{{"ExcludedAttendeeIds":[{{"AttendeeId":"{bob}"}}],"Capabilities":{all}}}"#);
    let answer = client.call("PUT", &except, &body).await;
    assert_eq!(answer.ok(), json!({}));
    let body = format!(r#"{{"ExcludedAttendeeIds":[{{"AttendeeId":"{ann}"}}],"Capabilities":{LISTENER}}}"#);
    client.call("PUT", &except, &body).await.ok();
    let capabilities = |id: &str, who: &str| {
        let (client, path) = (&client, format!("/meetings/{id}/attendees/{who}"));
        async move { client.call("GET", &path, "").await.ok()["Attendee"]["Capabilities"].clone() }
    };
    assert_eq!(capabilities(&id, &ann).await, serde_json::from_str::<Value>(all).unwrap());
    assert_eq!(capabilities(&id, &bob).await, listener);

    let bad = |body: &'static str| client.call("PUT", &path, body);
    bad("{}").await.error(400, "BadRequestException");
    bad(r#"{"Capabilities":{"Audio":"None"}}"#).await.error(400, "BadRequestException");
    bad(r#"{"Capabilities":{"Audio":"None","Video":"None","Content":"Receive"}}"#)
        .await
        .error(400, "BadRequestException");
    client
        .call("PUT", &except, &format!(r#"{{"Capabilities":{all}}}"#))
        .await
        .error(400, "BadRequestException");
    let nobody = path.replace(&ann, &uuid::Uuid::nil().to_string());
    let body = format!(r#"{{"Capabilities":{LISTENER}}}"#);
    client.call("PUT", &nobody, &body).await.error(404, "NotFoundException");
    let odd = format!(r#"{{"ExcludedAttendeeIds":[{{"AttendeeId":"x"}}],"Capabilities":{all}}}"#);
    client.call("PUT", &except, &odd).await.error(400, "BadRequestException");
    running.stop().await;

    let running = start(&directory).await;
    let client = Client::of(&running);
    let path = format!("/meetings/{id}/attendees/{bob}");
    assert_eq!(client.call("GET", &path, "").await.ok()["Attendee"]["Capabilities"], listener, "stored");
    running.stop().await;
}

#[tokio::test]
async fn tags_are_the_meetings_by_its_arn() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let tags = r#","Tags":[{"Key":"team","Value":"red"}]"#;
    let made = client.call("POST", "/meetings", &meeting_body("tok", tags)).await.ok()["Meeting"].clone();
    let arn = made["MeetingArn"].as_str().unwrap();
    let encoded = arn.replace(':', "%3A").replace('/', "%2F");
    let list = |encoded: String| {
        let client = &client;
        async move { client.call("GET", &format!("/tags?arn={encoded}"), "").await }
    };
    assert_eq!(list(encoded.clone()).await.ok(), json!({"Tags": [{"Key": "team", "Value": "red"}]}));
    let tag = |body: String| {
        let client = &client;
        async move { client.call("POST", "/tags?operation=tag-resource", &body).await }
    };
    let body = format!(
        r#"{{"ResourceARN":"{arn}","Tags":[{{"Key":"team","Value":"blue"}},{{"Key":"n","Value":""}}]}}"#
    );
    let answer = tag(body).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let body = format!(r#"{{"ResourceARN":"{arn}","TagKeys":["n","never was"]}}"#);
    client.call("POST", "/tags?operation=untag-resource", &body).await.error(400, "BadRequestException");
    let body = format!(r#"{{"ResourceARN":"{arn}","TagKeys":["n","never-was"]}}"#);
    assert_eq!(client.call("POST", "/tags?operation=untag-resource", &body).await.status, 204);
    assert_eq!(list(encoded.clone()).await.ok(), json!({"Tags": [{"Key": "team", "Value": "blue"}]}));

    let many =
        |n: usize| (0..n).map(|n| format!(r#"{{"Key":"k{n}","Value":"v"}}"#)).collect::<Vec<_>>().join(",");
    assert_eq!(tag(format!(r#"{{"ResourceARN":"{arn}","Tags":[{}]}}"#, many(49))).await.status, 204);
    let answer = tag(format!(r#"{{"ResourceARN":"{arn}","Tags":[{}]}}"#, many(50))).await;
    answer.error(400, "TooManyTagsException");
    assert_eq!(answer.json()["ResourceName"], arn);
    assert_eq!(list(encoded).await.ok()["Tags"].as_array().unwrap().len(), 50, "nothing was added");

    let account = running.state.directory.first().account();
    for unknown in [
        format!("arn:aws:chime:us-east-1:{account}:meeting/{}", uuid::Uuid::nil()),
        arn.replace(&account.to_string(), "444455556666"),
        arn.replace("us-east-1", "eu-west-1"),
        arn.replace(":meeting/", ":media-pipeline/"),
        "arn:aws:s3:::bucket".into(),
    ] {
        let answer = list(unknown.clone()).await;
        answer.error(404, "ResourceNotFoundException");
        assert_eq!(answer.json()["ResourceName"], unknown);
        let body = format!(r#"{{"ResourceARN":"{unknown}","Tags":[]}}"#);
        tag(body).await.error(404, "ResourceNotFoundException");
    }
    list("nonsense".into()).await.error(400, "BadRequestException");
    client.call("GET", "/tags", "").await.error(400, "BadRequestException");
    running.stop().await;
}

#[tokio::test]
async fn transcription_is_validated_and_recorded() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    let (start_path, stop_path) = (
        format!("/meetings/{id}/transcription?operation=start"),
        format!("/meetings/{id}/transcription?operation=stop"),
    );
    client.call("POST", &stop_path, "").await.error(422, "UnprocessableEntityException");
    let body = r#"{"TranscriptionConfiguration":{"EngineTranscribeSettings":{"LanguageCode":"en-US"}}}"#;
    for _ in 0..2 {
        assert_eq!(client.call("POST", &start_path, body).await.ok(), json!({}));
    }
    assert_eq!(client.call("POST", &stop_path, "").await.ok(), json!({}));
    client.call("POST", &stop_path, "").await.error(422, "UnprocessableEntityException");
    client.call("POST", &start_path, "{}").await.error(400, "BadRequestException");
    let nobody = stop_path.replace(&id, &uuid::Uuid::nil().to_string());
    client.call("POST", &nobody, "").await.error(404, "NotFoundException");
    running.stop().await;
}

#[tokio::test]
async fn replicas_are_four_and_end_with_their_primary() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let primary = client.create_meeting("primary").await;
    let replica = |token: String| {
        let (client, primary) = (&client, &primary);
        async move {
            let more = format!(r#","PrimaryMeetingId":"{primary}""#);
            client.call("POST", "/meetings", &meeting_body(&token, &more)).await
        }
    };
    let mut made = Vec::new();
    for n in 0..4 {
        let meeting = replica(format!("r-{n}")).await.ok()["Meeting"].clone();
        assert_eq!(meeting["PrimaryMeetingId"], primary.as_str());
        made.push(meeting["MeetingId"].as_str().unwrap().to_owned());
    }
    replica("r-4".into()).await.error(400, "LimitExceededException");
    assert_eq!(client.call("DELETE", &format!("/meetings/{primary}"), "").await.status, 204);
    for id in made {
        client.call("GET", &format!("/meetings/{id}"), "").await.error(404, "NotFoundException");
    }
    replica("late".into()).await.error(400, "BadRequestException");
    running.stop().await;
}

#[tokio::test]
async fn a_meeting_to_which_nobody_comes_ends_by_itself() {
    let directory = TempDir::new();
    let mut config = Config::local(directory.path());
    config.control.quotas.records.idle_ms = 1;
    let running = serve(config).await.unwrap();
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    // The end is in the store before anybody can see it, so once it is seen nothing is left to wait for.
    while client.call("GET", &format!("/meetings/{id}"), "").await.status == 200 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    let running = start(&directory).await;
    assert_eq!(running.state.registry().meeting_count(), 0);
    running.stop().await;
}

#[tokio::test]
async fn attendees_of_a_high_definition_meeting_are_at_most_as_many_as_it_says() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let more = r#","MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":25}}"#;
    let made = client.call("POST", "/meetings", &meeting_body("tok", more)).await.ok();
    let id = made["Meeting"]["MeetingId"].as_str().unwrap();
    let people =
        (0..26).map(|n| format!(r#"{{"ExternalUserId":"person {n}"}}"#)).collect::<Vec<_>>().join(",");
    let path = format!("/meetings/{id}/attendees?operation=batch-create");
    let batch = client.call("POST", &path, &format!(r#"{{"Attendees":[{people}]}}"#)).await.ok();
    assert_eq!(batch["Attendees"].as_array().unwrap().len(), 25);
    assert_eq!(batch["Errors"][0]["ExternalUserId"], "person 25");
    running.stop().await;
}

#[tokio::test]
async fn clients_tell_of_themselves_and_the_account_reads_it() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    let ann = client.create_attendee(&id, "ann").await;
    let token = ann["JoinToken"].as_str().unwrap();
    let address = client.address;
    let report = |token: Option<&str>, beacon: Option<&str>, meeting: &str| {
        let mut body = json!({
            "metadata": {"meetingId": meeting, "sdkName": "amazon-chime-sdk-js"},
            "events": [{"type": "Meet", "v": 1, "payloads": [
                {"name": "meetingStartSucceeded", "ts": 1_700_000_000_000_u64, "signalingOpenDurationMs": 12},
                {"name": "meetingEnded", "ts": 1_700_000_000_001_u64},
                {"nameless": true},
            ]}],
        });
        if let Some(token) = beacon {
            body["authorization"] = token.into();
        }
        let body = body.to_string();
        let authorization =
            token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /v1/client-events HTTP/1.1\r\nhost: x\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        async move { raw(address, request.as_bytes()).await }
    };
    let told = report(Some(token), None, &id).await;
    assert_eq!((told.status, told.text.as_str()), (200, "{}"));
    assert_eq!(told.headers["access-control-allow-origin"], "*");
    assert_eq!(report(None, Some(token), &id).await.status, 200);
    assert_eq!(report(None, None, &id).await.status, 403);
    assert_eq!(report(Some(&token[1..]), None, &id).await.status, 403);
    let other = client.create_meeting("other").await;
    assert_eq!(report(Some(token), None, &other).await.status, 200, "but nothing of it is kept");

    let read = client.call("GET", &format!("/campanile/v1/client-events?meeting-id={id}"), "").await.ok();
    assert_eq!(read["Counts"], json!({"meetingStartSucceeded": 2, "meetingEnded": 2}));
    assert_eq!(read["Events"].as_array().unwrap().len(), 4);
    assert_eq!(read["Events"][0]["AttendeeId"], ann["AttendeeId"]);
    assert_eq!(read["Events"][0]["Attributes"], json!({"signalingOpenDurationMs": 12}));
    let read = client.call("GET", &format!("/campanile/v1/client-events?meeting-id={other}"), "").await.ok();
    assert_eq!(read["Events"], json!([]));

    // The last report of a session comes when its meeting is gone.
    client.call("DELETE", &format!("/meetings/{id}"), "").await;
    assert_eq!(report(Some(token), None, &id).await.status, 200);
    let read = client.call("GET", "/campanile/v1/client-events", "").await.ok();
    assert_eq!(read["Counts"]["meetingEnded"], 3);

    let preflight =
        raw(address, b"OPTIONS /v1/client-events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(preflight.status, 200);
    assert!(preflight.headers["access-control-allow-headers"].contains("authorization"));
    let turn =
        b"POST /v2/turn_sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    assert_eq!(raw(address, turn).await.json()["uris"], json!([]));
    running.stop().await;
}

#[tokio::test]
async fn the_quality_of_a_meetings_audio_is_its_tenants_to_see() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("quality").await;
    let read = client.call("GET", &format!("/campanile/v1/meetings/{id}/quality"), "").await.ok();
    assert_eq!(read, json!({"MeetingId": id, "Attendees": []}), "nobody is connected");
    let nobody = "00000000-0000-0000-0000-000000000000";
    let missing = client.call("GET", &format!("/campanile/v1/meetings/{nobody}/quality"), "").await;
    assert_eq!(missing.status, 404);
    let unsigned = client.get_unsigned(&format!("/campanile/v1/meetings/{id}/quality")).await;
    assert_eq!(unsigned.status, 403);
    running.stop().await;
}

#[tokio::test]
async fn the_nearest_media_region_is_told_by_path_and_by_host() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let by_path = client.get_unsigned("/campanile/v1/nearest-media-region").await;
    assert_eq!(by_path.json(), json!({"region": "us-east-1"}));
    assert_eq!(by_path.headers["access-control-allow-origin"], "*");
    let request = b"GET / HTTP/1.1\r\nhost: nearest-media-region.example.net\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(client.address, request).await.json(), json!({"region": "us-east-1"}));
    running.stop().await;
}
