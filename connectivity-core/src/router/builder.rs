//! Settings of a router, and opening one.

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
use crate::router::reload::State;
use crate::router::{MissingRow, Router};
#[cfg(feature = "sqlite")]
use crate::routes::SqliteRoutes;
use crate::routes::{RouteSource, SourceError, Strategy};
use crate::transport::Transport;

/// Settings of a [`Router`]: which process it is, where its rows come from, which transports and
/// layers it has.
#[must_use = "a builder does nothing until it is built or opened"]
pub struct RouterBuilder {
    node: Option<String>,
    missing_row: MissingRow,
    source: Option<Arc<dyn RouteSource>>,
    transports: HashMap<String, Arc<dyn Transport>>,
    layers: Layers,
}

impl RouterBuilder {
    /// Begins with these transports.
    pub(crate) fn new(transports: HashMap<String, Arc<dyn Transport>>) -> Self {
        let (missing_row, layers) = (MissingRow::default(), Layers::default());
        Self { node: None, missing_row, source: None, transports, layers }
    }

    /// Names this process, so that several can share one file: a row whose config has
    /// `"home":"billing"` is local in the process named `billing`, and as its strategy says
    /// everywhere else.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Says what happens to a call whose name has no row; unless said, the implementation
    /// registered here takes it.
    pub fn missing_row(mut self, missing_row: MissingRow) -> Self {
        self.missing_row = missing_row;
        self
    }

    /// Takes the rows from a source of your own instead of a SQLite file.
    pub fn source(mut self, source: impl RouteSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Adds a transport, or replaces the one that comes with the crate: rows whose strategy is
    /// `strategy` go there.
    pub fn transport(mut self, strategy: &str, transport: impl Transport) -> Self {
        self.transports.insert(strategy.to_owned(), Arc::new(transport));
        self
    }

    /// Adds a tower layer around all calls going out, local ones too. The first added is outermost.
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

    /// Opens the routes file and starts the router. A missing file is refused: a lost volume must
    /// not mean "all local".
    ///
    /// # Errors
    /// What is wrong with the settings or the file, and what to do.
    #[cfg(feature = "sqlite")]
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Router, OpenError> {
        self.open_with(path.as_ref(), |path| SqliteRoutes::open(path)).await
    }

    /// Opens the routes file, making it if it is not there, and starts the router.
    ///
    /// # Errors
    /// What is wrong with the settings or the file, and what to do.
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

    /// Starts the router on the [source](Self::source) it was given. Blocks while the source is
    /// read for the first time.
    ///
    /// # Errors
    /// When there is no source, the source cannot be read or watched, or a name in the settings is
    /// none.
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
        Ok(Router(core))
    }

    fn into_state(self) -> State {
        let Self { node, missing_row, transports, layers, .. } = self;
        State { transports, node, missing_row, layers, ..State::default() }
    }
}

/// Checks that rows can name a transport.
pub(super) fn check_transport(strategy: &str) -> Result<(), SourceError> {
    if Strategy::parse(strategy).map_err(SourceError::new)?.is_remote() {
        return Ok(());
    }
    Err(SourceError::new(format_args!(
        "rows that say `{strategy}` use no transport: give yours another name"
    )))
}

impl Router {
    /// Opens the routes file and starts a router with default settings. A missing file is refused:
    /// see [`open_or_create`](Self::open_or_create).
    ///
    /// # Errors
    /// What is wrong with the file, and what to do.
    #[cfg(feature = "sqlite")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder().open(path).await
    }

    /// Opens the routes file, making it if it is not there, and starts a router with default
    /// settings.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do.
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

/// Says why a router could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `build` was called without a source.
    #[error("a router needs routes: call `open(path)`, `open_or_create(path)` or `source(..)`")]
    NoSource,
    /// The name of the node is none.
    #[error("the name of the node")]
    Node(#[from] NameError),
    /// The source cannot be opened, read or watched.
    #[error(transparent)]
    Source(#[from] SourceError),
}
