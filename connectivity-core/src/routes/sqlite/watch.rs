//! Notices commits of anybody: one thread that never writes.
//!
//! The operating system's events are a hint, `PRAGMA data_version` is the truth. SQLite writes the
//! `-wal` file first and the index of it after, so an event often comes before the commit can be
//! seen: each event starts a row of second looks. A slow look is the net for file systems that tell
//! nothing. The connection that looks never reads a table, because a look on one that did costs up
//! to 100 times more after a foreign commit.

use std::ffi::OsStr;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rusqlite::Connection;

use super::connection::{about, data_version, explain};
use super::file::{FileId, Sidecars};
use super::handle::Handle;
use super::store::{Store, lock};
use super::stores;
use crate::routes::source::{ChangeFn, SourceError, WatchGuard};
use crate::routes::wake::{ChangeNotifier, WakeEvent, WakeReceiver, WakeSender};

/// Second looks after an event come after 50 µs, 100 µs .. 410 ms. The log is written first, and
/// the commit can be seen once the disk has it: mostly within a millisecond, but a busy disk takes
/// 30 ms and more. Each wait is as long as all before it, so a commit that took long is seen after
/// at most twice its time.
const SECOND_LOOKS: u32 = 14;
const FIRST_SECOND_LOOK: Duration = Duration::from_micros(50);
/// A look costs microseconds, so this is no burden.
const SLOW_LOOK: Duration = Duration::from_secs(1);
/// Without events the slow look is all there is.
const LOOK_WITHOUT_EVENTS: Duration = Duration::from_millis(200);

/// Asks the operating system to ring after each write, for as long as the result lives.
type Listen = fn(&Store, &WakeSender) -> notify::Result<RecommendedWatcher>;

/// Starts the thread.
pub(super) fn start(store: Arc<Store>, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
    start_with(store, changed, listen)
}

pub(super) fn start_with(
    store: Arc<Store>,
    changed: ChangeFn,
    listen: Listen,
) -> Result<WatchGuard, SourceError> {
    let (sender, receiver) = WakeSender::new();
    let path = store.path().to_owned();
    let mut watcher = Watcher {
        // Before the thread starts: whatever is committed from here on is noticed, and what was
        // committed since the last read is handed over by the call that a new `ChangeNotifier` has due.
        look: Look::open(&store)?,
        store,
        listen,
        events: None,
        sender: sender.clone(),
        notifier: ChangeNotifier::new(changed),
        // The event of a commit that has begun may have come before anybody listened.
        second_looks: 0,
        blind: false,
    };
    watcher.listen();
    let thread = thread::Builder::new()
        .name("connectivity-routes".to_owned())
        .spawn(move || watcher.run(&receiver))
        .map_err(|e| about(&path, format_args!("the thread that watches cannot start: {e}")))?;
    Ok(WatchGuard::new(move || sender.stop(), thread))
}

struct Watcher {
    store: Arc<Store>,
    look: Look,
    listen: Listen,
    events: Option<RecommendedWatcher>,
    sender: WakeSender,
    notifier: ChangeNotifier,
    /// Second looks taken since the last event.
    second_looks: u32,
    /// Whether the last look failed.
    blind: bool,
}

impl Watcher {
    fn run(mut self, receiver: &WakeReceiver) {
        loop {
            self.look();
            self.notifier.notify_if_due();
            match receiver.wait(self.notifier.until_due(self.next_look())) {
                WakeEvent::Wake => self.second_looks = 0,
                WakeEvent::TimedOut => self.second_looks = SECOND_LOOKS.min(self.second_looks + 1),
                WakeEvent::Stop => return,
            }
        }
    }

    fn look(&mut self) {
        let seen = self.look.again(&self.store);
        self.store.notes.looking(&seen);
        self.blind &= seen.is_err();
        match seen {
            // A failed look is told on `inspect`, and the next one comes anyway. The first one is
            // handed over, so that the reload fails too, which is logged.
            Err(_) if !std::mem::replace(&mut self.blind, true) => self.notifier.mark_changed(),
            Ok(Seen::Same) | Err(_) => {}
            Ok(Seen::Commit) => self.notifier.mark_changed(),
            Ok(Seen::OtherFile | Seen::Lost(..)) => {
                self.listen();
                self.second_looks = 0;
                self.notifier.mark_changed();
            }
        }
    }

