//! Opens connections the one way this room needs them, and explains SQLite's errors.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::file;
use crate::routes::source::SourceError;

/// How long to wait for another writer, unless said otherwise.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest value that SQLite makes or loads for us. What a table holds beyond 1 MiB is not
/// loaded, but a view has to make a value before its length is known.
const MAX_VALUE: i32 = 64 << 20;

/// How long reading may take: a million rows take a few seconds on a busy machine, and a view may
/// search for ever for a row to give.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);

/// How many steps SQLite takes between two looks at the time: about a tenth of a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Make the file if it is missing, and write.
    Create,
    /// Write.
    Write,
    /// Only read; the file system may be asked to make the `-shm` file that readers share.
    Read,
    /// Only read, and touch nothing but the `-shm` file.
    ReadOnly,
    /// Only read a file that nobody writes meanwhile, without locks and without files beside it.
    Immutable,
}

/// Opens a connection with our settings.
pub(super) fn open(path: &Path, mode: Mode) -> Result<Connection, SourceError> {
    connect(path, mode).map_err(|e| explain(path, "cannot be opened", &e))
}

/// Opens a connection that only reads, and returns how: in a directory that cannot be written the
/// index of the log cannot be made, and a file without a log is read as it stands.
pub(super) fn open_read_only(path: &Path) -> Result<(Connection, Mode), SourceError> {
    let has_log = file::has_log(path);
    let immutable = || open(path, Mode::Immutable).map(|connection| (connection, Mode::Immutable));
    if !has_log && file::is_in_sealed_directory(path) {
        return immutable();
    }
    let probed = connect(path, Mode::ReadOnly)
        .and_then(|connection| data_version(&connection).map(|_| connection));
    match probed {
        Ok(connection) => Ok((connection, Mode::ReadOnly)),
        Err(e) if !is_denied(&e) => Err(explain(path, "cannot be opened", &e)),
        Err(_) if !has_log => immutable(),
        Err(e) => Err(about(path, format_args!("cannot be opened: {e}; {LOG_WITHOUT_INDEX}"))),
    }
}

const LOG_WITHOUT_INDEX: &str = "there is a -wal, which can be read only by who may write a -shm beside it; let this \
     user write the directory, or empty the log: sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'";

fn is_denied(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Gives the queries of a connection so long from now; then they end as
/// [interrupted](ErrorCode::OperationInterrupted).
pub(super) fn limit_time(connection: &mut Connection, limit: Duration) -> rusqlite::Result<()> {
    let start = Instant::now();
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || start.elapsed() >= limit))
}

fn connect(path: &Path, mode: Mode) -> rusqlite::Result<Connection> {
    let connection = match mode {
        Mode::Immutable => Connection::open_with_flags(immutable_uri(path), flags(mode))?,
        _ => Connection::open_with_flags(path, flags(mode))?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    // FULL, because the file is small and precious; triggers make it as slow as it is anyway.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL",
    )?;
    if !matches!(mode, Mode::Create | Mode::Write) {
        connection.execute_batch("PRAGMA query_only = ON")?;
    }
    Ok(connection)
}

/// No `SQLITE_OPEN_URI` unless the URI is ours: a path is a path, whatever it looks like.
fn flags(mode: Mode) -> OpenFlags {
    let access = match mode {
        Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::Write | Mode::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Immutable => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// There is no flag for it, only a parameter of a URI.
fn immutable_uri(path: &Path) -> String {
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

/// Turns the write-ahead log on: without it a writer would lock out every reader, and the watching.
pub(super) fn use_wal(path: &Path, connection: &Connection) -> Result<(), SourceError> {
    let mode: Result<String, _> =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
    match mode {
        Ok(mode) if mode == "wal" => Ok(()),
        Ok(mode) => Err(about(
            path,
            format_args!(
                "the write-ahead log is not possible here (journal mode stays `{mode}`); {NO_WAL}"
            ),
        )),
        Err(e) => Err(explain(path, "the write-ahead log cannot be turned on", &e)),
    }
}

const NO_WAL: &str = "put the file on a local, writable file system";

/// Reads the counter that every commit of another connection moves.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// Returns whether somebody else is writing.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
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
