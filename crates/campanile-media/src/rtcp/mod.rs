//! RTCP: reading compounds of peers, writing our own, and the arithmetic of reception.
//!
//! Reads and writes sender and receiver reports, SDES CNAME and BYE (RFC 3550), NACK and PLI (RFC 4585), FIR (RFC 5104),
//! REMB (draft-alvestrand-rmcat-remb-03) and transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01,
//! in [`twcc`]). Everything else is skipped. Reduced-size compounds (RFC 5506) are taken.
//!
//! Encryption, when to send what, and what a report means for anyone's bandwidth are left to others.

pub mod fuzz;
mod reception;
#[cfg(test)]
mod tests;
pub mod twcc;
mod write;

use std::time::Duration;

pub use self::reception::ReceptionStats;
pub use self::twcc::{TransportFeedback, TwccRecorder};
pub use self::write::{bye, fir, nack, pli, receiver_report, remb, sdes_cname, sender_report};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
/// Transport-layer feedback (RFC 4585 section 6.2), with its formats.
const TRANSPORT: u8 = 205;
const FORMAT_NACK: u8 = 1;
const FORMAT_TWCC: u8 = 15;
/// Payload-specific feedback (RFC 4585 section 6.3), with its formats.
const PAYLOAD: u8 = 206;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;
const REMB_NAME: [u8; 4] = *b"REMB";
/// SDES item type (RFC 3550 section 6.5.1).
const CNAME: u8 = 1;

/// Whether a packet that is RTP or RTCP is the latter (RFC 5761 section 4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|packet_type| (192..=223).contains(packet_type))
}

/// What is wrong with a packet. It is skipped, and someone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The compound ends inside a packet, or a packet inside one of its parts.
    #[error("truncated")]
    Truncated,
    /// The version is not 2. What follows cannot be trusted to be RTCP.
    #[error("version {0}")]
    Version(u8),
    /// The padding is longer than the packet, or empty.
    #[error("bad padding")]
    Padding,
    /// Transport-wide feedback whose chunks make no sense.
    #[error("bad status chunk")]
    StatusChunk,
}

/// One packet of a compound; of a FIR, one of its entries. The lists are iterators over the packet's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtcpItem<'a> {
    /// What `ssrc` has sent, and how it receives others.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// What it has sent.
        info: SenderInfo,
        /// How it receives.
        reports: ReportBlocks<'a>,
    },
    /// How `ssrc` receives others.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// How it receives.
        reports: ReportBlocks<'a>,
    },
    /// Names for SSRCs.
    Sdes(SdesChunks<'a>),
    /// These SSRCs are gone.
    Bye {
        /// Who.
        ssrcs: Ssrcs<'a>,
        /// Why, in no particular words.
        reason: Option<&'a [u8]>,
    },
    /// Packets of `ssrc` that did not arrive.
    Nack {
        /// The stream that has losses.
        ssrc: u32,
        /// Which. 4 bytes name up to 17 packets: bound what is spent on them.
        lost: LostSequences<'a>,
    },
    /// The decoder of `ssrc` needs a keyframe.
    Pli {
        /// The stream that needs one.
        ssrc: u32,
    },
    /// A keyframe of `ssrc` is wanted. A FIR may name many: bound what is spent on them.
    Fir {
        /// The stream that should give one.
        ssrc: u32,
        /// Grows with each new request; repeated in retransmissions of the same one.
        sequence: u8,
    },
    /// How much the peer believes it can receive.
    Remb {
        /// For all of `ssrcs` together; saturates.
        bitrate_bps: u64,
        /// The streams meant.
        ssrcs: Ssrcs<'a>,
    },
    /// Arrival times by transport-wide sequence number; its body is read on demand.
    TransportFeedback(TransportFeedback<'a>),
    /// A kind that is not read here: APP, extended reports (RFC 3611), other feedback.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The five bits that are a count or a format.
        format: u8,
    },
}

/// What a sender report says of its sender (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender's clock in NTP's 32.32 format; see [`ntp`].
    pub ntp: u64,
    /// The same moment in the units of the stream's RTP timestamps.
    pub rtp_timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Bytes of payload sent so far.
    pub octets: u32,
}

