//! A forwarded packet takes no memory from the heap, also where frames are left out and descriptors written again.
#![allow(unsafe_code)] // counting allocations takes a global allocator, which is unsafe to write
#![allow(clippy::disallowed_methods)] // a clock to begin with: this is no part of the core

mod heap;

use std::time::{Duration, Instant};

use campanile_media::forward::{
    DESCRIPTOR_BYTES_MAX, Forwarder, Layer, NewPacket, Uplink, VideoCodec, write_copy,
};
use campanile_media::peer::srtp::{SrtpProfile, SrtpSender};

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
