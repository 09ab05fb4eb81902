//! The project's own commands. `cargo xtask dev` sets up what running needs and starts Campanile; `cargo xtask test`
//! sets up what testing needs and runs every test. The rest measures and digs deeper.

mod bench;
mod bench_api;
mod dev;
mod fuzz;
mod outages;
mod process;
mod server;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

/// Why a command stopped, in words for whoever typed it.
pub(crate) type Failure = String;

const USAGE: &str = "\
cargo xtask dev [ARGS...]                 build and start Campanile; ARGS go to `campanile dev`
cargo xtask test [--long] [WORDS]         run every test, or only those whose name contains WORDS
cargo xtask bench [NAME...] [--short] [--write]   measure with release builds; `bench --help` names all
cargo xtask sim [--seed N | --seeds N]    meetings at random in virtual time
cargo xtask fuzz [TARGET] [SECONDS]       libFuzzer on one target, or on each in turn";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = args.split_first().map_or(("", &args[..]), |(first, rest)| (first.as_str(), rest));
    let result = match command {
        "dev" => dev::run_dev(rest),
        "test" => test::run_test(rest),
        "bench" if rest.first().is_some_and(|arg| arg == "--help") => {
            println!("{}", bench::usage());
            Ok(())
        }
        "bench" => bench::run_bench(rest),
        "sim" => sim::run_sim(rest),
        "fuzz" => fuzz::run_fuzz(rest),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("There is no command `{other}`.\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}
