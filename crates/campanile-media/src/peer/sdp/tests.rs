//! Offers are what Chromium 156 under amazon-chime-sdk-js 3.32 sent, in `testdata/sdp/`.

use super::*;

const AUDIO_ONLY: &str = include_str!("../../../testdata/sdp/offer-audio-only.sdp");
const CAMERA: &str = include_str!("../../../testdata/sdp/offer-video-nosimulcast.sdp");
const SIMULCAST: &str = include_str!("../../../testdata/sdp/offer-video-simulcast.sdp");
const ONE_VIDEO: &str = include_str!("../../../testdata/sdp/offer-recv-one-video.sdp");
const DUPLEX: &str = include_str!("../../../testdata/sdp/offer-duplex-one-remote.sdp");
const TWO_VIDEOS: &str = include_str!("../../../testdata/sdp/offer-recv-two-videos.sdp");
const UNSUBSCRIBED: &str = include_str!("../../../testdata/sdp/offer-after-unsubscribe.sdp");
const RECYCLED: &str = include_str!("../../../testdata/sdp/offer-after-resubscribe-recycled.sdp");
const ALL: [&str; 8] = [AUDIO_ONLY, CAMERA, SIMULCAST, ONE_VIDEO, DUPLEX, TWO_VIDEOS, UNSUBSCRIBED, RECYCLED];

const HOST: &str = "a=candidate:1 1 udp 2130706431 203.0.113.5 7000 typ host generation 0";

fn local() -> LocalTransport<'static> {
    LocalTransport {
        ufrag: "ourufrag",
        pwd: "ourpasswordourpassword12",
        fingerprint: &[0xAB; 32],
        candidates: Candidates { udp: Some(SocketAddr::from(([203, 0, 113, 5], 7000))), tcp: None },
    }
}

/// What a meeting would do: audio both ways, the camera in, everything received out, SSRCs by mid.
fn usual_role(section: &Section) -> Role {
    match section.kind {
        SectionKind::Audio => Role::Audio { ssrc: 1000 },
        _ if section.mid == "1" => Role::ReceiveVideo,
        _ => {
            let mid: u32 = section.mid.parse().unwrap_or(99);
            Role::SendVideo { ssrc: 2000 + mid, rtx_ssrc: 3000 + mid }
        }
    }
}

fn parse(text: &str) -> Offer {
    Offer::parse(text).expect("a good offer")
}

fn usual(text: &str) -> Answer {
    answer(&parse(text), &local(), usual_role, "campanile")
}

/// The answer's lines: those before the first m-line, then each section's.
fn split(answer: &Answer) -> Vec<Vec<&str>> {
    let mut parts = vec![Vec::new()];
    for line in answer.text.strip_suffix("\r\n").expect("a last CRLF").split("\r\n") {
        if line.starts_with("m=") {
            parts.push(Vec::new());
        }
        parts.last_mut().expect("never empty").push(line);
    }
    parts
}

/// Lines of section `index` (0 is the first m-section) that begin with `prefix`.
fn lines<'a>(answer: &'a Answer, index: usize, prefix: &str) -> Vec<&'a str> {
    split(answer)[index + 1].iter().copied().filter(|line| line.starts_with(prefix)).collect()
}

fn has(answer: &Answer, index: usize, line: &str) -> bool {
    split(answer)[index + 1].contains(&line)
}

/// `offer` with one text in it replaced, everywhere.
fn with(offer: &str, from: &str, to: &str) -> String {
    assert!(offer.contains(from), "{from} is not in the offer");
    offer.replace(from, to)
}

fn with_once(offer: &str, from: &str, to: &str) -> String {
    assert!(offer.contains(from), "{from} is not in the offer");
    offer.replacen(from, to, 1)
}

// --- Reading ---

#[test]
fn the_transport_is_read() {
    let OfferTransport::WebRtc { ufrag, pwd, fingerprint } = parse(SIMULCAST).transport else {
        panic!("a WebRTC offer")
    };
    assert_eq!(ufrag, "zhxa");
    assert_eq!(pwd, "tfs2pNo5ib+KDoYRBocQy9w/");
    assert_eq!((fingerprint[0], fingerprint[1], fingerprint[31]), (0x2D, 0xA8, 0x97));
}

