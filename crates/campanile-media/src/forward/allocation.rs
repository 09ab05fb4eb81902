//! The video layers allocation, an RTP header extension
//! (<http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00>): which of its layers a sender is sending.

use crate::units::Bitrate;

/// What a sender gives to one of its streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AllocatedStream {
    /// The target of its largest picture; zero for a stream switched off.
    pub bitrate: Bitrate,
    /// Width and height of that picture in pixels, when the sender says so.
    pub size: Option<(u32, u32)>,
}

/// Streams and spatial layers that the format can count, of each.
const STREAMS_MAX: usize = 4;
const SPATIAL_MAX: usize = 4;

/// Reads an allocation: each stream in the order of the simulcast's RTP stream ids. `None` when it is malformed.
pub fn read_allocation(bytes: &[u8]) -> Option<Vec<AllocatedStream>> {
    let (&first, mut rest) = bytes.split_first()?;
    if bytes == [0] {
        return Some(Vec::new()); // nothing is sent at all
    }
    let streams = usize::from(first >> 4 & 0x03) + 1;
    let mut masks = [first & 0x0f; STREAMS_MAX];
    if first & 0x0f == 0 {
        for pair in masks[..streams].chunks_mut(2) {
            let nibbles = take(&mut rest)?;
            pair[0] = nibbles >> 4;
            if let [_, second] = pair {
                *second = nibbles & 0x0f;
            }
        }
    }
    let active = || {
        let layers = (0..streams).flat_map(|stream| (0..SPATIAL_MAX).map(move |spatial| (stream, spatial)));
        layers.filter(|(stream, spatial)| masks[*stream] >> spatial & 1 == 1).map(|(stream, _)| stream)
    };
    let mut temporal = [0; STREAMS_MAX * SPATIAL_MAX];
    for at in 0..active().count() {
        if at % 4 == 0 {
            temporal[at / 4] = take(&mut rest)?;
        }
    }
    let mut allocated = vec![AllocatedStream::default(); streams];
    for (at, stream) in active().enumerate() {
        let layers = (temporal[at / 4] >> (6 - at % 4 * 2) & 0x03) + 1;
        // Each counts in the ones below, and spatial layers come from the smallest to the largest.
        for _ in 0..layers {
            allocated[stream].bitrate = Bitrate::kbps(take_leb128(&mut rest)?);
        }
    }
    // Sizes come along now and then only.
    if !rest.is_empty() {
        for stream in active() {
            let ([w1, w0, h1, h0, _framerate], after) = rest.split_first_chunk()?;
            let size = |high, low| u32::from(u16::from_be_bytes([high, low])) + 1;
            allocated[stream].size = Some((size(*w1, *w0), size(*h1, *h0)));
            rest = after;
        }
    }
    Some(allocated)
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte)
}

/// LEB128 of at most five bytes: seven bits a byte, the lowest first.
fn take_leb128(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..5 {
        let byte = take(rest)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fuzz target of this module.
pub(super) mod fuzz {
    use super::*;

    /// Any bytes: what is read is within the format's bounds.
    pub fn layers_allocation(data: &[u8]) {
        let Some(streams) = read_allocation(data) else { return };
        assert!(streams.len() <= STREAMS_MAX);
        for stream in streams {
            assert!(stream.bitrate <= Bitrate::kbps(u64::from(u32::MAX) * 8));
            assert!(stream.size.is_none_or(|(width, height)| width <= 65_536 && height <= 65_536));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_target_and_its_size() {
        type Stream = (u64, Option<(u32, u32)>);
        fn check(bytes: &[u8], expected: Option<&[Stream]>) {
            let read = read_allocation(bytes);
            let read = read.map(|s| s.iter().map(|s| (s.bitrate.as_kbps(), s.size)).collect::<Vec<Stream>>());
            assert_eq!(read.as_deref(), expected, "{bytes:02x?}");
        }
        check(&[0], Some(&[]));
        // Two streams of one spatial layer each, with two and three temporal layers.
        check(&[0x11, 0x60, 50, 100, 0x90, 3, 0xa0, 6, 0xb0, 9], Some(&[(100, None), (1200, None)]));
        // Three streams, the middle one off; sizes at the end.
        let sized = [0x20, 0x10, 0x10, 0x00, 0xac, 0x02, 0xb0, 9, 1, 63, 0, 179, 30, 4, 255, 2, 207, 30];
        check(&sized, Some(&[(300, Some((320, 180))), (0, None), (1200, Some((1280, 720)))]));
        // One stream of three spatial layers.
        check(&[0x07, 0x00, 100, 0x90, 3, 0xb0, 9], Some(&[(1200, None)]));
        for cut in 1..sized.len() {
            let is_whole_without_sizes = cut == 8;
            assert_eq!(read_allocation(&sized[..cut]).is_some(), is_whole_without_sizes, "{cut} bytes");
        }
        check(&[], None);
        check(&[0x01, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 1], None);
    }
}
