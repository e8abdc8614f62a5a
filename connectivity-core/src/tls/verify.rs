//! Verification of a server's certificate by the keys of a row.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::explain::{Refused, explain};
use super::{hex, pem, provider, sha256};
use crate::routes::{RouteError, RouteTls};

/// The requirements on a server's certificate.
#[derive(Debug)]
pub(super) enum RowVerifier {
    /// It must chain to one of the roots, and be valid now and for the name. If there is a pin, it
    /// must match too.
    Chain { roots: Arc<dyn ServerCertVerifier>, pin: Option<[u8; 32]> },
    /// It must be exactly this certificate, whatever its issuer, name and dates: the pin is the
    /// identity.
    Pin([u8; 32]),
    /// No requirements.
    Insecure,
}

impl RowVerifier {
    pub(super) fn new(tls: &RouteTls) -> Result<Self, RouteError> {
        match (tls.insecure, &tls.ca_file, tls.pin_sha256) {
            (true, ..) => Ok(Self::Insecure),
            (false, None, Some(pin)) => Ok(Self::Pin(pin)),
            (false, None, None) => Ok(Self::Chain { roots: platform()?, pin: None }),
            (false, Some(file), pin) => {
                let invalid = |cause: &dyn std::fmt::Display| RouteError::config("ca_file", cause);
                let roots = pem::read(file)
                    .and_then(|bytes| pem::roots(file, &bytes))
                    .map_err(|cause| invalid(&cause))?;
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                        .build();
                Ok(Self::Chain { roots: built.map_err(|cause| invalid(&cause))?, pin })
            }
        }
    }

    /// Verifies the server's proof of possession of its certificate's key, unless checks are off.
    fn verify_possession(
        &self,
        verify: impl FnOnce() -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Insecure => Ok(HandshakeSignatureValid::assertion()),
            Self::Chain { .. } | Self::Pin(_) => verify().map_err(|cause| {
                Refused::because(format!(
                    "the other side does not prove that it has the key of its certificate: {cause}"
                ))
            }),
        }
    }
}

/// Returns the platform's verifier. Loading its roots takes milliseconds, so the process does it
/// once; a failure is not cached.
fn platform() -> Result<Arc<dyn ServerCertVerifier>, RouteError> {
    static PLATFORM: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(verifier) = PLATFORM.get() {
        return Ok(Arc::clone(verifier));
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(|cause| {
        RouteError::new(format_args!(
            "this machine has no certificates to verify with; set `ca_file`: {cause}"
        ))
    })?;
    Ok(Arc::clone(PLATFORM.get_or_init(|| Arc::new(verifier))))
}

impl ServerCertVerifier for RowVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = match self {
            Self::Chain { pin, .. } => *pin,
            Self::Pin(pin) => Some(*pin),
            Self::Insecure => None,
        };
        let digest = sha256(end_entity);
        if pin.is_some_and(|pin| pin != digest) {
            let text = format!("wrong pin: the certificate's `pin_sha256` is {}", hex(&digest));
            return Err(Refused::because(text));
        }
        match self {
            Self::Chain { roots, .. } => roots
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|cause| Refused::because(explain(&cause))),
            Self::Pin(_) | Self::Insecure => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_possession(|| {
            verify_tls12_signature(
                message,
                cert,
                signature,
                &provider().signature_verification_algorithms,
            )
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_possession(|| {
            verify_tls13_signature(
                message,
                cert,
                signature,
                &provider().signature_verification_algorithms,
            )
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
