//! The heart of a router: the table that calls read, and the state that tables are built from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::call::{CallService, MethodDesc, ServiceDesc};
use crate::error::Error;
use crate::name::Name;
use crate::router::recheck::{self, Recheck};
use crate::router::reentry::Building;
use crate::router::reload::{Concerns, State, retire_replaced, warn_of_switched_on};
use crate::router::table::Table;
use crate::router::waiting::WaitingRows;
use crate::routes::{Added, RouteSource, Snapshot, SourceError, WatchGuard};
#[cfg(feature = "sqlite")]
use crate::routes::{Route, RouteError};
use crate::service::{Form, Host, Plan, ServiceCell};
#[cfg(feature = "sqlite")]
use crate::transport::BuildContext;

pub(crate) struct Core {
    /// Read by calls, replaced by reloads.
    table: ArcSwap<Table>,
    /// Never locked by a call.
    state: Mutex<State>,
    source: Arc<dyn RouteSource>,
    reloading: Mutex<()>,
    source_error: Mutex<Option<(SourceError, SystemTime)>>,
    watch: Mutex<Option<WatchGuard>>,
    recheck: Mutex<Option<Recheck>>,
    waiting_rows: Mutex<WaitingRows>,
    /// Counts the tables that were put in force, for listeners that tell their clients what there
    /// is to call.
    #[cfg(feature = "mcp")]
    tables: tokio::sync::watch::Sender<u64>,
}

