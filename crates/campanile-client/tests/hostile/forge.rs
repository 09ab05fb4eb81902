//! What an attacker makes by hand: STUN messages and offers, right but for what a test wants wrong.

use std::fmt::Write as _;
use std::sync::OnceLock;

use aws_lc_rs::{digest, hmac, rand};

pub(crate) const OPUS: u8 = 111;
pub(crate) const RED: u8 = 63;
pub(crate) const VP8: u8 = 96;
pub(crate) const H264: u8 = 102;
pub(crate) const VP9: u8 = 98;
pub(crate) const AV1: u8 = 45;
/// The header extension in which AV1's dependency descriptors come.
pub(crate) const DEPENDENCY_DESCRIPTOR: u8 = 12;
pub(crate) const AUDIO_SSRC: u32 = 0x0a0a_0a0a;
pub(crate) const VIDEO_SSRC: u32 = 0x0b0b_0b0b;

pub(crate) const UFRAG: &str = "evil";
const PASSWORD: &str = "attackers-need-passwords-too";
/// RFC 8489 section 5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

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

/// The attacker's DTLS identity.
pub(crate) fn identity() -> &'static dimpl::DtlsCertificate {
    static IDENTITY: OnceLock<dimpl::DtlsCertificate> = OnceLock::new();
    IDENTITY.get_or_init(|| dimpl::certificate::generate_self_signed_certificate().expect("a certificate"))
}

/// What an attacker's offer looks like; tests change it as text.
pub(crate) fn offer(port: u16) -> String {
    let fingerprint = digest::digest(&digest::SHA256, &identity().certificate);
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
         m=video 9 UDP/TLS/RTP/SAVPF {VP8} 97 {H264} 103 {VP9} {AV1}\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:1\r\na=sendrecv\r\n\
         a=msid:video camera\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} transport-cc\r\n\
         a=rtcp-fb:{VP8} nack\r\na=rtcp-fb:{VP8} nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt={VP8}\r\n\
         a=rtpmap:{H264} H264/90000\r\na=rtcp-fb:{H264} nack\r\na=rtcp-fb:{H264} nack pli\r\n\
         a=fmtp:{H264} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt={H264}\r\n\
         a=rtpmap:{VP9} VP9/90000\r\na=fmtp:{VP9} profile-id=0\r\na=rtpmap:{AV1} AV1/90000\r\n\
         a=extmap:{DEPENDENCY_DESCRIPTOR} https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:{VIDEO_SSRC} cname:evil\r\n"
    );
    sdp
}
