//! `cargo xtask sim`: meetings at random with other seeds than the tests live through. The seeds reach them through the
//! environment variables `CAMPANILE_SEED`, or `CAMPANILE_FIRST_SEED` and `CAMPANILE_SEEDS`.

use std::ops::Range;

use crate::Failure;
use crate::process::{cargo, run, run_quietly};

/// `--seed N [WORDS]`, or nothing for a thousand seeds.
pub(crate) fn run_sim(args: &[String]) -> Result<(), Failure> {
    let Some(at) = args.iter().position(|arg| arg == "--seed") else {
        return seeds(0..1000);
    };
    let seed: u64 = args
        .get(at + 1)
        .and_then(|seed| seed.parse().ok())
        .ok_or("`--seed` needs a number, as a failing simulation prints it.")?;
    let mut tests = simulation();
    tests.env("CAMPANILE_SEED", seed.to_string());
    tests.args(
        args.iter().enumerate().filter(|(index, _)| *index != at && *index != at + 1).map(|(_, arg)| arg),
    );
    run(tests.args(["--", "--nocapture"]))
}

/// Lives through all these seeds; a failure says which it was.
pub(crate) fn seeds(range: Range<u64>) -> Result<(), Failure> {
    let mut tests = simulation();
    tests.env("CAMPANILE_FIRST_SEED", range.start.to_string());
    tests.env("CAMPANILE_SEEDS", (range.end - range.start).to_string());
    run_quietly(&mut tests).map(drop)
}

fn simulation() -> std::process::Command {
    cargo(&["test", "--quiet", "--package", "campanile-sim", "--test", "random"])
}
