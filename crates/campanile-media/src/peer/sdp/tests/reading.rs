//! What offers say.

use super::*;

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
