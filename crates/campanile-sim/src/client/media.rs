//! What a client sends and receives on its media path.

use std::time::{Duration, Instant};

use campanile_media::mix::SILENCE;
use campanile_media::rtcp::{self, ReceptionStats, ReportBlock, RtcpItem, SenderInfo};
use campanile_media::rtp::{self, RtpHeader};
use rand_core::RngCore;

use super::{Client, Connection, Out};
use crate::picture::{DEPENDENCY_DESCRIPTOR, MID, Wire};

const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_SAMPLES: u32 = 960;
const OPUS: u8 = 111;
const AUDIO_LEVEL: u8 = 1;
const TRANSPORT_CC: u8 = 3;
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct AudioOut {
    pub(super) due: Instant,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The server asks that no silence be sent (DTX).
    pub(super) rests: bool,
}

#[derive(Debug)]
pub(super) struct AudioIn {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

impl Client {
    pub(crate) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) {
        if let Some(heard_at) = &mut self.connection.media_heard_at {
            *heard_at = now;
        }
        if rtcp::is_rtcp(bytes) {
            return self.handle_rtcp(bytes);
        }
        let header = RtpHeader::parse(bytes).expect("the server writes RTP");
        let payload = &bytes[header.payload.clone()];
        if header.payload_type == OPUS {
            return self.hear(now, &header, payload);
        }
        if let Some(&[high, low]) = header.extension(bytes, TRANSPORT_CC) {
            self.connection.arrivals.record(u16::from_be_bytes([high, low]), now);
        }
        let screens = &mut self.connection.screens;
        let screen = screens.iter_mut().find(|s| s.ssrc == header.ssrc || s.rtx_ssrc == Some(header.ssrc));
        // Packets of a subscription that has just ended may still be under way.
        let Some(screen) = screen else { return };
        let repairs = screen.rtx_ssrc == Some(header.ssrc);
        if let Some(name) = header.extension(bytes, MID) {
            assert_eq!(name, screen.mid.as_bytes(), "a packet of another section");
            screen.seen.named += 1;
        }
        let descriptor = header.extension(bytes, DEPENDENCY_DESCRIPTOR).unwrap_or_default();
        screen.receive(now, &header, payload, descriptor, repairs);
        if !repairs {
            self.connection.count(now, &header);
        }
    }

    fn hear(&mut self, now: Instant, header: &RtpHeader, payload: &[u8]) {
        self.audio_packets += 1;
        if payload == SILENCE {
            self.sound_began = None;
        } else {
            self.sound_began.get_or_insert((now, header.timestamp));
        }
        self.audible_packets += u64::from(payload != SILENCE);
        if let Some(ear) = &mut self.ear {
            ear.hear(header.sequence, payload);
        }
        let newest = AudioIn { ssrc: header.ssrc, sequence: header.sequence, timestamp: header.timestamp };
        let before = self.connection.audio_in.replace(newest);
        // Of the connection before this one, some may still be under way.
        let Some(before) = before.filter(|before| before.ssrc == header.ssrc) else { return };
        let step = header.sequence.wrapping_sub(before.sequence) as i16;
        let ticks = header.timestamp.wrapping_sub(before.timestamp) as i32;
        self.audio_breaks += u64::from(i32::from(step) * AUDIO_SAMPLES as i32 != ticks);
        if step < 0 {
            self.connection.audio_in = Some(before);
        }
    }

