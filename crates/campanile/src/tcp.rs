//! Media over TCP, for networks that let no UDP through: a listener and its connections, in the worker's own loop.
//!
//! A connection carries the same datagrams as the UDP port (RFC 6544, framed by RFC 4571), and the core sees no more of it
//! than an address of another kind. Nothing here waits for anybody: a connection whose peer reads too slowly loses
//! datagrams, as on any network, and one that shows no credentials is closed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_media::peer::framing::{Deframer, frame};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use tracing::{debug, warn};

use crate::http::network_of;

/// Connections at once. Browsers try TCP beside UDP and keep the connection for a while, so this is about the number of
/// attendees of one worker; whoever comes later is refused, and has UDP.
const CONNECTIONS_MAX: usize = 4096;
/// ... from one address (of IPv6: one network of 64 bits). Half of all, so that one alone cannot take every place, and a
/// company's gateway gets by.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// Bytes that may wait for one connection: two seconds of a call with one picture. Late media is worth nothing.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// A connection to which nothing has been sent for so long belongs to no call: an authentic check is answered at once, and
/// comes every few seconds.
const UNUSED_MAX: Duration = Duration::from_secs(15);
/// Between two words about connections that are refused.
const REFUSED_TOLD_EVERY: Duration = Duration::from_secs(10);
/// Bytes read of one connection in one turn: nobody waits longer for their own than for this much of everybody's.
const BYTES_PER_TURN: usize = 16 * 1024;

/// Media over TCP, of one worker.
pub(crate) struct Tcp {
    listener: Option<TcpListener>,
    registry: Registry,
    token: Token,
    connections: BTreeMap<Token, Connection>,
    by_address: HashMap<SocketAddr, Token>,
    /// How many connections each address has.
    counts: HashMap<IpAddr, usize>,
    per_address_max: usize,
    refused: Refused,
    next: usize,
    /// Connections of which there may be more to read.
    readable: BTreeSet<Token>,
    swept_at: Instant,
    buffer: Box<[u8; BYTES_PER_TURN]>,
}

/// Connections for which there was no room.
#[derive(Debug, Default)]
struct Refused {
    /// Since the start.
    count: u64,
    told_at: Option<Instant>,
}

impl Refused {
    /// One more. True if it is to be told: who connects without end must not fill the log.
    fn note(&mut self, now: Instant) -> bool {
        self.count += 1;
        let is_quiet =
            self.told_at.is_none_or(|told| now.saturating_duration_since(told) >= REFUSED_TOLD_EVERY);
        if is_quiet {
            self.told_at = Some(now);
        }
        is_quiet
    }
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    deframer: Deframer,
    /// Framed datagrams that the kernel has not taken yet.
    waiting: Vec<u8>,
    used_at: Instant,
}

impl Tcp {
    /// Takes up the listener, if there is one. Its token is `first`, connections have those that follow.
    pub(crate) fn new(
        listener: Option<std::net::TcpListener>,
        registry: Registry,
        first: Token,
        now: Instant,
    ) -> io::Result<Tcp> {
        let listener = listener.map(|listener| -> io::Result<TcpListener> {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            registry.register(&mut listener, first, Interest::READABLE)?;
            Ok(listener)
        });
        Ok(Tcp {
            listener: listener.transpose()?,
            registry,
            token: first,
            connections: BTreeMap::new(),
            by_address: HashMap::new(),
            counts: HashMap::new(),
            per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            refused: Refused::default(),
            next: first.0,
            readable: BTreeSet::new(),
            swept_at: now,
            buffer: Box::new([0; BYTES_PER_TURN]),
        })
    }

