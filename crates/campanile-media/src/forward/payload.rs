//! What a forwarder must know of a video payload: where a keyframe begins, which layer it is of, how it is numbered.
//!
//! Nothing is decoded. The readers never look past what a packet holds: a short or odd descriptor is simply not a
//! keyframe and has no picture to renumber.

use super::dependency::Described;
use super::vp9;

/// A video codec that the forwarder can find keyframes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VideoCodec {
    /// VP8, RFC 7741.
    Vp8,
    /// H.264, RFC 6184, in packetization mode 0 or 1.
    H264,
    /// VP9, RFC 9628.
    Vp9,
    /// AV1, by the AV1 RTP specification.
    Av1,
}

/// What was seen in one packet's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PayloadInfo {
    /// A receiver that knows nothing of the stream can begin with this packet.
    pub starts_keyframe: bool,
    /// It may be the first packet of a frame: it is, when the packet before it belongs to another frame.
    pub begins_frame: bool,
    /// It is the last packet of its layer's frame, as far as the payload says so.
    pub ends_frame: bool,
    /// The spatial layer that it belongs to.
    pub spatial: u8,
    /// The temporal layer that it belongs to.
    pub temporal: u8,
    /// From this frame on, whoever has had all temporal layers up to the first of these can have all up to the second.
    pub temporal_climb: Option<(u8, u8)>,
    /// What the dependency descriptor says, where there is one: it overrules all the above.
    pub described: Option<Described>,
    /// How the payload numbers its picture.
    pub numbers: PictureNumbers,
    /// Its picture is larger than may be forwarded: it is for nobody.
    pub is_too_large: bool,
}

impl PayloadInfo {
    /// Its dependency descriptor brings a new structure.
    pub(super) fn brings_structure(&self) -> bool {
        self.described.is_some_and(|described| described.has_structure)
    }
}

/// The running numbers of a payload descriptor (VP8: RFC 7741 section 4.2), and where they stand in the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PictureNumbers {
    /// Offset of the picture id within the payload, its value, and whether it has 15 bits rather than 7.
    pub picture_id: Option<(u8, u16, bool)>,
    /// Offset of TL0PICIDX within the payload, and its value.
    pub tl0_picture: Option<(u8, u8)>,
    /// Receivers take a missing picture id for a lost picture, even one of a layer that they do not have.
    pub gapless: bool,
}

/// Looks into one payload.
pub fn inspect(codec: VideoCodec, payload: &[u8]) -> PayloadInfo {
    match codec {
        VideoCodec::Vp8 => inspect_vp8(payload).unwrap_or_default(),
        VideoCodec::Vp9 => vp9::read(payload).map(|(info, _)| info).unwrap_or_default(),
        VideoCodec::Av1 => inspect_av1(payload),
        VideoCodec::H264 => PayloadInfo {
            starts_keyframe: h264_starts_keyframe(payload),
            begins_frame: true,
            ..PayloadInfo::default()
        },
    }
}

fn inspect_vp8(payload: &[u8]) -> Option<PayloadInfo> {
    let (info, length) = read_vp8_descriptor(payload)?;
    // RFC 6386 section 9.1: the lowest bit of a frame's first byte is clear in a keyframe.
    Some(PayloadInfo { starts_keyframe: info.begins_frame && payload.get(length)? & 0x01 == 0, ..info })
}

/// RFC 7741 section 4.2: `X R N S R PID`, then `I L T K`, picture id, TL0PICIDX, TID/KEYIDX, each if announced. Returns how
/// long that is, too.
pub(super) fn read_vp8_descriptor(payload: &[u8]) -> Option<(PayloadInfo, usize)> {
    let first = *payload.first()?;
    let starts_partition_zero = first & 0x10 != 0 && first & 0x07 == 0;
    let mut at = 1;
    let mut numbers = PictureNumbers { gapless: true, ..PictureNumbers::default() };
    let (mut temporal, mut is_sync) = (0, false);
    if first & 0x80 != 0 {
        let announced = *payload.get(at)?;
        at += 1;
        if announced & 0x80 != 0 {
            let high = *payload.get(at)?;
            if high & 0x80 != 0 {
                let value = u16::from(high & 0x7f) << 8 | u16::from(*payload.get(at + 1)?);
                numbers.picture_id = Some((at as u8, value, true));
                at += 2;
            } else {
                numbers.picture_id = Some((at as u8, u16::from(high), false));
                at += 1;
            }
        }
        if announced & 0x40 != 0 {
            numbers.tl0_picture = Some((at as u8, *payload.get(at)?));
            at += 1;
        }
        if announced & 0x30 != 0 {
            let layer = *payload.get(at)?;
            if announced & 0x20 != 0 {
                (temporal, is_sync) = (layer >> 6, layer & 0x20 != 0);
            }
            at += 1;
        }
    }
    let info = PayloadInfo {
        begins_frame: starts_partition_zero,
        temporal,
        // A sync frame depends on the lowest layer alone; what follows in its layer may depend on the layers between.
        temporal_climb: (is_sync && temporal > 0).then(|| (temporal - 1, temporal)),
        numbers,
        ..PayloadInfo::default()
    };
    Some((info, at))
}

/// AV1 RTP specification section 4.4: `Z Y W W N`. N begins a coded video sequence, Z goes on with the packet before.
fn inspect_av1(payload: &[u8]) -> PayloadInfo {
    let Some(&header) = payload.first() else { return PayloadInfo::default() };
    let goes_on = header & 0x80 != 0;
    PayloadInfo {
        starts_keyframe: header & 0x08 != 0 && !goes_on,
        begins_frame: !goes_on,
        ..PayloadInfo::default()
    }
}

