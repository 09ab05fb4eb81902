//! Generates the protobuf types of `signaling.proto`, without needing protoc.

use std::error::Error;

/// Holds a password or token, so its `Debug` is written by hand in `src/signaling.rs`.
const SECRET: [&str; 2] =
    [".campanile.signaling.SdkTurnCredentials", ".campanile.signaling.SdkMeetingSessionCredentials"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=signaling.proto");
    let schema = protox::compile(["signaling.proto"], ["."])?;
    prost_build::Config::new().skip_debug(SECRET).compile_fds(schema)?;
    Ok(())
}
