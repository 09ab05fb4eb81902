//! Offers are what Chromium 156 under amazon-chime-sdk-js 3.32 sent, in `testdata/sdp/`.

use super::*;

mod answering;
mod hostile;
mod plain;
mod reading;

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
        SectionKind::Audio => Role::Audio { ssrc: 1000, dtx: false },
        _ if section.mid == "1" => Role::ReceiveVideo { both_ways: true },
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

#[track_caller]
fn check_error(text: &str, expected: SdpError) {
    assert_eq!(Offer::parse(text), Err(expected));
}

/// The sections of a bot that speaks bare RTP.
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
