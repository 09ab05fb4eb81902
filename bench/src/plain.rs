//! The worker of the product in this process, and sessions without sockets that join, publish and subscribe. People may take
//! part over bare RTP, as AudioBridge's plain participants do, without ICE, DTLS and SRTP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile::worker::{self, Mailbox, ToSocket, WorkerConfig, WorkerHandle};
use campanile_media::peer::Certificate;
use campanile_media::peer::sdp::{Candidates, Direction, PlainSection, SectionKind, plain_offer};
use campanile_meeting::ids::SessionId;
use campanile_meeting::service::{Limits, ServiceConfig};
use campanile_wire::signaling::{ClientFrame, Sdp, ServerFrame, Subscribe, decode_server};

use crate::hall;

/// As often as a client's.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Prints the media port when all have joined, and runs until standard input ends.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(meetings: usize, people: usize, voices: usize, first_port: u16) -> ExitCode {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let media_address = socket.local_addr().expect("bound");
    let worker = start(socket, true, voices);
    for number in 0..meetings * people {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + number as u16));
        let audio = PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv);
        join(&worker, number / people, number, plain_offer(addr, &[audio])).await;
    }
    println!("{}", media_address.port());
    // The end of standard input, wherever that comes from.
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let _ = ended.await;
    worker.stop();
    ExitCode::SUCCESS
}

/// A worker as the product starts it, which also takes people over bare RTP if that is allowed.
pub(crate) fn start(socket: UdpSocket, allow_plain: bool, voices: usize) -> WorkerHandle {
    let media_address = socket.local_addr().expect("bound");
    worker::start(WorkerConfig {
        socket,
        listener: None,
        service: ServiceConfig {
            certificate: Certificate::generate().expect("a key can be made"),
            candidates: Candidates { udp: Some(media_address), tcp: None },
            allow_plain,
            limits: Limits { voices, ..Limits::default() },
        },
        seed: [5; 32],
        expected: BTreeMap::new(),
        events: tokio::sync::mpsc::unbounded_channel().0,
    })
    .expect("a worker")
}

/// Person number so-and-so joins with this offer of sound, and is looked after from then on. Returns the answer.
pub(crate) async fn join(worker: &WorkerHandle, meeting: usize, number: usize, offer: String) -> String {
    let (session, mailbox) = connect(worker, meeting, number).await;
    subscribe(worker, session, mailbox, hall::subscription(offer, false, &[])).await
}

/// Until whoever has come in is told of so many cameras; which.
pub(crate) async fn cameras(mailbox: &mut Mailbox, count: usize) -> Vec<u32> {
    loop {
        if let ServerFrame::Index(index) = next_frame(mailbox).await
            && index.sources.len() == count
        {
            break index.sources.iter().map(|source| source.stream_id).collect();
        }
    }
}

/// The second thing that somebody says, who is looked after from then on. Returns the answer.
pub(crate) async fn subscribe(
    worker: &WorkerHandle,
    session: SessionId,
    mut mailbox: Mailbox,
    wanted: Subscribe,
) -> String {
    worker.frame(session, ClientFrame::Subscribe(Box::new(wanted))).await;
    let answer = loop {
        match next_frame(&mut mailbox).await {
            ServerFrame::SubscribeAck(ack) => match ack.sdp {
                Sdp::Plain(answer) => break answer,
                Sdp::Deflated(_) => panic!("nobody has asked for a compressed answer"),
            },
            ServerFrame::Error { status, description, .. } => panic!("{status} {description}"),
            _ => {}
        }
    };
    tokio::spawn(attend(worker.clone(), session, mailbox));
    answer
}

async fn next_frame(mailbox: &mut Mailbox) -> ServerFrame {
    let Some(ToSocket::Frame(bytes)) = mailbox.recv().await else { panic!("turned away") };
    decode_server(&bytes).expect("our own frame")
}

/// The one person of a meeting joins, and their connection breaks.
pub(crate) async fn come_and_go(worker: &WorkerHandle, meeting: usize) {
    let (session, _) = connect(worker, meeting, meeting).await;
    worker.disconnected(session).await;
}

/// Comes with a token and sends JOIN.
pub(crate) async fn connect(worker: &WorkerHandle, meeting: usize, number: usize) -> (SessionId, Mailbox) {
    let (session, mailbox) = worker.connect(hall::admission(meeting, number));
    worker.frame(session, hall::join(number)).await;
    (session, mailbox)
}

/// Reads what comes, and pings.
async fn attend(worker: WorkerHandle, session: SessionId, mut mailbox: Mailbox) {
    let mut next_ping = Instant::now() + PING_INTERVAL;
    let mut id = 0;
    loop {
        let left = next_ping.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, mailbox.recv()).await {
            Ok(Some(ToSocket::Frame(_))) => {}
            Ok(other) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                panic!("{session:?} was let go at {since:?}: {other:?}");
            }
            Err(_) => {
                id += 1;
                worker.frame(session, ClientFrame::Ping { id }).await;
                next_ping += PING_INTERVAL;
            }
        }
    }
}
