//! The command line, and what follows from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use campanile_meeting::registry::RegistryLimits;
use campanile_meeting::service::Limits;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::directory::Account;
use crate::http::HttpLimits;
use crate::store::Retention;
use crate::throttle::Rate;

/// Port of the media (UDP and TCP) when none is named.
const MEDIA_PORT: u16 = 10_000;

/// A few thousand clients, at five hundred a second.
const DRAIN_SECONDS: u64 = 10;

/// A self-hosted media service, wire-compatible with Amazon Chime SDK clients.
#[derive(Debug, Parser)]
#[command(name = "campanile", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve API, signaling, media and page, with everything embedded and nothing else needed.
    Dev(Box<Config>),
    /// Serve API, signaling and media as a configuration file says: accounts, keys, policies, quotas.
    Serve(Serve),
}

/// How `campanile serve` is called.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print one line of JSON when ready, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// What only a configuration file says.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Who may call; without any, one account with a key made up on first use, and the demo application.
    pub accounts: Option<Vec<Account>>,
    /// The media region that clients are told is nearest; the control region unless set.
    pub media_region: Option<String>,
    /// How much there may be.
    pub quotas: Quotas,
    /// For how long events are kept.
    pub events: Retention,
    /// What connections may take.
    pub http: HttpLimits,
}

/// How much there may be. The documented quotas, but no limit to the rate of requests.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// Calls of each account to each operation.
    pub rate: Option<Rate>,
    /// Meetings, attendees, replicas, and how long meetings last.
    pub records: RegistryLimits,
    /// What one meeting may hold on the media side.
    pub media: Limits,
}

/// What the answers to clients announce for their media.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaOver {
    /// UDP, and TCP for those whose network lets no UDP through.
    #[default]
    Both,
    /// UDP alone.
    Udp,
    /// TCP alone: slower where packets are lost, but it passes more firewalls.
    Tcp,
}

/// How `campanile dev` serves.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address of API, signaling and page (TCP); port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of the media (UDP and TCP); port 0 takes any free one [default: the IP of --listen, port 10000]
    #[arg(long, value_name = "ADDR")]
    pub media: Option<SocketAddr>,
    /// Media address to announce to clients, where it differs (NAT, relays).
    #[arg(long, value_name = "ADDR")]
    pub media_public: Option<SocketAddr>,
    /// What clients may send media over: UDP, TCP on the same port for networks without UDP, or either.
    #[arg(long, value_name = "TRANSPORT", default_value = "both")]
    pub media_over: MediaOver,
    /// Where records, keys and certificates are kept.
    #[arg(long, value_name = "DIR", default_value = ".campanile")]
    pub data_dir: PathBuf,
    /// Print one line of JSON when ready, for scripts.
    #[arg(long)]
    pub json: bool,
    /// Name or IP by which clients reach this server, without port.
    #[arg(long, value_name = "NAME|IP")]
    pub public_address: Option<String>,
    /// PEM file with the certificate chain to serve https and wss with.
    #[arg(long, value_name = "PEM", requires = "tls_key", conflicts_with = "tls_local")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with that certificate's private key.
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve https and wss with a certificate of a local CA, made on first use; trust its ca.pem.
    #[arg(long)]
    pub tls_local: bool,
    /// Serve plain HTTP outside loopback. Browsers give pages no microphone or camera there.
    #[arg(long)]
    pub insecure: bool,
    /// Control region: part of ARNs, and what callers sign for.
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub region: String,
    /// How long stopping may take to ask clients to come back, a batch at a time.
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_SECONDS)]
    pub drain_seconds: u64,
    /// How many are heard at once in a meeting, the loudest; each costs a decode and an encode every 20 ms [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub voices: Option<u16>,
    /// How many cameras may be on at once in a meeting [default: 25]
    #[arg(long, value_name = "N")]
    pub videos: Option<u16>,
    /// How many attendees may be in all meetings at once; whoever comes then is told that there is no room [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attendees: Option<u32>,
    /// What only a configuration file says.
    #[arg(skip)]
    pub control: Control,
}

impl Config {
    /// On loopback, on any free ports, with records in `data_dir`.
    pub fn local(data_dir: impl Into<PathBuf>) -> Config {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Config {
            listen: any,
            media: Some(any),
            media_public: None,
            media_over: MediaOver::Both,
            data_dir: data_dir.into(),
            json: false,
            public_address: None,
            tls_cert: None,
            tls_key: None,
            tls_local: false,
            insecure: false,
            region: "us-east-1".into(),
            drain_seconds: DRAIN_SECONDS,
            voices: None,
            videos: None,
            max_attendees: None,
            control: Control::default(),
        }
    }

