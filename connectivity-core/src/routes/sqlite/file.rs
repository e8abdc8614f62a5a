//! Which file a path means right now, what stands beside it, and who may write it.
//!
//! Nothing here opens a file: closing a second handle of a database would drop this process's locks
//! on it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Tells one file from another that took its place under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

/// Shows that somebody wrote the database file itself: a checkpoint, or a copy over it, which
/// SQLite does not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) file: FileId,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let (length, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self { file: FileId::from(&metadata), length, modified })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The write-ahead log and its index, which SQLite keeps beside the file while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sidecars {
    log: Option<FileId>,
    index: Option<FileId>,
}

impl Sidecars {
    pub(super) fn of(path: &Path) -> Self {
        let file = |suffix| {
            fs::metadata(beside(path, suffix)).ok().map(|metadata| FileId::from(&metadata))
        };
        Self { log: file("-wal"), index: file("-shm") }
    }

    /// Returns whether one that stood here is gone, or is another file `now`.
    pub(super) fn lost(&self, now: &Self) -> bool {
        let lost = |before: Option<FileId>, now| before.is_some() && before != now;
        lost(self.log, now.log) || lost(self.index, now.index)
    }

    pub(super) const fn has_log(&self) -> bool {
        self.log.is_some()
    }
}

/// Returns whether commits may stand beside the file: in a log, or in a journal to be rolled back.
pub(super) fn has_log(path: &Path) -> bool {
    let has_content =
        |suffix| fs::metadata(beside(path, suffix)).is_ok_and(|metadata| metadata.len() > 0);
    has_content("-wal") || has_content("-journal")
}

/// Returns whether nobody may write the directory, not even the one user who could.
pub(super) fn is_in_sealed_directory(path: &Path) -> bool {
    let directory = beside(path, "").parent().map(fs::metadata);
    // Elsewhere the attribute of a directory says nothing about the files in it.
    cfg!(unix)
        && directory
            .is_some_and(|found| found.is_ok_and(|metadata| metadata.permissions().readonly()))
}

/// SQLite puts them beside the file itself, not beside a link to it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = fs::canonicalize(path).map_or_else(|_| path.into(), OsString::from);
    path.push(suffix);
    path.into()
}

#[cfg(unix)]
impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }
}

/// Elsewhere a database that is open cannot be replaced.
#[cfg(not(unix))]
impl From<&Metadata> for FileId {
    fn from(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

/// Warns of a file or directory that everybody may write.
#[cfg(unix)]
pub(super) fn permissions(path: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
    };
    let mut warnings = Vec::new();
    if open(path) {
        warnings.push("every user may write the routes file; chmod 660 it".to_owned());
    }
    if path.parent().is_some_and(open) {
        warnings.push(
            "every user may write the directory of the routes file and so lock its owner out; chmod 2770 it".to_owned(),
        );
    }
    warnings
}

#[cfg(not(unix))]
pub(super) fn permissions(_: &Path) -> Vec<String> {
    Vec::new()
}
