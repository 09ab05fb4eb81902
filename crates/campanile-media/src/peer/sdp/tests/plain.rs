//! Offers and answers of bare RTP.

use super::*;

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
    let decodable = offer.decodable_video_codecs();
    let profiles: Vec<_> = decodable.iter().map(|codec| codec.h264_profile()).collect();
    assert_eq!(profiles, [None, Some(H264Profile::ConstrainedBaseline), None, None]);
    assert_eq!(decodable[2..], [Codec::Vp9 { profile: 0 }, Codec::Av1]);
}

#[test]
fn a_plain_offer_gets_a_plain_answer() {
    let answer = usual(&plain_offer(bot_addr(), &bot_sections()));
    for word in ["ice", "candidate", "fingerprint", "setup", "BUNDLE", "SAVPF", "msid-semantic"] {
        assert!(!answer.text.contains(word), "{word}");
    }
    assert_eq!(lines(&answer, 0, "m="), ["m=audio 7000 RTP/AVP 111"]);
    assert_eq!(lines(&answer, 1, "m="), ["m=video 7000 RTP/AVP 96 97 102 103 98 99 45 46"]);
    assert_eq!(lines(&answer, 2, "m="), ["m=video 0 RTP/AVP 96"]);
    for index in [0, 1, 3] {
        assert!(has(&answer, index, "c=IN IP4 203.0.113.5"));
    }
    assert_eq!(lines(&answer, 1, "a=simulcast"), ["a=simulcast:recv low;~mid;hi"]);
    assert!(has(&answer, 3, "a=msid:v_3 track_3"));
    assert_eq!(answer.sections[1].extensions.rid, Some(10));
    assert_eq!(answer.sections[3].extensions.dependency_descriptor, Some(12));
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
