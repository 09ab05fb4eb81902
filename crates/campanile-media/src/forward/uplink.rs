//! One incoming video stream: its repairs, its keyframes, its rate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::history::{History, NewPacket, StoredPacket};
use crate::units::{Bitrate, SeqNo};

/// Missing packets tracked at once. More than this is no loss to repair but an outage: a keyframe is cheaper.
const MISSING_MAX: usize = 256;
/// A gap this wide is a stream that began anew rather than loss.
const GAP_MAX: i64 = 3000;
/// How long a gap may be mere reordering before the first NACK.
const REORDER_WAIT: Duration = Duration::from_millis(15);
/// Between two NACKs for the same packet: beyond most round trips, so that the first repair had its chance.
const NACK_INTERVAL: Duration = Duration::from_millis(80);
/// NACKs sent for one packet; after 800 ms its frame is no longer worth it.
const NACK_TRIES_MAX: u8 = 10;
/// Keyframes are asked for at most this often: each costs its publisher several ordinary frames, and a burst of
/// joiners is served by one.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(400);
/// A stream without packets for this long does not flow.
const FLOW_TIMEOUT: Duration = Duration::from_secs(2);
/// The rate is measured over windows of this length.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// One incoming stream. Retransmitted packets enter by the same door as others, under their original number.
#[derive(Debug, Default)]
pub struct Uplink {
    highest: Option<SeqNo>,
    missing: BTreeMap<SeqNo, Missing>,
    history: History,
    /// Keyframes wanted from this stream.
    pub keyframes: KeyframeRequests,
    last_packet: Option<Instant>,
    window_start: Option<Instant>,
    window_bytes: u64,
    rate: Bitrate,
}

#[derive(Debug)]
struct Missing {
    due: Instant,
    tries: u8,
}

impl Uplink {
    /// Takes one packet; returns it as stored, or `None` when it is a duplicate or too old to matter. `wire_seq` is
    /// its number on the wire.
    pub fn receive(&mut self, now: Instant, wire_seq: u16, packet: NewPacket<'_>) -> Option<&StoredPacket> {
        let seq = match self.highest {
            None => SeqNo::first(wire_seq),
            Some(highest) => highest.extend(wire_seq),
        };
        let highest = *self.highest.get_or_insert(seq);
        let ahead = highest.distance_to(seq);
        if ahead > GAP_MAX {
            self.missing.clear();
        } else if ahead > 0 {
            if self.missing.len() + ahead as usize > MISSING_MAX + 1 {
                self.missing.clear();
                self.keyframes.request();
            } else {
                for step in 1..ahead {
                    self.missing.insert(highest.plus(step), Missing { due: now + REORDER_WAIT, tries: 0 });
                }
            }
        } else {
            self.missing.remove(&seq);
        }
        self.highest = Some(highest.max(seq));
        self.measure(now, packet.payload.len());
        let stored = self.history.store(seq, packet)?;
        if stored.info.starts_keyframe {
            self.keyframes.arrived();
        }
        Some(stored)
    }

    /// Notes that packets are coming, before the first is taken.
    pub fn touch(&mut self, now: Instant) {
        self.last_packet = Some(now);
    }

    fn measure(&mut self, now: Instant, bytes: usize) {
        self.last_packet = Some(now);
        let start = *self.window_start.get_or_insert(now);
        self.window_bytes += bytes as u64;
        let span = now.saturating_duration_since(start);
        if span >= RATE_WINDOW {
            self.rate = Bitrate::measured(self.window_bytes, span);
            self.window_start = Some(now);
            self.window_bytes = 0;
        }
    }

