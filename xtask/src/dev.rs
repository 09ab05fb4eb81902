//! `cargo xtask dev`: from a clean clone to a running Campanile.

use std::os::unix::process::CommandExt as _;

use crate::Failure;
use crate::process::{campanile, cargo, command, run, spelled};
use crate::setup;

/// Sets up, builds and becomes `campanile dev`, so that Ctrl-C reaches it and nothing is left behind.
pub(crate) fn run_dev(args: &[String]) -> Result<(), Failure> {
    setup::tools(setup::FOR_DEV, false)?;
    setup::web_page()?;
    run(&mut cargo(&["build", "--package", "campanile"]))?;
    let mut campanile = command(campanile("debug"), &["dev"]);
    let error = campanile.args(args).exec();
    Err(format!("`{}` cannot be run: {error}", spelled(&campanile)))
}
