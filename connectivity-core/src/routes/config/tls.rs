//! The TLS keys of a row.

use std::path::PathBuf;

use super::warning::RouteWarning;

/// TLS settings of a route: how the server is verified and which client identity is presented. By
/// default the system's roots are used, without a client identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RouteTls {
    /// Disables verification: `insecure_tls`.
    pub insecure: bool,
    /// Trusts these roots (PEM) instead of the system's: `ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Trusts only the certificate with this SHA-256 digest of its DER encoding: `pin_sha256`.
    /// Without `ca_file` the pin replaces the other checks: the issuer, the name and the validity
    /// period are not verified.
    pub pin_sha256: Option<[u8; 32]>,
    /// Expects this name in the certificate instead of the endpoint's host: `server_name`.
    pub server_name: Option<String>,
    /// Certificate chain of the client (PEM): `client_cert_file`; requires the key.
    pub client_cert_file: Option<PathBuf>,
    /// Private key of the client (PEM): `client_key_file`; requires the certificate.
    pub client_key_file: Option<PathBuf>,
}

impl RouteTls {
    /// Returns the first TLS key that the row sets, if any.
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

    /// Checks that a client identity is complete.
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

    /// Returns a warning about keys that `insecure_tls` makes ineffective.
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

/// Parses 64 hex digits, with or without the colons that openssl prints.
pub(crate) fn digest(text: &str) -> Option<[u8; 32]> {
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
        let mut expected = [0xab; 32];
        expected[0] = 0x01;
        assert_eq!(digest(&format!("01{}", "aB".repeat(31))), Some(expected));
        assert_eq!(digest(&format!("01{}", ":AB".repeat(31))), Some(expected));
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
