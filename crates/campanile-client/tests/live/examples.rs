//! The examples do what their heads say.

use campanile_client::pcm::{SAMPLE_RATE_HZ, WavWriter};
use campanile_client::{Config, Event, JoinInfo, RosterChange};
use tokio::time::timeout;

use crate::world::{PATIENCE, World, hears, join, until};

/// An example of this package, which `cargo test` has built.
fn example(name: &str) -> tokio::process::Command {
    let tests = std::env::current_exe().expect("this test has a file");
    let examples = tests.ancestors().nth(2).expect("deps lie in the profile's folder").join("examples");
    let mut command = tokio::process::Command::new(examples.join(name));
    command.kill_on_drop(true).stdout(std::process::Stdio::piped());
    command
}

/// What an example takes for join information.
fn invitation(world: &World, info: &JoinInfo) -> std::path::PathBuf {
    let text = serde_json::json!({
        "Meeting": world.meeting["Meeting"],
        "Attendee": { "AttendeeId": info.attendee_id, "ExternalUserId": info.external_user_id, "JoinToken": info.join_token.0 },
    });
    let path = world.data.join(format!("{}.json", info.external_user_id));
    std::fs::write(&path, text.to_string()).expect("a file of our own");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_play_echo_and_record() {
    let world = World::new("examples").await;
    let people = world.attendees(&["radio", "parrot", "recorder", "ann"]).await;
    let (_ann, mut ann_hears) = join(&people[3], Config::default()).await;
    let opus = world.data.join("meeting.opus");
    let mut recorder = example("record");
    recorder.arg(&opus).arg("12").arg(invitation(&world, &people[2]));
    let recorder = recorder.spawn().expect("it is built");
    let mut parrot = example("echo").arg(invitation(&world, &people[1])).spawn().expect("it is built");
    // Both are in before anything is played.
    let mut waiting = vec!["parrot", "recorder"];
    until(&mut ann_hears, |event| {
        if let Event::Roster(RosterChange::Joined(who)) = event {
            waiting.retain(|name| *name != who.external_user_id);
        }
        waiting.is_empty().then_some(())
    })
    .await;
    let wav = world.data.join("tone.wav");
    let mut file = WavWriter::new(std::fs::File::create(&wav).unwrap()).unwrap();
    let samples: Vec<f32> = (0..4 * SAMPLE_RATE_HZ)
        .map(|n| 0.1 * (std::f32::consts::TAU * 700.0 * n as f32 / SAMPLE_RATE_HZ as f32).sin())
        .collect();
    file.write(&samples).unwrap();
    file.finish().unwrap();
    let mut radio =
        example("play").arg(&wav).arg(invitation(&world, &people[0])).spawn().expect("it is built");
    hears(&mut ann_hears, &[700.0], &[]).await;
    let played = timeout(PATIENCE, radio.wait()).await.expect("the file ends").unwrap();
    assert!(played.success());
    // The radio has left; what is heard now is the parrot.
    let gone = |event| match event {
        Event::Roster(RosterChange::Left { attendee, .. }) => {
            (attendee.external_user_id == "radio").then_some(())
        }
        _ => None,
    };
    until(&mut ann_hears, gone).await;
    parrot.kill().await.expect("it runs until it is stopped");
    let recorded =
        timeout(PATIENCE, recorder.wait_with_output()).await.expect("twelve seconds pass").unwrap();
    assert!(recorded.status.success());
    let recording = std::fs::read(&opus).unwrap();
    assert!(recording.starts_with(b"OggS") && recording.len() > 12 * 50 * 3, "{} bytes", recording.len());
    world.end().await;
}
