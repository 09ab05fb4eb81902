//! Benchmarks of servers and networks that fail: how long it is noticed.

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
