//! What has happened, as ListEvents tells it: with the change that caused it, once, to its account alone.

use campanile::config::Config;
use campanile::{Running, serve};
use serde_json::{Value, json};

use crate::common::{Client, TempDir, meeting_body, start};

/// All events after `after`, with their numbers.
pub(crate) async fn events(client: &Client, query: &str) -> Vec<(u64, Value)> {
    let listed = client.call("GET", &format!("/campanile/v1/events?{query}"), "").await.ok();
    let numbered = |one: &Value| (one["Sequence"].as_u64().unwrap(), one["Event"].clone());
    listed["Events"].as_array().unwrap().iter().map(numbered).collect()
}

/// `MeetingStarted`, ... in their order.
async fn kinds(client: &Client, query: &str) -> Vec<String> {
    let kind = |(_, event): (u64, Value)| {
        event["detail"]["eventType"].as_str().unwrap().strip_prefix("chime:").unwrap().to_owned()
    };
    events(client, query).await.into_iter().map(kind).collect()
}

#[tokio::test]
async fn each_change_of_a_meeting_is_told_in_the_services_own_words() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let id = client.create_meeting("tok").await;
    client.create_meeting("tok").await;
    let ann = client.create_attendee(&id, "ann").await["AttendeeId"].as_str().unwrap().to_owned();
    client.create_attendee(&id, "ann").await;
    let her = format!("/meetings/{id}/attendees/{ann}");
    let update = r#"{"Capabilities":{"Audio":"Receive","Video":"Receive","Content":"None"}}"#;
    for _ in 0..2 {
        client.call("PUT", &format!("{her}/capabilities"), update).await.ok();
    }
    let path = format!("/meetings/{id}/transcription?operation=");
    let engine = r#"{"TranscriptionConfiguration":{"EngineTranscribeSettings":{"LanguageCode":"en-US","Region":"auto"}}}"#;
    client.call("POST", &format!("{path}start"), engine).await.ok();
    client.call("POST", &format!("{path}stop"), "").await.ok();
    client.call("DELETE", &her, "").await;
    client.create_attendee(&id, "bob").await;
    client.call("DELETE", &format!("/meetings/{id}"), "").await;
    assert_eq!(
        kinds(&client, "").await,
        [
            "MeetingStarted",
            "AttendeeAdded",
            "AttendeeCapabilitiesUpdated",
            "TranscriptionFailed",
            "TranscriptionStopped",
            "AttendeeDeleted",
            "AttendeeAdded",
            "MeetingEnded"
        ],
        "retries and changes that change nothing cause none"
    );
    let told = events(&client, "").await;
    let numbers: Vec<u64> = told.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    let updated = &told[2].1;
    let account = running.state.directory.first().account().to_string();
    let timestamp = updated["detail"]["timestamp"].as_u64().unwrap();
    assert_eq!(
        *updated,
        json!({
            "version": "0",
            "id": updated["id"],
            "detail-type": "Chime Meeting State Change",
            "source": "aws.chime",
            "account": account,
            "time": updated["time"],
            "region": "us-east-1",
            "resources": [],
            "detail": {
                "version": "0",
                "eventType": "chime:AttendeeCapabilitiesUpdated",
                "timestamp": timestamp,
                "meetingId": id,
                "attendeeId": ann,
                "externalUserId": "ann",
                "externalMeetingId": "standup",
                "mediaRegion": "us-east-1",
                "success": "1",
                "attendeeCapabilities": {"audio": "Receive", "video": "Receive", "content": "None"}
            }
        })
    );
    let failed = &told[3].1["detail"];
    assert_eq!(failed["transcriptionRegion"], "us-east-1");
    assert!(failed["message"].as_str().unwrap().contains("engine"), "{failed}");
    let configuration: Value =
        serde_json::from_str(failed["transcriptionConfiguration"].as_str().unwrap()).unwrap();
    assert_eq!(configuration["EngineTranscribeSettings"]["LanguageCode"], "en-US");
    running.stop().await;

    let running = start(&directory).await;
    let client = Client::of(&running);
    assert_eq!(events(&client, "").await, told, "a restart keeps them and tells none again");
    client.create_meeting("later").await;
    assert_eq!(events(&client, "after=8").await[0].0, 9, "numbers go on");
    running.stop().await;
}