    /// Takes note of what the poll has told.
    pub(crate) fn note(&mut self, now: Instant, event: &Event) {
        if event.token() == self.token {
            self.accept(now);
        } else if self.connections.contains_key(&event.token()) {
            if event.is_writable() {
                self.flush(event.token());
            }
            if event.is_readable() {
                self.readable.insert(event.token());
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        loop {
            let (mut stream, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Such as one that was gone before it was taken, or no more file descriptors.
                    debug!(%error, "a connection for media could not be taken");
                    if error.kind() == io::ErrorKind::ConnectionAborted {
                        continue;
                    }
                    return;
                }
            };
            let network = network_of(address.ip());
            let from_there = self.counts.get(&network).copied().unwrap_or(0);
            if self.connections.len() >= CONNECTIONS_MAX || from_there >= self.per_address_max {
                if self.refused.note(now) {
                    warn!(
                        %network, from_there, in_all = self.connections.len(), refused = self.refused.count,
                        "too many connections for media over TCP: whoever has UDP takes that, others hear nothing"
                    );
                }
                continue;
            }
            self.next += 1;
            let token = Token(self.next);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) =
                stream.set_nodelay(true).and_then(|()| self.registry.register(&mut stream, token, interest))
            {
                debug!(%error, "a connection for media could not be taken");
                continue;
            }
            let connection = Connection {
                stream,
                address,
                deframer: Deframer::default(),
                waiting: Vec::new(),
                used_at: now,
            };
            self.connections.insert(token, connection);
            self.by_address.insert(address, token);
            *self.counts.entry(network).or_default() += 1;
        }
    }

    /// Reads what has come, a bounded amount of each connection, and hands on each datagram with its source. True if there
    /// may be more.
    pub(crate) fn receive(&mut self, mut datagram: impl FnMut(SocketAddr, &mut [u8])) -> bool {
        for token in std::mem::take(&mut self.readable) {
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            let address = connection.address;
            let outcome = match connection.stream.read(&mut self.buffer[..]) {
                Ok(0) => Err("its peer has closed it".to_owned()),
                Ok(count) => {
                    self.readable.insert(token); // the poll tells only of changes
                    let bytes = &self.buffer[..count];
                    connection
                        .deframer
                        .push(bytes, |bytes| datagram(address, bytes))
                        .map_err(|why| why.to_string())
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(()),
                    io::ErrorKind::Interrupted => {
                        self.readable.insert(token);
                        Ok(())
                    }
                    _ => Err(error.to_string()),
                },
            };
            if let Err(why) = outcome {
                self.close(token, &why);
            }
        }
        !self.readable.is_empty()
    }

    /// Sends a run of datagrams of `segment_size` bytes, the last perhaps shorter, to one connection. What there is no room
    /// for is lost.
    pub(crate) fn send(&mut self, now: Instant, to: SocketAddr, segment_size: usize, bytes: &[u8]) {
        let Some(token) = self.by_address.get(&to).copied() else { return };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.used_at = now;
        for datagram in bytes.chunks(segment_size.max(1)) {
            if connection.waiting.len() + datagram.len() > WAITING_BYTES_MAX {
                break;
            }
            frame(&mut connection.waiting, datagram);
        }
        self.flush(token);
    }

    fn flush(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let mut written = 0;
        let outcome = loop {
            let rest = &connection.waiting[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match connection.stream.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        connection.waiting.drain(..written);
        if let Err(error) = outcome {
            self.close(token, &error.to_string());
        }
    }

    /// Now and then: closes the connections that carry no call. They are few, or soon will be.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept_at) < Duration::from_secs(1) {
            return;
        }
        self.swept_at = now;
        let unused = |connection: &Connection| now.saturating_duration_since(connection.used_at) > UNUSED_MAX;
        let these: Vec<_> =
            self.connections.iter().filter(|(_, one)| unused(one)).map(|(token, _)| *token).collect();
        for token in these {
            self.close(token, "it carries no call");
        }
        if self.listener.is_some() {
            // A listener that had run out of file descriptors is not told of those who still wait.
            self.accept(now);
        }
    }

