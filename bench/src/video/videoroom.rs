//! Janus' VideoRoom.

use serde_json::{Value, json};

use super::peers::{Camera, MID_EXTENSION, Peer, Peers, VP8};
use super::{FRAME_BYTES, Scene};
use crate::janus::{Handle, Janus};
use crate::report::Row;
use crate::{Failure, Plan};

pub(super) fn videoroom(plan: &Plan, scene: Scene) -> Result<Row, Failure> {
    let janus = Janus::start("videoroom")?;
    let mut peers = Peers::new(FRAME_BYTES);
    for room in 1..=scene.rooms {
        let (camera, feed) = camera(&janus, room)?;
        peers.add_camera(camera)?;
        for number in 0..scene.watchers {
            peers.add_watcher(watcher(&janus, room, &feed, 2 + number as u32)?, 1)?;
        }
    }
    peers.measure(plan, janus.pid())
}

/// Who publishes in a new room, and what VideoRoom calls that.
fn camera(janus: &Janus, room: usize) -> Result<(Camera, Value), Failure> {
    let handle = janus.attach("videoroom")?;
    janus.request(
        handle,
        json!({ "request": "create", "room": room, "publishers": 1, "bitrate": 2_000_000, "videocodec": "vp8",
            "fir_freq": 0, "record": false }),
    )?;
    let joined =
        janus.negotiate(handle, json!({ "request": "join", "ptype": "publisher", "room": room }), None)?;
    let mut camera = Camera::new(1, "0")?;
    let offer = sdp(&camera.peer, "0", &VP8.to_string(), "sendonly");
    let published = janus.negotiate(handle, json!({ "request": "publish" }), Some(offer))?;
    camera.peer.accept(sdp_of(&published)?)?;
    Ok((camera, joined["plugindata"]["data"]["id"].clone()))
}

/// VideoRoom offers to those who watch.
fn watcher(janus: &Janus, room: usize, feed: &Value, ssrc: u32) -> Result<Peer, Failure> {
    let handle: Handle = janus.attach("videoroom")?;
    let join =
        json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": [{ "feed": feed }] });
    let attached = janus.negotiate(handle, join, None)?;
    let offer = sdp_of(&attached)?;
    let line = |start: &str| offer.lines().find_map(|line| line.strip_prefix(start));
    let mid = line("a=mid:").ok_or("Janus offers no section")?;
    let payload_type =
        line("m=video ").and_then(|line| line.split(' ').nth(2)).ok_or("Janus offers no video")?;
    let mut peer = Peer::new(ssrc)?;
    let answer = sdp(&peer, mid, payload_type, "recvonly");
    peer.accept(offer)?;
    janus.negotiate(handle, json!({ "request": "start" }), Some(answer))?;
    Ok(peer)
}

/// An SDP with one section of VP8.
fn sdp(peer: &Peer, mid: &str, payload_type: &str, direction: &str) -> Value {
    let (local, transport) = (peer.transport.local(), peer.transport.sdp_lines("active"));
    let (ip, port, ssrc) = (local.ip(), local.port(), peer.ssrc);
    let kind = if direction == "sendonly" { "offer" } else { "answer" };
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\na=msid-semantic: WMS bench\r\n\
         m=video {port} UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 {ip}\r\n{transport}a=mid:{mid}\r\na={direction}\r\n\
         a=candidate:1 1 udp 2122260223 {ip} {port} typ host\r\na=end-of-candidates\r\na=rtcp-mux\r\n\
         a=rtpmap:{payload_type} VP8/90000\r\na=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n\
         a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\na=msid:bench bench\r\na=ssrc:{ssrc} cname:bench\r\n"
    );
    json!({ "type": kind, "sdp": sdp })
}

fn sdp_of(answer: &Value) -> Result<&str, Failure> {
    answer["jsep"]["sdp"].as_str().ok_or_else(|| format!("Janus answered without SDP: {answer}"))
}
