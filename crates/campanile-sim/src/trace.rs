//! What happened, as one number: two runs are the same run exactly when their traces are equal.

use std::time::Duration;

/// Everything that was delivered to anybody, in order, with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Deliveries so far.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// FNV-1a over all of them.
    pub hash: u64,
}

impl Trace {
    pub(crate) const EMPTY: Trace = Trace { events: 0, bytes: 0, hash: 0xcbf2_9ce4_8422_2325 };

    pub(crate) fn record(&mut self, at: Duration, kind: u8, whose: u64, bytes: &[u8]) {
        self.events += 1;
        self.bytes += bytes.len() as u64;
        self.add(&(at.as_nanos() as u64).to_be_bytes());
        self.add(&[kind]);
        self.add(&whose.to_be_bytes());
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
