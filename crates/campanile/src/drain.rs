//! Draining: nobody is taken in any more, and everybody is asked to come back, wherever the signaling URL then leads.
//!
//! By a signal, as the first half of stopping, or through the API (docs/extensions.md), where something in front of the
//! server is to lead its clients elsewhere. Either can be cancelled. What goes on meanwhile: the API, so that meetings
//! are made and ended; `/health` answers 503.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::worker::{Command, WorkerHandle};

/// What a socket may take to close after it was asked to.
const LAST_CLOSE: Duration = Duration::from_secs(4);

/// How far a drain is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DrainState {
    /// There is none: clients are taken in.
    Serving,
    /// Clients are being asked to come back.
    Draining,
    /// No socket is open any more.
    Drained,
}

/// The one switch.
pub struct Drain {
    state: watch::Sender<DrainState>,
    worker: WorkerHandle,
}

impl Drain {
    pub(crate) fn new(worker: WorkerHandle) -> Drain {
        Drain { state: watch::Sender::new(DrainState::Serving), worker }
    }

    /// How far it is.
    pub fn state(&self) -> DrainState {
        *self.state.borrow()
    }

    /// Begins, or begins anew with another deadline for the last client to be asked.
    pub fn start(&self, within: Duration) {
        tracing::info!(?within, "draining");
        self.state.send_replace(DrainState::Draining);
        self.worker.send(Command::Drain(within));
    }

    /// Takes clients in again.
    pub fn cancel(&self) {
        tracing::info!("the drain is cancelled");
        self.state.send_replace(DrainState::Serving);
        self.worker.send(Command::CancelDrain);
    }

    /// The worker has told that nobody is left.
    pub(crate) fn note_drained(&self) {
        self.state.send_if_modified(|state| {
            let drained = *state == DrainState::Draining;
            if drained {
                tracing::info!("drained");
                *state = DrainState::Drained;
            }
            drained
        });
    }

    /// Drains to the end, or until it is cancelled; the state it ended in. A client that does not close is not waited
    /// for.
    pub async fn run(&self, within: Duration) -> DrainState {
        self.start(within);
        let mut state = self.state.subscribe();
        let over = state.wait_for(|state| *state != DrainState::Draining);
        match timeout(within + LAST_CLOSE, over).await {
            Ok(Ok(state)) => *state,
            _ => DrainState::Drained,
        }
    }
}