#[test]
fn every_section_is_read_in_order() {
    let shape = |text: &str| -> Vec<(String, Direction, bool)> {
        parse(text).sections.into_iter().map(|s| (s.mid, s.direction, s.rejected)).collect()
    };
    let (both, receive, none) = (Direction::SendRecv, Direction::RecvOnly, Direction::Inactive);
    let section = |mid: &str, direction, rejected| (mid.to_owned(), direction, rejected);
    assert_eq!(shape(AUDIO_ONLY), [section("0", both, false), section("1", none, false)]);
    assert_eq!(
        shape(UNSUBSCRIBED),
        [
            section("0", both, false),
            section("1", none, false),
            section("2", none, true),
            section("3", receive, false)
        ]
    );
    assert_eq!(
        shape(RECYCLED),
        [
            section("0", both, false),
            section("1", none, false),
            section("4", receive, false),
            section("3", receive, false)
        ]
    );
}

#[test]
fn codecs_are_read_with_feedback_and_retransmission() {
    let offer = parse(SIMULCAST);
    let audio = &offer.sections[0].codecs;
    assert_eq!((audio[0].pt, audio[0].codec), (63, Codec::Red));
    assert_eq!((audio[1].pt, audio[1].codec, audio[1].channels), (111, Codec::Opus, 2));
    let video = &offer.sections[1].codecs;
    assert_eq!((video[0].pt, video[0].codec, video[0].rtx_pt), (96, Codec::Vp8, Some(97)));
    use Feedback::*;
    assert_eq!(video[0].feedback, [GoogRemb, TransportCc, CcmFir, Nack, NackPli]);
    let h264 = Codec::H264 { profile_level_id: 0x42_E0_1F, packetization_mode: 1 };
    assert!(video.iter().any(|c| (c.pt, c.codec, c.rtx_pt) == (108, h264, Some(109))));
    assert!(video.iter().any(|c| (c.pt, c.codec) == (100, Codec::Vp9 { profile: 2 })));
    assert!(video.iter().any(|c| (c.pt, c.codec) == (45, Codec::Av1)));
    assert!(video.iter().all(|c| c.pt != 97), "retransmission is no codec of its own");
    assert_eq!(offer.sections[1].extensions[1].uri, "urn:3gpp:video-orientation");
}

#[test]
fn simulcast_layers_are_read_in_order_with_their_pauses() {
    let section = parse(SIMULCAST).sections.swap_remove(1);
    assert_eq!(section.rids, ["low", "mid", "hi"]);
    let layers: Vec<String> = section.simulcast.iter().map(SimulcastRid::to_string).collect();
    assert_eq!(layers, ["~low", "mid", "~hi"]);
    assert!(section.ssrcs.is_empty());
    // Alternatives, an unknown rid, the other direction first.
    let odd = with(SIMULCAST, "simulcast:send ~low;mid;~hi", "simulcast:recv x send hi,mid;ghost;~low");
    let layers: Vec<String> = parse(&odd).sections[1].simulcast.iter().map(SimulcastRid::to_string).collect();
    assert_eq!(layers, ["hi", "~low"]);
}

#[test]
fn announced_ssrcs_are_read_once_each() {
    let section = parse(CAMERA).sections.swap_remove(1);
    assert_eq!(section.ssrcs, [1956370866, 4216766370]);
    assert_eq!(section.rtx_pairs, [(1956370866, 4216766370)]);
}

#[test]
fn what_a_receiver_can_decode_comes_from_the_sections_it_receives_in() {
    assert_eq!(parse(AUDIO_ONLY).decodable_video_codecs(), []);
    let codecs = parse(TWO_VIDEOS).decodable_video_codecs();
    assert!(codecs.contains(&Codec::Vp8) && codecs.contains(&Codec::Av1));
    assert!(codecs.contains(&Codec::Vp9 { profile: 0 }));
    assert!(codecs.iter().any(|c| c.h264_profile() == Some(H264Profile::ConstrainedBaseline)));
    assert!(!codecs.contains(&Codec::Other) && !codecs.contains(&Codec::Red));
    let mut once = codecs.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), codecs.len());
}

