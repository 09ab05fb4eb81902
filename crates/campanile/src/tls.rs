//! Certificates for page, API and signaling: the operator's own, or leaves of a local CA. The media has its own (DTLS).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_wire::calendar::civil_date;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::installation::write_private;
use crate::sigv4::hex;

const DAY_S: u64 = 24 * 60 * 60;
/// A local CA outlives most installations; making another means trusting it on every device again.
const CA_DAYS: u64 = 10 * 365;
/// A leaf is made anew at each start. Some clients refuse more than 825 days, whoever signed.
const LEAF_DAYS: u64 = 397;

/// From an operator's PEM files.
///
/// # Errors
/// When a file cannot be read, holds no certificate or key, or the two do not belong together.
pub fn from_files(certificates: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let said =
        |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| said(certificates, &error))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| said(key, &error))?;
    acceptor(chain, key_der).map_err(|error| said(certificates, &error))
}

/// A leaf for `public_host` and this machine's own names, signed by the CA that `directory` keeps (made on first use).
/// Gives also the path of the CA's certificate, which users are to trust.
pub fn local(
    directory: &Path,
    public_hosts: &[String],
    now_unix_s: u64,
) -> io::Result<(TlsAcceptor, PathBuf)> {
    fs::create_dir_all(directory)?;
    let (ca_path, key_path) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
    let key = match fs::read_to_string(&key_path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            key
        }
        Err(error) => return Err(error),
    };
    let params = ca_params(&key, now_unix_s);
    if !ca_path.exists() {
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        fs::write(&ca_path, certificate.pem())?;
    }
    // The stored certificate is not read back: name and key make the issuer, and both are the same each time.
    let issuer = Issuer::new(params, key);

    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, "campanile");
    leaf.subject_alt_names = alternative_names(public_hosts)?;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut leaf, now_unix_s, LEAF_DAYS);
    let leaf_key = KeyPair::generate().map_err(io::Error::other)?;
    let leaf = leaf.signed_by(&leaf_key, &issuer).map_err(io::Error::other)?;
    let leaf_key = PrivateKeyDer::try_from(leaf_key.serialize_der()).map_err(io::Error::other)?;
    let acceptor = acceptor(vec![leaf.der().clone()], leaf_key).map_err(io::Error::other)?;
    Ok((acceptor, ca_path))
}

fn ca_params(key: &KeyPair, now_unix_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Browsers confuse CAs of one name with different keys.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    let name = format!("Campanile local CA {}", hex(&hash.as_ref()[..4]));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now_unix_s, CA_DAYS);
    params
}

fn alternative_names(public_hosts: &[String]) -> io::Result<Vec<SanType>> {
    let mut names = vec![
        SanType::DnsName("localhost".try_into().map_err(io::Error::other)?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    for host in public_hosts {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into().map_err(io::Error::other)?),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// From yesterday, since clients' clocks may be behind.
fn set_validity(params: &mut CertificateParams, now_unix_s: u64, days: u64) {
    let date = |unix_s: u64| {
        let (year, month, day) = civil_date(unix_s);
        date_time_ymd(year as i32, month as u8, day as u8)
    };
    params.not_before = date(now_unix_s.saturating_sub(DAY_S));
    params.not_after = date(now_unix_s + days * DAY_S);
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
