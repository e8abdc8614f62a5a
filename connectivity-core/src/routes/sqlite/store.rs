//! An open routes file: one connection for reading, and one for writing that is opened on first
//! use.

use std::fmt;
use std::path::{self, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::connection::{self, BUSY_TIMEOUT, Mode, READ_LIMIT, file_error, is_busy, sqlite_error};
use super::file;
use super::handle::{Handle, HandleSlot};
use super::lineage::Lineage;
use super::notes::Notes;
use super::rows;
use super::schema::{self, Found};
use super::version;
use crate::name::Name;
use crate::routes::source::{Added, Snapshot, SourceError};
use crate::routes::strategy::Strategy;

const IMMUTABLE: &str = "the directory cannot be written, so the file is read as it stands: a commit of another \
     process is noticed once it is in the file itself (PRAGMA wal_checkpoint), and one that is written while rows are \
     read may be seen half";

/// Busy timeout of adding a row: it runs on a thread of the runtime and is retried later. It is
/// long enough, on most disks, for the commit of another process that starts at the same time.
const SHORT_BUSY_TIMEOUT: Duration = Duration::from_millis(20);

/// Access to a routes file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Create,
    Existing,
    ReadOnly,
}

/// An open routes file.
pub(super) struct Store {
    path: PathBuf,
    access: Access,
    /// Time limit of a read.
    read_limit: Duration,
    /// `None` after all connections were closed.
    pub(super) reader: Mutex<Option<Reader>>,
    pub(super) writer: Mutex<Option<Handle>>,
    /// Connections of watchers.
    watcher_slots: Mutex<Vec<Weak<Mutex<Option<Handle>>>>>,
    pub(super) notes: Notes,
}

/// End of a transaction, with its result.
pub(super) enum Finish<T> {
    Commit(T),
    Rollback(T),
}

/// The connection for reading, and the state of the file at its last read.
pub(super) struct Reader {
    pub(super) handle: Handle,
    lineage: Option<Lineage>,
}

impl From<Handle> for Reader {
    fn from(handle: Handle) -> Self {
        Self { handle, lineage: None }
    }
}

