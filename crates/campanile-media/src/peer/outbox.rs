//! What waits to be sent, by one peer or by several: packets back to back in one buffer, handed out as runs.
//!
//! A run is what the kernel can take in one segmentation-offload send: one destination, equal sizes, only the last may
//! be shorter. Sending is left to the shell.

use std::ops::Range;

use super::PeerAddr;

/// Bytes that may wait for one peer. The worker drains after every batch, so what waits is at most a keyframe burst of
/// a few layers; beyond that the socket is stuck, and late media is worth nothing.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// Packets that may wait for one peer: small ones must not grow the entry list without end either.
const OUTBOX_PACKETS_MAX: usize = 2048;

/// Segments in one run: the kernel's limit (UDP_MAX_SEGMENTS).
const RUN_SEGMENTS_MAX: usize = 64;

/// Bytes in one run: segments of one send must fit one IP datagram's length field, headers included.
const RUN_BYTES_MAX: usize = 60 * 1024;

/// Room that the last so many hand-outs did not need is given back: some seconds of video. A burst shall not take its memory
/// from others for the rest of a call, and what comes every second shall not be allocated every second.
const LOOK_BACK: u32 = 256;

/// Times what was needed that may be kept, so that pictures of changing size find their room.
const ROOM_FACTOR_MAX: usize = 4;

/// Bytes and packets that room is never taken from below: a picture's.
const ROOM_BYTES_MIN: usize = 8 * 1024;
const ROOM_PACKETS_MIN: usize = 16;

/// Packets waiting to be sent.
#[derive(Default, Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// In the order of `bytes`, without gaps.
    entries: Vec<Entry>,
    /// How many entries have been handed out.
    sent: usize,
    /// How often all has been handed out since room was last given back, and the most bytes and packets that it was.
    emptied: u32,
    needed: (usize, usize),
}

#[derive(Debug)]
struct Entry {
    to: PeerAddr,
    range: Range<usize>,
}

/// Packets for one destination that can go out by one send: each of `segment_size` bytes, the last may be shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run<'a> {
    /// Where to.
    pub to: PeerAddr,
    /// Bytes in each packet but perhaps the last; never 0.
    pub segment_size: usize,
    /// The packets, back to back.
    pub bytes: &'a [u8],
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sent == self.entries.len()
    }

    /// The next packets to send, in order; `None` when all have been handed out.
    pub fn next_run(&mut self) -> Option<Run<'_>> {
        let first = self.entries.get(self.sent)?;
        let (to, start, segment_size) = (first.to, first.range.start, first.range.len());
        let mut end = start;
        let mut segments = 0;
        for entry in &self.entries[self.sent..] {
            let size = entry.range.len();
            let fits = segments < RUN_SEGMENTS_MAX && entry.range.end - start <= RUN_BYTES_MAX;
            if segments > 0 && (!fits || entry.to != to || size > segment_size) {
                break;
            }
            (end, segments) = (entry.range.end, segments + 1);
            if size < segment_size {
                break;
            }
        }
        self.sent += segments;
        Some(Run { to, segment_size, bytes: &self.bytes[start..end] })
    }

    /// Appends one packet as [`append`](Self::append) does, unless so much waits already as one peer may.
    pub(super) fn push(
        &mut self,
        to: impl Into<PeerAddr>,
        write: impl FnOnce(&mut Vec<u8>, usize) -> bool,
    ) -> bool {
        self.forget_sent();
        let is_full = self.bytes.len() >= OUTBOX_BYTES_MAX || self.entries.len() >= OUTBOX_PACKETS_MAX;
        !is_full && self.append(to, write)
    }

    /// Appends one packet written by `write`, which gets the buffer and the offset at which the packet begins, and
    /// returns whether to keep it. Nothing is kept when nothing was written.
    pub(super) fn append(
        &mut self,
        to: impl Into<PeerAddr>,
        write: impl FnOnce(&mut Vec<u8>, usize) -> bool,
    ) -> bool {
        self.forget_sent();
        // What a panic has left unfinished is no packet.
        let start = self.entries.last().map_or(0, |entry| entry.range.end);
        self.bytes.truncate(start);
        let keep = write(&mut self.bytes, start);
        assert!(self.bytes.len() >= start, "a writer only appends");
        if !keep || self.bytes.len() == start {
            self.bytes.truncate(start);
            return false;
        }
        self.entries.push(Entry { to: to.into(), range: start..self.bytes.len() });
        true
    }

    /// Once all has been handed out, there is room again.
    fn forget_sent(&mut self) {
        if self.sent == 0 || !self.is_empty() {
            return;
        }
        let (bytes, packets) = self.needed;
        self.needed = (bytes.max(self.bytes.len()), packets.max(self.sent));
        self.bytes.clear();
        self.entries.clear();
        self.sent = 0;
        self.emptied += 1;
        if self.emptied == LOOK_BACK {
            let (bytes, packets) = std::mem::take(&mut self.needed);
            give_back(&mut self.bytes, bytes.max(ROOM_BYTES_MIN));
            give_back(&mut self.entries, packets.max(ROOM_PACKETS_MIN));
            self.emptied = 0;
        }
    }
}

