//! What a client says.

use super::proto::sdk_signal_frame::Type;
use super::{
    ADAPTIONS_MAX, Adaption, DATA_MESSAGES_MAX, DataMessage, Duplex, FrameError, METRICS_MAX, NAME_BYTES_MAX,
    QualityPreference, SECTIONS_MAX, SEND_STREAMS_MAX, Sdp, Secret, StreamDescriptor, URL_BYTES_MAX, bounded,
    frame, name, present, proto, to_bytes,
};

/// One frame from a client.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // A JOIN is once in a connection and soon taken apart.
pub enum ClientFrame {
    /// Answer with the same id, at any time, also before JOIN.
    Ping {
        /// To be repeated in the answer.
        id: u32,
    },
    /// Answers our ping.
    Pong {
        /// The ping's id.
        id: u32,
    },
    /// The first frame that matters. Who joins is known from the WebSocket's join token.
    Join(Join),
    /// A whole SDP offer, and what to receive.
    Subscribe(Box<Subscribe>),
    /// The client goes, and waits for LEAVE_ACK.
    Leave,
    /// Stop sending these streams, but keep the subscriptions.
    Pause {
        /// Streams of the index; unknown ones mean nothing.
        stream_ids: Vec<u32>,
    },
    /// Undoes [`ClientFrame::Pause`].
    Resume {
        /// Streams of the index; unknown ones mean nothing.
        stream_ids: Vec<u32>,
    },
    /// The microphone was muted or unmuted.
    AudioControl {
        /// Muted from now on.
        muted: bool,
    },
    /// Data messages to everyone else. Topics and sizes are not checked yet.
    DataMessages(Vec<DataMessage>),
    /// Changes subscriptions without a new offer. Has no answer.
    RemoteVideoUpdate {
        /// New or changed; a mid not named keeps its subscription.
        updated: Vec<VideoSubscription>,
        /// Mids that need no video any more.
        removed_mids: Vec<String>,
    },
    /// From an attendee of a replica meeting: let me take part in the primary one.
    PrimaryMeetingJoin {
        /// The attendee in the primary meeting.
        attendee_id: String,
        /// The caller's own name for that attendee.
        external_user_id: String,
        /// The join token for the primary meeting.
        join_token: Secret,
    },
    /// Back to the replica only. Has no answer.
    PrimaryMeetingLeave,
    /// What the client measures, once a second.
    ClientMetric(proto::SdkClientMetricFrame),
    /// When the steps of connecting happened.
    MeetingSessionTiming(proto::SdkMeetingSessionTimingFrame),
    /// A type that is not a client's, or that a newer schema has. To be passed over.
    Unknown {
        /// The type's number.
        frame_type: i32,
    },
}

/// What a client can do and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Version 2 everywhere so far.
    pub protocol_version: u32,
    /// `SdkJoinFlags`, as bits; see [`JOIN_FLAG_EXCLUDE_SELF_CONTENT`].
    pub flags: u32,
    /// What runs the client.
    pub client: ClientDetails,
    /// Drawn once in the life of a page's session: tells a reconnecting client from another device.
    pub audio_session_id: Option<u64>,
    /// The client could compress its offers and inflate answers.
    pub wants_compressed_sdp: bool,
    /// Who should choose the layers; [`Adaption::Default`] when the client does not say.
    pub adaption: Adaption,
    /// What JOIN_ACK may choose from. Values of a newer schema are left out.
    pub supported_adaptions: Vec<Adaption>,
    /// List every temporal layer as a stream of its own.
    pub wants_all_temporal_layers: bool,
    /// A content share wants no keyframe requests that only the clock asks for.
    pub disable_periodic_keyframes: bool,
    /// How many remote videos the client can take; `None` leaves it to the service.
    pub max_videos: Option<u32>,
}

/// Bit of [`Join::flags`]: the client does not filter its own content share out of the index.
pub const JOIN_FLAG_EXCLUDE_SELF_CONTENT: u32 = proto::SdkJoinFlags::ExcludeSelfContentInIndex as u32;

/// What runs the client, in its own words: for logs and metrics. Each text is cut to 256 bytes, and empty if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub struct ClientDetails {
    pub app_name: String,
    pub app_version: String,
    pub device_model: String,
    pub device_make: String,
    pub platform_name: String,
    pub platform_version: String,
    pub client_source: String,
    pub chime_sdk_version: String,
    pub client_utc_offset: String,
    pub os_name: String,
    pub os_version: String,
}

