//! Connections to `http`, `https`, `ws` and `wss` URLs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where systems keep the certificates they trust: Debian, Red Hat, SUSE, Alpine and macOS.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/openssl/cert.pem",
];

/// Bytes both ways, over TLS or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Which servers are believed to be who they say. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// What the system trusts: the PEM bundle that `SSL_CERT_FILE` names, or the one at its usual place. Without either
    /// nobody is trusted, and only `ws` and `http` work.
    pub fn system() -> Trust {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = named.or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
        bundle
            .and_then(|path| Trust::bundle(&path).ok())
            .unwrap_or_else(|| Trust::roots(RootCertStore::empty()))
    }

    /// The certificates of this PEM file and no others.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn bundle(path: &Path) -> std::io::Result<Trust> {
        let invalid = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| invalid(error.to_string()))?;
        let (added, _) = roots.add_parsable_certificates(certificates.flatten());
        if added == 0 {
            return Err(invalid(format!("{} holds no certificate", path.display())));
        }
        Ok(Trust::roots(roots))
    }

    fn roots(roots: RootCertStore) -> Trust {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }
}

impl Default for Trust {
    fn default() -> Self {
        Trust::system()
    }
}

/// Connects to the URL's host. Also returns our own address, by which media will be sent too.
///
/// # Errors
/// In words: no such host, nobody there, or not trusted.
pub(crate) async fn connect(url: &Uri, trust: &Trust) -> Result<(Box<dyn Io>, SocketAddr), String> {
    let secure = match url.scheme_str() {
        Some("https" | "wss") => true,
        Some("http" | "ws") => false,
        other => return Err(format!("cannot connect to a URL of scheme {other:?}")),
    };
    let host = url.host().ok_or("the URL has no host")?.trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
    // Signaling frames are small and each one is awaited.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let local = stream.local_addr().map_err(|error| error.to_string())?;
    if !secure {
        return Ok((Box::new(stream), local));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(trust.0.clone())
        .connect(name, stream)
        .await
        .map_err(|error| format!("{host}:{port}: {error}"))?;
    Ok((Box::new(stream), local))
}