#[test]
fn h264_profiles_are_told_apart() {
    let check = |id: u32, expected: Option<H264Profile>| {
        let codec = Codec::H264 { profile_level_id: id, packetization_mode: 1 };
        assert_eq!(codec.h264_profile(), expected, "{id:06x}");
    };
    use H264Profile::*;
    check(0x42_E0_1F, Some(ConstrainedBaseline));
    check(0x42_E0_34, Some(ConstrainedBaseline));
    check(0x42_C0_1F, Some(ConstrainedBaseline));
    check(0x42_40_0A, Some(ConstrainedBaseline));
    check(0x4D_80_1F, Some(ConstrainedBaseline));
    check(0x58_C0_1F, Some(ConstrainedBaseline));
    check(0x42_00_1F, Some(Baseline));
    check(0x42_A0_1F, Some(Baseline));
    check(0x58_80_1F, Some(Baseline));
    check(0x4D_00_1F, Some(Main));
    check(0x4D_40_1F, Some(Main));
    check(0x64_00_1F, Some(High));
    check(0x64_0C_1F, Some(ConstrainedHigh));
    check(0xF4_00_1F, None);
    check(0x42_01_1F, None);
    check(0x64_08_1F, None);
    assert_eq!(Codec::Vp8.h264_profile(), None);
}

#[test]
fn formats_are_the_same_whatever_their_h264_level() {
    let h264 = |profile_level_id, packetization_mode| Codec::H264 { profile_level_id, packetization_mode };
    let check = |a: Codec, b: Codec, same: bool| {
        assert_eq!(a.is_same_format(b), same, "{a:?} {b:?}");
        assert_eq!(b.is_same_format(a), same, "{b:?} {a:?}");
    };
    check(Codec::Vp8, Codec::Vp8, true);
    check(Codec::Vp8, Codec::Av1, false);
    check(Codec::Vp9 { profile: 0 }, Codec::Vp9 { profile: 2 }, false);
    check(h264(0x42E01F, 1), h264(0x42E034, 1), true);
    check(h264(0x42E01F, 1), h264(0x42C01F, 1), true);
    check(h264(0x42E01F, 1), h264(0x42E01F, 0), false);
    check(h264(0x42E01F, 1), h264(0x42001F, 1), false);
    check(h264(0xF4001F, 1), h264(0xF40020, 1), true);
    check(h264(0xF4001F, 1), h264(0x64001F, 1), false);
}

#[test]
fn codecs_with_parameters_we_cannot_read_are_unknown_codecs() {
    let codec_102 = |fmtp: &str| {
        let old = "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f;\
                   x-google-start-bitrate=1000";
        let offer = parse(&with_once(CAMERA, old, &format!("a=fmtp:102 {fmtp}")));
        offer.sections[1].codecs.iter().find(|c| c.pt == 102).expect("still listed").codec
    };
    let h264 = |profile_level_id, packetization_mode| Codec::H264 { profile_level_id, packetization_mode };
    assert_eq!(codec_102("a=b"), h264(0x42_00_0A, 0));
    assert_eq!(codec_102("Packetization-Mode=1; profile-level-id=640C1F"), h264(0x64_0C_1F, 1));
    assert_eq!(codec_102("packetization-mode=2"), Codec::Other);
    assert_eq!(codec_102("profile-level-id=42e0"), Codec::Other);
    assert_eq!(codec_102("profile-level-id=+2e01f"), Codec::Other);
    assert_eq!(codec_102("profile-level-id=zzzzzz"), Codec::Other);
}

#[test]
fn firefox_says_some_things_for_the_whole_session() {
    let fingerprint = SIMULCAST.lines().find(|line| line.starts_with("a=fingerprint")).expect("there is one");
    let offer = with(SIMULCAST, &format!("{fingerprint}\r\n"), "");
    let offer = with_once(&offer, "t=0 0\r\n", &format!("t=0 0\r\na=sendrecv\r\n{fingerprint}\r\n"));
    assert_eq!(parse(&offer).transport, parse(SIMULCAST).transport);
}

