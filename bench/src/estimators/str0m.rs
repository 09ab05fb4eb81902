//! str0m at both ends, with its pacer, its probes and its estimator.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_media::units::Bitrate;
use str0m::bwe::{Bitrate as StrBitrate, BweKind};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::{Contestant, DEMAND, START, VP8};
use crate::Failure;

/// For both ends to find each other, in virtual time.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Str0m {
    sender: End,
    receiver: End,
    mid: Mid,
    target: Bitrate,
}

struct End {
    rtc: Rtc,
    own: SocketAddr,
    other: SocketAddr,
    due: Option<Instant>,
    is_connected: bool,
    estimate: Option<Bitrate>,
    out: Vec<Vec<u8>>,
}

impl Str0m {
    /// Both ends, connected to each other by a link that takes no time.
    pub(super) fn connected() -> Result<Str0m, Failure> {
        let (here, there) = (
            SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 1)),
            SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), 2)),
        );
        let mut now = Instant::now();
        let start = StrBitrate::bps(START.as_bps());
        let (mut sender, mut receiver) =
            (End::new(now, here, there, Some(start))?, End::new(now, there, here, None)?);
        let text = |error: str0m::error::RtcError| error.to_string();
        let mut change = sender.rtc.sdp_api();
        let mid = change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = change.apply().ok_or("there is nothing to offer")?;
        let answer = receiver.rtc.sdp_api().accept_offer(offer).map_err(text)?;
        sender.rtc.sdp_api().accept_answer(pending, answer).map_err(text)?;
        let end = now + PATIENCE;
        while !(sender.is_connected && receiver.is_connected) {
            if now > end {
                return Err("str0m does not connect".into());
            }
            sender.turn(now);
            std::mem::take(&mut sender.out).iter().for_each(|bytes| receiver.handle(now, bytes));
            receiver.turn(now);
            std::mem::take(&mut receiver.out).iter().for_each(|bytes| sender.handle(now, bytes));
            now += Duration::from_millis(1);
        }
        let demand = StrBitrate::bps(DEMAND.as_bps());
        sender.rtc.bwe().set_bitrate(StrBitrate::ZERO, demand);
        Ok(Str0m { sender, receiver, mid, target: START })
    }
}

impl End {
    fn new(
        now: Instant,
        own: SocketAddr,
        other: SocketAddr,
        bwe: Option<StrBitrate>,
    ) -> Result<End, Failure> {
        let mut rtc = Rtc::builder().clear_codecs().enable_vp8(true).enable_bwe(bwe).build(now);
        for (address, is_own) in [(own, true), (other, false)] {
            let candidate = Candidate::host(address, "udp").map_err(|error| error.to_string())?;
            if is_own {
                rtc.add_local_candidate(candidate);
            } else {
                rtc.add_remote_candidate(candidate);
            }
        }
        Ok(End { rtc, own, other, due: None, is_connected: false, estimate: None, out: Vec::new() })
    }

    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        if let Ok(datagram) = Receive::new(Protocol::Udp, self.other, self.own, bytes) {
            self.input(Input::Receive(now, datagram));
        }
    }

    fn turn(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due <= now) {
            self.input(Input::Timeout(now));
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.rtc.handle_input(input).expect("both ends understand each other");
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("both ends understand each other") {
                Output::Timeout(due) => {
                    self.due = Some(due);
                    return;
                }
                Output::Transmit(transmit) => self.out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. })) => {
                    self.estimate = Some(Bitrate::bps(estimate.as_u64()));
                }
                Output::Event(_) => {}
            }
        }
    }
}

impl Contestant for Str0m {
    fn target(&mut self) -> Bitrate {
        self.sender.estimate.unwrap_or(self.target)
    }

    fn send_frame(&mut self, now: Instant, number: u64, bytes: usize) {
        // RFC 6386 section 9.1: a keyframe first, with its start code and size.
        let mut frame = vec![0x10 | u8::from(number > 0); bytes.max(10)];
        frame[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        let writer = self.sender.rtc.writer(self.mid).expect("the section is ours");
        let is_vp8 = |params: &&str0m::format::PayloadParams| params.spec().codec == Codec::Vp8;
        let pt = writer.payload_params().find(is_vp8).map(|params| params.pt()).expect("VP8 was negotiated");
        assert_eq!(pt, Pt::from(VP8), "what is counted");
        let time = MediaTime::from_90khz(u64::from(super::ours::timestamp(number)));
        writer.write(pt, now, time, frame).expect("the frame fits");
        self.sender.drain();
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.sender.turn(now);
        out.append(&mut self.sender.out);
    }

    fn handle_feedback(&mut self, now: Instant, bytes: &[u8]) {
        self.sender.handle(now, bytes);
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.receiver.handle(now, bytes);
    }

    fn poll_receiver(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.receiver.turn(now);
        out.append(&mut self.receiver.out);
    }
}
