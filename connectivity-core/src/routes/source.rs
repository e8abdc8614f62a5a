//! Sources of rows.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::printable;
use super::row::RouteRow;
use crate::name::Name;

/// Callback that a source runs after a change. It reads the source, so it blocks: a task calls it
/// through `spawn_blocking`. It returns false if the reload failed and must be retried.
pub type ChangeFn = Arc<dyn Fn() -> bool + Send + Sync>;

/// Source of rows that also reports changes: SQLite, or any other store through a type of the
/// user's own.
///
/// All functions block. A router calls all of them except `add_missing` and `read_some` on threads
/// of its own, never on the threads of its callers.
///
/// An asynchronous source keeps its latest snapshot in memory, and reports changes from a task:
///
/// ```
/// use connectivity_core::{ChangeFn, RouteSource, Router, Snapshot, SourceError, WatchGuard};
/// use tokio::sync::watch;
/// use tokio::task::spawn_blocking;
///
/// struct Feed(watch::Receiver<Snapshot>);
///
/// impl RouteSource for Feed {
///     fn read(&self) -> Result<Snapshot, SourceError> {
///         Ok(self.0.borrow().clone())
///     }
///
///     fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
///         let mut feed = self.0.clone();
///         let runtime = tokio::runtime::Handle::try_current().map_err(SourceError::new)?;
///         let task = runtime.spawn(async move {
///             loop {
///                 let reload = changed.clone();
///                 if !matches!(spawn_blocking(move || reload()).await, Ok(true)) {
///                     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///                 } else if feed.changed().await.is_err() {
///                     return;
///                 }
///             }
///         });
///         Ok(WatchGuard::on_drop(move || task.abort()))
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = watch::channel(Snapshot::new(1, vec![]));
/// let router = Router::builder().source(Feed(receiver)).build()?;
/// sender.send(Snapshot::new(2, vec![]))?;
/// # while router.generation() < 2 { tokio::task::yield_now().await; }
/// # Ok(()) }
/// ```
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
    /// writer: it returns [`Added::Busy`] instead, and the router retries later. Unless overridden,
    /// the source is read-only.
    ///
    /// # Errors
    /// Returns an error if the source is writable but rejected the rows.
    fn add_missing(&self, _names: &[&Name]) -> Result<Added, SourceError> {
        Ok(Added::ReadOnly)
    }

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
    fn add_strategies(&self, _words: &[&str]) -> Result<(), SourceError> {
        Ok(())
    }

    /// Returns problems of the source itself, for `inspect`: one sentence each, without the name of
    /// a row. None unless overridden.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the admin interface if the rows are in a SQLite file; used by
    /// [`Router::admin`](crate::Router::admin).
    #[cfg(feature = "sqlite")]
    fn admin(&self) -> Option<super::Admin> {
        None
    }
}

/// All rows at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Counts changes. It is for display and for comparison with the history; an equal generation
    /// does not prove that nothing changed.
    pub generation: u64,
    /// All rows, in no particular order.
    pub rows: Vec<RouteRow>,
}

impl Snapshot {
    /// Creates a snapshot of these rows.
    #[must_use]
    pub const fn new(generation: u64, rows: Vec<RouteRow>) -> Self {
        Self { generation, rows }
    }
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

/// Stops the watcher on drop. A guard of a thread waits for that thread, unless it is dropped on it.
///
/// Dropping that one waits for a running call of `changed`, so do not hold a lock that `changed`
/// needs.
#[must_use = "dropping the guard ends the watching"]
pub struct WatchGuard {
    stop: Option<Box<dyn FnOnce() + Send + Sync>>,
    thread: Option<JoinHandle<()>>,
}

impl WatchGuard {
    /// Creates a guard for a thread that ends soon after a call of `stop`.
    pub fn new(stop: impl FnOnce() + Send + Sync + 'static, thread: JoinHandle<()>) -> Self {
        Self { stop: Some(Box::new(stop)), thread: Some(thread) }
    }

    /// Creates a guard that calls `stop` and waits for nothing: for a task, or a source that never
    /// changes.
    pub fn on_drop(stop: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { stop: Some(Box::new(stop)), thread: None }
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
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
