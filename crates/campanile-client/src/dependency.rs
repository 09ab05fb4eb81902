//! The dependency descriptor, an RTP header extension (AV1 RTP specification, appendix A): which frame needs which, so that
//! a service can leave temporal layers out without a look at the picture. One spatial layer, one or three temporal ones.

use campanile_media::forward::BitWriter;

use crate::media::Scalability;

/// What SDP calls the extension.
pub(crate) const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// A frame is not part of a decode target, or part of it without being needed by others, or whoever receives the target
/// may begin with it.
const ABSENT: u8 = 0;
const DISCARDABLE: u8 = 1;
const SWITCH: u8 = 2;

/// One kind of frame.
struct Template {
    temporal: u8,
    /// What it is to each decode target; there is one for each temporal layer.
    indications: &'static [u8],
    /// How many frames back the one that it refers to is; a keyframe refers to none.
    reference: Option<u8>,
    /// How many frames back the last one of the lowest layer is.
    chain: u8,
}

const fn template(temporal: u8, indications: &'static [u8], reference: Option<u8>, chain: u8) -> Template {
    Template { temporal, indications, reference, chain }
}

const ONE_LAYER: [Template; 2] = [template(0, &[SWITCH], None, 0), template(0, &[SWITCH], Some(1), 1)];
const THREE_LAYERS: [Template; 5] = [
    template(0, &[SWITCH, SWITCH, SWITCH], None, 0),
    template(0, &[SWITCH, SWITCH, SWITCH], Some(4), 4),
    template(1, &[ABSENT, DISCARDABLE, SWITCH], Some(2), 2),
    template(2, &[ABSENT, ABSENT, DISCARDABLE], Some(1), 1),
    template(2, &[ABSENT, ABSENT, DISCARDABLE], Some(1), 3),
];
/// Which of the three layers' templates fits a frame, by its place among four: layers 0 2 1 2.
const THREE_LAYERS_ORDER: [u8; 4] = [1, 3, 2, 4];

/// Describes one stream's frames.
#[derive(Clone, Debug)]
pub(crate) struct Describer {
    layers: Scalability,
    size: (u16, u16),
    frame_number: u16,
}

impl Describer {
    pub(crate) fn new(layers: Scalability, size: (u16, u16)) -> Describer {
        Describer { layers, size, frame_number: 0 }
    }

    /// The descriptors of the packets of the next frame, so many after a keyframe, which itself is 0.
    pub(crate) fn frame(&mut self, since_keyframe: usize, packets: usize) -> Vec<Vec<u8>> {
        self.frame_number = self.frame_number.wrapping_add(1);
        let (three, keyframe) = (self.layers.temporal == 3, since_keyframe == 0);
        let template = match (keyframe, three) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => THREE_LAYERS_ORDER[since_keyframe % 4],
        };
        let describe = |place| {
            let (first, last) = (place == 0, place + 1 == packets);
            let mut bits = BitWriter::default();
            bits.put(u32::from(first), 1);
            bits.put(u32::from(last), 1);
            bits.put(template.into(), 6);
            bits.put(self.frame_number.into(), 16);
            if keyframe && first {
                // The structure follows, and nothing that differs from it.
                bits.put(0b10000, 5);
                structure(&mut bits, if three { &THREE_LAYERS } else { &ONE_LAYER }, self.size);
            }
            bits.bytes
        };
        (0..packets).map(describe).collect()
    }
}

/// Appendix A.8.2: `template_dependency_structure`.
fn structure(bits: &mut BitWriter, templates: &[Template], (width, height): (u16, u16)) {
    let targets = templates[0].indications.len() as u32;
    bits.put(0, 6);
    bits.put(targets - 1, 5);
    for pair in templates.windows(2) {
        // The same layer again, or the next temporal one.
        bits.put((pair[1].temporal - pair[0].temporal).into(), 2);
    }
    bits.put(3, 2);
    for indication in templates.iter().flat_map(|template| template.indications) {
        bits.put((*indication).into(), 2);
    }
    for template in templates {
        if let Some(back) = template.reference {
            bits.put(1, 1);
            bits.put(u32::from(back) - 1, 4);
        }
        bits.put(0, 1);
    }
    // One chain, in as many bits as numbers up to that of targets take (`ns(n)`); it protects them all.
    bits.put(1, if targets == 3 { 2 } else { 1 });
    for template in templates {
        bits.put(template.chain.into(), 4);
    }
    bits.put(1, 1);
    bits.put(u32::from(width) - 1, 16);
    bits.put(u32::from(height) - 1, 16);
}

#[cfg(test)]
mod tests {
    use campanile_media::forward::{Uplink, VideoCodec};

    use super::*;

    #[test]
    fn a_service_reads_layers_and_references() {
        // Temporal layer, decode targets that the frame is part of, and how far back it refers.
        fn check(temporal: u8, expected: [(u8, u32, u64); 5]) {
            let mut describer = Describer::new(Scalability { spatial: 1, temporal }, (320, 180));
            let mut uplink = Uplink::default();
            for (place, expected) in expected.into_iter().enumerate() {
                let descriptors = describer.frame(place, 3);
                for (packet, descriptor) in descriptors.iter().enumerate() {
                    let info = uplink.inspect(VideoCodec::Av1, &[0x80], descriptor);
                    let described = info.described.unwrap();
                    assert_eq!((info.temporal, described.present, described.references), expected, "{place}");
                    assert_eq!((info.begins_frame, info.ends_frame), (packet == 0, packet == 2));
                    assert_eq!(info.starts_keyframe, place == 0 && packet == 0);
                    assert_eq!(described.frame_number, place as u16 + 1);
                }
            }
        }
        check(1, [(0, 1, 0), (0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)]);
        check(3, [(0, 7, 0), (2, 4, 1), (1, 6, 2), (2, 4, 1), (0, 7, 8)]);
    }

    #[test]
    fn the_structure_is_whole() {
        let descriptor = Describer::new(Scalability { spatial: 1, temporal: 3 }, (320, 180)).frame(0, 1);
        // The last thing in it is the picture's size, less one each; the rest of the last byte is left at zero.
        assert_eq!(descriptor[0].len(), 20);
        assert_eq!(descriptor[0][16..], [0x01, 0x3f, 0x00, 0xb3]);
    }
}
