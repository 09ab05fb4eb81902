//! One thread, one UDP port, one media service.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use campanile_meeting::ids::{AttendeeId, MeetingId};

/// What the control plane tells the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The meeting's record is gone: end its sessions.
    EndMeeting(MeetingId),
    /// The attendee's record is gone: end its sessions.
    RemoveAttendee(MeetingId, AttendeeId),
}

/// The mailbox of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    media: SocketAddr,
}

impl WorkerHandle {
    /// Sends a command, in order. Never waits.
    pub fn send(&self, command: Command) {
        tracing::debug!(?command, "no worker yet");
    }
    /// Where the media is bound.
    pub fn media_addr(&self) -> SocketAddr {
        self.media
    }
    /// Ends all sessions and the thread.
    pub fn stop(&self) {}
}

/// Starts a worker on a bound socket; `announce` is the candidate that clients are given.
pub fn start(socket: UdpSocket, announce: SocketAddr) -> io::Result<WorkerHandle> {
    let _ = announce;
    Ok(WorkerHandle { media: socket.local_addr()? })
}
