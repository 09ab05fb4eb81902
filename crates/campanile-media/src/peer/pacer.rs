//! Holds video back that would leave faster than the network bears, so that it queues here and not there.
//!
//! Here it can be overtaken by audio, which never comes this way, and by repairs; and the one who sends it can see how
//! much waits, and stop. Packets wait in plaintext: they get their transport-wide number, and their seal, when they leave.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Departure;
use crate::rtp::RtpHeader;
use crate::units::Bitrate;

/// What may leave at once after a pause: enough at high rates for a run of packets in one system call, at low rates one
/// packet.
const BURST: Duration = Duration::from_millis(10);
/// Packets that may wait: a large keyframe of each of a few sources. Who fills this is not listening to
/// [`Pacer::backlog`].
const PACKETS_MAX: usize = 1024;
/// What repairs may take of the pacing rate, which is at least 1.5 times the estimate: of the half that goes beyond it,
/// less than two thirds. Where packets overtake each other receivers ask for several times as many as were lost, and a
/// picture stands still while one that was is refused. And what they may take at once, in time at that rate.
const REPAIRS_SHARE: f64 = 0.2;
const REPAIRS_BURST: Duration = Duration::from_millis(300);
/// Buffers kept for the next packets.
const SPARE_MAX: usize = 256;
/// Packets that leave before buffers that went unused meanwhile are given back: half a second at 100 Mbit/s, or half a minute
/// of a camera at 1.2 Mbit/s.
const LOOK_BACK: u32 = 4096;

/// How urgent a paced packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// A picture waits for it: it overtakes what is new.
    Repair,
    /// In the order of its frames.
    Media,
}

/// A packet that waits.
type Held = (Departure, Vec<u8>);

/// A queue with a rate.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    repairs: VecDeque<Held>,
    media: VecDeque<Held>,
    bytes: u64,
    /// When all that has left would have left at the rate.
    free_at: Option<Instant>,
    /// The same for repairs, at their share of it.
    repairs_free_at: Option<Instant>,
    spare: Vec<Vec<u8>>,
    /// Packets that have left since buffers were last given back, and the most that waited at once.
    left_since: u32,
    needed: usize,
}

impl Pacer {
    /// Whether a packet may leave now, nothing waiting before it.
    pub(super) fn is_clear(&self, now: Instant, rate: Option<Bitrate>) -> bool {
        self.is_empty() && (rate.is_none() || self.has_credit(now))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.repairs.is_empty() && self.media.is_empty()
    }

    /// A packet has left.
    pub(super) fn left(&mut self, now: Instant, bytes: usize, rate: Option<Bitrate>) {
        let span = rate.map_or(Duration::ZERO, |rate| rate.time_for(bytes as u64));
        self.free_at = Some(self.free_at.map_or(now, |at| at.max(now)) + span);
        self.left_since += 1;
        if self.left_since == LOOK_BACK {
            self.left_since = 0;
            let waiting = self.repairs.len() + self.media.len();
            let needed = std::mem::replace(&mut self.needed, waiting);
            if self.spare.len() + waiting > 2 * needed {
                self.spare.truncate(needed - waiting);
                self.spare.shrink_to(needed);
                self.repairs.shrink_to(needed);
                self.media.shrink_to(needed);
            }
        }
    }

    /// Whether a repair may be sent: they take a share of the rate, or a flood of them would keep out the pictures that
    /// they are for.
    pub(super) fn takes_repair(&self, now: Instant) -> bool {
        self.repairs_free_at.is_none_or(|at| at <= now + REPAIRS_BURST)
    }

    /// A repair was taken.
    pub(super) fn repaired(&mut self, now: Instant, bytes: usize, rate: Option<Bitrate>) {
        let span = rate.map_or(Duration::ZERO, |rate| rate.scaled(REPAIRS_SHARE).time_for(bytes as u64));
        self.repairs_free_at = Some(self.repairs_free_at.map_or(now, |at| at.max(now)) + span);
    }

    /// Puts a packet into the queue; false when it is full.
    pub(super) fn hold(
        &mut self,
        urgency: Urgency,
        departure: Departure,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if self.repairs.len() + self.media.len() >= PACKETS_MAX {
            return false;
        }
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        write(&mut packet);
        self.bytes += packet.len() as u64;
        match urgency {
            Urgency::Repair => self.repairs.push_back((departure, packet)),
            Urgency::Media => self.media.push_back((departure, packet)),
        }
        self.needed = self.needed.max(self.repairs.len() + self.media.len());
        true
    }

    /// The next packet that may leave now. Give its buffer back with [`recycle`](Self::recycle).
    pub(super) fn next(&mut self, now: Instant, rate: Option<Bitrate>) -> Option<Held> {
        if rate.is_some() && !self.has_credit(now) {
            return None;
        }
        let (departure, packet) = self.repairs.pop_front().or_else(|| self.media.pop_front())?;
        self.bytes -= packet.len() as u64;
        self.left(now, packet.len(), rate);
        Some((departure, packet))
    }

    /// Drops what waits of one stream.
    pub(super) fn discard(&mut self, ssrc: u32) {
        let Pacer { repairs, media, bytes, spare, .. } = self;
        let waited = repairs.len();
        for queue in [&mut *repairs, media] {
            queue.retain_mut(|(_, packet)| {
                let stays = !RtpHeader::parse(packet).is_ok_and(|header| header.ssrc == ssrc);
                if !stays {
                    *bytes -= packet.len() as u64;
                    if spare.len() < SPARE_MAX {
                        spare.push(std::mem::take(packet));
                    }
                }
                stays
            });
        }
        if repairs.len() < waited {
            self.repairs_free_at = None; // it was those that took the time
        }
    }

