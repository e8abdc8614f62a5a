//! The snapshots of a subscriber: which one is in force, and how the next one takes its place.
//!
//! A snapshot is a file that never changes. A reader opens the one in force and keeps it, however
//! many follow; the file of an older one is deleted when its last reader has gone.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use super::chunks::Scan;
use super::copy::create_private;
use super::directory::{Directory, Draft};
use super::error::SyncError;
use super::meta::{SnapshotMeta, since_1970};
use crate::tls::hex;

/// The file that names the snapshot in force.
const CURRENT: &str = "current.json";
const INCOMING: &str = "incoming-";
const SUFFIX: &str = ".db";

/// A snapshot on disk.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    pub(super) path: PathBuf,
    pub(super) swapped_at: SystemTime,
    /// Whether another one has taken its place.
    replaced: AtomicBool,
}

impl Stored {
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if self.is_replaced() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The content of [`CURRENT`].
#[derive(Serialize, Deserialize)]
struct Current {
    #[serde(flatten)]
    meta: SnapshotMeta,
    file: String,
    /// In seconds since 1970.
    swapped_at: u64,
}

/// How a snapshot compares with the one in force.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Newer,
    /// It is the one in force.
    Same,
    Older,
}

/// The directory of a subscriber.
#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    current: ArcSwapOption<Stored>,
    /// Held while a snapshot takes the place of another.
    install: Mutex<()>,
    drafts: AtomicU64,
}

impl Store {
    /// Opens the directory, verifies the snapshot in force, and deletes what a crash has left.
    pub(super) fn open(directory: Directory) -> Result<Self, SyncError> {
        let current = read_current(&directory);
        let in_force = current.as_ref().map(|stored| stored.path.clone());
        directory.clean(|name| {
            is_ours(name) && in_force.as_ref().is_none_or(|path| *path != directory.file(name))
        })?;
        Ok(Self {
            directory,
            current: ArcSwapOption::new(current.map(Arc::new)),
            install: Mutex::default(),
            drafts: AtomicU64::default(),
        })
    }

    pub(super) fn current(&self) -> Option<Arc<Stored>> {
        self.current.load_full()
    }

    /// Compares a snapshot with the one in force.
    pub(super) fn order(&self, meta: &SnapshotMeta) -> Order {
        match self.current.load().as_deref() {
            Some(now) if now.meta.version == meta.version && now.meta.hash == meta.hash => {
                Order::Same
            }
            Some(now) if now.meta.version >= meta.version => Order::Older,
            _ => Order::Newer,
        }
    }

    /// Creates a file for a snapshot that is coming in.
    pub(super) fn draft(&self) -> io::Result<(Draft, fs::File)> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.file(&format!("{INCOMING}{number}{SUFFIX}"));
        let file = create_private(&path)?;
        Ok((Draft::new(path), file))
    }

    /// Makes a verified file the snapshot in force, once it is on disk. Fails without a change.
    pub(super) fn install(&self, meta: SnapshotMeta, draft: Draft) -> io::Result<Installed> {
        let _one_at_a_time = self.install.lock().unwrap_or_else(PoisonError::into_inner);
        match self.order(&meta) {
            Order::Newer => {}
            Order::Same => return Ok(Installed::Before),
            Order::Older => return Ok(Installed::Overtaken),
        }
        fs::OpenOptions::new().write(true).open(draft.path())?.sync_all()?;
        let file = file_name(&meta);
        let path = self.directory.file(&file);
        fs::rename(draft.path(), &path)?;
        draft.keep();
        // Deleted again if the file that names it cannot be written.
        let renamed = Draft::new(path.clone());
        self.directory.sync()?;
        let swapped_at = SystemTime::now();
        let current = Current { meta, file, swapped_at: since_1970(swapped_at).as_secs() };
        let json = serde_json::to_vec(&current).map_err(io::Error::other)?;
        self.directory.replace(CURRENT, &json)?;
        // From here on a restart may find the new one.
        renamed.keep();
        self.directory.sync()?;
        let replaced = AtomicBool::new(false);
        let stored = Arc::new(Stored { meta: current.meta, path, swapped_at, replaced });
        if let Some(before) = self.current.swap(Some(Arc::clone(&stored))) {
            before.replaced.store(true, Ordering::Release);
        }
        Ok(Installed::Now(stored))
    }
}

/// What became of a snapshot.
pub(super) enum Installed {
    Now(Arc<Stored>),
    /// It was in force already.
    Before,
    /// A newer one was installed meanwhile.
    Overtaken,
}

/// Reads the snapshot in force. One that was damaged counts as none: the next push brings it anew.
fn read_current(directory: &Directory) -> Option<Stored> {
    let path = directory.file(CURRENT);
    let json = fs::read(&path).ok()?;
    let found: Result<Stored, String> = serde_json::from_slice::<Current>(&json)
        .map_err(|_| "it is no description of a snapshot".to_owned())
        .and_then(|current| verify(directory, current));
    found
        .inspect_err(|problem| {
            tracing::error!(file = %path.display(), %problem, "the snapshot of before is not usable; the next one is waited for");
        })
        .ok()
}