/// A whole SDP offer, and what to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// [`Duplex::Receive`] when the camera is off.
    pub duplex: Duplex,
    /// What the client sends; simulcast layers in the order low, mid, high. A first audio entry holds constants.
    pub send_streams: Vec<StreamDescriptor>,
    /// One entry per *video* section of the offer, in its order: the stream wanted there, or 0 for the camera, an
    /// inactive or a rejected section. May be too short when the client has lost track.
    pub receive_stream_ids: Vec<u32>,
    /// The offer.
    pub sdp: Sdp,
    /// The audio host URL from the join information; `None` for a session without audio.
    pub audio_host: Option<String>,
    /// Whether the microphone starts muted. The only word about it when (re)connecting.
    pub audio_muted: bool,
    /// Preferences per section, when the server chooses layers or probes.
    pub video_subscriptions: Vec<VideoSubscription>,
}

/// What a client wishes for one video section of its offer. `None` where it did not say, or did not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSubscription {
    /// The section. Empty matches none.
    pub mid: String,
    /// Whose video.
    pub attendee_id: Option<String>,
    /// The very stream, when the client chooses layers.
    pub stream_id: Option<u32>,
    /// The source, when the server chooses layers.
    pub group_id: Option<u32>,
    /// Larger matters more.
    pub priority: Option<u32>,
    /// The most that the client has use for.
    pub target_bitrate_kbps: Option<u32>,
    /// What to give up first; [`QualityPreference::Balanced`] when the client does not say.
    pub preference: QualityPreference,
}

