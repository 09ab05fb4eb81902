//! One session's media link: the peer, what was negotiated with it, and its RTP bookkeeping.

use std::hint::black_box;
use std::time::Instant;

use campanile_media::forward::{
    DESCRIPTOR_BYTES_MAX, Rewritten, StoredPacket, write_copy, write_retransmission,
};
use campanile_media::mix::{LegId, Mixer, SILENCE};
use campanile_media::peer::sdp::{Codec, Extensions, NegotiatedCodec};
use campanile_media::peer::{Departure, IceCredentials, Outbox, Peer, PeerAddr, Urgency};
use campanile_media::rtcp::{self, ReportBlock, SenderInfo, TwccRecorder};
use campanile_media::rtp;

use crate::bucket::TokenBucket;

mod reception;

use reception::Reception;
pub(crate) use reception::Route;

/// Packets sent again to one peer, whatever it asks for: 20 % of 25 videos at their best, and a keyframe's worth at once.
const REPAIRS_PER_SECOND: f64 = 1500.0;
const REPAIRS_BURST: f64 = 500.0;
/// Streams of a camera that begin anew under another SSRC: each empties a history and has all who watch wait for a keyframe.
const RESTARTS_PER_SECOND: f64 = 10.0;
const RESTARTS_BURST: f64 = 100.0;
/// 20 ms at 48 kHz.
const AUDIO_TICKS: u32 = 960;

/// The media side of a session, from its first SUBSCRIBE on.
#[repr(C)] // What each packet of sound needs comes first, as in `Peer`.
pub(crate) struct MediaLink {
    pub(crate) audio: Option<AudioLink>,
    /// At most `reception::SSRCS_MAX`.
    routes: Vec<Reception>,
    /// A SUBSCRIBE on it has said whether its attendee is muted.
    pub(crate) told_mute: bool,
    pub(crate) camera: Option<CameraLink>,
    pub(crate) downlinks: Vec<Downlink>,
    pub(crate) peer: Peer,
    /// This side's ICE credentials; `None` for a plain peer.
    pub(crate) local_ice: Option<IceCredentials>,
    /// The username fragment that the client offered (empty for a plain peer): another one is another connection.
    pub(crate) remote_ufrag: String,
    /// The video codecs that the client decodes, as far as its offers tell.
    pub(crate) decodable: Vec<Codec>,
    /// The addresses that the service finds it by.
    pub(crate) known_addresses: Vec<PeerAddr>,
    /// What may still be sent again.
    pub(crate) repairs: TokenBucket,
    /// How many of its streams may still begin anew.
    pub(crate) restarts: TokenBucket,
    twcc: TwccRecorder,
    /// Send times count from here.
    born: Instant,
    /// SSRC in which this server speaks RTCP to the peer.
    pub(crate) local_ssrc: u32,
    pub(crate) cname: String,
}

/// The audio section: one stream each way.
#[derive(Debug)]
pub(crate) struct AudioLink {
    /// Opus, and redundant audio made of it (RFC 2198) if the client knows that.
    pub(crate) payload_type: u8,
    pub(crate) red_payload_type: Option<u8>,
    pub(crate) ssrc: u32,
    pub(crate) level_extension: Option<u8>,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
    pub(crate) copies: Copies,
}

/// How many copies of earlier packets go with each packet of the mix, by what this listener reports lost. In-band FEC would be
/// in everybody's stream, and CELT has none; each copy costs as much as the packet itself.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    count: usize,
    reported_loss: u8,
    /// Reports in a row that would do with fewer.
    calm_reports: u32,
}

/// Loss, in 256ths, from which one copy is worth its bytes (2 %), and two (10 %). Above 60 % the network is full, and more
/// bytes make it worse.
const ONE_COPY_LOSS: u8 = 6;
const TWO_COPIES_LOSS: u8 = 26;
const HOPELESS_LOSS: u8 = 154;
/// Reports that must agree before copies are taken away: 10 s or more, at the one to five seconds between a browser's.
const CALM_REPORTS: u32 = 10;

impl Copies {
    /// How many copies go with each packet now.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What the last report said: the share lost in 256ths.
    pub(crate) fn reported_loss(&self) -> u8 {
        self.reported_loss
    }

