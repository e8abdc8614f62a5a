//! Who a process is to those that connect to it.

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

use super::watched::Watched;
use super::{TlsError, hex, pem, provider, sha256};

/// The identity of a server: a certificate with its key, and whom it lets in.
///
/// ```no_run
/// use connectivity_core::Tls;
///
/// // In production, with certificates that another tool renews; callers show one of their own.
/// let tls = Tls::from_pem("/etc/billing/cert.pem", "/etc/billing/key.pem")?.client_ca("/etc/billing/ca.pem")?;
///
/// // In development: rows get `{"pin_sha256":".."}`.
/// let tls = Tls::self_signed(["localhost"])?;
/// println!("pin_sha256 = {}", tls.pin_sha256());
/// # Ok::<(), connectivity_core::TlsError>(())
/// ```
///
/// Files are looked at again when somebody connects, at most once a second. New ones are used from
/// then on, by new connections; while they are not good, the last good ones stay in use, and
/// [`warnings`](Self::warnings) says so. Replace a certificate and its key in whatever order:
/// nothing is shown before the two belong together.
#[derive(Clone)]
pub struct Tls {
    certificate: Arc<Watched<Identity>>,
    clients: Option<Arc<Clients>>,
}

impl Tls {
    /// Reads a certificate chain, the server's own first, and its key; both PEM, each at most 1
    /// MiB.
    ///
    /// # Errors
    /// Names the file that cannot be used, and what is wrong with it.
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

    /// Makes a certificate for these host names or addresses, with a new key at each start: for
    /// development.
    ///
    /// Nobody else vouches for it, so rows that lead here need its
    /// [`pin_sha256`](Self::pin_sha256).
    ///
    /// # Errors
    /// When a name is none.
    pub fn self_signed<I: IntoIterator<Item: Into<String>>>(names: I) -> Result<Self, TlsError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let cannot = |cause: &dyn fmt::Display| {
            TlsError::new(format!("no certificate for {names:?}: {cause}"))
        };
        let first =
            names.first().ok_or_else(|| cannot(&"name the host, for example `localhost`"))?;
        let mut params = CertificateParams::new(names.clone()).map_err(|cause| cannot(&cause))?;
        params.distinguished_name = DistinguishedName::new();
        // Not the bare name: an authority of that name may be known, and be taken for the issuer.
        params.distinguished_name.push(DnType::CommonName, format!("{first} (self-signed)"));
        let key = KeyPair::generate().map_err(|cause| cannot(&cause))?;
        let certificate = params.self_signed(&key).map_err(|cause| cannot(&cause))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let secret = key.secret_pkcs8_der().to_vec();
        let made = CertifiedKey::from_der(vec![certificate.der().clone()], key.into(), &provider());
        let certificate =
            Watched::fixed(Identity::new(made.map_err(|cause| cannot(&cause))?, &secret));
        Ok(Self { certificate: Arc::new(certificate), clients: None })
    }

    /// Lets in only clients with a certificate from one of the authorities in this file (PEM, at
    /// most 1 MiB).
    ///
    /// An implementation sees the name in it as [`peer`](crate::context::Context::peer). A changed
    /// file holds for connections to come, which never resume an older one; those that exist stay.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn client_ca(self, file: impl AsRef<Path>) -> Result<Self, TlsError> {
        let file = file.as_ref().to_owned();
        let roots = Watched::new(vec![file.clone()], move |contents| {
            client_verifier(&file, part(contents, 0))
        })?;
        Ok(Self { clients: Some(Arc::new(Clients(roots))), ..self })
    }

    /// Tells the SHA-256 of the certificate in use, as `pin_sha256` of a row takes it. A renewed
    /// certificate has another one.
    #[must_use]
    pub fn pin_sha256(&self) -> String {
        self.certificate
            .current()
            .shown
            .cert
            .first()
            .map(|certificate| hex(&sha256(certificate)))
            .unwrap_or_default()
    }

    /// Tells which files have changed into something that cannot be used, so that older ones are
    /// still in use.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let of_clients = self.clients.as_ref().and_then(|clients| clients.0.trouble());
        let troubles = self.certificate.trouble().into_iter().chain(of_clients);
        troubles.map(|cause| format!("the last good certificate stays in use: {cause}")).collect()
    }

    /// Says whether clients need a certificate.
    pub(crate) fn is_closed_to_strangers(&self) -> bool {
        self.clients.is_some()
    }

    /// What nobody knows who has not the key, and who has it knows again after a restart.
    pub(crate) fn secret(&self) -> [u8; 32] {
        self.certificate.current().secret
    }

    /// What a listener that speaks these protocols needs: TLS 1.3, no early data.
    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| TlsError::new(format!("no TLS: {cause}")))?;
        let builder = match &self.clients {
            Some(clients) => builder
                .with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::clone(&self.certificate))));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.max_early_data_size = 0;
        if self.clients.is_some() {
            // A resumed session would keep an identity that has been revoked since.
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

/// Shows which certificate it is and where it comes from, never the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("pin_sha256", &self.pin_sha256())
            .field("certificate", &self.certificate)
            .field("clients", &self.clients)
            .finish()
    }
}

/// The contents of one of the watched files; it is there, since all are read or none.
fn part(contents: &[Vec<u8>], at: usize) -> &[u8] {
    contents.get(at).map(Vec::as_slice).unwrap_or_default()
}

/// A certificate with its key.
struct Identity {
    shown: Arc<CertifiedKey>,
    secret: [u8; 32],
}

impl Identity {
    fn new(shown: CertifiedKey, key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut secret = [0; 32];
        secret.copy_from_slice(
            hmac::sign(&key, b"connectivity: known again after a restart").as_ref(),
        );
        Self { shown: Arc::new(shown), secret }
    }
}

/// Shows the certificate of the moment to every client, whatever name it asks for.
#[derive(Debug)]
struct Shown(Arc<Watched<Identity>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().shown))
    }
}

fn client_verifier(file: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(pem::roots(file, pem)?);
    let built = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    built.map_err(|cause| TlsError::of_file(file, cause))
}

/// Verifies clients by the authorities of the moment.
#[derive(Debug)]
struct Clients(Watched<Arc<dyn ClientCertVerifier>>);

impl ClientCertVerifier for Clients {
    /// Gives no hints: they would be borrowed from authorities that can be replaced, and clients
    /// have one certificate to show.
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
