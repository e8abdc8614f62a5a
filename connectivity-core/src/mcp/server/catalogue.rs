//! Catalogue of the tools that a server offers.

use std::sync::Arc;

use rmcp::model::{CallToolResult, JsonObject};
use tokio::sync::watch;

#[cfg(feature = "sqlite")]
use super::admin::AdminTools;
use super::services::Services;
use super::tool::{Listed, Tools};

/// A set of tools. Admin tools are never mixed with services.
#[derive(Debug)]
pub(super) enum Catalogue {
    Services(Services),
    #[cfg(feature = "sqlite")]
    Admin(AdminTools),
}

impl Catalogue {
    /// Returns all tools, sorted by name.
    pub(super) fn tools(&self) -> Tools {
        match self {
            Self::Services(services) => services.tools(),
            #[cfg(feature = "sqlite")]
            Self::Admin(admin) => admin.tools(),
        }
    }

    pub(super) fn tool(&self, name: &str) -> Option<Arc<Listed>> {
        let tools = self.tools();
        let at = tools.binary_search_by(|tool| (*tool.definition.name).cmp(name)).ok()?;
        tools.get(at).cloned()
    }

    /// Calls a tool in the current context.
    pub(super) async fn call(&self, tool: &Listed, arguments: JsonObject) -> CallToolResult {
        match self {
            Self::Services(services) => services.call(tool, arguments).await,
            #[cfg(feature = "sqlite")]
            Self::Admin(admin) => admin.call(tool, arguments).await,
        }
    }

    /// Returns whether a caller must be authenticated or on this machine.
    pub(super) fn requires_auth(&self) -> bool {
        match self {
            Self::Services(_) => false,
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => true,
        }
    }

    pub(super) fn changes(&self) -> Changes<'_> {
        self.changes_since(self.tools())
    }

    /// Watches for changes of a list that was seen before.
    pub(super) fn changes_since(&self, seen: Tools) -> Changes<'_> {
        let table_versions = match self {
            Self::Services(services) => Some(services.table_versions()),
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => None,
        };
        Changes { catalogue: self, table_versions, seen }
    }
}

/// Watcher of the tool list.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    catalogue: &'a Catalogue,
    table_versions: Option<watch::Receiver<u64>>,
    seen: Tools,
}

impl Changes<'_> {
    /// Waits until the list differs from the one seen last.
    pub(super) async fn next(&mut self) {
        let Some(table_versions) = &mut self.table_versions else {
            return std::future::pending().await;
        };
        loop {
            let now = self.catalogue.tools();
            let same = now.len() == self.seen.len()
                && now.iter().zip(&*self.seen).all(|(one, other)| Arc::ptr_eq(one, other));
            if !same {
                self.seen = now;
                return;
            }
            if table_versions.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
