//! Sources of rows.

use std::fmt;
use std::thread::{self, JoinHandle};

use super::error::printable;
use super::row::RouteRow;
use crate::name::Name;

/// Callback that a source runs after a change. It returns false if the reload failed and must be
/// retried.
pub type ChangeFn = Box<dyn Fn() -> bool + Send>;

/// Source of rows that also reports changes: SQLite, or any other store through a type of the
/// user's own.
///
/// All functions block. A router calls all of them except `add_missing` and `read_some` on threads
/// of its own, never on the threads of its callers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of routes",
    note = "use `SqliteRoutes` or `MemoryRoutes`, or implement `RouteSource` for a type of your own"
)]
pub trait RouteSource: Send + Sync + 'static {
    /// Reads all rows in one consistent snapshot, including invalid ones.
    ///
    /// # Errors
    /// Returns an error if the rows cannot be read as a whole. The router keeps its current table
    /// and retries.
    fn read(&self) -> Result<Snapshot, SourceError>;

    /// Calls `changed` from a thread of the source until the guard is dropped. The first call comes
    /// at the start, so that a change between an earlier `read` and this call is not lost; further
    /// calls follow each change that the source notices. A source may report a change more than
    /// once. If `changed` returns false or panics, the source calls it again with backoff.
    ///
    /// # Errors
    /// Returns an error if changes cannot be detected at all.
    fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError>;

    /// Adds a row `name, local` for each name that has none, atomically. It is called when
    /// implementations are registered, on a thread of the runtime, so it must not wait for another
    /// writer: it returns [`Added::Busy`] instead, and the router retries later.
    ///
    /// # Errors
    /// Returns an error if the source is writable but rejected the rows.
    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError>;

    /// Reads the rows of these names in one consistent snapshot, after they were added. It spares a
    /// router that already has all other rows a full `read`. Returns `None` if a source can only
    /// read all rows, or does not count every change in [`Snapshot::generation`].
    ///
    /// # Errors
    /// See [`read`](Self::read).
    fn read_some(&self, _names: &[&Name]) -> Result<Option<Snapshot>, SourceError> {
        Ok(None)
    }

    /// Declares strategy names that rows may use, that is the transports of the router. A source
    /// that is read-only, or that has no list of strategies, does nothing. If rows of this source
    /// cannot hold a name, the source reports that in its [`warnings`](Self::warnings) instead of
    /// failing, because rows with other strategies still work.
    ///
    /// # Errors
    /// Returns an error if the source rejects a name.
    fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError>;

    /// Returns problems of the source itself, for `inspect`: one sentence each, without the name of
    /// a row.
    fn warnings(&self) -> Vec<String>;

    /// Returns the admin interface if the rows are in a SQLite file; used by
    /// [`Router::admin`](crate::Router::admin).
    #[cfg(feature = "sqlite")]
    fn admin(&self) -> Option<super::Admin> {
        None
    }
}

/// All rows at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Counts changes. It is for display and for comparison with the history; an equal generation
    /// does not prove that nothing changed.
    pub generation: u64,
    /// All rows, in no particular order.
    pub rows: Vec<RouteRow>,
}

/// Result of [`RouteSource::add_missing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added {
    /// Number of rows that were added.
    Rows(usize),
    /// This process cannot write to the source.
    ReadOnly,
    /// Another process is writing. No row was added; the caller can retry soon.
    Busy,
}

/// Error of opening, reading, watching or writing a source, with the remedy.
///
/// It is plain data: a router keeps it and shows it on `inspect` as long as the problem lasts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
}

impl SourceError {
    /// Creates an error from a message that includes its cause. The message is escaped and cut at 1
    /// KiB.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { message: printable(&text.to_string()) }
    }
}

/// Stops the watcher on drop and waits for its thread, unless it is dropped on that thread.
///
/// Dropping it waits for a running call of `changed`, so do not hold a lock that `changed` needs.
#[must_use = "dropping the guard ends the watching"]
pub struct WatchGuard {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl WatchGuard {
    /// Creates a guard for a thread that ends soon after a call of `stop`.
    pub fn new(stop: impl Fn() + Send + Sync + 'static, thread: JoinHandle<()>) -> Self {
        Self { stop: Box::new(stop), thread: Some(thread) }
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        (self.stop)();
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            // The panic hook has already reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for WatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchGuard").field("thread", &self.thread).finish_non_exhaustive()
    }
}
