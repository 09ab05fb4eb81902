//! What happens to machines: no room on the disk, no file descriptors, a process that stands still, and one that has run
//! for long. Numbers 41, 42 and 44 of the list in `docs/traps.md`, each with two people who talk meanwhile.

mod common;

use std::process::Command;
use std::time::Duration;

use campanile_client::api::{Api, Credentials};
use campanile_client::pcm::tone;
use campanile_client::{AudioSource, Config, JoinInfo, Media, Session, Trust};
use campanile_wire::signaling::Secret;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use common::{Binary, TempDir, meeting_body};

/// Nothing here takes longer, even on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);
/// Packets that have to be heard before and after what happens: one second.
const HEARD: usize = 50;

/// Two people, one of whom speaks.
struct Talk {
    api: Api,
    meeting: Value,
    ann: Session,
    bob: Session,
    /// The numbers of the packets that bob has heard.
    heard: watch::Receiver<Vec<u64>>,
}

impl Talk {
    async fn on(binary: &Binary) -> Talk {
        let text = |name: &str| binary.ready[name].as_str().unwrap().to_owned();
        let credentials = Credentials {
            access_key_id: text("access_key_id"),
            secret_access_key: Secret(text("secret_access_key")),
            session_token: None,
        };
        let api = Api::new(&text("api"), &text("region"), credentials, Trust::system()).unwrap();
        let meeting = api.create_meeting("talk").await.expect("a meeting is made");
        let (told, heard) = watch::channel(Vec::new());
        let sink = move |media| {
            if let Media::Audio(packet) = media {
                told.send_modify(|heard: &mut Vec<u64>| heard.push(packet.sequence));
            }
        };
        let listening = Config { sink: Some(Box::new(sink)), ..Config::default() };
        let speaking = Config { audio: AudioSource::Loop(tone(400.0, 0.1, 2).unwrap()), ..Config::default() };
        let [ann, bob] = invite(&api, &meeting, ["ann", "bob"]).await;
        let bob = join(bob, listening).await;
        let talk = Talk { ann: join(ann, speaking).await, bob, api, meeting, heard };
        talk.goes_on().await;
        talk
    }

    async fn goes_on(&self) {
        let mut heard = self.heard.clone();
        let enough = heard.borrow().len() + HEARD;
        let hearing = timeout(PATIENCE, heard.wait_for(|heard| heard.len() >= enough)).await;
        hearing.expect("bob hears nothing any more").expect("the sink lives");
    }

    /// Goes on, and not a packet is missing, nor was either of the two away.
    async fn is_whole(&self) {
        self.goes_on().await;
        let mut heard = self.heard.borrow().clone();
        heard.sort_unstable();
        let missing: Vec<_> = heard.windows(2).filter(|two| two[1] != two[0] + 1).collect();
        assert!(missing.is_empty(), "packets are missing between {missing:?}");
        for session in [&self.ann, &self.bob] {
            let stats = session.stats();
            assert_eq!((stats.outages.len(), stats.ended), (0, None));
        }
    }
}

async fn invite<const N: usize>(api: &Api, meeting: &Value, names: [&str; N]) -> [JoinInfo; N] {
    let made = api.create_attendees(meeting, &names.map(str::to_owned)).await.expect("attendees are made");
    made.try_into().expect("as many as asked for")
}