impl ClientFrame {
    pub(super) fn from_proto(frame: proto::SdkSignalFrame) -> Result<Self, FrameError> {
        let Ok(kind) = Type::try_from(frame.r#type) else {
            return Ok(Self::Unknown { frame_type: frame.r#type });
        };
        Ok(match kind {
            Type::PingPong => {
                let body = frame.ping_pong.ok_or(FrameError::Missing("ping_pong"))?;
                match proto::SdkPingPongType::try_from(body.r#type) {
                    Ok(proto::SdkPingPongType::Ping) => Self::Ping { id: body.ping_id },
                    Ok(proto::SdkPingPongType::Pong) => Self::Pong { id: body.ping_id },
                    Err(_) => return Err(FrameError::Invalid("ping_pong.type")),
                }
            }
            Type::Join => Self::Join(Join::from_proto(frame.join.ok_or(FrameError::Missing("join"))?)?),
            Type::Subscribe => {
                let body = frame.sub.ok_or(FrameError::Missing("sub"))?;
                Self::Subscribe(Box::new(Subscribe::from_proto(body)?))
            }
            Type::Leave => {
                frame.leave.ok_or(FrameError::Missing("leave"))?;
                Self::Leave
            }
            // Both types share one field.
            Type::Pause => Self::Pause { stream_ids: stream_ids(frame.pause)? },
            Type::Resume => Self::Resume { stream_ids: stream_ids(frame.pause)? },
            Type::AudioControl => {
                let body = frame.audio_control.ok_or(FrameError::Missing("audio_control"))?;
                Self::AudioControl { muted: body.muted() }
            }
            Type::DataMessage => {
                let body = frame.data_message.ok_or(FrameError::Missing("data_message"))?;
                let messages = bounded(body.messages, DATA_MESSAGES_MAX, "data messages")?;
                Self::DataMessages(messages.into_iter().map(data_message).collect::<Result<_, _>>()?)
            }
            Type::RemoteVideoUpdate => {
                let body = frame.remote_video_update.ok_or(FrameError::Missing("remote_video_update"))?;
                let removed = bounded(body.removed_video_subscription_mids, SECTIONS_MAX, "removed mids")?;
                Self::RemoteVideoUpdate {
                    updated: subscriptions(body.added_or_updated_video_subscriptions)?,
                    removed_mids: removed
                        .into_iter()
                        .map(|mid| name(Some(mid), NAME_BYTES_MAX, "mid"))
                        .collect::<Result<_, _>>()?,
                }
            }
            Type::PrimaryMeetingJoin => {
                let body = frame.primary_meeting_join.ok_or(FrameError::Missing("primary_meeting_join"))?;
                let who = body.credentials.ok_or(FrameError::Missing("credentials"))?;
                Self::PrimaryMeetingJoin {
                    attendee_id: name(who.attendee_id, NAME_BYTES_MAX, "attendee_id")?,
                    external_user_id: name(who.external_user_id, NAME_BYTES_MAX, "external_user_id")?,
                    join_token: Secret(name(who.join_token, URL_BYTES_MAX, "join_token")?),
                }
            }
            Type::PrimaryMeetingLeave => {
                frame.primary_meeting_leave.ok_or(FrameError::Missing("primary_meeting_leave"))?;
                Self::PrimaryMeetingLeave
            }
            Type::ClientMetric => {
                let body = frame.client_metric.ok_or(FrameError::Missing("client_metric"))?;
                check_metrics(&body)?;
                Self::ClientMetric(body)
            }
            Type::MeetingSessionTiming => {
                let body =
                    frame.meeting_session_timing.ok_or(FrameError::Missing("meeting_session_timing"))?;
                check_timings(&body)?;
                Self::MeetingSessionTiming(body)
            }
            Type::JoinAck
            | Type::SubscribeAck
            | Type::Index
            | Type::LeaveAck
            | Type::Bitrates
            | Type::AudioMetadata
            | Type::AudioStreamIdInfo
            | Type::AudioStatus
            | Type::PrimaryMeetingJoinAck
            | Type::Notification => Self::Unknown { frame_type: frame.r#type },
        })
    }

    /// The message, with its leading byte, as a client would send it at `timestamp_ms` (since the epoch).
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
            Self::Join(join) => proto::SdkSignalFrame { join: Some(join.to_proto()), ..frame(Type::Join) },
            Self::Subscribe(subscribe) => {
                proto::SdkSignalFrame { sub: Some(subscribe.to_proto()), ..frame(Type::Subscribe) }
            }
            Self::Leave => {
                proto::SdkSignalFrame { leave: Some(proto::SdkLeaveFrame {}), ..frame(Type::Leave) }
            }
            Self::Pause { stream_ids } => {
                proto::SdkSignalFrame { pause: some_streams(stream_ids), ..frame(Type::Pause) }
            }
            Self::Resume { stream_ids } => {
                proto::SdkSignalFrame { pause: some_streams(stream_ids), ..frame(Type::Resume) }
            }
            Self::AudioControl { muted } => proto::SdkSignalFrame {
                audio_control: Some(proto::SdkAudioControlFrame { muted: Some(*muted) }),
                ..frame(Type::AudioControl)
            },
            Self::DataMessages(messages) => {
                let messages = messages.iter().map(|message| proto::SdkDataMessagePayload {
                    topic: Some(message.topic.clone()),
                    data: Some(message.data.clone()),
                    lifetime_ms: (message.lifetime_ms > 0).then_some(message.lifetime_ms),
                    ..Default::default()
                });
                proto::SdkSignalFrame {
                    data_message: Some(proto::SdkDataMessageFrame { messages: messages.collect() }),
                    ..frame(Type::DataMessage)
                }
            }
            Self::RemoteVideoUpdate { updated, removed_mids } => proto::SdkSignalFrame {
                remote_video_update: Some(proto::SdkRemoteVideoUpdateFrame {
                    added_or_updated_video_subscriptions: updated
                        .iter()
                        .map(VideoSubscription::to_proto)
                        .collect(),
                    removed_video_subscription_mids: removed_mids.clone(),
                }),
                ..frame(Type::RemoteVideoUpdate)
            },
            Self::PrimaryMeetingJoin { attendee_id, external_user_id, join_token } => {
                let credentials = proto::SdkMeetingSessionCredentials {
                    attendee_id: Some(attendee_id.clone()),
                    external_user_id: Some(external_user_id.clone()),
                    join_token: Some(join_token.0.clone()),
                };
                proto::SdkSignalFrame {
                    primary_meeting_join: Some(proto::SdkPrimaryMeetingJoinFrame {
                        credentials: Some(credentials),
                    }),
                    ..frame(Type::PrimaryMeetingJoin)
                }
            }
            Self::PrimaryMeetingLeave => proto::SdkSignalFrame {
                primary_meeting_leave: Some(proto::SdkPrimaryMeetingLeaveFrame {}),
                ..frame(Type::PrimaryMeetingLeave)
            },
            Self::ClientMetric(body) => {
                proto::SdkSignalFrame { client_metric: Some(body.clone()), ..frame(Type::ClientMetric) }
            }
            Self::MeetingSessionTiming(body) => proto::SdkSignalFrame {
                meeting_session_timing: Some(body.clone()),
                ..frame(Type::MeetingSessionTiming)
            },
            Self::Unknown { frame_type } => super::frame(*frame_type, timestamp_ms),
        })
    }
}

