use super::*;

/// The bytes of a dump in `testdata/`: frames between an unmodified client and a server, leading byte included.
macro_rules! sample {
    ($name:literal) => {
        undump(include_str!(concat!("../../testdata/", $name, ".hex")))
    };
}

fn undump(dump: &str) -> Vec<u8> {
    // `0010  05 08 e7 ...     .......`: an offset, two spaces, 48 columns of bytes, their characters.
    let columns = dump.lines().filter_map(|line| line.get(6..)).map(|rest| rest.get(..48).unwrap_or(rest));
    let bytes = columns.flat_map(str::split_whitespace);
    bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a hex byte")).collect()
}

fn client(bytes: &[u8]) -> ClientFrame {
    let frame = decode(bytes).expect("a client frame");
    assert_eq!(decode(&frame.encode(1)).as_ref(), Ok(&frame), "round trip");
    frame
}

fn server(bytes: &[u8]) -> ServerFrame {
    let frame = decode_server(bytes).expect("a server frame");
    round_trip(&frame);
    frame
}

fn round_trip(frame: &ServerFrame) {
    assert_eq!(decode_server(&frame.encode(1)).as_ref(), Ok(frame));
}

/// What a raw frame decodes to.
fn read(frame: &proto::SdkSignalFrame) -> Result<ClientFrame, FrameError> {
    decode(&to_bytes(frame))
}

/// What a server frame looks like before it is checked.
fn written(frame: &ServerFrame) -> proto::SdkSignalFrame {
    envelope(&frame.encode(7), FRAME_BYTES_MAX).expect("our own frame")
}

#[test]
fn real_client_frames_are_understood() {
    assert_eq!(client(&sample!("C2S-AudioControl")), ClientFrame::AudioControl { muted: true });
    assert_eq!(client(&sample!("C2S-Leave")), ClientFrame::Leave);
    assert_eq!(client(&sample!("C2S-Pause")), ClientFrame::Pause { stream_ids: vec![5] });
    assert_eq!(client(&sample!("C2S-Resume")), ClientFrame::Resume { stream_ids: vec![2] });
    assert_eq!(client(&sample!("C2S-PingPong")), ClientFrame::Ping { id: 1 });
    assert_eq!(
        client(&sample!("C2S-DataMessage")),
        ClientFrame::DataMessages(vec![DataMessage {
            topic: "chat".into(),
            data: b"hello from 1".to_vec(),
            lifetime_ms: 5000,
        }])
    );
    assert_eq!(
        client(&sample!("C2S-RemoteVideoUpdate")),
        ClientFrame::RemoteVideoUpdate {
            updated: vec![VideoSubscription {
                mid: "2".into(),
                attendee_id: Some("2d747a17-683b-d1fd-8504-6042e9b26702".into()),
                stream_id: None,
                group_id: Some(2),
                priority: Some(u32::MAX - 1),
                target_bitrate_kbps: Some(10_000),
                preference: QualityPreference::Balanced,
            }],
            removed_mids: vec![],
        }
    );
}

#[test]
fn a_real_join_is_understood() {
    let ClientFrame::Join(join) = client(&sample!("C2S-Join")) else { panic!("not a JOIN") };
    let expected = Join {
        protocol_version: 2,
        flags: 2,
        client: ClientDetails {
            platform_name: "chrome".into(),
            platform_version: "156.0.8078.79".into(),
            client_source: "amazon-chime-sdk-js".into(),
            chime_sdk_version: "3.32.0".into(),
            client_utc_offset: "+00:00".into(),
            os_name: "Linux".into(),
            ..ClientDetails::default()
        },
        audio_session_id: Some(4_268_717_098),
        wants_compressed_sdp: true,
        adaption: Adaption::Default,
        supported_adaptions: vec![],
        wants_all_temporal_layers: false,
        disable_periodic_keyframes: false,
        max_videos: None,
    };
    assert_eq!(join, expected);
    assert_eq!(join.flags & JOIN_FLAG_EXCLUDE_SELF_CONTENT, 0);
}

