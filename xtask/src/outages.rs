//! Benchmarks of servers and networks that fail, or are attacked: how long it is noticed, and what it costs.

use crate::Failure;
use crate::process::{campanile, cargo, command, root, run, run_quietly, target};
use crate::setup;

/// 200 clients through `kill -9` and a restart, and through a drain and a restart.
pub(crate) fn restart(short: bool) -> Result<String, Failure> {
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    run(&mut cargo(&["build", "--release", "--package", "campanile-client", "--example", "restart"]))?;
    let clients = if short { "50" } else { "200" };
    let mut bench = command(target().join("release/examples/restart"), &[]);
    run_quietly(bench.arg(campanile("release")).args([clients, "20"]))
}

/// The unmodified client in Chromium: TCP cut, 4500, the server killed, the network gone.
pub(crate) fn reconnect(short: bool) -> Result<String, Failure> {
    setup::tools(setup::FOR_DEV, true)?;
    let chromium = setup::chromium().ok_or("Chromium is missing.")?;
    setup::web_page()?;
    setup::test_page()?;
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    let runs = if short { "3" } else { "15" };
    let mut script = command("node", &["test/bench-reconnect.mjs", "--runs", runs]);
    script.current_dir(root().join("web"));
    run_quietly(script.env("CAMPANILE_BIN", campanile("release")).env("CHROMIUM", chromium))
}

/// Strangers' datagrams at a meeting of three: the test of that name, for a minute.
pub(crate) fn flood(short: bool) -> Result<String, Failure> {
    let test = ["test", "--release", "--quiet", "--package", "campanile-client", "--test", "hostile"];
    let mut flood = cargo(&[&test[..], &["bad_flood", "--", "--nocapture"]].concat());
    let said = run_quietly(flood.env("CAMPANILE_FLOOD_SECONDS", if short { "10" } else { "60" }))?;
    let measured = said.lines().find(|line| line.contains("strangers' datagrams from"));
    let measured = measured.ok_or_else(|| format!("The test told no figures.\n{said}"))?;
    Ok(format!("{measured}. Nobody lost their session or missed a packet.\n"))
}