/// Leaves an empty vector the room for twice what was needed, which is what growing leaves it, if it has far more.
fn give_back<T>(vec: &mut Vec<T>, needed: usize) {
    if vec.capacity() > ROOM_FACTOR_MAX * needed {
        vec.shrink_to(2 * needed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn fill(outbox: &mut Outbox, to: u16, size: usize) -> bool {
        outbox.push(SocketAddr::from(([10, 0, 0, 1], to)), |out, start| {
            out.resize(start + size, 7);
            true
        })
    }

    #[test]
    fn runs_hold_equal_sizes_for_one_destination() {
        /// Packets as (port, size), runs as (port, segment size, bytes).
        fn check(packets: &[(u16, usize)], expected: &[(u16, usize, usize)]) {
            let mut outbox = Outbox::default();
            for (to, size) in packets {
                assert!(fill(&mut outbox, *to, *size));
            }
            let mut runs = vec![];
            while let Some(run) = outbox.next_run() {
                runs.push((run.to.addr.port(), run.segment_size, run.bytes.len()));
            }
            assert_eq!(runs, expected, "{packets:?}");
            assert!(outbox.is_empty());
        }
        check(&[], &[]);
        check(&[(1, 10)], &[(1, 10, 10)]);
        check(&[(1, 10), (1, 10), (1, 10)], &[(1, 10, 30)]);
        check(&[(1, 10), (1, 10), (1, 4), (1, 10)], &[(1, 10, 24), (1, 10, 10)]);
        check(&[(1, 4), (1, 10), (1, 10)], &[(1, 4, 4), (1, 10, 20)]);
        check(&[(1, 10), (2, 10), (1, 10)], &[(1, 10, 10), (2, 10, 10), (1, 10, 10)]);
        check(&[(1, 100); 65], &[(1, 100, 6400), (1, 100, 100)]);
        check(&[(1, 1200); 52], &[(1, 1200, 51 * 1200), (1, 1200, 1200)]);
        check(&[(1, 61_441), (1, 5)], &[(1, 61_441, 61_441), (1, 5, 5)]);
    }

    #[test]
    fn what_has_been_handed_out_takes_no_room() {
        let mut outbox = Outbox::default();
        for _ in 0..3 * OUTBOX_PACKETS_MAX {
            assert!(fill(&mut outbox, 1, 1000));
            assert!(!outbox.is_empty());
            // Nobody is obliged to ask once more after the last run.
            assert!(outbox.next_run().is_some());
        }
        assert!(outbox.bytes.capacity() < OUTBOX_BYTES_MAX);
    }

    #[test]
    fn room_for_a_burst_is_given_back_and_room_in_use_is_not() {
        /// Hands out all of each of these bursts of 1,000 byte packets, again and again; tells the room after each round.
        fn rounds(outbox: &mut Outbox, count: u32, bursts: &[usize]) -> Vec<(usize, usize)> {
            let mut round = || {
                for packets in bursts {
                    (0..*packets).for_each(|_| assert!(fill(outbox, 1, 1000)));
                    while outbox.next_run().is_some() {}
                }
                (outbox.bytes.capacity(), outbox.entries.capacity())
            };
            (0..count).map(|_| round()).collect()
        }
        let mut outbox = Outbox::default();
        rounds(&mut outbox, 1, &[200]);
        assert!(outbox.bytes.capacity() >= 200_000 && outbox.entries.capacity() >= 200);
        let after = *rounds(&mut outbox, 2 * LOOK_BACK, &[10]).last().expect("there were some");
        assert_eq!(after, (20_000, 32));
        // Not even one large picture in a hundred has to find its room anew each time.
        let mut bursts = [10; 100];
        bursts[0] = 100;
        let room = rounds(&mut outbox, 20, &bursts);
        assert!(room.iter().all(|at| *at == (160_000, 128)), "{room:?}");
        // And of nearly nothing, something is kept.
        let after = *rounds(&mut outbox, 2 * LOOK_BACK, &[1]).last().expect("there were some");
        assert_eq!(after, (2 * ROOM_BYTES_MIN, 32));
    }

    #[test]
    fn a_full_outbox_refuses_and_an_unkept_packet_leaves_no_trace() {
        let mut outbox = Outbox::default();
        assert!(!fill(&mut outbox, 1, 0));
        assert!(!outbox.push(SocketAddr::from(([10, 0, 0, 1], 1)), |out, _| {
            out.push(1);
            false
        }));
        assert!(outbox.is_empty() && outbox.bytes.is_empty());
        while fill(&mut outbox, 1, 64 * 1024) {}
        assert_eq!(outbox.bytes.len(), OUTBOX_BYTES_MAX);
        while outbox.next_run().is_some() {}
        assert!(fill(&mut outbox, 1, 1));
        while fill(&mut outbox, 1, 1) {}
        assert_eq!(outbox.entries.len(), OUTBOX_PACKETS_MAX);
    }

    #[test]
    fn what_is_pushed_while_draining_comes_after() {
        let mut outbox = Outbox::default();
        fill(&mut outbox, 1, 10);
        fill(&mut outbox, 2, 10);
        assert_eq!(outbox.next_run().map(|run| run.to.addr.port()), Some(1));
        fill(&mut outbox, 3, 10);
        assert_eq!(outbox.next_run().map(|run| run.to.addr.port()), Some(2));
        assert_eq!(outbox.next_run().map(|run| run.to.addr.port()), Some(3));
        assert_eq!(outbox.next_run(), None);
    }
}
