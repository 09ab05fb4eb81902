//! `cargo xtask fuzz`: libFuzzer on the targets in `fuzz/`. Coverage needs only stable compiler options, so this works
//! with the toolchain that builds the project; what it finds lands in `fuzz/artifacts`.

use std::fs;
use std::path::Path;

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

/// Every target in turn, also after one that fails.
pub(crate) fn all(seconds: u32) -> Result<(), Failure> {
    let failures: Vec<Failure> = targets()?.iter().filter_map(|name| target(name, seconds).err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
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
    // The inputs that are kept by hand are read; those that libFuzzer finds interesting go elsewhere.
    let seeds = fuzz.join("corpus").join(name);
    let [found, artifacts] = ["target/found", "artifacts"].map(|folder| fuzz.join(folder).join(name));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // With an explicit target, build scripts and proc macros are spared the instruments.
    let host = host()?;
    let instrumented = |command: &str| {
        let mut command = cargo(&[command, "--quiet", "--release", "--target", &host, "--bin", name]);
        command.current_dir(&fuzz).env("RUSTFLAGS", COVERAGE);
        command
    };
    run(&mut instrumented("build"))?;
    let mut fuzzer = instrumented("run");
    fuzzer.arg("--").args([&found, &seeds]).args(["-print_final_stats=1", "-max_len=8192"]);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(artifact_prefix(&artifacts));
    let output = fuzzer.output().map_err(|error| format!("libFuzzer cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions = executions(&said).unwrap_or(0);
    if output.status.success() {
        println!("{name:<18} {executions:>10} executions, nothing found");
        return Ok(());
    }
    // What was found stands at the end, after all that libFuzzer has told of its progress.
    let lines: Vec<&str> = said.lines().collect();
    eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    Err(format!("{name} failed after {executions} executions; the input is in {}.", artifacts.display()))
}

/// The number of executions in libFuzzer's closing statistics.
fn executions(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

/// libFuzzer wants its prefix with the closing slash.
fn artifact_prefix(folder: &Path) -> String {
    format!("-artifact_prefix={}/", folder.display())
}

/// The triple of this machine, as rustc names it.
fn host() -> Result<String, Failure> {
    let printed = run_quietly(std::process::Command::new("rustc").arg("-vV"))?;
    let line = printed.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc did not name its host.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expected: Option<u64>) {
        assert_eq!(executions(said), expected, "{said}");
    }

    #[test]
    fn executions_are_read_from_the_closing_statistics() {
        check(
            "Done 7 runs\nstat::number_of_executed_units: 3159537\nstat::peak_rss_mb: 35\n",
            Some(3_159_537),
        );
        check("panicked", None);
    }
}
