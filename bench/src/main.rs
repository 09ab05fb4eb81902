//! Campanile, Janus and mediasoup side by side: the same work, in alternating runs, the server alone on one core and the
//! generator on another. `cargo xtask bench` builds and runs it; the report goes to standard output as Markdown.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "progress and report are for the person at the terminal"
)]

mod audio;
mod distance;
mod estimators;
mod generator;
mod grid;
mod hall;
mod heard;
mod janus;
mod listeners;
mod load_table;
mod plain;
mod quality;
mod report;
mod srtp;
mod system;
mod video;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum as _};

use crate::work::Work;

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
#[command(name = "campanile-bench", about = "Campanile, Janus and mediasoup side by side")]
struct Options {
    #[command(subcommand)]
    task: Task,
    /// Fewer cases, pairs and seconds: for a first look.
    #[arg(long, global = true)]
    short: bool,
    /// Runs of each server and case [default: 3, short 2].
    #[arg(long, global = true)]
    pairs: Option<u64>,
    /// Seconds to measure in each run [default: 60, audio 20, short 8].
    #[arg(long, global = true)]
    seconds: Option<u64>,
}

#[derive(Subcommand)]
enum Task {
    /// Mixing, beside Janus' AudioBridge.
    Audio {
        /// Raw 48 kHz mono 16-bit little-endian samples.
        #[arg(long, value_name = "FILE")]
        speech: PathBuf,
        /// Only cases whose names contain this.
        #[arg(long)]
        case: Option<String>,
        /// Where what was said and heard is left, for other judges.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// How speech sounds through the mixer.
    Quality {
        /// Raw 48 kHz mono 16-bit little-endian samples.
        #[arg(value_name = "FILE")]
        speech: PathBuf,
        /// Where what is heard is written to, in the same format.
        folder: Option<PathBuf>,
    },
    /// Mixing for many over ICE, DTLS and SRTP, by itself; what silence and empty meetings cost; the delay it adds.
    Srtp {
        /// Raw 48 kHz mono 16-bit little-endian samples.
        #[arg(long, value_name = "FILE")]
        speech: PathBuf,
        /// Nothing but the delay.
        #[arg(long)]
        delay: bool,
    },
    /// Forwarding, beside Janus' VideoRoom and mediasoup.
    Video {
        /// How many watch one camera, in a case each.
        #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "1,25,100")]
        watchers: Vec<usize>,
        /// How many rooms of one camera and one who watches, in a case each.
        #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "100")]
        rooms: Vec<usize>,
        /// Without others.
        #[arg(long)]
        alone: bool,
        /// Where `bench/mediasoup/build.sh` has built its worker [default: without mediasoup].
        #[arg(long, value_name = "FOLDER")]
        mediasoup: Option<PathBuf>,
    },
    /// Forwarding to more than that, by itself, and the delay it adds under load.
    Live,
    /// How the cost of forwarding grows, in virtual time.
    Grid,
    /// One case of it; prints a line of numbers.
    #[command(hide = true)]
    GridCell {
        /// Who are seen.
        cameras: usize,
        /// Who watch all of them.
        watchers: usize,
    },
    /// Our bandwidth estimation beside others', in virtual time.
    Estimators,
    /// Many listeners in virtual time.
    Listeners {
        /// How many, for each meeting [default: 1000 10000, short 1000 4000].
        listeners: Vec<usize>,
    },
    /// Reports of `campanile-load` in a folder, as one table.
    LoadTable {
        /// Where they are.
        folder: PathBuf,
    },
    /// Small pieces of work, timed.
    Micro,
    /// One of them, so many times; prints how many units that were.
    #[command(hide = true)]
    Work {
        /// Which.
        work: Work,
        /// How often.
        rounds: u32,
    },
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
    let [pairs, warm, seconds] = match &options.task {
        // Jitter buffers have forgotten by then what they expected before they had seen anything. Mixers do the same in each
        // tick, and what else a machine does spoils a long run rather than a short one.
        Task::Audio { .. } if options.short => [2, 12, 8],
        Task::Audio { .. } => [3, 12, 20],
        _ if options.short => [2, 3, 8],
        _ => [3, 10, 60],
    };
    let plan = Plan {
        pairs: options.pairs.unwrap_or(pairs),
        warm: Duration::from_secs(warm),
        measured: Duration::from_secs(options.seconds.unwrap_or(seconds)),
        short: options.short,
    };
    let report = match options.task {
        Task::Audio { speech, case, folder } => {
            beside(|| audio::run(&plan, &speech, case.as_deref(), folder.as_deref()))
        }
        Task::Quality { speech, folder } => quality::run(&speech, folder),
        Task::Srtp { delay: true, .. } => srtp::delay(&plan).map(|()| String::new()),
        Task::Srtp { speech, .. } => srtp::run(&plan, &speech).map(|()| String::new()),
        Task::Video { watchers, rooms, alone, mediasoup } => beside(|| {
            let mediasoup = mediasoup.as_deref().filter(|_| !alone);
            video::run(&plan, &watchers, &rooms, video::Beside { janus: !alone, mediasoup })
        }),
        Task::Live => video::live(&plan),
        Task::Grid => grid::run(&plan),
        Task::GridCell { cameras, watchers } => {
            grid::Cell::measure(cameras, watchers).map(|cell| cell.line())
        }
        Task::Estimators => estimators::run(),
        Task::Listeners { listeners } if !listeners.is_empty() => listeners::table(&listeners),
        Task::Listeners { .. } => {
            listeners::table(if options.short { &[1000, 4000] } else { &[1000, 10_000] })
        }
        Task::LoadTable { folder } => load_table::of(&folder),
        Task::Micro => micro(),
        Task::Work { work, rounds } => work.run(rounds).map(|units| format!("{units}\n")),
        Task::PlainServer { meetings, people, voices, first_port } => {
            return plain::serve(meetings, people, voices, first_port);
        }
    };
    match report {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn beside(compare: impl FnOnce() -> Result<report::Comparison, Failure>) -> Result<String, Failure> {
    system::pin_generator()?;
    compare().map(|comparison| comparison.to_string())
}

/// The best of several runs: what else the machine does can only make one slower.
fn micro() -> Result<String, Failure> {
    const ROUNDS: u32 = 2_000;
    let mut report = "| work | of each unit, by the best of 7 |\n|---|---|\n".to_owned();
    for work in Work::value_variants() {
        // Of so many rounds and of twice as many, the least each: what they differ by is without the set-up.
        let (mut least, mut units) = ([f64::MAX; 2], [0.0; 2]);
        for _ in 0..7 {
            for (at, rounds) in [ROUNDS, 2 * ROUNDS].into_iter().enumerate() {
                let began = Instant::now();
                units[at] = work.run(rounds)? as f64;
                least[at] = least[at].min(began.elapsed().as_secs_f64());
            }
        }
        let nanos = (least[1] - least[0]) / (units[1] - units[0]) * 1e9;
        report += &format!("| {} | {nanos:.0} ns |\n", work.title());
    }
    Ok(report)
}
