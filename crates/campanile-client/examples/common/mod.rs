//! Where the examples get their join information from.

use std::io::{self, Read as _};

use campanile_client::JoinInfo;

/// From the file that is named, or standard input: `{"Meeting": ..., "Attendee": ...}`.
pub(crate) fn join_info(path: Option<&str>) -> Result<JoinInfo, Box<dyn std::error::Error>> {
    let mut text = String::new();
    match path {
        Some(path) if path != "-" => text = std::fs::read_to_string(path)?,
        _ => {
            io::stdin().read_to_string(&mut text)?;
        }
    }
    Ok(JoinInfo::parse(&text)?)
}
