//! Campanile and Janus side by side: the same work, in alternating runs, the server alone on one core and the generator on
//! another. `cargo xtask bench` builds and runs it; the report goes to standard output as Markdown.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "progress and report are for the person at the terminal"
)]

mod audio;
mod generator;
mod janus;
mod plain;
mod report;
mod srtp;
mod system;
mod video;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Why a comparison stopped, in words for whoever started it.
pub(crate) type Failure = String;

/// How long and how often to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pairs: u64,
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
    /// Fewer cases.
    pub(crate) short: bool,
}

#[derive(Parser)]
#[command(name = "campanile-bench", about = "Campanile and Janus side by side")]
struct Options {
    #[command(subcommand)]
    work: Work,
    /// Fewer cases, pairs and seconds: for a first look.
    #[arg(long, global = true)]
    short: bool,
    /// Runs of each server and case [default: 3, short 2].
    #[arg(long, global = true)]
    pairs: Option<u64>,
    /// Seconds to measure in each run [default: 60, short 8].
    #[arg(long, global = true)]
    seconds: Option<u64>,
}

#[derive(Subcommand)]
enum Work {
    /// Mixing, beside Janus' AudioBridge.
    Audio {
        /// Raw 48 kHz mono 16-bit little-endian samples.
        #[arg(long, value_name = "FILE")]
        speech: PathBuf,
    },
    /// Mixing for many over ICE, DTLS and SRTP, by itself; what silence and empty meetings cost; the delay it adds.
    Srtp {
        /// Raw 48 kHz mono 16-bit little-endian samples.
        #[arg(long, value_name = "FILE")]
        speech: PathBuf,
    },
    /// Forwarding, beside Janus' VideoRoom.
    Video,
    /// Campanile's worker for people over bare RTP; runs until its standard input ends.
    #[command(hide = true)]
    PlainServer {
        /// How many meetings.
        meetings: usize,
        /// People in each.
        people: usize,
        /// Mixed at once.
        voices: usize,
        /// Person number n, counted over all meetings, is at 127.0.0.1 and this port + n.
        first_port: u16,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let [pairs, warm, seconds] = if options.short { [2, 3, 8] } else { [3, 10, 60] };
    let plan = Plan {
        pairs: options.pairs.unwrap_or(pairs),
        warm: Duration::from_secs(warm),
        measured: Duration::from_secs(options.seconds.unwrap_or(seconds)),
        short: options.short,
    };
    let outcome = match options.work {
        Work::Audio { speech } => system::pin_generator().and_then(|()| audio::run(&plan, &speech)),
        Work::Srtp { speech } => {
            return match srtp::run(&plan, &speech) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    eprintln!("{failure}");
                    ExitCode::FAILURE
                }
            };
        }
        Work::Video => system::pin_generator().and_then(|()| video::run(&plan)),
        Work::PlainServer { meetings, people, voices, first_port } => {
            return plain::serve(meetings, people, voices, first_port);
        }
    };
    match outcome {
        Ok(comparison) => {
            print!("{comparison}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