fn verify(directory: &Directory, current: Current) -> Result<Stored, String> {
    if !is_ours(&current.file) {
        return Err("it names a file that is no snapshot".to_owned());
    }
    let path = directory.file(&current.file);
    let scan = fs::File::open(&path).and_then(|file| Scan::of(&file));
    let scan = scan.map_err(|cause| format!("{}: {cause}", current.file))?;
    if (scan.size, hex(&scan.hash)) != (current.meta.size, current.meta.hash.clone()) {
        return Err(format!("{} was changed", current.file));
    }
    Ok(Stored {
        meta: current.meta,
        path,
        swapped_at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(current.swapped_at),
        replaced: AtomicBool::new(false),
    })
}

/// Returns the name of a snapshot's file: its version and the beginning of its hash.
fn file_name(meta: &SnapshotMeta) -> String {
    format!("{}-{}{SUFFIX}", meta.version, meta.hash.get(..16).unwrap_or_default())
}

/// Returns whether a file of this name is a snapshot, or one that was coming in. Other files of the
/// directory are left alone.
fn is_ours(name: &str) -> bool {
    // A shell that opens a snapshot makes these beside it.
    let name = name.strip_suffix("-wal").or_else(|| name.strip_suffix("-shm")).unwrap_or(name);
    let Some(stem) = name.strip_suffix(SUFFIX) else { return name == "current.json.new" };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(number) = stem.strip_prefix(INCOMING) {
        return is_number(number);
    }
    stem.rsplit_once('-').is_some_and(|(version, hash)| {
        is_number(version.strip_prefix('-').unwrap_or(version))
            && hash.len() == 16
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Store {
        Store::open(Directory::lock(dir.path()).unwrap()).unwrap()
    }

    fn push(store: &Store, version: i64, content: &[u8]) -> Installed {
        let (draft, mut file) = store.draft().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        let scan = Scan::of(&file).unwrap();
        let meta = SnapshotMeta { version, hash: hex(&scan.hash), size: scan.size, timestamp: 1 };
        store.install(meta, draft).unwrap()
    }

    fn databases(dir: &tempfile::TempDir) -> usize {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().ends_with(SUFFIX)).count()
    }

    #[test]
    fn a_snapshot_outlives_its_successor_for_who_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        assert!(matches!(push(&store, 1, b"one"), Installed::Now(_)));
        let one = store.current().unwrap();
        assert!(matches!(push(&store, 2, b"two"), Installed::Now(_)));
        assert_eq!((fs::read(&one.path).unwrap(), databases(&dir)), (b"one".to_vec(), 2));
        assert!(one.is_replaced());
        drop(one);
        assert_eq!(databases(&dir), 1);
    }

    #[test]
    fn older_ones_never_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        push(&store, 5, b"five");
        assert!(matches!(push(&store, 4, b"four"), Installed::Overtaken));
        assert!(matches!(push(&store, 5, b"another five"), Installed::Overtaken));
        assert!(matches!(push(&store, 5, b"five"), Installed::Before));
        assert_eq!((store.current().unwrap().meta.version, databases(&dir)), (5, 1));
        drop(store);
        let again = open(&dir);
        assert_eq!(again.current().unwrap().meta.version, 5);
        assert!(matches!(push(&again, 4, b"four"), Installed::Overtaken));
    }

    #[test]
    fn what_a_crash_left_is_deleted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        push(&open(&dir), 5, b"five");
        let stray = [
            "incoming-3.db",
            "4-0123456789abcdef.db",
            "4-0123456789abcdef.db-wal",
            "current.json.new",
        ];
        let foreign = ["shop.db", "shop.db-wal", "incoming-x.db", "4-xyz.db", "notes.txt"];
        for name in stray.iter().chain(&foreign) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let store = open(&dir);
        assert!(stray.iter().all(|name| !dir.path().join(name).exists()));
        assert!(foreign.iter().all(|name| dir.path().join(name).exists()));
        assert_eq!(fs::read(&store.current().unwrap().path).unwrap(), b"five");
    }

    #[test]
    fn a_damaged_snapshot_is_none() {
        let dir = tempfile::tempdir().unwrap();
        push(&open(&dir), 5, b"five");
        let path = open(&dir).current().unwrap().path.clone();
        fs::write(&path, "FIVE").unwrap();
        let store = open(&dir);
        assert!(store.current().is_none());
        assert!(matches!(push(&store, 5, b"five"), Installed::Now(_)));
    }

    #[test]
    fn one_subscriber_at_a_time_uses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _store = open(&dir);
        assert!(matches!(Directory::lock(dir.path()), Err(SyncError::InUse { .. })));
    }
}
