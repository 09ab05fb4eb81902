//! What offers are answered.

use super::*;

#[test]
fn trap_32_lines_end_in_crlf_and_sections_match_the_offer() {
    for offer in ALL {
        let answer = usual(offer);
        assert!(!answer.text.replace("\r\n", "").contains(['\r', '\n']));
        let offered: Vec<&str> =
            offer.lines().filter(|l| l.starts_with("m=") || l.starts_with("a=mid:")).collect();
        let kinds = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        let answered: Vec<&str> =
            answer.text.lines().filter(|l| l.starts_with("m=") || l.starts_with("a=mid:")).collect();
        assert_eq!(kinds(&answered), kinds(&offered));
        assert_eq!(answer.sections.len(), parse(offer).sections.len());
    }
}

#[test]
fn lf_only_offers_are_read_and_still_answered_with_crlf() {
    assert_eq!(usual(&SIMULCAST.replace("\r\n", "\n")), usual(SIMULCAST));
}

#[test]
fn the_session_part_is_as_clients_expect() {
    let answer = usual(RECYCLED);
    assert_eq!(
        split(&answer)[0],
        [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0 1 4 3",
            "a=extmap-allow-mixed",
            "a=msid-semantic: WMS *",
            "a=ice-lite"
        ]
    );
}

#[test]
fn the_audio_section_is_as_clients_expect() {
    assert_eq!(
        split(&usual(AUDIO_ONLY))[1],
        [
            "m=audio 7000 UDP/TLS/RTP/SAVPF 63 111",
            "c=IN IP4 203.0.113.5",
            "a=rtcp:7000 IN IP4 203.0.113.5",
            HOST,
            "a=end-of-candidates",
            "a=ice-ufrag:ourufrag",
            "a=ice-pwd:ourpasswordourpassword12",
            &format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            "a=setup:passive",
            "a=mid:0",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=sendrecv",
            "a=msid:audio audio",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=rtpmap:63 red/48000/2",
            "a=fmtp:63 111/111",
            "a=rtpmap:111 opus/48000/2",
            "a=rtcp-fb:111 transport-cc",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=ssrc:1000 cname:campanile",
        ]
    );
}

#[test]
fn trap_09_candidates_stand_once_and_everything_else_of_the_transport_everywhere() {
    for offer in ALL {
        let answer = usual(offer);
        assert_eq!(answer.text.matches("a=candidate:").count(), 1);
        assert_eq!(answer.text.matches("a=end-of-candidates").count(), 1);
        assert!(!answer.text.contains("srflx"));
        for (index, _) in answer.sections.iter().enumerate().filter(|(_, section)| !section.rejected) {
            assert!(has(&answer, index, "a=ice-ufrag:ourufrag"));
            assert!(has(&answer, index, "a=ice-pwd:ourpasswordourpassword12"));
            assert!(has(&answer, index, "a=setup:passive"));
            assert!(has(&answer, index, "a=rtcp-mux"));
            assert_eq!(lines(&answer, index, "a=fingerprint:sha-256 AB:AB").len(), 1);
        }
    }
}

#[test]
fn without_audio_the_first_section_in_use_carries_the_candidate() {
    let answer = usual(&with_once(ONE_VIDEO, "opus/48000/2", "sine/48000/2"));
    assert!(answer.sections[0].rejected);
    assert!(lines(&answer, 0, "m=")[0].starts_with("m=audio 0 "));
    assert!(has(&answer, 1, HOST));
    assert!(lines(&answer, 1, "m=")[0].starts_with("m=video 7000 "));
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 1 2"));
}

#[test]
fn tcp_and_ipv6_candidates_are_written() {
    let candidate: SocketAddr = "[2001:db8::5]:7000".parse().expect("an address");
    let candidates = Candidates { udp: Some(candidate), tcp: Some(candidate) };
    let local = LocalTransport { candidates, ..local() };
    let answer = answer(&parse(AUDIO_ONLY), &local, usual_role, "c");
    assert!(has(&answer, 0, "c=IN IP6 2001:db8::5"));
    assert!(has(&answer, 0, "a=candidate:1 1 udp 2130706431 2001:db8::5 7000 typ host generation 0"));
    let tcp = "a=candidate:2 1 tcp 1015021823 2001:db8::5 7000 typ host tcptype passive generation 0";
    assert!(has(&answer, 0, tcp));
}

