//! A connection together with the identity of its file.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::{self, Mode, file_error};
use super::file::{self, Stamp};
use crate::routes::source::SourceError;

/// A connection and the file that it has open.
pub(super) struct Handle {
    pub(super) connection: Connection,
    pub(super) stamp: Stamp,
    mode: Mode,
}

/// Slot for the connection of a watcher, so that a connection can be closed from outside.
pub(super) type HandleSlot = Arc<Mutex<Option<Handle>>>;

impl Handle {
    pub(super) fn open(path: &Path, mode: Mode) -> Result<Self, SourceError> {
        // Read the stamp first: if the file is replaced in between, the next comparison detects it.
        let stamp = match Stamp::of(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound || mode != Mode::Create => {
                return Err(metadata_error(path, &e));
            }
            stamp => stamp.ok(),
        };
        let (connection, mode) = match mode {
            Mode::ReadOnly => connection::open_read_only(path)?,
            mode => (connection::open(path, mode)?, mode),
        };
        let stamp =
            stamp.map_or_else(|| Stamp::of(path), Ok).map_err(|e| metadata_error(path, &e))?;
        Ok(Self { connection, stamp, mode })
    }

    /// Reopens a routes file. An empty file is an error: it is probably about to be written, and
    /// SQLite would delete the log next to it.
    pub(super) fn reopen(path: &Path, mode: Mode) -> Result<Self, SourceError> {
        match Stamp::of(path) {
            Ok(stamp) if stamp.is_empty() => {
                Err(file_error(path, "the file is empty; put its content back"))
            }
            _ => Self::open(path, mode),
        }
    }

    /// Returns the current stamp of the path if it differs from the one that this handle has read.
    pub(super) fn outdated(&self, path: &Path) -> Result<Option<Stamp>, SourceError> {
        let now = Stamp::of(path).map_err(|e| metadata_error(path, &e))?;
        let has_unread_log = self.is_immutable() && file::has_log(path);
        Ok((now != self.stamp || has_unread_log).then_some(now))
    }

    /// Returns whether the file was opened as immutable.
    pub(super) fn is_immutable(&self) -> bool {
        self.mode == Mode::Immutable
    }

    /// Closes the connection without the final checkpoint, which writes the log into the file and
    /// deletes the log by name: by now the name may belong to another file.
    pub(super) fn abandon(self) {
        // This fails only on a broken connection, which does not write either.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

pub(super) fn metadata_error(path: &Path, error: &io::Error) -> SourceError {
    file_error(
        path,
        format_args!(
            "{error}; check the path and that its volume is mounted; `connectivity init` makes a new file"
        ),
    )
}