#[test]
fn a_real_subscribe_is_understood() {
    let ClientFrame::Subscribe(subscribe) = client(&sample!("C2S-Subscribe")) else { panic!("no SUBSCRIBE") };
    assert_eq!(subscribe.duplex, Duplex::Receive);
    assert_eq!(subscribe.receive_stream_ids, [0]);
    assert_eq!(subscribe.audio_host.as_deref(), Some("127.0.0.1:9080"));
    assert!(!subscribe.audio_muted);
    assert!(matches!(&subscribe.sdp, Sdp::Deflated(bytes) if bytes.len() > 1000));
    let [audio] = &subscribe.send_streams[..] else { panic!("not one stream") };
    assert_eq!((audio.media_type, audio.stream_id, audio.group_id), (MediaType::Audio, 1, 1));
    assert_eq!((audio.framerate, audio.max_bitrate_kbps, audio.avg_bitrate_bps), (15, 600, 400_000));
    assert_eq!(audio.track_label, "AmazonChimeExpressAudio");
}

#[test]
fn server_frames_that_a_client_accepted_are_understood() {
    assert_eq!(server(&sample!("S2C-LeaveAck")), ServerFrame::LeaveAck);
    assert_eq!(server(&sample!("S2C-Pause")), ServerFrame::Pause { group_ids: vec![1] });
    assert_eq!(
        server(&sample!("S2C-AudioStatus")),
        ServerFrame::AudioStatus(AudioStatus::JoinedFromAnotherDevice)
    );
    assert_eq!(
        server(&sample!("S2C-AudioMetadata")),
        ServerFrame::AudioMetadata(vec![AudioAttendeeState {
            audio_stream_id: 1,
            volume_db: Some(99),
            signal_strength: None,
        }])
    );
    assert_eq!(
        server(&sample!("S2C-AudioStreamIdInfo")),
        ServerFrame::AudioStreamIdInfo(vec![AudioStreamIdInfo::Present {
            audio_stream_id: 1,
            attendee_id: "f3c1d01d-78c3-1ef2-b224-ccb305c59522".into(),
            external_user_id: "alice".into(),
            muted: Some(false),
        }])
    );
    assert_eq!(
        server(&sample!("S2C-Bitrates")),
        ServerFrame::Bitrates {
            bitrates: vec![StreamBitrate { stream_id: 1, avg_bitrate_bps: 11_576 }],
            server_available_outgoing_bitrate_kbps: None,
        }
    );
    assert_eq!(
        server(&sample!("S2C-Index")),
        ServerFrame::Index(Index { num_participants: 1, ..Index::default() })
    );
    assert_eq!(
        server(&sample!("S2C-JoinAck")),
        ServerFrame::JoinAck(JoinAck {
            turn: Some(TurnCredentials {
                username: "u".into(),
                password: Secret("p".into()),
                ttl_seconds: 300,
                uris: vec![],
            }),
            video_subscription_limit: 25,
            wants_compressed_sdp: true,
            default_adaption: None,
        })
    );
    let ServerFrame::DataMessages(messages) = server(&sample!("S2C-DataMessage")) else { panic!() };
    assert_eq!(messages[0].data, b"hello from 1");
    assert_eq!(messages[0].sender_external_user_id, "alice");
    assert!(messages[0].ingest_time_ns > 1_700_000_000_000_000_000);
    let ServerFrame::SubscribeAck(ack) = server(&sample!("S2C-SubscribeAck")) else { panic!() };
    assert!(matches!(ack.sdp, Sdp::Deflated(_)));
}

