//! A client that does what it is told: real sockets, real handshakes, and whatever bytes a test wants to send in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_client::JoinInfo;
use campanile_media::peer::srtp::{DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender, from_dtls};
use campanile_media::rtp;
use campanile_wire::signaling::{
    Adaption, ClientDetails, ClientFrame, Duplex, Join, MediaType, Sdp, ServerFrame, StreamDescriptor,
    Subscribe, decode_server,
};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Uri;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::PATIENCE;
use crate::forge::{
    BINDING_REQUEST, BINDING_SUCCESS, OPUS, RED, UFRAG, attribute, identity, offer, random, stun,
};

/// How often an unanswered datagram is sent again; loopback loses little, but a busy machine does.
const AGAIN: Duration = Duration::from_millis(200);

/// A ClientHello as this machine's DTLS begins.
pub(crate) fn client_hello() -> Vec<u8> {
    let mut dtls = Dtls::new();
    dtls.step(None).first().expect("a handshake begins with a ClientHello").clone()
}

/// The client's half of a DTLS association.
struct Dtls {
    dtls: dimpl::Dtls,
    buffer: Vec<u8>,
    keys: Option<(SrtpSender, SrtpReceiver)>,
}

impl Dtls {
    fn new() -> Dtls {
        let mut dtls =
            dimpl::Dtls::new_12(Arc::new(dimpl::Config::default()), identity().clone(), Instant::now());
        dtls.set_active(true);
        Dtls { dtls, buffer: vec![0; 64 * 1024], keys: None }
    }

    /// What is to be sent after this datagram, or after time has passed.
    fn step(&mut self, datagram: Option<&[u8]>) -> Vec<Vec<u8>> {
        let _ = self.dtls.handle_timeout(Instant::now());
        if let Some(datagram) = datagram {
            let _ = self.dtls.handle_packet(datagram);
        }
        let mut out = Vec::new();
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                dimpl::Output::Packet(packet) => out.push(packet.to_vec()),
                dimpl::Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        _ => SrtpProfile::AesCm128HmacSha1_80,
                    };
                    self.keys = from_dtls(profile, &material, DtlsRole::Client).ok();
                }
                dimpl::Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }
}

pub(crate) struct Attacker {
    info: JoinInfo,
    socket: WebSocketStream<TcpStream>,
    pub(crate) udp: UdpSocket,
    /// The server's, once an answer has told.
    pub(crate) media: SocketAddr,
    ufrag: String,
    password: String,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    sequence: u16,
}

impl Attacker {
    /// Opens the signaling socket, and no more.
    pub(crate) async fn connect(info: &JoinInfo) -> Attacker {
        Attacker::connect_over(info, TcpStream::connect(address(info)).await.expect("the door is open")).await
    }

    async fn connect_over(info: &JoinInfo, stream: TcpStream) -> Attacker {
        let url = format!("{}?X-Chime-Control-Protocol-Version=3", info.signaling_url);
        let mut request = url.into_client_request().unwrap();
        let protocols = format!("_aws_wt_session, {}", info.join_token.0);
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let (socket, _) = client_async(request, stream).await.expect("the handshake succeeds");
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Attacker {
            info: info.clone(),
            socket,
            media: udp.local_addr().unwrap(),
            udp,
            ufrag: String::new(),
            password: String::new(),
            srtp: None,
            sequence: 1000,
        }
    }

    /// In the meeting, with signaling only.
    pub(crate) async fn join(info: &JoinInfo) -> Attacker {
        Attacker::connect(info).await.joined().await
    }

