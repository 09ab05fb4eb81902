//! `cargo xtask bench api`: the control plane's latency with durable writes, server and generator on a core each.

use crate::Failure;
use crate::process::{cargo, command, run, run_quietly, target};
use crate::server::{ACCESS_KEY, SECRET_KEY, Server};

/// Nothing is in the way, and nothing ends meanwhile.
const QUOTAS: &str = "requests-per-second = 0\nmeetings = 10000000\nidle-seconds = 86400";

/// Creates at 500 requests a second for a minute, then 100,000 creates as fast as they go, each read at once.
pub(crate) fn api(short: bool) -> Result<String, Failure> {
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    run(&mut cargo(&["build", "--release", "--package", "campanile", "--example", "bench_api"]))?;
    let (seconds, meetings) = if short { ("10", "5000") } else { ("60", "100000") };
    let mut said = Vec::new();
    for load in [["--seconds", seconds], ["--meetings", meetings]] {
        let server = Server::start("release", QUOTAS, Some(0))?;
        let api = server.field("api")?;
        let host = api.strip_prefix("http://").ok_or("the API is not served over plain HTTP")?;
        let mut bench = command("taskset", &["--cpu-list", "1"]);
        bench.arg(target().join("release/examples/bench_api")).args(["--api", host]);
        bench.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]).args(load);
        said.push(run_quietly(&mut bench)?.trim().to_owned());
    }
    Ok(format!(
        "CreateMeeting and CreateAttendee in turn, every answer on disk; the server on one core, the generator on another. \
         Latency counts from when a request was due:\n\n```\n{}\n```",
        said.join("\n")
    ))
}
