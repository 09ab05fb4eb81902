//! What the application says.

use std::time::Instant;

use campanile_wire::signaling::ClientFrame;

use super::{Driver, End, Link};
use crate::session::Command;
use crate::status::{ABNORMAL, SessionStatus, Stage};

impl Driver {
    pub(super) async fn command(&mut self, link: &mut Link, command: Command) -> Option<End> {
        let now = Instant::now();
        match command {
            Command::Mute(muted) => {
                self.muted = muted;
                link.say(&ClientFrame::AudioControl { muted }).await;
            }
            Command::Message(message) => {
                link.say(&ClientFrame::DataMessages(vec![message])).await;
            }
            Command::Audio { payload, level_db } => {
                self.skip_silence(now);
                self.send_audio(link, now, level_db, &payload);
            }
            Command::PlayAudio(source) => {
                self.config.audio = source;
                self.audio.position = 0;
                if link.stage == Stage::Live {
                    self.wake_audio(now);
                }
            }
            Command::Publish(source) => {
                self.video.source = source;
                self.video.due = None;
                link.settled = false;
            }
            Command::VideoFrame { layer, data } => {
                if link.camera_answered {
                    self.video.number += u32::from(layer == 0);
                    self.send_frame(link, now, layer, &data);
                }
            }
            Command::Watch(rule, chosen) => {
                (self.config.subscriptions, self.chosen) = (rule, chosen);
                link.settled = false;
            }
            Command::Pause(stream_ids) => link.say(&ClientFrame::Pause { stream_ids }).await,
            Command::Resume(stream_ids) => link.say(&ClientFrame::Resume { stream_ids }).await,
            Command::RequestKeyframe(stream_id) => {
                if let Some(engine) = &mut link.engine {
                    engine.request_keyframe(Instant::now(), stream_id);
                }
            }
            Command::Leave(done) => {
                self.leaving = Some(done);
                return Some(End::Left);
            }
            Command::Vanish => return Some(End::Vanished),
            Command::Cut => {
                // Dropping the stream, as `connection` will, closes TCP without a WebSocket close.
                link.socket_open = false;
                return SessionStatus::of_close(ABNORMAL, link.stage).map(End::Status);
            }
        }
        None
    }
}