impl Store {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, SourceError> {
        if path == Path::new(":memory:") {
            return Err(SourceError::new(
                "SQLite in memory cannot be watched; use a file, or `MemoryRoutes`",
            ));
        }
        let path = path::absolute(path).map_err(|e| file_error(path, e))?;
        match access {
            Access::ReadOnly => {}
            Access::Create => prepare(&path, Mode::Create)?,
            Access::Existing => prepare(&path, Mode::Write)?,
        }
        version::log_warning();
        let reader = Handle::open(&path, reader_mode(access))?;
        reject_unusable(&path, &find_table(&path, &reader.connection)?)?;
        let (reader, writer) = (Mutex::new(Some(reader.into())), Mutex::new(None));
        Ok(Self {
            path,
            access,
            read_limit: READ_LIMIT,
            reader,
            writer,
            watcher_slots: Mutex::default(),
            notes: Notes::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn with_read_limit(self, read_limit: Duration) -> Self {
        Self { read_limit, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens another read-only connection.
    pub(super) fn connect(&self) -> Result<Handle, SourceError> {
        Handle::reopen(&self.path, reader_mode(self.access))
    }

    /// Reads every row in one snapshot.
    pub(super) fn read(&self) -> Result<Snapshot, SourceError> {
        let result = self.with_current("reading routes", |reader| {
            let (snapshot, lineage) = rows::read(&mut reader.handle.connection)?;
            reader.lineage = Some(lineage);
            Ok(snapshot)
        });
        self.notes.record_read(&result);
        result
    }

    /// Reads the rows with these names in one snapshot.
    pub(super) fn read_some(&self, names: &[&Name]) -> Result<Snapshot, SourceError> {
        self.with_reader("reading rows", |connection| rows::read_some(connection, names))
    }

    /// Runs a query on the reader, and reopens the reader first if the file was replaced.
    pub(super) fn with_reader<T>(
        &self,
        action: &str,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SourceError> {
        self.with_current(action, |reader| query(&mut reader.handle.connection))
    }

    fn with_current<T>(
        &self,
        action: &str,
        query: impl FnOnce(&mut Reader) -> rusqlite::Result<T>,
    ) -> Result<T, SourceError> {
        let mut reader = lock(&self.reader);
        let current = match reader.take() {
            Some(open) => self.refresh(open, &mut reader)?,
            None => self.connect()?.into(),
        };
        let current = reader.insert(current);
        let limited = connection::set_time_limit(&mut current.handle.connection, self.read_limit);
        limited.and_then(|()| query(current)).map_err(|e| sqlite_error(&self.path, action, &e))
    }

    /// Reopens the reader if the database file itself was written. SQLite only notices commits, so
    /// it would serve its cached pages forever. If the reader cannot be reopened, it is put back.
    fn refresh(&self, reader: Reader, slot: &mut Option<Reader>) -> Result<Reader, SourceError> {
        match self.open_replacement(&reader) {
            Ok(None) => Ok(reader),
            Ok(Some(new_handle)) => {
                reader.handle.abandon();
                Ok(new_handle.into())
            }
            Err(e) => {
                *slot = Some(reader);
                Err(e)
            }
        }
    }

    fn open_replacement(&self, reader: &Reader) -> Result<Option<Handle>, SourceError> {
        let Some(now) = reader.handle.outdated(&self.path)? else { return Ok(None) };
        let new_handle = self.connect()?;
        if now.file != reader.handle.stamp.file {
            self.notes.record_replaced(now.file);
        } else if let Some(lineage) =
            reader.lineage.as_ref().filter(|lineage| lineage.is_newest(&reader.handle.connection))
        {
            let is_continued = lineage.is_continued_by(&new_handle.connection);
            if !is_continued
                .map_err(|e| sqlite_error(&self.path, "comparing with the content before", &e))?
            {
                self.notes.record_overwritten();
            }
        }
        Ok(Some(new_handle))
    }

    /// Registers a slot for the connection of another watcher.
    pub(super) fn add_watcher_slot(&self) -> HandleSlot {
        let slot = HandleSlot::default();
        lock(&self.watcher_slots).push(Arc::downgrade(&slot));
        slot
    }

    /// Returns the connection slots of all watchers.
    pub(super) fn watcher_slots(&self) -> Vec<HandleSlot> {
        lock(&self.watcher_slots).iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds `name, local` for each name that has no row.
    pub(super) fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        // Look first, so that a start that adds no row does not take the write lock.
        let missing =
            self.with_reader("looking for rows", |connection| missing(connection, names))?;
        if missing.is_empty() {
            return Ok(Added::Rows(0));
        }
        if self.access == Access::ReadOnly {
            return Ok(Added::ReadOnly);
        }
        let Some(writer) = lock_within(&self.writer, SHORT_BUSY_TIMEOUT) else {
            return Ok(Added::Busy);
        };
        match self.try_transaction(writer, SHORT_BUSY_TIMEOUT, |tx| {
            insert(tx, &missing).map(Finish::Commit)
        })? {
            Err(e) if is_busy(&e) => Ok(Added::Busy),
            result => Ok(self
                .none_if_read_only("adding rows", result)?
                .map_or(Added::ReadOnly, Added::Rows)),
        }
    }

    /// Adds strategies, unless the file is not writable. A strategy that the CHECK of a table made
    /// by Go rejects is recorded instead, because the file still works for the others.
    pub(super) fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError> {
        let unknown = self.unknown_strategies(words)?;
        if unknown.is_empty() {
            return Ok(());
        }
        let go_strategies =
            self.with_reader("reading strategies", |connection| schema::go_words(connection))?;
        let is_allowed = |word: &str| {
            go_strategies.as_ref().is_none_or(|words| words.iter().any(|known| known == word))
        };
        let is_valid = |word: &str| Strategy::parse(word).is_ok();
        let (rejected, addable) =
            unknown.into_iter().partition::<Vec<_>, _>(|word| is_valid(word) && !is_allowed(word));
        self.notes.record_rejected_strategies(&rejected);
        if addable.is_empty() {
            return Ok(());
        }
        self.write("adding strategies", |tx| schema::add_words(tx, &addable)).map(drop)
    }

    fn unknown_strategies<'a>(&self, words: &[&'a str]) -> Result<Vec<&'a str>, SourceError> {
        let known =
            self.with_reader("reading strategies", |connection| read_strategies(connection))?;
        Ok(words.iter().copied().filter(|word| known.iter().all(|k| k != word)).collect())
    }

    /// Returns a warning about strategies of this process that no row can use.
    fn rejected_strategies_warning(&self) -> Option<String> {
        let recorded = self.notes.rejected_strategies();
        if recorded.is_empty() {
            return None;
        }
        let rejected = self
            .unknown_strategies(&recorded.iter().map(String::as_str).collect::<Vec<_>>())
            .unwrap_or_default();
        (!rejected.is_empty()).then(|| {
            format!(
                "no row can use `{}`: the table `routes` was made by the Go original and holds only its own strategies; \
                 stop the Go routers and rebuild it: connectivity init --upgrade",
                rejected.join("`, `")
            )
        })
    }

    /// Returns all problems of the file itself.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.messages();
        warnings.extend(version::warning());
        let immutable =
            self.with_current("looking how it is open", |reader| Ok(reader.handle.is_immutable()));
        warnings.extend(immutable.is_ok_and(|immutable| immutable).then(|| IMMUTABLE.to_owned()));
        match self
            .with_reader("comparing triggers", |connection| schema::trigger_warnings(connection))
        {
            Ok(trigger_warnings) => warnings.extend(trigger_warnings),
            // The same failure of reading is recorded already.
            Err(_) if !warnings.is_empty() => {}
            Err(e) => warnings.push(e.to_string()),
        }
        warnings.extend(self.rejected_strategies_warning());
        warnings.extend(file::permission_warnings(&self.path));
        warnings
    }

    fn write<T>(
        &self,
        action: &str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SourceError> {
        self.transact(action, |tx| change(tx).map(Finish::Commit))
    }

    /// Runs a transaction. Returns `None` if this process cannot write the file.
    pub(super) fn transact<T>(
        &self,
        action: &str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Finish<T>>,
    ) -> Result<Option<T>, SourceError> {
        if self.access == Access::ReadOnly {
            return Ok(None);
        }
        let result = self.try_transaction(lock(&self.writer), BUSY_TIMEOUT, change)?;
        self.none_if_read_only(action, result)
    }

    /// Runs a transaction on the writer, waiting up to `timeout` for other writers.
    fn try_transaction<T>(
        &self,
        mut writer: MutexGuard<'_, Option<Handle>>,
        timeout: Duration,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Finish<T>>,
    ) -> Result<rusqlite::Result<T>, SourceError> {
        let handle = match writer.take() {
            Some(handle) if handle.outdated(&self.path)?.is_none() => handle,
            outdated => {
                let new_handle = Handle::reopen(&self.path, Mode::Write)?;
                outdated.into_iter().for_each(Handle::abandon);
                new_handle
            }
        };
        let connection = &mut writer.insert(handle).connection;
        let timeout_result = connection.busy_timeout(timeout);
        Ok(timeout_result.and_then(|()| in_transaction(connection, change)))
    }

    fn none_if_read_only<T>(
        &self,
        action: &str,
        result: rusqlite::Result<T>,
    ) -> Result<Option<T>, SourceError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(None),
            Err(e) => Err(sqlite_error(&self.path, action, &e)),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

const fn reader_mode(access: Access) -> Mode {
    match access {
        Access::ReadOnly => Mode::ReadOnly,
        Access::Create | Access::Existing => Mode::Read,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex with a timeout. Another thread may hold it for as long as it waits for another
/// process.
fn lock_within<T>(mutex: &Mutex<T>, timeout: Duration) -> Option<MutexGuard<'_, T>> {
    const STEP: Duration = Duration::from_millis(1);
    let start = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() >= timeout => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(STEP),
        }
    }
}

/// Prepares the file: enables the write-ahead log, and creates missing tables and triggers.
fn prepare(path: &Path, mode: Mode) -> Result<(), SourceError> {
    let mut connection = Handle::open(path, mode)?.connection;
    // Check before any change, so that a wrong path leaves the database of another program
    // untouched.
    match find_table(path, &connection)? {
        Found::NoTable if mode == Mode::Create => {}
        found => reject_unusable(path, &found)?,
    }
    connection::use_wal(path, &connection)?;
    let result = schema::is_complete(&connection)
        .and_then(|complete| if complete { Ok(()) } else { schema::apply(&mut connection) });
    match result {
        // A process that may only read works without our tables; `warnings` reports that they are
        // missing.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(()),
        result => result.map_err(|e| sqlite_error(path, "our tables cannot be made", &e)),
    }
}

fn find_table(path: &Path, connection: &Connection) -> Result<Found, SourceError> {
    schema::find(connection).map_err(|e| sqlite_error(path, "cannot be read", &e))
}

/// Rejects a file without a usable table `routes`.
fn reject_unusable(path: &Path, found: &Found) -> Result<(), SourceError> {
    match found {
        Found::Table => Ok(()),
        Found::NoTable => Err(file_error(
            path,
            "there is no table `routes` in it; check the path, or make one: connectivity init",
        )),
        Found::OtherTable(column) => Err(file_error(
            path,
            format_args!(
                "its table `routes` has no column `{column}`, so it belongs to another program; use a file of its own"
            ),
        )),
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Finish<T>>,
) -> rusqlite::Result<T> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match change(&tx)? {
        Finish::Commit(value) => tx.commit().map(|()| value),
        Finish::Rollback(value) => tx.rollback().map(|()| value),
    }
}

fn insert(tx: &Transaction<'_>, names: &[&Name]) -> rusqlite::Result<usize> {
    let mut insert = tx.prepare(
        "INSERT INTO routes(service_name, strategy) SELECT ?1, 'local'
          WHERE NOT EXISTS (SELECT 1 FROM routes WHERE service_name = ?1)",
    )?;
    names.iter().map(|name| insert.execute([name.as_str()])).sum()
}

fn missing<'a>(connection: &Connection, names: &[&'a Name]) -> rusqlite::Result<Vec<&'a Name>> {
    let mut find = connection.prepare("SELECT 1 FROM routes WHERE service_name = ?1")?;
    let missing = names.iter().filter_map(|&name| match find.exists([name.as_str()]) {
        Ok(true) => None,
        Ok(false) => Some(Ok(name)),
        Err(e) => Some(Err(e)),
    });
    missing.collect()
}

/// Returns the names in `strategies`, or none if the file has no such table.
pub(super) fn read_strategies(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'strategies'";
    if !connection.prepare(exists)?.exists([])? {
        return Ok(Vec::new());
    }
    connection.prepare("SELECT name FROM strategies")?.query_map([], |row| row.get(0))?.collect()
}