#[test]
fn frames_the_samples_lack_survive_a_round_trip() {
    round_trip(&ServerFrame::Ping { id: u32::MAX });
    round_trip(&ServerFrame::Pong { id: 0 });
    round_trip(&ServerFrame::Resume { group_ids: vec![3, 4] });
    round_trip(&ServerFrame::Bitrates { bitrates: vec![], server_available_outgoing_bitrate_kbps: Some(0) });
    round_trip(&ServerFrame::Error { status: 206, description: "full".into(), on: FrameKind::SubscribeAck });
    round_trip(&ServerFrame::PrimaryMeetingJoinAck { error: None });
    round_trip(&ServerFrame::PrimaryMeetingJoinAck { error: Some(403) });
    round_trip(&ServerFrame::PrimaryMeetingLeave);
    round_trip(&ServerFrame::Notification { level: NotificationLevel::Info, message: "hello".into() });
    round_trip(&ServerFrame::Index(Index {
        at_capacity: true,
        sources: vec![video_source()],
        paused_at_source_ids: vec![9],
        num_participants: 3,
        supported_receive_codecs: vec![VideoCodec::Vp8, VideoCodec::H264ConstrainedBaseline],
    }));
    round_trip(&ServerFrame::SubscribeAck(Box::new(SubscribeAck {
        duplex: Duplex::Both,
        allocations: vec![StreamAllocation { track_label: String::new(), stream_id: 12, group_id: 4 }],
        sdp: Sdp::Plain("v=0\r\n".into()),
        tracks: vec![TrackMapping { stream_id: 7, ssrc: 0xdead_beef, track_label: "v_2".into() }],
    })));
    let client_only = [
        ClientFrame::Pong { id: 3 },
        ClientFrame::PrimaryMeetingLeave,
        ClientFrame::PrimaryMeetingJoin {
            attendee_id: "a".into(),
            external_user_id: "e".into(),
            join_token: Secret("t".into()),
        },
        ClientFrame::ClientMetric(proto::SdkClientMetricFrame::default()),
        ClientFrame::MeetingSessionTiming(proto::SdkMeetingSessionTimingFrame::default()),
        ClientFrame::Unknown { frame_type: 77 },
    ];
    for frame in client_only {
        assert_eq!(client(&frame.encode(1)), frame);
    }
}

fn video_source() -> StreamDescriptor {
    StreamDescriptor {
        stream_id: 5,
        group_id: 2,
        framerate: 15,
        max_bitrate_kbps: 1500,
        avg_bitrate_bps: 900_000,
        track_label: String::new(),
        attendee_id: "ann#content".into(),
        external_user_id: "Ann".into(),
        media_type: MediaType::Video,
        width: 1280,
        height: 720,
    }
}

#[test]
fn trap_02_every_server_frame_has_the_fields_without_which_clients_drop_it() {
    // 08 00: the timestamp, even when zero. 10 0a: the type.
    assert_eq!(ServerFrame::LeaveAck.encode(0), [5, 0x08, 0x00, 0x10, 0x0a, 0x62, 0x00]);
    // A ping's type and id are required too: a2 01 (field 20) 04, 08 01, 10 00.
    assert_eq!(
        ServerFrame::Ping { id: 0 }.encode(0),
        [5, 0x08, 0x00, 0x10, 0x13, 0xa2, 0x01, 0x04, 0x08, 0x01, 0x10, 0x00]
    );
    assert_eq!(written(&ServerFrame::LeaveAck).timestamp_ms, 7);
}

#[test]
fn trap_01_who_left_has_neither_attendee_id_nor_muted() {
    let frame =
        ServerFrame::AudioStreamIdInfo(vec![AudioStreamIdInfo::Left { audio_stream_id: 3, dropped: true }]);
    round_trip(&frame);
    let left = &written(&frame).audio_stream_id_info.expect("the part").streams[0];
    assert_eq!((left.audio_stream_id, left.dropped), (Some(3), Some(true)));
    assert_eq!((&left.attendee_id, left.muted, &left.external_user_id), (&None, None, &None));
}

#[test]
fn trap_31_a_servers_pause_names_groups_not_streams() {
    for frame in [ServerFrame::Pause { group_ids: vec![3] }, ServerFrame::Resume { group_ids: vec![3] }] {
        let pause = written(&frame).pause.expect("the part");
        assert_eq!((pause.group_ids, pause.stream_ids), (vec![3], vec![]));
    }
}

#[test]
fn a_mute_has_no_attendee_id_and_always_says_muted() {
    let frame =
        ServerFrame::AudioStreamIdInfo(vec![AudioStreamIdInfo::Mute { audio_stream_id: 3, muted: false }]);
    round_trip(&frame);
    let mute = &written(&frame).audio_stream_id_info.expect("the part").streams[0];
    assert_eq!((&mute.attendee_id, mute.muted, mute.dropped), (&None, Some(false), None));
}