#[test]
fn bundle_only_sections_are_in_use_despite_port_0() {
    let offer = with(TWO_VIDEOS, "m=video 9 ", "m=video 0 ");
    let offer = with(&offer, "a=mid:3\r\n", "a=mid:3\r\na=bundle-only\r\n");
    let answer = usual(&offer);
    assert_eq!(answer.sections.iter().map(|s| s.rejected).collect::<Vec<_>>(), [false, true, true, false]);
    assert!(split(&answer)[0].contains(&"a=group:BUNDLE 0 3"));
    assert!(lines(&answer, 3, "m=")[0].starts_with("m=video 9 "));
}

// --- Answering ---

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
    check("sendrecv", Role::ReceiveVideo, SendRecv);
    check("sendonly", Role::ReceiveVideo, RecvOnly);
    check("recvonly", Role::ReceiveVideo, Inactive);
    check("inactive", Role::ReceiveVideo, Inactive);
    check("sendrecv", send, SendOnly);
    check("recvonly", send, SendOnly);
    check("sendonly", send, Inactive);
    check("inactive", send, Inactive);
    check("sendrecv", Role::Audio { ssrc: 1 }, SendRecv);
    check("sendonly", Role::Audio { ssrc: 1 }, RecvOnly);
    check("recvonly", Role::Audio { ssrc: 1 }, SendOnly);
    check("inactive", Role::Audio { ssrc: 1 }, Inactive);
    check("sendrecv", Role::Inactive, Inactive);
}

#[test]
fn a_role_of_the_wrong_kind_is_inactive() {
    let answer = answer(&parse(CAMERA), &local(), |_| Role::Audio { ssrc: 1 }, "c");
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
        assert_eq!(super::answer::answered_fmtp(&offered).as_deref(), expected);
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

// --- Plain ---

fn bot_sections() -> Vec<PlainSection> {
    let rid = |rid: &str, paused| SimulcastRid { rid: rid.to_owned(), paused };
    let mut camera = PlainSection::new(SectionKind::Video, "1", Direction::SendRecv);
    camera.rids = vec![rid("low", false), rid("mid", true), rid("hi", false)];
    let mut stopped = PlainSection::new(SectionKind::Video, "2", Direction::Inactive);
    stopped.rejected = true;
    let mut audio = PlainSection::new(SectionKind::Audio, "0", Direction::SendRecv);
    audio.ssrc = Some(77);
    vec![audio, camera, stopped, PlainSection::new(SectionKind::Video, "3", Direction::RecvOnly)]
}

fn bot_addr() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 5004))
}

#[test]
fn a_bots_offer_is_read_as_it_was_meant() {
    let offer = parse(&plain_offer(bot_addr(), &bot_sections()));
    assert_eq!(offer.transport, OfferTransport::Plain { addr: bot_addr() });
    for (section, meant) in offer.sections.iter().zip(bot_sections()) {
        assert_eq!((section.kind, &section.mid), (meant.kind, &meant.mid));
        assert_eq!((section.direction, section.rejected), (meant.direction, meant.rejected));
        assert_eq!(section.simulcast, meant.rids);
        assert_eq!(section.ssrcs, meant.ssrc.into_iter().collect::<Vec<_>>());
        assert_eq!(section.shares_transport, !meant.rejected);
    }
    let profiles: Vec<_> = offer.decodable_video_codecs().iter().map(|codec| codec.h264_profile()).collect();
    assert_eq!(profiles, [None, Some(H264Profile::ConstrainedBaseline)]);
}

#[test]
fn a_plain_offer_gets_a_plain_answer() {
    let answer = usual(&plain_offer(bot_addr(), &bot_sections()));
    for word in ["ice", "candidate", "fingerprint", "setup", "BUNDLE", "SAVPF", "msid-semantic"] {
        assert!(!answer.text.contains(word), "{word}");
    }
    assert_eq!(lines(&answer, 0, "m="), ["m=audio 7000 RTP/AVP 111"]);
    assert_eq!(lines(&answer, 1, "m="), ["m=video 7000 RTP/AVP 96 97 102 103"]);
    assert_eq!(lines(&answer, 2, "m="), ["m=video 0 RTP/AVP 96"]);
    for index in [0, 1, 3] {
        assert!(has(&answer, index, "c=IN IP4 203.0.113.5"));
    }
    assert_eq!(lines(&answer, 1, "a=simulcast"), ["a=simulcast:recv low;~mid;hi"]);
    assert!(has(&answer, 3, "a=msid:v_3 track_3"));
    assert_eq!(answer.sections[1].extensions.rid, Some(10));
}

