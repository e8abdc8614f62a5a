//! Where rows come from.

use std::fmt;
use std::thread::{self, JoinHandle};

use super::error::printable;
use super::row::RouteRow;
use crate::name::Name;

/// Is called after a change; returns false when the reload failed and must be tried again.
pub type ChangeFn = Box<dyn Fn() -> bool + Send>;

/// Reads rows and tells when they may have changed: SQLite first, any other store by the user's own
/// type.
///
/// All functions block; a router calls all but `add_missing` and `read_some` off its callers'
/// threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of routes",
    note = "use `SqliteRoutes` or `MemoryRoutes`, or implement `RouteSource` for a type of your own"
)]
pub trait RouteSource: Send + Sync + 'static {
    /// Reads all rows as of one moment, bad ones too.
    ///
    /// # Errors
    /// When the rows cannot be read as a whole; the router keeps what it has and tries again.
    fn read(&self) -> Result<Snapshot, SourceError>;

    /// Calls `changed` from a thread of the source until the guard is dropped: once at the start,
    /// so that no change between a first `read` and this call is lost, and after each change of
    /// which the source hears. A change may be announced more than once; when `changed` returns
    /// false or panics, it is called again after a growing wait.
    ///
    /// # Errors
    /// When changes cannot be noticed at all.
    fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError>;

    /// Adds a row `name, local` for each name that has none, all or none of them. It is called
    /// where implementations are registered, on a thread of the runtime, so it does not wait for
    /// another writer: that is [`Added::Busy`], and a router tries again later.
    ///
    /// # Errors
    /// When the source can be written but refused it.
    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError>;

    /// Reads the rows of these names as of one moment, after they were added: a router that has all
    /// others needs no more. `None` where a source can read all rows only, or does not count every
    /// change in [`Snapshot::generation`].
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_some(&self, _names: &[&Name]) -> Result<Option<Snapshot>, SourceError> {
        Ok(None)
    }

    /// Makes strategy words known that rows may use: a router's own transports. A source that
    /// cannot be written, or that knows no such list, has nothing to do. A word that rows cannot
    /// hold in this source is one of its [`warnings`](Self::warnings), because rows with other
    /// words work.
    ///
    /// # Errors
    /// When the source refuses a word.
    fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError>;

    /// Tells troubles of the source itself, for `inspect`: one sentence each, without a name of a
    /// row.
    fn warnings(&self) -> Vec<String>;

    /// Gives what changes rows, where the rows are in a SQLite file:
    /// [`Router::admin`](crate::Router::admin) asks for it.
    #[cfg(feature = "sqlite")]
    fn admin(&self) -> Option<super::Admin> {
        None
    }
}

/// Holds all rows as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Counts changes; it is for people and for comparing with history, not a proof that nothing
    /// changed.
    pub generation: u64,
    /// Every row, in no particular order.
    pub rows: Vec<RouteRow>,
}

/// Says what became of [`RouteSource::add_missing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added {
    /// So many rows were added.
    Rows(usize),
    /// The source cannot be written by this process.
    ReadOnly,
    /// Somebody else is writing and no row was added: it can be tried again soon.
    Busy,
}

/// Says why a source cannot be opened, read, watched or written, and what to do.
///
/// It is plain data: a router shows it on `inspect` for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
}

impl SourceError {
    /// Wraps a text, cause included; it is escaped and cut at 1 KiB.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { message: printable(&text.to_string()) }
    }
}

/// Ends the watching when it is dropped, and waits for the thread, unless it is dropped on that
/// very thread.
///
/// A call of `changed` that runs is waited for, so do not hold what it needs while dropping this.
#[must_use = "dropping the guard ends the watching"]
pub struct WatchGuard {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl WatchGuard {
    /// Guards a thread that ends soon after `stop` was called.
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
            // A panic of the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for WatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchGuard").field("thread", &self.thread).finish_non_exhaustive()
    }
}
