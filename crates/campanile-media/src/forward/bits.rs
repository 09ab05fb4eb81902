//! Reading and writing headers bit by bit.

/// Reads bits, the highest of each byte first. Everything is `None` once the bytes have ended.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0 }
    }

    /// How many bits have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// At most 32 bits.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// A number below `n`, coded in as few bits as that allows: `ns(n)` of the AV1 specification, section 4.10.7.
    pub(super) fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1 << width) - n;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }

    /// A number in Exp-Golomb code: `ue(v)` of ITU-T H.264, section 9.1, and `uvlc()` of the AV1 specification, section
    /// 4.10.3. `None` for those of more than 32 bits.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros == 32 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// The same with a sign: `se(v)` of ITU-T H.264, section 9.1.1.
    pub(super) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// Writes bits, the highest of each byte first.
#[derive(Default, Debug)]
pub struct BitWriter {
    /// What has been written; zeros fill the last up.
    pub bytes: Vec<u8>,
    count: usize,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, at most 32.
    pub fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let (Some(last), 1) = (self.bytes.last_mut(), value >> at & 1) {
                *last |= 0x80 >> (self.count % 8);
            }
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length() {
        fn check(bytes: &[u8], unsigned: Option<u32>, signed: Option<i32>) {
            assert_eq!(Bits::of(bytes).exp_golomb(), unsigned, "{bytes:02x?}");
            assert_eq!(Bits::of(bytes).signed_exp_golomb(), signed, "{bytes:02x?}");
        }
        check(&[0x80], Some(0), Some(0));
        check(&[0x40], Some(1), Some(1));
        check(&[0x60], Some(2), Some(-1));
        check(&[0x20], Some(3), Some(2));
        check(&[0x28], Some(4), Some(-2));
        check(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe], Some(u32::MAX - 1), Some(-i32::MAX));
        check(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], None, None);
        check(&[0x01], None, None);
        check(&[], None, None);
    }
}
