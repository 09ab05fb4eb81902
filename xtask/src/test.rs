//! `cargo xtask test`: sets up what testing needs, runs every test, and says how long each part took.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::{
    Counts, campanile, cargo, command, root, run, run_counting, run_quietly, spelled, target,
};
use crate::server::{ACCESS_KEY, ROLE, SECRET_KEY, Server};
use crate::{Failure, fuzz, setup, sim};

/// How long `--long` fuzzes each target.
const LONG_FUZZ_SECONDS: u32 = 60;

/// No request rate, and no meeting ends while a slow story is told.
const PATIENT: &str = "requests-per-second = 0\nidle-seconds = 86400";

/// What came of one part of the run.
struct Phase {
    name: &'static str,
    took: Duration,
    counts: Counts,
    problem: Option<Failure>,
}

#[derive(Default)]
struct Report {
    phases: Vec<Phase>,
}

impl Report {
    /// Runs one part and takes down how it went. The rest goes on whatever happens: one run tells all that is wrong.
    fn phase(&mut self, name: &'static str, work: impl FnOnce() -> Result<(Counts, bool), Failure>) -> bool {
        println!("\n== {name}");
        let started = Instant::now();
        let (mut counts, problem) = match work() {
            Ok((counts, true)) => (counts, None),
            Ok((counts, false)) => (counts, Some(format!("{name} failed"))),
            Err(failure) => (Counts::default(), Some(failure)),
        };
        if let Some(problem) = &problem {
            eprintln!("{problem}");
            counts.failed = counts.failed.max(1);
        }
        let good = problem.is_none();
        self.phases.push(Phase { name, took: started.elapsed(), counts, problem });
        good
    }

    /// A part that is one check of its own.
    fn check(&mut self, name: &'static str, work: impl FnOnce() -> Result<(), Failure>) -> bool {
        self.phase(name, || work().map(|()| (Counts { passed: 1, ..Counts::default() }, true)))
    }

