//! What the service says.

use std::fmt;

use super::client::ping_pong;
use super::proto::sdk_signal_frame::Type;
use super::{
    Adaption, Duplex, FrameError, FrameKind, NotificationLevel, Sdp, Secret, SignalStrength,
    StreamDescriptor, VideoCodec, frame, present, proto, to_bytes,
};

/// One frame to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame {
    /// Asks whether the client is still there; it answers with the same id.
    Ping {
        /// To be repeated in the answer.
        id: u32,
    },
    /// Answers the client's ping.
    Pong {
        /// The ping's id.
        id: u32,
    },
    /// Answers JOIN, always before the first INDEX.
    JoinAck(JoinAck),
    /// Everything on offer; replaces the index before it.
    Index(Index),
    /// Answers each SUBSCRIBE, in order.
    SubscribeAck(Box<SubscribeAck>),
    /// Answers LEAVE; without it the client waits for 15 s.
    LeaveAck,
    /// Changes of the roster, or the whole of it when first sent on a connection.
    AudioStreamIdInfo(Vec<AudioStreamIdInfo>),
    /// Levels, five times a second. If any entry has a volume, whoever has none is silent; if any has a signal strength,
    /// whoever has none is heard well. An empty list changes nothing.
    AudioMetadata(Vec<AudioAttendeeState>),
    /// Mostly, why this session ends.
    AudioStatus(AudioStatus),
    /// Data messages of others, or a throttled one back to its sender.
    DataMessages(Vec<DeliveredMessage>),
    /// What streams take on average, every 2 to 4 s, and what this client can receive.
    Bitrates {
        /// Fresh averages for the index.
        bitrates: Vec<StreamBitrate>,
        /// What the service believes it can send to this client; `None` for no estimate.
        server_available_outgoing_bitrate_kbps: Option<u32>,
    },
    /// These sources do not fit the client's bandwidth any more. (Clients ignore stream ids here.)
    Pause {
        /// Groups of the index.
        group_ids: Vec<u32>,
    },
    /// Undoes [`ServerFrame::Pause`].
    Resume {
        /// Groups of the index.
        group_ids: Vec<u32>,
    },
    /// Overrides whatever `on` means; most statuses end the session.
    Error {
        /// 206 refuses video only; 403, 409, 509 and other 4xx are terminal, other 5xx retried (`MeetingSessionStatus`
        /// of the clients). 0 is no error to a client: never use it.
        status: u32,
        /// For people who read dumps; clients do not look at it.
        description: String,
        /// The type that the frame carries. Not [`FrameKind::Notification`] nor [`FrameKind::PrimaryMeetingJoinAck`],
        /// where clients do not look for errors or look for them differently.
        on: FrameKind,
    },
    /// Answers PRIMARY_MEETING_JOIN.
    PrimaryMeetingJoinAck {
        /// `None` admits the attendee; else a status as in [`ServerFrame::Error`].
        error: Option<u32>,
    },
    /// The attendee takes part in the primary meeting no more.
    PrimaryMeetingLeave,
    /// A line for the client's log.
    Notification {
        /// How loud.
        level: NotificationLevel,
        /// What to write.
        message: String,
    },
}

/// What the session is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinAck {
    /// With a URI, the client uses that relay and nothing else. *Without any URI*, it connects directly and starts
    /// fastest. `None` also connects directly, after all candidates are gathered.
    pub turn: Option<TurnCredentials>,
    /// Remote videos the client may subscribe to; 0 for its own limit of 25.
    pub video_subscription_limit: u32,
    /// The client shall compress its offers.
    pub wants_compressed_sdp: bool,
    /// Who chooses the layers. `None` leaves the field out, which makes clients that asked for more fall back to
    /// choosing by themselves.
    pub default_adaption: Option<Adaption>,
}

/// How to reach a TURN relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnCredentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// How long both are good for.
    pub ttl_seconds: u32,
    /// `turn:` and `turns:` URIs.
    pub uris: Vec<String>,
}

/// Everything on offer to one client. Never the client's own camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// No further camera can be switched on.
    pub at_capacity: bool,
    /// The streams.
    pub sources: Vec<StreamDescriptor>,
    /// Streams that their sender cannot keep up at the moment.
    pub paused_at_source_ids: Vec<u32>,
    /// Attendees in the meeting; 0 for unknown.
    pub num_participants: u32,
    /// Codecs that every receiver can decode; empty for no constraint.
    pub supported_receive_codecs: Vec<VideoCodec>,
}

