//! What forwarding costs: `cargo bench -p campanile-media --bench forward [-- QUICK]`. CPU time per forwarded packet for
//! publishers and receivers of several numbers, everyone receiving everyone: from sealed packets of a publisher in
//! memory to sealed packets of each receiver, and in the second figure on through a real UDP socket (segmentation
//! offload, loopback, nobody reads: the kernel's receiving side ends where the queue is full). A publisher's packet is
//! opened, looked into and stored once; that is part of the figures. Not in it: receiving from the socket, finding the
//! session, feedback, pacing. Prints a table; compare ratios within one run, not runs.
#![allow(unsafe_code)] // counting allocations takes a global allocator, which is unsafe to write
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // clock, files and sockets: a shell, not the core
#![allow(missing_docs)]

#[path = "../tests/heap/mod.rs"]
mod heap;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use campanile_media::forward::{Forwarder, Layer, NewPacket, Uplink, VideoCodec, write_copy};
use campanile_media::peer::srtp::{SrtpProfile, SrtpReceiver, SrtpSender};
use campanile_media::rtp::{self, RtpHeader};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;
/// A picture of 720p at 1200 kbit/s and 15 a second, in packets of the size that browsers make.
const PACKETS_PER_PICTURE: usize = 9;
const PACKET_BYTES: usize = 1110;
/// Enough pictures to fill the histories before measuring.
const WARM_PICTURES: usize = 120;

/// CPU time of this thread, in the kernel's own count of it.
fn cpu() -> Duration {
    // Without allocating, or it would count itself.
    let mut text = [0; 64];
    let length = File::open("/proc/thread-self/schedstat").and_then(|mut file| file.read(&mut text));
    let text = std::str::from_utf8(&text[..length.expect("Linux")]).expect("digits");
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("schedstat begins with nanoseconds"))
}

/// Someone's keys, made of a number.
fn keys(of: usize) -> ([u8; 16], [u8; 12]) {
    ([of as u8 ^ 0x5a; 16], [of as u8; 12])
}

struct Publisher {
    seals: SrtpSender,
    opens: SrtpReceiver,
    uplink: Uplink,
    sequence: u16,
    picture: u16,
    subscribers: Vec<Forwarder>,
}

struct Receiver {
    seals: SrtpSender,
    out: Vec<u8>,
    to: SocketAddr,
}

struct Meeting {
    publishers: Vec<Publisher>,
    receivers: Vec<Receiver>,
    socket: UdpSocket,
    state: UdpSocketState,
    now: Instant,
}

impl Meeting {
    fn new(publishers: usize, receivers: usize, sinks: &[UdpSocket]) -> Meeting {
        let publisher = |at: usize| {
            let (key, salt) = keys(at);
            let subscribers = (0..receivers).map(|receiver| {
                let ssrc = (at * receivers + receiver) as u32;
                let mut forwarder = Forwarder::new(ssrc, !ssrc, ssrc as u16);
                forwarder.set_target(Some(Layer::whole(0)));
                forwarder
            });
            Publisher {
                seals: SrtpSender::new(PROFILE, &key, &salt).expect("keys fit"),
                opens: SrtpReceiver::new(PROFILE, &key, &salt).expect("keys fit"),
                uplink: Uplink::default(),
                sequence: 0,
                picture: 0,
                subscribers: subscribers.collect(),
            }
        };
        let receiver = |at: usize| {
            let (key, salt) = keys(at + 100);
            Receiver {
                seals: SrtpSender::new(PROFILE, &key, &salt).expect("keys fit"),
                out: Vec::new(),
                to: sinks[at % sinks.len()].local_addr().expect("bound"),
            }
        };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("a socket");
        Meeting {
            publishers: (0..publishers).map(publisher).collect(),
            receivers: (0..receivers).map(receiver).collect(),
            socket,
            state,
            now: Instant::now(),
        }
    }

    /// A picture of each publisher, sealed as its browser would: not part of what is measured.
    fn pictures(&mut self) -> Vec<Vec<Vec<u8>>> {
        let picture = |publisher: &mut Publisher| {
            publisher.picture = (publisher.picture + 1) & 0x7fff;
            let [high, low] = (0x8000 | publisher.picture).to_be_bytes();
            let is_key = publisher.picture == 1;
            (0..PACKETS_PER_PICTURE)
                .map(|at| {
                    let mut out = Vec::with_capacity(PACKET_BYTES + 64);
                    let timestamp = u32::from(publisher.picture) * 6000;
                    let marker = at + 1 == PACKETS_PER_PICTURE;
                    rtp::write_header(&mut out, 96, marker, publisher.sequence, timestamp, 7, &[(4, b"1")]);
                    publisher.sequence = publisher.sequence.wrapping_add(1);
                    let first = if at == 0 { 0x90 } else { 0x80 };
                    out.extend_from_slice(&[first, 0xe0, high, low, low, 0x20, u8::from(!is_key)]);
                    out.resize(PACKET_BYTES, 0x5a);
                    publisher.seals.protect_rtp(&mut out, 0).expect("sealed");
                    out
                })
                .collect()
        };
        self.publishers.iter_mut().map(picture).collect()
    }

