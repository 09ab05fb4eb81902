//! Other programs: run them, count the tests that they report, and stop those that we started, by their own id.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// The root of the repository, wherever the command was typed.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The binary of one profile, `debug` or `release`.
pub(crate) fn campanile(profile: &str) -> PathBuf {
    target().join(profile).join("campanile")
}

/// A command that starts in the root of the repository.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// The command as one would type it.
pub(crate) fn spelled(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let _ = write!(line, " {}", arg.to_string_lossy());
    }
    line
}

/// Runs to the end; anything but success is a failure that names the command.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status =
        command.status().map_err(|error| format!("`{}` cannot be run: {error}", spelled(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status}).", spelled(command))) }
}

/// Runs quietly; on failure what it printed is shown.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{}` cannot be run: {error}", spelled(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Err(format!("`{}` failed ({}).\n{out}{err}", spelled(command), output.status))
}

/// How many tests a program said it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs to the end, shows what is printed, and adds up the tests that it reports. The flag says whether it succeeded.
pub(crate) fn run_counting(command: &mut Command) -> Result<(Counts, bool), Failure> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{}` cannot be run: {error}", spelled(command)))?;
    let mut counts = Counts::default();
    let out = child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add(reported(&line));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok((counts, status.success()))
}

/// The tests that one line reports: cargo's `test result: ok. 3 passed; 0 failed; 1 ignored`, node's `ℹ pass 3`,
/// and the `ok   what` or `FAIL what` of our own scripts.
fn reported(line: &str) -> Counts {
    let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let mut counts = Counts::default();
    let summary = line.starts_with("test result:");
    for pair in words.windows(2) {
        if let (true, Ok(number)) = (summary, pair[0].parse::<u32>()) {
            match pair[1] {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" | "skipped" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts.passed += u32::from(line.starts_with("ok   "));
    counts.failed += u32::from(line.starts_with("FAIL "));
    if let ["ℹ", kind, number] = words[..] {
        let number = number.parse().unwrap_or(0);
        match kind {
            "pass" => counts.passed += number,
            // A test whose time ran out is `cancelled`; its failure must not be lost.
            "fail" | "cancelled" => counts.failed += number,
            "skipped" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

/// A helper process of ours; it ends when this is dropped.
pub(crate) struct Helper(Child);

impl Helper {
    /// Starts it and returns the first line that it prints, which says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Result<(Helper, String), Failure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{}` cannot be run: {error}", spelled(command)))?;
        let out = child.stdout.take().expect("stdout is piped");
        let helper = Helper(child);
        let mut line = String::new();
        let mut reader = BufReader::new(out);
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err(format!("`{}` ended before it was ready.", spelled(command)));
        }
        // Whatever it prints later is read and forgotten, so that a full pipe never blocks it.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok((helper, line))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // `kill` by the child's own id: nobody else's process can be hit.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u32, failed: u32, skipped: u32) {
        assert_eq!(reported(line), Counts { passed, failed, skipped }, "{line}");
    }

    #[test]
    fn test_reports_are_counted() {
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            12,
            0,
            1,
        );
        check("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured", 3, 2, 0);
        check("ℹ pass 7", 7, 0, 0);
        check("ℹ fail 1", 0, 1, 0);
        check("ℹ cancelled 2", 0, 2, 0);
        check("ℹ skipped 3", 0, 0, 3);
        check("ok   create_meeting answers 201", 1, 0, 0);
        check("FAIL get_meeting: nothing", 0, 1, 0);
        check("1 failed", 0, 0, 0);
        check("test many_were_3 passed ... ok", 0, 0, 0);
        check("", 0, 0, 0);
    }
}
