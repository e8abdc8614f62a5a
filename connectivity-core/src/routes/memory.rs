//! Routes in memory, for tests and for programs without a file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::row::{Field, RouteRow};
use super::source::{Added, ChangeFn, RouteSource, Snapshot, SourceError, WatchGuard};
use super::wake::{Handover, WakeEvent, WakeReceiver, WakeSender};
use crate::name::Name;

/// Holds rows in memory; clones share them.
///
/// Nothing is checked, so that a test can put any row a raw SQL write could.
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
    /// Starts without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a row.
    pub fn set(&self, name: &str, strategy: &str, endpoint: Option<&str>, config: &str) {
        self.set_row(RouteRow::new(name, strategy, endpoint, config));
    }

    /// Adds or replaces a row that may hold anything; rows with a NULL name never replace each
    /// other.
    pub fn set_row(&self, row: RouteRow) {
        self.change(|rows| {
            rows.retain(|other| *other.name() == Field::Null || other.name() != row.name());
            rows.push(row);
        });
    }

    /// Removes a row, if it is there.
    pub fn remove(&self, name: &str) {
        let name = Field::text(name);
        self.change(|rows| rows.retain(|row| *row.name() != name));
    }

    /// Lets every read fail with this text, or succeed again.
    pub fn fail_reads(&self, text: Option<&str>) {
        let mut state = self.lock();
        state.failure = text.map(str::to_owned);
        state.ring();
    }

    fn change(&self, change: impl FnOnce(&mut Vec<RouteRow>)) {
        let mut state = self.lock();
        change(&mut state.snapshot.rows);
        state.snapshot.generation += 1;
        state.ring();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ring(&mut self) {
        self.watchers.retain(WakeSender::ring);
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
        let (bell, ear) = WakeSender::new();
        // First of all: a change from here on rings, and the thread begins with a handover for
        // those before.
        self.lock().watchers.push(bell.clone());
        let thread = thread::Builder::new()
            .name("connectivity-memory-routes".to_owned())
            .spawn(move || watch(&ear, Handover::new(changed)))
            .map_err(|e| {
                SourceError::new(format_args!("a thread to watch routes cannot start: {e}"))
            })?;
        Ok(WatchGuard::new(move || bell.stop(), thread))
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

fn watch(ear: &WakeReceiver, mut handover: Handover) {
    // Long, because nothing but a failed handover needs a look without a ring.
    const LIMIT: Duration = Duration::from_secs(3600);
    loop {
        handover.run();
        match ear.wait(handover.until_due(LIMIT)) {
            WakeEvent::Ring => handover.note(),
            WakeEvent::Nothing => {}
            WakeEvent::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn watched(routes: &MemoryRoutes) -> (WatchGuard, Receiver<u64>) {
        let (seen, sees) = mpsc::channel();
        let source = routes.clone();
        let changed =
            Box::new(move || source.read().is_ok_and(|s| seen.send(s.generation).is_ok()));
        (routes.watch(changed).unwrap(), sees)
    }

    fn wait_for(sees: &Receiver<u64>, generation: u64) {
        while sees.recv_timeout(LONG).unwrap() != generation {}
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
        let (guard, sees) = watched(&routes);
        wait_for(&sees, 0);
        routes.fail_reads(Some("on purpose"));
        routes.set("a", "local", None, "{}");
        assert_eq!(routes.read(), Err(SourceError::new("on purpose")));
        routes.fail_reads(None);
        wait_for(&sees, 1);
        drop(guard);
        routes.set("b", "local", None, "{}");
        assert!(
            sees.iter().all(|generation| generation == 1),
            "the thread and its `changed` are gone"
        );
    }

    #[test]
    fn a_guard_may_be_dropped_from_within() {
        let routes = MemoryRoutes::new();
        let (hand_over, guards) = mpsc::channel::<WatchGuard>();
        let (done, is_done) = mpsc::channel();
        let changed = Box::new(move || {
            drop(guards.recv_timeout(LONG));
            done.send(()).is_ok()
        });
        hand_over.send(routes.watch(changed).unwrap()).unwrap();
        is_done.recv_timeout(LONG).unwrap();
    }
}
