//! Detects commits of any process with a thread that never writes.
//!
//! File events of the operating system are a hint; `PRAGMA data_version` is authoritative. SQLite
//! writes the `-wal` file first and its index afterwards, so an event often comes before the commit
//! is visible. Each event therefore starts a series of rechecks. Slow polling covers file systems
//! that report no events. The connection of the watcher never reads a table, because afterwards a
//! check after a commit of another connection would cost up to 100 times more.

use std::ffi::OsStr;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rusqlite::Connection;

use super::connection::{data_version, file_error, sqlite_error};
use super::file::{FileId, Sidecars};
use super::handle::{Handle, HandleSlot};
use super::store::{Store, lock};
use super::stores;
use crate::routes::source::{ChangeFn, SourceError, WatchGuard};
use crate::routes::wake::{ChangeNotifier, WakeEvent, WakeReceiver, WakeSender};

/// Number of rechecks after an event: they come after 50 µs, 100 µs and so on up to 410 ms. The log
/// is written first, and the commit becomes visible once it is on disk: mostly within a
/// millisecond, but a busy disk takes 30 ms and more. Each wait is as long as all earlier ones
/// together, so a slow commit is detected after at most twice its duration.
const RECHECKS: u32 = 14;
const FIRST_RECHECK: Duration = Duration::from_micros(50);
/// A check costs microseconds, so this interval is no burden.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Polling interval when there are no file events.
const POLL_INTERVAL_WITHOUT_EVENTS: Duration = Duration::from_millis(200);

/// Subscribes to file events that wake the thread after each write, until the result is dropped.
type Subscribe = fn(&Store, &WakeSender) -> notify::Result<RecommendedWatcher>;

/// Starts the watcher thread.
pub(super) fn start(store: Arc<Store>, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
    start_with(store, changed, subscribe)
}

pub(super) fn start_with(
    store: Arc<Store>,
    changed: ChangeFn,
    subscribe: Subscribe,
) -> Result<WatchGuard, SourceError> {
    let (sender, receiver) = WakeSender::new();
    let path = store.path().to_owned();
    let mut watcher = Watcher {
        // Open before the thread starts: the watcher detects every later commit, and the
        // notification that a new `ChangeNotifier` has pending covers commits since the last read.
        probe: Probe::open(&store)?,
        store,
        subscribe,
        events: None,
        sender: sender.clone(),
        notifier: ChangeNotifier::new(changed),
        // The event of a commit in progress may have come before the subscription.
        rechecks: 0,
        last_check_failed: false,
    };
    watcher.subscribe();
    let thread = thread::Builder::new()
        .name("connectivity-routes".to_owned())
        .spawn(move || watcher.run(&receiver))
        .map_err(|e| {
            file_error(&path, format_args!("the thread that watches cannot start: {e}"))
        })?;
    Ok(WatchGuard::new(move || sender.stop(), thread))
}

struct Watcher {
    store: Arc<Store>,
    probe: Probe,
    subscribe: Subscribe,
    events: Option<RecommendedWatcher>,
    sender: WakeSender,
    notifier: ChangeNotifier,
    /// Rechecks since the last event.
    rechecks: u32,
    /// Whether the last check failed.
    last_check_failed: bool,
}

impl Watcher {
    fn run(mut self, receiver: &WakeReceiver) {
        loop {
            self.check();
            self.notifier.notify_if_due();
            match receiver.wait(self.notifier.until_due(self.next_check())) {
                WakeEvent::Wake => self.rechecks = 0,
                WakeEvent::TimedOut => self.rechecks = RECHECKS.min(self.rechecks + 1),
                WakeEvent::Stop => return,
            }
        }
    }

    fn check(&mut self) {
        let result = self.probe.check(&self.store);
        self.store.notes.record_check(&result);
        self.last_check_failed &= result.is_err();
        match result {
            // A failed check is reported on `inspect` and repeated anyway. Notify on the first
            // failure, so that the reload fails too and is logged.
            Err(_) if !std::mem::replace(&mut self.last_check_failed, true) => {
                self.notifier.mark_changed();
            }
            Ok(CheckResult::Unchanged) | Err(_) => {}
            Ok(CheckResult::Commit) => self.notifier.mark_changed(),
            Ok(CheckResult::OtherFile | CheckResult::SidecarsLost(..)) => {
                self.subscribe();
                self.rechecks = 0;
                self.notifier.mark_changed();
            }
        }
    }

    fn subscribe(&mut self) {
        let events = (self.subscribe)(&self.store, &self.sender);
        self.store.notes.record_events_error(events.as_ref().err().map(|e| {
            format!("changes are looked for five times a second only, because the system does not tell of them: {e}")
        }));
        self.events = events.ok();
    }

    fn next_check(&self) -> Duration {
        match self.rechecks {
            n if n < RECHECKS => FIRST_RECHECK * 2_u32.pow(n),
            _ if self.events.is_some() => POLL_INTERVAL,
            _ => POLL_INTERVAL_WITHOUT_EVENTS,
        }
    }
}

