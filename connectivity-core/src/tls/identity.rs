//! The TLS identity of a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use ring::hmac;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName as Hint, Error, ServerConfig, SignatureScheme,
};

use super::pinned::PinnedClients;
use super::watched::Watched;
use super::{TlsError, hex, pem, provider, sha256};

/// The TLS identity of a server: its certificate and key, and the authorities of client
/// certificates it accepts.
///
/// ```no_run
/// use connectivity_core::Tls;
///
/// // In production, with certificates that another tool renews; clients need one too.
/// let tls = Tls::from_pem("/etc/billing/cert.pem", "/etc/billing/key.pem")?.client_ca("/etc/billing/ca.pem")?;
///
/// // In development: rows get `{"pin_sha256":".."}`.
/// let tls = Tls::self_signed(["localhost"])?;
/// println!("pin_sha256 = {}", tls.pin_sha256());
/// # Ok::<(), connectivity_core::TlsError>(())
/// ```
///
/// Files are checked for changes when a client connects, at most once a second. Changed files apply
/// to new connections. While the files are invalid, the last good certificate stays in use, and
/// [`warnings`](Self::warnings) reports it. A certificate and its key can be replaced in any order:
/// the new certificate is used only once its key matches.
#[derive(Clone)]
pub struct Tls {
    certificate: Arc<Watched<Identity>>,
    clients: Option<Arc<Clients>>,
}

impl Tls {
    /// Reads a certificate chain, with the server's own certificate first, and its key. Both files
    /// are PEM, each at most 1 MiB.
    ///
    /// # Errors
    /// Returns an error that names the unusable file and what is wrong with it.
    pub fn from_pem(
        cert_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let files = [cert_file.into(), key_file.into()];
        let [cert, key] = files.clone();
        let certificate = Watched::new(files.into(), move |contents| {
            let (cert, key) = ((&*cert, part(contents, 0)), (&*key, part(contents, 1)));
            Ok(Identity::new(pem::identity(cert, key)?, key.1))
        })?;
        Ok(Self { certificate: Arc::new(certificate), clients: None })
    }

