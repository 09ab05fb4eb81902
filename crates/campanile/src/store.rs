//! The embedded store: records survive the process, and so do the events of what has happened to them.
//!
//! The registry holds everything in memory; this keeps a copy on disk, in one `redb` file. Writes are queued in the order
//! in which they were decided and committed by one thread, as many as wait in one transaction, so a busy server pays for
//! one disk flush per batch and not per call. Nobody is answered before what they were told is durable, and that includes
//! readers: what was seen cannot be taken back. After a failed commit, memory is ahead of the disk for good, so every
//! later call fails too until the process starts again from what is stored.
//!
//! Events wait here for whoever reads them (an outbox): a change and its events share a transaction. They are kept for a
//! while and up to a number, of each account by itself.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use campanile_meeting::ids::{AccountId, MeetingId};
use campanile_meeting::registry::{AttendeeRecord, MeetingRecord, OutboxEvent, StoredEvents, Write};
use campanile_wire::events::Event;
use redb::{Database, ReadableDatabase as _, ReadableTable, Table, TableDefinition};
use tokio::sync::watch;

/// JSON of a [`MeetingRecord`] by its id.
const MEETINGS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("meetings");
/// JSON of an [`AttendeeRecord`] by meeting and id.
const ATTENDEES: TableDefinition<'_, (u128, u128), &[u8]> = TableDefinition::new("attendees");

/// An event's meeting, its time (in milliseconds since the Unix epoch) and its JSON, by account and number.
const EVENTS: TableDefinition<'_, (&str, u64), (u128, u64, &[u8])> = TableDefinition::new("events");
/// The number of an account's newest event, which may be gone already.
const LAST_EVENTS: TableDefinition<'_, &str, u64> = TableDefinition::new("last events");

/// Events that one reading looks at: of a busy account, those of one meeting may be few and far between.
const EVENTS_LOOKED_AT_MAX: usize = 10_000;

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

/// For how long events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many of each account. One takes some 800 bytes.
    pub events: u64,
    /// No event that is so much older than the account's newest.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { events: 100_000, age: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug)]
pub struct EventQuery {
    /// Whose.
    pub account: AccountId,
    /// Those with a higher number.
    pub after: u64,
    /// Of this meeting only.
    pub meeting: Option<MeetingId>,
    /// At most so many.
    pub max: usize,
}

/// Some of an account's events, oldest first.
#[derive(Debug, Default)]
pub struct EventPage {
    /// With their numbers.
    pub events: Vec<(u64, Event)>,
    /// Up to here has been looked: where the next reading goes on.
    pub after: u64,
}

/// Gone once the thread that writes has come to its end, so that the file can be opened again.
type Shared = Arc<RwLock<Option<Database>>>;

/// The queue to the thread that writes.
pub struct Store {
    database: Shared,
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
    /// How far events have come.
    pub events: StoredEvents,
}

impl Store {
    /// Opens or makes the file, and reads all it holds.
    pub fn open(path: &Path, retention: Retention) -> Result<(Store, Stored), StoreError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let database = Database::builder().create_file(file)?;
        // Tables come into being by being written to; reading one that is not there fails.
        let first = database.begin_write()?;
        first.open_table(MEETINGS)?;
        first.open_table(ATTENDEES)?;
        first.open_table(EVENTS)?;
        first.open_table(LAST_EVENTS)?;
        first.commit()?;

        let mut stored = Stored::default();
        let read = database.begin_read()?;
        for row in read.open_table(MEETINGS)?.iter()? {
            stored.meetings.push(serde_json::from_slice(row?.1.value())?);
        }
        for row in read.open_table(ATTENDEES)?.iter()? {
            stored.attendees.push(serde_json::from_slice(row?.1.value())?);
        }
        for row in read.open_table(LAST_EVENTS)?.iter()? {
            let (account, last) = row?;
            stored.events.note_last(read_account(account.value())?, last.value());
        }
        for row in read.open_table(EVENTS)?.iter()? {
            let (key, value) = row?;
            let ((account, sequence), (meeting, _, json)) = (key.value(), value.value());
            stored.events.add(OutboxEvent {
                account: read_account(account)?,
                sequence,
                meeting: MeetingId(uuid::Uuid::from_u128(meeting)),
                event: serde_json::from_slice(json)?,
            });
        }
        drop(read);

        let (queue, queued) = mpsc::channel();
        let database: Shared = Arc::new(RwLock::new(Some(database)));
        let writer = database.clone();
        let (report, progress) = watch::channel(Progress { durable: 0, failed: false });
        thread::Builder::new().name("store".into()).spawn(move || {
            commit_all(&writer, retention, &queued, &report);
            // In this order: whoever waits for the end of the reports may open the file again.
            drop(writer.write().expect("no reading panics").take());
            drop(report);
        })?;
        Ok((Store { database, queue, queued: AtomicU64::new(0), progress }, stored))
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

    /// Whether something could not be written: then nothing is any more.
    pub fn has_failed(&self) -> bool {
        self.progress.borrow().failed
    }

