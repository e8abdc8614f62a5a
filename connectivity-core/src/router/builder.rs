//! The builder of a router.

use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;

use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, CallService, Reply};
use crate::error::Error;
use crate::name::{Name, NameError};
use crate::router::core::Core;
use crate::router::layers::Layers;
use crate::router::recheck;
use crate::router::reload::State;
use crate::router::{MissingRow, Router};
#[cfg(feature = "sqlite")]
use crate::routes::SqliteRoutes;
use crate::routes::{RouteSource, SourceError, Strategy};
use crate::transport::Transport;

/// Builder of a [`Router`]: the name of its process, the source of its rows, its transports and its
/// layers.
#[must_use = "a builder does nothing until it is built or opened"]
pub struct RouterBuilder {
    node: Option<String>,
    missing_row: MissingRow,
    source: Option<Arc<dyn RouteSource>>,
    transports: HashMap<String, Arc<dyn Transport>>,
    layers: Layers,
}

impl RouterBuilder {
    /// Creates a builder with these transports.
    pub(crate) fn new(transports: HashMap<String, Arc<dyn Transport>>) -> Self {
        let (missing_row, layers) = (MissingRow::default(), Layers::default());
        Self { node: None, missing_row, source: None, transports, layers }
    }

    /// Sets the name of this process, so that several processes can share one file. A row whose
    /// config has `"home":"billing"` is local in the process named `billing`, and follows its
    /// strategy in all others.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Sets the policy for calls whose name has no row. By default the implementation registered
    /// here serves them.
    pub fn missing_row(mut self, missing_row: MissingRow) -> Self {
        self.missing_row = missing_row;
        self
    }

    /// Sets a custom source of rows instead of a SQLite file.
    pub fn source(mut self, source: impl RouteSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Adds a transport for rows with this strategy, or replaces the default one.
    pub fn transport(mut self, strategy: &str, transport: impl Transport) -> Self {
        self.transports.insert(strategy.to_owned(), Arc::new(transport));
        self
    }

    /// Adds a tower layer around all outgoing calls, including local ones. The first added is
    /// outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.layers.push(None, layer);
        self
    }

    /// Adds a tower layer around the calls of one service and its methods.
    pub fn layer_for<L>(mut self, service: &str, layer: L) -> Self
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.layers.push(Some(service.to_owned()), layer);
        self
    }

    /// Opens the routes file and starts the router. Fails if the file is missing: a lost volume
    /// must not mean "all local".
    ///
    /// # Errors
    /// Returns the fault of the settings or the file, and how to fix it.
    ///
    /// # Cancel safety
    /// The file is opened on a blocking thread, which completes even if the future is dropped. The
    /// router is then dropped too.
    #[cfg(feature = "sqlite")]
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Router, OpenError> {
        self.open_with(path.as_ref(), |path| SqliteRoutes::open(path)).await
    }

    /// Opens the routes file, creating it if it is missing, and starts the router.
    ///
    /// # Errors
    /// Returns the fault of the settings or the file, and how to fix it.
    ///
    /// # Cancel safety
    /// The file is opened on a blocking thread, which completes even if the future is dropped. The
    /// file may then exist, and the router is dropped.
    #[cfg(feature = "sqlite")]
    pub async fn open_or_create(self, path: impl AsRef<Path>) -> Result<Router, OpenError> {
        self.open_with(path.as_ref(), |path| SqliteRoutes::open_or_create(path)).await
    }

    #[cfg(feature = "sqlite")]
    async fn open_with(
        self,
        path: &Path,
        open: fn(&Path) -> Result<SqliteRoutes, SourceError>,
    ) -> Result<Router, OpenError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || self.source(open(&path)?).build());
        opened.await.unwrap_or_else(|_gone| {
            Err(OpenError::Source(SourceError::new("the runtime was shut down")))
        })
    }

    /// Starts the router on its [source](Self::source). Blocks while the source is read for the
    /// first time.
    ///
    /// # Errors
    /// Fails if there is no source, if the source cannot be read or watched, or if a name in the
    /// settings is invalid.
    pub fn build(self) -> Result<Router, OpenError> {
        if let Some(node) = &self.node {
            Name::parse(node)?;
        }
        let source = self.source.clone().ok_or(OpenError::NoSource)?;
        let state = self.into_state();
        let words: Vec<_> = state.transports.keys().map(String::as_str).collect();
        words.iter().try_for_each(|word| check_transport(word))?;
        source.add_strategies(&words)?;
        let core = Arc::new(Core::new(state, source));
        core.reload()?;
        core.watch()?;
        recheck::start(&core)?;
        Ok(Router(core))
    }

    fn into_state(self) -> State {
        let Self { node, missing_row, transports, layers, .. } = self;
        State { transports, node, missing_row, layers, ..State::default() }
    }
}

/// Checks that a strategy is valid and uses a transport.
pub(super) fn check_transport(strategy: &str) -> Result<(), SourceError> {
    if Strategy::parse(strategy).map_err(SourceError::new)?.is_remote() {
        return Ok(());
    }
    Err(SourceError::new(format_args!(
        "rows that say `{strategy}` use no transport: give yours another name"
    )))
}

impl Router {
    /// Opens the routes file and starts a router with default settings. Fails if the file is
    /// missing: see [`open_or_create`](Self::open_or_create).
    ///
    /// # Errors
    /// Returns the fault of the file, and how to fix it.
    ///
    /// # Cancel safety
    /// The file is opened on a blocking thread, which completes even if the future is dropped. The
    /// router is then dropped too.
    #[cfg(feature = "sqlite")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder().open(path).await
    }

    /// Opens the routes file, creating it if it is missing, and starts a router with default
    /// settings.
    ///
    /// # Errors
    /// Returns the fault of the file, and how to fix it.
    ///
    /// # Cancel safety
    /// The file is opened on a blocking thread, which completes even if the future is dropped. The
    /// file may then exist, and the router is dropped.
    #[cfg(feature = "sqlite")]
    pub async fn open_or_create(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder().open_or_create(path).await
    }
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder")
            .field("node", &self.node)
            .field("missing_row", &self.missing_row)
            .field("transports", &self.transports.keys())
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

/// The error of opening a router.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `build` was called without a source.
    #[error("a router needs routes: call `open(path)`, `open_or_create(path)` or `source(..)`")]
    NoSource,
    /// The name of the node is invalid.
    #[error("the name of the node")]
    Node(#[from] NameError),
    /// The source cannot be opened, read or watched.
    #[error(transparent)]
    Source(#[from] SourceError),
}
