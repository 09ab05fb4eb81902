//! A test bed for bandwidth estimation: one sender, one receiver, a link each way, in steps of a millisecond.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_media::peer::{Departure, Peer, Urgency};
use campanile_media::rtcp::{self, RtcpItem, TwccRecorder};
use campanile_media::rtp::{self, RtpHeader};
use campanile_media::units::Bitrate;

use crate::link::{Bottleneck, Conditions, Link, Loss};
use crate::{millis, start_of_time};

/// The header extension of transport-wide numbers.
const TRANSPORT_CC: u8 = 3;
const PACKET_BYTES: u64 = 1150;
const FRAME: Duration = Duration::from_millis(33);

/// What the sender sends.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// An encoder that follows the estimate up to this rate.
    Elastic(Bitrate),
    /// The largest of these layers that fits the estimate, or the smallest.
    Layers(Vec<Bitrate>),
}

/// What was seen in one tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// What the estimator believed at its end.
    pub estimate: Bitrate,
    /// What arrived within it.
    pub arrived: Bitrate,
    /// The longest that a packet took beyond the path's latency, the sender's own queue not counted.
    pub queue: Duration,
    /// The longest that packets had to wait at the sender.
    pub backlog: Duration,
}

/// One sender, one receiver.
pub struct Bed {
    /// The sender.
    pub peer: Peer,
    down: Link,
    up: Link,
    traffic: Traffic,
    /// Other traffic through the same bottleneck.
    pub cross: Bitrate,
    /// What was seen, in order.
    pub samples: Vec<Sample>,
    start: Instant,
    now: Instant,
    next_frame: Instant,
    frames: u32,
    sequence: u16,
    padding_sequence: u16,
    cross_bytes: f64,
    arriving: VecDeque<(Instant, Instant, Vec<u8>)>,
    reporting: VecDeque<(Instant, Vec<u8>)>,
    recorder: TwccRecorder,
    sample: Sample,
    arrived_bytes: u64,
}

/// A path with a bottleneck whose queue holds so long a time, 25 ms one way.
pub fn narrow(kbps: u64, queue: Duration) -> Conditions {
    let rate = Bitrate::kbps(kbps);
    let bottleneck = Some(Bottleneck { rate, queue_bytes: rate.bytes_in(queue).max(6000) });
    Conditions { latency: millis(25), bottleneck, ..Conditions::GOOD }
}

