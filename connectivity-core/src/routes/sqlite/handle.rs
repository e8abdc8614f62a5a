//! One connection, and which file it has open.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::{self, Mode, about};
use super::file::{self, Stamp};
use crate::routes::source::SourceError;

/// A connection, and the file that it has open.
pub(super) struct Handle {
    pub(super) connection: Connection,
    pub(super) stamp: Stamp,
    mode: Mode,
}

impl Handle {
    pub(super) fn open(path: &Path, mode: Mode) -> Result<Self, SourceError> {
        // The file first: if it is replaced in between, the next comparison notices.
        let stamp = match Stamp::of(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound || mode != Mode::Create => {
                return Err(unreachable_file(path, &e));
            }
            stamp => stamp.ok(),
        };
        let (connection, mode) = match mode {
            Mode::ReadOnly => connection::open_read_only(path)?,
            mode => (connection::open(path, mode)?, mode),
        };
        let stamp =
            stamp.map_or_else(|| Stamp::of(path), Ok).map_err(|e| unreachable_file(path, &e))?;
        Ok(Self { connection, stamp, mode })
    }

    /// Opens a file again that had rows. One that is empty now is about to be written: SQLite would
    /// delete the log beside it.
    pub(super) fn reopen(path: &Path, mode: Mode) -> Result<Self, SourceError> {
        match Stamp::of(path) {
            Ok(stamp) if stamp.is_empty() => {
                Err(about(path, "the file is empty; put its content back"))
            }
            _ => Self::open(path, mode),
        }
    }

    /// Returns what the path means now, if that is not what this handle has read.
    pub(super) fn outdated(&self, path: &Path) -> Result<Option<Stamp>, SourceError> {
        let now = Stamp::of(path).map_err(|e| unreachable_file(path, &e))?;
        let has_unread_log = self.is_immutable() && file::has_log(path);
        Ok((now != self.stamp || has_unread_log).then_some(now))
    }

    /// Returns whether the file is read as one that nobody writes.
    pub(super) fn is_immutable(&self) -> bool {
        self.mode == Mode::Immutable
    }

    /// Closes the connection without its last act, which is to write the log into the file and to
    /// delete it by its name: another file may stand under that name now.
    pub(super) fn abandon(self) {
        // Only a connection that is broken refuses this, and then it writes nothing either.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

pub(super) fn unreachable_file(path: &Path, error: &io::Error) -> SourceError {
    about(
        path,
        format_args!(
            "{error}; check the path and that its volume is mounted; `connectivity init` makes a new file"
        ),
    )
}
