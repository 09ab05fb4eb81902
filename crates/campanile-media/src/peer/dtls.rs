//! DTLS 1.2 as the passive side, for SRTP keys and nothing else (RFC 5764). The only module that knows the crate
//! `dimpl`.
//!
//! The peer is who its signaling said: its certificate must have the fingerprint of its offer. Who may send us
//! handshakes at all is decided by the parent module.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, DtlsCertificate, Output};
use thiserror::Error;

use super::srtp::{self, DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender};

/// Longest handshake datagram taken. Browsers stay below 1,300 bytes.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Datagrams that `dimpl` may hold while a message is incomplete. A browser's longest message takes two.
const QUEUED_DATAGRAMS_MAX: usize = 30;

/// Room for what `dimpl` hands out. It insists that a peer's certificate fits, and that can be as long as everything
/// it may queue.
const OUTPUT_BYTES_MAX: usize = DATAGRAM_BYTES_MAX * (QUEUED_DATAGRAMS_MAX + 2);

/// Handshakes begun anew at once after a fatal error. Until the handshake is over its messages are unauthenticated, so
/// whoever forges some from the peer's address must neither end its session nor have us begin as often as they like.
const RESTARTS_AT_ONCE: u32 = 4;
/// Beyond that, nothing is taken for so long before the next one. A browser sends its first message again for longer.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// First retransmission. The path has just answered STUN checks, so waiting the second that RFC 6347 4.2.4.1 suggests
/// would only delay the join.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
/// 250 ms doubled this often makes half a minute.
const RETRANSMISSIONS_MAX: usize = 6;
/// For the whole handshake, however often it is begun.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest wait for the next timeout, so that no deadline can keep a worker spinning.
const REST_MIN: Duration = Duration::from_millis(1);

/// The DTLS identity of one worker, made at birth and shared by its peers.
#[derive(Clone)]
pub struct Certificate {
    identity: Arc<Identity>,
}

struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: [u8; 32],
}

/// A certificate could not be made: the system's randomness or clock failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no DTLS certificate could be made")]
pub struct CertificateError;

impl Certificate {
    /// A fresh self-signed certificate (ECDSA P-256). Takes the system's clock and randomness: for the shell to call.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn generate() -> Result<Certificate, CertificateError> {
        let certificate =
            dimpl::certificate::generate_self_signed_certificate().map_err(|_| CertificateError)?;
        let config = Config::builder()
            .require_client_certificate(true)
            // Only addresses whose checks were authentic get here: no round trip for a cookie on top.
            .use_server_cookie(false)
            .max_queue_rx(QUEUED_DATAGRAMS_MAX)
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(RETRANSMISSIONS_MAX)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(|_| CertificateError)?;
        let fingerprint = sha256(&certificate.certificate);
        Ok(Certificate {
            identity: Arc::new(Identity { certificate, config: Arc::new(config), fingerprint }),
        })
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.identity.fingerprint
    }

    /// The fingerprint as SDP writes it after `sha-256 ` (RFC 8122 5): `4A:AD:…`.
    pub fn fingerprint_text(&self) -> String {
        self.identity.fingerprint.map(|byte| format!("{byte:02X}")).join(":")
    }

    fn dtls(&self, now: Instant) -> dimpl::Dtls {
        let Identity { certificate, config, .. } = &*self.identity;
        dimpl::Dtls::new_12(config.clone(), certificate.clone(), now)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint_text()).finish_non_exhaustive()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    *digest::digest(&digest::SHA256, bytes).as_ref().first_chunk().expect("SHA-256 makes 32 bytes")
}

/// Why there will be no keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DtlsFailure {
    /// The peer's certificate is not the one its offer named.
    #[error("the certificate does not match the offer")]
    Fingerprint,
    /// The handshake did not finish in time.
    #[error("the DTLS handshake timed out")]
    Timeout,
    /// The peer offers no SRTP profile that we have.
    #[error("no SRTP profile in common")]
    NoSrtp,
    /// Handshakes broke off for as long as one may take: no common cipher, no client certificate, alerts.
    #[error("the DTLS handshake failed")]
    Handshake,
}

/// What a packet or the time has brought about.
#[derive(Debug)]
pub(super) enum DtlsEvent {
    /// The handshake is over and the peer is who it should be.
    Keys(Box<(SrtpSender, SrtpReceiver)>),
    /// There will be no keys.
    Failed(DtlsFailure),
    /// The peer has closed the association.
    Closed,
}

/// Our end of one peer's DTLS association.
pub(super) struct Dtls {
    dtls: dimpl::Dtls,
    certificate: Certificate,
    expected_fingerprint: [u8; 32],
    stage: Stage,
    restarts: u32,
    /// When the first datagram came.
    begun: Option<Instant>,
    /// Until then, after too many broken handshakes, nothing is taken.
    paused_until: Option<Instant>,
    deadline: Option<Instant>,
    /// Room for [`Output`]; small again once the handshake is over.
    output: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake {
        verified: bool,
    },
    /// Keys are out. What still comes is retransmissions and the close.
    Established,
    /// Nothing more to say or hear.
    Over,
}