impl Bed {
    /// Traffic over a link.
    pub fn new(traffic: Traffic, down: Conditions, seed: u64) -> Bed {
        let start = start_of_time();
        let up = Conditions { bottleneck: None, loss: Loss::Random(0.0), ..down };
        Bed {
            peer: Peer::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 9))),
            down: Link::new(down, seed),
            up: Link::new(up, seed + 1),
            traffic,
            cross: Bitrate::default(),
            samples: Vec::new(),
            start,
            now: start,
            next_frame: start,
            frames: 0,
            sequence: 65_000,
            padding_sequence: 0,
            cross_bytes: 0.0,
            arriving: VecDeque::new(),
            reporting: VecDeque::new(),
            recorder: TwccRecorder::default(),
            sample: Sample::default(),
            arrived_bytes: 0,
        }
    }

    /// Time passes.
    pub fn run(&mut self, span: Duration) -> &mut Bed {
        let end = self.now + span;
        while self.now < end {
            self.step();
            self.now += millis(1);
        }
        self
    }

    /// The link changes.
    pub fn becomes(&mut self, down: Conditions) -> &mut Bed {
        self.down.conditions = down;
        self
    }

    /// Nothing passes for so long, either way.
    pub fn black_out(&mut self, span: Duration) -> &mut Bed {
        self.down.black_out(self.now + span);
        self.up.black_out(self.now + span);
        self
    }

    /// When, within `span` from now on, the estimate first lies there; `None` if never.
    pub fn reaches(&mut self, span: Duration, kbps: std::ops::Range<u64>) -> Option<Duration> {
        let begin = self.now;
        while self.now < begin + span {
            self.run(millis(50));
            let estimate = self.peer.estimator().estimate().unwrap_or_default().as_kbps();
            if kbps.contains(&estimate) {
                return Some(self.now - begin);
            }
        }
        None
    }

    /// The mean of what arrived, and the share of samples whose queue was beyond a limit, over the last `span`.
    pub fn lately(&self, span: Duration, queue_max: Duration) -> (Bitrate, f64) {
        let count = (span.as_millis() / 100) as usize;
        let last = &self.samples[self.samples.len().saturating_sub(count)..];
        let arrived: u64 = last.iter().map(|sample| sample.arrived.as_bps()).sum();
        let long = last.iter().filter(|sample| sample.queue > queue_max).count();
        (Bitrate::bps(arrived / last.len() as u64), long as f64 / last.len() as f64)
    }

    fn step(&mut self) {
        let now = self.now;
        while self.reporting.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = self.reporting.pop_front() else { break };
            for item in rtcp::parse(&bytes).flatten() {
                if let RtcpItem::TransportFeedback(feedback) = item {
                    self.peer.handle_feedback(now, &feedback);
                }
            }
        }
        let demand = match &self.traffic {
            Traffic::Elastic(most) => *most,
            Traffic::Layers(layers) => *layers.last().expect("there are layers"),
        };
        self.peer.estimator().set_demand(demand);
        self.peer.estimator().handle_timeout(now);
        self.peer.release(now);
        if now >= self.next_frame {
            self.next_frame += FRAME;
            self.send_frame(demand);
        }
        while self.peer.wants_padding(now) {
            self.padding_sequence = self.padding_sequence.wrapping_add(1);
            let sequence = self.padding_sequence;
            self.peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
                rtp::write_padding(out, 97, sequence, 0, 2, &[(TRANSPORT_CC, &[0; 2])]);
            });
        }
        self.carry();
        self.receive();
        self.sample.backlog = self.sample.backlog.max(self.peer.backlog());
        let at = now - self.start;
        if at.as_millis() % 100 == 99 {
            let estimate = self.peer.estimator().estimate().unwrap_or_default();
            let arrived = Bitrate::measured(std::mem::take(&mut self.arrived_bytes), millis(100));
            self.samples.push(Sample { at, estimate, arrived, ..std::mem::take(&mut self.sample) });
        }
    }

    fn send_frame(&mut self, demand: Bitrate) {
        let estimate = self.peer.estimator().estimate().unwrap_or(campanile_media::estimate::START);
        let rate = match &self.traffic {
            Traffic::Elastic(_) => estimate.min(demand),
            Traffic::Layers(layers) => {
                let fitting = layers.iter().copied().filter(|layer| *layer <= estimate).max();
                fitting.unwrap_or(layers[0])
            }
        };
        // Frames are not all alike: between 0.6 and 1.4 of the mean, and one in 90 three times that.
        self.frames += 1;
        let weight =
            if self.frames.is_multiple_of(90) { 3.0 } else { 0.6 + 0.2 * f64::from(self.frames % 5) };
        let mut bytes = rate.scaled(weight).bytes_in(FRAME).max(100);
        while bytes > 0 {
            let size = bytes.min(PACKET_BYTES);
            bytes -= size;
            self.sequence = self.sequence.wrapping_add(1);
            let (sequence, now) = (self.sequence, self.now);
            self.peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
                rtp::write_header(out, 96, bytes == 0, sequence, 0, 1, &[(TRANSPORT_CC, &[0; 2])]);
                out.resize(out.len() + size as usize, 0);
            });
        }
    }

    fn carry(&mut self) {
        self.cross_bytes += self.cross.as_bps() as f64 / 8000.0;
        while self.cross_bytes >= 1000.0 {
            self.cross_bytes -= 1000.0;
            self.down.pass(self.now, 1000);
        }
        while let Some(run) = self.peer.outbox().next_run() {
            for packet in run.bytes.chunks(run.segment_size) {
                let arrivals = self.down.pass(self.now, packet.len());
                for at in [arrivals.first, arrivals.second].into_iter().flatten() {
                    let place = self.arriving.partition_point(|(before, ..)| *before <= at);
                    self.arriving.insert(place, (at, self.now, packet.to_vec()));
                }
            }
        }
    }

    fn receive(&mut self) {
        while self.arriving.front().is_some_and(|(at, ..)| *at <= self.now) {
            let Some((at, sent, packet)) = self.arriving.pop_front() else { break };
            let header = RtpHeader::parse(&packet).expect("we write RTP");
            let number = header.extension(&packet, TRANSPORT_CC).expect("every packet is numbered");
            self.recorder.record(u16::from_be_bytes([number[0], number[1]]), at);
            self.arrived_bytes += packet.len() as u64;
            self.sample.queue =
                self.sample.queue.max(at - sent - self.down.conditions.latency.min(at - sent));
        }
        while self.recorder.poll_timeout().is_some_and(|due| due <= self.now) {
            let mut report = Vec::new();
            self.recorder.build(self.now, 1, 2, &mut report);
            if let Some(at) = self.up.pass(self.now, report.len()).first {
                self.reporting.push_back((at, report));
            }
        }
    }
}
