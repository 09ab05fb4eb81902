//! Attendees who come and go through real sockets are in the account's events, also when the server dies in between.

use std::path::Path;
use std::time::Duration;

use campanile::{Running, serve};
use campanile_client::api::{Api, Credentials};
use campanile_client::{Config, Session, Trust};
use campanile_wire::signaling::Secret;
use hyper::Method;
use tokio::time::timeout;

/// Nothing here takes longer, even on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(data: &Path) -> (Running, Api) {
    let running = serve(campanile::config::Config::local(data)).await.expect("the service starts");
    let secret = running.ready.secret_access_key.as_ref().expect("dev has credentials of its own");
    let credentials = Credentials {
        access_key_id: running.ready.access_key_id.clone().expect("dev has credentials of its own"),
        secret_access_key: Secret(secret.reveal().to_owned()),
        session_token: None,
    };
    let api = Api::new(&running.ready.api, &running.ready.region, credentials, Trust::system()).unwrap();
    (running, api)
}

/// What events tell of this person, once there are so many.
async fn told(api: &Api, user: &str, count: usize) -> Vec<String> {
    let listing = async {
        loop {
            let answer =
                api.call(Method::GET, "/campanile/v1/events", None).await.expect("events are listed");
            let details = answer["Events"].as_array().unwrap().iter().map(|one| &one["Event"]["detail"]);
            let theirs = details.filter(|detail| detail["externalUserId"] == user);
            let kinds: Vec<_> =
                theirs.map(|detail| detail["eventType"].as_str().unwrap().to_owned()).collect();
            if kinds.len() >= count {
                return kinds;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, listing).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_has_lost_no_event_and_those_who_were_in_have_dropped() {
    let data = std::env::temp_dir().join(format!("campanile-client-{}-events", std::process::id()));
    let (running, api) = start(&data).await;
    let meeting = api.create_meeting("events").await.expect("a meeting is made");
    let people =
        api.create_attendees(&meeting, &["ann".into(), "bob".into()]).await.expect("attendees are made");
    let join = |at: usize| timeout(PATIENCE, Session::join(people[at].clone(), Config::default()));
    let (ann, _ann_events) = join(0).await.expect("in time").expect("joined");
    let (_bob, _bob_events) = join(1).await.expect("in time").expect("joined");
    assert_eq!(told(&api, "ann", 2).await, ["chime:AttendeeAdded", "chime:AttendeeJoined"]);
    timeout(PATIENCE, ann.leave()).await.expect("leaving is answered");
    assert_eq!(told(&api, "ann", 3).await[2], "chime:AttendeeLeft");
    told(&api, "bob", 2).await;
    // Without a word to the registry, as after a crash: the worker's memory ends here.
    running.stop().await;

    let (running, api) = start(&data).await;
    assert_eq!(
        told(&api, "bob", 3).await,
        ["chime:AttendeeAdded", "chime:AttendeeJoined", "chime:AttendeeDropped"]
    );
    assert_eq!(told(&api, "ann", 3).await.len(), 3, "she had left before");
    running.stop().await;
    let _ = std::fs::remove_dir_all(&data);
}
