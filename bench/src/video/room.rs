//! The camera and its watchers for a server that is not ours: the light engine's transport and packets, signaled as the
//! server likes.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_client::payload::Packetizer;
use campanile_client::transport::{PeerDescription, Received, Transport, TransportOutput};
use campanile_client::{Codec, Scalability};
use campanile_media::rtcp::{self, ReceptionStats};
use campanile_media::rtp::{self, RtpHeader};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use super::{FRAMERATE, PATIENCE, SIZE, Tally, frames, row};
use crate::report::Row;
use crate::system::Meter;
use crate::{Failure, Plan};

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const VP8: u8 = 96;
pub(super) const MID_EXTENSION: u8 = 4;
/// How long the generator rests when nothing is due.
const NAP: Duration = Duration::from_millis(1);

/// One end of a connection to the server, with a socket of its own.
pub(super) struct Peer {
    socket: UdpSocket,
    state: UdpSocketState,
    pub(super) transport: Transport,
    connected: bool,
    pub(super) ssrc: u32,
    reception: Option<ReceptionStats>,
    tally: Arc<Tally>,
}

impl Peer {
    pub(super) fn new(ssrc: u32) -> Result<Peer, Failure> {
        let bound = || {
            let socket = UdpSocket::bind((own_address()?, 0))?;
            let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
            let local = socket.local_addr()?;
            Ok::<_, std::io::Error>((socket, state, local))
        };
        let (socket, state, local) = bound().map_err(|error| error.to_string())?;
        let transport = Transport::new(Instant::now(), local)?;
        let tally = Arc::new(Tally::default());
        Ok(Peer { socket, state, transport, connected: false, ssrc, reception: None, tally })
    }

    /// Takes in how to reach the server.
    pub(super) fn accept(&mut self, sdp: &str) -> Result<(), Failure> {
        self.transport.accept(Instant::now(), &PeerDescription::parse(sdp))
    }

    /// Takes what has come and sends what is to be sent.
    fn turn(&mut self, now: Instant, buffer: &mut [u8]) -> Result<(), Failure> {
        loop {
            let (mut slices, mut metas) = ([IoSliceMut::new(buffer)], [RecvMeta::default()]);
            match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
                Ok(_) => {
                    let [meta] = metas;
                    for bytes in buffer[..meta.len].chunks(meta.stride.max(1)) {
                        self.receive(now, meta.addr, bytes);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What ICMP tells of an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if self.transport.poll_timeout().is_some_and(|due| due <= now) {
            self.transport.handle_timeout(now);
        }
        while let Some(output) = self.transport.poll() {
            match output {
                TransportOutput::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                TransportOutput::Connected => self.connected = true,
                TransportOutput::Failed(why) => {
                    return Err(format!("a connection to the server failed: {why}"));
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if self.transport.receive(now, from, bytes) == Received::Rtp
            && let Ok(header) = RtpHeader::parse_sealed(bytes)
        {
            self.tally.count(header.sequence);
            let reception = self.reception.get_or_insert_with(|| ReceptionStats::new(header.ssrc, 90_000));
            reception.record(header.sequence, header.timestamp, now);
        }
    }

    /// What browsers tell a sender once a second.
    fn report(&mut self, now: Instant) {
        let blocks: Vec<_> =
            self.reception.as_mut().and_then(|stats| stats.report(now)).into_iter().collect();
        let ssrc = self.ssrc;
        self.transport.send_rtcp(|out| {
            rtcp::receiver_report(out, ssrc, &blocks);
            rtcp::sdes_cname(out, ssrc, "bench");
        });
    }
}

/// This machine's own address: Janus takes no loopback ones. Datagrams between the two stay in the kernel all the same.
pub(super) fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing: it only asks for the way to an address that is nobody's (RFC 5737).
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

/// All peers of one run: the camera and who watches it.
pub(super) struct Room {
    pub(super) camera: Peer,
    watchers: Vec<Peer>,
    packetizer: Packetizer,
    frames: Vec<Vec<u8>>,
    sequence: u16,
    number: usize,
    next_frame: Instant,
    next_report: Instant,
    late_frames: u32,
    /// For what one read brings: the kernel glues together what comes of one sender in one go.
    buffer: Vec<u8>,
}

impl Room {
    /// A camera under SSRC 1, not connected yet.
    pub(super) fn new() -> Result<Room, Failure> {
        let now = Instant::now();
        Ok(Room {
            camera: Peer::new(1)?,
            watchers: Vec::new(),
            packetizer: Packetizer::new(Codec::Vp8, Scalability::NONE, SIZE),
            frames: frames(),
            sequence: 0,
            number: 0,
            next_frame: now,
            next_report: now,
            late_frames: 0,
            buffer: vec![0; 1 << 16],
        })
    }

    /// Until the camera, which has accepted the server, is connected and sends.
    pub(super) fn connect_camera(&mut self) -> Result<(), Failure> {
        self.run_until("connecting the camera", |room| room.camera.connected)
    }

    /// Takes in one more who watches, and has accepted the server.
    pub(super) fn add_watcher(&mut self, peer: Peer) -> Result<(), Failure> {
        self.watchers.push(peer);
        self.run_until("connecting a watcher", |room| room.watchers.last().is_some_and(|peer| peer.connected))
    }

    /// What it costs the process `pid` to show the camera to all.
    pub(super) fn measure(&mut self, plan: &Plan, pid: u32) -> Result<Row, Failure> {
        self.run_until("showing the camera to all", |room| {
            room.watchers.iter().all(|peer| peer.tally.counts().0 > 0)
        })?;
        self.run(plan.warm)?;
        let tallies: Vec<Arc<Tally>> = self.watchers.iter().map(|peer| peer.tally.clone()).collect();
        tallies.iter().for_each(|tally| tally.reset());
        self.late_frames = 0;
        let meter = Meter::start(pid)?;
        self.run(plan.measured)?;
        let used = meter.stop()?;
        let frames = used.elapsed.as_secs_f64() * f64::from(FRAMERATE);
        Ok(row(used, &tallies, f64::from(self.late_frames) > frames / 100.0))
    }

    fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if self.camera.connected && now >= self.next_frame {
                self.late_frames += u32::from(now > self.next_frame + Duration::from_millis(20));
                self.next_frame = (self.next_frame + Duration::from_secs(1) / FRAMERATE).max(now);
                self.send_frame();
            }
            if now >= self.next_report {
                self.next_report = now + REPORT_INTERVAL;
                self.watchers.iter_mut().for_each(|peer| peer.report(now));
            }
            self.camera.turn(now, &mut self.buffer)?;
            self.watchers.iter_mut().try_for_each(|peer| peer.turn(now, &mut self.buffer))?;
            std::thread::sleep(NAP);
        }
    }

    /// As the light engine sends it to Campanile.
    fn send_frame(&mut self) {
        let frame = &self.frames[self.number % self.frames.len()];
        let time = (self.number as u32).wrapping_mul(90_000 / FRAMERATE);
        self.number += 1;
        let ssrc = self.camera.ssrc;
        for payload in self.packetizer.packetize(frame) {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            self.camera.transport.send_rtp(|out| {
                let extensions: [(u8, &[u8]); 1] = [(MID_EXTENSION, b"0")];
                rtp::write_header(out, VP8, payload.marker, sequence, time, ssrc, &extensions);
                out.extend_from_slice(&payload.bytes);
            });
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Room) -> bool) -> Result<(), Failure> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} takes too long"));
            }
            self.run(Duration::from_millis(20))?;
        }
        Ok(())
    }
}
