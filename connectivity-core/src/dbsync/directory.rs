//! A directory that one publisher or subscriber uses at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::copy::create_private;
use super::error::SyncError;

const LOCK: &str = "lock";

/// How long to wait for one that is ending, and how often to look.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A directory, locked until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates the directory if it is missing, for this user only, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, SyncError> {
        let failed = |cause| SyncError::file(path, cause);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = path.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(|cause| SyncError::file(&lock, cause))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                    thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => return Err(SyncError::InUse { directory: path }),
                Err(TryLockError::Error(cause)) => return Err(SyncError::file(&lock, cause)),
            }
        }
    }

    /// Returns the path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Deletes the files whose names are of the kind that `is_stray` accepts.
    pub(super) fn clean(&self, is_stray: impl Fn(&str) -> bool) -> Result<(), SyncError> {
        let failed = |cause| SyncError::file(&self.path, cause);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(&is_stray) {
                fs::remove_file(entry.path())
                    .map_err(|cause| SyncError::file(&entry.path(), cause))?;
            }
        }
        Ok(())
    }

    /// Replaces a small file. After a crash it has its old content or its new one;
    /// [`sync`](Self::sync) makes that the new one.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let new = self.file(&format!("{name}.new"));
        let _ = fs::remove_file(&new);
        let mut file = create_private(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, self.file(name))
    }

    /// Makes renames and deletions durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        // Directories can be opened on Unix only; elsewhere the file system orders these itself.
        match cfg!(unix) {
            true => File::open(&self.path)?.sync_all(),
            false => Ok(()),
        }
    }
}

/// A file that is deleted when this is dropped, unless it was kept.
#[derive(Debug)]
pub(super) struct Draft(Option<PathBuf>);

impl Draft {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Keeps the file.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
