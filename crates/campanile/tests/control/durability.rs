//! What was acknowledged is there after `kill -9`, whenever it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::common::{Binary, Client, TempDir, meeting_body};
use crate::events::events;

/// Writes in flight at once.
const WRITERS: usize = 8;
/// Acknowledged writes after which the process is killed.
const KILL_AFTER: usize = 150;

/// What a caller was told: of each meeting its attendees' ids, and whether it was deleted. A call that got no answer may
/// have happened or not.
type Told = BTreeMap<String, (Vec<String>, bool)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_writes_loses_nothing_that_was_acknowledged() {
    let directory = TempDir::new();
    let told: Arc<Mutex<Told>> = Arc::default();
    for round in 0..3 {
        let mut binary = Binary::start(&directory);
        let client = Arc::new(binary.client());
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, told, acknowledged) = (client.clone(), told.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        let body = meeting_body(&format!("r{round}-w{writer}-{n}"), "");
                        let Some(made) = client.try_call("POST", "/meetings", &body).await else { return };
                        let id = made.ok()["Meeting"]["MeetingId"].as_str().unwrap().to_owned();
                        told.lock().await.insert(id.clone(), (Vec::new(), false));
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        let path = format!("/meetings/{id}/attendees");
                        for user in ["ann", "bob"] {
                            let body = format!(r#"{{"ExternalUserId":"{user}"}}"#);
                            let Some(made) = client.try_call("POST", &path, &body).await else { return };
                            let attendee = made.ok()["Attendee"]["AttendeeId"].as_str().unwrap().to_owned();
                            told.lock().await.get_mut(&id).unwrap().0.push(attendee);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        if n % 3 == 0 {
                            // Until there is an answer, either is right: the meeting is taken off the list.
                            told.lock().await.remove(&id);
                            let path = format!("/meetings/{id}");
                            let Some(deleted) = client.try_call("DELETE", &path, "").await else { return };
                            assert_eq!(deleted.status, 204);
                            told.lock().await.insert(id, (Vec::new(), true));
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        while acknowledged.load(Ordering::Relaxed) < KILL_AFTER {
            tokio::task::yield_now().await;
        }
        binary.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        let binary = Binary::start(&directory);
        let client = binary.client();
        for (id, (attendees, deleted)) in told.lock().await.iter() {
            let found = client.call("GET", &format!("/meetings/{id}"), "").await;
            if *deleted {
                found.error(404, "NotFoundException");
                continue;
            }
            assert_eq!(found.status, 200, "{id} was acknowledged");
            let listed = client.call("GET", &format!("/meetings/{id}/attendees"), "").await.ok();
            let listed: Vec<&Value> =
                listed["Attendees"].as_array().unwrap().iter().map(|one| &one["AttendeeId"]).collect();
            assert!(attendees.iter().all(|id| listed.iter().any(|found| *found == id)), "{id}: {listed:?}");
        }
        let told = told.lock().await.clone();
        events_tell_of_each_once(&client, &told).await;
    }
}

/// Of all that was acknowledged there is exactly one event, and none of anything else than what the records show: a change
/// and its events are stored together or not at all.
async fn events_tell_of_each_once(client: &Client, told: &Told) {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut last = 0;
    loop {
        let page = events(client, &format!("after={last}")).await;
        if page.is_empty() {
            break;
        }
        for (number, event) in page {
            assert_eq!(number, last + 1, "no number is missing and none is there twice");
            last = number;
            let detail = &event["detail"];
            let who =
                if detail["attendeeId"].is_null() { &detail["meetingId"] } else { &detail["attendeeId"] };
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            *seen.entry((text(&detail["eventType"]), text(who))).or_default() += 1;
        }
    }
    let count = |what: &str, who: &String| seen.get(&(what.to_owned(), who.clone())).copied().unwrap_or(0);
    for (id, (attendees, deleted)) in told {
        assert_eq!(
            (count("chime:MeetingStarted", id), count("chime:MeetingEnded", id)),
            (1, usize::from(*deleted))
        );
        assert!(attendees.iter().all(|attendee| count("chime:AttendeeAdded", attendee) == 1), "{id}");
    }
    for ((what, id), times) in &seen {
        assert_eq!(*times, 1, "{what} of {id}");
        if what == "chime:MeetingStarted" {
            let lives = client.call("GET", &format!("/meetings/{id}"), "").await.status == 200;
            assert_eq!(lives, count("chime:MeetingEnded", id) == 0, "{id}: events and records say the same");
        }
    }
}
