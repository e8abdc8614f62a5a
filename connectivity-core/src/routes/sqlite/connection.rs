//! Opens connections the one way this room needs them, and explains SQLite's errors.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::routes::source::SourceError;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Make the file if it is missing, and write.
    Create,
    /// Write.
    Write,
    /// Only read; the file system may be asked to make the `-shm` file that readers share.
    Read,
    /// Only read, and touch nothing.
    ReadOnly,
}

/// Opens a connection with our settings.
pub(super) fn open(path: &Path, mode: Mode) -> Result<Connection, SourceError> {
    let connect = || {
        let connection = Connection::open_with_flags(path, flags(mode))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // FULL, because the file is small and precious; triggers make it as slow as it is anyway.
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL")?;
        if matches!(mode, Mode::Read | Mode::ReadOnly) {
            connection.execute_batch("PRAGMA query_only = ON")?;
        }
        Ok(connection)
    };
    connect().map_err(|e| explain(path, "cannot be opened", &e))
}

/// No `SQLITE_OPEN_URI`: a path is a path, whatever it looks like.
fn flags(mode: Mode) -> OpenFlags {
    let access = match mode {
        Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::Write | Mode::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Turns the write-ahead log on: without it a writer would lock out every reader, and the watching.
pub(super) fn use_wal(path: &Path, connection: &Connection) -> Result<(), SourceError> {
    let mode: Result<String, _> = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
    match mode {
        Ok(mode) if mode == "wal" => Ok(()),
        Ok(mode) => Err(about(
            path,
            format_args!("the write-ahead log is not possible here (journal mode stays `{mode}`); {NO_WAL}"),
        )),
        Err(e) => Err(explain(path, "the write-ahead log cannot be turned on", &e)),
    }
}

const NO_WAL: &str = "put the file on a local, writable file system";

/// Reads the counter that every commit of another connection moves.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// Makes an error about a file.
pub(super) fn about(path: &Path, text: impl fmt::Display) -> SourceError {
    SourceError::new(format_args!("{}: {text}", path.display()))
}

/// Makes an error of SQLite's, with what to do about it where we know.
pub(super) fn explain(path: &Path, what: &str, error: &rusqlite::Error) -> SourceError {
    match error.sqlite_error_code().and_then(advice) {
        Some(advice) => about(path, format_args!("{what}: {error}; {advice}")),
        None => about(path, format_args!("{what}: {error}")),
    }
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NotADatabase => "give the path of a routes file, or make one: connectivity init",
        ErrorCode::CannotOpen => "the directory must exist, and this user must be able to read and write there",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another process keeps a transaction open; end it",
        ErrorCode::DatabaseCorrupt => "restore a copy, or save what is left: sqlite3 FILE .recover",
        ErrorCode::ReadOnly => {
            "this user must be able to write the file, its -wal and -shm, and the directory; or open it read-only"
        }
        ErrorCode::DiskFull => "make room on the disk",
        ErrorCode::SystemIoFailure => NO_WAL,
        _ => return None,
    })
}
