//! Routes in memory, for tests and for programs without a routes file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::row::{Field, RouteRow};
use super::source::{Added, ChangeFn, RouteSource, Snapshot, SourceError, WatchGuard};
use super::wake::{ChangeNotifier, WakeEvent, WakeReceiver, WakeSender};
use crate::name::Name;

/// A source that holds its rows in memory. Clones share the rows.
///
/// Rows are not validated, so that a test can insert any row that a raw SQL statement could.
///
/// ```
/// use connectivity_core::{MemoryRoutes, RouteSource};
///
/// let routes = MemoryRoutes::new();
/// routes.set("billing", "http", Some("http://10.0.0.5:8080/billing"), "{}");
/// assert_eq!(routes.read()?.rows.len(), 1);
/// # Ok::<(), connectivity_core::SourceError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryRoutes {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    failure: Option<String>,
    watchers: Vec<WakeSender>,
}

impl MemoryRoutes {
    /// Creates a source without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a row.
    pub fn set(&self, name: &str, strategy: &str, endpoint: Option<&str>, config: &str) {
        self.set_row(RouteRow::new(name, strategy, endpoint, config));
    }

    /// Adds or replaces a row with arbitrary columns. Rows with a NULL name never replace each
    /// other.
    pub fn set_row(&self, row: RouteRow) {
        self.change(|rows| {
            rows.retain(|other| *other.name() == Field::Null || other.name() != row.name());
            rows.push(row);
        });
    }

    /// Removes a row if it exists.
    pub fn remove(&self, name: &str) {
        let name = Field::text(name);
        self.change(|rows| rows.retain(|row| *row.name() != name));
    }

    /// Makes every read fail with this message, or succeed again with `None`.
    pub fn fail_reads(&self, text: Option<&str>) {
        let mut state = self.lock();
        state.failure = text.map(str::to_owned);
        state.wake_watchers();
    }

    fn change(&self, change: impl FnOnce(&mut Vec<RouteRow>)) {
        let mut state = self.lock();
        change(&mut state.snapshot.rows);
        state.snapshot.generation += 1;
        state.wake_watchers();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_watchers(&mut self) {
        self.watchers.retain(WakeSender::wake);
    }
}

impl RouteSource for MemoryRoutes {
    fn read(&self) -> Result<Snapshot, SourceError> {
        let state = self.lock();
        match &state.failure {
            Some(text) => Err(SourceError::new(text)),
            None => Ok(state.snapshot.clone()),
        }
    }

    fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
        let (sender, receiver) = WakeSender::new();
        // Register first: later changes wake the thread, and the notifier starts with a
        // notification for earlier ones.
        self.lock().watchers.push(sender.clone());
        let thread = thread::Builder::new()
            .name("connectivity-memory-routes".to_owned())
            .spawn(move || watch(&receiver, ChangeNotifier::new(changed)))
            .map_err(|e| {
                SourceError::new(format_args!("a thread to watch routes cannot start: {e}"))
            })?;
        Ok(WatchGuard::new(move || sender.stop(), thread))
    }

    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        let has_row = |name: &Name| self.lock().snapshot.rows.iter().any(|row| is_named(row, name));
        let missing = names.iter().filter(|name| !has_row(name));
        Ok(Added::Rows(missing.map(|name| self.set(name.as_str(), "local", None, "{}")).count()))
    }

    fn read_some(&self, names: &[&Name]) -> Result<Option<Snapshot>, SourceError> {
        let state = self.lock();
        if let Some(text) = &state.failure {
            return Err(SourceError::new(text));
        }
        let Snapshot { generation, rows } = &state.snapshot;
        let rows = rows
            .iter()
            .filter(|row| names.iter().any(|name| is_named(row, name)))
            .cloned()
            .collect();
        Ok(Some(Snapshot { generation: *generation, rows }))
    }

    fn add_strategies(&self, _words: &[&str]) -> Result<(), SourceError> {
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

fn is_named(row: &RouteRow, name: &Name) -> bool {
    matches!(row.name(), Field::Text(text) if text == name.as_str())
}

fn watch(receiver: &WakeReceiver, mut notifier: ChangeNotifier) {
    // Long, because only a failed notification needs a wakeup without a change.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
    loop {
        notifier.notify_if_due();
        match receiver.wait(notifier.until_due(IDLE_TIMEOUT)) {
            WakeEvent::Wake => notifier.mark_changed(),
            WakeEvent::TimedOut => {}
            WakeEvent::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    fn watched(routes: &MemoryRoutes) -> (WatchGuard, Receiver<u64>) {
        let (sender, generations) = mpsc::channel();
        let source = routes.clone();
        let changed =
            Arc::new(move || source.read().is_ok_and(|s| sender.send(s.generation).is_ok()));
        (routes.watch(changed).unwrap(), generations)
    }

    fn wait_for(generations: &Receiver<u64>, generation: u64) {
        while generations.recv_timeout(TEST_TIMEOUT).unwrap() != generation {}
    }

    #[test]
    fn rows_are_added_replaced_and_removed() {
        let routes = MemoryRoutes::new();
        routes.set("a", "local", None, "{}");
        routes.set("a", "noop", None, "{}");
        assert_eq!(routes.read().unwrap().rows, [RouteRow::new("a", "noop", None, "{}")]);
        routes.remove("a");
        assert_eq!(routes.read().unwrap(), Snapshot { generation: 3, rows: vec![] });
    }

    #[test]
    fn missing_rows_are_added_as_local() {
        let routes = MemoryRoutes::new();
        routes.set("a", "noop", None, "{}");
        let names = [&Name::parse("a").unwrap(), &Name::parse("b").unwrap()];
        assert_eq!(routes.add_missing(&names), Ok(Added::Rows(1)));
        assert_eq!(routes.add_missing(&names), Ok(Added::Rows(0)));
        assert_eq!(routes.read().unwrap().rows[1], RouteRow::new("b", "local", None, "{}"));
    }

    #[test]
    fn every_change_is_seen_and_a_failed_one_again() {
        let routes = MemoryRoutes::new();
        let (guard, generations) = watched(&routes);
        wait_for(&generations, 0);
        routes.fail_reads(Some("on purpose"));
        routes.set("a", "local", None, "{}");
        assert_eq!(routes.read(), Err(SourceError::new("on purpose")));
        routes.fail_reads(None);
        wait_for(&generations, 1);
        drop(guard);
        routes.set("b", "local", None, "{}");
        assert!(
            generations.iter().all(|generation| generation == 1),
            "the thread and its `changed` are gone"
        );
    }

    #[test]
    fn a_guard_may_be_dropped_from_within() {
        let routes = MemoryRoutes::new();
        let (guard_sender, guards) = mpsc::channel::<WatchGuard>();
        let (done_sender, done_receiver) = mpsc::channel();
        let guards = Mutex::new(guards);
        let changed = Arc::new(move || {
            drop(guards.lock().unwrap().recv_timeout(TEST_TIMEOUT));
            done_sender.send(()).is_ok()
        });
        guard_sender.send(routes.watch(changed).unwrap()).unwrap();
        done_receiver.recv_timeout(TEST_TIMEOUT).unwrap();
    }
}