impl Join {
    fn from_proto(join: proto::SdkJoinFrame) -> Result<Self, FrameError> {
        let supported = &join.supported_server_side_network_adaptions;
        if supported.len() > ADAPTIONS_MAX {
            return Err(FrameError::TooMany("supported adaptions"));
        }
        Ok(Self {
            protocol_version: join.protocol_version(),
            flags: join.flags(),
            audio_session_id: join.audio_session_id,
            wants_compressed_sdp: join.wants_compressed_sdp(),
            adaption: join
                .server_side_network_adaption
                .and_then(Adaption::from_wire)
                .unwrap_or(Adaption::Default),
            supported_adaptions: supported.iter().filter_map(|&number| Adaption::from_wire(number)).collect(),
            wants_all_temporal_layers: join.wants_all_temporal_layers_in_index(),
            disable_periodic_keyframes: join.disable_periodic_keyframe_request_on_content_sender(),
            max_videos: join.max_num_of_videos,
            client: ClientDetails::from_proto(join.client_details.unwrap_or_default()),
        })
    }

    fn to_proto(&self) -> proto::SdkJoinFrame {
        proto::SdkJoinFrame {
            protocol_version: Some(self.protocol_version),
            max_num_of_videos: self.max_videos,
            flags: Some(self.flags),
            client_details: Some(self.client.to_proto()),
            audio_session_id: self.audio_session_id,
            wants_compressed_sdp: Some(self.wants_compressed_sdp),
            server_side_network_adaption: Some(self.adaption.to_wire()),
            supported_server_side_network_adaptions: self
                .supported_adaptions
                .iter()
                .map(|adaption| adaption.to_wire())
                .collect(),
            wants_all_temporal_layers_in_index: Some(self.wants_all_temporal_layers),
            disable_periodic_keyframe_request_on_content_sender: Some(self.disable_periodic_keyframes),
        }
    }
}

impl ClientDetails {
    fn from_proto(details: proto::SdkClientDetails) -> Self {
        Self {
            app_name: cut(details.app_name),
            app_version: cut(details.app_version),
            device_model: cut(details.device_model),
            device_make: cut(details.device_make),
            platform_name: cut(details.platform_name),
            platform_version: cut(details.platform_version),
            client_source: cut(details.client_source),
            chime_sdk_version: cut(details.chime_sdk_version),
            client_utc_offset: cut(details.client_utc_offset),
            os_name: cut(details.os_name),
            os_version: cut(details.os_version),
        }
    }

    fn to_proto(&self) -> proto::SdkClientDetails {
        proto::SdkClientDetails {
            app_name: present(&self.app_name),
            app_version: present(&self.app_version),
            device_model: present(&self.device_model),
            device_make: present(&self.device_make),
            platform_name: present(&self.platform_name),
            platform_version: present(&self.platform_version),
            client_source: present(&self.client_source),
            chime_sdk_version: present(&self.chime_sdk_version),
            client_utc_offset: present(&self.client_utc_offset),
            os_name: present(&self.os_name),
            os_version: present(&self.os_version),
        }
    }
}

impl Subscribe {
    fn from_proto(sub: proto::SdkSubscribeFrame) -> Result<Self, FrameError> {
        let streams = bounded(sub.send_streams, SEND_STREAMS_MAX, "send streams")?;
        Ok(Self {
            duplex: sub.duplex.and_then(Duplex::from_wire).unwrap_or(Duplex::Receive),
            send_streams: streams.into_iter().map(StreamDescriptor::from_proto).collect::<Result<_, _>>()?,
            receive_stream_ids: bounded(sub.receive_stream_ids, SECTIONS_MAX, "streams to receive")?,
            sdp: Sdp::from_proto(sub.sdp_offer, sub.compressed_sdp_offer)
                .ok_or(FrameError::Missing("sdp_offer"))?,
            audio_host: sub.audio_host.map(|url| name(Some(url), URL_BYTES_MAX, "audio_host")).transpose()?,
            audio_muted: sub.audio_muted.unwrap_or_default(),
            video_subscriptions: subscriptions(sub.video_subscription_configuration)?,
        })
    }