#[test]
fn a_bot_can_read_our_plain_answer_as_it_reads_offers() {
    let text = usual(&plain_offer(bot_addr(), &bot_sections())).text;
    let answer = parse(&text);
    assert_eq!(answer.transport, OfferTransport::Plain { addr: local().candidates.udp.expect("it has one") });
    assert_eq!(answer.sections[3].rtx_pairs, [(2003, 3003)]);
    assert_eq!(answer.sections[3].direction, Direction::SendOnly);
    assert_eq!(answer.sections[3].codecs[0].rtx_pt, Some(97));
}

#[test]
fn an_ipv6_bot_is_reached_too() {
    let addr: SocketAddr = "[2001:db8::7]:5004".parse().expect("an address");
    assert_eq!(parse(&plain_offer(addr, &bot_sections())).transport, OfferTransport::Plain { addr });
}

#[test]
fn a_telephone_without_mids_is_answered_without_mids() {
    let text = "v=0\r\no=- 1 1 IN IP4 198.51.100.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 107 101\r\n\
                c=IN IP4 198.51.100.9\r\na=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n\
                m=image 4002 udptl t38\r\n";
    let answer = usual(text);
    assert!(lines(&answer, 0, "a=mid").is_empty());
    assert_eq!(lines(&answer, 0, "m="), ["m=audio 7000 RTP/AVP 107"]);
    assert!(lines(&answer, 0, "a=rtcp").is_empty(), "no rtcp-mux unless offered");
    assert_eq!(lines(&answer, 1, "m="), ["m=image 0 udptl t38"]);
}

#[test]
fn plain_sections_at_another_address_are_answered_port_0() {
    let text = plain_offer(bot_addr(), &bot_sections());
    let rejected = |text: &str| -> Vec<bool> { usual(text).sections.iter().map(|s| s.rejected).collect() };
    assert_eq!(rejected(&with_once(&text, "m=video 5004", "m=video 5006")), [false, true, true, false]);
    let elsewhere = with_once(&text, "a=mid:1\r\n", "c=IN IP4 198.51.100.8\r\na=mid:1\r\n");
    assert_eq!(rejected(&elsewhere), [false, true, true, false]);
}

#[test]
fn plain_offers_need_an_address_to_send_to() {
    let text = plain_offer(bot_addr(), &bot_sections());
    let c = "c=IN IP4 198.51.100.7\r\n";
    check_error(&with_once(&text, c, ""), SdpError::Missing { line: 5, what: "c-line" });
    for bad in ["0.0.0.0", "224.0.0.1", "example.com", "1.2.3.4/127"] {
        let text = with_once(&text, c, &format!("c=IN IP4 {bad}\r\n"));
        check_error(&text, SdpError::Malformed { line: 4, what: "address" });
    }
}

// --- Hostile ---

#[track_caller]
fn check_error(text: &str, expected: SdpError) {
    assert_eq!(Offer::parse(text), Err(expected));
}

/// The number of the first line holding `needle`, counted from 1.
fn line_of(text: &str, needle: &str) -> usize {
    1 + text.lines().position(|line| line.contains(needle)).expect("it is there")
}

/// Replaces `from` once by `to` in the audio-only offer, and expects an error made from the number of that line.
#[track_caller]
fn check_bad(from: &str, to: &str, expected: impl Fn(usize) -> SdpError) {
    let text = with_once(AUDIO_ONLY, from, to);
    let at = AUDIO_ONLY.find(from).expect("it was there");
    let line = 1 + text[..at].matches('\n').count();
    assert_eq!(Offer::parse(&text), Err(expected(line)), "{to}");
}

#[track_caller]
fn check_malformed(from: &str, to: &str, what: &'static str) {
    check_bad(from, to, |line| SdpError::Malformed { line, what });
}

