//! Notices that the source has changed: commits of any process, and another file in its place.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// The state of the source at a moment. Equal states have equal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The file's number and length, which change when another takes its place.
    file: Option<(u64, u64)>,
    /// SQLite's own count of the commits that others have made, and of the connections before.
    commits: Option<(u64, i64)>,
}

/// Looks at the source. Its connection is used for nothing else, so that it sees the commits of
/// every other one.
#[derive(Debug)]
pub(super) struct Probe {
    path: PathBuf,
    connection: Option<Connection>,
    opened: u64,
    file: Option<u64>,
}

impl Probe {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: None, opened: 0, file: None }
    }

    /// Returns the state of now. What cannot be read is a state too.
    pub(super) fn state(&mut self) -> State {
        let file = identity(&self.path);
        if self.connection.is_none() || file.map(|(file, _)| file) != self.file {
            self.file = file.map(|(file, _)| file);
            self.opened += 1;
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            self.connection = Connection::open_with_flags(&self.path, flags).ok();
        }
        let commits = self.connection.as_ref().and_then(|connection| {
            let sql = "PRAGMA data_version";
            connection.query_row(sql, [], |row| row.get(0)).ok().map(|n: i64| (self.opened, n))
        });
        if commits.is_none() {
            self.connection = None;
        }
        State { file, commits }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    // A checkpoint changes the length, which costs a copy that is then found to be the same.
    Some((metadata.ino(), metadata.len()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<(u64, u64)> {
    Some((0, fs::metadata(path).ok()?.len()))
}