    fn to_proto(&self) -> proto::SdkSubscribeFrame {
        let (sdp_offer, compressed_sdp_offer) = self.sdp.to_proto();
        proto::SdkSubscribeFrame {
            duplex: Some(self.duplex.to_wire()),
            send_streams: self.send_streams.iter().map(StreamDescriptor::to_proto).collect(),
            receive_stream_ids: self.receive_stream_ids.clone(),
            sdp_offer,
            audio_host: self.audio_host.clone(),
            audio_checkin: Some(false),
            audio_muted: Some(self.audio_muted),
            compressed_sdp_offer,
            video_subscription_configuration: self
                .video_subscriptions
                .iter()
                .map(VideoSubscription::to_proto)
                .collect(),
        }
    }
}

impl VideoSubscription {
    fn from_proto(wish: proto::SdkVideoSubscriptionConfiguration) -> Result<Self, FrameError> {
        Ok(Self {
            stream_id: wish.stream_id,
            group_id: wish.group_id,
            priority: wish.priority,
            target_bitrate_kbps: wish.target_bitrate_kbps,
            preference: wish
                .quality_adaptation_preference
                .and_then(QualityPreference::from_wire)
                .unwrap_or(QualityPreference::Balanced),
            mid: name(Some(wish.mid), NAME_BYTES_MAX, "mid")?,
            attendee_id: wish
                .attendee_id
                .map(|id| name(Some(id), NAME_BYTES_MAX, "attendee_id"))
                .transpose()?,
        })
    }

    fn to_proto(&self) -> proto::SdkVideoSubscriptionConfiguration {
        proto::SdkVideoSubscriptionConfiguration {
            mid: self.mid.clone(),
            attendee_id: self.attendee_id.clone(),
            stream_id: self.stream_id,
            priority: self.priority,
            target_bitrate_kbps: self.target_bitrate_kbps,
            group_id: self.group_id,
            quality_adaptation_preference: Some(self.preference.to_wire()),
        }
    }
}

fn subscriptions(
    wishes: Vec<proto::SdkVideoSubscriptionConfiguration>,
) -> Result<Vec<VideoSubscription>, FrameError> {
    let wishes = bounded(wishes, SECTIONS_MAX, "video subscriptions")?;
    wishes.into_iter().map(VideoSubscription::from_proto).collect()
}

fn stream_ids(body: Option<proto::SdkPauseResumeFrame>) -> Result<Vec<u32>, FrameError> {
    bounded(body.ok_or(FrameError::Missing("pause"))?.stream_ids, SECTIONS_MAX, "stream ids")
}

fn some_streams(stream_ids: &[u32]) -> Option<proto::SdkPauseResumeFrame> {
    Some(proto::SdkPauseResumeFrame { stream_ids: stream_ids.to_vec(), group_ids: Vec::new() })
}

fn data_message(message: proto::SdkDataMessagePayload) -> Result<DataMessage, FrameError> {
    Ok(DataMessage {
        lifetime_ms: message.lifetime_ms(),
        topic: name(message.topic, NAME_BYTES_MAX, "topic")?,
        data: message.data.unwrap_or_default(),
    })
}

pub(super) fn ping_pong(kind: proto::SdkPingPongType, id: u32) -> Option<proto::SdkPingPongFrame> {
    Some(proto::SdkPingPongFrame { r#type: kind as i32, ping_id: id })
}

fn check_metrics(body: &proto::SdkClientMetricFrame) -> Result<(), FrameError> {
    let streams = &body.stream_metric_frames;
    let longest = streams.iter().map(|stream| stream.metrics.len().max(stream.dimensions.len())).max();
    let longest = longest.unwrap_or(0).max(streams.len()).max(body.global_metrics.len());
    if longest > METRICS_MAX { Err(FrameError::TooMany("metrics")) } else { Ok(()) }
}

fn check_timings(body: &proto::SdkMeetingSessionTimingFrame) -> Result<(), FrameError> {
    let lists = [
        body.signaling.len(),
        body.remote_audio.len(),
        body.local_audio.len(),
        body.local_video.len(),
        body.remote_videos.len(),
    ];
    if lists.iter().any(|&len| len > METRICS_MAX) { Err(FrameError::TooMany("timings")) } else { Ok(()) }
}

/// A text that is only read by people, so that cutting it short does no harm.
fn cut(text: Option<String>) -> String {
    let mut text = text.unwrap_or_default();
    text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
    text
}
