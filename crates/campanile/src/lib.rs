//! Campanile's shell: the only sockets, clocks, threads and files. What a meeting means and what happens to media is
//! decided in the core crates; this one carries bytes to them and back, and keeps their records.
//!
//! A library so that tests start servers in their own process; the binary is a few lines around [`serve`].

pub mod api;
pub mod audit;
pub mod client_events;
pub mod config;
pub mod config_file;
pub mod demo;
pub mod directory;
pub mod drain;
pub mod http;
pub mod iam;
pub mod installation;
pub mod page;
pub mod signaling;
pub mod sigv4;
pub mod state;
pub mod store;
mod tcp;
pub mod throttle;
pub mod tls;
pub mod traces;
mod udp;
pub mod worker;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::{any, get};
use campanile_media::peer::Certificate;
use campanile_media::peer::sdp::Candidates;
use campanile_meeting::registry::Registry;
use campanile_meeting::service::ServiceConfig;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::config::{Config, MediaOver};
use crate::directory::{Account, Directory, User};
use crate::drain::DrainState;
use crate::iam::Policy;
use crate::installation::{Installation, create_data_dir, random};
use crate::sigv4::Credentials;
use crate::state::{AppState, Site};
use crate::store::{Store, StoreError};
use crate::throttle::Throttle;
use crate::worker::WorkerConfig;

/// Ports tried, where any will do, until one is free over UDP and TCP.
const PORT_ATTEMPTS: usize = 16;
/// Last four hex digits of the meeting ids made here. There is one cell as yet.
const CELL: u16 = 0x0001;

