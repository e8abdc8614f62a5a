//! The name in a client's certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{hex, sha256};
use crate::context::Peer;

/// Maximum length of a name in bytes; longer names would bloat the logs.
const MAX_NAME: usize = 256;

/// Returns the name of a verified client: the first URI in its certificate
/// (`uri:spiffe://shop/orders`), else the first host name (`dns:orders.internal`), else the digest
/// of the certificate (`sha256:..`). The common name of the subject is not used (RFC 9525): it can
/// be any text, even one that looks like a name of another kind.
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
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control)
}
