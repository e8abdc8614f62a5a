//! Which file a path means right now, and who may write it.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// Tells one file from another that took its place under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// Looks without opening: closing a second handle of a database would drop this process's locks on it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
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
    let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0);
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