/// Why the server does not start, in words for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options cannot be meant together.
    #[error("{0}")]
    Options(String),
    /// An address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The public address has no IP to announce.
    #[error("cannot find the address of {0} ({1}); give --media-public")]
    PublicAddress(String, String),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {0}: {1}")]
    DataDir(PathBuf, #[source] io::Error),
    /// The records cannot be read.
    #[error("cannot open the records in {0}: {1}")]
    Store(PathBuf, #[source] StoreError),
    /// There is no certificate to serve with.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] io::Error),
    /// The media cannot start.
    #[error("cannot start the media worker: {0}")]
    Worker(#[source] io::Error),
}

/// What `--json` prints, and what the start-up text says: all that a client needs.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// Endpoint for AWS SDKs.
    pub api: String,
    /// The demo page.
    pub page: String,
    /// Where the media is bound (UDP, and TCP unless switched off).
    pub media: SocketAddr,
    /// Region to configure SDKs with.
    pub region: String,
    /// Names the credentials, where they were made up here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Signs requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// This process.
    pub pid: u32,
    /// With `--tls-local`: the certificate to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A text that `Debug` does not show. It serialises, since the start-up line is there to hand it out.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A server that is running.
pub struct Running {
    /// What to tell clients.
    pub ready: Ready,
    /// What the doors share.
    pub state: AppState,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
}

impl Running {
    /// By which its API may be called: the first user's.
    pub fn credentials(&self) -> &Credentials {
        self.state.directory.first_credentials()
    }

    /// Ends sessions, lets running requests end, closes the store. The same data directory may be opened again then.
    pub async fn stop(self) {
        self.state.worker.stop();
        let _ = self.stop.send(true);
        let _ = self.listener.await;
        self.state.close().await;
    }
}

/// Starts everything; the returned server answers already.
pub async fn serve(config: Config) -> Result<Running, StartError> {
    config.check().map_err(StartError::Options)?;
    let in_data_dir = |error| StartError::DataDir(config.data_dir.clone(), error);
    create_data_dir(&config.data_dir).map_err(in_data_dir)?;
    // The doors are there before anybody stands in them: a client that comes back while the records are being read waits in
    // the system's queue, where being refused would cost it another attempt, up to two seconds later.
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| StartError::Listen(config.listen, error))?;
    let listen = listener.local_addr().map_err(|error| StartError::Listen(config.listen, error))?;
    // The store before the rest: it finds out whether another process is at work here.
    let (store, stored) = Store::open(&config.data_dir.join("campanile.redb"), config.control.events)
        .map_err(|error| StartError::Store(config.data_dir.clone(), error))?;
    let installation = Installation::open(&config.data_dir).map_err(in_data_dir)?;
    let seed = random::<32>().map_err(in_data_dir)?;
    let registry = Registry::new(installation.join_token_key, CELL, ChaCha12Rng::from_seed(seed));
    let registry = registry.with_limits(config.control.quotas.records.clone());
    let mut registry = registry.in_region(config.region.clone());
    let now_unix_ms = api::unix_now().as_millis() as u64;
    registry.restore(now_unix_ms, stored.meetings, stored.attendees);
    let expected = registry.restore_events(now_unix_ms, stored.events);
    let audit = Audit::open(&config.data_dir).map_err(in_data_dir)?;

    let (tls, ca) = acceptor(&config, listen)?;

    let media_listen = config.media_listen();
    let no_media = |error| StartError::Listen(media_listen, error);
    let (socket, media_tcp) =
        bind_media(media_listen, config.media_over != MediaOver::Udp).map_err(no_media)?;
    let media = socket.local_addr().map_err(no_media)?;
    let announce = announced(&config, media).await?;
    let certificate = Certificate::generate().map_err(|error| StartError::Worker(io::Error::other(error)))?;
    let (events, told) = mpsc::unbounded_channel();
    let worker = worker::start(WorkerConfig {
        socket,
        listener: media_tcp,
        service: ServiceConfig {
            certificate,
            candidates: Candidates {
                udp: (config.media_over != MediaOver::Tcp).then_some(announce),
                tcp: (config.media_over != MediaOver::Udp).then_some(announce),
            },
            allow_plain: false,
            limits: config.media_limits(),
        },
        seed: random::<32>().map_err(in_data_dir)?,
        expected,
        events,
    })
    .map_err(StartError::Worker)?;

    let site = Site {
        tls: config.tls(),
        public_host: config.public_address.clone(),
        listen,
        media_port: announce.port(),
        region: config.region.clone(),
        media_region: config.control.media_region.clone().unwrap_or_else(|| config.region.clone()),
    };
    // Made-up credentials are shown to whoever starts the server; configured ones they have.
    let made_up = config.control.accounts.is_none();
    let credentials = made_up.then(|| installation.credentials.clone());
    let accounts = config.control.accounts.unwrap_or_else(|| {
        let root = User {
            name: "root".into(),
            credentials: installation.credentials,
            policies: Policy::managed("AdministratorAccess").into_iter().collect(),
        };
        vec![Account { id: installation.account, users: vec![root], roles: Vec::new() }]
    });
    let directory = Directory::new(accounts, installation.session_key).map_err(StartError::Options)?;
    let api = format!("{}://{}", site.http(), site.own_authority());
    let ready = Ready {
        page: format!("{api}/"),
        api,
        media,
        region: config.region,
        access_key_id: credentials.as_ref().map(|made_up| made_up.access_key_id.clone()),
        secret_access_key: credentials.map(|made_up| Secret(made_up.secret_access_key)),
        pid: std::process::id(),
        ca,
    };
    let limits = config.control.http.within_open_files();
    let throttle = Throttle::new(config.control.quotas.rate);
    let state = AppState::new(registry, store, worker, site, directory, throttle, audit);
    tokio::spawn(state.clone().run_life_cycle(told));
    let (stop, stopped) = watch::channel(false);
    let routes = router(state.clone(), made_up);
    let listener = tokio::spawn(http::run(listener, tls, routes, limits, stopped));
    tracing::info!(%listen, %media, %announce, meetings = state.registry().meeting_count(), "serving");
    Ok(Running { ready, state, stop, listener })
}

/// All doors behind one listener: signaling, what clients tell, and the demo by their paths, then the page's files, then the
/// API, which answers whatever is left, if only to say that there is no such operation. The demo lets anybody in who
/// reaches it, so it belongs to development.
fn router(state: AppState, demo: bool) -> Router {
    let fallback = if demo { any(page_or_api) } else { any(region_or_api) };
    let doors = Router::new()
        .route("/health", get(health))
        .fallback_service(fallback.with_state(state.clone()))
        .with_state(state.clone())
        .merge(signaling::routes(state.clone()))
        .merge(client_events::routes(state.clone()));
    if demo { doors.merge(demo::routes(state)) } else { doors }
}

/// For whatever leads clients here, or elsewhere.
async fn health(State(state): State<AppState>) -> (StatusCode, &'static str) {
    match state.drain.state() {
        _ if state.store_has_failed() => (StatusCode::SERVICE_UNAVAILABLE, "records cannot be stored\n"),
        DrainState::Serving => (StatusCode::OK, "ok\n"),
        DrainState::Draining | DrainState::Drained => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn page_or_api(state: State<AppState>, request: Request<Body>) -> Response<Body> {
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && !client_events::is_nearest_host(request.method(), request.uri().path(), request.headers())
        && let Some(file) = page::file(request.uri().path())
    {
        return file;
    }
    region_or_api(state, request).await
}

async fn region_or_api(state: State<AppState>, request: Request<Body>) -> Response<Body> {
    if client_events::is_nearest_host(request.method(), request.uri().path(), request.headers()) {
        return client_events::nearest(state).await;
    }
    api::handle(state, request).await
}

fn acceptor(
    config: &Config,
    listen: SocketAddr,
) -> Result<(Option<tokio_rustls::TlsAcceptor>, Option<PathBuf>), StartError> {
    if let (Some(certificates), Some(key)) = (&config.tls_cert, &config.tls_key) {
        return Ok((Some(tls::from_files(certificates, key).map_err(StartError::Tls)?), None));
    }
    if !config.tls_local {
        return Ok((None, None));
    }
    let mut hosts: Vec<String> = config.public_address.iter().cloned().collect();
    if !listen.ip().is_unspecified() {
        hosts.push(listen.ip().to_string());
    } else if let Some(ip) = outward_ip(listen.ip()) {
        hosts.push(ip.to_string());
    }
    let now_unix_s = api::unix_now().as_secs();
    let (acceptor, ca) =
        tls::local(&config.data_dir.join("tls"), &hosts, now_unix_s).map_err(StartError::Tls)?;
    Ok((Some(acceptor), Some(ca)))
}

/// The media's UDP socket, and its TCP listener on the same port if there is to be one.
fn bind_media(address: SocketAddr, tcp: bool) -> io::Result<(UdpSocket, Option<std::net::TcpListener>)> {
    let mut attempts = PORT_ATTEMPTS;
    loop {
        let socket = UdpSocket::bind(address)?;
        if !tcp {
            return Ok((socket, None));
        }
        match std::net::TcpListener::bind(socket.local_addr()?) {
            Ok(listener) => return Ok((socket, Some(listener))),
            // Any port will do, but this one is another's over TCP.
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {
                attempts -= 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The media address that clients are given: what the options say, else the public address, else where it is bound; if
/// that is everywhere, the address from which this machine reaches others.
async fn announced(config: &Config, bound: SocketAddr) -> Result<SocketAddr, StartError> {
    if let Some(address) = config.media_public {
        return Ok(address);
    }
    if let Some(public) = &config.public_address {
        if let Ok(ip) = public.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, bound.port()));
        }
        let failed = |why: String| StartError::PublicAddress(public.clone(), why);
        let mut found = tokio::net::lookup_host((public.as_str(), bound.port()))
            .await
            .map_err(|error| failed(error.to_string()))?
            .filter(|address| address.is_ipv4() == bound.is_ipv4());
        return found.next().ok_or_else(|| failed("no address of the media's kind".into()));
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    let loopback = match bound.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(outward_ip(bound.ip()).unwrap_or(loopback), bound.port()))
}

/// The source address of this machine's default route, by connecting a UDP socket (which sends nothing) to an address
/// set aside for documentation (RFC 5737, RFC 3849).
fn outward_ip(of_kind: IpAddr) -> Option<IpAddr> {
    let (any, other): (IpAddr, IpAddr) = match of_kind {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((other, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