    /// True when page, API and signaling are served over TLS.
    pub fn tls(&self) -> bool {
        self.tls_local || self.tls_cert.is_some()
    }

    /// What one meeting may hold on the media side.
    pub fn media_limits(&self) -> Limits {
        let limits = self.control.quotas.media;
        Limits {
            voices: self.voices.map_or(limits.voices, usize::from),
            cameras: self.videos.map_or(limits.cameras, usize::from),
            attendees: self.max_attendees.map_or(limits.attendees, |max| max as usize),
            ..limits
        }
    }

    /// Where to bind the media.
    pub fn media_listen(&self) -> SocketAddr {
        self.media.unwrap_or(SocketAddr::new(self.listen.ip(), MEDIA_PORT))
    }

    /// What these options cannot mean together, in words for whoever gave them.
    pub fn check(&self) -> Result<(), String> {
        if !self.listen.ip().is_loopback() && !self.tls() && !self.insecure {
            return Err(format!(
                "refusing to serve plain HTTP on {}: join tokens would travel in the clear, and browsers give pages no \
                 microphone or camera there. Use --tls-local (a local CA), --tls-cert with --tls-key, or --insecure.",
                self.listen
            ));
        }
        if let Some(address) = &self.public_address {
            let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            let is_name = !address.is_empty() && address.len() <= 253 && address.chars().all(name);
            if address.parse::<IpAddr>().is_err() && !is_name {
                return Err(format!("--public-address {address:?} is neither a host name nor an IP address"));
            }
        }
        for (option, port) in [("--media-public", self.media_public.map(|addr| addr.port()))] {
            if port == Some(0) {
                return Err(format!("{option} needs a port"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str, accepted: bool) {
        let words = ["campanile", "dev"].into_iter().chain(arguments.split_whitespace());
        let outcome = Cli::try_parse_from(words).map_err(|error| error.to_string()).and_then(|cli| {
            let Command::Dev(config) = cli.command else { unreachable!("it says dev") };
            config.check()
        });
        assert_eq!(outcome.is_ok(), accepted, "{arguments}: {outcome:?}");
    }

    #[test]
    fn plain_http_stays_on_loopback() {
        check("", true);
        check("--listen [::1]:0", true);
        check("--listen 0.0.0.0:0", false);
        check("--listen 192.0.2.1:8080", false);
        check("--listen 0.0.0.0:0 --insecure", true);
        check("--listen 0.0.0.0:0 --tls-local", true);
        check("--listen 0.0.0.0:0 --tls-cert c.pem --tls-key k.pem", true);
        check("--tls-cert c.pem", false);
        check("--tls-cert c.pem --tls-key k.pem --tls-local", false);
    }

    #[test]
    fn so_many_are_heard_at_once() {
        check("--voices 250", true);
        check("--voices 0", false);
        let config = Config { voices: Some(250), ..Config::local(".") };
        assert_eq!((config.media_limits().voices, Config::local(".").media_limits().voices), (250, 8));
    }

    #[test]
    fn so_many_may_come_and_show_themselves() {
        check("--videos 0 --max-attendees 1", true);
        check("--max-attendees 0", false);
        let config = Config { videos: Some(1), max_attendees: Some(2), ..Config::local(".") };
        let limits = |config: &Config| (config.media_limits().cameras, config.media_limits().attendees);
        assert_eq!((limits(&config), limits(&Config::local("."))), ((1, 2), (25, usize::MAX)));
    }

    #[test]
    fn addresses_are_checked_at_the_door() {
        check("--public-address meet.example.net", true);
        check("--public-address 192.0.2.1", true);
        check("--public-address 2001:db8::1", true);
        check("--public-address https://meet.example.net", false);
        check("--public-address meet.example.net:8080", false);
        check("--media-public 192.0.2.1:10000", true);
        check("--media-public 192.0.2.1:0", false);
    }

    #[test]
    fn media_follows_the_listener() {
        let mut config = Config { media: None, ..Config::local("unused") };
        config.listen = "[::1]:8080".parse().unwrap();
        assert_eq!(config.media_listen(), "[::1]:10000".parse().unwrap());
    }
}
