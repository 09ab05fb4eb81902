//! SRTP and SRTCP: protecting and unprotecting packets in place (RFC 3711, AES-GCM by RFC 7714).
//!
//! One [`SrtpSender`] and one [`SrtpReceiver`] per peer, keyed by its DTLS handshake (RFC 5764). No packet
//! touches the heap; tables grow only when an SSRC is first seen, and have bounds. The AES-CM fallback costs several
//! times what GCM does, nearly all of it HMAC-SHA1. No MKI, no key derivation rate, no unencrypted SRTCP: DTLS-SRTP in
//! WebRTC negotiates none of them. Whom a packet comes from is for `peer` to judge, what is in it for others.

use std::fmt;
use std::hint::black_box;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};
use smallvec::SmallVec;
use thiserror::Error;

use crate::rtp::RtpHeader;

/// SSRCs remembered of those that we receive, per kind. A browser sends one of audio, three layers of video, an rtx for
/// each, and fresh ones when a camera restarts. Each costs about 160 bytes.
const SSRCS_MAX: usize = 128;

/// SSRCs remembered of those that we send under. Two for each media section that has ever shown a video: none may be
/// forgotten, and a long call whose tiles come and go has many. 640 KB for one who subscribes two thousand times.
const SENDER_SSRCS_MAX: usize = 4096;

/// Packets that the replay window looks back (RFC 3711 3.3.2 asks for 64 or more). Wide, because we forward packets
/// that the publisher had to retransmit at their old place: a second of a 1,000 packets/s stream.
const WINDOW_PACKETS: u64 = 1024;
const WINDOW_WORDS: usize = WINDOW_PACKETS as usize / 64;

/// Bytes of an SRTCP packet's own header that stay in clear (RFC 3711 3.4).
const RTCP_HEADER_BYTES: usize = 8;
/// Bytes of the E flag and index that end an SRTCP packet.
const RTCP_INDEX_BYTES: usize = 4;
/// Set when the SRTCP payload is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// How packets are protected; the DTLS server picks one of what the client offers (RFC 5764 4.1.2, RFC 7714 14.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    AesCm128HmacSha1_80,
}

impl SrtpProfile {
    /// Bytes of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AesCm128HmacSha1_80 => 16,
            SrtpProfile::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
            SrtpProfile::AesCm128HmacSha1_80 => 14,
        }
    }

    /// Bytes of an authentication tag.
    pub const fn tag_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 16,
            SrtpProfile::AesCm128HmacSha1_80 => 10,
        }
    }
}

/// Our side of the DTLS handshake that made the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We sent the ClientHello.
    Client,
    /// We answered it.
    Server,
}

/// Why a packet was not protected or unprotected. The packet is to be dropped, never the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SrtpError {
    /// Keying material of another length than the profile's.
    #[error("keying material of the wrong length")]
    KeyLength,
    /// Too short to hold header and tag, or not RTP, or SRTCP that is not encrypted.
    #[error("packet is malformed")]
    Malformed,
    /// The tag does not match: forged, damaged, or keyed otherwise.
    #[error("authentication failed")]
    Unauthentic,
    /// This index was seen before, or is older than the window can tell. When sending: sealing it again would reuse a
    /// nonce, which with GCM gives the authentication key away.
    #[error("packet index was used before")]
    Replayed,
    /// More SSRCs than we send with, or an index space used up.
    #[error("no room for this stream under these keys")]
    Exhausted,
}

