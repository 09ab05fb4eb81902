//! The audit log: who called which operation on which ARN, allowed or denied. One JSON object on a line, in a file for
//! each day (UTC) in the data directory; also a `tracing` event of the target `audit`.
//!
//! Calls of strangers are not in it: they are nobody's. Nothing is ever deleted here: how long it is kept is the operator's
//! decision. Lines reach the file within moments of the call, and are not flushed to the disk one by one: after a power
//! failure the last of them may be missing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use campanile_wire::calendar::iso8601;
use serde::Serialize;

/// Lines waiting to be written. When the disk is slower than that, calls wait: better than a log with holes.
const WAITING_MAX: usize = 16 * 1024;

/// One call of a known caller.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// When, in UTC.
    pub time: String,
    /// As in the answer.
    pub request_id: &'a str,
    /// Whose account.
    pub account: String,
    /// The user or the assumed role.
    pub principal: &'a str,
    /// The key that signed.
    pub access_key_id: &'a str,
    /// `chime:GetMeeting`.
    pub action: &'a str,
    /// The ARN.
    pub resource: &'a str,
    /// Whether IAM let it pass. What came of it afterwards is not said here.
    pub allowed: bool,
    /// Where the call came from, if it came over the network.
    pub source: Option<String>,
}

/// The way to the log.
pub struct Audit {
    lines: Mutex<Option<SyncSender<(String, String)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts the thread that writes into `directory`.
    pub fn open(directory: &Path) -> io::Result<Audit> {
        let (lines, waiting) = mpsc::sync_channel::<(String, String)>(WAITING_MAX);
        let mut files = Files { directory: directory.to_owned(), open: None };
        let writer = thread::Builder::new().name("audit".into()).spawn(move || {
            while let Ok((day, line)) = waiting.recv() {
                let written = files.write(&day, &line).and_then(|()| {
                    waiting.try_iter().try_for_each(|(day, line)| files.write(&day, &line))?;
                    files.flush()
                });
                if let Err(error) = written {
                    tracing::error!(%error, "the audit log cannot be written");
                }
            }
        })?;
        Ok(Audit { lines: Mutex::new(Some(lines)), writer: Mutex::new(Some(writer)) })
    }

    /// Notes a call.
    pub fn note(&self, now_unix_s: u64, mut entry: Entry<'_>) {
        entry.time = iso8601(now_unix_s);
        tracing::info!(
            target: "audit",
            account = entry.account, principal = entry.principal, action = entry.action, resource = entry.resource,
            allowed = entry.allowed, request_id = entry.request_id,
        );
        let line = serde_json::to_string(&entry).expect("texts and booleans");
        let lines = self.lines.lock().expect("no panic while it is held").clone();
        if let Some(lines) = lines {
            let _ = lines.send((entry.time[..10].to_owned(), line));
        }
    }

    /// Writes what waits. Later calls are not noted.
    pub fn close(&self) {
        drop(self.lines.lock().expect("no panic while it is held").take());
        if let Some(writer) = self.writer.lock().expect("no panic while it is held").take() {
            let _ = writer.join();
        }
    }
}

struct Files {
    directory: PathBuf,
    open: Option<(String, BufWriter<File>)>,
}

impl Files {
    fn write(&mut self, day: &str, line: &str) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| open != day) {
            let path = self.directory.join(format!("audit-{day}.jsonl"));
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            self.open = Some((day.to_owned(), BufWriter::new(file)));
        }
        let (_, file) = self.open.as_mut().expect("just opened");
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |(_, file)| file.flush())
    }
}