    /// Takes the share of packets lost since the last report, 0 to 255 for all.
    fn note_loss(&mut self, fraction_lost: u8) {
        self.reported_loss = fraction_lost;
        let wanted = match fraction_lost {
            HOPELESS_LOSS.. => 0,
            TWO_COPIES_LOSS.. => 2,
            ONE_COPY_LOSS.. => 1,
            _ => 0,
        };
        if wanted >= self.count || fraction_lost >= HOPELESS_LOSS {
            (self.count, self.calm_reports) = (wanted, 0);
            return;
        }
        self.calm_reports += 1;
        if self.calm_reports >= CALM_REPORTS {
            (self.count, self.calm_reports) = (self.count - 1, 0);
        }
    }
}

/// The section in which the client sends its camera or content.
#[derive(Debug)]
pub(crate) struct CameraLink {
    pub(crate) mid: String,
    pub(crate) codecs: Vec<NegotiatedCodec>,
    pub(crate) extensions: Extensions,
    pub(crate) rids: Vec<String>,
}

/// A section in which the client receives a source.
#[derive(Debug)]
pub(crate) struct Downlink {
    pub(crate) mid: String,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    /// The last number of its retransmissions and padding.
    pub(crate) rtx_seq: u16,
    pub(crate) codecs: Vec<NegotiatedCodec>,
    pub(crate) extensions: Extensions,
    /// The client has reported on what it receives here: it knows which section that belongs to.
    pub(crate) is_reported: bool,
}

impl Downlink {
    /// The name of the section, which packets carry until the client is known to know it (RFC 8843 section 9.2). Their
    /// first ones may overtake the answer that gives their SSRC, and would be taken for another section's.
    fn name(&self) -> Option<(u8, &[u8])> {
        let id = self.extensions.mid.filter(|_| !self.is_reported)?;
        Some((id, self.mid.as_bytes()))
    }

    /// What packets say of their departure, and the room for it, which must be their first extension.
    fn departure(&self, born: Instant) -> (Departure, Option<(u8, &'static [u8])>) {
        match (self.extensions.transport_cc, self.extensions.abs_send_time) {
            (Some(id), _) => (Departure::Numbered, Some((id, &[0; 2]))),
            (None, Some(id)) => (Departure::Timed(born), Some((id, &[0; 3]))),
            (None, None) => (Departure::Unmarked, None),
        }
    }
}

impl MediaLink {
    pub(crate) fn new(
        now: Instant,
        peer: Peer,
        local_ice: Option<IceCredentials>,
        remote_ufrag: String,
        local_ssrc: u32,
    ) -> MediaLink {
        MediaLink {
            peer,
            local_ice,
            remote_ufrag,
            known_addresses: Vec::new(),
            decodable: Vec::new(),
            audio: None,
            told_mute: false,
            camera: None,
            downlinks: Vec::new(),
            routes: Vec::new(),
            repairs: TokenBucket::new(now, REPAIRS_PER_SECOND, REPAIRS_BURST),
            restarts: TokenBucket::new(now, RESTARTS_PER_SECOND, RESTARTS_BURST),
            twcc: TwccRecorder::default(),
            born: now,
            local_ssrc,
            cname: format!("campanile-{local_ssrc:08x}"),
        }
    }

    /// Sends one tick of the mix to this leg, or silence to a listener who must not hear it. Returns whether it is the first
    /// that is sent.
    pub(crate) fn send_audio(&mut self, shared: &mut Outbox, mixer: &Mixer, leg: Option<LegId>) -> bool {
        let Some(audio) = &mut self.audio else { return false };
        let copies = audio.red_payload_type.filter(|_| audio.copies.count > 0);
        let mut bytes = 0;
        let sent = self.peer.send_rtp(shared, |out| {
            let first = audio.packets == 0; // RFC 3551 section 4.1: marks the start of a talkspurt
            let payload_type = copies.unwrap_or(audio.payload_type);
            rtp::write_header(out, payload_type, first, audio.sequence, audio.timestamp, audio.ssrc, &[]);
            let header = out.len();
            match (leg, copies) {
                (Some(leg), Some(_)) => {
                    mixer.write_red_for(leg, audio.payload_type, audio.copies.count, out);
                }
                (Some(leg), None) => out.extend_from_slice(mixer.payload_for(leg)),
                (None, Some(_)) => {
                    out.push(audio.payload_type); // RFC 2198: no copies
                    out.extend_from_slice(&SILENCE);
                }
                (None, None) => out.extend_from_slice(&SILENCE),
            }
            bytes = out.len() - header;
        });
        if sent {
            audio.sequence = audio.sequence.wrapping_add(1);
            audio.packets = audio.packets.wrapping_add(1);
            audio.bytes = audio.bytes.wrapping_add(bytes as u32);
        }
        audio.timestamp = audio.timestamp.wrapping_add(AUDIO_TICKS);
        sent && audio.packets == 1
    }

