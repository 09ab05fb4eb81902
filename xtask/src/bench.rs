//! `cargo xtask bench`: numbers for `docs/benchmarks.md`, from a release build.

use crate::Failure;
use crate::process::{campanile, cargo, command, root, run};
use crate::setup;

/// `[join] [ARGS...]`: how fast a browser comes into a meeting. ARGS go to the measuring script (`--runs N`, `--json`).
pub(crate) fn run_bench(args: &[String]) -> Result<(), Failure> {
    let args = match args.split_first() {
        Some((first, rest)) if first == "join" => rest,
        Some((first, _)) if !first.starts_with('-') => {
            return Err(format!("There is no benchmark `{first}`."));
        }
        _ => args,
    };
    setup::tools(setup::FOR_DEV, true)?;
    let chromium = setup::chromium().ok_or("Chromium is missing.")?;
    setup::web_page()?;
    setup::test_page()?;
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    let mut script = command("node", &["test/bench-join.mjs"]);
    script.args(args).current_dir(root().join("web"));
    run(script.env("CAMPANILE_BIN", campanile("release")).env("CHROMIUM", chromium))
}
