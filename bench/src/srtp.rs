//! Mixed audio for many over ICE, DTLS and SRTP, through the product's worker: handshakes are real, only the sockets of
//! signaling are left out (frames end in their mailboxes). The worker is a thread of this process, alone on the server's core;
//! its CPU time is the kernel's account of that thread, system calls included.
//!
//! Beside each stands the bare cost of sealing and sending to as many, since this differs from one machine, and one hour, to
//! the next. Also what five thousand meetings cost that everybody has left.

mod delay;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use campanile::worker::WorkerHandle;
use campanile_client::transport::{PeerDescription, Received, Transport, TransportOutput};
use campanile_media::peer::sdp::asks_for_dtx;
use campanile_media::peer::srtp::SrtpProfile;
use campanile_media::rtp::{self, RtpHeader};
use campanile_opus::{RestingMicrophone, SILENCE};
use tokio::runtime::Runtime;

use crate::generator::{AUDIO_LEVEL, Frame, STEPS, TICK, encode, samples};
use crate::system::{MEDIA_WORKER, Thread, open_files, pin_generator, resident};
use crate::{Failure, Plan, plain};

const OPUS: u8 = 111;
/// So many get in at once, and for so long it is waited for them.
const TOGETHER: usize = 25;
const PATIENCE: Duration = Duration::from_secs(20);
/// Those who are in already are heard of so often while others get in, or the server would give them up.
const HEARD_OF: Duration = Duration::from_secs(1);
/// A tenth of a second between looks at what ICE and DTLS have to do.
const TIMERS_TICKS: u32 = 5;
/// Meetings that everybody has left, how long the server keeps their people's places, and how long it is watched after.
const EMPTY_MEETINGS: usize = 5_000;
const GRACE: Duration = Duration::from_secs(15);
const WATCHED: Duration = Duration::from_secs(10);

struct Case {
    name: &'static str,
    meetings: usize,
    people: usize,
    talkers: usize,
    /// Whether those who are silent rest (DTX), as the server's answer asks them to and browsers do.
    rest: bool,
}

const CASES: [Case; 4] = [
    Case { name: "250 people, 3 talking", meetings: 1, people: 250, talkers: 3, rest: true },
    Case { name: "the same, of whom all send silence", meetings: 1, people: 250, talkers: 3, rest: false },
    Case { name: "10 meetings of 250, 3 talking in each", meetings: 10, people: 250, talkers: 3, rest: true },
    Case { name: "4 meetings of 250, all silent", meetings: 4, people: 250, talkers: 0, rest: true },
];

/// Measures all cases and prints them (in a short run, without the largest).
pub(crate) fn run(plan: &Plan, speech_file: &Path) -> Result<(), Failure> {
    let frames = encode(&samples(speech_file)?)?;
    // Before any other thread is there, so that all inherit it.
    pin_generator()?;
    let most = CASES.iter().map(|case| case.meetings * case.people).max();
    open_files(most.unwrap_or(0))?;
    println!(
        "| over SRTP | share of a core | per person and tick | to seal and send one alone | times as much | delivered | |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| !plan.short || case.meetings * case.people <= 1_000) {
        let mut bench = Bench::start(&frames)?;
        bench.fill(case.meetings, case.people, case.talkers)?;
        let asked = bench.people.iter().all(|person| person.rests);
        bench.people.iter_mut().for_each(|person| person.rests = case.rest);
        bench.run(plan.warm)?;
        let (before, _) = bench.thread.so_far()?;
        let began = Instant::now();
        let traffic = bench.run(plan.measured)?;
        let used = (bench.thread.so_far()?.0 - before).as_secs_f64();
        let people = bench.people.len() as f64;
        let unopened: u64 = bench.people.iter().map(|person| person.unopened).sum();
        let flaw = match () {
            () if !asked => "does not count: the server does not ask anybody to rest",
            () if unopened > 0 => "does not count: there were packets that did not open",
            () if traffic.received < traffic.due * 999 / 1_000 => "does not count: too few delivered",
            () if traffic.latest > TICK => "does not count: the generator could not keep time",
            () => "",
        };
        let (share, each) =
            (used / began.elapsed().as_secs_f64(), 1e6 * used / (people * f64::from(traffic.ticks)));
        let (delivered, bare) = (traffic.received as f64 / traffic.due as f64, bench.bare_cost()?);
        println!(
            "| {} | {:.2} % | {each:.2} µs | {bare:.2} µs | {:.2} | {:.2} % | {flaw} |",
            case.name,
            100.0 * share,
            each / bare,
            100.0 * delivered,
        );
        bench.stop();
    }
    delay::measure(plan)?;
    empty_meetings()
}

/// Measures the delay alone, and prints it.
pub(crate) fn delay(plan: &Plan) -> Result<(), Failure> {
    pin_generator()?;
    delay::measure(plan)
}

/// One server and all people of a case.
struct Bench<'a> {
    runtime: Runtime,
    worker: WorkerHandle,
    thread: Thread,
    server: SocketAddr,
    frames: &'a [Frame],
    people: Vec<Person>,
    tick: u32,
}

