//! The default transports of a router. The only module that depends on both.

use std::collections::HashMap;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;

use crate::router::{Router, RouterBuilder};
#[cfg(feature = "sqlite")]
use crate::routes::{Admin, AdminError};
use crate::transport::Transport;

type Transports = HashMap<String, Arc<dyn Transport>>;

/// Returns the default transports of a router.
fn transports() -> Transports {
    let built_in: &[(&str, Arc<dyn Transport>)] = &[
        #[cfg(feature = "dbsync")]
        ("dbsync", Arc::new(crate::dbsync::DbsyncTransport::new())),
        #[cfg(feature = "embed")]
        ("embed", Arc::new(crate::embed::EmbedTransport::of_environment())),
        #[cfg(feature = "http")]
        ("http", Arc::new(crate::HttpTransport::of_environment())),
        #[cfg(feature = "mcp")]
        ("mcp", Arc::new(crate::McpTransport::of_environment())),
        #[cfg(feature = "quic")]
        ("quic", Arc::new(crate::QuicTransport::new())),
        #[cfg(feature = "unix")]
        ("unix", Arc::new(crate::UnixTransport::new())),
    ];
    built_in
        .iter()
        .map(|(strategy, transport)| ((*strategy).to_owned(), Arc::clone(transport)))
        .collect()
}

impl Router {
    /// Returns a builder of a router.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::default()
    }
}

impl Default for RouterBuilder {
    fn default() -> Self {
        Self::new(transports())
    }
}

#[cfg(feature = "sqlite")]
impl Admin {
    /// Opens an existing routes file. A file of the Go original gets our tables beside its own.
    ///
    /// Rows are checked by the transports that this program was built with. Addresses of private
    /// networks pass the check: only the programs that call them can decide whether they may.
    ///
    /// # Errors
    /// Like [`SqliteRoutes::open`](crate::SqliteRoutes::open).
    ///
    /// # Cancel safety
    /// The file is opened on a blocking thread, which completes even if the future is dropped. An
    /// upgrade of the file is one transaction, so it happens entirely or not at all.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, AdminError> {
        let transports = unguarded_transports();
        let check =
            Arc::new(move |route: &crate::Route| match transports.get(route.strategy().as_str()) {
                Some(transport) => transport.check(route),
                None => Ok(()),
            });
        Ok(Self::open_file(path).await?.checked_by(check))
    }
}

/// Returns the default transports with all addresses allowed.
#[cfg(feature = "sqlite")]
fn unguarded_transports() -> Transports {
    let transports = transports();
    #[cfg(feature = "http")]
    let transports = with(transports, "http", crate::HttpTransport::new().allow_internal());
    #[cfg(feature = "mcp")]
    let transports = with(transports, "mcp", crate::McpTransport::new().allow_internal());
    #[cfg(feature = "embed")]
    let transports =
        with(transports, "embed", crate::embed::EmbedTransport::new().allow_internal());
    transports
}

#[cfg(all(feature = "sqlite", feature = "http"))]
fn with(mut transports: Transports, strategy: &str, transport: impl Transport) -> Transports {
    transports.insert(strategy.to_owned(), Arc::new(transport));
    transports
}