/// Both directions from exported keying material: client key, server key, client salt, server salt (RFC 5764 4.2).
///
/// # Errors
/// [`SrtpError::KeyLength`].
pub fn from_dtls(
    profile: SrtpProfile,
    material: &[u8],
    role: DtlsRole,
) -> Result<(SrtpSender, SrtpReceiver), SrtpError> {
    let (key, salt) = (profile.key_len(), profile.salt_len());
    if material.len() != 2 * (key + salt) {
        return Err(SrtpError::KeyLength);
    }
    let (keys, salts) = material.split_at(2 * key);
    let client = (&keys[..key], &salts[..salt]);
    let server = (&keys[key..], &salts[salt..]);
    let (ours, theirs) = if role == DtlsRole::Server { (server, client) } else { (client, server) };
    Ok((SrtpSender::new(profile, ours.0, ours.1)?, SrtpReceiver::new(profile, theirs.0, theirs.1)?))
}

/// Protects what we send.
#[repr(C)] // As in [`Peer`](super::Peer).
pub struct SrtpSender {
    streams: Streams,
    rtp: Cipher,
    rtcp: Cipher,
    /// The next SRTCP index; one count serves all our SSRCs, so no nonce repeats.
    rtcp_index: u32,
}

/// Unprotects what one peer sends.
#[repr(C)] // As in [`Peer`](super::Peer).
pub struct SrtpReceiver {
    rtp_streams: Streams,
    rtp: Cipher,
    rtcp: Cipher,
    rtcp_streams: Streams,
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender").field("keys", &"<redacted>").finish_non_exhaustive()
    }
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver").field("keys", &"<redacted>").finish_non_exhaustive()
    }
}

impl SrtpSender {
    /// A sender from a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`].
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<SrtpSender, SrtpError> {
        let (rtp, rtcp) = session_ciphers(profile, key, salt)?;
        Ok(SrtpSender { rtp, rtcp, streams: Streams::new(SENDER_SSRCS_MAX), rtcp_index: 0 })
    }

    /// Seals the plaintext RTP packet in `out[start..]`; the tag is appended. A stream's sequence numbers may come out
    /// of order, but each only once.
    ///
    /// # Errors
    /// [`SrtpError`]; `out` then holds no packet worth sending from `start` on.
    pub fn protect_rtp(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let packet = out.get(start..).unwrap_or_default();
        let header = RtpHeader::parse_sealed(packet).map_err(|_| SrtpError::Malformed)?;
        let place = self.streams.find(header.ssrc);
        // A forgotten stream would start again at rollover 0 and reuse nonces: a full table refuses.
        if place.is_err() && self.streams.list.len() >= self.streams.max {
            return Err(SrtpError::Exhausted);
        }
        let index = self.streams.estimate(place, header.sequence).ok_or(SrtpError::Replayed)?;
        self.streams.check(place, index)?;
        self.rtp.seal_rtp(header.ssrc, index, header.header_len, out, start)?;
        self.streams.record(place, header.ssrc, index);
        Ok(())
    }

    /// Reads what [`protect_rtp`](Self::protect_rtp) needs, as [`Peer::fetch`](super::Peer::fetch) does.
    pub(super) fn fetch(&self) {
        let salt = match &self.rtp {
            Cipher::Gcm { salt, .. } => salt[0],
            Cipher::CounterMode { salt, .. } => salt[0],
        };
        black_box((self.streams.list.first().map(|stream| stream.window.newest), salt));
    }

    /// Seals the plaintext RTCP compound in `out[start..]`; tag and index are appended.
    ///
    /// # Errors
    /// [`SrtpError`]; `out` then holds no packet worth sending from `start` on.
    pub fn protect_rtcp(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let header = out.get(start..).and_then(|packet| packet.first_chunk::<RTCP_HEADER_BYTES>());
        let ssrc = rtcp_ssrc(header.ok_or(SrtpError::Malformed)?);
        let index = self.rtcp_index;
        if index >= RTCP_ENCRYPTED {
            return Err(SrtpError::Exhausted);
        }
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(ssrc, index, out, start)
    }
}

impl SrtpReceiver {
    /// A receiver from a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`].
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<SrtpReceiver, SrtpError> {
        let (rtp, rtcp) = session_ciphers(profile, key, salt)?;
        Ok(SrtpReceiver {
            rtp,
            rtcp,
            rtp_streams: Streams::new(SSRCS_MAX),
            rtcp_streams: Streams::new(SSRCS_MAX),
        })
    }

