//! A worse network than the machine has: losses, delays and reordering of a session's datagrams, both ways.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// Datagrams on their way, each direction together: a second of a busy session.
const WAITING_MAX: usize = 4096;

/// What happens to datagrams. The default lets them pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkProfile {
    /// How many in a hundred are lost.
    pub loss_percent: f32,
    /// Each waits for up to so long, and so may pass others.
    pub jitter: Duration,
    /// How many in a hundred wait for another 20 ms, and so are passed by others.
    pub reorder_percent: f32,
    /// Makes chance repeatable.
    pub seed: u64,
}

impl NetworkProfile {
    /// True when nothing is done to anything.
    pub fn is_clean(&self) -> bool {
        self.loss_percent <= 0.0 && self.jitter.is_zero() && self.reorder_percent <= 0.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// A datagram, and who sent it or shall have it.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) way: Way,
    pub(crate) peer: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Impairment {
    profile: NetworkProfile,
    rng: ChaCha8Rng,
    /// By due time.
    waiting: VecDeque<(Instant, Datagram)>,
}

impl Impairment {
    /// `None` for a clean network.
    pub(crate) fn new(profile: NetworkProfile) -> Option<Impairment> {
        let rng = ChaCha8Rng::seed_from_u64(profile.seed);
        (!profile.is_clean()).then(|| Impairment { profile, rng, waiting: VecDeque::new() })
    }

    fn chance(&mut self, percent: f32) -> bool {
        percent > 0.0 && (self.rng.next_u32() as f32) < percent / 100.0 * u32::MAX as f32
    }

    pub(crate) fn push(&mut self, now: Instant, datagram: Datagram) {
        if self.chance(self.profile.loss_percent) || self.waiting.len() >= WAITING_MAX {
            return;
        }
        let mut due = now;
        let jitter_us = self.profile.jitter.as_micros() as u64;
        if jitter_us > 0 {
            due += Duration::from_micros(self.rng.next_u64() % jitter_us);
        }
        if self.chance(self.profile.reorder_percent) {
            due += Duration::from_millis(20);
        }
        let place = self.waiting.partition_point(|(other, _)| *other <= due);
        self.waiting.insert(place, (due, datagram));
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<Datagram> {
        self.waiting.front().filter(|(due, _)| *due <= now)?;
        self.waiting.pop_front().map(|(_, datagram)| datagram)
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(profile: NetworkProfile) -> Vec<u8> {
        let mut network = Impairment::new(profile).unwrap();
        let (now, peer) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 1)));
        for number in 0..200 {
            let at = now + Duration::from_millis(u64::from(number));
            network.push(at, Datagram { way: Way::In, peer, bytes: vec![number] });
        }
        let late = now + Duration::from_secs(9);
        std::iter::from_fn(|| network.pop(late)).map(|datagram| datagram.bytes[0]).collect()
    }

    #[test]
    fn losses_and_reordering() {
        let all: Vec<u8> = (0..200).collect();
        assert!(Impairment::new(NetworkProfile::default()).is_none());
        let lost = passed(NetworkProfile { loss_percent: 10.0, ..Default::default() });
        assert!((160..195).contains(&lost.len()) && lost.is_sorted(), "{}", lost.len());
        let reordered = passed(NetworkProfile { reorder_percent: 10.0, ..Default::default() });
        assert!(reordered.len() == 200 && reordered != all);
        let jittered = passed(NetworkProfile { jitter: Duration::from_millis(30), ..Default::default() });
        assert!(jittered.len() == 200 && jittered != all);
    }
}