    fn listen(&mut self) {
        let events = (self.listen)(&self.store, &self.sender);
        self.store.notes.events(events.as_ref().err().map(|e| {
            format!("changes are looked for five times a second only, because the system does not tell of them: {e}")
        }));
        self.events = events.ok();
    }

    fn next_look(&self) -> Duration {
        match self.second_looks {
            n if n < SECOND_LOOKS => FIRST_SECOND_LOOK * 2_u32.pow(n),
            _ if self.events.is_some() => SLOW_LOOK,
            _ => LOOK_WITHOUT_EVENTS,
        }
    }
}

/// A connection that only looks. It is gone after a failure, or when this process has closed all
/// that it had to the file.
struct Look {
    handle: stores::Look,
    version: i64,
    sidecars: Sidecars,
}

enum Seen {
    Same,
    Commit,
    OtherFile,
    /// The log of this file, or its index, is not the one that we have open.
    Lost(FileId, bool),
}

impl Look {
    fn open(store: &Store) -> Result<Self, SourceError> {
        let handle = store.connect()?;
        let version = version(store, &handle.connection)?;
        let place = store.add_look();
        *lock(&place) = Some(handle);
        // After the first look, which makes the log and its index where there are none.
        Ok(Self { handle: place, version, sidecars: Sidecars::of(store.path()) })
    }

    /// Looks again; after a failure everything counts as changed.
    fn again(&mut self, store: &Store) -> Result<Seen, SourceError> {
        let place = Arc::clone(&self.handle);
        let seen = self.compare(store, &mut lock(&place))?;
        if let Seen::Lost(file, rescue) = seen {
            stores::close_all(file, rescue);
            self.reopen(store, &mut lock(&place))?;
            return Ok(Seen::OtherFile);
        }
        Ok(seen)
    }

    fn compare(&mut self, store: &Store, open: &mut Option<Handle>) -> Result<Seen, SourceError> {
        let Some(handle) = open else {
            self.reopen(store, open)?;
            return Ok(Seen::OtherFile);
        };
        let (outdated, ours) = (handle.outdated(store.path())?, handle.stamp.file);
        let sidecars = Sidecars::of(store.path());
        match outdated {
            Some(now) if now.file != ours => {
                store.notes.replaced(now.file);
                self.reopen(store, open)?;
                Ok(Seen::OtherFile)
            }
            // A log of somebody else counts now, or the file is not the one that ours belongs to.
            _ if self.sidecars.lost(&sidecars) => {
                Ok(Seen::Lost(ours, !sidecars.has_log() && outdated.is_none()))
            }
            // A checkpoint, or a copy over the file, which is no commit: the store compares the
            // two.
            Some(_) => {
                self.reopen(store, open)?;
                Ok(Seen::Commit)
            }
            None => {
                let version = version(store, &handle.connection).inspect_err(|_| *open = None)?;
                self.sidecars = sidecars;
                let before = std::mem::replace(&mut self.version, version);
                Ok(if before == version { Seen::Same } else { Seen::Commit })
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
    data_version(connection).map_err(|e| explain(store.path(), "cannot be looked at", &e))
}

/// The directory is watched, not the file: `-wal` comes and goes, and the file may be replaced.
fn listen(store: &Store, sender: &WakeSender) -> notify::Result<RecommendedWatcher> {
    // SQLite puts `-wal` beside the file itself, not beside a link to it.
    let file = fs::canonicalize(store.path())?;
    let name = file.file_name().unwrap_or_default().to_owned();
    let sender = sender.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| concerns(&event, &name)) {
            sender.wake();
        }
    })?;
    watcher.watch(file.parent().unwrap_or(&file), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether an event may mean a commit: not our own opening, not the status directory, not a
/// neighbour.
fn concerns(event: &Event, name: &OsStr) -> bool {
    let ours = |other: &OsStr| {
        let rest = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    event.need_rescan()
        || !matches!(event.kind, EventKind::Access(_))
            && event.paths.iter().filter_map(|path| path.file_name()).any(ours)
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
            concerns(
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