#[tokio::test]
async fn reading_goes_on_where_it_ended_and_looks_at_one_meeting_if_asked() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let (first, second) = (client.create_meeting("one").await, client.create_meeting("two").await);
    client.create_attendee(&first, "ann").await;
    let path = "/campanile/v1/events";
    let page = client.call("GET", &format!("{path}?max-results=2"), "").await.ok();
    assert_eq!((page["Events"].as_array().unwrap().len(), page["After"].as_u64()), (2, Some(2)));
    let page = client.call("GET", &format!("{path}?max-results=2&after=2"), "").await.ok();
    assert_eq!((page["Events"].as_array().unwrap().len(), page["After"].as_u64()), (1, Some(3)));
    let page = client.call("GET", &format!("{path}?after=3"), "").await.ok();
    assert_eq!(page, json!({"Events": [], "After": 3}));
    assert_eq!(kinds(&client, &format!("meeting-id={first}")).await, ["MeetingStarted", "AttendeeAdded"]);
    let page = client.call("GET", &format!("{path}?meeting-id={second}&after=2"), "").await.ok();
    assert_eq!(page, json!({"Events": [], "After": 3}), "what was looked at need not be looked at again");
    for wrong in ["after=x", "after=-1", "max-results=0", "max-results=1001", "meeting-id=x"] {
        client.call("GET", &format!("{path}?{wrong}"), "").await.error(400, "BadRequestException");
    }
    client.get_unsigned(path).await.error(403, "MissingAuthenticationTokenException");
    running.stop().await;
}

#[tokio::test]
async fn a_batch_and_the_end_of_a_primary_tell_of_each() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let body = meeting_body("tok", r#","Attendees":[{"ExternalUserId":"ann"},{"ExternalUserId":"aws:x"}]"#);
    let made = client.call("POST", "/meetings?operation=create-attendees", &body).await.ok();
    let id = made["Meeting"]["MeetingId"].as_str().unwrap();
    let replica = meeting_body("replica", &format!(r#","PrimaryMeetingId":"{id}""#));
    let replica = client.call("POST", "/meetings", &replica).await.ok();
    client.call("DELETE", &format!("/meetings/{id}"), "").await;
    let ended: Vec<_> = events(&client, "after=3").await;
    let ended: Vec<_> = ended.iter().map(|(_, event)| &event["detail"]["meetingId"]).collect();
    assert_eq!(ended, [&made["Meeting"]["MeetingId"], &replica["Meeting"]["MeetingId"]]);
    assert_eq!(
        kinds(&client, "").await,
        ["MeetingStarted", "AttendeeAdded", "MeetingStarted", "MeetingEnded", "MeetingEnded"]
    );
    running.stop().await;
}

async fn keeping(directory: &TempDir, events: u64) -> Running {
    let mut config = Config::local(directory.path());
    config.control.events.events = events;
    serve(config).await.unwrap()
}

#[tokio::test]
async fn the_newest_events_are_kept_and_their_numbers_tell_that_others_are_gone() {
    let directory = TempDir::new();
    let running = keeping(&directory, 3).await;
    let client = Client::of(&running);
    for n in 0..5 {
        client.create_meeting(&format!("tok-{n}")).await;
    }
    let numbers = |told: Vec<(u64, Value)>| told.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(events(&client, "").await), [3, 4, 5]);
    running.stop().await;
    let running = keeping(&directory, 1).await;
    let client = Client::of(&running);
    client.create_meeting("another").await;
    assert_eq!(numbers(events(&client, "").await), [6]);
    running.stop().await;
}
