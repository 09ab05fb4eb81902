//! Cameras and who watches them, signaled as the server likes: the light engine's transport and packets.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_client::payload::Packetizer;
use campanile_client::transport::{PeerDescription, Received, Transport, TransportOutput};
use campanile_client::{Codec, Scalability};
use campanile_media::peer::srtp::SrtpProfile;
use campanile_media::rtcp::{self, ReceptionStats, TwccRecorder};
use campanile_media::rtp::{self, RtpHeader};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use super::{FRAMERATE, PATIENCE, SIZE, Tally, frames, row};
use crate::report::Row;
use crate::system::Meter;
use crate::{Failure, Plan};

pub(super) const OPUS: u8 = 111;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const VP8: u8 = 96;
pub(super) const MID_EXTENSION: u8 = 4;
pub(super) const TRANSPORT_WIDE_EXTENSION: u8 = 3;
/// How long the generator rests when nothing is due. It sleeps, and waits for no socket: a server that wakes who receives would
/// have that charged to it.
pub(super) const NAP: Duration = Duration::from_millis(1);

/// One end of a connection to the server, with a socket of its own.
pub(super) struct Peer {
    socket: UdpSocket,
    state: UdpSocketState,
    pub(super) transport: Transport,
    connected: bool,
    pub(super) ssrc: u32,
    streams: Vec<Stream>,
    /// How many cameras it watches.
    watches: usize,
    /// Packets on their way, where they are looked into.
    delays: Option<Vec<Duration>>,
    /// Transport-wide feedback, if it gives any.
    feedback: Option<TwccRecorder>,
}

/// What comes under one SSRC.
struct Stream {
    ssrc: u32,
    reception: ReceptionStats,
    /// Of video; sound is not counted.
    tally: Option<Tally>,
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
        let (streams, connected) = (Vec::new(), false);
        let (delays, feedback) = (None, None);
        Ok(Peer { socket, state, transport, connected, ssrc, streams, watches: 0, delays, feedback })
    }

    pub(super) fn gives_feedback(&self) -> bool {
        self.feedback.is_some()
    }

    /// Tells the server when what it numbers arrived, as browsers do, so that it estimates what the network bears and paces
    /// what it sends.
    pub(super) fn give_feedback(&mut self) {
        self.feedback = Some(TwccRecorder::new());
    }

    /// Looks into what comes last of each frame, for how long it was on its way.
    pub(super) fn follow_delays(&mut self) {
        self.delays = Some(Vec::new());
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
                    for bytes in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                        self.receive(now, &meta, bytes);
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
        if let Some(recorder) = &mut self.feedback
            && recorder.poll_timeout().is_some_and(|due| due <= now)
        {
            let media_ssrc = self.streams.first().map_or(0, |stream| stream.ssrc);
            self.transport.send_rtcp(|out| {
                recorder.build(now, self.ssrc, media_ssrc, out);
            });
        }
        self.flush()
    }

    /// Sends what waits.
    fn flush(&mut self) -> Result<(), Failure> {
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

    fn receive(&mut self, now: Instant, meta: &RecvMeta, bytes: &mut [u8]) {
        if self.transport.receive(now, meta.addr, bytes) != Received::Rtp {
            return;
        }
        let Ok(header) = RtpHeader::parse_sealed(bytes) else { return };
        if let Some(recorder) = &mut self.feedback
            && let Some(&[high, low]) = header.extension(bytes, TRANSPORT_WIDE_EXTENSION)
        {
            recorder.record(u16::from_be_bytes([high, low]), arrival(now, meta));
        }
        let at = self.streams.iter().position(|stream| stream.ssrc == header.ssrc).unwrap_or_else(|| {
            let (clock_hz, tally) =
                if header.payload_type == OPUS { (48_000, None) } else { (90_000, Some(Tally::default())) };
            let reception = ReceptionStats::new(header.ssrc, clock_hz);
            self.streams.push(Stream { ssrc: header.ssrc, reception, tally });
            self.streams.len() - 1
        });
        let stream = &mut self.streams[at];
        stream.reception.record(header.sequence, header.timestamp, now);
        let Some(tally) = &stream.tally else { return };
        tally.count(header.sequence);
        // When the kernel had it, however late we are.
        if let (Some(delays), true, Some(arrival)) = (&mut self.delays, header.marker, meta.timestamp)
            && self.transport.open_rtp(bytes, &header)
            && let Some(stamp) = bytes[..bytes.len() - SrtpProfile::AeadAes256Gcm.tag_len()].last_chunk()
        {
            delays.push(arrival.saturating_sub(Duration::from_nanos(u64::from_be_bytes(*stamp))));
        }
    }

    /// Whether all that it watches comes.
    fn sees_all(&self) -> bool {
        self.tallies().count() >= self.watches
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.streams.iter().filter_map(|stream| stream.tally.as_ref())
    }

    /// What browsers tell a sender once a second.
    fn report(&mut self, now: Instant) {
        let blocks: Vec<_> =
            self.streams.iter_mut().filter_map(|stream| stream.reception.report(now)).collect();
        let ssrc = self.ssrc;
        self.transport.send_rtcp(|out| {
            rtcp::receiver_report(out, ssrc, &blocks);
            rtcp::sdes_cname(out, ssrc, "bench");
        });
    }
}

