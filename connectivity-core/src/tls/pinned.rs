//! Verification of clients whose certificates are known one by one.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::explain::Refused;
use super::{TlsError, hex, provider, sha256};
use crate::routes::digest;

/// Accepts the certificates with these digests. The client proves that it has the key, as always.
#[derive(Debug)]
pub(super) struct PinnedClients(Vec<[u8; 32]>);

impl PinnedClients {
    pub(super) fn new<I: IntoIterator<Item: AsRef<str>>>(pins: I) -> Result<Self, TlsError> {
        let parse = |pin: I::Item| {
            digest(pin.as_ref()).ok_or_else(|| TlsError::new("a pin of a client has 64 hex digits"))
        };
        let pins: Vec<_> = pins.into_iter().map(parse).collect::<Result<_, _>>()?;
        match pins.is_empty() {
            true => Err(TlsError::new("no client is pinned")),
            false => Ok(Self(pins)),
        }
    }
}

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let digest = sha256(end_entity);
        match self.0.contains(&digest) {
            true => Ok(ClientCertVerified::assertion()),
            false => {
                let text = format!("the client's certificate is not pinned: {}", hex(&digest));
                Err(Refused::because(text))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = provider();
        let algorithms = &provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = provider();
        let algorithms = &provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