#[test]
fn absent_levels_stay_absent_and_zero_ones_are_written() {
    let states = [(None, None), (Some(0), Some(SignalStrength::Lost))].map(|(volume_db, signal_strength)| {
        AudioAttendeeState { audio_stream_id: 1, volume_db, signal_strength }
    });
    let frame = ServerFrame::AudioMetadata(states.to_vec());
    round_trip(&frame);
    let states = written(&frame).audio_metadata.expect("the part").attendee_states;
    assert_eq!((states[0].volume, states[0].signal_strength), (None, None));
    assert_eq!((states[1].volume, states[1].signal_strength), (Some(0), Some(0)));
}

#[test]
fn trap_22_the_join_ack_tells_no_adaption_from_default_adaption() {
    let adaption = |default_adaption| {
        let frame = ServerFrame::JoinAck(JoinAck { default_adaption, ..JoinAck::default() });
        round_trip(&frame);
        written(&frame).joinack.expect("the part").default_server_side_network_adaption
    };
    assert_eq!(adaption(None), None);
    assert_eq!(adaption(Some(Adaption::Default)), Some(1));
    assert_eq!(adaption(Some(Adaption::BandwidthProbingAndVideoQuality)), Some(4));
}

#[test]
fn trap_10_credentials_without_uris_are_still_credentials() {
    let frame =
        ServerFrame::JoinAck(JoinAck { turn: Some(TurnCredentials::default()), ..Default::default() });
    round_trip(&frame);
    assert!(written(&frame).joinack.expect("the part").turn_credentials.is_some());
}

#[test]
fn trap_30_a_throttled_message_says_zero_aloud() {
    let message = DeliveredMessage {
        topic: "t".into(),
        data: vec![],
        sender_attendee_id: "a".into(),
        sender_external_user_id: "e".into(),
        ingest_time_ns: 0,
    };
    let frame = ServerFrame::DataMessages(vec![message]);
    round_trip(&frame);
    let message = &written(&frame).data_message.expect("the part").messages[0];
    assert_eq!(message.ingest_time_ns, Some(0));
}

#[test]
fn trap_25_an_audio_status_is_never_zero() {
    let body = |audio_status| proto::SdkSignalFrame {
        audio_status: Some(proto::SdkAudioStatusFrame { audio_status }),
        ..frame(FrameKind::AudioStatus as i32, 1)
    };
    let read = |audio_status| decode_server(&to_bytes(&body(audio_status)));
    assert_eq!(read(Some(410)), Ok(ServerFrame::AudioStatus(AudioStatus::MeetingEnded)));
    assert_eq!(read(Some(0)), Err(FrameError::UnknownAudioStatus(0)));
    assert_eq!(read(None), Err(FrameError::UnknownAudioStatus(0)));
}

#[test]
fn trap_15_index_sources_always_say_that_they_are_video() {
    let frame = ServerFrame::Index(Index { sources: vec![video_source()], ..Index::default() });
    assert_eq!(written(&frame).index.expect("the part").sources[0].media_type, Some(2));
}

#[test]
fn an_error_overrides_the_type_but_not_everywhere() {
    let error = Some(proto::SdkErrorFrame { status: Some(409), description: None });
    let read = |kind: FrameKind, status: u32| {
        let error = error.clone().map(|error| proto::SdkErrorFrame { status: Some(status), ..error });
        let notification = Some(proto::SdkNotificationFrame::default());
        let leave_ack = Some(proto::SdkLeaveAckFrame {});
        let raw = proto::SdkSignalFrame { error, notification, leave_ack, ..frame(kind as i32, 1) };
        decode_server(&to_bytes(&raw))
    };
    let on = FrameKind::JoinAck;
    assert_eq!(read(on, 409), Ok(ServerFrame::Error { status: 409, description: String::new(), on }));
    assert_eq!(
        read(FrameKind::PrimaryMeetingJoinAck, 409),
        Ok(ServerFrame::PrimaryMeetingJoinAck { error: Some(409) })
    );
    assert_eq!(read(FrameKind::LeaveAck, 0), Ok(ServerFrame::LeaveAck));
    let level = NotificationLevel::Error;
    assert_eq!(
        read(FrameKind::Notification, 409),
        Ok(ServerFrame::Notification { level, message: String::new() })
    );
}

