//! `cargo xtask sim`: the simulated meetings with other seeds than those kept as tests. The seed reaches them through
//! the environment variable `CAMPANILE_SEED`.

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
    let mut tests = simulation(seed);
    tests.args(
        args.iter().enumerate().filter(|(index, _)| *index != at && *index != at + 1).map(|(_, arg)| arg),
    );
    run(tests.args(["--", "--nocapture"]))
}

/// Runs the simulations once with each seed, and stops at the first that fails.
pub(crate) fn seeds(range: Range<u64>) -> Result<(), Failure> {
    for seed in range {
        run_quietly(&mut simulation(seed)).map_err(|output| {
            format!(
                "{output}\nIt failed with seed {seed}. Run it again:\n\n    cargo xtask sim --seed {seed}\n"
            )
        })?;
    }
    Ok(())
}

fn simulation(seed: u64) -> std::process::Command {
    let mut tests = cargo(&["test", "--quiet", "--package", "campanile-sim"]);
    tests.env("CAMPANILE_SEED", seed.to_string());
    tests
}