    /// Takes back the buffer of a packet that has left.
    pub(super) fn recycle(&mut self, packet: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(packet);
        }
    }

    /// When the next packet may leave.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        self.free_at.map_or(now, |at| at.checked_sub(BURST).unwrap_or(at).max(now))
    }

    /// How long what waits will take to leave.
    pub(super) fn backlog(&self, rate: Option<Bitrate>) -> Duration {
        rate.map_or(Duration::ZERO, |rate| rate.time_for(self.bytes))
    }

    fn has_credit(&self, now: Instant) -> bool {
        self.free_at.is_none_or(|at| at <= now + BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rtp, test_start};

    const RATE: Option<Bitrate> = Some(Bitrate::kbps(800));

    #[test]
    fn packets_leave_at_the_rate_and_repairs_overtake() {
        let (mut pacer, start) = (Pacer::default(), test_start());
        assert!(pacer.is_clear(start, RATE));
        for (urgency, name) in [(Urgency::Media, 1), (Urgency::Media, 2), (Urgency::Repair, 3)] {
            assert!(pacer.hold(urgency, Departure::Unmarked, |out| out.resize(1000, name)));
        }
        assert_eq!(pacer.backlog(RATE), Duration::from_millis(30));
        let mut left = vec![];
        for ms in 0..100 {
            let now = start + Duration::from_millis(ms);
            while let Some((_, packet)) = pacer.next(now, RATE) {
                left.push((ms, packet[0]));
                pacer.recycle(packet);
            }
        }
        // 10 ms each, and 10 ms' worth at once after the pause.
        assert_eq!(left, [(0, 3), (0, 1), (10, 2)]);
        assert!(pacer.is_empty() && pacer.backlog(RATE).is_zero());
    }

    #[test]
    fn what_waits_of_one_stream_is_dropped_and_the_rest_stays() {
        let mut pacer = Pacer::default();
        let ssrcs = [(Urgency::Media, 1), (Urgency::Media, 2), (Urgency::Repair, 3), (Urgency::Media, 1)];
        for (urgency, ssrc) in ssrcs {
            assert!(pacer.hold(urgency, Departure::Unmarked, |out| {
                rtp::write_header(out, 96, false, 0, 0, ssrc, &[]);
                out.resize(1000, 0);
            }));
        }
        pacer.discard(1);
        assert_eq!((pacer.backlog(RATE), pacer.spare.len()), (Duration::from_millis(20), 2));
        pacer.discard(3);
        assert_eq!(pacer.backlog(RATE), Duration::from_millis(10));
        let (_, left) = pacer.next(test_start(), None).expect("of the other stream");
        assert_eq!(RtpHeader::parse(&left).map(|header| header.ssrc), Ok(2));
        assert!(pacer.is_empty() && pacer.backlog(RATE).is_zero());
    }

    #[test]
    fn buffers_of_a_burst_are_given_back_and_those_in_use_are_not() {
        let (mut pacer, start) = (Pacer::default(), test_start());
        let mut wait_and_leave = |packets: usize| {
            for _ in 0..packets {
                assert!(pacer.hold(Urgency::Media, Departure::Unmarked, |out| out.resize(1000, 0)));
            }
            while let Some((_, packet)) = pacer.next(start, None) {
                pacer.recycle(packet);
            }
            (pacer.spare.len(), pacer.spare.capacity().max(pacer.media.capacity()))
        };
        assert_eq!(wait_and_leave(200).0, 200);
        let after = (0..LOOK_BACK / 5).map(|_| wait_and_leave(10)).last();
        // One may be on its way while the others are given back.
        assert!(after.is_some_and(|(spare, room)| spare <= 11 && room < 32), "{after:?}");
        // Pictures differ in size.
        let spares: Vec<_> = (0..1000).map(|at| wait_and_leave(10 + at as usize % 10).0).collect();
        assert!(spares[10..].iter().all(|spare| *spare == 19));
        // What leaves without waiting needs none.
        (0..2 * LOOK_BACK).for_each(|_| pacer.left(start, 1000, None));
        assert_eq!((pacer.spare.capacity(), pacer.media.capacity()), (0, 0));
    }

    #[test]
    fn repairs_get_their_share_and_no_more() {
        let (mut pacer, start) = (Pacer::default(), test_start());
        let mut bytes = 0;
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            if pacer.takes_repair(now) {
                pacer.repaired(now, 1000, RATE);
                bytes += 1000;
            }
        }
        // A fifth of 800 kbit/s for 10 s, and 300 ms' worth at once.
        assert!((200_000..208_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn without_a_rate_all_leaves_at_once_and_a_full_queue_refuses() {
        let (mut pacer, start) = (Pacer::default(), test_start());
        for _ in 0..PACKETS_MAX {
            assert!(pacer.hold(Urgency::Media, Departure::Unmarked, |out| out.push(0)));
        }
        assert!(!pacer.hold(Urgency::Repair, Departure::Unmarked, |out| out.push(0)));
        let mut count = 0;
        while pacer.next(start, None).is_some() {
            count += 1;
        }
        assert_eq!(count, PACKETS_MAX);
        assert!(pacer.is_clear(start, None));
    }
}