    /// Takes a report block on something that we send.
    pub(crate) fn note_report(&mut self, block: &ReportBlock) {
        if let Some(audio) = self.audio.as_mut().filter(|audio| audio.ssrc == block.ssrc) {
            audio.copies.note_loss(block.fraction_lost);
        }
        if let Some(downlink) = self.downlinks.iter_mut().find(|downlink| downlink.ssrc == block.ssrc) {
            downlink.is_reported = true;
        }
    }

    /// Sends one video packet on the downlink of this SSRC, when the network bears it; false when the subscriber cannot take
    /// its codec, or is not connected.
    pub(crate) fn send_video(
        &mut self,
        now: Instant,
        ssrc: u32,
        codec: &Codec,
        numbers: Rewritten,
        packet: &StoredPacket,
        is_repair: bool,
    ) -> bool {
        let Some(downlink) = self.downlinks.iter_mut().find(|downlink| downlink.ssrc == ssrc) else {
            return false;
        };
        downlink.rtx_seq = downlink.rtx_seq.wrapping_add(is_repair.into());
        let Some(accepted) = downlink.codecs.iter().find(|accepted| accepted.codec.is_same_format(*codec))
        else {
            return false;
        };
        let orientation = [packet.orientation.unwrap_or(0)];
        let mut descriptor = [0; DESCRIPTOR_BYTES_MAX];
        let mut extensions: [(u8, &[u8]); 4] = [(0, &[]); 4];
        let mut count = 0;
        let (departure, mark) = downlink.departure(self.born);
        for extension in [mark, downlink.name()].into_iter().flatten() {
            extensions[count] = extension;
            count += 1;
        }
        if let (Some(id), Some(_)) = (downlink.extensions.video_orientation, packet.orientation) {
            extensions[count] = (id, &orientation);
            count += 1;
        }
        if let Some(id) = downlink.extensions.dependency_descriptor
            && let Some(descriptor) = numbers.descriptor(packet, &mut descriptor)
        {
            extensions[count] = (id, descriptor);
            count += 1;
        }
        let extensions = &extensions[..count];
        if !is_repair {
            return self.peer.send_video(now, Urgency::Media, departure, |out| {
                write_copy(out, ssrc, accepted.pt, extensions, numbers, packet);
            });
        }
        let Some(rtx_pt) = accepted.rtx_pt else { return false };
        let (rtx_ssrc, rtx_seq) = (downlink.rtx_ssrc, downlink.rtx_seq);
        self.peer.send_video(now, Urgency::Repair, departure, |out| {
            write_retransmission(out, rtx_ssrc, rtx_pt, rtx_seq, extensions, numbers, packet);
        })
    }

    /// Reads what [`send_video`](Self::send_video) needs, as [`Peer::fetch`] does.
    pub(crate) fn fetch_for_video(&self, now: Instant, ssrc: u32) {
        let downlink = self.downlinks.iter().find(|downlink| downlink.ssrc == ssrc);
        black_box(downlink.and_then(|downlink| downlink.codecs.first()).map(|codec| codec.pt));
        self.peer.fetch_for_video(now);
    }

    /// Whether there is anything to pace: video is sent, or some of it still waits.
    pub(crate) fn is_paced(&self, now: Instant) -> bool {
        !self.downlinks.is_empty() || self.peer.next_release(now).is_some()
    }

    /// Lets paced packets go that may leave now, and fills a probe up with padding.
    pub(crate) fn release(&mut self, now: Instant) {
        self.peer.estimator().handle_timeout(now);
        self.peer.release(now);
        while self.peer.wants_padding(now) {
            if !self.send_padding(now) {
                self.peer.estimator().cannot_pad(now);
            }
        }
    }