    /// Opens an SRTP packet in place; `header` is its [`RtpHeader::parse_sealed`]. Returns the plaintext packet's
    /// length. Only an authentic packet changes any state, or gives a new SSRC a place in the table.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], header: &RtpHeader) -> Result<usize, SrtpError> {
        let place = self.rtp_streams.find(header.ssrc);
        let index = self.rtp_streams.estimate(place, header.sequence).ok_or(SrtpError::Replayed)?;
        self.rtp_streams.check(place, index)?;
        let len = self.rtp.open_rtp(header.ssrc, index, header.header_len, packet)?;
        self.rtp_streams.record(place, header.ssrc, index);
        Ok(len)
    }

    /// Opens an SRTCP packet in place. Returns the plaintext compound's length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet.first_chunk().ok_or(SrtpError::Malformed)?);
        // Where the index stands differs by profile: behind the tag with GCM, before it with HMAC.
        let word = self.rtcp.rtcp_index_word(packet).ok_or(SrtpError::Malformed)?;
        if word & RTCP_ENCRYPTED == 0 {
            return Err(SrtpError::Malformed);
        }
        let index = u64::from(word & !RTCP_ENCRYPTED);
        let place = self.rtcp_streams.find(ssrc);
        self.rtcp_streams.check(place, index)?;
        let len = self.rtcp.open_rtcp(ssrc, word, packet)?;
        self.rtcp_streams.record(place, ssrc, index);
        Ok(len)
    }
}

fn rtcp_ssrc(header: &[u8; RTCP_HEADER_BYTES]) -> u32 {
    u32::from_be_bytes([header[4], header[5], header[6], header[7]])
}

/// Where a stream is in the table, or where it would go.
type Place = Result<usize, usize>;

/// What is known of each SSRC, sorted by SSRC.
struct Streams {
    /// At most `max`; mostly one, as of whoever only hears and speaks.
    list: SmallVec<[Stream; 1]>,
    max: usize,
    /// Counts authentic packets: a clock to tell which stream was heard least recently.
    packets: u64,
}

#[repr(C)] // As in [`Peer`](super::Peer).
struct Stream {
    ssrc: u32,
    heard_at: u64,
    window: Window,
}

impl Streams {
    fn new(max: usize) -> Streams {
        Streams { list: SmallVec::new(), max, packets: 0 }
    }

    fn find(&self, ssrc: u32) -> Place {
        self.list.binary_search_by_key(&ssrc, |stream| stream.ssrc)
    }

    /// The 48-bit index that a sequence number most likely stands for. `None`: it would lie before the first, or
    /// beyond the last rollover.
    fn estimate(&self, place: Place, sequence: u16) -> Option<u64> {
        match place {
            Ok(at) => estimate_index(self.list[at].window.highest, sequence),
            Err(_) => Some(u64::from(sequence)),
        }
    }

    fn check(&self, place: Place, index: u64) -> Result<(), SrtpError> {
        match place {
            Ok(at) if !self.list[at].window.is_fresh(index) => Err(SrtpError::Replayed),
            _ => Ok(()),
        }
    }

    /// Records an authentic packet. A new stream takes the place of the least recently heard when the table is full.
    fn record(&mut self, place: Place, ssrc: u32, index: u64) {
        self.packets += 1;
        let heard_at = self.packets;
        match place {
            Ok(at) => {
                self.list[at].heard_at = heard_at;
                self.list[at].window.record(index);
            }
            Err(mut at) => {
                if self.list.len() >= self.max {
                    let oldest = (0..self.list.len()).min_by_key(|at| self.list[*at].heard_at);
                    let oldest = oldest.expect("a full table is not empty");
                    self.list.remove(oldest);
                    at -= usize::from(oldest < at);
                }
                self.list.insert(at, Stream { ssrc, heard_at, window: Window::starting_at(index) });
            }
        }
    }
}

