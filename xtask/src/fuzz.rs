//! `cargo xtask fuzz`: libFuzzer on the targets in `fuzz/`. Coverage needs only stable compiler options, so this works
//! with the toolchain that builds the project; what it finds lands in `fuzz/artifacts`.

use std::fs;
use std::path::PathBuf;

use crate::Failure;
use crate::process::{cargo, root, run, run_quietly};

/// Lets libFuzzer see which edges and comparisons an input reaches, and keeps overflow checks on.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// How long one target is fuzzed when nothing is said.
const SECONDS: u32 = 60;

/// `[TARGET] [SECONDS]`
pub(crate) fn run_fuzz(args: &[String]) -> Result<(), Failure> {
    match args {
        [] => all(SECONDS),
        [only] => match only.parse() {
            Ok(seconds) => all(seconds),
            Err(_) => target(only, SECONDS),
        },
        [name, seconds] => {
            target(name, seconds.parse().map_err(|_| format!("`{seconds}` is no number of seconds."))?)
        }
        _ => Err("`cargo xtask fuzz [TARGET] [SECONDS]`".into()),
    }
}

/// Every target in turn.
pub(crate) fn all(seconds: u32) -> Result<(), Failure> {
    targets()?.iter().try_for_each(|name| target(name, seconds))
}

fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn target(name: &str, seconds: u32) -> Result<(), Failure> {
    let known = targets()?;
    if !known.iter().any(|known| known == name) {
        return Err(format!("There is no fuzz target `{name}`. There are: {}.", known.join(", ")));
    }
    let fuzz = root().join("fuzz");
    // What is found goes beside the build, and the corpus that is kept in git is only read: to keep a find, copy it.
    let [found, artifacts] = [fuzz.join("target/corpus").join(name), fuzz.join("artifacts").join(name)];
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // With an explicit target, build scripts and proc macros are spared the instruments.
    let host = host()?;
    let mut run_target = cargo(&["run", "--release", "--target", &host, "--bin", name, "--"]);
    run_target.current_dir(&fuzz).env("RUSTFLAGS", COVERAGE).arg(&found).arg(fuzz.join("corpus").join(name));
    run_target.arg(format!("-max_total_time={seconds}")).arg(artifact_prefix(artifacts));
    println!("\n== fuzzing {name} for {seconds} s");
    run(&mut run_target)
}

/// libFuzzer wants its prefix with the closing slash.
fn artifact_prefix(folder: PathBuf) -> String {
    format!("-artifact_prefix={}/", folder.display())
}

/// The triple of this machine, as rustc names it.
fn host() -> Result<String, Failure> {
    let printed = run_quietly(std::process::Command::new("rustc").arg("-vV"))?;
    let line = printed.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc did not name its host.".into())
}