#[test]
fn broken_lines_are_named() {
    let m = "m=audio 32918 UDP/TLS/RTP/SAVPF 63 111";
    check_malformed(m, "m=audio 32918 UDP/TLS/RTP/SAVPF 300 111", "payload type");
    check_malformed(m, "m=audio 32918 UDP/TLS/RTP/SAVPF 128 111", "payload type");
    check_malformed(m, "m=audio 32918 UDP/TLS/RTP/SAVPF +63 111", "payload type");
    check_malformed(m, "m=audio 32918 UDP/TLS/RTP/SAVPF  63 111", "m-line");
    check_malformed(m, "m=audio 70000 UDP/TLS/RTP/SAVPF 63 111", "port");
    check_malformed(m, "m=audio -1 UDP/TLS/RTP/SAVPF 63 111", "port");
    check_malformed("a=rtpmap:111 opus/48000/2", "a=rtpmap:300 opus/48000/2", "payload type");
    check_malformed("a=rtpmap:111 opus/48000/2", "a=rtpmap:111", "rtpmap");
    check_malformed("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus", "rtpmap");
    check_malformed("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2/2", "rtpmap");
    check_malformed("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/99999999999", "rtpmap");
    let long = format!("a=rtpmap:111 {}/48000/2", "o".repeat(33));
    check_malformed("a=rtpmap:111 opus/48000/2", &long, "rtpmap");
    check_malformed("a=fmtp:111 minptime=10;useinbandfec=1", "a=fmtp:111", "fmtp");
    check_malformed("a=mid:0", "a=mid:", "mid");
    check_malformed("a=mid:0", "a=mid:a b", "mid");
    check_malformed("a=mid:0", "a=mid:0123456789abcdef0", "mid");
    check_malformed("a=extmap:1 ", "a=extmap:0 ", "extmap");
    check_malformed("a=extmap:1 ", "a=extmap:1/up ", "extmap");
    check_malformed("a=extmap:1 ", "a=extmap:99999 ", "extmap");
    check_malformed("a=ssrc:254193207 cname", "a=ssrc:x cname", "ssrc");
    check_malformed("a=ssrc:254193207 cname", "a=ssrc:4294967296 cname", "ssrc");
    check_malformed("a=setup:actpass", "a=ssrc-group:FID 1 2 3", "ssrc-group");
    check_malformed("a=setup:actpass", "a=rid:lo/w send", "rid");
    check_malformed("a=setup:actpass", "a=rid:low sideways", "rid");
    check_malformed("s=-", "s=a\0b", "character");
    check_malformed("s=-", "s=a\rb", "character");
    check_malformed("s=-", "", "line");
    check_malformed("s=-", "v=0", "version");
    check_malformed("v=0", "v=1", "version");
    check_malformed("v=0", "s=-", "version");
    check_error("", SdpError::Malformed { line: 1, what: "line" });
    check_error("v=0\r\n", SdpError::Missing { line: 1, what: "audio or video section in use" });
}

#[test]
fn things_said_twice_are_named() {
    let duplicate = |from: &str, to: &str, what: &'static str| {
        let text = with_once(AUDIO_ONLY, from, to);
        let found = Offer::parse(&text);
        assert!(
            matches!(found, Err(SdpError::Duplicate { what: said, .. }) if said == what),
            "{found:?} {to}"
        );
    };
    duplicate("SAVPF 63 111", "SAVPF 63 111 63", "payload type");
    duplicate("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\na=rtpmap:111 opus/48000/2", "rtpmap");
    duplicate("a=rtpmap:111 opus/48000/2", "a=fmtp:111 x=1", "fmtp");
    duplicate("a=mid:0", "a=mid:0\na=mid:5", "mid");
    duplicate("a=mid:0", "a=mid:1", "mid");
    duplicate("a=mid:0", "a=mid:0\na=ice-ufrag:abcd", "ice-ufrag");
    duplicate("a=mid:0", "a=mid:0\na=ice-pwd:abcd", "ice-pwd");
    duplicate("a=mid:0", "a=mid:0\na=setup:active", "setup");
    duplicate("a=mid:0", "a=mid:0\na=rid:a send\na=rid:a send", "rid");
    duplicate("a=mid:0", "a=mid:0\na=rid:a send\na=simulcast:send a;a", "simulcast rid");
    duplicate("a=extmap:2 ", "a=extmap:1 ", "extmap id");
}

