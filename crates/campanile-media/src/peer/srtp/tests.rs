use std::collections::BTreeSet;

use super::*;
use crate::rtp::write_header;

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A pair that speaks to itself: the same keys in both directions.
fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
    let material = vec![0x5A; 2 * (profile.key_len() + profile.salt_len())];
    from_dtls(profile, &material, DtlsRole::Server).unwrap()
}

fn plain(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![];
    write_header(&mut packet, 111, false, sequence, 960, ssrc, &[(1, &[0x7F])]);
    packet.extend_from_slice(b"twenty milliseconds");
    packet
}

fn sealed(sender: &mut SrtpSender, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = plain(ssrc, sequence);
    sender.protect_rtp(&mut packet, 0).unwrap();
    packet
}

fn open(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = packet.to_vec();
    let header = RtpHeader::parse_sealed(&packet).unwrap();
    let len = receiver.unprotect_rtp(&mut packet, &header)?;
    packet.truncate(len);
    Ok(packet)
}

fn open_rtcp(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = packet.to_vec();
    let len = receiver.unprotect_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

#[test]
fn keys_derive_as_in_rfc_3711_b3_and_rfc_6188_7() {
    fn check(key: &str, salt: &str, label: Label, expected: &str) {
        let mut out = vec![0xFF; hex(expected).len()];
        derive(&counter_mode(&hex(key)), &hex(salt), label, &mut out);
        assert_eq!(out, hex(expected));
    }
    let (key, salt) = ("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6");
    check(key, salt, Label::RtpKey, "C61E7A93744F39EE10734AFE3FF7A087");
    check(key, salt, Label::RtpSalt, "30CBBC08863D8C85D49DB34A9AE1");
    check(key, salt, Label::RtpAuth, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    check(key, salt, Label::RtcpKey, "4C1AA45A81F73D61C800BBB00FBB1EAA");
    check(key, salt, Label::RtcpSalt, "9581C7AD87B3E530BF3E4454A8B3");
    check(key, salt, Label::RtcpAuth, "8D54534FEB49AE8E7993A6BD0B844FC323A93DFD");
    check(
        "F0F04914B513F2763A1B1FA130F10E2998F6F6E43E4309D1E622A0E332B9F1B6",
        "3B04803DE51EE7C96423AB5B78D2",
        Label::RtpKey,
        "5BA1064E30EC51613CAD926C5A28EF731EC7FB397F70A960653CAF06554CD8C4",
    );
}

#[test]
fn the_keystream_is_that_of_rfc_3711_b2() {
    let key = counter_mode(&hex("2B7E151628AED2A6ABF7158809CF4F3C"));
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let iv = counter_iv(salt.first_chunk().unwrap(), 0, 0);
    let mut stream = [0; 48];
    keystream_xor(&key, iv, &mut stream);
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
        41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream.to_vec(), hex(expected));
}

#[test]
fn gcm_packets_are_those_of_rfc_7714_16_and_17() {
    let salt = *hex("517569642070726f2071756f").first_chunk().unwrap();
    let key: Vec<u8> = (0..32).collect();
    let rtp = "8040f17b8041f8d35501a0b2
        47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    let rtcp = "81c8000d4d617273
        4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
    let check = |key: &[u8], srtp: &str, srtcp: &str| {
        let cipher = Cipher::gcm(key, salt);
        let mut packet = hex(rtp);
        cipher.seal_rtp(0x5501_a0b2, 0xf17b, 12, &mut packet, 0).unwrap();
        assert_eq!(packet, hex(srtp));
        let len = cipher.open_rtp(0x5501_a0b2, 0xf17b, 12, &mut packet).unwrap();
        assert_eq!(packet[..len], hex(rtp));

        let mut packet = hex(rtcp);
        cipher.seal_rtcp(0x4d61_7273, 0x5d4, &mut packet, 0).unwrap();
        assert_eq!(packet, hex(srtcp));
        let word = cipher.rtcp_index_word(&packet).unwrap();
        assert_eq!(word, 0x8000_05d4);
        let len = cipher.open_rtcp(0x4d61_7273, word, &mut packet).unwrap();
        assert_eq!(packet[..len], hex(rtcp));
    };
    check(
        &key[..16],
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
         899d7f27beb16a9152cf765ee4390cce",
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9
         275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
    check(
        &key,
        "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
         7aa3db36dfffd6b0f9bb7878d7a76c13",
        "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b
         6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
    );
}

#[test]
fn indices_follow_the_sequence_number_over_its_wrap() {
    fn check(highest: u64, sequence: u16, expected: Option<u64>) {
        assert_eq!(estimate_index(highest, sequence), expected, "{highest:#x} {sequence:#x}");
    }
    check(0, 0, Some(0));
    check(0, 1, Some(1));
    check(0, 0x7FFF, Some(0x7FFF));
    check(0, 0x8000, Some(0x8000));
    check(0, 0x8001, None); // would lie before the first
    check(0, 0xFFFF, None);
    check(0xFFFF, 0, Some(0x1_0000));
    check(0xFFFF, 0x7FFE, Some(0x1_7FFE));
    check(0xFFFF, 0x7FFF, Some(0x7FFF));
    check(0x1_0000, 0xFFFF, Some(0xFFFF));
    check(0x1_0000, 0x8001, Some(0x8001));
    check(0x1_0000, 0x8000, Some(0x1_8000));
    check(0x1_7FFE, 0xFFFF, Some(0xFFFF));
    check(0x1_7FFF, 0xFFFF, Some(0x1_FFFF));
    check(0x1_8000, 0xFFFF, Some(0x1_FFFF));
    check(0x1_8000, 0, Some(0x1_0000));
    check(0x1_8001, 0, Some(0x2_0000));
    check(0xFFFF_FFFF_FFFF, 0, None); // the last rollover is over
    check(0xFFFF_FFFF_FFFF, 0xFFFF, Some(0xFFFF_FFFF_FFFF));
}

#[test]
fn the_window_takes_each_index_once() {
    let mut window = Window::starting_at(5000);
    let mut check = |index: u64, fresh: bool| {
        assert_eq!(window.is_fresh(index), fresh, "{index} after {}", window.highest);
        if fresh {
            window.record(index);
        }
    };
    check(5000, false);
    check(4999, true);
    check(4999, false);
    check(3977, true); // the last within reach
    check(3976, false);
    check(5001, true);
    check(3977, false);
    check(6000, true);
    check(5500, true);
    check(5500, false);
    check(5001, false);
    check(6000 + 1024, true); // clears everything before
    check(6001, true);
    check(6000, false);
    check(1 << 40, true);
    check((1 << 40) - 1, true);
    check((1 << 40) - 1, false);
}

#[test]
fn the_window_agrees_with_a_list_of_what_was_used() {
    let (mut window, mut used, mut index) =
        (Window::starting_at(90_000), BTreeSet::from([90_000]), 90_000_u64);
    let mut chance = 1_u32;
    for _ in 0..50_000 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let highest = *used.last().unwrap();
        index = match chance >> 24 {
            0 => highest + u64::from(chance >> 12 & 0xFFF), // also beyond all that the window holds
            1..32 => highest - u64::from(chance >> 12 & 0x7FF),
            32..128 => (index + 64).min(highest + 64),
            _ => index + 1,
        };
        let fresh = index + WINDOW_PACKETS > highest && !used.contains(&index);
        assert_eq!(window.is_fresh(index), fresh, "{index} after {highest}");
        if fresh {
            window.record(index);
            used.insert(index);
        }
    }
}

#[test]
fn what_is_protected_comes_back_and_only_once() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        for sequence in [65_534, 65_535, 0, 2, 1] {
            let packet = sealed(&mut sender, 1, sequence);
            assert_eq!(packet.len(), plain(1, sequence).len() + profile.tag_len());
            assert!(!packet.windows(6).any(|bytes| bytes == b"twenty"));
            assert_eq!(open(&mut receiver, &packet), Ok(plain(1, sequence)));
            assert_eq!(open(&mut receiver, &packet), Err(SrtpError::Replayed));
        }
        let report = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], b"body"].concat();
        for _ in 0..3 {
            let mut packet = report.clone();
            sender.protect_rtcp(&mut packet, 0).unwrap();
            assert_eq!(packet.len(), report.len() + profile.tag_len() + 4);
            assert_eq!(open_rtcp(&mut receiver, &packet), Ok(report.clone()));
            assert_eq!(open_rtcp(&mut receiver, &packet), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn the_two_roles_use_each_others_keys() {
    for profile in PROFILES {
        let material: Vec<u8> = (0..2 * (profile.key_len() + profile.salt_len()) as u8).collect();
        let (mut server_out, mut server_in) = from_dtls(profile, &material, DtlsRole::Server).unwrap();
        let (mut client_out, mut client_in) = from_dtls(profile, &material, DtlsRole::Client).unwrap();
        assert_eq!(open(&mut server_in, &sealed(&mut client_out, 1, 1)), Ok(plain(1, 1)));
        assert_eq!(open(&mut client_in, &sealed(&mut server_out, 1, 1)), Ok(plain(1, 1)));
        assert_eq!(open(&mut server_in, &sealed(&mut server_out, 1, 2)), Err(SrtpError::Unauthentic));
        assert_eq!(from_dtls(profile, &material[1..], DtlsRole::Server).err(), Some(SrtpError::KeyLength));
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_changes_nothing() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = sealed(&mut sender, 7, 100);
        let mut report = vec![0x80, 200, 0, 2, 0, 0, 0, 9, 1, 2, 3, 4];
        sender.protect_rtcp(&mut report, 0).unwrap();
        for bit in 0..packet.len() * 8 {
            let mut bent = packet.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let Ok(header) = RtpHeader::parse_sealed(&bent) else { continue };
            assert!(receiver.unprotect_rtp(&mut bent, &header).is_err(), "{profile:?} bit {bit}");
        }
        for bit in 0..report.len() * 8 {
            let mut bent = report.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtcp(&mut bent).is_err(), "{profile:?} bit {bit}");
        }
        assert!(receiver.rtp_streams.list.is_empty() && receiver.rtcp_streams.list.is_empty());
        assert!(open(&mut receiver, &packet).is_ok());
        assert!(open_rtcp(&mut receiver, &report).is_ok());
    }
}

#[test]
fn short_packets_are_refused_at_every_length() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = sealed(&mut sender, 7, 1);
        let mut report = vec![0x80, 200, 0, 1, 0, 0, 0, 9];
        sender.protect_rtcp(&mut report, 0).unwrap();
        for len in 0..packet.len() {
            if let Ok(header) = RtpHeader::parse_sealed(&packet[..len]) {
                assert!(receiver.unprotect_rtp(&mut packet[..len].to_vec(), &header).is_err());
            }
        }
        for len in 0..report.len() {
            assert!(receiver.unprotect_rtcp(&mut report[..len].to_vec()).is_err());
        }
        assert_eq!(sender.protect_rtcp(&mut vec![0x80; 7], 0), Err(SrtpError::Malformed));
        assert_eq!(sender.protect_rtp(&mut vec![0x80; 11], 0), Err(SrtpError::Malformed));
        assert_eq!(sender.protect_rtp(&mut vec![], 5), Err(SrtpError::Malformed));
    }
}

