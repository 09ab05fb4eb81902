//! The worker's UDP socket: datagrams come in by batches, and go out by runs and batches.
//!
//! What leaves for one destination in equal sizes goes out as one run, which the kernel cuts up (segmentation offload). What
//! is alone, such as everybody's 20 ms of sound, waits for others of its kind and goes out with them in one system call.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tracing::warn;

#[cfg(target_os = "linux")]
use singles::Singles;

/// Socket buffers: what arrives, or leaves, within a turn of a loaded worker.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// The largest datagram that a path of 1,500 bytes brings.
const DATAGRAM_BYTES_MAX: usize = 1500;

/// A UDP socket and what the kernel can do for it.
pub(crate) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    #[cfg(target_os = "linux")]
    singles: Singles,
    dropped: u64,
}

impl Udp {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Udp> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The system may grant less; that is no reason not to start.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        Ok(Udp {
            socket,
            state,
            #[cfg(target_os = "linux")]
            singles: Singles::default(),
            dropped: 0,
        })
    }

    /// Room for a batch from this socket.
    pub(crate) fn receive_buffers(&self) -> ReceiveBuffers {
        // As many datagrams as the kernel glues together.
        let size = DATAGRAM_BYTES_MAX * self.state.gro_segments().max(2);
        ReceiveBuffers { bytes: vec![vec![0; size]; BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// What has arrived, as far as there is room.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has; else what the system tells of an earlier datagram.
    pub(crate) fn receive<'a>(&self, into: &'a mut ReceiveBuffers) -> io::Result<Batch<'a>> {
        let mut buffers = into.bytes.iter_mut();
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().expect("there are as many buffers as a batch has"))
        });
        let count = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut into.metas)?;
        Ok(Batch { count, buffers: into })
    }

    /// Sends `bytes` cut into datagrams of `segment_size`, the last of which may be shorter: at once, or, when it is a single
    /// one, with the next [`flush`](Self::flush). What the kernel has no room for is lost, as on any network.
    pub(crate) fn send(&mut self, to: SocketAddr, segment_size: usize, bytes: &[u8]) {
        #[cfg(target_os = "linux")]
        {
            if bytes.len() <= segment_size {
                if self.singles.is_full() {
                    self.flush();
                }
                return self.singles.push(to, bytes);
            }
            if self.singles.last_is_to(to) {
                self.flush(); // one destination's datagrams stay in their order
            }
        }
        let run = segment_size.max(1) * self.state.max_gso_segments().max(1);
        for contents in bytes.chunks(run) {
            let segment_size = (contents.len() > segment_size).then_some(segment_size);
            let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
            if let Err(error) = self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                note_dropped(&mut self.dropped, &error);
            }
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        #[cfg(target_os = "linux")]
        {
            let Udp { socket, singles, dropped, .. } = self;
            singles.send(socket, |error| note_dropped(dropped, &error));
        }
    }
}

fn note_dropped(dropped: &mut u64, error: &io::Error) {
    *dropped += 1;
    if dropped.is_power_of_two() {
        warn!(%error, dropped = *dropped, "datagrams could not be sent");
    }
}

/// Where a batch goes.
pub(crate) struct ReceiveBuffers {
    bytes: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH_SIZE],
}

/// Datagrams that have arrived, each with its sender.
pub(crate) struct Batch<'a> {
    count: usize,
    buffers: &'a mut ReceiveBuffers,
}

impl<'a> Batch<'a> {
    /// Whether there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.count == BATCH_SIZE
    }

    /// All of them.
    pub(crate) fn into_datagrams(self) -> impl Iterator<Item = (SocketAddr, &'a mut [u8])> {
        let ReceiveBuffers { bytes, metas } = self.buffers;
        metas[..self.count].iter().zip(bytes).flat_map(|(meta, buffer)| {
            let from = meta.addr;
            buffer[..meta.len].chunks_mut(meta.stride.max(1)).map(move |datagram| (from, datagram))
        })
    }
}

/// Batched sending, which only Linux has.
#[cfg(target_os = "linux")]
mod singles {
    use std::io::{self, IoSlice};
    use std::net::{SocketAddr, UdpSocket};
    use std::ops::Range;

    use rustix::io::Errno;
    use rustix::net::addr::SocketAddrArg as _;
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

    /// In one system call: more save no more.
    const SINGLES_MAX: usize = 32;

