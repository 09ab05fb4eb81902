//! The listener: connections, TLS handshakes and their bounds. What is asked on them is the router's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// What connections may take, WebSockets included.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// At once; more wait in the kernel's queue.
    pub connections: u32,
    /// ... from one address (of IPv6: one network of 64 bits). More are closed at once. Half of all, so that one address
    /// alone cannot take every place, and a proxy or a company's gateway gets by.
    pub connections_per_address: u32,
    /// For the head of a request, and as long between two requests on one connection.
    pub head_timeout: Duration,
    /// For the body of a request.
    pub body_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 16_384,
            connections_per_address: 8_192,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
        }
    }
}

impl HttpLimits {
    /// Raises the number of files that this process may open as far as the system lets it, and takes in no more
    /// connections than that bears.
    pub fn within_open_files(self) -> HttpLimits {
        let files = raise_open_files();
        let connections = files.saturating_sub(FILES_BESIDE_CONNECTIONS).max(1);
        if connections >= u64::from(self.connections) {
            return self;
        }
        tracing::warn!(
            "only {files} files may be open at once, so only {connections} connections are taken in instead of {}; raise \
             the hard limit (`ulimit -Hn`, or LimitNOFILE= of a systemd unit)",
            self.connections
        );
        HttpLimits { connections: connections as u32, ..self }
    }
}

/// The store, logs, the worker's sockets and poll, and what the page serves.
const FILES_BESIDE_CONNECTIONS: u64 = 128;

/// Raises this process's soft limit of open files to the hard one, which takes no privilege; what it is then.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

/// A client gets this long for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head: SDKs send some 2 KiB, browsers with cookies a little more.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept: most often there are no file descriptors left, and some will be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests may still take once the server is stopping. Connections on which nothing was ever asked, as browsers
/// keep them in store, take all of it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A place among the open connections, given back when the last clone is dropped. It travels in each request's
/// extensions: whoever upgrades a connection keeps it while the connection lives.
#[derive(Clone, Debug)]
pub struct ConnectionPermit {
    _place: Arc<Place>,
}

/// How many connections each address has.
type Addresses = Arc<Mutex<HashMap<IpAddr, u32>>>;

#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    addresses: Addresses,
    address: IpAddr,
}

impl Place {
    /// `None` when the address has as many as it may.
    fn take(
        permit: OwnedSemaphorePermit,
        addresses: &Addresses,
        address: IpAddr,
        max: u32,
    ) -> Option<ConnectionPermit> {
        let address = network_of(address);
        let mut counts = addresses.lock().expect("no panic while it is held");
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        let place = Place { _permit: permit, addresses: addresses.clone(), address };
        Some(ConnectionPermit { _place: Arc::new(place) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().expect("no panic while it is held");
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: anybody with IPv6 has 64 bits of them.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Accepts and serves until `stop` turns true, then lets running requests end.
pub async fn run(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: HttpLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let addresses = Addresses::default();
    let stopped = stop.clone();
    let accepting = async {
        loop {
            let permit = places.clone().acquire_owned().await.expect("never closed");
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let max = limits.connections_per_address;
                    let Some(permit) = Place::take(permit, &addresses, remote.ip(), max) else {
                        tracing::debug!(%remote, "this address has too many connections");
                        continue;
                    };
                    let (tls, router, stop) = (tls.clone(), router.clone(), stopped.clone());
                    tokio::spawn(connection(stream, remote, tls, router, permit, limits, stop));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    // All places free: all connections closed.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, places.acquire_many(limits.connections)).await;
}

/// One connection, in a task of its own, so a slow handshake delays nobody else.
async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    permit: ConnectionPermit,
    limits: HttpLimits,
    stop: watch::Receiver<bool>,
) {
    // Signaling frames are small and urgent.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        return serve(stream, remote, router, permit, limits, stop).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, remote, router, permit, limits, stop).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    router: Router,
    permit: ConnectionPermit,
    limits: HttpLimits,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(permit.clone());
        request.extensions_mut().insert(limits);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let stopping = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%remote, %error, "connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_whatever_its_form_and_an_ipv6_network_too() {
        let check = |one: &str, other: &str, same: bool| {
            let network = |text: &str| network_of(text.parse().unwrap());
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        };
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::1", "2001:db8::2:0:0:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    #[tokio::test]
    async fn a_place_is_given_back_when_its_last_holder_goes() {
        let (places, addresses) = (Arc::new(Semaphore::new(9)), Addresses::default());
        let take = |address: &str| {
            let permit = places.clone().try_acquire_owned().unwrap();
            Place::take(permit, &addresses, address.parse().unwrap(), 2)
        };
        let (first, second) = (take("192.0.2.1"), take("192.0.2.1"));
        assert!(first.is_some() && second.is_some() && take("192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some(), "others are not kept out");
        let upgraded = first.clone();
        drop(first);
        assert!(take("192.0.2.1").is_none());
        drop(upgraded);
        assert!(take("192.0.2.1").is_some());
        drop(second);
        assert_eq!(places.available_permits(), 9);
        assert!(addresses.lock().unwrap().is_empty(), "nothing is remembered of who has gone");
    }
}