#[test]
fn a_type_without_its_part_is_an_error() {
    for number in 0..64 {
        let raw = frame(number, 1);
        let from_client = read(&raw);
        let from_server = decode_server(&to_bytes(&raw));
        match FrameKind::try_from(number) {
            Err(_) => {
                assert_eq!(from_client, Ok(ClientFrame::Unknown { frame_type: number }));
                assert_eq!(from_server, Err(FrameError::UnknownType(number)));
            }
            Ok(kind) => {
                let mine = matches!(from_client, Err(FrameError::Missing(_)));
                let others = from_client == Ok(ClientFrame::Unknown { frame_type: number });
                assert!(mine || others, "{kind:?}: {from_client:?}");
                let mine = matches!(from_server, Err(FrameError::Missing(_)));
                let others = from_server == Err(FrameError::UnknownType(number));
                assert!(mine || others, "{kind:?}: {from_server:?}");
            }
        }
    }
}

#[test]
fn envelopes_that_are_none() {
    assert_eq!(decode(&[]), Err(FrameError::Empty));
    assert_eq!(decode(&[0x02, 0x08, 0x01]), Err(FrameError::FrameType(0x02)));
    assert!(matches!(decode(&[0x05, 0x08]), Err(FrameError::Protobuf(_))));
    assert_eq!(
        decode(&[0x05]),
        Err(FrameError::Missing("join")),
        "prost reads an absent type as the first one"
    );
    let len = FRAME_BYTES_MAX + 1;
    assert_eq!(decode(&vec![0x05; len]), Err(FrameError::TooLong { len, max: FRAME_BYTES_MAX }));
}

fn subscribe(sub: proto::SdkSubscribeFrame) -> Result<ClientFrame, FrameError> {
    read(&proto::SdkSignalFrame { sub: Some(sub), ..frame(FrameKind::Subscribe as i32, 1) })
}

#[test]
fn lists_and_names_are_bounded() {
    let offer = proto::SdkSubscribeFrame { sdp_offer: Some("v=0".into()), ..Default::default() };
    let ids = |n| proto::SdkSubscribeFrame { receive_stream_ids: vec![0; n], ..offer.clone() };
    assert!(subscribe(ids(SECTIONS_MAX)).is_ok());
    assert_eq!(subscribe(ids(SECTIONS_MAX + 1)), Err(FrameError::TooMany("streams to receive")));
    let streams = |n| proto::SdkSubscribeFrame { send_streams: vec![Default::default(); n], ..offer.clone() };
    assert!(subscribe(streams(SEND_STREAMS_MAX)).is_ok());
    assert_eq!(subscribe(streams(SEND_STREAMS_MAX + 1)), Err(FrameError::TooMany("send streams")));
    let wishes = |n| proto::SdkSubscribeFrame {
        video_subscription_configuration: vec![Default::default(); n],
        ..offer.clone()
    };
    assert!(subscribe(wishes(SECTIONS_MAX)).is_ok());
    assert_eq!(subscribe(wishes(SECTIONS_MAX + 1)), Err(FrameError::TooMany("video subscriptions")));
    let host = |n| proto::SdkSubscribeFrame { audio_host: Some("h".repeat(n)), ..offer.clone() };
    assert!(subscribe(host(URL_BYTES_MAX)).is_ok());
    assert_eq!(subscribe(host(URL_BYTES_MAX + 1)), Err(FrameError::NameTooLong("audio_host")));
}