/// RFC 3711 3.3.1 and appendix A: the index closest to the highest so far, given its low 16 bits.
fn estimate_index(highest: u64, sequence: u16) -> Option<u64> {
    let (rollover, last) = (highest >> 16, highest as u16); // the low half is the last sequence number
    let rollover = if last < 0x8000 && sequence > last + 0x8000 {
        rollover.checked_sub(1)?
    } else if last >= 0x8000 && sequence < last - 0x8000 {
        rollover + 1
    } else {
        rollover
    };
    (rollover <= u64::from(u32::MAX)).then_some(rollover << 16 | u64::from(sequence))
}

/// Which of the latest indices have been used, in words of 64: index `i` is bit `i % 64` of word `i / 64`.
#[repr(C)] // As in [`Peer`](super::Peer).
struct Window {
    highest: u64,
    /// The word of the highest. Packets in order need no other, which spares the memory of the others.
    newest: u64,
    /// Those before it: word `w` at `w % WINDOW_WORDS`.
    used: [u64; WINDOW_WORDS],
}

impl Window {
    fn starting_at(index: u64) -> Window {
        Window { highest: index, newest: 1 << (index % 64), used: [0; WINDOW_WORDS] }
    }

    fn is_fresh(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let word = index / 64;
        let used = if word == self.highest / 64 { self.newest } else { self.used[Window::place(word)] };
        self.highest - index < WINDOW_PACKETS && used & (1 << (index % 64)) == 0
    }

    fn record(&mut self, index: u64) {
        let (word, newest) = (index / 64, self.highest / 64);
        if word > newest {
            if word - newest > WINDOW_WORDS as u64 {
                self.used = [0; WINDOW_WORDS];
            } else {
                // There stood what is now too old to tell.
                self.used[Window::place(newest)] = self.newest;
                (newest + 1..word).for_each(|skipped| self.used[Window::place(skipped)] = 0);
            }
            self.newest = 0;
        }
        self.highest = self.highest.max(index);
        let used = if word < newest { &mut self.used[Window::place(word)] } else { &mut self.newest };
        *used |= 1 << (index % 64);
    }

    fn place(word: u64) -> usize {
        (word % WINDOW_WORDS as u64) as usize
    }
}

/// What key derivation makes different keys for (RFC 3711 4.3.2).
#[derive(Clone, Copy)]
enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// The session ciphers for RTP and RTCP under one master key.
fn session_ciphers(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<(Cipher, Cipher), SrtpError> {
    if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
        return Err(SrtpError::KeyLength);
    }
    let master = counter_mode(key);
    let cipher = |[key_label, auth_label, salt_label]: [Label; 3]| {
        let (mut key, mut auth, mut session_salt) = ([0; 32], [0; 20], [0; 14]);
        let key = &mut key[..profile.key_len()];
        derive(&master, salt, key_label, key);
        derive(&master, salt, salt_label, &mut session_salt[..profile.salt_len()]);
        match profile {
            SrtpProfile::AesCm128HmacSha1_80 => {
                derive(&master, salt, auth_label, &mut auth);
                Cipher::counter_mode(key, session_salt, &auth)
            }
            _ => Cipher::gcm(key, *session_salt.first_chunk().expect("14 bytes hold 12")),
        }
    };
    Ok((
        cipher([Label::RtpKey, Label::RtpAuth, Label::RtpSalt]),
        cipher([Label::RtcpKey, Label::RtcpAuth, Label::RtcpSalt]),
    ))
}

/// RFC 3711 4.3.1 and 4.3.3 with a derivation rate of 0: the keystream at the label's place. A 12-byte salt is followed
/// by zeros (RFC 7714 11).
fn derive(master: &EncryptingKey, salt: &[u8], label: Label, out: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label as u8;
    out.fill(0);
    keystream_xor(master, iv, out);
}