/// A panic while the lock was held left the state as it was before: everything in it is replaced
/// whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn new(state: State, source: Arc<dyn RouteSource>) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::default()),
            state: Mutex::new(state),
            source,
            reloading: Mutex::default(),
            source_error: Mutex::default(),
            watch: Mutex::default(),
            recheck: Mutex::default(),
            waiting_rows: Mutex::default(),
            #[cfg(feature = "mcp")]
            tables: tokio::sync::watch::Sender::new(0),
        }
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The table, for a moment: it costs less than [`table`](Self::table), and must not be held
    /// across an `.await`.
    pub(crate) fn now(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    pub(crate) fn source(&self) -> &dyn RouteSource {
        &*self.source
    }

    pub(crate) fn source_error(&self) -> Option<(SourceError, SystemTime)> {
        lock(&self.source_error).clone()
    }

    /// Reads the source and puts what it says in force. One at a time; the state is locked only
    /// when everything is read, so that a file that somebody holds up keeps nobody from registering
    /// or making clients.
    pub(crate) fn reload(&self) -> Result<(), SourceError> {
        let _building = Building::begin(self);
        let _one_at_a_time = lock(&self.reloading);
        lock(&self.state).added.clear();
        let mut snapshot = self.read()?;
        let mut state = lock(&self.state);
        for (generation, row) in state.added.drain(..) {
            if generation > snapshot.generation {
                snapshot.rows.push(row);
                snapshot.generation = generation;
            }
        }
        let same = snapshot.rows == state.snapshot.rows;
        state.snapshot = snapshot;
        self.swap(&mut state, if same { Concerns::Files } else { Concerns::Rows });
        Ok(())
    }

    /// Changes what tables are built from, and puts the outcome in force before it returns.
    pub(crate) fn change<T, E>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_of(Concerns::Everything, change)
    }

    /// The same for a change that concerns one service.
    pub(crate) fn change_service<T, E>(
        &self,
        name: &Name,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_of(Concerns::Service(name), change)
    }

    fn change_of<T, E>(
        &self,
        concerns: Concerns<'_>,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let _building = Building::begin(self);
        let mut state = lock(&self.state);
        let outcome = change(&mut state)?;
        self.swap(&mut state, concerns);
        Ok(outcome)
    }

    /// Gives a name a row `local` if it has none, so that the first UPDATE of an operator finds
    /// one. While somebody else is writing, the row has to wait: this is called on threads of the
    /// runtime.
    pub(crate) fn add_missing_row(&self, name: &Name) -> Result<(), SourceError> {
        if self.table.load().has_row(name) {
            return Ok(());
        }
        let others_wait = !lock(&self.waiting_rows).is_empty();
        match if others_wait { Added::Busy } else { self.source.add_missing(&[name])? } {
            Added::Busy => {
                self.let_wait(name);
                Ok(())
            }
            Added::Rows(0) | Added::ReadOnly => Ok(()),
            Added::Rows(_) => self.take_over(name),
        }
    }

    /// Asks the transport of a route about it; another process may have one that this router lacks.
    #[cfg(feature = "sqlite")]
    pub(crate) fn check(&self, route: &Route) -> Result<(), RouteError> {
        // The transport is asked without the lock: it can be the user's.
        let (transport, node, calls) = {
            let state = lock(&self.state);
            let transport = state.transports.get(route.strategy().as_str()).cloned();
            (transport, state.node.clone(), state.calls(route.name()))
        };
        let Some(transport) = transport else { return Ok(()) };
        transport.check(route)?;
        transport.check_calls(route, &BuildContext::new(node.as_deref(), calls))
    }

    /// Puts a row that was just added in force: that row alone, where nothing else has changed
    /// since the last read.
    fn take_over(&self, name: &Name) -> Result<(), SourceError> {
        let in_force = || self.table.load().has_row(name);
        // The watcher can be quicker.
        if in_force() {
            return Ok(());
        }
        let read = self.source.read_some(&[name])?;
        if read.is_some_and(|read| self.put_next(name, read)) || in_force() {
            return Ok(());
        }
        self.reload()
    }

    fn put_next(&self, name: &Name, read: Snapshot) -> bool {
        let Ok([row]) = <[_; 1]>::try_from(read.rows) else { return false };
        let _building = Building::begin(self);
        let mut state = lock(&self.state);
        if state.snapshot.generation + 1 != read.generation || self.table.load().has_row(name) {
            return false;
        }
        state.added.push((read.generation, row.clone()));
        state.snapshot.rows.push(row);
        state.snapshot.generation = read.generation;
        self.swap(&mut state, Concerns::NewRow(name));
        true
    }

    fn let_wait(&self, name: &Name) {
        let first = lock(&self.waiting_rows).add(name);
        // The thread is gone when the router is closed: nobody needs the row then.
        let _ = lock(&self.recheck).as_ref().filter(|_| first).map(|recheck| recheck.send(()));
    }

    /// Tries again to add the rows that wait.
    pub(crate) fn add_waiting_rows(&self) {
        let names = self.waiting_rows().names();
        if names.is_empty() {
            return;
        }
        let added = self.source.add_missing(&names.iter().collect::<Vec<_>>());
        match added {
            Ok(Added::Busy) => lock(&self.waiting_rows).failed(None),
            Ok(Added::Rows(0) | Added::ReadOnly) => lock(&self.waiting_rows).done(&names),
            Ok(Added::Rows(_)) => {
                // In force first, so that who sees the warning gone sees the row. A failure is on
                // `inspect`, and the watcher reads again.
                let _ = self.reload();
                lock(&self.waiting_rows).done(&names);
            }
            Err(cause) => lock(&self.waiting_rows).failed(Some(cause)),
        }
    }

    pub(crate) fn waiting_rows(&self) -> WaitingRows {
        lock(&self.waiting_rows).clone()
    }

    fn read(&self) -> Result<Snapshot, SourceError> {
        let read = self.source.read();
        let mut error = lock(&self.source_error);
        match read {
            Ok(snapshot) => {
                if error.take().is_some() {
                    tracing::info!("the routes can be read again");
                }
                Ok(snapshot)
            }
            Err(cause) => {
                let before = error.take();
                // A read is tried again and again: what is known already is on `inspect`, and fills
                // no log.
                if before.as_ref().is_none_or(|(known, _)| *known != cause) {
                    tracing::error!(%cause, "the routes cannot be read; the ones in force stay");
                }
                let since = before.map_or_else(SystemTime::now, |(_, since)| since);
                *error = Some((cause.clone(), since));
                Err(cause)
            }
        }
    }

    /// Builds a table and puts it in force, in the order that never lets a call pass a route that
    /// has left local: first the methods that leave it turn cold, then the table is swapped, then
    /// the methods that became local turn fast.
    fn swap(&self, state: &mut State, concerns: Concerns<'_>) {
        let old = self.table.load_full();
        let concerns =
            if std::mem::take(&mut state.in_force) { concerns } else { Concerns::Everything };
        let new = state.build(&old, concerns).map(Arc::new);
        if let Some(new) = new {
            self.put(state, concerns, &old, &new);
        }
        state.in_force = true;
    }

    fn put(&self, state: &State, concerns: Concerns<'_>, old: &Table, new: &Arc<Table>) {
        for cell in state.cells_of(concerns) {
            cell.retain_fast(State::fast_methods(cell, new));
        }
        self.table.store(Arc::clone(new));
        for cell in state.cells_of(concerns) {
            cell.set_fast(State::fast_methods(cell, new));
        }
        retire_replaced(old, new);
        warn_of_switched_on(old, new);
        #[cfg(feature = "mcp")]
        self.tables.send_modify(|count| *count += 1);
    }

    /// Counts the tables that were put in force.
    #[cfg(feature = "mcp")]
    pub(crate) fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.tables.subscribe()
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Result<(), SourceError> {
        let core = Arc::downgrade(self);
        let changed = move || core.upgrade().is_none_or(|core| core.reload().is_ok());
        let guard = self.source.watch(Box::new(changed))?;
        *lock(&self.watch) = Some(guard);
        let recheck = recheck::start(Arc::downgrade(self));
        let recheck = recheck
            .map_err(|cause| SourceError::new(format_args!("no thread for the router: {cause}")))?;
        *lock(&self.recheck) = Some(recheck);
        Ok(())
    }

    /// Builds the table anew if something that it was built from beside its rows may have changed.
    pub(crate) fn recheck(&self) {
        let table = self.table.load_full();
        if table.can_turn.iter().filter_map(|at| table.slots.get(*at)).any(|slot| slot.is_stale()) {
            let rebuilt =
                self.change_of(Concerns::Files, |_state| Ok::<(), std::convert::Infallible>(()));
            rebuilt.unwrap_or_else(|never| match never {});
        }
    }

    pub(crate) fn stop_watching(&self) {
        drop(lock(&self.recheck).take());
        let guard = lock(&self.watch).take();
        drop(guard);
    }

    pub(crate) fn cell(&self, desc: &'static ServiceDesc) -> Arc<ServiceCell> {
        let name = Name::from_static(desc.name());
        // Clients may be made for each request, so the usual case takes no lock.
        if let Some(cell) =
            self.table.load().services.get(&name).and_then(|known| known.cell.clone())
        {
            return cell;
        }
        let made = self.change_service(&name, |state| {
            let cell =
                state.cells.entry(name.clone()).or_insert_with(|| Arc::new(ServiceCell::new(desc)));
            Ok::<_, std::convert::Infallible>(Arc::clone(cell))
        });
        made.unwrap_or_else(|never| match never {})
    }
}

impl Host for Core {
    fn plan(&self, method: &'static MethodDesc) -> Plan {
        match self.table.load().resolve(method.full_name()) {
            Ok(ready) => ready.plan(),
            Err(error) => Plan { service: refuse(error), form: Form::Typed },
        }
    }
}

/// A service that answers every call with this error.
fn refuse(error: Error) -> CallService {
    CallService::from_fn(move |_call| std::future::ready(Err(error.clone())))
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("table", &self.table.load()).finish_non_exhaustive()
    }
}
