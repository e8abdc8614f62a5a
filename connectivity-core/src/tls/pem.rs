//! Files of certificates and keys, read whole and bounded.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use super::{TlsError, provider};

/// A longer file holds no certificates: the bundle of all public roots has a quarter of it.
const LONGEST: u64 = 1 << 20;

/// Reads a file of at most 1 MiB; what would never end, such as a pipe, is not read at all.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let cannot =
        |cause: io::Error| TlsError::of_file(file, format_args!("it cannot be read: {cause}"));
    if !std::fs::metadata(file).map_err(cannot)?.is_file() {
        return Err(TlsError::of_file(file, "it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > LONGEST {
        return Err(TlsError::of_file(file, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// All certificates of a file, in their order; at least one.
pub(super) fn certificates(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    // The cause stays out of the text: it quotes lines, and this may be the wrong file.
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        read.map_err(|_| TlsError::of_file(file, "it is damaged: not every section is good PEM"))?;
    if certificates.is_empty() {
        return Err(TlsError::of_file(
            file,
            format_args!("it holds no certificate; {}", instead(pem, "CERTIFICATE")),
        ));
    }
    Ok(certificates)
}

/// The roots that a bundle holds.
pub(super) fn roots(file: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(file, pem)?.into_iter().enumerate() {
        let number = at + 1;
        let unusable = |cause| {
            TlsError::of_file(file, format_args!("certificate {number} cannot be read ({cause})"))
        };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// A certificate chain with its key.
pub(super) fn identity(
    cert: (&Path, &[u8]),
    key: (&Path, &[u8]),
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert.0, cert.1)?;
    let (file, pem) = key;
    let key = private_key(file, pem)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|cause| match cause {
        Error::InconsistentKeys(_) => TlsError::of_file(
            file,
            format_args!(
                "the key does not belong to the first certificate in {}",
                cert.0.display()
            ),
        ),
        Error::InvalidCertificate(cause) => TlsError::of_file(
            cert.0,
            format_args!("its first certificate cannot be read ({cause})"),
        ),
        _ => TlsError::of_file(
            file,
            "its key is damaged or of a kind that is not supported; use ECDSA P-256",
        ),
    })
}

fn private_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let what = if contains(pem, b"BEGIN ENCRYPTED PRIVATE KEY")
            || contains(pem, b"Proc-Type: 4,ENCRYPTED")
        {
            "its key is encrypted; decrypt it with `openssl pkey`".to_owned()
        } else {
            format!("it holds no private key; {}", instead(pem, "PRIVATE KEY"))
        };
        TlsError::of_file(file, what)
    })
}

/// Says what a file without a section of the wanted kind seems to hold.
fn instead(pem: &[u8], wanted: &str) -> String {
    let holds = if contains(pem, b"-----BEGIN CERTIFICATE-----") {
        "it holds a certificate"
    } else if contains(pem, b"PRIVATE KEY-----") {
        "it holds a key"
    } else if pem.is_empty() {
        "it is empty"
    } else {
        "it is no PEM"
    };
    format!("{holds}, and `-----BEGIN {wanted}-----` is wanted")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