/// The answer to an offer, and what flows where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeAck {
    /// The SUBSCRIBE's.
    pub duplex: Duplex,
    /// The server's ids for the client's *video* streams, in the order and number of the SUBSCRIBE's descriptors.
    pub allocations: Vec<StreamAllocation>,
    /// The answer.
    pub sdp: Sdp,
    /// One per video section that the server sends on.
    pub tracks: Vec<TrackMapping>,
}

/// The ids under which a client's stream is on offer to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAllocation {
    /// The SUBSCRIBE's label.
    pub track_label: String,
    /// The stream.
    pub stream_id: u32,
    /// Its group.
    pub group_id: u32,
}

/// Which stream a video section carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackMapping {
    /// As requested in `receive_stream_ids`; above 0.
    pub stream_id: u32,
    /// The main SSRC on the wire.
    pub ssrc: u32,
    /// The section's stream id in its `a=msid`: `v_<mid>`.
    pub track_label: String,
}

/// One change of the roster. Which fields are *present* is all that tells these apart on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioStreamIdInfo {
    /// An attendee is here.
    Present {
        /// Above 0, unique in the meeting and growing; a new one at each (re)join.
        audio_stream_id: u32,
        /// The attendee, perhaps with `#content`; not empty.
        attendee_id: String,
        /// The caller's own name for the attendee.
        external_user_id: String,
        /// The microphone is muted. `None`: as before, for who is known already.
        muted: Option<bool>,
    },
    /// An attendee muted or unmuted.
    Mute {
        /// Who.
        audio_stream_id: u32,
        /// The microphone is muted.
        muted: bool,
    },
    /// An attendee is gone. Written without `attendee_id` and without `muted`: clients take an entry with `muted`, even
    /// false, for a mute, and the attendee would never leave.
    Left {
        /// Who.
        audio_stream_id: u32,
        /// The connection was lost, rather than left.
        dropped: bool,
    },
}

/// How an attendee sounds. Muted attendees are silent to the clients, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioAttendeeState {
    /// Who; 0 is nobody, and with a volume silences everybody.
    pub audio_stream_id: u32,
    /// *Attenuation*: 0 is loudest, 127 silent. Clients show 14 and below as full, 42 and above as nothing.
    pub volume_db: Option<u8>,
    /// How well the service hears this attendee.
    pub signal_strength: Option<SignalStrength>,
}

/// What became of an attendee's audio, and with it of the session. No variant is 0, which clients take for a terminal
/// disconnection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioStatus {
    /// All is well.
    Ok = 200,
    /// Terminal: another device has taken over.
    JoinedFromAnotherDevice = 301,
    /// Terminal: not admitted.
    AuthenticationRejected = 403,
    /// Terminal: the meeting is full.
    CallAtCapacity = 409,
    /// Terminal: the meeting is over.
    MeetingEnded = 410,
    /// Terminal: the attendee was removed.
    AttendeeRemoved = 411,
    /// The client reconnects.
    InternalServerError = 500,
    /// The client reconnects.
    ServiceUnavailable = 503,
}

/// A data message as it reaches a client. `Debug` shows only the size of its body.
#[derive(Clone, PartialEq, Eq)]
pub struct DeliveredMessage {
    /// What it is about.
    pub topic: String,
    /// The body.
    pub data: Vec<u8>,
    /// Who sent it.
    pub sender_attendee_id: String,
    /// The caller's own name for the sender.
    pub sender_external_user_id: String,
    /// When the service received it, since the epoch; strictly growing within a meeting. 0 says to its sender that it
    /// was throttled. Always written, also when 0.
    pub ingest_time_ns: i64,
}

impl fmt::Debug for DeliveredMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveredMessage")
            .field("topic", &self.topic)
            .field("data", &format_args!("<{} bytes>", self.data.len()))
            .field("sender_attendee_id", &self.sender_attendee_id)
            .field("ingest_time_ns", &self.ingest_time_ns)
            .finish_non_exhaustive()
    }
}

/// What a stream takes on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamBitrate {
    /// A stream of the index.
    pub stream_id: u32,
    /// Its average over the last seconds.
    pub avg_bitrate_bps: u32,
}

