//! The TLS configuration of a client, from the keys of its row.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::verify::RowVerifier;
use super::{pem, provider, sha256};
use crate::routes::{RouteError, RouteTls};

/// Size of the session cache of a row with TLS keys. Such a row connects to one server; the default
/// cache is sized for 32.
const SESSIONS: usize = 8;

/// Returns the configuration of a client that speaks these protocols. Reads the files of the row,
/// each at most 1 MiB.
///
/// With a pin alone, the issuer, name and validity period of the server's certificate are not
/// checked: the pin is the identity. The server must always prove possession of the key, unless the
/// row sets `insecure_tls`.
pub(crate) fn client_config(tls: &RouteTls, alpn: &[&[u8]]) -> Result<ClientConfig, RouteError> {
    // The server name is set per connection, not in the configuration.
    let has_keys = RouteTls { server_name: None, ..tls.clone() } != RouteTls::default();
    let mut config = if has_keys { own_config(tls)? } else { shared_config()? };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Returns the configuration of all rows without TLS keys; they share its session cache.
fn shared_config() -> Result<ClientConfig, RouteError> {
    static SHARED: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = SHARED.get() {
        return Ok(config.clone());
    }
    let verifier = Arc::new(RowVerifier::new(&RouteTls::default())?);
    let config =
        builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(SHARED.get_or_init(|| config).clone())
}

fn own_config(tls: &RouteTls) -> Result<ClientConfig, RouteError> {
    let verifier = Arc::new(RowVerifier::new(tls)?);
    let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity(tls)? {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

/// Returns a configuration without trusted roots, for a client that makes no handshakes.
pub(crate) fn no_tls() -> Result<ClientConfig, RouteError> {
    let mut config =
        builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, RouteError> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|cause| RouteError::new(format_args!("no TLS: {cause}")))
}

fn identity(tls: &RouteTls) -> Result<Option<CertifiedKey>, RouteError> {
    // A row has both files or neither.
    let (Some(cert), Some(key)) = (&tls.client_cert_file, &tls.client_key_file) else {
        return Ok(None);
    };
    let cert_pem =
        pem::read(cert).map_err(|cause| RouteError::config("client_cert_file", cause))?;
    pem::certificates(cert, &cert_pem)
        .map_err(|cause| RouteError::config("client_cert_file", cause))?;
    let key_pem = pem::read(key).map_err(|cause| RouteError::config("client_key_file", cause))?;
    let identity = pem::identity((cert, &cert_pem), (key, &key_pem));
    identity.map(Some).map_err(|cause| RouteError::config("client_key_file", cause))
}

/// Returns the name that the server's certificate must be for: `server_name` of the row, else the
/// host of its endpoint.
pub(crate) fn server_name(tls: &RouteTls, host: &str) -> Result<ServerName<'static>, RouteError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (name, error) = match tls.server_name.as_deref() {
        Some(name) => {
            (name, RouteError::config("server_name", "it is neither a host name nor an address"))
        }
        None => (host, RouteError::endpoint("its host is neither a name nor an address")),
    };
    ServerName::try_from(name.to_owned()).map_err(|_| error)
}

/// Returns a digest of the current contents of the row's files; an unreadable file has a digest
/// too. While the digest stays the same, so does the result of [`client_config`]. Compute it before
/// the configuration: a file that changes between the two then counts as changed.
pub(crate) fn files_digest(tls: &RouteTls) -> [u8; 32] {
    if !names_files(tls) {
        return [0; 32];
    }
    let digests = files(tls).map(|file| {
        file.as_ref().and_then(|file| pem::read(file).ok()).map(|bytes| sha256(&bytes))
    });
    let all: Vec<u8> = digests.iter().flat_map(|digest| digest.unwrap_or_default()).collect();
    sha256(&all)
}

/// Returns whether a row names any files.
pub(crate) fn names_files(tls: &RouteTls) -> bool {
    files(tls).iter().any(|file| file.is_some())
}

fn files(tls: &RouteTls) -> [&Option<PathBuf>; 3] {
    [&tls.ca_file, &tls.client_cert_file, &tls.client_key_file]
}

/// Returns the warning of `inspect` for a row that disables certificate checks.
pub(crate) fn warning(tls: &RouteTls) -> Option<String> {
    tls.insecure.then(|| {
        "config.insecure_tls: certificate checks are off; anybody on the way can read and answer the calls".to_owned()
    })
}