    /// Creates a self-signed certificate for these host names or addresses, with a new key at each
    /// start. It is meant for development.
    ///
    /// No authority vouches for it, so rows that connect here need its
    /// [`pin_sha256`](Self::pin_sha256).
    ///
    /// # Errors
    /// Returns an error if `names` is empty or contains an invalid name.
    pub fn self_signed<I: IntoIterator<Item: Into<String>>>(names: I) -> Result<Self, TlsError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let cannot = |cause: &dyn fmt::Display| {
            TlsError::new(format!("no certificate for {names:?}: {cause}"))
        };
        let first =
            names.first().ok_or_else(|| cannot(&"name the host, for example `localhost`"))?;
        let mut params = CertificateParams::new(names.clone()).map_err(|cause| cannot(&cause))?;
        params.distinguished_name = DistinguishedName::new();
        // Not the bare name: a known authority may have it, and would be taken for the issuer.
        params.distinguished_name.push(DnType::CommonName, format!("{first} (self-signed)"));
        let key = KeyPair::generate().map_err(|cause| cannot(&cause))?;
        let certificate = params.self_signed(&key).map_err(|cause| cannot(&cause))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let secret = key.secret_pkcs8_der().to_vec();
        let certified =
            CertifiedKey::from_der(vec![certificate.der().clone()], key.into(), &provider());
        let certificate =
            Watched::fixed(Identity::new(certified.map_err(|cause| cannot(&cause))?, &secret));
        Ok(Self { certificate: Arc::new(certificate), clients: None })
    }

    /// Accepts only clients with a certificate from one of the authorities in this file (PEM, at
    /// most 1 MiB).
    ///
    /// An implementation sees the name in the certificate as
    /// [`peer`](crate::context::Context::peer). A changed file applies to new connections, which
    /// never resume an older session; existing connections stay open.
    ///
    /// # Errors
    /// Returns an error that names the file and what is wrong with it.
    pub fn client_ca(self, file: impl AsRef<Path>) -> Result<Self, TlsError> {
        let file = file.as_ref().to_owned();
        let roots = Watched::new(vec![file.clone()], move |contents| {
            client_verifier(&file, part(contents, 0))
        })?;
        Ok(Self { clients: Some(Arc::new(Clients(roots))), ..self })
    }

    /// Accepts only clients with one of these certificates, whatever their issuer, names and dates:
    /// the SHA-256 of each, in the format of `pin_sha256` in a row. It takes the place of
    /// [`client_ca`](Self::client_ca).
    ///
    /// # Errors
    /// Returns an error unless each pin has 64 hex digits, with or without colons.
    pub fn client_pins<I: IntoIterator<Item: AsRef<str>>>(self, pins: I) -> Result<Self, TlsError> {
        let pins = PinnedClients::new(pins)?;
        let verifier: Arc<dyn ClientCertVerifier> = Arc::new(pins);
        Ok(Self { clients: Some(Arc::new(Clients(Watched::fixed(verifier)))), ..self })
    }

    /// Returns the SHA-256 of the certificate in use, in the format of `pin_sha256` in a row. A
    /// renewed certificate has a different one.
    #[must_use]
    pub fn pin_sha256(&self) -> String {
        self.certificate
            .current()
            .certified
            .cert
            .first()
            .map(|certificate| hex(&sha256(certificate)))
            .unwrap_or_default()
    }

    /// Returns a warning for each changed file that is unusable, so that its last good version is
    /// still in use.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let client_ca_fault = self.clients.as_ref().and_then(|clients| clients.0.fault());
        let faults = self.certificate.fault().into_iter().chain(client_ca_fault);
        faults.map(|cause| format!("the last good certificate stays in use: {cause}")).collect()
    }

    /// Returns whether clients need a certificate.
    pub(crate) fn is_closed_to_strangers(&self) -> bool {
        self.clients.is_some()
    }

    /// Returns a secret derived from the private key. It stays the same over restarts.
    pub(crate) fn secret(&self) -> [u8; 32] {
        self.certificate.current().secret
    }

    /// Returns the configuration of a listener that speaks these protocols: TLS 1.3, no early data.
    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| TlsError::new(format!("no TLS: {cause}")))?;
        let builder = match &self.clients {
            Some(clients) => builder
                .with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>),
            None => builder.with_no_client_auth(),
        };
        let resolver = CurrentCertificate(Arc::clone(&self.certificate));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.max_early_data_size = 0;
        if self.clients.is_some() {
            // A resumed session would keep a client identity that has since been revoked.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    #[cfg(test)]
    pub(super) fn checked_always(self) -> Self {
        let unshared = "a clone would not be checked";
        let certificate = Arc::into_inner(self.certificate).expect(unshared).checked_always();
        let clients = self
            .clients
            .map(|clients| Clients(Arc::into_inner(clients).expect(unshared).0.checked_always()));
        Self { certificate: Arc::new(certificate), clients: clients.map(Arc::new) }
    }
}

/// Formats the pin and the files of the certificate, never the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("pin_sha256", &self.pin_sha256())
            .field("certificate", &self.certificate)
            .field("clients", &self.clients)
            .finish()
    }
}

/// Returns the contents of one of the watched files. It exists, because either all files are read
/// or none.
fn part(contents: &[Vec<u8>], at: usize) -> &[u8] {
    contents.get(at).map(Vec::as_slice).unwrap_or_default()
}

/// A certificate with its key, and a secret derived from the key.
struct Identity {
    certified: Arc<CertifiedKey>,
    secret: [u8; 32],
}

impl Identity {
    fn new(certified: CertifiedKey, key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut secret = [0; 32];
        secret.copy_from_slice(
            hmac::sign(&key, b"connectivity: known again after a restart").as_ref(),
        );
        Self { certified: Arc::new(certified), secret }
    }
}

/// Resolves every client hello to the current certificate, whatever name the client asks for.
#[derive(Debug)]
struct CurrentCertificate(Arc<Watched<Identity>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().certified))
    }
}

fn client_verifier(file: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(pem::roots(file, pem)?);
    let built = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    built.map_err(|cause| TlsError::of_file(file, cause))
}

/// Verifies client certificates against the current authorities.
#[derive(Debug)]
struct Clients(Watched<Arc<dyn ClientCertVerifier>>);

impl ClientCertVerifier for Clients {
    /// Returns no hints: they would be borrowed from authorities that can be replaced, and clients
    /// have only one certificate to present.
    fn root_hint_subjects(&self) -> &[Hint] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.current().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
