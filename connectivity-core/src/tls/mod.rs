//! TLS: the identity of servers, and the verification of servers by the keys of a row.
//!
//! Every configuration gets the same crypto provider, *ring*. No process-wide default is installed,
//! so the program may use another provider elsewhere. [`Tls`] is the identity of a server; the
//! checks of a client come from the keys of its row.

mod client;
mod explain;
mod identity;
mod peer;
mod pem;
mod pinned;
#[cfg(test)]
mod tests;
mod verify;
mod watched;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use identity::Tls;

pub(crate) use client::{client_config, files_digest, names_files, no_tls, server_name, warning};
pub(crate) use explain::{cause_of, explain, explain_alert, explain_reason, refuses_us};
pub(crate) use peer::peer_of;

/// The error of a certificate, a key, or a file of them. It names the file and never quotes its
/// contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TlsError {
    message: String,
}

impl TlsError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    fn of_file(file: &std::path::Path, reason: impl std::fmt::Display) -> Self {
        Self::new(format!("{}: {reason}", file.display()))
    }
}

/// Returns the crypto provider of all configurations.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

/// Formats bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
