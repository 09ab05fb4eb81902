//! A client that does what it is told: real sockets, real handshakes, and whatever bytes a test wants to send in between.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, hmac, rand};
use campanile_client::JoinInfo;
use campanile_media::peer::srtp::{DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender, from_dtls};
use campanile_media::rtp;
use campanile_wire::signaling::{
    Adaption, ClientDetails, ClientFrame, Duplex, Join, MediaType, Sdp, ServerFrame, StreamDescriptor,
    Subscribe, decode_server,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;

pub(crate) const OPUS: u8 = 111;
pub(crate) const RED: u8 = 63;
pub(crate) const VP8: u8 = 96;
pub(crate) const H264: u8 = 102;
pub(crate) const AUDIO_SSRC: u32 = 0x0a0a_0a0a;
pub(crate) const VIDEO_SSRC: u32 = 0x0b0b_0b0b;

const UFRAG: &str = "evil";
const PASSWORD: &str = "attackers-need-passwords-too";
/// RFC 8489 section 5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// How often an unanswered datagram is sent again; loopback loses little, but a busy machine does.
const AGAIN: Duration = Duration::from_millis(200);

/// STUN attributes (RFC 8489 section 18.3, RFC 8445 section 16.1).
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const PRIORITY: u16 = 0x0024;
    pub(crate) const USE_CANDIDATE: u16 = 0x0025;
    pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
    pub(crate) const ICE_CONTROLLING: u16 = 0x802a;
    /// draft-thatcher-ice-renomination.
    pub(crate) const NOMINATION: u16 = 0xc001;
}

pub(crate) const BINDING_REQUEST: u16 = 0x0001;
pub(crate) const BINDING_INDICATION: u16 = 0x0011;
pub(crate) const BINDING_SUCCESS: u16 = 0x0101;
pub(crate) const BINDING_ERROR: u16 = 0x0111;

/// A STUN message as RFC 8489 has it, but with any attributes; sealed with `key`, if there is one.
pub(crate) fn stun(kind: u16, attributes: &[(u16, &[u8])], key: Option<&str>) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(&random::<12>());
    for (name, value) in attributes {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    if let Some(key) = key {
        // The length counts the attribute that is about to be added.
        set_length(&mut out, 24);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        let seal = hmac::sign(&key, &out);
        out.extend_from_slice(&attribute::MESSAGE_INTEGRITY.to_be_bytes());
        out.extend_from_slice(&20_u16.to_be_bytes());
        out.extend_from_slice(seal.as_ref());
    }
    set_length(&mut out, 0);
    out
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("random numbers");
    bytes
}

/// A ClientHello as this machine's DTLS begins.
pub(crate) fn client_hello() -> Vec<u8> {
    let mut dtls = Dtls::new();
    dtls.step(None).first().expect("a handshake begins with a ClientHello").clone()
}

/// What an attacker's offer looks like; tests change it as text.
pub(crate) fn offer(port: u16) -> String {
    let fingerprint = digest::digest(&digest::SHA256, &Dtls::identity().certificate);
    let fingerprint: Vec<_> = fingerprint.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let transport = format!(
        "a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n",
        fingerprint.join(":")
    );
    let mut sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n".to_owned();
    let _ = write!(
        sdp,
        "m=audio {port} UDP/TLS/RTP/SAVPF {RED} {OPUS}\r\nc=IN IP4 127.0.0.1\r\n\
         a=candidate:1 1 udp 2122260223 127.0.0.1 {port} typ host generation 0\r\n{transport}a=mid:0\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=msid:audio microphone\r\na=rtcp-mux\r\n\
         a=rtpmap:{RED} red/48000/2\r\na=fmtp:{RED} {OPUS}/{OPUS}\r\na=rtpmap:{OPUS} opus/48000/2\r\n\
         a=fmtp:{OPUS} minptime=10;useinbandfec=1\r\na=ssrc:{AUDIO_SSRC} cname:evil\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {VP8} 97 {H264} 103\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:1\r\na=sendrecv\r\n\
         a=msid:video camera\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} transport-cc\r\n\
         a=rtcp-fb:{VP8} nack\r\na=rtcp-fb:{VP8} nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt={VP8}\r\n\
         a=rtpmap:{H264} H264/90000\r\na=rtcp-fb:{H264} nack\r\na=rtcp-fb:{H264} nack pli\r\n\
         a=fmtp:{H264} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt={H264}\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:{VIDEO_SSRC} cname:evil\r\n"
    );
    sdp
}

/// The client's half of a DTLS association.
struct Dtls {
    dtls: dimpl::Dtls,
    buffer: Vec<u8>,
    keys: Option<(SrtpSender, SrtpReceiver)>,
}

impl Dtls {
    fn identity() -> &'static dimpl::DtlsCertificate {
        static IDENTITY: std::sync::OnceLock<dimpl::DtlsCertificate> = std::sync::OnceLock::new();
        IDENTITY
            .get_or_init(|| dimpl::certificate::generate_self_signed_certificate().expect("a certificate"))
    }

    fn new() -> Dtls {
        let mut dtls =
            dimpl::Dtls::new_12(Arc::new(dimpl::Config::default()), Self::identity().clone(), Instant::now());
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
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
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
        let url = format!("{}?X-Chime-Control-Protocol-Version=3", info.signaling_url);
        let mut request = url.into_client_request().unwrap();
        let protocols = format!("_aws_wt_session, {}", info.join_token.0);
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the handshake succeeds");
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
        let mut attacker = Attacker::connect(info).await;
        attacker.say(&join_frame()).await;
        attacker.expect("INDEX", |frame| matches!(frame, ServerFrame::Index(_)).then_some(())).await;
        attacker
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

    /// The answer to this offer, or the status of the error.
    pub(crate) async fn offer(&mut self, sdp: String) -> Result<String, u32> {
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