struct Person {
    socket: UdpSocket,
    transport: Transport,
    connected: bool,
    talks: bool,
    at: usize,
    sequence: u16,
    silence: RestingMicrophone,
    /// Whether not all of the silence is sent.
    rests: bool,
    /// One packet in so many is opened.
    opens: u16,
    /// What was opened last: when it came, and what it carried.
    heard: Vec<(Instant, Vec<u8>)>,
    /// Packets that could not be opened.
    unopened: u64,
}

/// What was to come back, and came.
#[derive(Default)]
struct Traffic {
    ticks: u32,
    /// Each is to be sent a packet each tick.
    due: u64,
    received: u64,
    /// The most that a step came after it was due.
    latest: Duration,
}

fn text(error: impl ToString) -> Failure {
    error.to_string()
}

fn local_socket() -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    Ok(socket)
}

impl<'a> Bench<'a> {
    fn start(frames: &'a [Frame]) -> Result<Bench<'a>, Failure> {
        let socket = local_socket()?;
        let server = socket.local_addr().map_err(text)?;
        let before = Thread::ids(MEDIA_WORKER)?;
        let worker = plain::start(socket, false, 8);
        let thread = Thread::pinned(MEDIA_WORKER, &before)?;
        // Its one thread empties the mailboxes.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(text)?;
        Ok(Bench { runtime, worker, thread, server, frames, people: Vec::new(), tick: 0 })
    }

    /// So many people in each of so many meetings, until all media paths stand.
    fn fill(&mut self, meetings: usize, people: usize, talkers: usize) -> Result<(), Failure> {
        let mut heard_of = Instant::now();
        for number in 0..meetings * people {
            self.join(number / people, number % people < talkers)?;
            if self.people.len().is_multiple_of(TOGETHER) {
                self.connect()?;
                if heard_of.elapsed() > HEARD_OF {
                    self.run(TICK)?;
                    heard_of = Instant::now();
                }
            }
        }
        self.connect()
    }

    /// One more person joins.
    fn join(&mut self, meeting: usize, talks: bool) -> Result<(), Failure> {
        let socket = local_socket()?;
        socket.connect(self.server).map_err(text)?;
        socket.set_nonblocking(true).map_err(text)?;
        let local = socket.local_addr().map_err(text)?;
        let number = self.people.len();
        let transport = Transport::new(Instant::now(), local)?;
        let mut person = Person {
            socket,
            transport,
            connected: false,
            talks,
            at: 61 * number % self.frames.len(),
            sequence: 0,
            silence: RestingMicrophone::default(),
            rests: false,
            opens: 100,
            heard: Vec::new(),
            unopened: 0,
        };
        let offer = person.offer(number as u32);
        let answer = self.runtime.block_on(plain::join(&self.worker, meeting, number, offer));
        person.transport.accept(Instant::now(), &PeerDescription::parse(&answer))?;
        person.rests = asks_for_dtx(&answer);
        // People do not all fall silent at the same moment.
        for _ in 0..number % 50 {
            person.silence.next_packet();
        }
        self.people.push(person);
        Ok(())
    }

    /// Waits until the media paths of all who have joined stand.
    fn connect(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let mut waiting = 0;
            for person in self.people.iter_mut().filter(|person| !person.connected) {
                person.receive()?;
                person.transport.handle_timeout(Instant::now());
                person.flush()?;
                waiting += usize::from(!person.connected);
            }
            match waiting {
                0 => return Ok(()),
                _ if begun.elapsed() > PATIENCE => return Err(format!("{waiting} people did not get in")),
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Lets them talk for so long.
    fn run(&mut self, time: Duration) -> Result<Traffic, Failure> {
        let mut traffic =
            Traffic { ticks: (time.as_millis() / TICK.as_millis()) as u32, ..Traffic::default() };
        let start = Instant::now();
        for tick in 0..traffic.ticks {
            for step in 0..STEPS {
                let due = start + TICK * tick + TICK * step as u32 / STEPS as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                for person in self.people.iter_mut().skip(step).step_by(STEPS) {
                    let Frame { payload, level_db } = &self.frames[person.at];
                    person.at = (person.at + 1) % self.frames.len();
                    if person.talks {
                        person.send_next(self.tick, *level_db, payload)?;
                    } else {
                        person.send_silence(self.tick)?;
                    }
                    traffic.due += 1;
                    traffic.received += person.receive()?;
                    if self.tick.is_multiple_of(TIMERS_TICKS) {
                        person.transport.handle_timeout(Instant::now());
                    }
                    person.flush()?;
                }
                traffic.latest = traffic.latest.max(due.elapsed());
            }
            self.tick += 1;
        }
        Ok(traffic)
    }

    /// Whoever looks after the people goes first, so that nobody complains of the server's going.
    fn stop(self) {
        drop(self.runtime);
        self.worker.stop();
    }

    /// Microseconds to seal 20 ms of silence for one person and send it by one system call.
    fn bare_cost(&mut self) -> Result<f64, Failure> {
        const ROUNDS: u32 = 100;
        let cpu = || {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").map_err(text)?;
            let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
            Ok::<_, Failure>(Duration::from_nanos(nanos.ok_or("no schedstat")?))
        };
        let before = cpu()?;
        for _ in 0..ROUNDS {
            for person in &mut self.people {
                person.send_next(self.tick, 127, &SILENCE)?;
                person.flush()?;
            }
            self.tick += 1;
        }
        let sends = self.people.len() as u32 * ROUNDS;
        Ok((cpu()? - before).as_secs_f64() * 1e6 / f64::from(sends))
    }
}

impl Person {
    fn offer(&self, ssrc: u32) -> String {
        let (local, transport) = (self.transport.local(), self.transport.sdp_lines("actpass"));
        let (ip, port) = (local.ip(), local.port());
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio {port} UDP/TLS/RTP/SAVPF {OPUS}\r\nc=IN IP4 {ip}\r\n\
             a=candidate:1 1 udp 2122260223 {ip} {port} typ host generation 0\r\n{transport}a=mid:0\r\n\
             a=extmap:{AUDIO_LEVEL} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\n\
             a=msid:audio microphone\r\na=rtcp-mux\r\na=rtpmap:{OPUS} opus/48000/2\r\n\
             a=fmtp:{OPUS} minptime=10;useinbandfec=1\r\na=ssrc:{ssrc} cname:bench\r\n",
            ssrc = ssrc + 1
        )
    }

    fn send_next(&mut self, tick: u32, level_db: u8, payload: &[u8]) -> Result<(), Failure> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.send(sequence, tick, level_db, payload)
    }

    fn send(&mut self, sequence: u16, tick: u32, level_db: u8, payload: &[u8]) -> Result<(), Failure> {
        let sent = self.transport.send_rtp(|out| {
            let level: [(u8, &[u8]); 1] = [(AUDIO_LEVEL, &[level_db])];
            rtp::write_header(out, OPUS, sequence == 0, sequence, tick * 960, 7, &level);
            out.extend_from_slice(payload);
        });
        if sent { Ok(()) } else { Err("a packet could not be sealed".into()) }
    }

    /// What there is to send of 20 ms of silence.
    fn send_silence(&mut self, tick: u32) -> Result<(), Failure> {
        let packet = self.silence.next_packet();
        let packet = if self.rests { packet } else { Some(&SILENCE[..]) };
        packet.map_or(Ok(()), |packet| self.send_next(tick, 127, packet))
    }

    /// Sends what waits.
    fn flush(&mut self) -> Result<(), Failure> {
        while let Some(output) = self.transport.poll() {
            match output {
                // What the kernel has no room for is lost, and shows in what is delivered.
                TransportOutput::Transmit { bytes, .. } => drop(self.socket.send(&bytes)),
                TransportOutput::Connected => self.connected = true,
                TransportOutput::Failed(why) => return Err(why.into()),
            }
        }
        Ok(())
    }

    /// Takes what has come, and returns how many packets of audio that was.
    fn receive(&mut self) -> Result<u64, Failure> {
        self.heard.clear();
        let (mut count, mut buffer) = (0, [0; 2048]);
        loop {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(text(error)),
            };
            let bytes = &mut buffer[..length];
            if self.transport.receive(Instant::now(), from, bytes) != Received::Rtp {
                continue;
            }
            count += 1;
            let Ok(header) = RtpHeader::parse_sealed(bytes) else { continue };
            // Until the handshake is through there is nothing to open with.
            if !self.connected || !header.sequence.is_multiple_of(self.opens) {
                continue;
            }
            if !self.transport.open_rtp(bytes, &header) {
                self.unopened += 1;
                continue;
            }
            let payload = header.header_len..length - SrtpProfile::AeadAes256Gcm.tag_len();
            self.heard.push((Instant::now(), buffer[payload].to_vec()));
        }
    }
}

/// What thousands of meetings cost that everybody has left.
fn empty_meetings() -> Result<(), Failure> {
    let socket = local_socket()?;
    let before = Thread::ids(MEDIA_WORKER)?;
    let worker = plain::start(socket, true, 8);
    let thread = Thread::pinned(MEDIA_WORKER, &before)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    let before = resident()?;
    for meeting in 0..EMPTY_MEETINGS {
        runtime.block_on(plain::come_and_go(&worker, meeting));
    }
    std::thread::sleep(GRACE);
    let ((cpu, sleeps), resident_after) = (thread.so_far()?, resident()?);
    std::thread::sleep(WATCHED);
    let (cpu_after, sleeps_after) = thread.so_far()?;
    println!(
        "\n{EMPTY_MEETINGS} meetings that everybody has left: {} wake-ups and {:.3} ms of CPU in {} s; {} KiB more in use than before.",
        sleeps_after - sleeps,
        (cpu_after - cpu).as_secs_f64() * 1e3,
        WATCHED.as_secs(),
        resident_after.saturating_sub(before) / 1024
    );
    worker.stop();
    Ok(())
}
