//! Generates certificates for tests.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub type Ca = CertifiedIssuer<'static, KeyPair>;

pub fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, both PEM.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Identity {
    pub fn new(
        issuer: Option<&Ca>,
        name: &str,
        customize: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        customize(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = match issuer {
            Some(issuer) => params.signed_by(&key, issuer),
            None => params.self_signed(&key),
        };
        Self { cert: cert.unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A folder of files that rows refer to.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns the config keys of a row that presents a client certificate.
    pub fn client_identity(&self, client: &Identity) -> String {
        let (cert, key) =
            (self.write("client.pem", &client.cert), self.write("client.key", &client.key));
        format!(r#""client_cert_file":{cert:?},"client_key_file":{key:?}"#)
    }
}

pub fn pin_of(identity: &Identity) -> String {
    // An operator would run `openssl x509 -noout -fingerprint -sha256`.
    let files = Files::new();
    let (cert, key) = (files.write("c", &identity.cert), files.write("k", &identity.key));
    connectivity_core::Tls::from_pem(cert, key).unwrap().pin_sha256()
}