#[test]
fn a_section_in_use_needs_a_mid_and_one_port_for_rtcp() {
    check_error(
        &with_once(AUDIO_ONLY, "a=mid:0\r\n", ""),
        SdpError::Missing { line: line_of(AUDIO_ONLY, "m=audio"), what: "mid" },
    );
    check_error(
        &with_once(AUDIO_ONLY, "a=rtcp-mux\r\n", ""),
        SdpError::Missing { line: line_of(AUDIO_ONLY, "m=audio"), what: "rtcp-mux" },
    );
    // Stopped sections may have lost theirs.
    let answer = usual(&with_once(UNSUBSCRIBED, "a=mid:2\r\n", ""));
    assert_eq!(lines(&answer, 2, "m="), ["m=video 0 UDP/TLS/RTP/SAVPF 96"]);
    assert!(lines(&answer, 2, "a=mid").is_empty());
}

#[test]
fn the_fingerprint_must_be_by_sha_256() {
    let original = AUDIO_ONLY.lines().find(|line| line.starts_with("a=fingerprint")).expect("there is one");
    check_malformed(original, "a=fingerprint:", "fingerprint");
    check_malformed(original, "a=fingerprint:sha-256 ", "fingerprint");
    check_malformed(original, "a=fingerprint:sha-256 AB:CD", "fingerprint");
    check_malformed(original, &format!("{original}:00"), "fingerprint");
    check_malformed(original, &original.replace("sha-256 ", "sha-256 +"), "fingerprint");
    check_bad(original, "a=fingerprint:sha-1 AB:CD", |line| SdpError::UnsupportedFingerprint { line });
    check_error(
        &with(AUDIO_ONLY, &format!("{original}\r\n"), ""),
        SdpError::Missing { line: line_of(AUDIO_ONLY, "m=audio"), what: "fingerprint" },
    );
    // Another one beside it does no harm, and case does not matter.
    let both = format!("a=fingerprint:sha-1 AB:CD\r\n{}", original.replace("sha-256", "SHA-256"));
    assert_eq!(parse(&with_once(AUDIO_ONLY, original, &both)).transport, parse(AUDIO_ONLY).transport);
}

#[test]
fn the_offerer_must_be_ready_to_be_the_dtls_client() {
    for bad in ["passive", "holdconn", "", "ACTPASS"] {
        let to = format!("a=setup:{bad}\r\n");
        check_bad("a=setup:actpass\r\n", &to, |line| SdpError::UnsupportedSetup { line });
    }
    assert!(Offer::parse(&with(AUDIO_ONLY, "setup:actpass", "setup:active")).is_ok());
    let none = with(AUDIO_ONLY, "a=setup:actpass\r\n", "");
    check_error(&none, SdpError::Missing { line: line_of(&none, "m=audio"), what: "setup" });
}

#[test]
fn ice_credentials_must_be_long_enough_and_unambiguous() {
    let ufrag = AUDIO_ONLY.lines().find(|line| line.starts_with("a=ice-ufrag")).expect("there is one");
    let pwd = AUDIO_ONLY.lines().find(|line| line.starts_with("a=ice-pwd")).expect("there is one");
    for bad in ["", "abc", "ab:cd", "ab cd", &"a".repeat(257)] {
        check_malformed(ufrag, &format!("a=ice-ufrag:{bad}"), "ice-ufrag");
    }
    for bad in ["", "abcdefghijklmnopqrstu", "abcdefghijklmnopqrstu vw", &"a".repeat(257)] {
        check_malformed(pwd, &format!("a=ice-pwd:{bad}"), "ice-pwd");
    }
}

#[test]
fn secure_and_bare_rtp_do_not_mix() {
    let plain = plain_offer(bot_addr(), &[PlainSection::new(SectionKind::Audio, "9", Direction::SendRecv)]);
    let section = plain.split_once("m=").expect("one section").1;
    let text = format!("{AUDIO_ONLY}m={section}");
    check_error(&text, SdpError::MixedTransports { line: line_of(&text, "RTP/AVP ") });
}

