//! What the service says by its socket, and the first thing that we say.

use campanile_wire::signaling::{
    Adaption, AudioAttendeeState, AudioStreamIdInfo, ClientDetails, ClientFrame, Join, ServerFrame,
};

use super::{Driver, End, Link};
use crate::session::{Event, Level};
use crate::status::{SessionStatus, Stage};

impl Driver {
    pub(super) fn join_frame(&self) -> ClientFrame {
        let supported_adaptions = match self.config.adaption {
            Adaption::Default => Vec::new(),
            _ => vec![Adaption::None, Adaption::BandwidthProbing, Adaption::BandwidthProbingAndVideoQuality],
        };
        ClientFrame::Join(Join {
            protocol_version: 2,
            flags: 2,
            client: ClientDetails {
                platform_name: "campanile-client".into(),
                platform_version: env!("CARGO_PKG_VERSION").into(),
                client_source: "campanile-client".into(),
                chime_sdk_version: env!("CARGO_PKG_VERSION").into(),
                os_name: std::env::consts::OS.into(),
                ..ClientDetails::default()
            },
            audio_session_id: Some(self.audio_session_id.into()),
            wants_compressed_sdp: false,
            adaption: self.config.adaption,
            wants_all_temporal_layers: !supported_adaptions.is_empty(),
            supported_adaptions,
            disable_periodic_keyframes: false,
            max_videos: None,
        })
    }

    pub(super) async fn frame(&mut self, link: &mut Link, frame: ServerFrame) -> Option<End> {
        match frame {
            ServerFrame::Ping { id } => link.say(&ClientFrame::Pong { id }).await,
            ServerFrame::Pong { id } if id == link.ping_id => (link.pinged, link.missed) = (false, 0),
            ServerFrame::JoinAck(ack) => {
                link.ack_seen = true;
                link.server_chooses = self.config.adaption == Adaption::BandwidthProbingAndVideoQuality
                    && ack.default_adaption == Some(Adaption::BandwidthProbingAndVideoQuality);
            }
            ServerFrame::Index(index) => {
                self.index = index.sources;
                self.emit(Event::Sources(self.index.clone()));
                if link.stage == Stage::Joining {
                    link.timings.indexed = link.began.elapsed();
                    link.stage = Stage::Subscribing;
                }
                link.settled = false;
            }
            ServerFrame::SubscribeAck(ack) => {
                return self.answered(link, &ack).err().map(End::Status);
            }
            ServerFrame::AudioStreamIdInfo(entries) => self.roster(entries),
            ServerFrame::AudioMetadata(states) => {
                let level = |state: &AudioAttendeeState| Level {
                    attendee_id: self
                        .roster
                        .attendee(state.audio_stream_id)
                        .map(|who| who.attendee_id.clone()),
                    // As the JavaScript client shows attenuation.
                    volume: state.volume_db.map(|db| ((42.0 - f32::from(db)) / 28.0).clamp(0.0, 1.0)),
                    signal_strength: state.signal_strength,
                };
                let levels = states.iter().map(level).collect();
                self.emit(Event::Levels(levels));
            }
            ServerFrame::AudioStatus(status) => return SessionStatus::of_audio(status).map(End::Status),
            ServerFrame::DataMessages(messages) => {
                for message in messages {
                    self.emit(Event::Message(message));
                }
            }
            ServerFrame::Error { status, description, .. } => {
                tracing::debug!(status, description, "the service reports an error");
                if status == 206 {
                    self.stats.view_only = true;
                    self.video.source = None;
                    self.video.due = None;
                    self.emit(Event::ViewOnly);
                }
                return SessionStatus::of_error(status).map(End::Status);
            }
            _ => {}
        }
        None
    }

    pub(super) fn roster(&mut self, entries: Vec<AudioStreamIdInfo>) {
        for change in self.roster.apply(entries) {
            self.emit(Event::Roster(change));
        }
    }
}
