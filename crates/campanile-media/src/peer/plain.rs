//! Bare RTP and RTCP to one known address: for simulations, and for doors that bring their own protection.

use super::{PeerAddr, PeerCounters, Received};
use crate::rtp::RtpHeader;

/// A peer without ICE, DTLS or SRTP.
pub(super) struct Plain {
    pub(super) remote: PeerAddr,
}

impl Plain {
    pub(super) fn handle_datagram<'a>(
        &self,
        from: PeerAddr,
        bytes: &'a [u8],
        counters: &mut PeerCounters,
    ) -> Received<'a> {
        if from != self.remote {
            counters.unvalidated += 1;
            return Received::Nothing;
        }
        if super::is_rtcp(bytes) {
            return Received::Rtcp(bytes);
        }
        match RtpHeader::parse(bytes) {
            Ok(header) => Received::Rtp(header, bytes),
            Err(_) => {
                counters.malformed += 1;
                Received::Nothing
            }
        }
    }
}
