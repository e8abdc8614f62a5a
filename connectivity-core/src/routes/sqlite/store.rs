//! The open file: one connection that reads rows, one that writes when there is something to write.

use std::fmt;
use std::path::{self, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::connection::{self, BUSY_TIMEOUT, Mode, READ_LIMIT, about, explain, is_busy};
use super::file;
use super::handle::Handle;
use super::lineage::Lineage;
use super::notes::Notes;
use super::rows;
use super::schema::{self, Found};
use super::stores::Look;
use crate::name::Name;
use crate::routes::source::{Added, Snapshot, SourceError};
use crate::routes::strategy::Strategy;

const IMMUTABLE: &str = "the directory cannot be written, so the file is read as it stands: a commit of another \
     process is noticed once it is in the file itself (PRAGMA wal_checkpoint), and one that is written while rows are \
     read may be seen half";

/// How long adding a row waits for another writer: it is done on a thread of the runtime, and is
/// tried again later. Long enough for the commit of another process that starts at the same time,
/// on most disks.
const BRIEF: Duration = Duration::from_millis(20);

/// How a file is opened.
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
    /// How long a read may take.
    read_limit: Duration,
    /// None after everything was closed.
    pub(super) reader: Mutex<Option<Reader>>,
    pub(super) writer: Mutex<Option<Handle>>,
    /// Those of watchers.
    looks: Mutex<Vec<Weak<Mutex<Option<Handle>>>>>,
    pub(super) notes: Notes,
}

/// What a transaction comes to, with what is to be told of it.
pub(super) enum Finish<T> {
    Commit(T),
    Undo(T),
}

/// The connection that reads rows, and what it has read.
pub(super) struct Reader {
    pub(super) handle: Handle,
    seen: Option<Lineage>,
}

impl From<Handle> for Reader {
    fn from(handle: Handle) -> Self {
        Self { handle, seen: None }
    }
}

