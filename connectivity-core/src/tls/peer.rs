//! The name in a client's certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{hex, sha256};
use crate::context::Peer;

/// A longer name goes into no log.
const LONGEST: usize = 256;

/// Names the client that showed these certificates and was verified: by the first URI in its
/// certificate (`uri:spiffe://shop/orders`), else the first host name (`dns:orders.internal`), else
/// the digest of the certificate (`sha256:..`). The common name of its subject is none (RFC 9525):
/// it can be any text, also one that looks like a name of the other kinds.
pub(crate) fn peer_of(certificates: &[CertificateDer<'_>]) -> Option<Peer> {
    let certificate = certificates.first()?;
    let name =
        named(certificate).unwrap_or_else(|| format!("sha256:{}", hex(&sha256(certificate))));
    Some(Peer::new("tls", name))
}

fn named(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let uri =
        parsed.valid_uri_names().find(|name| is_plain(name)).map(|name| format!("uri:{name}"));
    let dns =
        || parsed.valid_dns_names().find(|name| is_plain(name)).map(|name| format!("dns:{name}"));
    uri.or_else(dns)
}

fn is_plain(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && !name.contains(char::is_control)
}