/// When the kernel had it, however late we look.
fn arrival(now: Instant, meta: &RecvMeta) -> Instant {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let late = meta.timestamp.map_or(Duration::ZERO, |stamp| unix.saturating_sub(stamp));
    now.checked_sub(late).unwrap_or(now)
}

/// This machine's own address: Janus takes no loopback ones. Datagrams between the two stay in the kernel all the same.
pub(super) fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing: it only asks for the way to an address that is nobody's (RFC 5737).
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

/// A peer that sends video.
pub(super) struct Camera {
    pub(super) peer: Peer,
    mid: &'static str,
    packetizer: Packetizer,
    sequence: u16,
    /// Frames sent, and packets.
    frames: usize,
    packets: u64,
    next_frame: Instant,
}

impl Camera {
    /// Not connected yet; `mid` is its section of the SDP.
    pub(super) fn new(ssrc: u32, mid: &'static str) -> Result<Camera, Failure> {
        Ok(Camera {
            peer: Peer::new(ssrc)?,
            mid,
            packetizer: Packetizer::new(Codec::Vp8, Scalability::NONE, SIZE),
            sequence: 0,
            frames: 0,
            packets: 0,
            next_frame: Instant::now(),
        })
    }

    /// Sends one frame, as the light engine sends it to Campanile. In the place of its last bytes is the time at which they
    /// were sent.
    fn send(&mut self, frames: &[Vec<u8>], now: Instant) -> Result<(), Failure> {
        let frame = &frames[self.frames % frames.len()];
        let time = (self.frames as u32).wrapping_mul(90_000 / FRAMERATE);
        self.frames += 1;
        let ssrc = self.peer.ssrc;
        for mut payload in self.packetizer.packetize(frame) {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            self.packets += 1;
            if payload.marker
                && let Some(stamp) = payload.bytes.last_chunk_mut()
            {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                *stamp = (unix.as_nanos() as u64).to_be_bytes();
            }
            self.peer.transport.send_rtp(|out| {
                let extensions: [(u8, &[u8]); 1] = [(MID_EXTENSION, self.mid.as_bytes())];
                rtp::write_header(out, VP8, payload.marker, sequence, time, ssrc, &extensions);
                out.extend_from_slice(&payload.bytes);
            });
            self.peer.flush()?;
        }
        self.next_frame = (self.next_frame + Duration::from_secs(1) / FRAMERATE).max(now);
        Ok(())
    }
}

