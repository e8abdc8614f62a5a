//! The TLS keys of a row.

use std::path::PathBuf;

use super::warning::RouteWarning;

/// Says how the other side is verified and who we are to it; nothing given means the system's roots
/// and no identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RouteTls {
    /// Verifies nothing: `insecure_tls`.
    pub insecure: bool,
    /// Trusts these roots (PEM) instead of the system's: `ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Trusts only the certificate with this SHA-256 digest of its DER: `pin_sha256`. Without
    /// `ca_file` the pin alone is the identity: the certificate need not come from a known issuer,
    /// be for the name or be valid now.
    pub pin_sha256: Option<[u8; 32]>,
    /// Expects this name in the certificate instead of the endpoint's host: `server_name`.
    pub server_name: Option<String>,
    /// Our certificate chain (PEM): `client_cert_file`; never without the key.
    pub client_cert_file: Option<PathBuf>,
    /// Its key (PEM): `client_key_file`; never without the certificate.
    pub client_key_file: Option<PathBuf>,
}

impl RouteTls {
    /// The first key that the row has; none where all is as it is without.
    #[cfg(feature = "http")]
    pub(crate) fn first_key(&self) -> Option<&'static str> {
        let given = [
            ("insecure_tls", self.insecure),
            ("ca_file", self.ca_file.is_some()),
            ("pin_sha256", self.pin_sha256.is_some()),
            ("server_name", self.server_name.is_some()),
            ("client_cert_file", self.client_cert_file.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }

    /// Finds half of a client identity.
    pub(super) const fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(_), None) => {
                Err(("client_cert_file", "`client_key_file` is missing; give both or neither"))
            }
            (None, Some(_)) => {
                Err(("client_key_file", "`client_cert_file` is missing; give both or neither"))
            }
            _ => Ok(()),
        }
    }

    /// Finds keys that `insecure_tls` makes useless.
    pub(super) fn warning(&self) -> Option<RouteWarning> {
        let verifies = self.ca_file.is_some() || self.pin_sha256.is_some();
        (self.insecure && verifies).then(|| {
            RouteWarning::new(
                "insecure_tls",
                "nothing is verified, so `ca_file` and `pin_sha256` have no effect; remove it",
            )
        })
    }
}

/// Reads 64 hex digits, with or without the colons that openssl prints.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|&c| c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hex_digits() {
        let mut wanted = [0xab; 32];
        wanted[0] = 0x01;
        assert_eq!(digest(&format!("01{}", "aB".repeat(31))), Some(wanted));
        assert_eq!(digest(&format!("01{}", ":AB".repeat(31))), Some(wanted));
        for bad in [
            "",
            "ab",
            &"ab".repeat(33),
            &"a".repeat(65),
            &"a".repeat(63),
            &"zz".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(digest(bad), None, "{bad}");
        }
    }
}
