//! The listener: connections, TLS handshakes and their bounds. What is asked on them is the router's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
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

/// Connections at once, WebSockets included. Each costs some 20 KiB of buffers, so 80 MiB at most; more wait in the
/// kernel's queue.
const CONNECTIONS_MAX: u32 = 4_096;
/// A client gets this long for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// ... this long for the head of a request, and as long between two requests on one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
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
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Accepts and serves until `stop` turns true, then lets running requests end.
pub async fn run(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let stopped = stop.clone();
    let accepting = async {
        loop {
            let permit = places.clone().acquire_owned().await.expect("never closed");
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let permit = ConnectionPermit { _permit: Arc::new(permit) };
                    let (tls, router, stop) = (tls.clone(), router.clone(), stopped.clone());
                    tokio::spawn(connection(stream, remote, tls, router, permit, stop));
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
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, places.acquire_many(CONNECTIONS_MAX)).await;
}

/// One connection, in a task of its own, so a slow handshake delays nobody else.
async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    permit: ConnectionPermit,
    stop: watch::Receiver<bool>,
) {
    // Signaling frames are small and urgent.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        return serve(stream, remote, router, permit, stop).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, remote, router, permit, stop).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    router: Router,
    permit: ConnectionPermit,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(permit.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