/// All peers of one run: the cameras and who watches them.
pub(super) struct Peers {
    pub(super) cameras: Vec<Camera>,
    pub(super) watchers: Vec<Peer>,
    frames: Vec<Vec<u8>>,
    next_report: Instant,
    frames_sent: u32,
    late_frames: u32,
    /// For what one read brings: the kernel glues together what comes of one sender in one go.
    buffer: Vec<u8>,
}

/// What all watchers together have received in a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) received: u64,
    pub(super) due: u64,
    /// Whether frames were sent too late, more than one in a hundred.
    pub(super) late: bool,
}

impl Peers {
    /// Empty; cameras send frames of so many bytes.
    pub(super) fn new(frame_bytes: usize) -> Peers {
        Peers {
            cameras: Vec::new(),
            watchers: Vec::new(),
            frames: frames(frame_bytes),
            next_report: Instant::now(),
            frames_sent: 0,
            late_frames: 0,
            buffer: vec![0; 1 << 16],
        }
    }

    /// Takes in a camera, which has accepted the server, and waits until it is connected and sends.
    pub(super) fn add_camera(&mut self, camera: Camera) -> Result<(), Failure> {
        self.cameras.push(camera);
        let connected = |peers: &Peers| peers.cameras.last().is_some_and(|camera| camera.peer.connected);
        self.run_until("connecting a camera", connected)
    }

    /// Takes in one more, who watches so many cameras and has accepted the server.
    pub(super) fn add_watcher(&mut self, peer: Peer, cameras: usize) -> Result<(), Failure> {
        self.watchers.push(Peer { watches: cameras, ..peer });
        self.run_until("connecting a watcher", |peers| {
            peers.watchers.last().is_some_and(|peer| peer.connected)
        })
    }

    /// Until everybody sees what they watch, and then for so long.
    pub(super) fn warm(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until("showing everybody what they watch", |peers| {
            peers.watchers.iter().all(Peer::sees_all)
        })?;
        self.run(time)
    }

    /// Counts what comes in so long.
    pub(super) fn watch(&mut self, time: Duration) -> Result<Watched, Failure> {
        self.watchers.iter().flat_map(Peer::tallies).for_each(Tally::reset);
        (self.frames_sent, self.late_frames) = (0, 0);
        self.run(time)?;
        let counts = self.watchers.iter().flat_map(Peer::tallies).map(Tally::counts);
        let (received, due) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Ok(Watched { received, due, late: self.late_frames > self.frames_sent / 100 })
    }

    /// What it costs the process `pid` to show everybody what they watch.
    pub(super) fn measure(&mut self, plan: &Plan, pid: u32) -> Result<Row, Failure> {
        self.warm(plan.warm)?;
        let meter = Meter::start(pid)?;
        let watched = self.watch(plan.measured)?;
        Ok(row(meter.stop()?, watched))
    }

    /// What the cameras have sent so far.
    pub(super) fn packets_sent(&self) -> u64 {
        self.cameras.iter().map(|camera| camera.packets).sum()
    }

    /// How long packets were on their way, of whoever looked; from then on anew.
    pub(super) fn take_delays(&mut self) -> Vec<Duration> {
        self.watchers.iter_mut().filter_map(|peer| peer.delays.as_mut()).flat_map(std::mem::take).collect()
    }

    pub(super) fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            for camera in &mut self.cameras {
                if camera.peer.connected && now >= camera.next_frame {
                    self.frames_sent += 1;
                    self.late_frames += u32::from(now > camera.next_frame + Duration::from_millis(20));
                    camera.send(&self.frames, now)?;
                }
                camera.peer.turn(now, &mut self.buffer)?;
            }
            if now >= self.next_report {
                self.next_report = now + REPORT_INTERVAL;
                self.watchers.iter_mut().for_each(|peer| peer.report(now));
            }
            self.watchers.iter_mut().try_for_each(|peer| peer.turn(now, &mut self.buffer))?;
            std::thread::sleep(NAP);
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Peers) -> bool) -> Result<(), Failure> {
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