#[test]
fn everything_has_a_bound() {
    let too_many = |text: &str, what: &'static str| {
        let found = Offer::parse(text);
        assert!(
            matches!(found, Err(SdpError::TooMany { what: said, .. }) if said == what),
            "{what}: {found:?}"
        );
    };
    let repeat = |count: usize, line: &dyn Fn(usize) -> String| -> String {
        let lines: String = (1..=count).map(line).collect();
        with_once(AUDIO_ONLY, "a=mid:0\r\n", &format!("a=mid:0\r\n{lines}"))
    };
    let bytes = OFFER_BYTES_MAX + 1;
    check_error(&"v".repeat(bytes), SdpError::TooLong { bytes });
    too_many(&repeat(OFFER_LINES_MAX, &|_| "i=x\r\n".to_owned()), "lines");
    too_many(&repeat(1, &|_| format!("i={}\r\n", "x".repeat(LINE_BYTES_MAX))), "bytes in a line");
    too_many(&repeat(SECTIONS_MAX, &|n| format!("m=audio 9 RTP/AVP 0\r\na=mid:x{n}\r\n")), "m-sections");
    too_many(&repeat(RIDS_MAX + 1, &|n| format!("a=rid:r{n} send\r\n")), "rids in a section");
    too_many(&repeat(SSRCS_MAX + 1, &|n| format!("a=ssrc:{n} cname:x\r\n")), "ssrcs in a section");
    too_many(&repeat(SSRCS_MAX + 1, &|n| format!("a=ssrc-group:FID {n} 9\r\n")), "ssrc-groups in a section");
    too_many(&repeat(EXTENSIONS_MAX, &|n| format!("a=extmap:{} urn:x\r\n", n + 20)), "extmaps in a section");
    too_many(&repeat(1, &|_| format!("a=fmtp:110 {}\r\n", "x".repeat(FMTP_BYTES_MAX + 1))), "bytes of fmtp");
    // What repeats without being kept is no harm.
    let rtcp_fb = repeat(5000, &|_| "a=rtcp-fb:111 nack\r\n".to_owned());
    assert_eq!(parse(&rtcp_fb).sections[0].codecs[1].feedback, [Feedback::Nack, Feedback::TransportCc]);
}

#[test]
fn a_full_house_of_25_videos_is_answered() {
    let remote = &ONE_VIDEO[ONE_VIDEO.rfind("m=video").expect("a remote video")..];
    let more: String =
        (3..27).map(|mid| with_once(remote, "a=mid:2\r\n", &format!("a=mid:{mid}\r\n"))).collect();
    let mids: Vec<String> = (0..27).map(|mid: u32| mid.to_string()).collect();
    let offer = format!("{ONE_VIDEO}{more}");
    let offer = with_once(&offer, "BUNDLE 0 1 2", &format!("BUNDLE {}", mids.join(" ")));
    let answer = usual(&offer);
    assert!(answer.sections.iter().all(|section| !section.rejected));
    assert!(has(&answer, 26, "a=ssrc-group:FID 2026 3026"));
}

#[test]
fn cut_and_garbled_offers_never_panic() {
    for offer in ALL {
        for cut in (0..offer.len()).step_by(97) {
            fuzz::sdp(&offer.as_bytes()[..cut]);
        }
    }
    let plain = plain_offer(bot_addr(), &bot_sections());
    for cut in 0..plain.len() {
        fuzz::sdp(&plain.as_bytes()[..cut]);
    }
    // Each line left out, and each line doubled.
    let lines: Vec<&str> = SIMULCAST.split_inclusive('\n').collect();
    for index in 0..lines.len() {
        let without: String =
            lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, l)| *l).collect();
        fuzz::sdp(without.as_bytes());
        let (before, after) = lines.split_at(index);
        fuzz::sdp([&before.concat(), lines[index], &after.concat()].concat().as_bytes());
    }
    fuzz::sdp(&[0xFF, 0xFE, 0]);
}

#[test]
fn secrets_are_not_in_debug_or_errors() {
    let offer = parse(SIMULCAST);
    let ours = usual(SIMULCAST);
    let said = format!("{offer:?} {ours:?} {:?}", local());
    assert!(said.contains("<redacted>"));
    assert!(!said.contains("tfs2pNo5ib") && !said.contains("ourpassword"));
    let bad = with_once(AUDIO_ONLY, "a=ice-pwd:", "a=ice-pwd: ");
    let error = Offer::parse(&bad).expect_err("a space");
    let pwd = AUDIO_ONLY.lines().find_map(|line| line.strip_prefix("a=ice-pwd:")).expect("there is one");
    assert!(!format!("{error} {error:?}").contains(pwd));
}
