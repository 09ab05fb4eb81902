//! A forwarded packet takes no memory from the heap, also where frames are left out, descriptors written again, packets held
//! back until the network bears them, and repaired.
#![allow(unsafe_code)] // counting allocations takes a global allocator, which is unsafe to write
#![allow(clippy::disallowed_methods)] // a clock to begin with: this is no part of the core

mod heap;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_media::forward::{
    DESCRIPTOR_BYTES_MAX, Forwarder, Layer, NewPacket, Uplink, VideoCodec, write_copy, write_retransmission,
};
use campanile_media::peer::srtp::{SrtpProfile, SrtpSender};
use campanile_media::peer::{Departure, Peer, Urgency};
use campanile_media::units::Bitrate;

/// Pictures in which histories and buffers fill up, and pictures counted.
const WARM: u16 = 2000;
const COUNTED: u16 = 1000;
/// The first descriptor of a stream of two temporal layers, with its structure: targets and templates (0, 0) and (0, 1),
/// no chains, no sizes.
const KEYFRAME: [u8; 9] = [0xc0, 0, 0, 0x80, 0x01, 0x7a, 0x28, 0xa0, 0x00];

#[test]
fn a_forwarded_packet_allocates_nothing() {
    let mut now = Instant::now();
    let mut uplink = Uplink::default();
    let mut forwarders: Vec<_> = (0..20).map(|ssrc| Forwarder::new(ssrc, !ssrc, 1)).collect();
    for (at, forwarder) in forwarders.iter_mut().enumerate() {
        // Every second one gets half of the pictures.
        forwarder.set_target(Some(Layer { temporal: (at % 2) as u8, ..Layer::whole(0) }));
    }
    let mut sender = SrtpSender::new(SrtpProfile::AeadAes128Gcm, &[1; 16], &[2; 12]).expect("keys fit");
    let mut out = Vec::with_capacity(1 << 20);
    let (mut sent, mut before) = (0, heap::so_far());
    for picture in 0..WARM + COUNTED {
        if picture == WARM {
            (sent, before) = (0, heap::so_far());
        }
        now += Duration::from_millis(33);
        let [high, low] = picture.to_be_bytes();
        // Start and end of a frame, its template, its number.
        let short = [0xc0 | (picture % 2) as u8, high, low];
        let descriptor = if picture == 0 { &KEYFRAME[..] } else { &short };
        let payload = [if picture == 0 { 0x18 } else { 0x10 }; 1000];
        let new = NewPacket {
            timestamp: u32::from(picture) * 3000,
            marker: true,
            payload: &payload,
            info: uplink.inspect(VideoCodec::Av1, &payload, descriptor),
            codec: 0,
            orientation: None,
            descriptor,
        };
        let Some(stored) = uplink.receive(now, picture, new) else { panic!("picture {picture} is new") };
        out.clear();
        for forwarder in &mut forwarders {
            let Some(numbers) = forwarder.offer(now, 0, stored) else { continue };
            let mut buffer = [0; DESCRIPTOR_BYTES_MAX];
            let descriptor = numbers.descriptor(stored, &mut buffer).expect("it came with one");
            let start = out.len();
            write_copy(&mut out, forwarder.ssrc, 45, &[(12, descriptor)], numbers, stored);
            sender.protect_rtp(&mut out, start).expect("sealed");
            sent += 1;
        }
    }
    assert_eq!(heap::so_far(), before);
    assert_eq!(sent, COUNTED * 10 + COUNTED / 2 * 10, "all for half of them, half for the others");
}

#[test]
fn a_packet_held_back_and_a_repair_allocate_nothing() {
    const PACKETS: u16 = 5;
    const MARK: [(u8, &[u8]); 1] = [(3, &[0; 2])];
    let mut now = Instant::now();
    let (mut uplink, mut forwarder) = (Uplink::default(), Forwarder::new(1, 2, 1));
    forwarder.set_target(Some(Layer::whole(0)));
    let mut peer = Peer::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    // Packets leave at 2.5 Mbit/s, 3 ms each.
    peer.handle_remb(Bitrate::kbps(1000));
    let (mut held, mut left, mut before) = (0, 0, heap::so_far());
    for picture in 0..WARM + COUNTED {
        if picture == WARM {
            (held, left, before) = (0, 0, heap::so_far());
        }
        for at in 0..PACKETS {
            let mut payload = [0; 1000];
            payload[0] = if picture == 0 { 0x65 } else { 0x61 };
            let new = NewPacket {
                timestamp: u32::from(picture) * 3000,
                marker: at + 1 == PACKETS,
                payload: &payload,
                info: uplink.inspect(VideoCodec::H264, &payload, &[]),
                codec: 0,
                orientation: None,
                descriptor: &[],
            };
            let stored = uplink.receive(now, picture * PACKETS + at, new).expect("it is new");
            let numbers = forwarder.offer(now, 0, stored).expect("all is wanted");
            let taken = peer.send_video(now, Urgency::Media, Departure::Numbered, |out| {
                write_copy(out, 1, 96, &MARK, numbers, stored);
            });
            assert!(taken, "there is room for a picture");
            if at == 2 {
                let (_, original, rewrite) = forwarder.find(numbers.seq).expect("it was just sent");
                let stored = uplink.history().get(original).expect("it was just stored");
                assert!(peer.send_video(now, Urgency::Repair, Departure::Numbered, |out| {
                    write_retransmission(out, 2, 97, picture, &MARK, rewrite(stored), stored);
                }));
            }
        }
        held += u32::from(!peer.backlog().is_zero());
        for _ in 0..11 {
            now += Duration::from_millis(3);
            peer.release(now);
            while let Some(run) = peer.outbox().next_run() {
                left += run.bytes.chunks(run.segment_size).count();
            }
        }
        assert!(peer.backlog().is_zero(), "before the next picture all has left");
    }
    assert_eq!(heap::so_far(), before);
    assert_eq!(held, u32::from(COUNTED), "of each picture something waits");
    assert_eq!(left, usize::from(COUNTED * (PACKETS + 1)));
}
