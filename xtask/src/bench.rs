//! `cargo xtask bench`: numbers for `docs/benchmarks.md`, from release builds. Each benchmark prints Markdown, and with
//! `--write` takes the place of its last one in that file, between two comments that bear its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::Failure;
use crate::bench_api;
use crate::outages;
use crate::process::{campanile, cargo, command, root, run, run_quietly, target};
use crate::setup;

/// One benchmark, and what it runs.
struct Bench {
    name: &'static str,
    /// For people who look for one.
    words: &'static str,
    /// Without being named, only those run that need none.
    in_browser: bool,
    run: fn(&Wanted<'_>) -> Result<String, Failure>,
}

const ALL: [Bench; 15] = [
    Bench {
        name: "api",
        words: "creating meetings and attendees at 500 requests a second with durable writes",
        in_browser: false,
        run: |wanted| bench_api::api(wanted.short),
    },
    Bench {
        name: "audio",
        words: "mixing, beside Debian's Janus AudioBridge, and how good it sounds",
        in_browser: false,
        run: audio,
    },
    Bench {
        name: "srtp",
        words: "mixing for many over SRTP, silence, empty meetings, and the delay that the server adds",
        in_browser: false,
        run: srtp,
    },
    Bench {
        name: "video",
        words: "forwarding, beside Janus' VideoRoom and mediasoup",
        in_browser: false,
        run: video,
    },
    Bench {
        name: "live",
        words: "forwarding to a thousand, and 25 cameras to 25, in real time; the delay it adds under load",
        in_browser: false,
        run: |wanted| beside(wanted, &["live"]),
    },
    Bench {
        name: "grid",
        words: "how the cost of forwarding grows with those who watch and those who are seen, in virtual time",
        in_browser: false,
        run: |wanted| beside(wanted, &["grid"]),
    },
    Bench {
        name: "estimators",
        words: "our bandwidth estimation beside str0m's and rtc-interceptor's, in virtual time",
        in_browser: false,
        run: |wanted| beside(wanted, &["estimators"]),
    },
    Bench { name: "load", words: "many attendees at once, by campanile-load", in_browser: false, run: load },
    Bench {
        name: "micro",
        words: "small pieces of work, timed",
        in_browser: false,
        run: |wanted| beside(wanted, &["micro"]),
    },
    Bench {
        name: "instructions",
        words: "the same, counted by valgrind",
        in_browser: false,
        run: |_| instructions(),
    },
    Bench {
        name: "listeners",
        words: "1,000 and 10,000 who listen, in virtual time",
        in_browser: false,
        run: |wanted| beside(wanted, &["listeners"]),
    },
    Bench {
        name: "restart",
        words: "how long 200 clients hear nothing when the server dies, or drains, and starts again",
        in_browser: false,
        run: |wanted| outages::restart(wanted.short),
    },
    Bench {
        name: "flood",
        words: "10,000 strangers' datagrams a second, and what they cost",
        in_browser: false,
        run: |wanted| outages::flood(wanted.short),
    },
    Bench { name: "join", words: "how fast a browser gets in", in_browser: true, run: join },
    Bench {
        name: "reconnect",
        words: "how long a browser's session is interrupted by what breaks it",
        in_browser: true,
        run: |wanted| outages::reconnect(wanted.short),
    },
];

/// For whoever asks, and whoever names what there is not.
pub(crate) fn usage() -> String {
    let lines: String = ALL.iter().map(|bench| format!("  {:<13} {}\n", bench.name, bench.words)).collect();
    format!(
        "cargo xtask bench [NAME...] [--short] [--write] [ARGS...]\n{lines}\
         Without a name: all that need no browser. --short takes minutes instead of an hour; --write puts what was measured\n\
         into docs/benchmarks.md; ARGS go to the benchmark."
    )
}

/// What was asked for on the command line.
struct Wanted<'a> {
    short: bool,
    args: Vec<&'a str>,
}

