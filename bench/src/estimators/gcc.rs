//! `rtc-interceptor`'s `Gcc`, told what our receiver reports, with its own pacer at the rate that it asks for.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_media::rtcp::{self, RtcpItem};
use campanile_media::rtp;
use campanile_media::units::Bitrate;
use rtc_interceptor::{BandwidthEstimator as _, Gcc as Estimator, PacketReport};

use super::ours::{Receiver, TRANSPORT_CC, pieces, timestamp};
use super::{Contestant, START, VP8};

/// What waits leaves this much faster than the target, as the crate's predecessor has it: at the target itself, what a large
/// frame has left waiting never becomes less.
const PACING_FACTOR: f64 = 1.5;
/// What may leave at once after a pause.
const BURST: Duration = Duration::from_millis(10);

pub(super) struct Gcc {
    estimator: Estimator,
    receiver: Receiver,
    waiting: VecDeque<Vec<u8>>,
    free_at: Option<Instant>,
    sequence: u16,
    number: u16,
    /// Packets on their way by number, each with its departure and its size.
    sent: BTreeMap<u16, (u64, Instant, usize)>,
    departures: u64,
}

impl Gcc {
    pub(super) fn new() -> Gcc {
        let [floor, ceiling] = [campanile_media::estimate::FLOOR, campanile_media::estimate::CEILING];
        let [start, floor, ceiling] = [START, floor, ceiling].map(|rate| rate.as_bps() as f64);
        Gcc {
            estimator: Estimator::new(start, floor, ceiling),
            receiver: Receiver::default(),
            waiting: VecDeque::new(),
            free_at: None,
            sequence: 0,
            number: 0,
            sent: BTreeMap::new(),
            departures: 0,
        }
    }
}

impl Contestant for Gcc {
    fn target(&mut self) -> Bitrate {
        Bitrate::bps(self.estimator.target_bitrate() as u64)
    }

    fn send_frame(&mut self, _now: Instant, number: u64, bytes: usize) {
        for (size, is_last) in pieces(bytes) {
            self.sequence = self.sequence.wrapping_add(1);
            let mut packet = Vec::new();
            let extensions: [(u8, &[u8]); 1] = [(TRANSPORT_CC, &[0; 2])];
            rtp::write_header(&mut packet, VP8, is_last, self.sequence, timestamp(number), 1, &extensions);
            packet.resize(packet.len() + size, 0);
            self.waiting.push_back(packet);
        }
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let rate = self.target().scaled(PACING_FACTOR);
        while self.free_at.is_none_or(|at| at <= now + BURST)
            && let Some(mut packet) = self.waiting.pop_front()
        {
            self.free_at =
                Some(self.free_at.map_or(now, |at| at.max(now)) + rate.time_for(packet.len() as u64));
            rtp::set_first_extension(&mut packet, &self.number.to_be_bytes());
            self.sent.insert(self.number, (self.departures, now, packet.len()));
            (self.number, self.departures) = (self.number.wrapping_add(1), self.departures + 1);
            out.push(packet);
        }
    }

    fn handle_feedback(&mut self, now: Instant, bytes: &[u8]) {
        for item in rtcp::parse(bytes).flatten() {
            let RtcpItem::TransportFeedback(feedback) = item else { continue };
            let Ok(statuses) = feedback.packets() else { continue };
            let mut reports: Vec<PacketReport> = statuses
                .filter_map(|status| {
                    let (id, departure, size) = self.sent.remove(&status.sequence)?;
                    let arrival = status.arrival_us.map(|us| Duration::from_micros(us.max(0) as u64));
                    Some(PacketReport {
                        ssrc: 1,
                        id,
                        rtp_sequence_number: status.sequence,
                        is_twcc: true,
                        twcc_sequence_number: status.sequence,
                        size,
                        arrived: arrival.is_some(),
                        departure,
                        arrival,
                        ecn: Default::default(),
                    })
                })
                .collect();
            reports.sort_by_key(|report| report.id);
            self.estimator.on_reports(now, &reports);
        }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.receiver.receive(now, bytes);
    }

    fn poll_receiver(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.receiver.poll(now, out);
    }
}
