//! Reads PEM files of certificates and keys, with a size limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use super::{TlsError, provider};

/// Maximum size of a file in bytes. The bundle of all public roots takes a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// Reads a regular file of at most 1 MiB. Anything else, such as a pipe, is not read at all: it
/// might never end.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let cannot =
        |cause: io::Error| TlsError::of_file(file, format_args!("it cannot be read: {cause}"));
    if !std::fs::metadata(file).map_err(cannot)?.is_file() {
        return Err(TlsError::of_file(file, "it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::of_file(file, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Parses all certificates of a file, in order; there is at least one.
pub(super) fn certificates(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    // The cause is left out of the error: it quotes lines, and the file may be the wrong one.
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        read.map_err(|_| TlsError::of_file(file, "it is damaged: not every section is good PEM"))?;
    if certificates.is_empty() {
        return Err(TlsError::of_file(
            file,
            format_args!("it holds no certificate; {}", describe_contents(pem, "CERTIFICATE")),
        ));
    }
    Ok(certificates)
}

/// Parses the roots of a bundle.
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

/// Parses a certificate chain and its key, and checks that they match.
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
        let reason = if contains(pem, b"BEGIN ENCRYPTED PRIVATE KEY")
            || contains(pem, b"Proc-Type: 4,ENCRYPTED")
        {
            "its key is encrypted; decrypt it with `openssl pkey`".to_owned()
        } else {
            format!("it holds no private key; {}", describe_contents(pem, "PRIVATE KEY"))
        };
        TlsError::of_file(file, reason)
    })
}

/// Describes the apparent contents of a file that lacks a section labeled `expected`.
fn describe_contents(pem: &[u8], expected: &str) -> String {
    let contents = if contains(pem, b"-----BEGIN CERTIFICATE-----") {
        "it holds a certificate"
    } else if contains(pem, b"PRIVATE KEY-----") {
        "it holds a key"
    } else if pem.is_empty() {
        "it is empty"
    } else {
        "it is no PEM"
    };
    format!("{contents}, and `-----BEGIN {expected}-----` is wanted")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