#[test]
fn unencrypted_srtcp_is_refused() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    let mut report = vec![0x80, 200, 0, 1, 0, 0, 0, 9];
    sender.protect_rtcp(&mut report, 0).unwrap();
    let at = report.len() - 4;
    report[at] &= 0x7F;
    assert_eq!(open_rtcp(&mut receiver, &report), Err(SrtpError::Malformed));
}

#[test]
fn sixteen_thousand_ssrcs_do_not_grow_the_table() {
    let (_, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    // Forged ones never enter it.
    for ssrc in 0..16_384 {
        assert_eq!(open(&mut receiver, &[plain(ssrc, 1), vec![0; 16]].concat()), Err(SrtpError::Unauthentic));
    }
    assert!(receiver.rtp_streams.list.is_empty());
    // Authentic ones push out the least recently heard, not the stream in use.
    let (mut voice, _) = pair(SrtpProfile::AeadAes128Gcm);
    let mut first = None;
    for ssrc in 0..16_384 {
        let (mut sender, _) = pair(SrtpProfile::AeadAes128Gcm);
        assert!(open(&mut receiver, &sealed(&mut sender, ssrc, 1)).is_ok());
        let packet = sealed(&mut voice, 77_777, ssrc as u16);
        assert!(open(&mut receiver, &packet).is_ok());
        first.get_or_insert(packet);
    }
    assert_eq!(receiver.rtp_streams.list.len(), SSRCS_MAX);
    assert!(receiver.rtp_streams.list.is_sorted_by_key(|stream| stream.ssrc));
    assert_eq!(open(&mut receiver, &first.unwrap()), Err(SrtpError::Replayed));
}

#[test]
fn a_sender_never_seals_an_index_twice_nor_forgets_a_stream() {
    let (mut sender, _) = pair(SrtpProfile::AeadAes128Gcm);
    sealed(&mut sender, 0, 10);
    sealed(&mut sender, 0, 9);
    assert_eq!(sender.protect_rtp(&mut plain(0, 10), 0), Err(SrtpError::Replayed));
    assert_eq!(sender.protect_rtp(&mut plain(0, 9), 0), Err(SrtpError::Replayed));
    for ssrc in 1..SENDER_SSRCS_MAX as u32 {
        sealed(&mut sender, ssrc, 10);
    }
    assert_eq!(sender.protect_rtp(&mut plain(50_000, 1), 0), Err(SrtpError::Exhausted));
    assert!(sender.protect_rtp(&mut plain(0, 11), 0).is_ok());
    sender.rtcp_index = RTCP_ENCRYPTED - 1;
    assert!(sender.protect_rtcp(&mut vec![0x80; 8], 0).is_ok());
    assert_eq!(sender.protect_rtcp(&mut vec![0x80; 8], 0), Err(SrtpError::Exhausted));
}

#[test]
fn a_packet_is_sealed_behind_what_the_buffer_already_holds() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes256Gcm);
    let mut out = b"another packet".to_vec();
    let start = out.len();
    out.extend_from_slice(&plain(3, 1));
    sender.protect_rtp(&mut out, start).unwrap();
    assert_eq!(&out[..start], b"another packet");
    assert_eq!(open(&mut receiver, &out[start..]), Ok(plain(3, 1)));
}

#[test]
fn debug_output_shows_no_key() {
    let (sender, receiver) = pair(SrtpProfile::AesCm128HmacSha1_80);
    assert_eq!(format!("{sender:?}"), "SrtpSender { keys: \"<redacted>\", .. }");
    assert_eq!(format!("{receiver:?}"), "SrtpReceiver { keys: \"<redacted>\", .. }");
}

#[test]
fn the_fuzz_target_holds_on_its_first_inputs() {
    fuzz::srtp(&[]);
    fuzz::srtp(&[0x80; 12]);
    fuzz::srtp(&[0xFF; 64]);
    fuzz::srtp(&plain(1, 65_535));
}