impl ServerFrame {
    /// The message, with its leading byte. `timestamp_ms` is the service's time since the epoch.
    pub fn encode(&self, timestamp_ms: u64) -> Vec<u8> {
        let frame = |kind: Type| frame(kind as i32, timestamp_ms);
        to_bytes(&match self {
            Self::Ping { id } => {
                let ping_pong = ping_pong(proto::SdkPingPongType::Ping, *id);
                proto::SdkSignalFrame { ping_pong, ..frame(Type::PingPong) }
            }
            Self::Pong { id } => {
                let ping_pong = ping_pong(proto::SdkPingPongType::Pong, *id);
                proto::SdkSignalFrame { ping_pong, ..frame(Type::PingPong) }
            }
            Self::JoinAck(ack) => {
                proto::SdkSignalFrame { joinack: Some(ack.to_proto()), ..frame(Type::JoinAck) }
            }
            Self::Index(index) => {
                proto::SdkSignalFrame { index: Some(index.to_proto()), ..frame(Type::Index) }
            }
            Self::SubscribeAck(ack) => {
                proto::SdkSignalFrame { suback: Some(ack.to_proto()), ..frame(Type::SubscribeAck) }
            }
            Self::LeaveAck => {
                proto::SdkSignalFrame { leave_ack: Some(proto::SdkLeaveAckFrame {}), ..frame(Type::LeaveAck) }
            }
            Self::AudioStreamIdInfo(changes) => {
                let streams = changes.iter().map(AudioStreamIdInfo::to_proto).collect();
                proto::SdkSignalFrame {
                    audio_stream_id_info: Some(proto::SdkAudioStreamIdInfoFrame { streams }),
                    ..frame(Type::AudioStreamIdInfo)
                }
            }
            Self::AudioMetadata(states) => {
                let attendee_states = states.iter().map(|state| state.to_proto()).collect();
                proto::SdkSignalFrame {
                    audio_metadata: Some(proto::SdkAudioMetadataFrame { attendee_states }),
                    ..frame(Type::AudioMetadata)
                }
            }
            Self::AudioStatus(status) => {
                let audio_status = Some(*status as u32);
                proto::SdkSignalFrame {
                    audio_status: Some(proto::SdkAudioStatusFrame { audio_status }),
                    ..frame(Type::AudioStatus)
                }
            }
            Self::DataMessages(messages) => {
                let messages = messages.iter().map(DeliveredMessage::to_proto).collect();
                proto::SdkSignalFrame {
                    data_message: Some(proto::SdkDataMessageFrame { messages }),
                    ..frame(Type::DataMessage)
                }
            }
            Self::Bitrates { bitrates, server_available_outgoing_bitrate_kbps } => {
                let bitrates = bitrates.iter().map(|of| proto::SdkBitrate {
                    source_stream_id: Some(of.stream_id),
                    avg_bitrate_bps: Some(of.avg_bitrate_bps),
                });
                proto::SdkSignalFrame {
                    bitrates: Some(proto::SdkBitrateFrame {
                        bitrates: bitrates.collect(),
                        server_available_outgoing_bitrate: *server_available_outgoing_bitrate_kbps,
                    }),
                    ..frame(Type::Bitrates)
                }
            }
            Self::Pause { group_ids } => {
                proto::SdkSignalFrame { pause: some_groups(group_ids), ..frame(Type::Pause) }
            }
            Self::Resume { group_ids } => {
                proto::SdkSignalFrame { pause: some_groups(group_ids), ..frame(Type::Resume) }
            }
            Self::Error { status, description, on } => {
                proto::SdkSignalFrame { error: some_error(*status, description), ..frame(*on) }
            }
            Self::PrimaryMeetingJoinAck { error } => proto::SdkSignalFrame {
                error: error.and_then(|status| some_error(status, "")),
                primary_meeting_join_ack: Some(proto::SdkPrimaryMeetingJoinAckFrame {}),
                ..frame(Type::PrimaryMeetingJoinAck)
            },
            Self::PrimaryMeetingLeave => proto::SdkSignalFrame {
                primary_meeting_leave: Some(proto::SdkPrimaryMeetingLeaveFrame {}),
                ..frame(Type::PrimaryMeetingLeave)
            },
            Self::Notification { level, message } => proto::SdkSignalFrame {
                notification: Some(proto::SdkNotificationFrame {
                    level: Some(level.to_wire()),
                    message: Some(message.clone()),
                }),
                ..frame(Type::Notification)
            },
        })
    }

