//! A snapshot that a publisher has produced.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::chunks::{ChunkHash, Scan};
use super::copy;
use super::directory::{Directory, Draft};
use super::error::SyncError;
use super::filter::Filter;
use super::meta::SnapshotMeta;
use crate::tls::hex;

/// The file that remembers the last version, so that it grows over restarts.
const LAST: &str = "last.json";
const PREFIX: &str = "copy-";
const SUFFIX: &str = ".db";

/// A snapshot: its file, which is deleted with this, and its chunks.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) meta: SnapshotMeta,
    pub(super) chunks: Vec<ChunkHash>,
    file: Draft,
}

impl Published {
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(self.file.path())
    }
}

/// Produces snapshots of a database in a directory.
#[derive(Debug)]
pub(super) struct Producer {
    source: std::path::PathBuf,
    filter: Filter,
    directory: Directory,
    /// The last snapshot, perhaps of an earlier run.
    last: Option<SnapshotMeta>,
    copies: u64,
}

impl Producer {
    /// Checks the filter, and deletes what a crash has left.
    pub(super) fn new(
        source: &Path,
        filter: Filter,
        directory: Directory,
    ) -> Result<Self, SyncError> {
        let source = fs::canonicalize(source).map_err(|cause| SyncError::file(source, cause))?;
        if source.to_str().is_none() {
            return Err(SyncError::database(&source, "SQLite takes paths in UTF-8 only"));
        }
        copy::check(&source, &filter)?;
        directory.clean(is_ours)?;
        let last = fs::read(directory.file(LAST)).ok();
        let last = last.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(Self { source, filter, directory, last, copies: 0 })
    }

    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// Makes a snapshot of the database as it is now. Equal data keep their version, also over a
    /// restart, so that who has them is not sent them again.
    pub(super) fn produce(&mut self) -> Result<Published, SyncError> {
        self.copies += 1;
        let path = self.directory.file(&format!("{PREFIX}{}{SUFFIX}", self.copies));
        copy::write(&self.source, &self.filter, &path)?;
        let file = Draft::new(path.clone());
        let scan = File::open(&path).and_then(|file| Scan::of(&file));
        let scan = scan.map_err(|cause| SyncError::file(&path, cause))?;
        let before = self.last.as_ref().map_or(0, |last| last.version);
        let mut meta = SnapshotMeta::now(&scan.hash, scan.size, before);
        match &self.last {
            Some(last) if last.hash == hex(&scan.hash) => meta.version = last.version,
            _ => self.remember(&meta)?,
        }
        self.last = Some(meta.clone());
        Ok(Published { meta, chunks: scan.chunks, file })
    }

    fn remember(&self, meta: &SnapshotMeta) -> Result<(), SyncError> {
        let failed = |cause| SyncError::file(&self.directory.file(LAST), cause);
        let json = serde_json::to_vec(meta).map_err(|cause| failed(io::Error::other(cause)))?;
        self.directory.replace(LAST, &json).map_err(failed)
    }
}

/// Returns whether a file of this name is a copy of ours.
fn is_ours(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.is_some_and(is_number) || name == "last.json.new"
}