/// AES in counter mode; the key is 16 or 32 bytes.
fn counter_mode(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).expect("key length was checked");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

fn keystream_xor(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("counter mode takes any length under a 128-bit counter block");
}

/// Session keys for RTP or for RTCP, and how packets are laid out under them.
#[allow(
    clippy::large_enum_variant,
    reason = "four per peer: some kilobytes; a box would be one more miss per packet"
)]
enum Cipher {
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    CounterMode { key: EncryptingKey, salt: [u8; 14], auth: hmac::Key },
}

const GCM_TAG_BYTES: usize = SrtpProfile::AeadAes128Gcm.tag_len();
const HMAC_TAG_BYTES: usize = SrtpProfile::AesCm128HmacSha1_80.tag_len();

impl Cipher {
    fn gcm(key: &[u8], salt: [u8; 12]) -> Cipher {
        let algorithm = if key.len() == 32 { &aead::AES_256_GCM } else { &aead::AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("key length was checked");
        Cipher::Gcm { key: LessSafeKey::new(key), salt }
    }

    fn counter_mode(key: &[u8], salt: [u8; 14], auth: &[u8]) -> Cipher {
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth);
        Cipher::CounterMode { key: counter_mode(key), salt, auth }
    }

    fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        header_len: usize,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), SrtpError> {
        let (header, payload) = out[start..].split_at_mut(header_len);
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
                    .map_err(|_| SrtpError::Malformed)?;
                out.extend_from_slice(tag.as_ref());
            }
            Cipher::CounterMode { key, salt, auth } => {
                keystream_xor(key, counter_iv(salt, ssrc, index), payload);
                let rollover = ((index >> 16) as u32).to_be_bytes();
                let tag = hmac_tag(auth, &[&out[start..], &rollover]);
                out.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        header_len: usize,
        packet: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let (header, sealed) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let opened = key.open_in_place(nonce, Aad::from(&*header), sealed);
                opened.map(|payload| header_len + payload.len()).map_err(|_| SrtpError::Unauthentic)
            }
            Cipher::CounterMode { key, salt, auth } => {
                let len = sealed.len().checked_sub(HMAC_TAG_BYTES).ok_or(SrtpError::Malformed)?;
                let (payload, tag) = sealed.split_at_mut(len);
                let rollover = ((index >> 16) as u32).to_be_bytes();
                verify(tag, &hmac_tag(auth, &[header, payload, &rollover]))?;
                keystream_xor(key, counter_iv(salt, ssrc, index), payload);
                Ok(header_len + len)
            }
        }
    }

    fn seal_rtcp(&self, ssrc: u32, index: u32, out: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        let (header, body) = out[start..].split_at_mut(RTCP_HEADER_BYTES);
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(rtcp_aad(header, word)), body)
                    .map_err(|_| SrtpError::Malformed)?;
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(&word);
            }
            Cipher::CounterMode { key, salt, auth } => {
                keystream_xor(key, counter_iv(salt, ssrc, u64::from(index)), body);
                out.extend_from_slice(&word);
                let tag = hmac_tag(auth, &[&out[start..]]);
                out.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// The E flag and index of an SRTCP packet; `None` when it is too short for header, tag and index.
    fn rtcp_index_word(&self, packet: &[u8]) -> Option<u32> {
        let (tag, end) = match self {
            Cipher::Gcm { .. } => (GCM_TAG_BYTES, packet.len()),
            Cipher::CounterMode { .. } => (HMAC_TAG_BYTES, packet.len().checked_sub(HMAC_TAG_BYTES)?),
        };
        if packet.len() < RTCP_HEADER_BYTES + tag + RTCP_INDEX_BYTES {
            return None;
        }
        packet[..end].last_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Opens a packet whose [`rtcp_index_word`](Self::rtcp_index_word) is `word`.
    fn open_rtcp(&self, ssrc: u32, word: u32, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let index = u64::from(word & !RTCP_ENCRYPTED);
        match self {
            Cipher::Gcm { key, salt } => {
                let end = packet.len() - RTCP_INDEX_BYTES;
                let (header, sealed) = packet[..end].split_at_mut(RTCP_HEADER_BYTES);
                let aad = Aad::from(rtcp_aad(header, word.to_be_bytes()));
                let opened = key.open_in_place(gcm_nonce(salt, ssrc, index), aad, sealed);
                opened.map(|body| RTCP_HEADER_BYTES + body.len()).map_err(|_| SrtpError::Unauthentic)
            }
            Cipher::CounterMode { key, salt, auth } => {
                let (covered, tag) = packet.split_at_mut(packet.len() - HMAC_TAG_BYTES);
                verify(tag, &hmac_tag(auth, &[covered]))?;
                let len = covered.len() - RTCP_INDEX_BYTES;
                keystream_xor(key, counter_iv(salt, ssrc, index), &mut covered[RTCP_HEADER_BYTES..len]);
                Ok(len)
            }
        }
    }
}

/// RFC 7714 8.1 and 9.1: two zero bytes, SSRC, 48-bit index, under the salt. An SRTCP index is 31 bits, so that its
/// upper two bytes are the zeros which 9.1 wants there.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    nonce.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 3711 4.1.1: salt, SSRC and index each at its place, then a 16-bit block counter.
fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    iv
}

