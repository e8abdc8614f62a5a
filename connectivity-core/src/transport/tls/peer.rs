//! The name in a client's certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{hex, sha256};
use crate::context::Peer;

/// A longer name goes into no log.
const LONGEST: usize = 256;

/// Names the client that showed these certificates and was verified: by the first host name in its certificate, else the first
/// URI (a SPIFFE id), else the common name of its subject, else the digest of the certificate.
pub(crate) fn peer_of(certificates: &[CertificateDer<'_>]) -> Option<Peer> {
    let certificate = certificates.first()?;
    let name = named(certificate).unwrap_or_else(|| format!("sha256:{}", hex(&sha256(certificate))));
    Some(Peer::new("tls", name))
}

fn named(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let alternative = parsed.valid_dns_names().chain(parsed.valid_uri_names()).find(|name| is_plain(name));
    alternative.map(str::to_owned).or_else(|| common_name(parsed.subject()))
}

fn is_plain(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && !name.contains(char::is_control)
}

/// Finds the common name in a subject: a sequence of sets of pairs, each an identifier and a text.
fn common_name(mut subject: &[u8]) -> Option<String> {
    const SET: u8 = 0x31;
    const SEQUENCE: u8 = 0x30;
    const IDENTIFIER: u8 = 0x06;
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const UTF8_TEXT: u8 = 0x0c;
    const PRINTABLE_TEXT: u8 = 0x13;
    while !subject.is_empty() {
        let mut set = expect(SET, &mut subject)?;
        while !set.is_empty() {
            let mut pair = expect(SEQUENCE, &mut set)?;
            let is_common_name = expect(IDENTIFIER, &mut pair)? == COMMON_NAME;
            let (kind, text) = value(&mut pair)?;
            if is_common_name && matches!(kind, UTF8_TEXT | PRINTABLE_TEXT) {
                return std::str::from_utf8(text).ok().filter(|name| is_plain(name)).map(str::to_owned);
            }
        }
    }
    None
}

/// Takes one value of a kind.
fn expect<'a>(wanted: u8, der: &mut &'a [u8]) -> Option<&'a [u8]> {
    value(der).filter(|(kind, _)| *kind == wanted).map(|(_, content)| content)
}

/// Takes one value: its kind, its length (short, or long in one or two bytes), its content.
fn value<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (length, kind, rest) = match **der {
        [kind, 0x82, high, low, ref rest @ ..] => (usize::from(high) << 8 | usize::from(low), kind, rest),
        [kind, 0x81, length, ref rest @ ..] => (usize::from(length), kind, rest),
        [kind, length @ 0..=0x7f, ref rest @ ..] => (usize::from(length), kind, rest),
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *der = after;
    Some((kind, content))
}
