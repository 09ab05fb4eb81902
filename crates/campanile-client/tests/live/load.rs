//! `campanile-load` as people run it, against a service of this test's own.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::world::{PATIENCE, World};

/// Runs it with these flags on three people who all speak and one of whom shows, and reads what it said.
async fn load(world: &World, flags: &str) -> (Output, Value) {
    let ready = &world.running.ready;
    let pid = std::process::id().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile-load"));
    command
        .args(["--api", &ready.api, "--region", &ready.region, "--pid", &pid])
        .args(["--attendees", "3", "--speakers", "2", "--publishers", "1", "--duration", "3", "--json"])
        .args(flags.split_whitespace())
        .env("AWS_ACCESS_KEY_ID", ready.access_key_id.as_ref().expect("dev has credentials of its own"))
        .env("AWS_SECRET_ACCESS_KEY", ready.secret_access_key.as_ref().expect("and their secret").reveal())
        .kill_on_drop(true);
    let output = timeout(2 * PATIENCE, command.output()).await.expect("in time").expect("it runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

/// However busy the machine: the exit code is what the report says.
fn code_of(report: &Value) -> i32 {
    match (report["valid"] == true, report["thresholds_missed"].as_array().is_some_and(Vec::is_empty)) {
        (false, _) => 3,
        (true, true) => 0,
        (true, false) => 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_holds_what_people_notice() {
    let world = World::new("load").await;
    for codec in ["vp8", "h264", "vp9", "av1"] {
        let (output, report) = load(&world, &format!("--anyway --codec {codec}")).await;
        assert_eq!(output.status.code(), Some(code_of(&report)), "{report:#}");
        let number = |path: &str| {
            report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report:#}"))
        };
        assert_eq!((number("/joined"), number("/mix_minus_violations")), (3.0, 0.0));
        for share in ["/audio/delivered_ratio", "/video/delivered_ratio"] {
            assert!((0.8..1.2).contains(&number(share)), "{share} of {codec} is {}", number(share));
        }
        for figure in ["/join_ms/p50", "/join_ms/p99", "/audio/delay_ms/p50", "/server/cpu_seconds"] {
            assert!(number(figure) > 0.0, "{figure} of {codec}");
        }
        assert!(number("/server/rss_bytes") > 1e6);
        assert!(number("/generator/cpu_us_per_packet") > 0.0 && number("/generator/cpu_share_limit") < 1.0);
        // VP9 has no place for a stamp.
        assert_eq!(number("/video/delay_ms/count") > 0.0, codec != "vp9");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("audio.delivered_ratio"),
            "there is a table too"
        );
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generator_that_held_things_up_reports_nothing() {
    let world = World::new("starved").await;
    // No generator sends everything without any delay at all.
    let (output, report) = load(&world, "--max-lag-ms 0").await;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(report["valid"], false);
    assert!(report["refused"][0].as_str().is_some_and(|why| why.contains("late")), "{report:#}");
    assert!(report["audio"].is_null() && report["joined"].is_null(), "no figure of the service: {report:#}");
    assert!(report["generator"]["cpu_us_per_packet"].is_number(), "but its own");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_or_with_nonsense_it_does_not_run() {
    for flags in
        [&["--api", "http://127.0.0.1:1"][..], &["--api", "http://127.0.0.1:1", "--access-key-id", "a"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile-load"));
        command.args(flags).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        let output = timeout(PATIENCE, command.output()).await.expect("in time").expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no credentials"));
    }
    let world = World::new("nonsense").await;
    let (output, _) = load(&world, "--speakers 9").await;
    assert_eq!(output.status.code(), Some(2));
    world.end().await;
}