    fn handle_rtcp(&mut self, bytes: &[u8]) {
        let Client { connection, out, .. } = self;
        for item in rtcp::parse(bytes) {
            match item.expect("the server writes RTCP") {
                RtcpItem::Nack { ssrc, lost } => {
                    let Some(sender) = &mut connection.sender else { continue };
                    let mut send = |packet| out.push(Out::Datagram(packet));
                    let transport_sequence = &mut connection.transport_sequence;
                    sender.repair(ssrc, lost, &mut Wire { transport_sequence, send: &mut send });
                }
                RtcpItem::Pli { ssrc } | RtcpItem::Fir { ssrc, .. } => {
                    if let Some(sender) = &mut connection.sender {
                        sender.keyframe(ssrc);
                    }
                }
                RtcpItem::SenderReport { ssrc, info, .. }
                    if connection.audio_in.as_ref().is_some_and(|audio| audio.ssrc == ssrc) =>
                {
                    self.sound_report = Some(info);
                }
                RtcpItem::Remb { bitrate_bps, .. } => self.told_kbps = Some(bitrate_bps / 1000),
                _ => {}
            }
        }
    }

    pub(super) fn send_audio(&mut self, now: Instant) {
        let Client { connection, out, microphone, muted, .. } = self;
        let Some(audio) = &mut connection.audio_out else { return };
        while now >= audio.due {
            audio.due += AUDIO_INTERVAL;
            let timestamp = audio.timestamp;
            audio.timestamp = audio.timestamp.wrapping_add(AUDIO_SAMPLES);
            let Some((payload, level)) = microphone.next(*muted, audio.rests) else { continue };
            let mut packet = Vec::with_capacity(payload.len() + 20);
            let number = connection.transport_sequence.to_be_bytes();
            connection.transport_sequence = connection.transport_sequence.wrapping_add(1);
            let (first, level) = (audio.packets == 0, [level]);
            let extensions: [(u8, &[u8]); 2] = [(AUDIO_LEVEL, &level), (TRANSPORT_CC, &number)];
            let ssrc = connection.ssrc;
            rtp::write_header(&mut packet, OPUS, first, audio.sequence, timestamp, ssrc, &extensions);
            packet.extend_from_slice(payload);
            audio.sequence = audio.sequence.wrapping_add(1);
            audio.packets += 1;
            audio.bytes += payload.len() as u32;
            out.push(Out::Datagram(packet));
        }
    }

    pub(super) fn send_video(&mut self, now: Instant) {
        let Client { connection, out, .. } = self;
        if let Some(sender) = &mut connection.sender {
            let mut send = |packet| out.push(Out::Datagram(packet));
            let transport_sequence = &mut connection.transport_sequence;
            sender.handle_timeout(now, &mut Wire { transport_sequence, send: &mut send });
        }
        for screen in &mut connection.screens {
            if screen.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            let mut lost = Vec::new();
            let pli = screen.handle_timeout(now, &mut lost);
            let mut feedback = Vec::new();
            if !lost.is_empty() {
                rtcp::nack(&mut feedback, connection.ssrc, screen.ssrc, lost);
            }
            if pli {
                rtcp::pli(&mut feedback, connection.ssrc, screen.ssrc);
            }
            if !feedback.is_empty() {
                out.push(Out::Datagram(feedback));
            }
        }
    }

    /// Transport-wide feedback on what has arrived.
    pub(super) fn send_feedback(&mut self, now: Instant) {
        let Client { connection, out, feedback, .. } = self;
        while *feedback && connection.arrivals.poll_timeout().is_some_and(|due| due <= now) {
            let mut packet = Vec::new();
            connection.arrivals.build(now, connection.ssrc, 0, &mut packet);
            out.push(Out::Datagram(packet));
        }
    }

