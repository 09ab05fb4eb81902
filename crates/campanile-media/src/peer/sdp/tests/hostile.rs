//! Offers that are broken, or meant to break.

use super::*;

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