impl Store {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, SourceError> {
        if path == Path::new(":memory:") {
            return Err(SourceError::new(
                "SQLite in memory cannot be watched; use a file, or `MemoryRoutes`",
            ));
        }
        let path = path::absolute(path).map_err(|e| about(path, e))?;
        match access {
            Access::ReadOnly => {}
            Access::Create => prepare(&path, Mode::Create)?,
            Access::Existing => prepare(&path, Mode::Write)?,
        }
        let reader = Handle::open(&path, reader_mode(access))?;
        refuse_others(&path, &find_table(&path, &reader.connection)?)?;
        let (reader, writer) = (Mutex::new(Some(reader.into())), Mutex::new(None));
        Ok(Self {
            path,
            access,
            read_limit: READ_LIMIT,
            reader,
            writer,
            looks: Mutex::default(),
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

    /// Opens one more connection that only reads.
    pub(super) fn connect(&self) -> Result<Handle, SourceError> {
        Handle::reopen(&self.path, reader_mode(self.access))
    }

    /// Reads every row as of one moment.
    pub(super) fn read(&self) -> Result<Snapshot, SourceError> {
        let result = self.with_current("reading routes", |reader| {
            let (snapshot, seen) = rows::read(&mut reader.handle.connection)?;
            reader.seen = Some(seen);
            Ok(snapshot)
        });
        self.notes.reading(&result);
        result
    }

    /// Reads the rows of some names as of one moment.
    pub(super) fn read_some(&self, names: &[&Name]) -> Result<Snapshot, SourceError> {
        self.with_reader("reading rows", |connection| rows::read_some(connection, names))
    }

    /// Runs a query on the reading connection; opens it anew first if the file was replaced.
    pub(super) fn with_reader<T>(
        &self,
        what: &str,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SourceError> {
        self.with_current(what, |reader| query(&mut reader.handle.connection))
    }

    fn with_current<T>(
        &self,
        what: &str,
        query: impl FnOnce(&mut Reader) -> rusqlite::Result<T>,
    ) -> Result<T, SourceError> {
        let mut reader = lock(&self.reader);
        let current = match reader.take() {
            Some(open) => self.renewed(open, &mut reader)?,
            None => self.connect()?.into(),
        };
        let current = reader.insert(current);
        let limited = connection::limit_time(&mut current.handle.connection, self.read_limit);
        limited.and_then(|()| query(current)).map_err(|e| explain(&self.path, what, &e))
    }

    /// Opens the reader anew if somebody wrote the file itself. SQLite notices commits only: pages
    /// that it has cached would be served for ever. A reader that cannot be replaced is put back.
    fn renewed(&self, reader: Reader, back: &mut Option<Reader>) -> Result<Reader, SourceError> {
        match self.successor(&reader) {
            Ok(None) => Ok(reader),
            Ok(Some(fresh)) => {
                reader.handle.abandon();
                Ok(fresh.into())
            }
            Err(e) => {
                *back = Some(reader);
                Err(e)
            }
        }
    }

    fn successor(&self, reader: &Reader) -> Result<Option<Handle>, SourceError> {
        let Some(now) = reader.handle.outdated(&self.path)? else { return Ok(None) };
        let fresh = self.connect()?;
        if now.file != reader.handle.stamp.file {
            self.notes.replaced(now.file);
        } else if let Some(seen) =
            reader.seen.as_ref().filter(|seen| seen.is_newest(&reader.handle.connection))
        {
            let continued = seen.continues_in(&fresh.connection);
            if !continued
                .map_err(|e| explain(&self.path, "comparing with the content before", &e))?
            {
                self.notes.overwritten();
            }
        }
        Ok(Some(fresh))
    }

    /// Makes the place of one more connection that only looks.
    pub(super) fn add_look(&self) -> Look {
        let look = Look::default();
        lock(&self.looks).push(Arc::downgrade(&look));
        look
    }

    /// The places of connections that only look.
    pub(super) fn looks(&self) -> Vec<Look> {
        lock(&self.looks).iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds `name, local` for each name that has no row.
    pub(super) fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        // Looked up first, so that a start that adds nothing does not ask for the write lock.
        let missing =
            self.with_reader("looking for rows", |connection| missing(connection, names))?;
        if missing.is_empty() {
            return Ok(Added::Rows(0));
        }
        if self.access == Access::ReadOnly {
            return Ok(Added::ReadOnly);
        }
        let Some(writer) = lock_within(&self.writer, BRIEF) else { return Ok(Added::Busy) };
        match self.attempt(writer, BRIEF, |tx| insert(tx, &missing).map(Finish::Commit))? {
            Err(e) if is_busy(&e) => Ok(Added::Busy),
            result => Ok(self.written("adding rows", result)?.map_or(Added::ReadOnly, Added::Rows)),
        }
    }

    /// Adds strategy words, unless the file cannot be written. A word that the CHECK of a Go-made
    /// table refuses is noted instead: the other words work, so the file can be used.
    pub(super) fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError> {
        let unknown = self.unknown_words(words)?;
        if unknown.is_empty() {
            return Ok(());
        }
        let narrow =
            self.with_reader("reading strategies", |connection| schema::go_words(connection))?;
        let fits = |word: &str| {
            narrow.as_ref().is_none_or(|words| words.iter().any(|known| known == word))
        };
        let is_word = |word: &str| Strategy::parse(word).is_ok();
        let (refused, addable) =
            unknown.into_iter().partition::<Vec<_>, _>(|word| is_word(word) && !fits(word));
        self.notes.refused_words(&refused);
        if addable.is_empty() {
            return Ok(());
        }
        self.write("adding strategies", |tx| schema::add_words(tx, &addable)).map(drop)
    }

    fn unknown_words<'a>(&self, words: &[&'a str]) -> Result<Vec<&'a str>, SourceError> {
        let known = self.with_reader("reading strategies", |connection| known_words(connection))?;
        Ok(words.iter().copied().filter(|word| known.iter().all(|k| k != word)).collect())
    }

    /// Strategies of this process that no row can use.
    fn refused_words(&self) -> Option<String> {
        let noted = self.notes.refused_words_noted();
        if noted.is_empty() {
            return None;
        }
        let refused = self
            .unknown_words(&noted.iter().map(String::as_str).collect::<Vec<_>>())
            .unwrap_or_default();
        (!refused.is_empty()).then(|| {
            format!(
                "no row can use `{}`: the table `routes` was made by the Go original and holds only its own strategies; \
                 stop the Go routers and rebuild it: connectivity init --upgrade",
                refused.join("`, `")
            )
        })
    }

