//! Writers: each appends whole RTCP packets to a buffer, and allocates nothing else.

use super::{
    CNAME, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, GOODBYE, PAYLOAD, RECEIVER_REPORT,
    REMB_NAME, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT,
};

/// What the five bits of a count can say.
const COUNT_MAX: usize = 31;

/// Entries of one NACK: 1000 bytes, so that it fits a datagram. Who lacks more should ask for a keyframe.
const NACK_ENTRIES_MAX: usize = 250;

/// Appends one packet: header, whatever `body` writes, zeros up to a whole word.
pub(super) fn packet(out: &mut Vec<u8>, packet_type: u8, format: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0x80 | format, packet_type, 0, 0]);
    body(out);
    let len = (out.len() - start).next_multiple_of(4);
    out.resize(start + len, 0);
    let words = u16::try_from(len / 4 - 1).expect("every writer's body is bounded well below 256 KiB");
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, word: u32) {
    out.extend(word.to_be_bytes());
}

/// A sender report; blocks beyond the 31 that fit follow in receiver reports.
pub fn sender_report(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) {
    let (first, more) = blocks.split_at(blocks.len().min(COUNT_MAX));
    packet(out, SENDER_REPORT, first.len() as u8, |out| {
        put_u32(out, ssrc);
        out.extend(info.ntp.to_be_bytes());
        put_u32(out, info.rtp_timestamp);
        put_u32(out, info.packets);
        put_u32(out, info.octets);
        put_blocks(out, first);
    });
    if !more.is_empty() {
        receiver_report(out, ssrc, more);
    }
}

/// A receiver report, or as many as it takes for all blocks; without any block, an empty one.
pub fn receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let mut rest = blocks;
    loop {
        let (now, later) = rest.split_at(rest.len().min(COUNT_MAX));
        packet(out, RECEIVER_REPORT, now.len() as u8, |out| {
            put_u32(out, ssrc);
            put_blocks(out, now);
        });
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        put_u32(out, block.ssrc);
        // One byte and the lower 24 bits of a signed number.
        let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        put_u32(out, u32::from(block.fraction_lost) << 24 | lost);
        put_u32(out, block.highest_seq);
        put_u32(out, block.jitter);
        put_u32(out, block.lsr);
        put_u32(out, block.dlsr);
    }
}

/// A source description with a CNAME alone, of which the first 255 bytes are taken.
pub fn sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let text = &cname.as_bytes()[..cname.len().min(255)];
    packet(out, SOURCE_DESCRIPTION, 1, |out| {
        put_u32(out, ssrc);
        out.extend([CNAME, text.len() as u8]);
        out.extend(text);
        // At least one end mark; the packet's own filling adds the others.
        out.push(0);
    });
}

/// A goodbye for up to 31 SSRCs, without a reason.
pub fn bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(COUNT_MAX)];
    packet(out, GOODBYE, ssrcs.len() as u8, |out| ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc)));
}

/// Asks for packets of `media_ssrc` again; best in ascending order, which packs up to 17 in one entry. Writes nothing
/// for none; leaves out what does not fit 250 entries.
pub fn nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, lost: impl IntoIterator<Item = u16>) {
    let mut lost = lost.into_iter().peekable();
    if lost.peek().is_none() {
        return;
    }
    packet(out, TRANSPORT, FORMAT_NACK, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
        for _ in 0..NACK_ENTRIES_MAX {
            let Some(pid) = lost.next() else { break };
            let mut mask = 0u16;
            while let Some(next) = lost.next_if(|next| (1..=16).contains(&next.wrapping_sub(pid))) {
                mask |= 1 << (next.wrapping_sub(pid) - 1);
            }
            out.extend(pid.to_be_bytes());
            out.extend(mask.to_be_bytes());
        }
    });
}

/// Asks for a keyframe of `media_ssrc`.
pub fn pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    packet(out, PAYLOAD, FORMAT_PLI, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
    });
}

/// Asks for a keyframe of `media_ssrc`, for senders that want FIR. `sequence` grows with each new request.
pub fn fir(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, sequence: u8) {
    packet(out, PAYLOAD, FORMAT_FIR, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, 0);
        put_u32(out, media_ssrc);
        out.extend([sequence, 0, 0, 0]);
    });
}

/// Says how much can be received, of up to 255 SSRCs together. Rounds down to 18 significant bits.
pub fn remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate_bps >> exponent) as u32;
    packet(out, PAYLOAD, FORMAT_APPLICATION, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, 0);
        out.extend(REMB_NAME);
        put_u32(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    });
}