    /// Reads events that are on disk. What a caller was told has happened is among them.
    ///
    /// # Errors
    /// Fails when the store has failed or is closed.
    pub async fn events(&self, query: EventQuery) -> Result<EventPage, StoreFailed> {
        let database = self.database.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let database = database.read().expect("the writing does not panic");
            let database = database.as_ref().ok_or(StoreFailed)?;
            read_events(database, query).map_err(|error| {
                tracing::error!(%error, "events cannot be read");
                StoreFailed
            })
        });
        reading.await.unwrap_or(Err(StoreFailed))
    }

    /// Writes what is queued, then closes the file. Later calls fail.
    pub async fn close(&self) {
        let _ = self.queue.send(Job::Close);
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
    }
}

fn commit_all(
    database: &Shared,
    retention: Retention,
    queue: &mpsc::Receiver<Job>,
    report: &watch::Sender<Progress>,
) {
    let database = database.read().expect("only this thread ever takes it out");
    let Some(database) = database.as_ref() else { return };
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
        if let Err(error) = commit(database, retention, &writes) {
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

fn commit(database: &Database, retention: Retention, writes: &[Write]) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    {
        let mut newest: BTreeMap<AccountId, (u64, u64)> = BTreeMap::new();
        let mut events = transaction.open_table(EVENTS)?;
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
                Write::Event(event) => {
                    let OutboxEvent { account, sequence, meeting, event } = &**event;
                    let (meeting, unix_ms) = (meeting.0.as_u128(), event.detail.timestamp);
                    let json = serde_json::to_vec(event)?;
                    events
                        .insert((account.to_string().as_str(), *sequence), (meeting, unix_ms, &json[..]))?;
                    newest.insert(*account, (*sequence, unix_ms));
                }
            }
        }
        let mut last_events = transaction.open_table(LAST_EVENTS)?;
        for (account, (sequence, unix_ms)) in newest {
            let account = account.to_string();
            last_events.insert(account.as_str(), sequence)?;
            forget_events(&mut events, &account, sequence, unix_ms, retention)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Removes what an account has too many of, and what is too old.
fn forget_events(
    events: &mut Table<'_, (&'static str, u64), (u128, u64, &'static [u8])>,
    account: &str,
    last: u64,
    now_unix_ms: u64,
    retention: Retention,
) -> Result<(), StoreError> {
    let too_many = last.saturating_sub(retention.events);
    let too_old = now_unix_ms.saturating_sub(retention.age.as_millis() as u64);
    let mut over = 0;
    for row in events.range((account, 0)..=(account, last))? {
        let (key, value) = row?;
        let ((_, sequence), (_, unix_ms, _)) = (key.value(), value.value());
        if sequence > too_many && unix_ms >= too_old {
            break;
        }
        over = sequence;
    }
    if over > 0 {
        events.retain_in((account, 0)..=(account, over), |_, _| false)?;
    }
    Ok(())
}

fn read_events(database: &Database, query: EventQuery) -> Result<EventPage, StoreError> {
    let account = query.account.to_string();
    let meeting = query.meeting.map(|meeting| meeting.0.as_u128());
    let mut page = EventPage { events: Vec::new(), after: query.after };
    let table = database.begin_read()?.open_table(EVENTS)?;
    let first = (account.as_str(), query.after.saturating_add(1));
    for row in table.range(first..=(account.as_str(), u64::MAX))?.take(EVENTS_LOOKED_AT_MAX) {
        let (key, value) = row?;
        let ((_, sequence), (of, _, json)) = (key.value(), value.value());
        page.after = sequence;
        if meeting.is_none_or(|meeting| meeting == of) {
            page.events.push((sequence, serde_json::from_slice(json)?));
            if page.events.len() == query.max {
                break;
            }
        }
    }
    Ok(page)
}

fn read_account(text: &str) -> Result<AccountId, StoreError> {
    use serde::de::Error as _;
    text.parse().map_err(|error| StoreError::Record(serde_json::Error::custom(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_meeting::ids::MeetingId;

    #[tokio::test]
    async fn nothing_is_promised_once_the_store_is_closed() {
        let path = std::env::temp_dir().join(format!("campanile-store-{}.redb", std::process::id()));
        let (store, stored) = Store::open(&path, Retention::default()).unwrap();
        assert!(stored.meetings.is_empty() && stored.attendees.is_empty());
        assert!(matches!(Store::open(&path, Retention::default()), Err(StoreError::Busy)));
        let mark = store.queue(vec![Write::MeetingDeleted(MeetingId(uuid::Uuid::nil()))]);
        assert_eq!(store.durable(mark).await, Ok(()));
        assert_eq!(store.queue(Vec::new()), mark, "a reader waits for what it can have seen");
        store.close().await;
        let late = store.queue(vec![Write::MeetingDeleted(MeetingId(uuid::Uuid::nil()))]);
        assert_eq!(store.durable(late).await, Err(StoreFailed));
        assert!(Store::open(&path, Retention::default()).is_ok(), "the file is free");
        std::fs::remove_file(&path).unwrap();
    }
}