    /// What a server does with these; returns how many packets it forwarded.
    fn forward(&mut self, pictures: &mut [Vec<Vec<u8>>], sends: bool) -> usize {
        self.now += Duration::from_millis(66);
        let mut forwarded = 0;
        for (publisher, packets) in self.publishers.iter_mut().zip(pictures) {
            for packet in packets {
                let mut header = RtpHeader::parse_sealed(packet).expect("RTP");
                let length = publisher.opens.unprotect_rtp(packet, &header).expect("authentic");
                header.trim_padding(&packet[..length]).expect("no padding");
                let payload = &packet[header.payload.clone()];
                let new = NewPacket {
                    timestamp: header.timestamp,
                    marker: header.marker,
                    payload,
                    info: publisher.uplink.inspect(VideoCodec::Vp8, payload, &[]),
                    codec: 0,
                    orientation: None,
                    descriptor: &[],
                };
                let stored = publisher.uplink.receive(self.now, header.sequence, new).expect("new");
                for (forwarder, receiver) in publisher.subscribers.iter_mut().zip(&mut self.receivers) {
                    let Some(numbers) = forwarder.offer(self.now, 0, stored) else { continue };
                    let start = receiver.out.len();
                    write_copy(&mut receiver.out, forwarder.ssrc, 96, &[(2, &[1, 2, 3])], numbers, stored);
                    receiver.seals.protect_rtp(&mut receiver.out, start).expect("sealed");
                    forwarded += 1;
                }
            }
            // The server drains after each batch that it has read.
            for receiver in &mut self.receivers {
                if sends {
                    let segment = receiver.out.len() / PACKETS_PER_PICTURE;
                    let transmit = Transmit {
                        destination: receiver.to,
                        ecn: None,
                        contents: &receiver.out,
                        segment_size: Some(segment),
                        src_ip: None,
                    };
                    self.state.try_send(UdpSockRef::from(&self.socket), &transmit).expect("sent");
                }
                receiver.out.clear();
            }
        }
        forwarded
    }
}

/// Nanoseconds and allocations for each forwarded packet, and bytes of memory for each subscription.
fn measure(
    publishers: usize,
    receivers: usize,
    packets: usize,
    sends: bool,
    sinks: &[UdpSocket],
) -> [f64; 3] {
    let before = heap::so_far().bytes;
    let mut meeting = Meeting::new(publishers, receivers, sinks);
    let memory = heap::so_far().bytes - before;
    for _ in 0..WARM_PICTURES {
        let mut pictures = meeting.pictures();
        meeting.forward(&mut pictures, false);
    }
    let (mut spent, mut forwarded, mut allocations) = (Duration::ZERO, 0, 0);
    while forwarded < packets {
        let mut pictures = meeting.pictures();
        let (began, counted) = (cpu(), heap::so_far().allocations);
        forwarded += meeting.forward(&mut pictures, sends);
        allocations += heap::so_far().allocations - counted;
        spent += cpu() - began;
    }
    let each = |total: f64| total / forwarded as f64;
    [each(spent.as_nanos() as f64), each(allocations as f64), memory as f64 / (publishers * receivers) as f64]
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "QUICK" || argument == "--test");
    let packets = if is_quick { 5_000 } else { 200_000 };
    let sinks: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    println!(
        "| publishers | receivers | in memory, ns | with the socket, ns | allocations | memory, bytes |"
    );
    println!("|---|---|---|---|---|---|");
    for publishers in [1, 5, 25] {
        for receivers in [1, 5, 25, 100, 1000] {
            if is_quick && publishers * receivers > 500 {
                continue;
            }
            let [memory_ns, allocations, bytes] = measure(publishers, receivers, packets, false, &sinks);
            let [socket_ns, ..] = measure(publishers, receivers, packets, true, &sinks);
            println!(
                "| {publishers} | {receivers} | {memory_ns:.0} | {socket_ns:.0} | {allocations:.4} | {bytes:.0} |"
            );
        }
    }
}