async fn join(info: JoinInfo, config: Config) -> Session {
    timeout(PATIENCE, Session::join(info, config)).await.expect("in time").expect("joined").0
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_41_and_42_records_that_cannot_be_written_end_no_call_and_the_server_says_so() {
    let directory = TempDir::new();
    // A file that grows beyond this many blocks of 512 bytes cannot be written, as on a full disk.
    let binary = Binary::start_after("trap '' XFSZ; ulimit -f 4096", &directory);
    let talk = Talk::on(&binary).await;
    let client = binary.client();
    assert_eq!(client.get_unsigned("/health").await.status, 200);
    // Meetings that come and go leave their events.
    let mut made = 0;
    let refused = loop {
        let answer = client.call("POST", "/meetings", &meeting_body(&format!("tok-{made}"), "")).await;
        if answer.status != 200 {
            break answer;
        }
        let id = answer.json()["Meeting"]["MeetingId"].as_str().unwrap().to_owned();
        let deleted = client.call("DELETE", &format!("/meetings/{id}"), "").await;
        if deleted.status != 204 {
            break deleted;
        }
        made += 1;
        assert!(made < 10_000, "the disk is never full");
    };
    println!("full after {made} meetings: {}", refused.text);
    refused.error(500, "ServiceFailureException");
    let health = client.get_unsigned("/health").await;
    assert_eq!((health.status, health.text.as_str()), (503, "records cannot be stored\n"));
    talk.is_whole().await;
    // There is room again: another process finds what was promised.
    let meeting = talk.meeting["Meeting"]["MeetingId"].as_str().unwrap().to_owned();
    drop((talk, binary));
    let again = Binary::start(&directory);
    let client = again.client();
    assert_eq!(client.get_unsigned("/health").await.status, 200);
    client.call("GET", &format!("/meetings/{meeting}"), "").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_42_without_file_descriptors_calls_go_on_and_with_them_others_get_in_again() {
    let directory = TempDir::new();
    let binary = Binary::start_after("ulimit -n 200", &directory);
    let talk = Talk::on(&binary).await;
    let client = binary.client();
    let media = binary.ready["media"].as_str().unwrap().to_owned();
    let mut idle = Vec::new();
    for _ in 0..300 {
        // The kernel takes them all; the server has descriptors for some.
        idle.push(TcpStream::connect(&media).await.expect("the kernel's queue takes it"));
    }
    let files = || std::fs::read_dir(format!("/proc/{}/fd", binary.process.id())).unwrap().count();
    let full = async {
        while files() < 200 {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, full).await.expect("all are in use");
    talk.is_whole().await;
    drop(idle);
    let room =
        async { while client.try_call("POST", "/meetings", &meeting_body("later", "")).await.is_none() {} };
    timeout(PATIENCE, room).await.expect("the server takes connections again");
    let [cat] = invite(&talk.api, &talk.meeting, ["cat"]).await;
    let _cat = join(cat, Config::default()).await;
    talk.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_42_a_process_that_stands_still_for_a_while_goes_on_with_everybody() {
    /// Long enough to be noticed by everybody's ears, and not by anything that gives up.
    const STILL: Duration = Duration::from_secs(5);
    let directory = TempDir::new();
    let binary = Binary::start(&directory);
    let talk = Talk::on(&binary).await;
    let signal = |name: &str| {
        let process = binary.process.id().to_string();
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    };
    signal("-STOP");
    // Not a wait for anything: how long it stands still is what is tried.
    tokio::time::sleep(STILL).await;
    signal("-CONT");
    talk.is_whole().await;
    let [cat] = invite(&talk.api, &talk.meeting, ["cat"]).await;
    let _cat = join(cat, Config::default()).await;
}

/// What a process holds: open files, threads, and resident memory in KiB.
fn holds(process: u32) -> (usize, u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    (files, number("Threads:"), number("VmRSS:"))
}

/// So many come and go: each in a meeting of its own, and in the one that goes on; some without a word.
async fn come_and_go(talk: &Talk, rounds: usize) {
    for round in 0..rounds {
        let meeting = talk.api.create_meeting("short").await.expect("a meeting is made");
        let [alone] = invite(&talk.api, &meeting, ["alone"]).await;
        let [guest] = invite(&talk.api, &talk.meeting, ["guest"]).await;
        let guest_id = guest.attendee_id.clone();
        let (alone, guest) = tokio::join!(join(alone, Config::default()), join(guest, Config::default()));
        if round % 2 == 0 {
            alone.leave().await;
            guest.leave().await;
        } else {
            alone.vanish();
            guest.vanish();
        }
        let id = |meeting: &Value| meeting["Meeting"]["MeetingId"].as_str().unwrap().to_owned();
        talk.api.delete_meeting(&id(&meeting)).await.expect("deleted");
        talk.api.delete_attendee(&id(&talk.meeting), &guest_id).await.expect("deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_44_whoever_comes_and_goes_leaves_nothing_behind() {
    const ROUNDS: usize = 60;
    /// Per round: what is kept on purpose (join traces, events, client events: some kilobytes) and the allocator's moods.
    const KIB_PER_ROUND: u64 = 50;
    let directory = TempDir::new();
    let binary = Binary::start(&directory);
    let talk = Talk::on(&binary).await;
    let process = binary.process.id();
    // Until all pools, caches and threads are there.
    come_and_go(&talk, 20).await;
    let settled = || async {
        let alone = async {
            // The API's connections are closed by then, too.
            let mut before = holds(process).0;
            loop {
                talk.goes_on().await;
                let now = holds(process).0;
                if now >= before {
                    return holds(process);
                }
                before = now;
            }
        };
        timeout(PATIENCE, alone).await.expect("it settles")
    };
    let (files, threads, kib) = settled().await;
    come_and_go(&talk, ROUNDS).await;
    let (files_after, threads_after, kib_after) = settled().await;
    println!(
        "files {files} then {files_after}, threads {threads} then {threads_after}, {kib} KiB then {kib_after} KiB"
    );
    assert!(files_after <= files, "{files} files, then {files_after}");
    assert!(threads_after <= threads, "{threads} threads, then {threads_after}");
    assert!(kib_after < kib + ROUNDS as u64 * KIB_PER_ROUND, "{kib} KiB, then {kib_after}");
    talk.is_whole().await;
}