/// How one stream is received (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost so far, 24 bits with sign: duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number, with the number of its wraps above the lower 16 bits.
    pub highest_seq: u32,
    /// Interarrival jitter, in units of the RTP timestamp.
    pub jitter: u32,
    /// The middle 32 bits of [`SenderInfo::ntp`] in the last sender report; 0 for none yet.
    pub lsr: u32,
    /// Time since that report came, in 1/65536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    /// The time to the reporter and back, for the sender whose reports carried `ntp_now`'s clock (RFC 3550 section
    /// 6.4.1). `None` when the reporter had no sender report yet, or says something impossible.
    pub fn round_trip(&self, ntp_now: u64) -> Option<Duration> {
        if self.lsr == 0 {
            return None;
        }
        let units = middle(ntp_now).wrapping_sub(self.lsr).wrapping_sub(self.dlsr);
        // In the upper half: the peer claims to have held the report for longer than it was away.
        (units < 1 << 31).then(|| Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16))
    }

    fn parse(block: &[u8; 24]) -> Self {
        let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: block[4],
            // The shifts carry the sign of the 24 bits.
            cumulative_lost: (word(4) << 8).cast_signed() >> 8,
            highest_seq: word(8),
            jitter: word(12),
            lsr: word(16),
            dlsr: word(20),
        }
    }
}

/// A clock in NTP's 32.32 format, for sender reports: the time since any moment that stays the same for the peer.
pub fn ntp(since: Duration) -> u64 {
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() << 32) | fraction
}

/// The 32 bits around the point, which reports repeat.
fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// Reads a plaintext compound, packet by packet. A packet with a bad body is an error and the next one follows; after
/// one whose length cannot be trusted there is no next.
pub fn parse(compound: &[u8]) -> Compound<'_> {
    Compound { rest: compound, fir: &[] }
}

/// Iterates over a compound; see [`parse`].
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
    /// Entries of the last FIR that were not handed out yet.
    fir: &'a [[u8; 8]],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<RtcpItem<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fir) = self.next_fir() {
            return Some(Ok(fir));
        }
        if self.rest.is_empty() {
            return None;
        }
        match split_packet(&mut self.rest) {
            Ok((header, Ok(body))) => Some(self.item(header, body)),
            Ok((_, Err(error))) => Some(Err(error)),
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl<'a> Compound<'a> {
    fn next_fir(&mut self) -> Option<RtcpItem<'a>> {
        let (&[a, b, c, d, sequence, ..], rest) = self.fir.split_first()?;
        self.fir = rest;
        Some(RtcpItem::Fir { ssrc: u32::from_be_bytes([a, b, c, d]), sequence })
    }

    fn item(&mut self, header: Header, mut body: &'a [u8]) -> Result<RtcpItem<'a>, RtcpError> {
        let body = &mut body;
        let Header { packet_type, format } = header;
        Ok(match (packet_type, format) {
            (SENDER_REPORT, count) => RtcpItem::SenderReport {
                ssrc: take_u32(body)?,
                info: SenderInfo {
                    ntp: u64::from_be_bytes(*take(body)?),
                    rtp_timestamp: take_u32(body)?,
                    packets: take_u32(body)?,
                    octets: take_u32(body)?,
                },
                reports: ReportBlocks(take_entries(body, count)?),
            },
            (RECEIVER_REPORT, count) => RtcpItem::ReceiverReport {
                ssrc: take_u32(body)?,
                reports: ReportBlocks(take_entries(body, count)?),
            },
            (SOURCE_DESCRIPTION, count) => RtcpItem::Sdes(SdesChunks { rest: body, left: count }),
            (GOODBYE, count) => {
                let ssrcs = Ssrcs(take_entries(body, count)?);
                let reason = match body.split_first() {
                    Some((&len, text)) => Some(text.get(..usize::from(len)).ok_or(RtcpError::Truncated)?),
                    None => None,
                };
                RtcpItem::Bye { ssrcs, reason }
            }
            (TRANSPORT, FORMAT_NACK) => {
                let (_sender, ssrc) = (take_u32(body)?, take_u32(body)?);
                RtcpItem::Nack { ssrc, lost: LostSequences { entries: body.as_chunks().0, pid: 0, mask: 0 } }
            }
            (TRANSPORT, FORMAT_TWCC) => RtcpItem::TransportFeedback(TransportFeedback::parse(body)?),
            (PAYLOAD, FORMAT_PLI) => {
                let (_sender, ssrc) = (take_u32(body)?, take_u32(body)?);
                RtcpItem::Pli { ssrc }
            }
            (PAYLOAD, FORMAT_FIR) => {
                // The SSRC of the common header is unused; each entry has its own (RFC 5104 section 4.3.1.2).
                let (_sender, _unused) = (take_u32(body)?, take_u32(body)?);
                self.fir = body.as_chunks().0;
                self.next_fir().unwrap_or(RtcpItem::Other { packet_type, format })
            }
            (PAYLOAD, FORMAT_APPLICATION) if body.get(8..12) == Some(&REMB_NAME) => {
                let _sender_unused_and_name: &[u8; 12] = take(body)?;
                let [count, high, middle, low] = *take(body)?;
                let exponent = high >> 2;
                let mantissa = u128::from(u32::from_be_bytes([0, high & 0b11, middle, low]));
                // 18 bits shifted by up to 63 fit into 128.
                let bitrate_bps = u64::try_from(mantissa << exponent).unwrap_or(u64::MAX);
                RtcpItem::Remb { bitrate_bps, ssrcs: Ssrcs(take_entries(body, count)?) }
            }
            _ => RtcpItem::Other { packet_type, format },
        })
    }
}

#[derive(Clone, Copy)]
struct Header {
    packet_type: u8,
    format: u8,
}

/// Takes one packet off `rest`: its header, and its body without padding. There are two ways to fail: outside, and what
/// follows cannot be trusted; inside, and it can.
fn split_packet<'a>(rest: &mut &'a [u8]) -> Result<(Header, Result<&'a [u8], RtcpError>), RtcpError> {
    let [first, packet_type, len_high, len_low] = *take(rest)?;
    if first >> 6 != 2 {
        return Err(RtcpError::Version(first >> 6));
    }
    let len = 4 * usize::from(u16::from_be_bytes([len_high, len_low]));
    let (body, after) = rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
    *rest = after;
    let padding = if first & 0x20 == 0 { Some(0) } else { body.last().copied().filter(|&count| count > 0) };
    let unpadded = padding.and_then(|count| body.get(..body.len().checked_sub(usize::from(count))?));
    Ok((Header { packet_type, format: first & 0x1f }, unpadded.ok_or(RtcpError::Padding)))
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], RtcpError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(RtcpError::Truncated)?;
    *bytes = rest;
    Ok(head)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, RtcpError> {
    take(bytes).map(|word| u32::from_be_bytes(*word))
}