    /// The same, over a connection that holds little of what is not read: small segments, small buffers at both ends.
    pub(crate) async fn join_through_a_straw(info: &JoinInfo) -> Attacker {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address(info).into()).expect("the door is open");
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into()).unwrap();
        Attacker::connect_over(info, stream).await.joined().await
    }

    async fn joined(mut self) -> Attacker {
        self.say(&join_frame()).await;
        self.expect("INDEX", |frame| matches!(frame, ServerFrame::Index(_)).then_some(())).await;
        self
    }

    /// In the meeting, its offer answered: the server waits for its checks.
    pub(crate) async fn subscribe(info: &JoinInfo) -> Attacker {
        let mut attacker = Attacker::join(info).await;
        let offer = offer(attacker.udp.local_addr().unwrap().port());
        let answer = attacker.offer(offer).await.expect("a good offer is answered");
        let value = |name: &str| {
            answer.lines().find_map(|line| line.strip_prefix(name)).expect("every answer has it").to_owned()
        };
        (attacker.ufrag, attacker.password) = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        let candidate =
            answer.lines().find(|line| line.starts_with("a=candidate:") && line.contains(" udp "));
        let words: Vec<_> = candidate.expect("a UDP candidate").split(' ').collect();
        attacker.media = format!("{}:{}", words[4], words[5]).parse().unwrap();
        attacker
    }

    /// In the meeting, with keys: the server believes what it seals.
    pub(crate) async fn enter(info: &JoinInfo) -> Attacker {
        let mut attacker = Attacker::subscribe(info).await;
        assert!(attacker.check().await, "a good check is answered");
        assert!(attacker.handshake().await, "a good handshake ends");
        attacker
    }

    // ---- signaling ----

    pub(crate) async fn say(&mut self, frame: &ClientFrame) {
        self.say_bytes(frame.encode(1)).await;
    }

    /// An error once the connection is gone.
    pub(crate) async fn try_say(&mut self, frame: &ClientFrame) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::Binary(frame.encode(1).into())).await
    }

    pub(crate) async fn say_bytes(&mut self, bytes: Vec<u8>) {
        let _ = self.socket.send(Message::Binary(bytes.into())).await;
    }

    /// The first frame that `wanted` makes something of.
    async fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(ServerFrame) -> Option<T>) -> T {
        let search = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some(found) = decode_server(&bytes).ok().and_then(&mut wanted) {
                            return found;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => panic!("no {what} but a close: {frame:?}"),
                    Some(Ok(_)) => {}
                    other => panic!("no {what} but {other:?}"),
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    /// The code by which the server closes.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let search = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(_)) => {}
                    other => panic!("no close frame but {other:?}"),
                }
            }
        };
        timeout(PATIENCE, search).await.expect("a close")
    }

    /// All that is said in words from now until the close, and the close's own.
    pub(crate) async fn last_words(&mut self) -> String {
        let mut words = String::new();
        let search = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Ok(ServerFrame::Error { description, .. }) = decode_server(&bytes) {
                            words += &description;
                        }
                    }
                    Some(Ok(Message::Close(Some(frame)))) => return words += &frame.reason,
                    Some(Ok(_)) => {}
                    other => panic!("no close frame but {other:?}"),
                }
            }
        };
        timeout(PATIENCE, search).await.expect("a close");
        words
    }

    /// What is said to an offer that is refused.
    pub(crate) async fn refusal_of(&mut self, sdp: String) -> String {
        self.ask(sdp).await;
        self.last_words().await
    }

    /// The answer to this offer, or the status of the error.
    pub(crate) async fn offer(&mut self, sdp: String) -> Result<String, u32> {
        self.ask(sdp).await;
        self.expect("answer", |frame| match frame {
            ServerFrame::SubscribeAck(ack) => match ack.sdp {
                Sdp::Plain(sdp) => Some(Ok(sdp)),
                Sdp::Deflated(_) => panic!("compression was not agreed on"),
            },
            ServerFrame::Error { status, .. } => Some(Err(status)),
            _ => None,
        })
        .await
    }

    /// SUBSCRIBE with this offer, whatever the answer.
    pub(crate) async fn ask(&mut self, sdp: String) {
        let camera = StreamDescriptor {
            stream_id: 2,
            group_id: 2,
            framerate: 15,
            max_bitrate_kbps: 600,
            avg_bitrate_bps: 400_000,
            track_label: "AmazonChimeExpressVideo".into(),
            attendee_id: self.info.attendee_id.clone(),
            external_user_id: String::new(),
            media_type: MediaType::Video,
            width: 0,
            height: 0,
        };
        let subscribe = Subscribe {
            duplex: Duplex::Both,
            send_streams: vec![camera],
            receive_stream_ids: vec![0],
            sdp: Sdp::Plain(sdp),
            audio_host: self.info.audio_host_url.clone(),
            audio_muted: false,
            video_subscriptions: Vec::new(),
        };
        self.say(&ClientFrame::Subscribe(Box::new(subscribe))).await;
    }

    // ---- datagrams ----

    pub(crate) async fn send(&self, bytes: &[u8]) {
        let _ = self.udp.send_to(bytes, self.media).await;
    }

    /// The next datagram that `wanted` makes something of, or `None` when a while has passed without one.
    async fn wait<T>(&mut self, mut wanted: impl FnMut(&mut Attacker, &mut [u8]) -> Option<T>) -> Option<T> {
        let search = async {
            let mut buffer = [0; 2048];
            loop {
                let Ok((length, _)) = self.udp.recv_from(&mut buffer).await else { continue };
                if let Some(found) = wanted(self, &mut buffer[..length]) {
                    return found;
                }
            }
        };
        timeout(AGAIN, search).await.ok()
    }

    /// The attributes of a good check.
    pub(crate) fn username(&self) -> String {
        format!("{}:{UFRAG}", self.ufrag)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// A check as browsers make it, with more attributes if need be.
    pub(crate) fn good_check(&self, more: &[(u16, &[u8])]) -> Vec<u8> {
        let username = self.username();
        let mut attributes: Vec<(u16, &[u8])> = vec![
            (attribute::USERNAME, username.as_bytes()),
            (attribute::PRIORITY, &[0x6e, 0x7f, 0x1e, 0xff]),
            (attribute::ICE_CONTROLLING, &[1; 8]),
            (attribute::USE_CANDIDATE, &[]),
        ];
        attributes.extend_from_slice(more);
        stun(BINDING_REQUEST, &attributes, Some(&self.password))
    }

    /// What a datagram is answered with in STUN, if it is.
    pub(crate) async fn stun_answer(&mut self, request: &[u8]) -> Option<u16> {
        self.send(request).await;
        self.wait(|_, bytes| {
            let same = bytes.len() >= 20 && bytes[8..20] == request[8..20];
            same.then(|| u16::from_be_bytes([bytes[0], bytes[1]]))
        })
        .await
    }

    /// Whether the server answers a good check: the session lives.
    pub(crate) async fn check(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let request = self.good_check(&[]);
            if self.stun_answer(&request).await == Some(BINDING_SUCCESS) {
                return true;
            }
        }
        false
    }

    /// Whether a DTLS handshake comes to its end.
    pub(crate) async fn handshake(&mut self) -> bool {
        let mut dtls = Dtls::new();
        let mut out = dtls.step(None);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            for datagram in out.drain(..) {
                self.send(&datagram).await;
            }
            let received = self.wait(|_, bytes| (20..64).contains(&bytes[0]).then(|| bytes.to_vec())).await;
            out = dtls.step(received.as_deref());
            if dtls.keys.is_some() {
                // The last flight is the server's, so there is nothing left to send.
                self.srtp = dtls.keys.take();
                for datagram in out.drain(..) {
                    self.send(&datagram).await;
                }
                return true;
            }
        }
        false
    }

    /// Whether any DTLS comes back for this datagram.
    pub(crate) async fn dtls_answer(&mut self, datagram: &[u8]) -> bool {
        self.send(datagram).await;
        self.wait(|_, bytes| (20..64).contains(&bytes[0]).then_some(())).await.is_some()
    }

    /// Whether sound still comes: the server still sends to this session, sealed with its keys.
    pub(crate) async fn hears(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let heard = self
                .wait(|attacker, bytes| {
                    let header = rtp::RtpHeader::parse_sealed(bytes).ok()?;
                    let (_, receiver) = attacker.srtp.as_mut()?;
                    (bytes[1] & 0x7f == OPUS || bytes[1] & 0x7f == RED)
                        .then(|| receiver.unprotect_rtp(bytes, &header).is_ok())
                })
                .await;
            if heard == Some(true) {
                return true;
            }
        }
        false
    }

    /// One RTP packet, as the header's writer makes it, in plaintext.
    pub(crate) fn packet(&mut self, payload_type: u8, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        rtp::write_header(
            &mut out,
            payload_type,
            false,
            self.sequence,
            u32::from(self.sequence) * 960,
            ssrc,
            &[],
        );
        out.extend_from_slice(payload);
        out
    }

    /// Sealed with this session's keys; what cannot be sealed goes as it is.
    pub(crate) fn sealed(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if let Some((sender, _)) = &mut self.srtp {
            let _ = sender.protect_rtp(&mut packet, 0);
        }
        packet
    }

    pub(crate) fn sealed_rtcp(&mut self, mut compound: Vec<u8>) -> Vec<u8> {
        if let Some((sender, _)) = &mut self.srtp {
            let _ = sender.protect_rtcp(&mut compound, 0);
        }
        compound
    }

    pub(crate) async fn send_rtp(&mut self, payload_type: u8, ssrc: u32, payload: &[u8]) {
        let packet = self.packet(payload_type, ssrc, payload);
        let sealed = self.sealed(packet);
        self.send(&sealed).await;
    }

    pub(crate) async fn send_rtcp(&mut self, compound: Vec<u8>) {
        let sealed = self.sealed_rtcp(compound);
        self.send(&sealed).await;
    }
}

/// Where an invitation's signaling is.
fn address(info: &JoinInfo) -> SocketAddr {
    let url: Uri = info.signaling_url.parse().expect("a URL");
    url.authority().expect("with a host").as_str().parse().expect("that is an address")
}

pub(crate) fn join_frame() -> ClientFrame {
    ClientFrame::Join(Join {
        protocol_version: 2,
        flags: 2,
        client: ClientDetails::default(),
        audio_session_id: Some(u64::from(u32::from_be_bytes(random()))),
        wants_compressed_sdp: false,
        adaption: Adaption::Default,
        supported_adaptions: Vec::new(),
        wants_all_temporal_layers: false,
        disable_periodic_keyframes: false,
        max_videos: None,
    })
}