#[test]
fn opus_always_has_format_parameters_as_the_client_offered_them() {
    let check = |fmtp: &str, expected: &str| {
        let offer = with_once(AUDIO_ONLY, "a=fmtp:111 minptime=10;useinbandfec=1\r\n", fmtp);
        assert_eq!(lines(&usual(&offer), 0, "a=fmtp:111"), [expected]);
    };
    check("", "a=fmtp:111 minptime=10;useinbandfec=1");
    check("a=fmtp:111 stereo=1;sprop-stereo=1\r\n", "a=fmtp:111 stereo=1;sprop-stereo=1");
}

#[test]
fn a_client_that_speaks_is_asked_to_send_no_silence() {
    let check = |fmtp: &str, expected: &str| {
        let offer = parse(&with_once(AUDIO_ONLY, "a=fmtp:111 minptime=10;useinbandfec=1\r\n", fmtp));
        let answer = answer(&offer, &local(), |_| Role::Audio { ssrc: 1, dtx: true }, "c");
        assert_eq!(lines(&answer, 0, "a=fmtp:111"), [expected]);
    };
    check("", "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1");
    check("a=fmtp:111 minptime=10\r\n", "a=fmtp:111 minptime=10;usedtx=1");
    check("a=fmtp:111 minptime=10;\r\n", "a=fmtp:111 minptime=10;usedtx=1");
    check("a=fmtp:111 usedtx=0;minptime=10\r\n", "a=fmtp:111 usedtx=0;minptime=10");
}

#[test]
fn red_is_answered_first_where_it_is_offered_of_that_opus() {
    for offer in ALL {
        let answer = usual(offer);
        let audio: Vec<_> = answer.sections[0].codecs.iter().map(|codec| (codec.pt, codec.codec)).collect();
        assert_eq!(audio, [(63, Codec::Red), (111, Codec::Opus)]);
    }
    let check = |fmtp: &str, expected: &str| {
        let offer = with_once(AUDIO_ONLY, "a=fmtp:63 111/111\r\n", fmtp);
        assert_eq!(lines(&usual(&offer), 0, "m="), [format!("m=audio 7000 UDP/TLS/RTP/SAVPF {expected}")]);
    };
    check("a=fmtp:63 111/111/111\r\n", "63 111");
    check("a=fmtp:63 111/9\r\n", "111");
    check("a=fmtp:63 0/0\r\n", "111");
    check("", "111");
}

#[test]
fn trap_11_a_camera_is_answered_sendrecv_under_its_own_stream() {
    let answer = usual(CAMERA);
    assert!(has(&answer, 1, "a=sendrecv"));
    assert!(has(&answer, 1, "a=msid:v_1 track_1"));
    assert!(lines(&answer, 1, "a=ssrc").is_empty());
    assert_eq!(answer.sections[1].direction, Direction::SendRecv);
}

#[test]
fn a_camera_that_is_off_stays_inactive() {
    let answer = usual(AUDIO_ONLY);
    assert!(has(&answer, 1, "a=inactive"));
    assert!(lines(&answer, 1, "a=msid").is_empty());
    assert!(!answer.sections[1].rejected && !answer.sections[1].codecs.is_empty());
}

#[test]
fn whoever_is_not_answered_both_ways_is_to_send_vp8() {
    let first = |both_ways| {
        let answer = answer(&parse(CAMERA), &local(), |_| Role::ReceiveVideo { both_ways }, "c");
        answer.sections[1].codecs[0].codec
    };
    assert_eq!([first(true), first(false)], [Codec::Vp9 { profile: 0 }, Codec::Vp8]);
}

#[test]
fn directions_never_promise_more_than_was_offered() {
    let check = |offered: &str, role: Role, expected: Direction| {
        let offer = with(CAMERA, "a=sendrecv", &format!("a={offered}"));
        let index = usize::from(!matches!(role, Role::Audio { .. }));
        let answer = answer(&parse(&offer), &local(), |_| role, "c");
        assert_eq!(answer.sections[index].direction, expected, "{offered} {role:?}");
        assert!(has(&answer, index, &format!("a={}", expected.name())));
        assert_eq!(!lines(&answer, index, "a=msid:").is_empty(), expected.sends());
    };
    use Direction::*;
    let send = Role::SendVideo { ssrc: 1, rtx_ssrc: 2 };
    let receive = Role::ReceiveVideo { both_ways: true };
    check("sendrecv", Role::ReceiveVideo { both_ways: false }, RecvOnly);
    check("sendrecv", receive, SendRecv);
    check("sendonly", receive, RecvOnly);
    check("recvonly", receive, Inactive);
    check("inactive", receive, Inactive);
    check("sendrecv", send, SendOnly);
    check("recvonly", send, SendOnly);
    check("sendonly", send, Inactive);
    check("inactive", send, Inactive);
    check("sendrecv", Role::Audio { ssrc: 1, dtx: false }, SendRecv);
    check("sendonly", Role::Audio { ssrc: 1, dtx: false }, RecvOnly);
    check("recvonly", Role::Audio { ssrc: 1, dtx: false }, SendOnly);
    check("inactive", Role::Audio { ssrc: 1, dtx: false }, Inactive);
    check("sendrecv", Role::Inactive, Inactive);
}

