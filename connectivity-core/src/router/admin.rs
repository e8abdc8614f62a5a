//! Changing a routes file without a router.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::router::builder::default_transports;
use crate::routes::{Admin, AdminError};
use crate::transport::Transport;

impl Admin {
    /// Opens a routes file that is there; a Go-made one gets our tables beside its own.
    ///
    /// Rows are checked by the transports that this program was built with. Whether addresses of private networks may be called is for
    /// the programs to say that call them.
    ///
    /// # Errors
    /// As [`SqliteRoutes::open`](crate::SqliteRoutes::open).
    ///
    /// # Cancel safety
    /// A file that is being brought up to date is so all or nothing, even if the future is dropped.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, AdminError> {
        let transports = transports();
        let check = Arc::new(move |route: &crate::Route| match transports.get(route.strategy().as_str()) {
            Some(transport) => transport.check(route),
            None => Ok(()),
        });
        Ok(Self::open_file(path).await?.checked_by(check))
    }
}

type Transports = HashMap<String, Arc<dyn Transport>>;

/// The transports of a router, with every address allowed.
fn transports() -> Transports {
    let transports = default_transports();
    #[cfg(feature = "http")]
    let transports = with(transports, "http", crate::transport::HttpTransport::new().allow_internal());
    #[cfg(feature = "mcp")]
    let transports = with(transports, "mcp", crate::transport::McpTransport::new().allow_internal());
    transports
}

#[cfg(feature = "http")]
fn with(mut transports: Transports, strategy: &str, transport: impl Transport) -> Transports {
    transports.insert(strategy.to_owned(), Arc::new(transport));
    transports
}
