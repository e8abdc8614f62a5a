//! Routes in a SQLite file, which any sqlite3 shell and the original Go implementation may edit.
//!
//! `schema.sql` rejects typos; [`store`] reads and writes; [`watch`] detects commits of any
//! process. Changes of the file that bypass SQLite make no commit: each [`handle`] knows the
//! identity and state of its file, and [`lineage`] distinguishes a checkpoint from a copy over the
//! file. The sidecar files of SQLite can be deleted while the database is open: [`stores`] then
//! closes all connections of the process at once.

mod admin;
mod columns;
mod connection;
mod file;
mod handle;
mod history;
mod lineage;
mod notes;
mod rows;
mod schema;
mod store;
mod stores;
#[cfg(test)]
mod tests;
mod upgrade;
mod version;
mod watch;

use std::path::Path;
use std::sync::Arc;

use super::source::{Added, ChangeFn, RouteSource, Snapshot, SourceError, WatchGuard};
use crate::name::Name;
use store::{Access, Store};

pub use admin::{Admin, AdminError, RollbackReport, RouteSpec, StoredRoute};
pub use history::{Change, ChangeKind};
pub use upgrade::UpgradeReport;

#[cfg(feature = "dbsync")]
pub(crate) use connection::immutable_uri;
#[cfg(feature = "dbsync")]
pub(crate) use version::MayFail;

/// A source that reads routes from a SQLite file and detects every commit: of this process, of
/// another router, or of a shell.
///
/// ```
/// use connectivity_core::{RouteSource, SqliteRoutes};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("routes.db");
/// let routes = SqliteRoutes::open_or_create(&path)?;
/// assert!(routes.read()?.rows.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteRoutes {
    store: Arc<Store>,
}

impl SqliteRoutes {
    /// Opens an existing routes file. A file made by the original Go implementation gets our tables
    /// in addition to its own.
    ///
    /// # Errors
    /// Returns an error if the file is missing, because a lost volume must not look like an empty
    /// table; if it is not a database, or a database without a table `routes`; or if several
    /// processes cannot watch it (no WAL, as on a network file system).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::Existing)
    }

    /// Opens a routes file, or creates it.
    ///
    /// # Errors
    /// See [`open`](Self::open), except that a missing file or table is created.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::Create)
    }

    /// Opens a routes file that this process never writes: it is read and watched, but no row is
    /// added.
    ///
    /// A file without a `-wal` may be in a directory that is not writable, as in an image or a
    /// mounted config. In that case [`warnings`](RouteSource::warnings) describes which changes
    /// cannot be detected.
    ///
    /// # Errors
    /// Returns an error if the file is missing, is not a database, or has no table `routes`, or if
    /// it has a `-wal` in a directory that is not writable.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::ReadOnly)
    }

    /// Rebuilds a table made by the original Go implementation so that it accepts all strategies,
    /// and rewrites the triggers of any file to this version. It is one transaction; other
    /// processes can keep reading.
    ///
    /// Routers of the original Go implementation silently serve a row *locally* if they do not know
    /// its strategy, so stop them before an upgrade.
    ///
    /// # Errors
    /// Returns an error if the file is missing, is not a routes file, is not writable, or has
    /// columns that the rebuild would lose.
    pub fn upgrade(path: impl AsRef<Path>) -> Result<UpgradeReport, SourceError> {
        upgrade::upgrade(path.as_ref())
    }

    /// Reads the latest changes of one name or of all names, newest first.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if it has no history because only the
    /// original Go implementation has written it.
    pub fn history(&self, name: Option<&Name>, limit: usize) -> Result<Vec<Change>, SourceError> {
        history::read(&self.store, name.map(Name::as_str), limit)
    }

    /// Returns the admin interface for the rows of this file. All watchers of the file detect its
    /// changes, including those of this process.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::of(Arc::clone(&self.store))
    }

    fn with(path: &Path, access: Access) -> Result<Self, SourceError> {
        Store::open(path, access).map(|store| Self { store: stores::share(store) })
    }
}

impl RouteSource for SqliteRoutes {
    fn read(&self) -> Result<Snapshot, SourceError> {
        self.store.read()
    }

    fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
        watch::start(Arc::clone(&self.store), changed)
    }

    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        self.store.add_missing(names)
    }

    fn read_some(&self, names: &[&Name]) -> Result<Option<Snapshot>, SourceError> {
        self.store.read_some(names).map(Some)
    }

    fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError> {
        self.store.add_strategies(words)
    }

    fn warnings(&self) -> Vec<String> {
        self.store.warnings()
    }

    fn admin(&self) -> Option<Admin> {
        Some(Self::admin(self))
    }
}
