//! Where a peer is: an address, and by which transport it is reached.

use std::fmt;
use std::net::SocketAddr;

/// What carries a peer's datagrams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Each in a UDP datagram.
    Udp,
    /// One behind another in a TCP connection that the peer has opened (RFC 6544), framed by [`framing`](super::framing).
    Tcp,
}

/// Where datagrams come from and go to. The same address by another transport is another place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    /// How.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
}

impl PeerAddr {
    /// The far end of a TCP connection.
    pub fn tcp(addr: SocketAddr) -> PeerAddr {
        PeerAddr { transport: Transport::Tcp, addr }
    }
}

impl From<SocketAddr> for PeerAddr {
    /// By UDP, as is usual.
    fn from(addr: SocketAddr) -> PeerAddr {
        PeerAddr { transport: Transport::Udp, addr }
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.transport, self.addr)
    }
}