    /// Collects the numbers to ask for again now, in order. What has been asked for too often is given up.
    pub fn nacks_due(&mut self, now: Instant, numbers: &mut Vec<u16>) {
        self.missing.retain(|seq, missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries == NACK_TRIES_MAX {
                return false;
            }
            missing.tries += 1;
            missing.due = now + NACK_INTERVAL;
            numbers.push(seq.wire());
            true
        });
    }

    /// The recent packets, for repairs towards subscribers.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// True while packets keep coming.
    pub fn is_flowing(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|last| now.saturating_duration_since(last) < FLOW_TIMEOUT)
    }

    /// The payload rate over the last full second; zero before that and once the stream has stopped.
    pub fn rate(&self, now: Instant) -> Bitrate {
        if self.is_flowing(now) { self.rate } else { Bitrate::default() }
    }
}

/// Merges everybody's wish for a keyframe into few requests to the publisher.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    wanted: bool,
    last_sent: Option<Instant>,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe.
    pub fn request(&mut self) {
        self.wanted = true;
    }

    /// True when a request should go out now. Repeated until a keyframe has arrived, since either may be lost.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.last_sent.is_none_or(|last| now.saturating_duration_since(last) >= KEYFRAME_INTERVAL);
        let send = self.wanted && due;
        if send {
            self.last_sent = Some(now);
        }
        send
    }

    fn arrived(&mut self) {
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::PayloadInfo;
    use crate::test_start as start;

    fn packet(starts_keyframe: bool) -> NewPacket<'static> {
        let info = PayloadInfo { starts_keyframe, vp8: None };
        NewPacket { timestamp: 0, marker: false, payload: &[0; 1000], info, codec: 0, orientation: None }
    }

    fn nacks(uplink: &mut Uplink, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        uplink.nacks_due(now, &mut numbers);
        numbers
    }

    #[test]
    fn a_gap_is_asked_for_after_a_moment_and_not_for_ever() {
        let (mut uplink, now) = (Uplink::default(), start());
        for seq in [65_534, 65_535, 3] {
            uplink.receive(now, seq, packet(false));
        }
        assert_eq!(nacks(&mut uplink, now), [0u16; 0], "it may be reordering");
        uplink.receive(now, 1, packet(false));
        let mut asked = Vec::new();
        for ms in 0..2000 {
            asked.extend(nacks(&mut uplink, now + Duration::from_millis(ms)));
        }
        assert_eq!(asked.len(), 2 * usize::from(NACK_TRIES_MAX));
        assert_eq!(asked[..2], [0, 2]);
    }

    #[test]
    fn an_outage_asks_for_a_keyframe_instead() {
        let (mut uplink, now) = (Uplink::default(), start());
        uplink.receive(now, 0, packet(true));
        uplink.receive(now, 1000, packet(false));
        assert_eq!(nacks(&mut uplink, now + Duration::from_secs(1)), [0u16; 0]);
        assert!(uplink.keyframes.poll(now));
    }

    #[test]
    fn keyframe_requests_are_merged_repeated_and_stop() {
        let (mut uplink, now) = (Uplink::default(), start());
        assert!(!uplink.keyframes.poll(now));
        uplink.keyframes.request();
        uplink.keyframes.request();
        assert!(uplink.keyframes.poll(now));
        assert!(!uplink.keyframes.poll(now + KEYFRAME_INTERVAL / 2));
        assert!(uplink.keyframes.poll(now + KEYFRAME_INTERVAL), "the first may have been lost");
        uplink.receive(now, 7, packet(true));
        assert!(!uplink.keyframes.poll(now + KEYFRAME_INTERVAL * 3));
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let (mut uplink, now) = (Uplink::default(), start());
        for seq in 0..=100u16 {
            uplink.receive(now + Duration::from_millis(10) * u32::from(seq), seq, packet(false));
        }
        let end = now + Duration::from_secs(1);
        assert_eq!(uplink.rate(end).as_kbps(), 808);
        assert!(uplink.is_flowing(end));
        assert!(!uplink.is_flowing(end + FLOW_TIMEOUT));
        assert_eq!(uplink.rate(end + FLOW_TIMEOUT).as_bps(), 0);
    }
}