#[test]
fn a_role_of_the_wrong_kind_is_inactive() {
    let answer = answer(&parse(CAMERA), &local(), |_| Role::Audio { ssrc: 1, dtx: false }, "c");
    assert_eq!(answer.sections[1].direction, Direction::Inactive);
    assert!(lines(&answer, 1, "a=ssrc").is_empty());
}

#[test]
fn a_remote_video_is_announced_with_its_retransmissions() {
    let answer = usual(ONE_VIDEO);
    assert!(has(&answer, 2, "a=sendonly"));
    assert!(has(&answer, 2, "a=msid:v_2 track_2"));
    assert_eq!(
        lines(&answer, 2, "a=ssrc"),
        ["a=ssrc-group:FID 2002 3002", "a=ssrc:2002 cname:campanile", "a=ssrc:3002 cname:campanile"]
    );
}

#[test]
fn without_retransmission_only_the_stream_is_announced() {
    let answer = usual(&with(ONE_VIDEO, "rtx/90000", "xtr/90000"));
    assert_eq!(lines(&answer, 2, "a=ssrc"), ["a=ssrc:2002 cname:campanile"]);
    assert!(answer.sections[2].codecs.iter().all(|codec| codec.rtx_pt.is_none()));
}

#[test]
fn a_stream_that_is_gone_is_answered_inactive_without_a_name() {
    let answer = answer(&parse(ONE_VIDEO), &local(), |_| Role::Inactive, "c");
    assert!(has(&answer, 2, "a=inactive"));
    assert!(!answer.text.contains("a=msid:") && !answer.text.contains("a=ssrc"));
    assert_eq!(answer.sections[2].extensions.transport_cc, Some(3), "as when it comes back");
}

#[test]
fn a_stopped_section_keeps_its_mid_and_leaves_the_bundle() {
    let answer = usual(UNSUBSCRIBED);
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 0 1 3"));
    assert_eq!(
        split(&answer)[3],
        ["m=video 0 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:2", "a=inactive"]
    );
    assert!(answer.sections[2].rejected);
}

#[test]
fn trap_14_a_recycled_section_is_known_by_its_new_mid() {
    let answer = usual(RECYCLED);
    assert!(has(&answer, 2, "a=msid:v_4 track_4"));
    assert!(has(&answer, 2, "a=ssrc-group:FID 2004 3004"));
    assert!(has(&answer, 3, "a=msid:v_3 track_3"));
    // What stayed says the same in every answer.
    assert_eq!(split(&usual(TWO_VIDEOS))[4], split(&answer)[4]);
    assert_eq!(split(&usual(UNSUBSCRIBED))[4], split(&answer)[4]);
}

#[test]
fn a_section_without_a_codec_we_know_is_answered_port_0() {
    let known = [
        ("VP8/90000", "VP7/90000"),
        ("H264/90000", "H263/90000"),
        ("VP9/90000", "VP6/90000"),
        ("AV1/90000", "AV0/90000"),
    ];
    let unknown = known.iter().fold(ONE_VIDEO.to_owned(), |offer, (known, other)| with(&offer, known, other));
    let answer = usual(&unknown);
    for index in [1, 2] {
        assert!(answer.sections[index].rejected);
        assert!(lines(&answer, index, "m=")[0].starts_with("m=video 0 UDP/TLS/RTP/SAVPF "));
    }
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 0"));
}

