//! What the session sends by itself: a loop of sound, or silence, and a loop of pictures.

use std::time::Instant;

use aws_lc_rs::rand;
use campanile_opus::SILENCE;

use super::{AUDIO_INTERVAL, CATCH_UP_MAX, Driver, Link, SECOND};
use crate::engine::{AudioOut, VideoOut};
use crate::media::{AUDIO_PACKET_SAMPLES, AudioSource, VIDEO_CLOCK_HZ};
use crate::stamp::{Stamp, now_us};
use crate::status::Stage;

impl Driver {
    pub(super) fn wake_audio(&mut self, now: Instant) {
        let plays = !matches!(self.config.audio, AudioSource::Application);
        self.audio.due = plays.then(|| {
            let mut random = [0];
            let _ = rand::fill(&mut random);
            // Many sessions of one process shall not all send at the same moment.
            now + AUDIO_INTERVAL.mul_f64(f64::from(random[0]) / 256.0)
        });
    }

    pub(super) fn audio_due(&mut self, link: &mut Link, now: Instant) {
        for _ in 0..CATCH_UP_MAX {
            let Some(due) = self.audio.due.filter(|due| *due <= now) else { return };
            self.stats.lag.record(now - due);
            self.audio.due = Some(due + AUDIO_INTERVAL);
            let packet = match &self.config.audio {
                AudioSource::Loop(repeated) if !self.muted => {
                    let place = self.audio.position % repeated.packets.len().max(1);
                    self.audio.position = place + 1;
                    if let Some(tap) = &mut self.config.tap {
                        tap(place, now);
                    }
                    repeated.packets.get(place).map(|packet| (packet.clone(), repeated.level_db))
                }
                _ => None,
            };
            match packet {
                Some((packet, level_db)) => self.send_audio(link, now, level_db, &packet),
                None => self.send_silence(link, now),
            }
        }
        // Held up for longer than a microphone buffers: what was missed is gone.
        self.audio.due = Some(now + AUDIO_INTERVAL);
        self.skip_silence(now);
    }

    /// RTP time goes on while nothing is sent.
    pub(super) fn skip_silence(&mut self, now: Instant) {
        if let Some(last) = self.audio.sent_until {
            let missed = (now - last).as_millis() as u64 / 20;
            if missed > 5 {
                self.audio.time += (missed - 1) * AUDIO_PACKET_SAMPLES;
            }
        }
    }

    pub(super) fn send_audio(&mut self, link: &mut Link, now: Instant, level_db: u8, payload: &[u8]) {
        if self.muted {
            return self.send_silence(link, now);
        }
        self.audio.silence.speak();
        self.send_packet(link, now, level_db, Some(payload));
    }

    fn send_silence(&mut self, link: &mut Link, now: Instant) {
        let packet = self.audio.silence.next_packet();
        self.send_packet(link, now, 127, if link.rests { packet } else { Some(&SILENCE) });
    }

    /// The next 20 ms: a packet, or none.
    fn send_packet(&mut self, link: &mut Link, now: Instant, level_db: u8, payload: Option<&[u8]>) {
        let Some(engine) = link.engine.as_mut().filter(|_| link.stage == Stage::Live) else { return };
        if let Some(payload) = payload {
            engine.send_audio(now, AudioOut { time: self.audio.time, level_db, payload });
        }
        self.audio.time += AUDIO_PACKET_SAMPLES;
        self.audio.sent_until = Some(now);
    }

    pub(super) fn video_due(&mut self, link: &mut Link, now: Instant) {
        let Some(due) = self.video.due.filter(|due| *due <= now) else { return };
        let Some(source) = self.video.source.clone().filter(|_| link.camera_answered) else {
            self.video.due = None;
            return;
        };
        let interval = SECOND / source.framerate.max(1);
        // A camera that was held up drops pictures.
        self.video.due = Some((due + interval).max(now));
        self.video.number = self.video.number.wrapping_add(1);
        self.stats.video_frames_sent += 1;
        for (place, layer) in source.layers.iter().enumerate() {
            let position = self.video.positions.get(place).copied().unwrap_or(0);
            let Some(frame) = layer.frames.get(position % layer.frames.len().max(1)) else { continue };
            if let Some(next) = self.video.positions.get_mut(place) {
                *next = (position + 1) % layer.frames.len();
            }
            self.send_frame(link, now, place, frame);
        }
    }

    pub(super) fn send_frame(&mut self, link: &mut Link, now: Instant, place: usize, data: &[u8]) {
        let (Some(engine), Some(source)) = (&mut link.engine, &self.video.source) else { return };
        let Some(layer) = source.layers.get(place) else { return };
        let began = *self.video.began.get_or_insert(now);
        let time = (now - began).as_micros() as u64 * VIDEO_CLOCK_HZ / 1_000_000;
        let data = match source.stamp {
            Some(sender) => {
                Stamp { sender, number: self.video.number, sent_us: now_us() }.append(source.codec, data)
            }
            None => data.to_vec(),
        };
        engine.send_video(now, VideoOut { rid: layer.rid, codec: source.codec, time, data: data.into() });
    }

    /// A loop's first frame is a keyframe.
    pub(super) fn restart_loop(&mut self, rid: Option<&str>) {
        let Some(source) = &self.video.source else { return };
        for (layer, position) in source.layers.iter().zip(&mut self.video.positions) {
            if rid.is_none() || layer.rid == rid {
                *position = 0;
            }
        }
    }
}