    /// Datagrams that wait to be sent, none of them part of a run.
    #[derive(Default)]
    pub(super) struct Singles {
        bytes: Vec<u8>,
        entries: Vec<(SocketAddrAny, Range<usize>)>,
        last_to: Option<SocketAddr>,
    }

    impl Singles {
        pub(super) fn is_full(&self) -> bool {
            self.entries.len() == SINGLES_MAX
        }

        pub(super) fn last_is_to(&self, to: SocketAddr) -> bool {
            self.last_to == Some(to)
        }

        pub(super) fn push(&mut self, to: SocketAddr, bytes: &[u8]) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.entries.push((to.as_any(), start..self.bytes.len()));
            self.last_to = Some(to);
        }

        /// Sends and forgets them; `refused` hears of each that could not be sent.
        pub(super) fn send(&mut self, socket: &UdpSocket, mut refused: impl FnMut(io::Error)) {
            let Some(first) = self.entries.first() else { return };
            // Places beyond the last are filled with the first, and not sent.
            let entry = |at: usize| self.entries.get(at).unwrap_or(first);
            let slices: [_; SINGLES_MAX] =
                std::array::from_fn(|at| [IoSlice::new(&self.bytes[entry(at).1.clone()])]);
            let mut controls: [_; SINGLES_MAX] = std::array::from_fn(|_| SendAncillaryBuffer::default());
            let mut controls = controls.iter_mut();
            let mut messages: [_; SINGLES_MAX] = std::array::from_fn(|at| {
                let control = controls.next().expect("there are as many as messages");
                MMsgHdr::new_with_addr(&entry(at).0, &slices[at], control)
            });
            let mut rest = &mut messages[..self.entries.len()];
            while !rest.is_empty() {
                let done = match sendmmsg(socket, rest, SendFlags::empty()) {
                    Ok(sent) => sent,
                    Err(Errno::INTR) => 0,
                    Err(error) => {
                        // Of the first of them: the others may still go.
                        refused(error.into());
                        1
                    }
                };
                rest = &mut rest[done..];
            }
            self.bytes.clear();
            self.entries.clear();
            self.last_to = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bound() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // For a machine that is busy with other things: what arrives on the loopback is there at once.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2000];
        (0..count)
            .map(|_| socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn singles_and_runs_to_one_destination_stay_in_order() {
        let (mut udp, (here, to), (there, to_another)) = (Udp::new(bound().0).unwrap(), bound(), bound());
        udp.send(to, 1, &[1]);
        udp.send(to, 2, &[2, 2, 3, 3, 4]);
        udp.send(to_another, 1, &[5]);
        // More than go out in one call.
        (10..100).for_each(|number| udp.send(to, 1, &[number]));
        udp.flush();
        let singles = (10..100).map(|number| vec![number]);
        let expected: Vec<_> =
            [vec![1], vec![2, 2], vec![3, 3], vec![4]].into_iter().chain(singles).collect();
        assert_eq!(received(&here, 94), expected);
        assert_eq!(received(&there, 1), [[5]]);
        assert_eq!(udp.dropped, 0);
    }

    #[test]
    fn one_that_cannot_be_sent_stops_no_other() {
        let (mut udp, (here, to)) = (Udp::new(bound().0).unwrap(), bound());
        let nowhere = SocketAddr::new(to.ip(), 0);
        for (to, number) in [(nowhere, 1), (to, 2), (nowhere, 3), (to, 4)] {
            udp.send(to, 1, &[number]);
        }
        udp.flush();
        assert_eq!(received(&here, 2), [[2], [4]]);
        assert_eq!(udp.dropped, 2);
    }

    #[test]
    fn a_batch_brings_each_datagram_with_its_sender() {
        let (socket, address) = bound();
        let udp = Udp::new(socket).unwrap();
        let mut buffers = udp.receive_buffers();
        assert_eq!(
            udp.receive(&mut buffers).err().map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        let [(one, from_one), (another, from_another)] = [bound(), bound()];
        one.send_to(&[1, 1], address).unwrap();
        another.send_to(&[2], address).unwrap();
        one.send_to(&[3, 3], address).unwrap();
        let batch = udp.receive(&mut buffers).unwrap();
        assert!(!batch.is_full());
        let datagrams: Vec<_> = batch.into_datagrams().map(|(from, bytes)| (from, bytes.to_vec())).collect();
        assert_eq!(datagrams, [(from_one, vec![1, 1]), (from_another, vec![2]), (from_one, vec![3, 3])]);
    }
}