#[test]
fn a_subscribe_without_an_offer_is_an_error_and_a_compressed_one_wins() {
    let sdp = |plain: Option<&str>, deflated: Option<&[u8]>| {
        let sub = proto::SdkSubscribeFrame {
            sdp_offer: plain.map(str::to_owned),
            compressed_sdp_offer: deflated.map(<[u8]>::to_vec),
            ..Default::default()
        };
        subscribe(sub).map(|frame| match frame {
            ClientFrame::Subscribe(subscribe) => subscribe.sdp,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(sdp(None, None), Err(FrameError::Missing("sdp_offer")));
    assert_eq!(sdp(Some(""), Some(&[])), Err(FrameError::Missing("sdp_offer")));
    assert_eq!(sdp(Some("v=0"), Some(&[])), Ok(Sdp::Plain("v=0".into())));
    assert_eq!(sdp(Some("v=0"), Some(&[1])), Ok(Sdp::Deflated(vec![1])));
}

#[test]
fn values_of_a_newer_schema_read_as_absent() {
    let join = proto::SdkJoinFrame {
        server_side_network_adaption: Some(9),
        supported_server_side_network_adaptions: vec![2, 9, 4],
        ..Default::default()
    };
    let raw = proto::SdkSignalFrame { join: Some(join), ..frame(FrameKind::Join as i32, 1) };
    let Ok(ClientFrame::Join(join)) = read(&raw) else { panic!("not a JOIN") };
    assert_eq!(join.protocol_version, 2, "the schema's default");
    assert_eq!(join.adaption, Adaption::Default);
    assert_eq!(join.supported_adaptions, [Adaption::None, Adaption::BandwidthProbingAndVideoQuality]);
}

#[test]
fn client_details_are_cut_between_characters() {
    let details = proto::SdkClientDetails { os_name: Some("ä".repeat(200)), ..Default::default() };
    let join = proto::SdkJoinFrame { client_details: Some(details), ..Default::default() };
    let raw = proto::SdkSignalFrame { join: Some(join), ..frame(FrameKind::Join as i32, 1) };
    let Ok(ClientFrame::Join(join)) = read(&raw) else { panic!("not a JOIN") };
    assert_eq!(join.client.os_name, "ä".repeat(128));
}

#[test]
fn secrets_bodies_and_sdp_stay_out_of_logs() {
    let join = ClientFrame::PrimaryMeetingJoin {
        attendee_id: "ann".into(),
        external_user_id: "Ann".into(),
        join_token: Secret("hush".into()),
    };
    let ack = ServerFrame::JoinAck(JoinAck {
        turn: Some(TurnCredentials { password: Secret("hush".into()), ..Default::default() }),
        ..Default::default()
    });
    let data = b"hush".to_vec();
    let message = DataMessage { topic: "t".into(), data: data.clone(), lifetime_ms: 0 };
    let delivered = DeliveredMessage {
        topic: "t".into(),
        data,
        sender_attendee_id: "a".into(),
        sender_external_user_id: "e".into(),
        ingest_time_ns: 1,
    };
    let raw = envelope(&join.encode(1), FRAME_BYTES_MAX).expect("our own frame");
    let raw_ack = written(&ack);
    let shown = format!(
        "{join:?} {ack:?} {message:?} {delivered:?} {:?} {raw:?} {raw_ack:?}",
        Sdp::Plain("hush".into())
    );
    assert!(!shown.contains("hush") && !shown.contains("104, 117"), "{shown}");
    assert!(shown.contains("<redacted>"));
}

#[test]
fn the_fuzz_targets_take_every_sample_cut_and_bent() {
    let samples = [
        sample!("C2S-Join"),
        sample!("C2S-RemoteVideoUpdate"),
        sample!("C2S-DataMessage"),
        sample!("S2C-JoinAck"),
        sample!("S2C-AudioStreamIdInfo"),
        sample!("S2C-Bitrates"),
    ];
    for sample in samples {
        for at in 0..sample.len() {
            crate::fuzz::signaling_frame(&sample[..at]);
            crate::fuzz::server_frame(&sample[..at]);
            for flip in [0x01, 0x08, 0x80, 0xff] {
                let mut bent = sample.clone();
                bent[at] ^= flip;
                crate::fuzz::signaling_frame(&bent);
                crate::fuzz::server_frame(&bent);
            }
        }
    }
}
