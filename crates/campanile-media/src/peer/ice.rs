//! ICE, as far as a server on a public address needs it: answer authentic connectivity checks and remember which of
//! the peer's addresses they came from (ICE-lite, RFC 8445 2.5). The only module that knows the crate `is`.
//!
//! We send no checks of our own, so nothing but binding requests under our ufrag can be meant for us: everything else
//! is dropped before the crate sees it. Remote candidates from signaling are not needed (browsers hide them behind
//! mDNS names): addresses are learnt from the checks. Liveness and what it means is left to the parent module.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};
use rand_core::RngCore;

use super::PeerAddr;

/// Addresses of one peer that are kept before all are forgotten and learnt anew: interfaces times NAT bindings of one
/// device. More is a peer that hops on purpose; the crate would remember every one of them for ever.
const ADDRESSES_MAX: usize = 32;

/// Characters in a ufrag of ours: 48 random bits. It is looked up among the peers of one worker, so it must not repeat
/// there; RFC 8445 5.3 asks for 24 bits.
const UFRAG_CHARS: usize = 8;
/// Characters in a password of ours: 144 random bits; RFC 8445 5.3 asks for 128.
const PWD_CHARS: usize = 24;

/// `ice-char` of RFC 8839 5.4: 64 of them, so each holds six random bits.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What the crate takes for our address, and UDP for the transport: to a lite agent, which only answers, TCP is no
/// different. It only compares it with itself, and it refuses some that are fine to
/// announce; the address in the answer's candidate is the shell's and never enters here.
const LOCAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9));

const STUN_HEADER_BYTES: usize = 20;
const STUN_BINDING_REQUEST: [u8; 2] = [0, 1];
const STUN_MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const STUN_USERNAME: u16 = 0x0006;
const STUN_MESSAGE_INTEGRITY: u16 = 0x0008;

/// One side's ICE username fragment and password (RFC 8445 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Goes over the wire in clear with every check; the key for finding the peer of a first packet.
    pub ufrag: String,
    /// Authenticates the checks; a secret between the two sides.
    pub pwd: String,
}

impl IceCredentials {
    /// Fresh credentials for our side. `rng` must be cryptographically strong outside of tests.
    pub fn generate(rng: &mut impl RngCore) -> IceCredentials {
        let mut text = |chars: usize| {
            (0..chars).map(|_| ICE_CHARS[(rng.next_u32() >> 26) as usize] as char).collect::<String>()
        };
        IceCredentials { ufrag: text(UFRAG_CHARS), pwd: text(PWD_CHARS) }
    }

    fn to_creds(&self) -> IceCreds {
        IceCreds { ufrag: self.ufrag.clone(), pass: self.pwd.clone() }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).field("pwd", &"<redacted>").finish()
    }
}

/// The receiver's ufrag in a STUN binding request: what stands before the colon of its USERNAME (RFC 8445 7.2.2).
/// `None` for anything that is not a well-formed binding request. Says nothing about who sent it.
pub fn stun_username_local_ufrag(packet: &[u8]) -> Option<&str> {
    let (header, mut attributes) = packet.split_at_checked(STUN_HEADER_BYTES)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != STUN_BINDING_REQUEST || header[4..8] != STUN_MAGIC_COOKIE || length != attributes.len()
    {
        return None;
    }
    while let Some((head, rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        match u16::from_be_bytes([head[0], head[1]]) {
            STUN_USERNAME => {
                let (ufrag, _) = std::str::from_utf8(rest.get(..length)?).ok()?.split_once(':')?;
                return Some(ufrag);
            }
            STUN_MESSAGE_INTEGRITY => return None, // what follows is not covered by it
            _ => attributes = rest.get(length.next_multiple_of(4)..)?,
        }
    }
    None
}

/// Our end of one peer's ICE session.
#[repr(C)] // As in [`Peer`](super::Peer).
pub(super) struct Ice {
    /// Where to send: what the peer nominated last, or before that where it was first heard from.
    selected: Option<PeerAddr>,
    deadline: Option<Instant>,
    /// Where authentic checks came from since the agent was made; at most [`ADDRESSES_MAX`].
    addresses: Vec<PeerAddr>,
    agent: IceAgent,
    local: IceCredentials,
    remote: IceCredentials,
}

impl Ice {
    pub(super) fn new(now: Instant, local: IceCredentials, remote: IceCredentials) -> Ice {
        let mut agent = agent(&local, &remote);
        agent.handle_timeout(now);
        let deadline = agent.poll_timeout();
        Ice { agent, local, remote, addresses: vec![], selected: None, deadline }
    }

    /// Begins anew under other credentials (RFC 8445 9). What was selected serves until a check comes under these.
    pub(super) fn restart(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        let selected = self.selected;
        *self = Ice { selected, ..Ice::new(now, local, remote) };
    }

    /// Takes one STUN packet; `send` gets the answers, which go to where it came from. Whether it was an authentic check.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        from: PeerAddr,
        bytes: &[u8],
        mut send: impl FnMut(&[u8]),
    ) -> bool {
        if stun_username_local_ufrag(bytes) != Some(&self.local.ufrag) {
            return false;
        }
        let Ok(message) = StunMessage::parse(bytes) else { return false };
        let known = self.addresses.contains(&from);
        if !known && self.addresses.len() >= ADDRESSES_MAX && self.agent.accepts_message(&message) {
            self.agent = agent(&self.local, &self.remote);
            self.addresses.clear();
        }
        let packet = StunPacket { proto: Protocol::Udp, source: from.addr, destination: LOCAL, message };
        let authentic = self.agent.handle_packet(now, packet);
        if authentic {
            if !known {
                self.addresses.push(from);
            }
            // A browser puts USE-CANDIDATE on every check of the pair it has selected, and on no other when its peer
            // is lite: the latest one tells where it wants to be, also after its NAT has rebound. A sender who takes
            // us for controlling has been told otherwise and nominates nothing.
            let nominates = message.use_candidate() && message.ice_controlled().is_none();
            if (nominates || self.selected.is_none()) && self.agent.has_viable_remote_candidate(from.addr) {
                self.selected = Some(from);
            }
        }
        self.handle_timeout(now);
        while let Some(transmit) = self.agent.poll_transmit() {
            send(&transmit.contents);
        }
        authentic
    }

    /// Whether authentic checks have come from there lately, or it is where we send.
    pub(super) fn is_validated(&self, addr: PeerAddr) -> bool {
        self.selected == Some(addr)
            || (self.addresses.contains(&addr) && self.agent.has_viable_remote_candidate(addr.addr))
    }

    /// Where to send; once known, always known.
    pub(super) fn selected(&self) -> Option<PeerAddr> {
        self.selected
    }

    /// Addresses that are kept.
    #[cfg(test)]
    pub(super) fn address_count(&self) -> usize {
        self.addresses.len().max(self.agent.remote_candidates().count())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        while self.agent.poll_event().is_some() {} // what we need of them we know first hand
        self.deadline = self.agent.poll_timeout();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

fn agent(local: &IceCredentials, remote: &IceCredentials) -> IceAgent {
    let mut agent = IceAgent::new(local.to_creds());
    agent.set_ice_lite(true);
    agent.set_controlling(false);
    // A lite agent never takes control, whatever the other side claims: we win every conflict (RFC 8445 7.3.1.1).
    agent.set_control_tie_breaker(u64::MAX);
    agent.set_remote_credentials(remote.to_creds());
    agent.add_local_candidate(
        Candidate::host(LOCAL, Protocol::Udp).expect("a documentation address is unicast"),
    );
    agent
}
