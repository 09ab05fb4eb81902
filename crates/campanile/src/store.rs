//! The embedded store: records survive the process.
//!
//! The registry holds everything in memory; this keeps a copy on disk, in one `redb` file. Writes are queued in the order
//! in which they were decided and committed by one thread, as many as wait in one transaction, so a busy server pays for
//! one disk flush per batch and not per call. Nobody is answered before what they were told is durable, and that includes
//! readers: what was seen cannot be taken back. After a failed commit, memory is ahead of the disk for good, so every
//! later call fails too until the process starts again from what is stored.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use campanile_meeting::registry::{AttendeeRecord, MeetingRecord, Write};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::watch;

/// JSON of a [`MeetingRecord`] by its id.
const MEETINGS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("meetings");
/// JSON of an [`AttendeeRecord`] by meeting and id.
const ATTENDEES: TableDefinition<'_, (u128, u128), &[u8]> = TableDefinition::new("attendees");

/// Calls whose writes share a transaction. More would make the first of them wait for the last.
const BATCH_MAX: usize = 1_024;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("another campanile is using this data directory")]
    Busy,
    /// The file cannot be read or written.
    #[error(transparent)]
    Database(Box<redb::Error>),
    /// A record cannot be read.
    #[error("a stored record is damaged: {0}")]
    Record(#[from] serde_json::Error),
    /// The file cannot be opened, or the thread that writes not started.
    #[error(transparent)]
    Io(#[from] io::Error),
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> StoreError {
                match error.into() {
                    redb::Error::DatabaseAlreadyOpen => StoreError::Busy,
                    other => StoreError::Database(Box::new(other)),
                }
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// What was promised cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store failed; nothing can be recorded until the server is started again")]
pub struct StoreFailed;

/// A place in the order of writes: durable once all up to it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Clone, Copy)]
struct Progress {
    durable: u64,
    failed: bool,
}

enum Job {
    Write(u64, Vec<Write>),
    Close,
}

/// The queue to the thread that writes.
pub struct Store {
    queue: mpsc::Sender<Job>,
    queued: AtomicU64,
    progress: watch::Receiver<Progress>,
}

/// What was stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// All meetings.
    pub meetings: Vec<MeetingRecord>,
    /// All attendees.
    pub attendees: Vec<AttendeeRecord>,
}

impl Store {
    /// Opens or makes the file, and reads all it holds.
    pub fn open(path: &Path) -> Result<(Store, Stored), StoreError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let database = Database::builder().create_file(file)?;
        // Tables come into being by being written to; reading one that is not there fails.
        let first = database.begin_write()?;
        first.open_table(MEETINGS)?;
        first.open_table(ATTENDEES)?;
        first.commit()?;

        let mut stored = Stored::default();
        let read = database.begin_read()?;
        for row in read.open_table(MEETINGS)?.iter()? {
            stored.meetings.push(serde_json::from_slice(row?.1.value())?);
        }
        for row in read.open_table(ATTENDEES)?.iter()? {
            stored.attendees.push(serde_json::from_slice(row?.1.value())?);
        }
        drop(read);

        let (queue, queued) = mpsc::channel();
        let (report, progress) = watch::channel(Progress { durable: 0, failed: false });
        thread::Builder::new().name("store".into()).spawn(move || {
            commit_all(&database, &queued, &report);
            // In this order: whoever waits for the end of the reports may open the file again.
            drop(database);
            drop(report);
        })?;
        Ok((Store { queue, queued: AtomicU64::new(0), progress }, stored))
    }

    /// Queues a call's writes. To be called under the lock that orders the calls; empty writes give the mark of what is
    /// queued already, which is what a reader has seen.
    ///
    /// The queue needs no bound of its own: a caller waits for its mark before its next call, so it holds no more than one
    /// entry per connection.
    pub fn queue(&self, writes: Vec<Write>) -> Mark {
        if writes.is_empty() {
            return Mark(self.queued.load(Ordering::Relaxed));
        }
        let mark = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        // The thread ends only after a failure, which it has then reported.
        let _ = self.queue.send(Job::Write(mark, writes));
        Mark(mark)
    }

    /// Waits until everything up to `mark` is on disk.
    pub async fn durable(&self, mark: Mark) -> Result<(), StoreFailed> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.failed || progress.durable >= mark.0).await;
        match reached {
            Ok(progress) if !progress.failed => Ok(()),
            _ => Err(StoreFailed),
        }
    }

    /// Writes what is queued, then closes the file. Later calls fail.
    pub async fn close(&self) {
        let _ = self.queue.send(Job::Close);
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
    }
}

fn commit_all(database: &Database, queue: &mpsc::Receiver<Job>, report: &watch::Sender<Progress>) {
    while let Ok(Job::Write(mut mark, mut writes)) = queue.recv() {
        let mut closing = false;
        for job in queue.try_iter().take(BATCH_MAX) {
            match job {
                Job::Write(later, more) => {
                    mark = later;
                    writes.extend(more);
                }
                Job::Close => {
                    closing = true;
                    break;
                }
            }
        }
        if let Err(error) = commit(database, &writes) {
            tracing::error!(%error, "records cannot be stored; start the server again once this is mended");
            report.send_modify(|progress| progress.failed = true);
            return;
        }
        report.send_modify(|progress| progress.durable = mark);
        if closing {
            return;
        }
    }
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    {
        let mut meetings = transaction.open_table(MEETINGS)?;
        let mut attendees = transaction.open_table(ATTENDEES)?;
        for write in writes {
            match write {
                Write::Meeting(record) => {
                    meetings.insert(record.id.0.as_u128(), serde_json::to_vec(record)?.as_slice())?;
                }
                Write::Attendee(record) | Write::Capabilities(record) => {
                    let key = (record.meeting.0.as_u128(), record.id.0.as_u128());
                    attendees.insert(key, serde_json::to_vec(record)?.as_slice())?;
                }
                Write::MeetingDeleted(meeting) => {
                    let meeting = meeting.0.as_u128();
                    meetings.remove(meeting)?;
                    attendees.retain_in((meeting, 0)..=(meeting, u128::MAX), |_, _| false)?;
                }
                Write::AttendeeDeleted(meeting, attendee) => {
                    attendees.remove((meeting.0.as_u128(), attendee.0.as_u128()))?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_meeting::ids::MeetingId;

    #[tokio::test]
    async fn nothing_is_promised_once_the_store_is_closed() {
        let path = std::env::temp_dir().join(format!("campanile-store-{}.redb", std::process::id()));
        let (store, stored) = Store::open(&path).unwrap();
        assert!(stored.meetings.is_empty() && stored.attendees.is_empty());
        assert!(matches!(Store::open(&path), Err(StoreError::Busy)));
        let mark = store.queue(vec![Write::MeetingDeleted(MeetingId(uuid::Uuid::nil()))]);
        assert_eq!(store.durable(mark).await, Ok(()));
        assert_eq!(store.queue(Vec::new()), mark, "a reader waits for what it can have seen");
        store.close().await;
        let late = store.queue(vec![Write::MeetingDeleted(MeetingId(uuid::Uuid::nil()))]);
        assert_eq!(store.durable(late).await, Err(StoreFailed));
        assert!(Store::open(&path).is_ok(), "the file is free");
        std::fs::remove_file(&path).unwrap();
    }
}
