//! Makes the filtered copy of a database.
//!
//! The copy is built from nothing: only what the filter keeps is ever written into it. So it has no
//! freed pages, statistics or shadow tables that could tell of the rest, and equal data make equal
//! files.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::condition;
use super::error::SyncError;
use super::filter::Filter;
use super::schema::{SOURCE, Table};
use super::statements::Statements;

/// How long to wait for a writer of the source.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of a SQLite header that hold the versions for writing and reading, and the version of
/// files in WAL mode (<https://sqlite.org/fileformat.html>, 1.3.3).
const FORMAT_VERSIONS: u64 = 18;
const WAL_VERSION: u8 = 2;

/// Settings of the source that its copy must share.
struct Layout {
    encoding: String,
    page_size: u32,
}

/// Checks that a filter fits a database.
pub(super) fn check(source: &Path, filter: &Filter) -> Result<(), SyncError> {
    let database = |cause| SyncError::database(source, cause);
    let layout = layout(source).map_err(database)?;
    let connection = Connection::open_in_memory().map_err(database)?;
    let mut connection = prepare(connection, source, &layout).map_err(database)?;
    connection.execute_batch("BEGIN").map_err(database)?;
    statements(&mut connection, filter).map(drop)
}

/// Writes the copy to a new file, as one state of the source. Writers of a source in WAL mode do not
/// wait for it.
pub(super) fn write(source: &Path, filter: &Filter, to: &Path) -> Result<(), SyncError> {
    create_private(to).map_err(|cause| SyncError::file(to, cause))?;
    let written = write_tables(source, filter, to)
        .and_then(|()| mark_as_wal(to).map_err(|cause| SyncError::file(to, cause)));
    if written.is_err() {
        let _ = fs::remove_file(to);
    }
    written
}

fn write_tables(source: &Path, filter: &Filter, to: &Path) -> Result<(), SyncError> {
    let database = |cause| SyncError::database(source, cause);
    let layout = layout(source).map_err(database)?;
    // Without the flag that creates files: a source that is gone must not come back empty.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(to, flags).map_err(database)?;
    let mut copy = prepare(copy, source, &layout).map_err(database)?;
    copy.execute_batch("BEGIN").map_err(database)?;
    for (table, statements) in statements(&mut copy, filter)? {
        run(&copy, &statements).map_err(|cause| SyncError::filter(&table, cause))?;
    }
    copy.execute_batch("COMMIT; DETACH source").map_err(database)?;
    copy.close().map_err(|(_, cause)| database(cause))
}

fn run(copy: &Connection, statements: &Statements) -> rusqlite::Result<()> {
    copy.execute_batch(&statements.create)?;
    copy.execute(&statements.insert, [])?;
    statements.indexes.iter().try_for_each(|index| copy.execute_batch(index))
}

/// Returns the statements of every table, in the order of the filter.
fn statements(
    connection: &mut Connection,
    filter: &Filter,
) -> Result<Vec<(String, Statements)>, SyncError> {
    if filter.tables.is_empty() {
        return Err(SyncError::filter("", "the filter publishes no table"));
    }
    let mut all: Vec<(String, Statements)> = Vec::with_capacity(filter.tables.len());
    for table_filter in &filter.tables {
        let table = Table::read(connection, table_filter)?;
        if all.iter().any(|(name, _)| *name == table.name) {
            return Err(SyncError::filter(&table_filter.table, "the filter names it twice"));
        }
        if let Some(condition) = &table_filter.condition {
            condition::check(connection, &table.name, condition)?;
        }
        let statements = Statements::new(&table, table_filter)?;
        all.push((table.name, statements));
    }
    Ok(all)
}

fn layout(source: &Path) -> rusqlite::Result<Layout> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let pragma = |name| format!("SELECT * FROM pragma_{name}");
    Ok(Layout {
        encoding: connection.query_row(&pragma("encoding"), [], |row| row.get(0))?,
        page_size: connection.query_row(&pragma("page_size"), [], |row| row.get(0))?,
    })
}

/// Attaches the source to the connection of a copy. A copy that is not finished is thrown away, so
/// it has no journal. What SQLite frees while it builds pages is overwritten.
fn prepare(copy: Connection, source: &Path, layout: &Layout) -> rusqlite::Result<Connection> {
    copy.busy_timeout(BUSY_TIMEOUT)?;
    copy.execute_batch(&format!(
        "PRAGMA encoding = '{}'; PRAGMA page_size = {}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA secure_delete = ON; PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;
         PRAGMA trusted_schema = OFF; PRAGMA cache_size = -4000; PRAGMA threads = 1",
        layout.encoding, layout.page_size
    ))?;
    copy.execute(&format!("ATTACH ?1 AS {SOURCE}"), [source.to_string_lossy()])?;
    Ok(copy)
}

/// Creates a file that only this user can read.
pub(super) fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Marks a database as one in WAL mode, as the original's subscriber needs it: it turns that mode on
/// for a file that it has opened for reading only.
fn mark_as_wal(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(FORMAT_VERSIONS))?;
    file.write_all(&[WAL_VERSION; 2])
}