#[test]
fn a_data_channel_is_answered_port_0() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:7\r\n\
                a=fmtp:webrtc-datachannel x=1\r\na=sctp-port:5000\r\n";
    let answer = usual(&with_once(&format!("{AUDIO_ONLY}{data}"), "BUNDLE 0 1", "BUNDLE 0 1 7"));
    assert_eq!(lines(&answer, 2, "m="), ["m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]);
    assert!(has(&answer, 2, "a=mid:7"));
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 0 1"));
}

#[test]
fn what_cannot_share_the_transport_is_answered_port_0() {
    let rejected = |offer: &str| -> Vec<bool> { usual(offer).sections.iter().map(|s| s.rejected).collect() };
    assert_eq!(rejected(&with_once(ONE_VIDEO, "BUNDLE 0 1 2", "BUNDLE 0 1")), [false, false, true]);
    assert_eq!(rejected(&with_once(ONE_VIDEO, "a=group:BUNDLE 0 1 2\r\n", "")), [false, true, true]);
    assert!(!usual(&with_once(ONE_VIDEO, "a=group:BUNDLE 0 1 2\r\n", "")).text.contains("BUNDLE"));
    let two_groups = with_once(ONE_VIDEO, "BUNDLE 0 1 2", "BUNDLE 0 1\r\na=group:BUNDLE 2");
    assert_eq!(rejected(&two_groups), [false, false, true]);
}

#[test]
fn the_first_of_the_bundle_carries_the_candidate_wherever_it_stands() {
    let answer = usual(&with_once(ONE_VIDEO, "BUNDLE 0 1 2", "BUNDLE 2 0 1"));
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 2 0 1"));
    assert!(has(&answer, 2, HOST));
    assert!(lines(&answer, 0, "a=candidate").is_empty());
}

#[test]
fn trap_21_simulcast_is_taken_in_the_offers_order_with_its_pauses() {
    let answer = usual(SIMULCAST);
    assert_eq!(lines(&answer, 1, "a=rid"), ["a=rid:low recv", "a=rid:mid recv", "a=rid:hi recv"]);
    assert_eq!(lines(&answer, 1, "a=simulcast"), ["a=simulcast:recv ~low;mid;~hi"]);
    assert_eq!(answer.sections[1].rids, ["low", "mid", "hi"]);
    assert!(
        answer.sections[1].extensions.rid.is_some() && answer.sections[1].extensions.repaired_rid.is_some()
    );
    assert!(lines(&answer, 2, "a=rid").is_empty());
}

#[test]
fn video_codecs_are_all_that_are_forwarded_in_the_offers_order() {
    let answer = usual(DUPLEX);
    let pts = |index: usize| -> Vec<u8> { answer.sections[index].codecs.iter().map(|c| c.pt).collect() };
    assert_eq!(pts(1), [98, 108, 96, 102, 104, 114, 116, 39, 45]);
    assert_eq!(pts(2), [96, 98, 102, 104, 108, 114, 116, 39, 41, 43, 45]);
    assert_eq!(
        lines(&answer, 1, "m="),
        ["m=video 9 UDP/TLS/RTP/SAVPF 98 99 108 109 96 97 102 103 104 107 114 115 116 117 39 40 45 46"]
    );
    for name in ["profile-id=2", "ulpfec", "flexfec"] {
        assert!(!answer.text.contains(name), "{name}");
    }
}

#[test]
fn trap_12_every_video_format_comes_back_letter_by_letter_with_a_start_bitrate() {
    for offer in ALL {
        let parsed = parse(offer);
        let answer = usual(offer);
        for (offered, negotiated) in parsed.sections.iter().zip(&answer.sections) {
            for codec in negotiated.codecs.iter().filter(|_| negotiated.kind == SectionKind::Video) {
                let offered =
                    offered.codecs.iter().find(|c| c.pt == codec.pt).expect("only what was offered");
                if codec.codec == Codec::Av1 {
                    assert!(!answer.text.contains(&format!("a=fmtp:{} ", codec.pt)), "AV1 goes without");
                    continue;
                }
                let fmtp = codec.fmtp.as_deref().expect("always one");
                assert!(answer.text.contains(&format!("a=fmtp:{} {fmtp}\r\n", codec.pt)));
                match codec.codec {
                    Codec::Vp8 => assert_eq!(fmtp, "x-google-start-bitrate=1000"),
                    _ => assert_eq!(Some(fmtp), offered.fmtp.as_deref()),
                }
            }
        }
    }
}

#[test]
fn format_parameters_are_answered_as_clients_compare_them() {
    let check = |codec: Codec, offered: Option<&str>, expected: Option<&str>| {
        let offered = OfferedCodec {
            pt: 96,
            codec,
            clock_rate_hz: 90_000,
            channels: 1,
            fmtp: offered.map(str::to_owned),
            feedback: vec![],
            rtx_pt: None,
        };
        assert_eq!(super::answer::answered_fmtp(&offered, Role::Inactive).as_deref(), expected);
    };
    let start = "x-google-start-bitrate=1000";
    check(Codec::Vp8, None, Some(start));
    check(Codec::Vp8, Some("max-fs=12288"), Some("max-fs=12288;x-google-start-bitrate=1000"));
    check(Codec::Vp8, Some("x-google-start-bitrate=300"), Some("x-google-start-bitrate=300"));
    let vp9 = Codec::Vp9 { profile: 0 };
    check(
        vp9,
        Some("profile-id=0;x-google-start-bitrate=1000"),
        Some("profile-id=0;x-google-start-bitrate=1000"),
    );
    check(Codec::Av1, Some("level-idx=5;profile=0;tier=0;x-google-start-bitrate=1000"), None);
}

#[test]
fn extensions_are_taken_by_meaning_with_the_offers_ids() {
    let answer = usual(SIMULCAST);
    assert_eq!(
        answer.sections[0].extensions,
        Extensions {
            audio_level: Some(1),
            abs_send_time: Some(2),
            transport_cc: Some(3),
            mid: Some(4),
            ..Extensions::default()
        }
    );
    let camera = Extensions {
        audio_level: None,
        abs_send_time: Some(2),
        transport_cc: Some(3),
        mid: Some(4),
        rid: Some(10),
        repaired_rid: Some(11),
        video_orientation: Some(13),
        dependency_descriptor: None,
        layers_allocation: None,
    };
    assert_eq!(answer.sections[1].extensions, camera);
    assert_eq!(answer.sections[2].extensions, camera);
}

#[test]
fn the_dependency_descriptor_is_taken_for_video_alone() {
    let uri = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    let answer = usual(&with(AUDIO_ONLY, "urn:ietf:params:rtp-hdrext:toffset", uri));
    assert!(answer.sections[1].extensions.dependency_descriptor.is_some());
    assert!(answer.text.contains(uri));
    assert_eq!(answer.sections[0].extensions.dependency_descriptor, None);
}

#[test]
fn trap_20_the_layers_allocation_is_taken_where_a_camera_is_sent_and_nowhere_else() {
    let uri = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00";
    let is_taken = |section: &Negotiated| section.extensions.layers_allocation.is_some();
    let answer = usual(AUDIO_ONLY);
    assert_eq!(answer.sections.iter().map(is_taken).collect::<Vec<_>>(), [false, true]);
    assert!(answer.text.contains(uri));
    let downlink = usual(&with(ONE_VIDEO, "urn:3gpp:video-orientation", uri));
    assert!(!is_taken(&downlink.sections[2]));
}

#[test]
fn trap_20_extensions_we_would_not_act_on_are_not_taken() {
    assert!(AUDIO_ONLY.contains("playout-delay"));
    let answer = usual(AUDIO_ONLY);
    for uri in ["toffset", "playout-delay", "color-space", "video-timing"] {
        assert!(!answer.text.contains(uri), "{uri}");
    }
    let unwritable = usual(&with(AUDIO_ONLY, "a=extmap:4 ", "a=extmap:15 "));
    assert_eq!(unwritable.sections[0].extensions.mid, None);
}

#[test]
fn one_way_extensions_are_answered_the_other_way_round() {
    let answer = usual(&with(SIMULCAST, "a=extmap:10 ", "a=extmap:10/sendonly "));
    assert!(has(&answer, 1, "a=extmap:10/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"));
    let answer = usual(&with(SIMULCAST, "a=extmap:10 ", "a=extmap:10/inactive "));
    assert_eq!(answer.sections[1].extensions.rid, None);
}

#[test]
fn feedback_is_transport_wide_or_remb_both_ways() {
    let answer = usual(DUPLEX);
    let feedback = |index| lines(&answer, index, "a=rtcp-fb:108 ");
    let expected = [
        "a=rtcp-fb:108 goog-remb",
        "a=rtcp-fb:108 transport-cc",
        "a=rtcp-fb:108 ccm fir",
        "a=rtcp-fb:108 nack",
        "a=rtcp-fb:108 nack pli",
    ];
    assert_eq!(feedback(1), expected);
    assert_eq!(feedback(2), expected);
}

#[test]
fn feedback_for_all_formats_at_once_counts_for_each() {
    let offer = with(CAMERA, "a=rtcp-fb:96 nack pli\r\n", "a=rtcp-fb:* ccm fir\r\na=rtcp-fb:* ccm tmmbr\r\n");
    let fir = |pt: u8| {
        parse(&offer).sections[1].codecs.iter().any(|c| c.pt == pt && c.feedback.contains(&Feedback::CcmFir))
    };
    assert!(fir(96) && fir(118));
}

#[test]
fn payload_types_that_look_like_rtcp_are_not_taken() {
    let offer = with(ONE_VIDEO, " 96 97 ", " 72 73 ");
    let offer = with(&with(&offer, ":96 ", ":72 "), ":97 apt=96", ":73 apt=72");
    let answer = usual(&with(&offer, ":97 ", ":73 "));
    assert!(answer.sections[2].codecs.iter().all(|codec| codec.pt != 72));
}
