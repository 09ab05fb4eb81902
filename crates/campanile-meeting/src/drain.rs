//! Emptying a worker: everybody is asked to come back, in batches and within a deadline.
//!
//! A client that is closed with 45xx tries again within a second, wherever the signaling URL then leads (signaling
//! specification, sections 2.2 and 9.1). Batches keep them from all arriving there at the same moment.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::SessionId;

/// Between two batches.
const INTERVAL: Duration = Duration::from_millis(100);
/// The smallest batch: ten of these a second is what a server of this kind lets in without trouble.
const BATCH_MIN: usize = 50;

/// A drain that goes on.
#[derive(Debug)]
pub(crate) struct Drain {
    /// Not yet asked.
    waiting: VecDeque<SessionId>,
    batch: usize,
    next: Instant,
    /// That nobody is left has been told.
    pub(crate) told: bool,
}

impl Drain {
    /// Begins now, with these sessions in this order; the last batch leaves before `within` has passed.
    pub(crate) fn new(
        now: Instant,
        within: Duration,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Drain {
        let waiting: VecDeque<_> = sessions.into_iter().collect();
        let batches = (within.as_millis() / INTERVAL.as_millis()).max(1) as usize;
        let batch = waiting.len().div_ceil(batches).max(BATCH_MIN);
        Drain { waiting, batch, next: now, told: false }
    }

    /// When the next batch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// Those whose turn it is.
    pub(crate) fn take(&mut self, now: Instant) -> impl Iterator<Item = SessionId> + use<> {
        let mut taken = VecDeque::new();
        if now >= self.next {
            let left = self.waiting.split_off(self.batch.min(self.waiting.len()));
            taken = std::mem::replace(&mut self.waiting, left);
            self.next = now + INTERVAL;
        }
        taken.into_iter()
    }
}