/// `[NAME...] [--short] [--write] [ARGS...]`.
pub(crate) fn run_bench(args: &[String]) -> Result<(), Failure> {
    let (names, args): (Vec<&str>, Vec<&str>) = {
        let first_flag = args.iter().position(|arg| arg.starts_with('-')).unwrap_or(args.len());
        let (names, rest) = args.split_at(first_flag);
        (names.iter().map(String::as_str).collect(), rest.iter().map(String::as_str).collect())
    };
    let flag = |flag: &str| args.contains(&flag);
    let (short, write) = (flag("--short"), flag("--write"));
    let args = args.into_iter().filter(|arg| !["--short", "--write"].contains(arg)).collect();
    let wanted = Wanted { short, args };
    let chosen: Vec<&Bench> = if names.is_empty() {
        ALL.iter().filter(|bench| !bench.in_browser).collect()
    } else {
        let find = |name: &&str| {
            let found = ALL.iter().find(|bench| bench.name == *name);
            found.ok_or_else(|| format!("There is no benchmark `{name}`.\n\n{}", usage()))
        };
        names.iter().map(find).collect::<Result<_, _>>()?
    };
    let command = |name: &str| {
        let words = [name, if short { "--short" } else { "" }, &wanted.args.join(" ")];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    for Bench { name, run, .. } in chosen {
        let measured = run(&wanted)?;
        let block = format!("{}\n\n{measured}", circumstances(&command(name))?);
        println!("\n{block}");
        if write {
            let file = root().join("docs/benchmarks.md");
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            fs::write(&file, with_block(&text, name, &block)).map_err(|error| error.to_string())?;
            println!("written to {}", file.display());
        }
    }
    Ok(())
}

/// The mixer beside AudioBridge, both heard; and how speech sounds through the mixer at other bitrates, by itself.
fn audio(wanted: &Wanted<'_>) -> Result<String, Failure> {
    setup::tools(&[setup::JANUS, setup::ESPEAK, setup::SOX], false)?;
    let speech = speech()?;
    let speech = speech.to_string_lossy();
    let beside_janus = beside(wanted, &["audio", "--speech", &speech])?;
    let alone = run_quietly(&mut command(target().join("release/campanile-bench"), &["quality", &speech]))?;
    Ok(format!(
        "{beside_janus}\nThe mixer by itself, beside an encoder of the same libopus set up as AudioBridge's is (dB from what was \
         said, lower is better):\n\n```\n{}\n```",
        alone.trim_end()
    ))
}

/// The forwarder beside VideoRoom, and beside mediasoup: where `--mediasoup` says, or built here if it can be.
fn video(wanted: &Wanted<'_>) -> Result<String, Failure> {
    setup::tools(&[setup::JANUS], false)?;
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    if wanted.args.iter().any(|arg| ["--alone", "--mediasoup"].contains(arg)) {
        return beside(wanted, &["video"]);
    }
    match setup::mediasoup() {
        Ok(folder) => beside(wanted, &["video", "--mediasoup", &folder.to_string_lossy()]),
        Err(failure) => {
            println!("mediasoup is left out: {failure}");
            Ok(beside(wanted, &["video"])? + "\nWithout mediasoup, which could not be built.\n")
        }
    }
}

/// Mixing over ICE, DTLS and SRTP, by itself.
fn srtp(wanted: &Wanted<'_>) -> Result<String, Failure> {
    setup::tools(&[setup::ESPEAK, setup::SOX], false)?;
    beside(wanted, &["srtp", "--speech", &speech()?.to_string_lossy()])
}

/// The scenarios of `docs/loadtest.md` against a release build, as one table.
fn load(wanted: &Wanted<'_>) -> Result<String, Failure> {
    run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "campanile",
        "--package",
        "campanile-client",
        "--bins",
    ]))?;
    let reports = target().join("loadtest");
    let _ = fs::remove_dir_all(&reports);
    let mut scenarios = command("sh", &["crates/campanile-client/scenarios.sh"]);
    scenarios.arg(&reports).env("BIN", target().join("release"));
    run(scenarios.env("DURATION", if wanted.short { "8" } else { "30" }))?;
    beside(wanted, &["load-table", &reports.to_string_lossy()])
}

