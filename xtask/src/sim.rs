//! `cargo xtask sim`: meetings at random in virtual time, one by its seed or thousands. The numbers reach them through
//! the environment variables `CAMPANILE_SEED`, `CAMPANILE_FIRST_SEED` and `CAMPANILE_SEEDS`.

use crate::Failure;
use crate::process::{cargo, run};

/// Seeds when none is named. A plain test run has lived the first few hundred already.
const SEEDS: &str = "2000";

/// `--seed N` lives that one again; `--seeds N` as many as that; nothing, two thousand.
pub(crate) fn run_sim(args: &[String]) -> Result<(), Failure> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, number) = match args[..] {
        [] => return many(),
        ["--seed", number] => ("CAMPANILE_SEED", number),
        ["--seeds", number] => ("CAMPANILE_SEEDS", number),
        _ => return Err("`cargo xtask sim [--seed N | --seeds N]`".into()),
    };
    number
        .parse::<u64>()
        .map_err(|_| format!("`{number}` is no number, as a failing simulation prints it."))?;
    run(simulation().env(name, number))
}

/// Thousands of them.
pub(crate) fn many() -> Result<(), Failure> {
    run(simulation().env("CAMPANILE_SEEDS", SEEDS))
}

fn simulation() -> std::process::Command {
    cargo(&["test", "--quiet", "--package", "campanile-sim", "--test", "random", "--", "--nocapture"])
}