/// RFC 7714 9.2: what is authenticated beside the encrypted part.
fn rtcp_aad(header: &[u8], word: [u8; RTCP_INDEX_BYTES]) -> [u8; RTCP_HEADER_BYTES + RTCP_INDEX_BYTES] {
    let mut aad = [0; RTCP_HEADER_BYTES + RTCP_INDEX_BYTES];
    aad[..RTCP_HEADER_BYTES].copy_from_slice(header);
    aad[RTCP_HEADER_BYTES..].copy_from_slice(&word);
    aad
}

fn hmac_tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; HMAC_TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    *context.sign().as_ref().first_chunk().expect("SHA-1 makes 20 bytes")
}

fn verify(tag: &[u8], expected: &[u8]) -> Result<(), SrtpError> {
    constant_time::verify_slices_are_equal(tag, expected).map_err(|_| SrtpError::Unauthentic)
}

/// Fuzz target of this module.
pub mod fuzz {
    use super::*;

    /// Any bytes, under every profile: unprotecting must not panic nor accept, and what was protected must come back.
    pub fn srtp(data: &[u8]) {
        use SrtpProfile::*;
        for profile in [AeadAes128Gcm, AeadAes256Gcm, AesCm128HmacSha1_80] {
            let material = vec![7; 2 * (profile.key_len() + profile.salt_len())];
            // Both directions have the same keys, so this pair talks to itself.
            let (mut sender, mut receiver) =
                from_dtls(profile, &material, DtlsRole::Server).expect("the length is right");
            assert!(receiver.unprotect_rtcp(&mut data.to_vec()).is_err());
            if data.len() >= RTCP_HEADER_BYTES {
                let mut sealed = data.to_vec();
                sender.protect_rtcp(&mut sealed, 0).expect("it has a header");
                let len = receiver.unprotect_rtcp(&mut sealed).expect("what was sealed opens");
                assert_eq!(&sealed[..len], data);
            }
            let Ok(header) = RtpHeader::parse_sealed(data) else { continue };
            assert!(receiver.unprotect_rtp(&mut data.to_vec(), &header).is_err());
            let mut sealed = data.to_vec();
            sender.protect_rtp(&mut sealed, 0).expect("it has a header");
            let len = receiver.unprotect_rtp(&mut sealed, &header).expect("what was sealed opens");
            assert_eq!(&sealed[..len], data);
        }
    }
}

#[cfg(test)]
mod tests;