fn take_entries<'a, const N: usize>(bytes: &mut &'a [u8], count: u8) -> Result<&'a [[u8; N]], RtcpError> {
    let (entries, rest) = bytes.split_at_checked(N * usize::from(count)).ok_or(RtcpError::Truncated)?;
    *bytes = rest;
    Ok(entries.as_chunks().0)
}

/// Iterates over the report blocks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [[u8; 24]]);

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(ReportBlock::parse(block))
    }
}

/// Iterates over a list of SSRCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [[u8; 4]]);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}

/// Iterates over the sequence numbers of a NACK, in the order written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostSequences<'a> {
    entries: &'a [[u8; 4]],
    pid: u16,
    /// Bit n: packet `pid + n` is lost and was not handed out yet.
    mask: u32,
}

impl Iterator for LostSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (&[pid_high, pid_low, blp_high, blp_low], rest) = self.entries.split_first()?;
            self.entries = rest;
            self.pid = u16::from_be_bytes([pid_high, pid_low]);
            self.mask = u32::from(u16::from_be_bytes([blp_high, blp_low])) << 1 | 1;
        }
        let offset = self.mask.trailing_zeros() as u16;
        self.mask &= self.mask - 1;
        Some(self.pid.wrapping_add(offset))
    }
}

/// Iterates over the chunks of a source description: an SSRC and its CNAME, if any. Ends where the bytes stop making
/// sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesChunks<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Iterator for SdesChunks<'a> {
    type Item = (u32, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let chunk = self.rest;
        let ssrc = take_u32(&mut self.rest).ok()?;
        let mut cname = None;
        loop {
            let [kind] = *take(&mut self.rest).ok()?;
            if kind == 0 {
                break;
            }
            let [len] = *take(&mut self.rest).ok()?;
            let (text, rest) = self.rest.split_at_checked(usize::from(len))?;
            self.rest = rest;
            if kind == CNAME {
                cname = Some(text);
            }
        }
        // The end mark is repeated until the chunk is a whole number of words (RFC 3550 section 6.5).
        let used = chunk.len() - self.rest.len();
        self.rest = chunk.get(used.next_multiple_of(4)..)?;
        Some((ssrc, cname))
    }
}