    pub(super) fn from_proto(frame: proto::SdkSignalFrame) -> Result<Self, FrameError> {
        let kind = Type::try_from(frame.r#type).map_err(|_| FrameError::UnknownType(frame.r#type))?;
        let error = frame.error.filter(|error| error.status() != 0);
        match (kind, error) {
            (Type::Notification, _) | (_, None) => {}
            (Type::PrimaryMeetingJoinAck, Some(error)) => {
                return Ok(Self::PrimaryMeetingJoinAck { error: Some(error.status()) });
            }
            (on, Some(error)) => {
                let status = error.status();
                return Ok(Self::Error { status, description: error.description.unwrap_or_default(), on });
            }
        }
        Ok(match kind {
            Type::PingPong => {
                let body = frame.ping_pong.ok_or(FrameError::Missing("ping_pong"))?;
                match proto::SdkPingPongType::try_from(body.r#type) {
                    Ok(proto::SdkPingPongType::Ping) => Self::Ping { id: body.ping_id },
                    Ok(proto::SdkPingPongType::Pong) => Self::Pong { id: body.ping_id },
                    Err(_) => return Err(FrameError::Invalid("ping_pong.type")),
                }
            }
            Type::JoinAck => {
                Self::JoinAck(JoinAck::from_proto(frame.joinack.ok_or(FrameError::Missing("joinack"))?))
            }
            Type::Index => Self::Index(Index::from_proto(frame.index.ok_or(FrameError::Missing("index"))?)?),
            Type::SubscribeAck => {
                let body = frame.suback.ok_or(FrameError::Missing("suback"))?;
                Self::SubscribeAck(Box::new(SubscribeAck::from_proto(body)?))
            }
            Type::LeaveAck => {
                frame.leave_ack.ok_or(FrameError::Missing("leave_ack"))?;
                Self::LeaveAck
            }
            Type::AudioStreamIdInfo => {
                let body = frame.audio_stream_id_info.ok_or(FrameError::Missing("audio_stream_id_info"))?;
                Self::AudioStreamIdInfo(body.streams.into_iter().map(AudioStreamIdInfo::from_proto).collect())
            }
            Type::AudioMetadata => {
                let body = frame.audio_metadata.ok_or(FrameError::Missing("audio_metadata"))?;
                Self::AudioMetadata(body.attendee_states.iter().map(AudioAttendeeState::from_proto).collect())
            }
            Type::AudioStatus => {
                let body = frame.audio_status.ok_or(FrameError::Missing("audio_status"))?;
                let number = body.audio_status();
                let status = AudioStatus::from_wire(number);
                Self::AudioStatus(status.ok_or(FrameError::UnknownAudioStatus(number))?)
            }
            Type::DataMessage => {
                let body = frame.data_message.ok_or(FrameError::Missing("data_message"))?;
                Self::DataMessages(body.messages.into_iter().map(DeliveredMessage::from_proto).collect())
            }
            Type::Bitrates => {
                let body = frame.bitrates.ok_or(FrameError::Missing("bitrates"))?;
                let bitrates = body.bitrates.iter().map(|of| StreamBitrate {
                    stream_id: of.source_stream_id(),
                    avg_bitrate_bps: of.avg_bitrate_bps(),
                });
                Self::Bitrates {
                    bitrates: bitrates.collect(),
                    server_available_outgoing_bitrate_kbps: body.server_available_outgoing_bitrate,
                }
            }
            // Both types share one field.
            Type::Pause => {
                Self::Pause { group_ids: frame.pause.ok_or(FrameError::Missing("pause"))?.group_ids }
            }
            Type::Resume => {
                Self::Resume { group_ids: frame.pause.ok_or(FrameError::Missing("pause"))?.group_ids }
            }
            Type::PrimaryMeetingJoinAck => {
                frame.primary_meeting_join_ack.ok_or(FrameError::Missing("primary_meeting_join_ack"))?;
                Self::PrimaryMeetingJoinAck { error: None }
            }
            Type::PrimaryMeetingLeave => {
                frame.primary_meeting_leave.ok_or(FrameError::Missing("primary_meeting_leave"))?;
                Self::PrimaryMeetingLeave
            }
            Type::Notification => {
                let body = frame.notification.ok_or(FrameError::Missing("notification"))?;
                let level = body.level.and_then(NotificationLevel::from_wire);
                Self::Notification {
                    level: level.unwrap_or(NotificationLevel::Error),
                    message: body.message.unwrap_or_default(),
                }
            }
            Type::Join
            | Type::Subscribe
            | Type::Leave
            | Type::AudioControl
            | Type::ClientMetric
            | Type::RemoteVideoUpdate
            | Type::PrimaryMeetingJoin
            | Type::MeetingSessionTiming => return Err(FrameError::UnknownType(frame.r#type)),
        })
    }
}

impl JoinAck {
    fn to_proto(&self) -> proto::SdkJoinAckFrame {
        let turn_credentials = self.turn.as_ref().map(|turn| proto::SdkTurnCredentials {
            username: Some(turn.username.clone()),
            password: Some(turn.password.0.clone()),
            ttl: Some(turn.ttl_seconds),
            uris: turn.uris.clone(),
        });
        proto::SdkJoinAckFrame {
            turn_credentials,
            video_subscription_limit: Some(self.video_subscription_limit),
            wants_compressed_sdp: Some(self.wants_compressed_sdp),
            default_server_side_network_adaption: self.default_adaption.map(Adaption::to_wire),
        }
    }

    fn from_proto(ack: proto::SdkJoinAckFrame) -> Self {
        Self {
            video_subscription_limit: ack.video_subscription_limit(),
            wants_compressed_sdp: ack.wants_compressed_sdp(),
            default_adaption: ack.default_server_side_network_adaption.and_then(Adaption::from_wire),
            turn: ack.turn_credentials.map(|turn| TurnCredentials {
                ttl_seconds: turn.ttl(),
                username: turn.username.unwrap_or_default(),
                password: Secret(turn.password.unwrap_or_default()),
                uris: turn.uris,
            }),
        }
    }
}

impl Index {
    fn to_proto(&self) -> proto::SdkIndexFrame {
        let codecs = self.supported_receive_codecs.iter().map(|codec| codec.to_wire());
        proto::SdkIndexFrame {
            at_capacity: Some(self.at_capacity),
            sources: self.sources.iter().map(StreamDescriptor::to_proto).collect(),
            paused_at_source_ids: self.paused_at_source_ids.clone(),
            num_participants: Some(self.num_participants),
            supported_receive_codec_intersection: codecs.collect(),
        }
    }

    fn from_proto(index: proto::SdkIndexFrame) -> Result<Self, FrameError> {
        let codecs = &index.supported_receive_codec_intersection;
        Ok(Self {
            at_capacity: index.at_capacity(),
            num_participants: index.num_participants(),
            supported_receive_codecs: codecs
                .iter()
                .filter_map(|&number| VideoCodec::from_wire(number))
                .collect(),
            sources: index.sources.into_iter().map(StreamDescriptor::from_proto).collect::<Result<_, _>>()?,
            paused_at_source_ids: index.paused_at_source_ids,
        })
    }
}

impl SubscribeAck {
    fn to_proto(&self) -> proto::SdkSubscribeAckFrame {
        let (sdp_answer, compressed_sdp_answer) = self.sdp.to_proto();
        let allocations = self.allocations.iter().map(|given| proto::SdkStreamAllocation {
            track_label: Some(given.track_label.clone()),
            stream_id: Some(given.stream_id),
            group_id: Some(given.group_id),
        });
        let tracks = self.tracks.iter().map(|track| proto::SdkTrackMapping {
            stream_id: Some(track.stream_id),
            ssrc: Some(track.ssrc),
            track_label: Some(track.track_label.clone()),
        });
        proto::SdkSubscribeAckFrame {
            duplex: Some(self.duplex.to_wire()),
            allocations: allocations.collect(),
            sdp_answer,
            tracks: tracks.collect(),
            compressed_sdp_answer,
        }
    }

    fn from_proto(ack: proto::SdkSubscribeAckFrame) -> Result<Self, FrameError> {
        let allocations = ack.allocations.into_iter().map(|given| StreamAllocation {
            stream_id: given.stream_id(),
            group_id: given.group_id(),
            track_label: given.track_label.unwrap_or_default(),
        });
        let tracks = ack.tracks.into_iter().map(|track| TrackMapping {
            stream_id: track.stream_id(),
            ssrc: track.ssrc(),
            track_label: track.track_label.unwrap_or_default(),
        });
        Ok(Self {
            duplex: ack.duplex.and_then(Duplex::from_wire).unwrap_or(Duplex::Receive),
            allocations: allocations.collect(),
            tracks: tracks.collect(),
            sdp: Sdp::from_proto(ack.sdp_answer, ack.compressed_sdp_answer)
                .ok_or(FrameError::Missing("sdp_answer"))?,
        })
    }
}

impl AudioStreamIdInfo {
    fn to_proto(&self) -> proto::SdkAudioStreamIdInfo {
        match self {
            Self::Present { audio_stream_id, attendee_id, external_user_id, muted } => {
                proto::SdkAudioStreamIdInfo {
                    audio_stream_id: Some(*audio_stream_id),
                    attendee_id: Some(attendee_id.clone()),
                    external_user_id: present(external_user_id),
                    muted: *muted,
                    dropped: None,
                }
            }
            Self::Mute { audio_stream_id, muted } => proto::SdkAudioStreamIdInfo {
                audio_stream_id: Some(*audio_stream_id),
                muted: Some(*muted),
                ..Default::default()
            },
            Self::Left { audio_stream_id, dropped } => proto::SdkAudioStreamIdInfo {
                audio_stream_id: Some(*audio_stream_id),
                dropped: Some(*dropped),
                ..Default::default()
            },
        }
    }

    fn from_proto(info: proto::SdkAudioStreamIdInfo) -> Self {
        let audio_stream_id = info.audio_stream_id();
        match (info.attendee_id, info.muted) {
            (Some(attendee_id), muted) if !attendee_id.is_empty() => Self::Present {
                audio_stream_id,
                attendee_id,
                external_user_id: info.external_user_id.unwrap_or_default(),
                muted,
            },
            (_, Some(muted)) => Self::Mute { audio_stream_id, muted },
            (_, None) => Self::Left { audio_stream_id, dropped: info.dropped.unwrap_or_default() },
        }
    }
}

impl AudioAttendeeState {
    fn to_proto(self) -> proto::SdkAudioAttendeeState {
        proto::SdkAudioAttendeeState {
            audio_stream_id: Some(self.audio_stream_id),
            volume: self.volume_db.map(u32::from),
            muted: None,
            signal_strength: self.signal_strength.map(|strength| strength as u32),
        }
    }

    fn from_proto(state: &proto::SdkAudioAttendeeState) -> Self {
        let strength = |number: u32| SignalStrength::from_wire(number.min(2) as i32);
        Self {
            audio_stream_id: state.audio_stream_id(),
            volume_db: state.volume.map(|db| u8::try_from(db).unwrap_or(u8::MAX)),
            signal_strength: state.signal_strength.and_then(strength),
        }
    }
}

impl AudioStatus {
    fn from_wire(number: u32) -> Option<Self> {
        let all = [
            Self::Ok,
            Self::JoinedFromAnotherDevice,
            Self::AuthenticationRejected,
            Self::CallAtCapacity,
            Self::MeetingEnded,
            Self::AttendeeRemoved,
            Self::InternalServerError,
            Self::ServiceUnavailable,
        ];
        all.into_iter().find(|&status| status as u32 == number)
    }
}

impl DeliveredMessage {
    fn to_proto(&self) -> proto::SdkDataMessagePayload {
        proto::SdkDataMessagePayload {
            topic: Some(self.topic.clone()),
            data: Some(self.data.clone()),
            lifetime_ms: None,
            sender_attendee_id: Some(self.sender_attendee_id.clone()),
            ingest_time_ns: Some(self.ingest_time_ns),
            sender_external_user_id: Some(self.sender_external_user_id.clone()),
        }
    }

    fn from_proto(message: proto::SdkDataMessagePayload) -> Self {
        Self {
            ingest_time_ns: message.ingest_time_ns(),
            topic: message.topic.unwrap_or_default(),
            data: message.data.unwrap_or_default(),
            sender_attendee_id: message.sender_attendee_id.unwrap_or_default(),
            sender_external_user_id: message.sender_external_user_id.unwrap_or_default(),
        }
    }
}

fn some_groups(group_ids: &[u32]) -> Option<proto::SdkPauseResumeFrame> {
    Some(proto::SdkPauseResumeFrame { stream_ids: Vec::new(), group_ids: group_ids.to_vec() })
}

fn some_error(status: u32, description: &str) -> Option<proto::SdkErrorFrame> {
    Some(proto::SdkErrorFrame { status: Some(status), description: present(description) })
}
