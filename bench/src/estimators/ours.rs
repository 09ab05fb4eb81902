//! Our own sender: a plain peer with its pacer and its estimator, and what browsers answer with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use campanile_media::peer::{Departure, Peer, Urgency};
use campanile_media::rtcp::{self, RtcpItem, TwccRecorder};
use campanile_media::rtp::{self, RtpHeader};
use campanile_media::units::Bitrate;

use super::{Contestant, DEMAND, FRAME_TICKS, START, VP8};

/// The header extension of transport-wide numbers.
pub(super) const TRANSPORT_CC: u8 = 3;
const PADDING: u8 = 97;
pub(super) const PACKET_BYTES: usize = 1150;

pub(super) struct Ours {
    peer: Peer,
    receiver: Receiver,
    sequence: u16,
    padding_sequence: u16,
}

impl Ours {
    pub(super) fn new() -> Ours {
        Ours {
            peer: Peer::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 9))),
            receiver: Receiver::default(),
            sequence: 0,
            padding_sequence: 0,
        }
    }
}

impl Contestant for Ours {
    fn target(&mut self) -> Bitrate {
        self.peer.estimator().estimate().unwrap_or(START)
    }

    fn send_frame(&mut self, now: Instant, number: u64, bytes: usize) {
        for (size, is_last) in pieces(bytes) {
            self.sequence = self.sequence.wrapping_add(1);
            let (sequence, timestamp) = (self.sequence, timestamp(number));
            self.peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
                rtp::write_header(out, VP8, is_last, sequence, timestamp, 1, &[(TRANSPORT_CC, &[0; 2])]);
                out.resize(out.len() + size, 0);
            });
        }
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.peer.estimator().set_demand(DEMAND);
        self.peer.estimator().handle_timeout(now);
        self.peer.release(now);
        while self.peer.wants_padding(now) {
            self.padding_sequence = self.padding_sequence.wrapping_add(1);
            let sequence = self.padding_sequence;
            self.peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
                rtp::write_padding(out, PADDING, sequence, 0, 2, &[(TRANSPORT_CC, &[0; 2])]);
            });
        }
        while let Some(run) = self.peer.outbox().next_run() {
            out.extend(run.bytes.chunks(run.segment_size).map(<[u8]>::to_vec));
        }
    }

    fn handle_feedback(&mut self, now: Instant, bytes: &[u8]) {
        for item in rtcp::parse(bytes).flatten() {
            if let RtcpItem::TransportFeedback(feedback) = item {
                self.peer.handle_feedback(now, &feedback);
            }
        }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.receiver.receive(now, bytes);
    }

    fn poll_receiver(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.receiver.poll(now, out);
    }
}

/// Reports on what arrives, as browsers do.
#[derive(Default)]
pub(super) struct Receiver(TwccRecorder);

impl Receiver {
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let header = RtpHeader::parse(bytes).expect("we write RTP");
        let number = header.extension(bytes, TRANSPORT_CC).expect("every packet is numbered");
        self.0.record(u16::from_be_bytes([number[0], number[1]]), now);
    }

    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        while self.0.poll_timeout().is_some_and(|due| due <= now) {
            let mut report = Vec::new();
            self.0.build(now, 1, 2, &mut report);
            out.push(report);
        }
    }
}

pub(super) fn timestamp(number: u64) -> u32 {
    (number * FRAME_TICKS) as u32
}

/// The sizes of a frame's packets, and which is the last.
pub(super) fn pieces(bytes: usize) -> impl Iterator<Item = (usize, bool)> {
    let count = bytes.div_ceil(PACKET_BYTES).max(1);
    (0..count).map(move |at| ((bytes - at * PACKET_BYTES).min(PACKET_BYTES), at + 1 == count))
}