impl Dtls {
    pub(super) fn new(now: Instant, certificate: Certificate, expected_fingerprint: [u8; 32]) -> Dtls {
        Dtls {
            dtls: certificate.dtls(now),
            certificate,
            expected_fingerprint,
            stage: Stage::Handshake { verified: false },
            restarts: 0,
            begun: None,
            paused_until: None,
            deadline: None,
            output: vec![],
        }
    }

    /// How often the handshake was begun anew after a fatal error.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Takes one datagram; `send` gets the answers. `Err(())` when it is not worth looking at.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        bytes: &[u8],
        send: impl FnMut(&[u8]),
    ) -> Result<Option<DtlsEvent>, ()> {
        if self.stage == Stage::Over || bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(());
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Err(());
        }
        self.begun.get_or_insert(now);
        let result = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(bytes));
        Ok(self.advance(now, result, send))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, send: impl FnMut(&[u8])) -> Option<DtlsEvent> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        let result = self.dtls.handle_timeout(now);
        self.advance(now, result, send)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says goodbye, if there is anyone to say it to.
    pub(super) fn close(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        if self.stage == Stage::Established && self.dtls.close().is_ok() {
            self.drain(now, &mut send);
        }
        self.finish();
    }

    fn advance(
        &mut self,
        now: Instant,
        result: Result<(), dimpl::Error>,
        mut send: impl FnMut(&[u8]),
    ) -> Option<DtlsEvent> {
        let event = self.drain(now, &mut send);
        if matches!(event, Some(DtlsEvent::Failed(_) | DtlsEvent::Closed)) {
            self.finish();
            return event;
        }
        match (result, self.stage) {
            (Ok(()), _) => event,
            // The media needs no more of it.
            (Err(_), Stage::Established | Stage::Over) => {
                self.finish();
                event
            }
            (Err(error), Stage::Handshake { .. }) => {
                tracing::debug!(%error, "DTLS handshake broke off");
                let too_long = self.begun.is_some_and(|begun| now >= begun + HANDSHAKE_TIMEOUT);
                let failure = match error {
                    dimpl::Error::Timeout(_) => DtlsFailure::Timeout,
                    _ if too_long => DtlsFailure::Handshake,
                    _ => {
                        self.begin_again(now);
                        return None;
                    }
                };
                self.finish();
                Some(DtlsEvent::Failed(failure))
            }
        }
    }

    fn begin_again(&mut self, now: Instant) {
        self.restarts += 1;
        self.paused_until = (self.restarts > RESTARTS_AT_ONCE).then(|| now + RESTART_PAUSE);
        self.dtls = self.certificate.dtls(now);
        self.stage = Stage::Handshake { verified: false };
        self.deadline = None;
    }

    /// Collects what `dimpl` has to say until it only waits.
    fn drain(&mut self, now: Instant, send: &mut impl FnMut(&[u8])) -> Option<DtlsEvent> {
        if self.output.is_empty() {
            self.output.resize(OUTPUT_BYTES_MAX, 0);
        }
        let (mut connected, mut event) = (false, None);
        loop {
            match self.dtls.poll_output(&mut self.output) {
                Output::Packet(packet) => send(packet),
                Output::PeerCert(der) => {
                    if sha256(der) != self.expected_fingerprint {
                        return Some(DtlsEvent::Failed(DtlsFailure::Fingerprint));
                    }
                    self.stage = Stage::Handshake { verified: true };
                }
                Output::Connected => connected = true,
                Output::KeyingMaterial(material, profile) => {
                    let keys = srtp_profile(profile)
                        .and_then(|profile| srtp::from_dtls(profile, &material, DtlsRole::Server).ok());
                    event = keys.map(|keys| DtlsEvent::Keys(Box::new(keys)));
                }
                Output::CloseNotify => return Some(DtlsEvent::Closed),
                Output::Timeout(deadline) => {
                    self.deadline = Some(deadline.max(now + REST_MIN));
                    break;
                }
                // Nothing of what may come fits less: it would ask for ever.
                Output::BufferTooSmall { .. } => return Some(DtlsEvent::Failed(DtlsFailure::Handshake)),
                // There are no data channels.
                _ => {}
            }
        }
        if connected {
            let verified = self.stage == Stage::Handshake { verified: true };
            self.stage = Stage::Established;
            self.output = vec![0; DATAGRAM_BYTES_MAX];
            return match event {
                _ if !verified => Some(DtlsEvent::Failed(DtlsFailure::Fingerprint)),
                None => Some(DtlsEvent::Failed(DtlsFailure::NoSrtp)),
                keys => keys,
            };
        }
        None
    }

    fn finish(&mut self) {
        self.stage = Stage::Over;
        self.deadline = None;
        self.output = vec![];
    }
}

fn srtp_profile(profile: dimpl::SrtpProfile) -> Option<SrtpProfile> {
    match profile {
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Some(SrtpProfile::AeadAes128Gcm),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Some(SrtpProfile::AeadAes256Gcm),
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Some(SrtpProfile::AesCm128HmacSha1_80),
        _ => None,
    }
}
