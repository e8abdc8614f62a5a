//! The handle by which an application reads a replica.

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::error::SyncError;
use super::meta::SnapshotMeta;
use super::sound::open_immutable;
use super::store::Stored;

/// A read-only connection to one snapshot.
///
/// It sees that snapshot for as long as it lives, whatever the subscriber receives meanwhile, and no
/// swap makes a query of it fail. Take a new one for newer data: [`is_current`](Self::is_current)
/// tells when, for the cost of an atomic load.
pub struct Reader {
    // Before the snapshot, so that the file is closed before it is deleted.
    connection: Connection,
    snapshot: Arc<Stored>,
}

impl Reader {
    pub(super) fn open(snapshot: Arc<Stored>) -> Result<Self, SyncError> {
        let connection = open_immutable(&snapshot.path)
            .map_err(|cause| SyncError::database(&snapshot.path, cause))?;
        Ok(Self { connection, snapshot })
    }

    /// Returns whether this is still the snapshot in force.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.snapshot.is_replaced()
    }

    /// Describes the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot.meta
    }

    /// Returns the path of the snapshot's file, for other drivers than rusqlite. The file exists
    /// while this reader does, and nobody writes it: open it as immutable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.snapshot.path
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("snapshot", &self.snapshot.meta).finish_non_exhaustive()
    }
}