    pub(super) fn report(&mut self, now: Instant) {
        let Client { connection, out, bears_kbps, .. } = self;
        if connection.report_due.is_none_or(|due| now < due) {
            return;
        }
        connection.report_due = Some(now + REPORT_INTERVAL);
        let blocks: Vec<ReportBlock> =
            connection.receptions.iter_mut().filter_map(|(_, stats)| stats.report(now)).take(31).collect();
        let mut compound = Vec::new();
        match &connection.audio_out {
            Some(audio) => {
                let info = SenderInfo {
                    ntp: 0,
                    rtp_timestamp: audio.timestamp,
                    packets: audio.packets,
                    octets: audio.bytes,
                };
                rtcp::sender_report(&mut compound, connection.ssrc, &info, &blocks);
            }
            None => rtcp::receiver_report(&mut compound, connection.ssrc, &blocks),
        }
        rtcp::sdes_cname(&mut compound, connection.ssrc, "sim");
        if let Some(kbps) = bears_kbps {
            let ssrcs: Vec<u32> = connection.screens.iter().map(|screen| screen.ssrc).collect();
            rtcp::remb(&mut compound, connection.ssrc, *kbps * 1000, &ssrcs);
        }
        for layer in connection.sender.iter().flat_map(|sender| &sender.layers) {
            let info = SenderInfo {
                ntp: 0,
                rtp_timestamp: layer.timestamp,
                packets: layer.packets,
                octets: layer.bytes,
            };
            rtcp::sender_report(&mut compound, layer.ssrc, &info, &[]);
        }
        out.push(Out::Datagram(compound));
    }

    /// A layer of the camera stops, or goes on: its encoder, not its announcement.
    pub(crate) fn let_flow(&mut self, layer: usize, flows: bool) {
        if let Some(layer) = self.connection.sender.as_mut().and_then(|sender| sender.layers.get_mut(layer)) {
            layer.flows = flows;
            if flows {
                layer.encoder.want_keyframe();
            }
        }
    }

    /// So much is sent of a layer from now on, whatever was announced.
    pub(crate) fn layer_takes(&mut self, layer: usize, kbps: u32) {
        if let Some(layer) = self.connection.sender.as_mut().and_then(|sender| sender.layers.get_mut(layer)) {
            layer.takes(kbps);
        }
    }

    /// Pictures of this size from now on, each layer below with half of both; an encoder sends a keyframe then.
    pub(crate) fn resize(&mut self, width: u16, height: u16) {
        let layers = self.connection.sender.iter_mut().flat_map(|sender| sender.layers.iter_mut().rev());
        for (halvings, layer) in layers.enumerate() {
            layer.resize((width >> halvings, height >> halvings));
        }
    }

    /// Stops sending its largest size, without a keyframe, as encoders do.
    pub(crate) fn give_up_top(&mut self) {
        let layers = self.connection.sender.iter_mut().flat_map(|sender| &mut sender.layers);
        layers.for_each(|layer| layer.encoder.give_up_top());
    }

    /// So many sizes of each picture from now on, from a keyframe on.
    pub(crate) fn send_sizes(&mut self, spatial: u8) {
        let layers = self.connection.sender.iter_mut().flat_map(|sender| &mut sender.layers);
        layers.for_each(|layer| layer.encoder.send_sizes(spatial));
    }

    /// All layers begin anew, under new SSRCs.
    pub(crate) fn change_ssrcs(&mut self) {
        let rng = &mut self.rng;
        for layer in self.connection.sender.iter_mut().flat_map(|sender| &mut sender.layers) {
            layer.begin_anew(|| rng.next_u32());
        }
    }

    /// The same, under these: of each layer its own and its repairs'.
    pub(crate) fn change_ssrcs_to(&mut self, ssrcs: &[[u32; 2]]) {
        self.change_ssrcs();
        let layers = self.connection.sender.iter_mut().flat_map(|sender| &mut sender.layers);
        for (layer, [ssrc, rtx_ssrc]) in layers.zip(ssrcs) {
            (layer.ssrc, layer.rtx_ssrc) = (*ssrc, *rtx_ssrc);
        }
    }
}

impl Connection {
    fn count(&mut self, now: Instant, header: &RtpHeader) {
        let at = match self.receptions.iter().position(|(ssrc, _)| *ssrc == header.ssrc) {
            Some(at) => at,
            None => {
                self.receptions.push((header.ssrc, ReceptionStats::new(header.ssrc, 90_000)));
                self.receptions.len() - 1
            }
        };
        self.receptions[at].1.record(header.sequence, header.timestamp, now);
    }
}
