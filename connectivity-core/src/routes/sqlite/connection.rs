//! Opens connections with the settings of this module and explains the errors of SQLite.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::file;
use super::version::MayFail;
use crate::routes::source::SourceError;

/// Default timeout of waiting for another writer.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of a value that SQLite may build or load. Table values over 1 MiB are never
/// loaded, but a view has to build a value before its length is known.
const MAX_VALUE: i32 = 64 << 20;

/// Time limit of a read: a million rows take a few seconds on a busy machine, and a view may search
/// forever for its next row.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);

/// Number of SQLite virtual machine steps between two checks of the time limit: about 0.1 ms.
const STEPS_PER_TIME_CHECK: i32 = 10_000;

/// Access mode of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Read and write; create the file if it is missing.
    Create,
    /// Read and write.
    Write,
    /// Read only. SQLite may create the `-shm` file that readers share.
    Read,
    /// Read only. SQLite may write no file except `-shm`.
    ReadOnly,
    /// Read only, for a file that no process writes meanwhile: without locks and sidecar files.
    Immutable,
}

/// Opens a connection with our settings.
pub(super) fn open(path: &Path, mode: Mode) -> Result<Connection, SourceError> {
    connect(path, mode).map_err(|e| sqlite_error(path, "cannot be opened", &e))
}

/// Opens a read-only connection and returns its mode. In a directory that is not writable the
/// `-shm` file cannot be created, so a file without a log is opened as immutable.
pub(super) fn open_read_only(path: &Path) -> Result<(Connection, Mode), SourceError> {
    let has_log = file::has_log(path);
    let open_immutable =
        || open(path, Mode::Immutable).map(|connection| (connection, Mode::Immutable));
    if !has_log && file::is_in_read_only_directory(path) {
        return open_immutable();
    }
    let result = connect(path, Mode::ReadOnly)
        .and_then(|connection| data_version(&connection).map(|_| connection));
    match result {
        Ok(connection) => Ok((connection, Mode::ReadOnly)),
        Err(e) if !is_denied(&e) => Err(sqlite_error(path, "cannot be opened", &e)),
        Err(_) if !has_log => open_immutable(),
        Err(e) => Err(file_error(path, format_args!("cannot be opened: {e}; {LOG_WITHOUT_INDEX}"))),
    }
}

const LOG_WITHOUT_INDEX: &str = "there is a -wal, which can be read only by who may write a -shm beside it; let this \
     user write the directory, or empty the log: sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'";

fn is_denied(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Limits the time of the queries of a connection, counted from now. A query over the limit ends as
/// [interrupted](ErrorCode::OperationInterrupted).
pub(super) fn set_time_limit(connection: &mut Connection, limit: Duration) -> rusqlite::Result<()> {
    let start = Instant::now();
    let is_over = move || start.elapsed() >= limit;
    connection.progress_handler(STEPS_PER_TIME_CHECK, Some(is_over)).checked()
}

fn connect(path: &Path, mode: Mode) -> rusqlite::Result<Connection> {
    let connection = match mode {
        Mode::Immutable => Connection::open_with_flags(immutable_uri(path), flags(mode))?,
        _ => Connection::open_with_flags(path, flags(mode))?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE).checked()?;
    // FULL, because the file is small and valuable; the triggers dominate the cost of a write
    // anyway.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL",
    )?;
    if !matches!(mode, Mode::Create | Mode::Write) {
        connection.execute_batch("PRAGMA query_only = ON")?;
    }
    Ok(connection)
}

/// Sets `SQLITE_OPEN_URI` only for our own URI, so that a path is never parsed as one.
fn flags(mode: Mode) -> OpenFlags {
    let access = match mode {
        Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::Write | Mode::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Immutable => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// There is no open flag for immutable files, only a URI parameter.
pub(crate) fn immutable_uri(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            char::from(*byte).to_string()
        }
        b'\\' if cfg!(windows) => "/".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    let root = if cfg!(windows) { "/" } else { "" };
    format!("file:{root}{}?immutable=1", encoded.collect::<String>())
}

/// Enables the write-ahead log. Without it a writer would block every reader, including the
/// watcher.
pub(super) fn use_wal(path: &Path, connection: &Connection) -> Result<(), SourceError> {
    match journal_mode_wal(connection) {
        Ok(mode) if mode == "wal" => Ok(()),
        Ok(mode) => Err(file_error(
            path,
            format_args!(
                "the write-ahead log is not possible here (journal mode stays `{mode}`); {NO_WAL}"
            ),
        )),
        Err(e) => Err(sqlite_error(path, "the write-ahead log cannot be turned on", &e)),
    }
}

/// Sets the journal mode and returns the mode that is in force. SQLite does not wait for a lock that
/// another connection may be waiting to exchange for the same one, as where several processes create
/// one file; so this tries again.
fn journal_mode_wal(connection: &Connection) -> rusqlite::Result<String> {
    let start = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        match mode {
            Err(e) if is_busy(&e) && start.elapsed() < BUSY_TIMEOUT => thread::sleep(WAL_RETRY),
            mode => return mode,
        }
    }
}

/// Pause between two attempts to enable the write-ahead log.
const WAL_RETRY: Duration = Duration::from_millis(5);

const NO_WAL: &str = "put the file on a local, writable file system";

/// Reads the counter that changes with every commit of another connection.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// Returns whether another connection is writing.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Creates an error about a file.
pub(super) fn file_error(path: &Path, text: impl fmt::Display) -> SourceError {
    SourceError::new(format_args!("{}: {text}", path.display()))
}

/// Creates an error from a SQLite error, with advice if there is any.
pub(super) fn sqlite_error(path: &Path, action: &str, error: &rusqlite::Error) -> SourceError {
    match error.sqlite_error_code().and_then(advice) {
        Some(advice) => file_error(path, format_args!("{action}: {error}; {advice}")),
        None => file_error(path, format_args!("{action}: {error}")),
    }
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NotADatabase => "give the path of a routes file, or make one: connectivity init",
        ErrorCode::CannotOpen => {
            "the directory must exist, and this user must be able to read and write there"
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another process keeps a transaction open; end it"
        }
        ErrorCode::DatabaseCorrupt => "restore a copy, or save what is left: sqlite3 FILE .recover",
        ErrorCode::ReadOnly => {
            "this user must be able to write the file, its -wal and -shm, and the directory; or open it read-only"
        }
        ErrorCode::DiskFull => "make room on the disk",
        ErrorCode::SystemIoFailure => NO_WAL,
        ErrorCode::OperationInterrupted => {
            "it takes too long; if `routes` is a view, it may be without end: SELECT sql FROM sqlite_schema WHERE name = 'routes'"
        }
        ErrorCode::TooBig => "a value is longer than 64 MiB; change or delete its row in a shell",
        _ => return None,
    })
}