    fn finish(self) -> Result<(), Failure> {
        println!("\n{:<18} {:>8} {:>7} {:>7} {:>8}", "", "passed", "failed", "skipped", "time");
        let mut total = Counts::default();
        for Phase { name, took, counts: Counts { passed, failed, skipped }, .. } in &self.phases {
            println!("{name:<18} {passed:>8} {failed:>7} {skipped:>7} {:>7.1}s", took.as_secs_f32());
        }
        for phase in &self.phases {
            total.add(phase.counts);
        }
        let problems: Vec<&str> = self.phases.iter().filter_map(|phase| phase.problem.as_deref()).collect();
        let skipped = if total.skipped > 0 { format!(", {} skipped", total.skipped) } else { String::new() };
        println!("\n{} passed, {} failed{skipped}", total.passed, total.failed);
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

/// `[--long] [WORDS]`: with words, only tests whose name contains them, and no checks of style.
pub(crate) fn run_test(args: &[String]) -> Result<(), Failure> {
    let long = args.iter().any(|arg| arg == "--long");
    let words: Vec<&String> = args.iter().filter(|arg| *arg != "--long").collect();
    if let Some(flag) = words.iter().find(|word| word.starts_with('-')) {
        return Err(format!("`cargo xtask test` knows no flag `{flag}`."));
    }
    let filter = words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    let everything = filter.is_empty();
    let mut report = Report::default();

    let sdk = root().join("tests/sdk");
    let ready = report.check("set-up", || {
        setup::tools(setup::FOR_TEST, true)?;
        setup::second_browser();
        setup::web_page()?;
        setup::test_page()?;
        setup::npm_packages(&sdk)?;
        setup::python(&sdk.join("requirements.txt")).map(drop)
    });
    if !ready {
        return report.finish();
    }
    if everything {
        report.check("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
        report.check("page types", || {
            run(command(root().join("web/node_modules/.bin/tsc"), &["--noEmit"])
                .current_dir(root().join("web")))
        });
        report.check("licences", licences);
        report.check("clippy", || {
            run(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        });
    }
    report.phase("cargo test", || {
        let mut tests = cargo(&["test", "--quiet", "--workspace", "--no-fail-fast"]);
        if !everything {
            tests.arg(&filter);
        }
        run_counting(&mut tests)
    });
    if everything {
        report.check("cargo doc", || {
            let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
            run(doc.env("RUSTDOCFLAGS", "-D warnings"))
        });
    }
    let built = report.check("build", || {
        run(&mut cargo(&["build", "--quiet", "--package", "campanile"]))?;
        // For the story in which the library's client meets a browser.
        run(&mut cargo(&["build", "--quiet", "--package", "campanile-client", "--example", "meet"]))
    });
    if built {
        if everything || "sdk".contains(&filter.to_lowercase()) {
            report.phase("SDK stories", sdk_stories);
        }
        report.phase("browser stories", || browser_stories(&filter));
    }
    if long {
        report.check("more seeds", sim::many);
        report.check("libFuzzer", || fuzz::all(LONG_FUZZ_SECONDS));
    }
    report.finish()
}

/// The control plane through the unmodified AWS SDKs and the command line.
fn sdk_stories() -> Result<(Counts, bool), Failure> {
    let sdk = root().join("tests/sdk");
    let python = setup::python(&sdk.join("requirements.txt"))?;
    let tool = python.with_file_name("aws");
    // The SDK for Rust is a workspace of its own. It shares our target directory, so its crates are built once.
    let manifest = sdk.join("rust/Cargo.toml");
    let rust = || {
        let mut story = cargo(&["run", "--quiet", "--locked", "--manifest-path"]);
        story.arg(&manifest).arg("--").env("CARGO_TARGET_DIR", target());
        story
    };
    let script = |program: &Path, story: &str| {
        let mut client = command(program, &[]);
        client.arg(sdk.join(story)).env("AWS_CLI", &tool);
        client
    };
    let mut boto3 = script(&python, "boto3_story.py");
    boto3.args(["--role", ROLE]);
    let stories =
        [boto3, script(&python, "aws_cli_story.py"), script(Path::new("node"), "aws_sdk_story.mjs"), rust()];
    let mut total = Counts::default();
    let mut good = true;
    for mut client in stories {
        let server = Server::start("debug", PATIENT, None)?;
        client.args(["--endpoint", &server.field("api")?, "--region", &server.field("region")?]);
        client.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        let (mut counts, succeeded) = run_counting(client.current_dir(&sdk))?;
        if counts == Counts::default() {
            return Err(format!("`{}` told of no check at all.", spelled(&client)));
        }
        if !succeeded {
            counts.failed = counts.failed.max(1);
        }
        total.add(counts);
        good &= succeeded;
    }
    Ok((total, good))
}

/// Meetings held by headless Chromium, and one with Firefox, through the unmodified client SDK.
fn browser_stories(filter: &str) -> Result<(Counts, bool), Failure> {
    let chromium = setup::chromium().ok_or("Chromium is missing.")?;
    let mut node = command("node", &["--test", "--test-reporter=spec"]);
    if !filter.is_empty() {
        node.arg(format!("--test-name-pattern={filter}"));
    }
    node.arg("test/all.test.mjs").current_dir(root().join("web"));
    node.env("CAMPANILE_BIN", campanile("debug")).env("CHROMIUM", chromium);
    node.envs(setup::firefox().map(|firefox| ("FIREFOX", firefox)));
    let (counts, good) = run_counting(&mut node)?;
    if filter.is_empty() && counts.passed == 0 {
        return Err("No browser story ran at all.".into());
    }
    Ok((counts, good))
}

/// Licences that go together with Apache-2.0 in what we ship.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "Zlib",
    "Unlicense",
    "Unicode-3.0",
    "OpenSSL",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
    "CC0-1.0",
];

/// Every crate and npm package is under a licence that we may pass on.
fn licences() -> Result<(), Failure> {
    let mut sources =
        vec![("crates", run_quietly(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?)];
    let lock = root().join("web/package-lock.json");
    sources.push(("npm packages", fs::read_to_string(lock).map_err(|error| error.to_string())?));
    let mut bad: Vec<String> = Vec::new();
    for (whose, text) in &sources {
        for value in text.split("\"license\":").skip(1) {
            let Some((licence, _)) =
                value.trim_start().strip_prefix('"').and_then(|value| value.split_once('"'))
            else {
                continue;
            };
            let line = format!("{licence} (of {whose})");
            if !allowed(licence) && !bad.contains(&line) {
                bad.push(line);
            }
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(format!("Licences that are not on the list: {}", bad.join(", ")))
    }
}

/// Whether every part of an SPDX expression offers a licence of our list.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "");
    let offers = |part: &str| {
        part.split(" OR ").flat_map(|one| one.split('/')).any(|one| LICENCES.contains(&one.trim()))
    };
    plain.split(" AND ").all(offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_understood() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC)",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "", "Apache-2.0 WITH Something"] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
