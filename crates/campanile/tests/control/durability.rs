//! What was acknowledged is there after `kill -9`, whenever it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::common::{Binary, TempDir, meeting_body};

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
    }
}
