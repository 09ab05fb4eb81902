//! The simulator's links between real clients and a real server: a relay of UDP datagrams, for the browser stories.
//!
//! It says where it listens (`listening ADDR`) and takes orders by line on its standard input:
//!
//! - `to ADDR`: the server;
//! - `narrow CLIENT KBPS QUEUE_MS LOSS DELAY_MS`: the way from the server to this client from now on, `KBPS` 0 for any rate,
//!   `LOSS` from 0 to 1;
//! - `dark CLIENT MS`: nothing passes, either way, for so long.
//!
//! Clients are told apart by their addresses and counted from 0 in the order in which they are first heard from, each
//! time with a line `client N`. It ends with its standard input.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is a shell: real sockets, real time"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::io::{self, BufRead};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use campanile_media::units::Bitrate;
use campanile_sim::link::Link;
use campanile_sim::{Bottleneck, Conditions, Loss};

/// How long it sleeps when nothing comes.
const REST: Duration = Duration::from_micros(500);
const DATAGRAM_BYTES_MAX: usize = 2048;
/// A path that does nothing.
const OPEN: Conditions = Conditions { latency: Duration::ZERO, ..Conditions::GOOD };

struct Client {
    addr: SocketAddr,
    /// Stands for the client before the server.
    socket: UdpSocket,
    up: Link,
    down: Link,
}

/// A datagram on its way: when it arrives, its number, whose it is, whether towards the server.
type Flying = Reverse<(Instant, u64, usize, bool, Vec<u8>)>;

struct Relay {
    socket: UdpSocket,
    server: Option<SocketAddr>,
    clients: Vec<Client>,
    flying: BinaryHeap<Flying>,
    number: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let socket = socket()?;
    println!("listening {}", socket.local_addr()?);
    let (send, orders) = mpsc::channel();
    std::thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    let mut relay = Relay { socket, server: None, clients: Vec::new(), flying: BinaryHeap::new(), number: 0 };
    loop {
        match orders.try_recv() {
            Ok(order) => relay.obey(&order)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        if !relay.carry()? {
            std::thread::sleep(REST);
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Relay {
    fn obey(&mut self, order: &str) -> Result<(), Box<dyn Error>> {
        let words: Vec<&str> = order.split_whitespace().collect();
        match words[..] {
            ["to", addr] => self.server = Some(addr.parse()?),
            ["narrow", client, kbps, queue_ms, loss, delay_ms] => {
                let rate = Bitrate::kbps(kbps.parse()?);
                let queue_bytes = rate.bytes_in(Duration::from_millis(queue_ms.parse()?));
                let bottleneck = Bottleneck { rate, queue_bytes };
                self.client(client)?.down.conditions = Conditions {
                    latency: Duration::from_millis(delay_ms.parse()?),
                    loss: Loss::Random(loss.parse()?),
                    bottleneck: (rate > Bitrate::default()).then_some(bottleneck),
                    ..OPEN
                };
            }
            ["dark", client, ms] => {
                let until = Instant::now() + Duration::from_millis(ms.parse()?);
                let client = self.client(client)?;
                client.up.black_out(until);
                client.down.black_out(until);
            }
            _ => return Err(format!("no order: {order}").into()),
        }
        Ok(())
    }

    fn client(&mut self, number: &str) -> Result<&mut Client, Box<dyn Error>> {
        Ok(self.clients.get_mut(number.parse::<usize>()?).ok_or("no such client")?)
    }

    /// Takes what has come and delivers what is due; false when there was nothing.
    fn carry(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let mut busy = false;
        while let Ok((len, from)) = self.socket.recv_from(&mut bytes) {
            busy = true;
            let at = match self.clients.iter().position(|client| client.addr == from) {
                Some(at) => at,
                None => self.new_client(from)?,
            };
            let arrivals = self.clients[at].up.pass(now, len);
            self.send_off(arrivals.first, at, true, &bytes[..len]);
        }
        for at in 0..self.clients.len() {
            while let Ok(len) = self.clients[at].socket.recv(&mut bytes) {
                busy = true;
                let arrivals = self.clients[at].down.pass(now, len);
                self.send_off(arrivals.first, at, false, &bytes[..len]);
            }
        }
        while self.flying.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((_, _, at, up, bytes))) = self.flying.pop() else { break };
            busy = true;
            let client = &self.clients[at];
            // What cannot be sent is lost, as on any network.
            let _ = match (up, self.server) {
                (true, Some(server)) => client.socket.send_to(&bytes, server),
                (true, None) => Ok(0),
                (false, _) => self.socket.send_to(&bytes, client.addr),
            };
        }
        Ok(busy)
    }

    fn new_client(&mut self, addr: SocketAddr) -> io::Result<usize> {
        let number = self.clients.len();
        println!("client {number}");
        let seed = number as u64;
        self.clients.push(Client {
            addr,
            socket: socket()?,
            up: Link::new(OPEN, seed),
            down: Link::new(OPEN, seed),
        });
        Ok(number)
    }

    fn send_off(&mut self, arrival: Option<Instant>, at: usize, up: bool, bytes: &[u8]) {
        let Some(arrival) = arrival else { return };
        self.number += 1;
        self.flying.push(Reverse((arrival, self.number, at, up, bytes.to_vec())));
    }
}