    /// Padding goes where retransmissions do: no decoder sees it.
    fn send_padding(&mut self, now: Instant) -> bool {
        let rtx = |downlink: &Downlink| downlink.codecs.iter().find_map(|codec| codec.rtx_pt);
        let Some(downlink) = self.downlinks.iter_mut().find(|downlink| rtx(downlink).is_some()) else {
            return false;
        };
        let (Departure::Numbered, Some(mark)) = downlink.departure(self.born) else { return false };
        let payload_type = rtx(downlink).unwrap_or_default();
        downlink.rtx_seq = downlink.rtx_seq.wrapping_add(1);
        let (sequence, ssrc) = (downlink.rtx_seq, downlink.rtx_ssrc);
        let both = [mark, downlink.name().unwrap_or(mark)];
        let extensions = &both[..1 + usize::from(downlink.name().is_some())];
        self.peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
            rtp::write_padding(out, payload_type, sequence, 0, ssrc, extensions);
        })
    }

    /// Transport-wide feedback for what came since the last time, if something did.
    pub(crate) fn send_transport_feedback(&mut self, now: Instant) -> bool {
        let (twcc, ssrc) = (&mut self.twcc, self.local_ssrc);
        let media_ssrc = self.routes.first().map_or(0, |reception| reception.ssrc);
        let mut any = false;
        while twcc.poll_timeout().is_some_and(|due| due <= now) {
            let sent = self.peer.send_rtcp(|out| {
                twcc.build(now, ssrc, media_ssrc, out);
            });
            any |= sent;
            if !sent {
                break;
            }
        }
        any
    }

    /// The regular compound: reports on what we send and on what we receive (RFC 3550 section 6.4).
    ///
    /// The mix tells how its clock goes with that of the pictures: what was said at `now` will leave `sound_delay` samples
    /// later than what was shown, in a packet of that much higher a timestamp. `video` is what was sent on each downlink.
    /// Returns how many packets of the microphone's were expected since the last report, and lost.
    pub(crate) fn send_reports(
        &mut self,
        now: Instant,
        ntp: u64,
        sound_delay: u32,
        video: &[(u32, SenderInfo)],
    ) -> Option<(u64, u64)> {
        let mut blocks = Vec::with_capacity(self.routes.len());
        let mut microphone = None;
        for reception in &mut self.routes {
            if reception.route == Route::Audio {
                microphone = Some(reception.stats.since_report());
            }
            let Some(block) = reception.stats.report(now) else { continue };
            blocks.push(block);
        }
        let (audio, local_ssrc, cname) = (&self.audio, self.local_ssrc, self.cname.as_str());
        self.peer.send_rtcp(|out| {
            match audio {
                Some(audio) if audio.packets > 0 => {
                    let info = SenderInfo {
                        ntp,
                        // Of the packet that has just left, and so much later.
                        rtp_timestamp: audio.timestamp.wrapping_sub(AUDIO_TICKS).wrapping_add(sound_delay),
                        packets: audio.packets,
                        octets: audio.bytes,
                    };
                    rtcp::sender_report(out, audio.ssrc, &info, &blocks);
                }
                _ => rtcp::receiver_report(out, local_ssrc, &blocks),
            }
            rtcp::sdes_cname(out, local_ssrc, cname);
            for (ssrc, info) in video {
                rtcp::sender_report(out, *ssrc, info, &[]);
            }
        });
        microphone
    }

    /// Lets the peer's own timers run, if they are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.peer.poll_timeout().is_some_and(|due| due <= now);
        if is_due {
            self.peer.handle_timeout(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_come_with_loss_and_go_with_long_calm() {
        let mut copies = Copies::default();
        let mut check = |losses: &[u8], expected: usize| {
            losses.iter().for_each(|loss| copies.note_loss(*loss));
            assert_eq!(copies.count, expected, "{losses:?}");
        };
        check(&[0, 5, 0], 0);
        check(&[6], 1);
        check(&[40], 2);
        check(&[0; 9], 2);
        check(&[30], 2);
        check(&[0; 10], 1);
        check(&[0; 10], 0);
        check(&[200], 0);
        check(&[100, 200], 0);
    }
}
