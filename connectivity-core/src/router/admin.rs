//! Changing a routes file without a router.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

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

fn transports() -> HashMap<&'static str, Box<dyn Transport>> {
    let built_in: Vec<(&str, Box<dyn Transport>)> = vec![
        #[cfg(feature = "http")]
        ("http", Box::new(crate::transport::HttpTransport::new().allow_internal())),
        #[cfg(feature = "mcp")]
        ("mcp", Box::new(crate::transport::McpTransport::new().allow_internal())),
        #[cfg(feature = "quic")]
        ("quic", Box::new(crate::transport::QuicTransport::new())),
        #[cfg(feature = "unix")]
        ("unix", Box::new(crate::transport::UnixTransport::new())),
    ];
    built_in.into_iter().collect()
}
