//! Datagrams in a TCP connection: before each its length in two bytes (RFC 4571 section 2).

/// Bytes of one datagram at most: what a path of 1,500 bytes would bring by UDP, and some. A longer one is nobody's media.
pub const FRAMED_BYTES_MAX: usize = 2048;

/// The length before each datagram.
const PREFIX_BYTES: usize = 2;

/// The peer announced a datagram of so many bytes, and what follows cannot be told apart any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a datagram of {0} bytes was announced; {FRAMED_BYTES_MAX} are the most")]
pub struct TooLong(pub usize);

/// Takes datagrams out of a byte stream. Holds at most one incomplete datagram.
#[derive(Debug, Default)]
pub struct Deframer {
    held: Vec<u8>,
}

impl Deframer {
    /// Takes what has been read, and hands on each datagram that is now complete. Empty ones mean nothing (RFC 4571 section
    /// 2), and are left out.
    ///
    /// # Errors
    /// [`TooLong`]: the connection is of no more use.
    pub fn push(&mut self, mut bytes: &[u8], mut datagram: impl FnMut(&mut [u8])) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            let missing = self.missing()?;
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(taken);
            bytes = rest;
            if self.held.len() >= PREFIX_BYTES && self.missing()? == 0 {
                if let Some(payload) = self.held.get_mut(PREFIX_BYTES..).filter(|payload| !payload.is_empty())
                {
                    datagram(payload);
                }
                self.held.clear();
            }
        }
        Ok(())
    }

    /// Bytes until the length, or the datagram, is complete.
    fn missing(&self) -> Result<usize, TooLong> {
        let Some(prefix) = self.held.first_chunk::<PREFIX_BYTES>() else {
            return Ok(PREFIX_BYTES - self.held.len());
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length > FRAMED_BYTES_MAX {
            return Err(TooLong(length));
        }
        Ok(PREFIX_BYTES + length - self.held.len())
    }
}

/// Appends one datagram with its length. Longer ones than the length can say are left out: there are none.
pub fn frame(out: &mut Vec<u8>, datagram: &[u8]) {
    if let Ok(length) = u16::try_from(datagram.len()) {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(datagram);
    }
}

/// Entry point for fuzzing: no bytes may make it panic, hold on to more than one datagram, or read them differently by how
/// they were cut.
pub mod fuzz {
    use super::*;

    /// The first byte says in what pieces the rest arrives.
    pub fn framing(data: &[u8]) {
        let Some((piece, stream)) = data.split_first() else { return };
        let (mut whole, mut cut) = (Vec::new(), Vec::new());
        let at_once = Deframer::default().push(stream, |datagram| whole.push(datagram.to_vec()));
        let mut deframer = Deframer::default();
        let piecewise = stream.chunks(usize::from(*piece).max(1)).try_for_each(|bytes| {
            deframer.push(bytes, |datagram| cut.push(datagram.to_vec()))?;
            assert!(deframer.held.len() < PREFIX_BYTES + FRAMED_BYTES_MAX);
            Ok(())
        });
        assert_eq!((at_once, &whole), (piecewise, &cut));
        let mut framed = Vec::new();
        whole.iter().for_each(|datagram| frame(&mut framed, datagram));
        let mut again = Vec::new();
        let read = Deframer::default().push(&framed, |datagram| again.push(datagram.to_vec()));
        assert_eq!((read, again), (Ok(()), whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &[&[u8]], outcome: Result<(), TooLong>) {
        let mut deframer = Deframer::default();
        let mut read = Vec::new();
        let result =
            pieces.iter().try_for_each(|piece| deframer.push(piece, |datagram| read.push(datagram.to_vec())));
        assert_eq!((read, result), (expected.iter().map(|d| d.to_vec()).collect(), outcome), "{pieces:?}");
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut() {
        check(&[], &[], Ok(()));
        check(&[&[0, 2, 7, 8]], &[&[7, 8]], Ok(()));
        check(&[&[0, 2, 7, 8, 0, 1, 9]], &[&[7, 8], &[9]], Ok(()));
        check(&[&[0], &[2], &[7], &[8, 0], &[1, 9]], &[&[7, 8], &[9]], Ok(()));
        check(&[&[0, 2, 7]], &[], Ok(()));
        check(&[&[0, 0, 0, 0, 0, 1, 5]], &[&[5]], Ok(()));
    }

    #[test]
    fn a_length_beyond_the_most_ends_the_stream() {
        let longest = vec![3; FRAMED_BYTES_MAX];
        let mut stream = Vec::new();
        frame(&mut stream, &longest);
        check(&[&stream], &[&longest], Ok(()));
        check(&[&[0, 1, 9, 0x08, 0x01, 4]], &[&[9]], Err(TooLong(2049)));
        check(&[&[0xff], &[0xff]], &[], Err(TooLong(65_535)));
        check(&[b"GET / HTTP/1.1\r\n"], &[], Err(TooLong(0x4745)));
    }
}
