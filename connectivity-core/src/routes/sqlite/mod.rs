//! Routes in a SQLite file that any sqlite3 shell, and the Go original, may edit.
//!
//! `schema.sql` says what a typo meets; [`store`] reads and writes; [`watch`] notices commits of
//! anybody. What is done to the file past SQLite makes no commit: each [`handle`] knows which file
//! it has open and how that stood, and [`lineage`] tells a checkpoint from a copy over the file.
//! What SQLite keeps beside the file can be deleted while it is open: [`stores`] then closes all
//! connections of the process at once.

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
mod watch;

use std::path::Path;
use std::sync::Arc;

use super::source::{Added, ChangeFn, RouteSource, Snapshot, SourceError, WatchGuard};
use crate::name::Name;
use store::{Access, Store};

pub use admin::{Admin, AdminError, RollbackReport, RouteSpec, StoredRoute};
pub use history::{Change, ChangeKind};
pub use upgrade::UpgradeReport;

/// Reads routes from a SQLite file and notices every commit, whoever makes it: this process,
/// another router, a shell.
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
    /// Opens a routes file that is there; a Go-made one gets our tables beside its own.
    ///
    /// # Errors
    /// When the file is missing, because a lost volume must not look like an empty table; when it
    /// is no database, or one without a table `routes`; when it cannot be watched by several
    /// processes (no WAL, as on a network file system).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::Existing)
    }

    /// Opens a routes file, or makes it.
    ///
    /// # Errors
    /// As [`open`](Self::open), except that a missing file or table is made.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::Create)
    }

    /// Opens a routes file that this process must never write: it is read and watched, and nothing
    /// is added.
    ///
    /// A file without a `-wal` may stand in a directory that cannot be written, as in an image or a
    /// mounted config; [`warnings`](RouteSource::warnings) then say what cannot be noticed there.
    ///
    /// # Errors
    /// When the file is missing, is no database, or has no table `routes`; when it has a `-wal` in
    /// a directory that cannot be written.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        Self::with(path.as_ref(), Access::ReadOnly)
    }

    /// Gives a Go-made file the table that holds all strategies, and every file the triggers of
    /// this version; all in one transaction, while others may go on reading.
    ///
    /// Routers of the Go original serve a row whose strategy they do not know *locally*, without a
    /// word, so upgrade when they are gone.
    ///
    /// # Errors
    /// When the file is missing, is no routes file, cannot be written, or has columns that the
    /// rebuild would lose.
    pub fn upgrade(path: impl AsRef<Path>) -> Result<UpgradeReport, SourceError> {
        upgrade::upgrade(path.as_ref())
    }

    /// Reads the newest changes, newest first: of one name, or of all.
    ///
    /// # Errors
    /// When the file cannot be read, or has no history because nobody but Go has written it.
    pub fn history(&self, name: Option<&Name>, limit: usize) -> Result<Vec<Change>, SourceError> {
        history::read(&self.store, name.map(Name::as_str), limit)
    }

    /// Gives what changes rows of this file. Whoever watches the file sees the changes, this
    /// process too.
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