    /// When [`sweep`](Self::sweep) is wanted next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.connections.is_empty()).then(|| self.swept_at + Duration::from_secs(1))
    }

    fn close(&mut self, token: Token, why: &str) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        debug!(address = %connection.address, why, "a connection for media is closed");
        self.readable.remove(&token);
        let network = network_of(connection.address.ip());
        if let Some(count) = self.counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
        if self.by_address.get(&connection.address) == Some(&token) {
            self.by_address.remove(&connection.address);
        }
        // Dropping the stream closes it, which takes it out of the poll as well.
        let _ = self.registry.deregister(&mut connection.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{self, Ipv4Addr};

    use mio::{Events, Poll};

    use super::*;

    /// A service with one client connected, who has not said anything.
    struct World {
        poll: Poll,
        tcp: Tcp,
        client: net::TcpStream,
        now: Instant,
    }

    impl World {
        fn new() -> World {
            let (poll, now) = (Poll::new().unwrap(), Instant::now());
            let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let tcp = Tcp::new(Some(listener), poll.registry().try_clone().unwrap(), Token(0), now).unwrap();
            let client = net::TcpStream::connect(address).unwrap();
            let mut world = World { poll, tcp, client, now };
            while world.tcp.connections.is_empty() {
                world.turn();
            }
            world
        }

        fn turn(&mut self) {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::from_millis(10))).unwrap();
            events.iter().for_each(|event| self.tcp.note(self.now, event));
        }

        fn waiting(&self) -> usize {
            self.tcp.connections.values().map(|connection| connection.waiting.len()).sum()
        }
    }

    #[test]
    fn who_does_not_read_loses_whole_datagrams_and_the_rest_stays_readable() {
        let mut world = World::new();
        let to = world.client.local_addr().unwrap();
        let mut sent = 0_u32;
        // Until the kernel takes no more, and our own bound is reached.
        let mut before = usize::MAX;
        while before != world.waiting() || before == 0 {
            before = world.waiting();
            let run: Vec<u8> =
                (sent..sent + 64).flat_map(|number| number.to_be_bytes().repeat(250)).collect();
            world.tcp.send(world.now, to, 1000, &run);
            sent += 64;
            assert!(world.waiting() <= WAITING_BYTES_MAX + 2);
        }
        world.client.set_nonblocking(true).unwrap();
        let (mut deframer, mut read) = (Deframer::default(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        while world.waiting() > 0 {
            match world.client.read(&mut buffer) {
                Ok(count) => deframer
                    .push(&buffer[..count], |datagram| {
                        assert_eq!(datagram, datagram[..4].repeat(250));
                        read.push(u32::from_be_bytes(datagram[..4].try_into().unwrap()));
                    })
                    .unwrap(),
                Err(_) => world.turn(),
            }
        }
        assert!(read.is_sorted() && !read.is_empty(), "in order");
        assert!((read.len() as u32) < sent, "and some are lost");
    }

    #[test]
    fn a_connection_that_carries_no_call_is_closed_and_one_that_does_is_kept() {
        let mut world = World::new();
        let to = world.client.local_addr().unwrap();
        world.tcp.send(world.now + Duration::from_secs(10), to, 4, b"pong");
        world.tcp.sweep(world.now + Duration::from_secs(20));
        assert_eq!(world.tcp.connections.len(), 1);
        world.tcp.sweep(world.now + Duration::from_secs(26));
        assert!(world.tcp.connections.is_empty() && world.tcp.by_address.is_empty());
        assert!(world.tcp.counts.is_empty());
        assert_eq!(world.tcp.poll_timeout(), None);
    }

    #[test]
    fn who_is_refused_without_end_is_counted_and_told_of_now_and_then() {
        let (mut refused, began) = (Refused::default(), Instant::now());
        let told = (0..21).filter(|second| refused.note(began + Duration::from_secs(*second))).count();
        assert_eq!((told, refused.count), (3, 21));
    }

    #[tokio::test]
    async fn one_address_has_only_so_many_connections_and_others_are_not_kept_out() {
        // Every address of 127/8 is this machine.
        async fn connect_from(last: u8, server: SocketAddr) -> net::TcpStream {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
            socket.connect(server).await.unwrap().into_std().unwrap()
        }
        let mut world = World::new();
        world.tcp.per_address_max = 2;
        let server = world.client.peer_addr().unwrap();
        let (_second, third) = (connect_from(1, server).await, connect_from(1, server).await);
        let elsewhere = connect_from(2, server).await;
        while world.tcp.connections.len() < 3 {
            world.turn();
        }
        let is_taken = |world: &World, stream: &net::TcpStream| {
            world.tcp.by_address.contains_key(&stream.local_addr().unwrap())
        };
        assert!(is_taken(&world, &elsewhere) && !is_taken(&world, &third));
        assert_eq!(world.tcp.refused.count, 1);
        world.tcp.sweep(world.now + UNUSED_MAX + Duration::from_secs(1));
        let later = connect_from(1, server).await;
        while world.tcp.connections.is_empty() {
            world.turn();
        }
        assert!(is_taken(&world, &later), "a place that is given back is free");
    }
}