    /// Everything that is wrong with the file itself.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.tell();
        let immutable =
            self.with_current("looking how it is open", |reader| Ok(reader.handle.is_immutable()));
        warnings.extend(immutable.is_ok_and(|immutable| immutable).then(|| IMMUTABLE.to_owned()));
        match self.with_reader("comparing triggers", |connection| schema::troubles(connection)) {
            Ok(troubles) => warnings.extend(troubles),
            // Reading fails for the same reason and is noted already.
            Err(_) if !warnings.is_empty() => {}
            Err(e) => warnings.push(e.to_string()),
        }
        warnings.extend(self.refused_words());
        warnings.extend(file::permissions(&self.path));
        warnings
    }

    fn write<T>(
        &self,
        what: &str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SourceError> {
        self.transact(what, |tx| change(tx).map(Finish::Commit))
    }

    /// Writes in one transaction; `None` when this process cannot write the file.
    pub(super) fn transact<T>(
        &self,
        what: &str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Finish<T>>,
    ) -> Result<Option<T>, SourceError> {
        if self.access == Access::ReadOnly {
            return Ok(None);
        }
        let result = self.attempt(lock(&self.writer), BUSY_TIMEOUT, change)?;
        self.written(what, result)
    }

    /// Runs a transaction on the writing connection, waiting so long for other writers.
    fn attempt<T>(
        &self,
        mut writer: MutexGuard<'_, Option<Handle>>,
        patience: Duration,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Finish<T>>,
    ) -> Result<rusqlite::Result<T>, SourceError> {
        let handle = match writer.take() {
            Some(handle) if handle.outdated(&self.path)?.is_none() => handle,
            outdated => {
                let fresh = Handle::reopen(&self.path, Mode::Write)?;
                outdated.into_iter().for_each(Handle::abandon);
                fresh
            }
        };
        let connection = &mut writer.insert(handle).connection;
        let patient = connection.busy_timeout(patience);
        Ok(patient.and_then(|()| in_transaction(connection, change)))
    }

    fn written<T>(
        &self,
        what: &str,
        result: rusqlite::Result<T>,
    ) -> Result<Option<T>, SourceError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(None),
            Err(e) => Err(explain(&self.path, what, &e)),
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

/// Locks what another thread of this process may hold for as long as it waits for another process.
fn lock_within<T>(mutex: &Mutex<T>, patience: Duration) -> Option<MutexGuard<'_, T>> {
    const STEP: Duration = Duration::from_millis(1);
    let start = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(STEP),
        }
    }
}

/// Makes the file usable: the write-ahead log, and our tables where something is missing.
fn prepare(path: &Path, mode: Mode) -> Result<(), SourceError> {
    let mut connection = Handle::open(path, mode)?.connection;
    // Asked before anything is changed, so that a wrong path leaves somebody else's database as it
    // was.
    match find_table(path, &connection)? {
        Found::NoTable if mode == Mode::Create => {}
        found => refuse_others(path, &found)?,
    }
    connection::use_wal(path, &connection)?;
    let made = schema::is_complete(&connection)
        .and_then(|complete| if complete { Ok(()) } else { schema::apply(&mut connection) });
    match made {
        // Somebody who may only read can do without our tables; `warnings` tells that they are
        // missing.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(()),
        made => made.map_err(|e| explain(path, "our tables cannot be made", &e)),
    }
}

fn find_table(path: &Path, connection: &Connection) -> Result<Found, SourceError> {
    schema::find(connection).map_err(|e| explain(path, "cannot be read", &e))
}

/// Refuses a file without a usable table `routes`.
fn refuse_others(path: &Path, found: &Found) -> Result<(), SourceError> {
    match found {
        Found::Table => Ok(()),
        Found::NoTable => Err(about(
            path,
            "there is no table `routes` in it; check the path, or make one: connectivity init",
        )),
        Found::OtherTable(column) => Err(about(
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
        Finish::Undo(value) => tx.rollback().map(|()| value),
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

/// The words of `strategies`; none where a file has no such table.
pub(super) fn known_words(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'strategies'";
    if !connection.prepare(exists)?.exists([])? {
        return Ok(Vec::new());
    }
    connection.prepare("SELECT name FROM strategies")?.query_map([], |row| row.get(0))?.collect()
}