/// Connection that only checks for commits. Its slot is empty after a failure, or after this
/// process closed all connections to the file.
struct Probe {
    handle: HandleSlot,
    version: i64,
    sidecars: Sidecars,
}

enum CheckResult {
    Unchanged,
    Commit,
    OtherFile,
    /// The log of this file or its index is not the one that is open. The flag is whether to
    /// checkpoint on close.
    SidecarsLost(FileId, bool),
}

impl Probe {
    fn open(store: &Store) -> Result<Self, SourceError> {
        let handle = store.connect()?;
        let version = version(store, &handle.connection)?;
        let slot = store.add_watcher_slot();
        *lock(&slot) = Some(handle);
        // Read the sidecars after the first query, which creates the log and its index if they are
        // missing.
        Ok(Self { handle: slot, version, sidecars: Sidecars::of(store.path()) })
    }

    /// Checks for a change. After a failure every state counts as changed.
    fn check(&mut self, store: &Store) -> Result<CheckResult, SourceError> {
        let slot = Arc::clone(&self.handle);
        let result = self.compare(store, &mut lock(&slot))?;
        if let CheckResult::SidecarsLost(file, checkpoint) = result {
            stores::close_all(file, checkpoint);
            self.reopen(store, &mut lock(&slot))?;
            return Ok(CheckResult::OtherFile);
        }
        Ok(result)
    }

    fn compare(
        &mut self,
        store: &Store,
        open: &mut Option<Handle>,
    ) -> Result<CheckResult, SourceError> {
        let Some(handle) = open else {
            self.reopen(store, open)?;
            return Ok(CheckResult::OtherFile);
        };
        let (outdated, own_file) = (handle.outdated(store.path())?, handle.stamp.file);
        let sidecars = Sidecars::of(store.path());
        match outdated {
            Some(now) if now.file != own_file => {
                store.notes.record_replaced(now.file);
                self.reopen(store, open)?;
                Ok(CheckResult::OtherFile)
            }
            // The log of another process is in use now, or the file does not belong to our log.
            _ if self.sidecars.lost(&sidecars) => {
                Ok(CheckResult::SidecarsLost(own_file, !sidecars.has_log() && outdated.is_none()))
            }
            // A checkpoint, or a copy over the file. Neither is a commit; the store distinguishes
            // the two.
            Some(_) => {
                self.reopen(store, open)?;
                Ok(CheckResult::Commit)
            }
            None => {
                let version = version(store, &handle.connection).inspect_err(|_| *open = None)?;
                self.sidecars = sidecars;
                let before = std::mem::replace(&mut self.version, version);
                Ok(if before == version { CheckResult::Unchanged } else { CheckResult::Commit })
            }
        }
    }

    fn reopen(&mut self, store: &Store, open: &mut Option<Handle>) -> Result<(), SourceError> {
        let handle = store.connect()?;
        self.version = version(store, &handle.connection)?;
        self.sidecars = Sidecars::of(store.path());
        open.replace(handle).into_iter().for_each(Handle::abandon);
        Ok(())
    }
}

fn version(store: &Store, connection: &Connection) -> Result<i64, SourceError> {
    data_version(connection).map_err(|e| sqlite_error(store.path(), "cannot be looked at", &e))
}

/// Watches the directory instead of the file: `-wal` comes and goes, and the file may be replaced.
fn subscribe(store: &Store, sender: &WakeSender) -> notify::Result<RecommendedWatcher> {
    // SQLite puts `-wal` next to the file itself, not next to a symbolic link.
    let file = fs::canonicalize(store.path())?;
    let name = file.file_name().unwrap_or_default().to_owned();
    let sender = sender.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| may_be_commit(&event, &name)) {
            sender.wake();
        }
    })?;
    watcher.watch(file.parent().unwrap_or(&file), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Returns whether an event may mean a commit: not an open of ours, not the status directory, and
/// not another file.
fn may_be_commit(event: &Event, name: &OsStr) -> bool {
    let own_file = |other: &OsStr| {
        let rest = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    event.need_rescan()
        || !matches!(event.kind, EventKind::Access(_))
            && event.paths.iter().filter_map(|path| path.file_name()).any(own_file)
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind};

    use super::*;

    #[test]
    fn only_writes_to_the_file_and_its_log_count() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let counts = |kind, file: &str| {
            may_be_commit(
                &Event::new(kind).add_path(format!("/x/{file}").into()),
                OsStr::new("routes.db"),
            )
        };
        for file in ["routes.db", "routes.db-wal", "routes.db-shm", "routes.db-journal"] {
            assert!(
                counts(written, file) && counts(EventKind::Create(CreateKind::File), file),
                "{file}"
            );
            assert!(!counts(opened, file), "{file}");
        }
        for file in ["routes.db.d", "routes.db2", "other.db", "routes.d"] {
            assert!(!counts(written, file), "{file}");
        }
    }
}
