//! Identity, sidecar files and permissions of the database file at a path.
//!
//! Nothing here opens a file: closing a second descriptor of a database would drop this process's
//! POSIX locks on it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Identifies a file, to detect that another file replaced it under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

/// Detects writes to the database file itself: a checkpoint, or a copy over the file, which SQLite
/// does not notice.
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

/// The write-ahead log and its index, which SQLite keeps next to an open database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sidecars {
    log: Option<FileId>,
    index: Option<FileId>,
}

impl Sidecars {
    pub(super) fn of(path: &Path) -> Self {
        let file = |suffix| {
            fs::metadata(sidecar_path(path, suffix)).ok().map(|metadata| FileId::from(&metadata))
        };
        Self { log: file("-wal"), index: file("-shm") }
    }

    /// Returns whether a sidecar was deleted or replaced since `self` was read.
    pub(super) fn lost(&self, now: &Self) -> bool {
        let lost = |before: Option<FileId>, now| before.is_some() && before != now;
        lost(self.log, now.log) || lost(self.index, now.index)
    }

    pub(super) const fn has_log(&self) -> bool {
        self.log.is_some()
    }
}

/// Returns whether there may be commits outside the main file: in a log, or in a journal to roll
/// back.
pub(super) fn has_log(path: &Path) -> bool {
    let has_content =
        |suffix| fs::metadata(sidecar_path(path, suffix)).is_ok_and(|metadata| metadata.len() > 0);
    has_content("-wal") || has_content("-journal")
}

/// Returns whether the directory has no write permission for any user. Root could still write it,
/// but must not.
pub(super) fn is_in_read_only_directory(path: &Path) -> bool {
    let directory = sidecar_path(path, "").parent().map(fs::metadata);
    // On other systems the read-only attribute of a directory does not apply to its files.
    cfg!(unix)
        && directory.is_some_and(|metadata| {
            metadata.is_ok_and(|metadata| metadata.permissions().readonly())
        })
}

/// Returns the path of a sidecar. SQLite puts sidecars next to the file itself, not next to a
/// symbolic link.
fn sidecar_path(path: &Path, suffix: &str) -> PathBuf {
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

/// On other systems an open database cannot be replaced.
#[cfg(not(unix))]
impl From<&Metadata> for FileId {
    fn from(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

/// Returns warnings about a file or directory that is writable by all users.
#[cfg(unix)]
pub(super) fn permission_warnings(path: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let world_writable = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
    };
    let mut warnings = Vec::new();
    if world_writable(path) {
        warnings.push("every user may write the routes file; chmod 660 it".to_owned());
    }
    if path.parent().is_some_and(world_writable) {
        warnings.push(
            "every user may write the directory of the routes file and so lock its owner out; chmod 2770 it".to_owned(),
        );
    }
    warnings
}

#[cfg(not(unix))]
pub(super) fn permission_warnings(_: &Path) -> Vec<String> {
    Vec::new()
}