/// Instructions by unit of work, the set-up taken out: twice as many rounds less as many.
fn instructions() -> Result<String, Failure> {
    const ROUNDS: u64 = 200;
    setup::tools(&[setup::VALGRIND], false)?;
    run(&mut cargo(&["build", "--release", "--package", "campanile-bench"]))?;
    let bench = target().join("release/campanile-bench");
    let out = format!("--callgrind-out-file={}", target().join("xtask/callgrind.out").display());
    let counted = |work: &str, rounds: u64| -> Result<(u64, u64), Failure> {
        let mut valgrind = command("valgrind", &["--tool=callgrind", &out]);
        valgrind.arg(&bench).args(["work", work, &rounds.to_string()]);
        let output = valgrind.output().map_err(|error| error.to_string())?;
        let (units, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let collected = said.lines().find_map(|line| line.split_once("Collected : "));
        let instructions = collected.and_then(|(_, number)| number.trim().parse().ok());
        instructions.zip(units.trim().parse().ok()).ok_or_else(|| format!("valgrind failed.\n{said}"))
    };
    fs::create_dir_all(target().join("xtask")).map_err(|error| error.to_string())?;
    let mut report = "| work | instructions for each unit, in two runs |\n|---|---|\n".to_owned();
    for (work, unit) in [
        ("forward", "a packet to one of 25 who watch a camera (no SRTP, no socket)"),
        ("mix", "20 ms of sound for one of 28, three of whom speak (no SRTP, no socket)"),
        ("encode", "20 ms of two tones encoded (CELT, complexity 7, 32 kbit/s)"),
        ("decode", "20 ms of sound decoded"),
    ] {
        let run = || -> Result<u64, Failure> {
            let ((least, fewer), (most, more)) = (counted(work, ROUNDS)?, counted(work, 2 * ROUNDS)?);
            Ok(most.saturating_sub(least) / more.saturating_sub(fewer).max(1))
        };
        report += &format!("| {unit} | {}, {} |\n", run()?, run()?);
    }
    Ok(report)
}

/// Runs `campanile-bench`; the report is what it prints.
fn beside(wanted: &Wanted<'_>, args: &[&str]) -> Result<String, Failure> {
    run(&mut cargo(&["build", "--release", "--package", "campanile-bench"]))?;
    let mut bench = command(target().join("release/campanile-bench"), args);
    bench.args(wanted.short.then_some("--short")).args(&wanted.args).stderr(Stdio::inherit());
    let output = bench.output().map_err(|error| error.to_string())?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(report) } else { Err("`campanile-bench` failed.".into()) }
}

/// More than 33 s of speech in raw 48 kHz mono 16-bit samples, made once. No sentence comes twice: voices are told apart by what
/// they say.
fn speech() -> Result<PathBuf, Failure> {
    const SENTENCES: &str = "The meeting was moved to Thursday afternoon because the architects wanted more time. She asked \
        whether the figures for the second quarter were ready. Please read them aloud, slowly and clearly. Nobody expected \
        the ferry to leave before sunrise, yet the harbour was full of people. His brother paints old bicycles in bright \
        colours and gives them away. Turn left behind the library, and follow the river until you see a yellow bridge. \
        Twelve jars of honey stood on the kitchen window. We could not find out why the lamp went off each evening at half \
        past nine. A good map shows what has been left out.";
    let folder = target().join("xtask");
    let (wav, raw) = (folder.join("sentences.wav"), folder.join("sentences.raw"));
    if !raw.is_file() {
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        run_quietly(command("espeak-ng", &["-v", "en", "-w"]).arg(&wav).arg(SENTENCES))?;
        let form = ["-r", "48000", "-c", "1", "-b", "16", "-e", "signed", "-L", "-t", "raw"];
        run_quietly(command("sox", &[]).arg(&wav).args(form).arg(&raw))?;
    }
    Ok(raw)
}

/// In Chromium, through the unmodified SDK.
fn join(wanted: &Wanted<'_>) -> Result<String, Failure> {
    setup::tools(setup::FOR_DEV, true)?;
    let chromium = setup::chromium().ok_or("Chromium is missing.")?;
    setup::web_page()?;
    setup::test_page()?;
    run(&mut cargo(&["build", "--release", "--package", "campanile"]))?;
    let mut script = command("node", &["test/bench-join.mjs"]);
    script.args(wanted.short.then_some("--runs=5")).args(&wanted.args).current_dir(root().join("web"));
    run_quietly(script.env("CAMPANILE_BIN", campanile("release")).env("CHROMIUM", chromium))
}

/// When, where and how, in one sentence.
fn circumstances(name: &str) -> Result<String, Failure> {
    let date = run_quietly(&mut command("date", &["-u", "+%-d %B %Y, %H:%M UTC"]))?;
    let line = |file: &str, start: &str| {
        let text = fs::read_to_string(Path::new(file)).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        line.trim_start_matches(start).trim_start_matches(['\t', ' ', ':']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = line("/proc/loadavg", "");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    Ok(format!(
        "`cargo xtask bench {name}`, {}: {cores} cores of {}, load average at the end {}.",
        date.trim(),
        line("/proc/cpuinfo", "model name"),
        load.join(", ")
    ))
}

/// The text with the block in the place of the last one of that name, or at its end.
fn with_block(text: &str, name: &str, block: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let block = format!("{begin}\n{}\n{end}", block.trim_end());
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{block}{}", &text[..from], &text[to + end.len()..])
        }
        _ => format!("{}\n\n## {name}\n\n{block}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_the_place_of_the_last_one() {
        let first = with_block("# Benchmarks\n", "audio", "one\n");
        assert_eq!(first, "# Benchmarks\n\n## audio\n\n<!-- begin audio -->\none\n<!-- end audio -->\n");
        let both = with_block(&format!("{first}\nafter\n"), "audio", "two");
        assert!(both.contains("two") && !both.contains("one") && both.ends_with("after\n"), "{both}");
    }
}
