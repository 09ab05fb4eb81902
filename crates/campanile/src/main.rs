//! The binary: options in, one running server, signals out.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use campanile::config::{Cli, Command, Config};
use campanile::drain::DrainState;
use campanile::{Ready, config_file, serve};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = match Cli::parse().command {
        Command::Dev(config) => *config,
        Command::Serve(options) => match config_file::read(&options.config) {
            Ok(config) => Config { json: options.json, ..config },
            Err(why) => {
                eprintln!("campanile: {why}");
                return ExitCode::FAILURE;
            }
        },
    };
    // The audit log has a file of its own.
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,audit=off"));
    for quiet in ["is=error", "dimpl=error"] {
        // At trace, the first of them prints ICE passwords; and strangers' packets can make both of them warn.
        filter = filter.add_directive(quiet.parse().expect("a directive of ours"));
    }
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("campanile: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (json, drain) = (config.json, Duration::from_secs(config.drain_seconds));
        // Before the server says that it is ready: whoever reads that may send a signal at once.
        let (Ok(mut interrupted), Ok(mut terminated)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            eprintln!("campanile: cannot listen for signals");
            return ExitCode::FAILURE;
        };
        let running = match serve(config).await {
            Ok(running) => running,
            Err(error) => {
                eprintln!("campanile: {error}");
                return ExitCode::FAILURE;
            }
        };
        // A reader who has gone away is no reason to stop serving.
        let _ = announce(&running.ready, json);
        let mut signalled = async || {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        };
        loop {
            signalled().await;
            tokio::select! {
                state = running.state.drain.run(drain) => if state == DrainState::Drained {
                    break;
                },
                // A second signal: whoever is left is asked to come back at once.
                () = signalled() => break,
            }
        }
        tracing::info!("stopping");
        running.stop().await;
        ExitCode::SUCCESS
    })
}

fn announce(ready: &Ready, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, ready)?;
        writeln!(out)?;
        return out.flush();
    }
    writeln!(out, "Campanile is ready.\n")?;
    writeln!(out, "  Page           {}", ready.page)?;
    writeln!(out, "  API endpoint   {}", ready.api)?;
    writeln!(out, "  Region         {}", ready.region)?;
    if let (Some(key), Some(secret)) = (&ready.access_key_id, &ready.secret_access_key) {
        writeln!(out, "  Access key     {key}")?;
        writeln!(out, "  Secret key     {}", secret.reveal())?;
    }
    writeln!(out, "  Media (UDP)    {}", ready.media)?;
    if let Some(ca) = &ready.ca {
        writeln!(out, "  Trust this CA  {}", ca.display())?;
    }
    writeln!(
        out,
        "\nPoint any AWS SDK's chime-sdk-meetings client at the endpoint, with these credentials."
    )?;
    if ready.access_key_id.is_some() {
        writeln!(out, "Request-rate quotas are off.")?;
    }
    writeln!(out, "Ctrl-C stops the server.")?;
    out.flush()
}