/// True when the packet holds a sequence parameter set, or the beginning of an IDR slice (RFC 6184 section 5).
///
/// Encoders send the parameter sets right before the IDR slice; whichever of them comes first is where to begin.
fn h264_starts_keyframe(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let Some(&first) = payload.first() else { return false };
    match first & 0x1f {
        IDR | SPS => true,
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, unit, ..] = rest {
                if matches!(unit & 0x1f, IDR | SPS) {
                    return true;
                }
                let size = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(2 + size..).unwrap_or_default();
            }
            false
        }
        FU_A => payload.get(1).is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x1f, IDR | SPS)),
        _ => false,
    }
}

/// The fuzz target of this module: any bytes may be inspected, and offsets always lie within the payload.
pub(super) mod fuzz {
    use super::*;

    /// Inspects arbitrary bytes as each codec.
    pub fn payload(data: &[u8]) {
        for codec in [VideoCodec::Vp8, VideoCodec::H264, VideoCodec::Vp9, VideoCodec::Av1] {
            let info = inspect(codec, data);
            if let Some((at, value, wide)) = info.numbers.picture_id {
                let end = usize::from(at) + if wide { 2 } else { 1 };
                assert!(end <= data.len() && value < if wide { 1 << 15 } else { 1 << 7 });
            }
            if let Some((at, _)) = info.numbers.tl0_picture {
                assert!(usize::from(at) < data.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_keyframes_and_numbers() {
        fn check(payload: &[u8], keyframe: bool, picture_id: Option<(u8, u16, bool)>, tl0: Option<(u8, u8)>) {
            let info = inspect(VideoCodec::Vp8, payload);
            let numbers = info.numbers;
            assert_eq!(
                (info.starts_keyframe, numbers.picture_id, numbers.tl0_picture),
                (keyframe, picture_id, tl0),
                "{payload:02x?}"
            );
        }
        check(&[0x10, 0x00], true, None, None);
        check(&[0x10, 0x01], false, None, None);
        check(&[0x00, 0x00], false, None, None); // not the start of a partition
        check(&[0x11, 0x00], false, None, None); // partition 1
        check(&[0x90, 0x80, 0x81, 0x23, 0x00], true, Some((2, 0x123, true)), None);
        check(&[0x90, 0x80, 0x23, 0x01], false, Some((2, 0x23, false)), None);
        check(&[0x90, 0xe0, 0x81, 0x23, 0x45, 0x20, 0x00], true, Some((2, 0x123, true)), Some((4, 0x45)));
        check(&[0x90, 0x10, 0x05, 0x00], true, None, None); // KEYIDX only
        check(&[], false, None, None);
        check(&[0x90, 0x80, 0x81], false, None, None); // ends within the picture id
        check(&[0x90, 0xc0, 0x01], false, None, None); // ends before TL0PICIDX
    }

    #[test]
    fn vp8_temporal_layers() {
        fn check(layer_octet: u8, temporal: u8, climb: Option<(u8, u8)>) {
            let info = inspect(VideoCodec::Vp8, &[0x90, 0xe0, 0x81, 0x23, 0x45, layer_octet, 0x01]);
            assert_eq!((info.temporal, info.temporal_climb), (temporal, climb), "{layer_octet:#x}");
        }
        check(0x20, 0, None);
        check(0x40, 1, None);
        check(0x60, 1, Some((0, 1)));
        check(0xa0, 2, Some((1, 2)));
        check(0x9f, 2, None);
        // KEYIDX without TID: the octet says nothing of layers.
        assert_eq!(inspect(VideoCodec::Vp8, &[0x90, 0x10, 0xe5, 0x01]).temporal, 0);
    }

    #[test]
    fn av1_keyframes() {
        fn check(payload: &[u8], keyframe: bool, begins: bool) {
            let info = inspect(VideoCodec::Av1, payload);
            assert_eq!((info.starts_keyframe, info.begins_frame), (keyframe, begins), "{payload:02x?}");
        }
        check(&[0x18, 0x0a], true, true);
        check(&[0x10, 0x32], false, true);
        check(&[0x90, 0x32], false, false);
        check(&[0x98, 0x32], false, false);
        check(&[], false, false);
    }

    #[test]
    fn h264_keyframes() {
        fn check(payload: &[u8], keyframe: bool) {
            assert_eq!(inspect(VideoCodec::H264, payload).starts_keyframe, keyframe, "{payload:02x?}");
        }
        check(&[0x65, 0x88], true); // IDR slice
        check(&[0x67, 0x42], true); // SPS
        check(&[0x41, 0x9a], false); // P slice
        check(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true); // STAP-A of SPS and PPS
        check(&[0x78, 0, 1, 0x09, 0, 1, 0x65], true); // STAP-A of a delimiter and an IDR slice
        check(&[0x78, 0, 1, 0x41], false);
        check(&[0x7c, 0x85], true); // FU-A, start of an IDR slice
        check(&[0x7c, 0x05], false); // its middle
        check(&[0x7c, 0x81], false); // start of a P slice
        check(&[0x78, 0xff, 0xff, 0x41], false); // a length past the end
        check(&[0x78, 0, 0], false);
        check(&[0x7c], false);
        check(&[], false);
    }
}
