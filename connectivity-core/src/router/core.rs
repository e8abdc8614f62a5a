//! The heart of a router: the table that calls read, and the state that tables are built from.
//!
//! # From a changed row to changed calls
//!
//! An example. The row of `billing` says `local`, the service is registered in this process, and
//! its calls take the fast path. An operator commits:
//!
//! ```sql
//! UPDATE routes SET strategy = 'unix', endpoint = '/run/billing.sock'
//! WHERE service_name = 'billing';
//! ```
//!
//! 1. **Notice.** The watcher's thread (`routes/sqlite/watch.rs`) sees the commit and calls the
//!    function that [`Core::watch`] gave to the source. That function calls [`Core::reload`]. If it
//!    fails, the watcher backs off and calls it again.
//! 2. **Read.** `reload` calls [`Core::read`], which reads all rows in one [`Snapshot`]: the new
//!    row of `billing` and generation `n + 1`. Only then does `reload` lock the [`State`] and store
//!    the snapshot there. The rows differ from the previous ones, so it calls [`Core::swap`] with
//!    [`Concerns::Rows`]. (With equal rows it would be [`Concerns::Files`], which rebuilds only
//!    entries that are stale.)
//! 3. **Build.** `swap` calls [`State::build`], which builds one [`RouteEntry`] for each row with
//!    [`State::entry`] (`router/build_entry.rs`). The row of every other service is unchanged, so
//!    their entries are shared with the old table. The row of `billing` is not, so
//!    [`State::new_entry`] parses it and asks `UnixTransport::build` for a [`Remote`]. Nothing is
//!    dialled: the first call dials. If the row were bad, the entry would keep the `local` route
//!    and record the fault.
//! 4. **Cold, swap, hot.** [`Core::publish`] calls [`ServiceCell::retain_fast`], which clears the
//!    fast bit of each method of `billing`: from here on its calls go to `Handle::slow` and look at
//!    the table. Then it stores the new table, and calls resolve to the Unix socket. Then it calls
//!    [`ServiceCell::set_fast`] for methods that became local; `billing` has none. In any other
//!    order a call could take the fast path while the table already says `unix`.
//! 5. **Retire.** [`retire_replaced`] finds the routes that only the old table holds. The old route
//!    of `billing` is local: its calls in flight run to their end where they are. Had it been
//!    remote, `ActiveRoute::retire` would give them the `drain_ms` of the old row, then end them.
//!
//! A call reads one table from start to end, so each call sees the old route or the new one and
//! never a mix.
//!
//! [`RouteEntry`]: crate::router::entry::RouteEntry
//! [`Remote`]: crate::transport::Remote

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::call::{CallService, MethodDesc, ServiceDesc};
use crate::error::Error;
use crate::name::Name;
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
    read_error: Mutex<Option<(SourceError, SystemTime)>>,
    watch: Mutex<Option<WatchGuard>>,
    /// Handle to the thread that calls [`recheck`](Self::recheck): a message announces a queued row,
    /// dropping it ends the thread.
    recheck: Mutex<Option<Sender<()>>>,
    waiting_rows: Mutex<WaitingRows>,
    /// Counts the tables put in force, for listeners that announce changed services to their
    /// clients.
    #[cfg(feature = "mcp")]
    tables: tokio::sync::watch::Sender<u64>,
}

/// Locks a mutex and ignores poisoning: values are replaced as a whole, so a panic under the lock
/// left the previous one.
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
            read_error: Mutex::default(),
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

    /// Borrows the table. Cheaper than [`table`](Self::table), but the guard must not be held
    /// across an `.await`.
    pub(crate) fn table_guard(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    pub(crate) fn source(&self) -> &dyn RouteSource {
        &*self.source
    }

    pub(crate) fn read_error(&self) -> Option<(SourceError, SystemTime)> {
        lock(&self.read_error).clone()
    }

    /// Reads the source and puts its rows in force. Reloads run one at a time. The state is locked
    /// only after everything is read, so a slow file does not block registrations or new clients.
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
        let same_rows = snapshot.rows == state.snapshot.rows;
        state.snapshot = snapshot;
        self.swap(&mut state, if same_rows { Concerns::Files } else { Concerns::Rows });
        Ok(())
    }

    /// Changes the state and puts the resulting table in force before it returns.
    pub(crate) fn change<T, E>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_of(Concerns::Everything, change)
    }

    /// Like [`change`](Self::change), for a change to a single service.
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

    /// Adds a `local` row for a name without one, so that the first UPDATE of an operator finds a
    /// row. Runs on threads of the runtime, so it must not block: while another writer holds the
    /// source, the row is queued.
    pub(crate) fn add_missing_row(&self, name: &Name) -> Result<(), SourceError> {
        if self.table.load().has_row(name) {
            return Ok(());
        }
        let is_queued = !lock(&self.waiting_rows).is_empty();
        match if is_queued { Added::Busy } else { self.source.add_missing(&[name])? } {
            Added::Busy => {
                self.queue_row(name);
                Ok(())
            }
            Added::Rows(0) | Added::ReadOnly => Ok(()),
            Added::Rows(_) => self.apply_added_row(name),
        }
    }

    /// Checks a route with its transport. Accepts routes whose transport this router lacks: another
    /// process may have it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn check(&self, route: &Route) -> Result<(), RouteError> {
        // Release the lock before calling the transport, which may be user code.
        let (transport, node, calls) = {
            let state = lock(&self.state);
            let transport = state.transports.get(route.strategy().as_str()).cloned();
            (transport, state.node.clone(), state.calls(route.name()))
        };
        let Some(transport) = transport else { return Ok(()) };
        transport.check(route)?;
        transport.check_calls(route, &BuildContext::new(node.as_deref(), calls))
    }

    /// Puts a row that was just added in force. Adds only that row to the table if nothing else
    /// changed since the last read, and reloads otherwise.
    fn apply_added_row(&self, name: &Name) -> Result<(), SourceError> {
        let in_force = || self.table.load().has_row(name);
        // The watcher may have been faster.
        if in_force() {
            return Ok(());
        }
        let read = self.source.read_some(&[name])?;
        if read.is_some_and(|read| self.publish_row(name, read)) || in_force() {
            return Ok(());
        }
        self.reload()
    }

    fn publish_row(&self, name: &Name, read: Snapshot) -> bool {
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

    fn queue_row(&self, name: &Name) {
        let first = lock(&self.waiting_rows).add(name);
        // The thread has ended if the router is closed; the row is not needed then.
        let _ = lock(&self.recheck).as_ref().filter(|_| first).map(|recheck| recheck.send(()));
    }

    /// Retries adding the queued rows.
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
                // Reload before clearing the warning, so that the row is in force once the warning
                // is gone. `inspect` reports a failed reload, and the watcher retries it.
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
        let mut error = lock(&self.read_error);
        match read {
            Ok(snapshot) => {
                if error.take().is_some() {
                    tracing::info!("the routes can be read again");
                }
                Ok(snapshot)
            }
            Err(cause) => {
                let previous = error.take();
                // Reads are retried often. Log only a new cause; `inspect` shows the current one.
                if previous.as_ref().is_none_or(|(last, _)| *last != cause) {
                    tracing::error!(%cause, "the routes cannot be read; the ones in force stay");
                }
                let since = previous.map_or_else(SystemTime::now, |(_, since)| since);
                *error = Some((cause.clone(), since));
                Err(cause)
            }
        }
    }

    /// Builds a table for the changed state and publishes it.
    fn swap(&self, state: &mut State, concerns: Concerns<'_>) {
        let old = self.table.load_full();
        let concerns =
            if std::mem::take(&mut state.in_force) { concerns } else { Concerns::Everything };
        let new = state.build(&old, concerns).map(Arc::new);
        if let Some(new) = new {
            self.publish(state, concerns, &old, &new);
        }
        state.in_force = true;
    }

    /// Puts a table in force. The order guarantees that no call takes the fast path past a route
    /// that is not local: methods that leave local turn cold, the table is swapped, methods that
    /// became local turn fast.
    fn publish(&self, state: &State, concerns: Concerns<'_>, old: &Table, new: &Arc<Table>) {
        for cell in state.affected_cells(concerns) {
            cell.retain_fast(State::fast_methods(cell, new));
        }
        self.table.store(Arc::clone(new));
        for cell in state.affected_cells(concerns) {
            cell.set_fast(State::fast_methods(cell, new));
        }
        retire_replaced(old, new);
        warn_of_switched_on(old, new);
        #[cfg(feature = "mcp")]
        self.tables.send_modify(|count| *count += 1);
    }

    /// Returns the counter of tables put in force.
    #[cfg(feature = "mcp")]
    pub(crate) fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.tables.subscribe()
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Result<(), SourceError> {
        let core = Arc::downgrade(self);
        let changed = move || core.upgrade().is_none_or(|core| core.reload().is_ok());
        let guard = self.source.watch(Arc::new(changed))?;
        *lock(&self.watch) = Some(guard);
        Ok(())
    }

    /// Keeps the handle to the thread that calls [`recheck`](Self::recheck).
    pub(crate) fn set_recheck(&self, recheck: Sender<()>) {
        *lock(&self.recheck) = Some(recheck);
    }

    /// Rebuilds stale entries: those whose row refers to a file that may have changed.
    pub(crate) fn recheck(&self) {
        let table = self.table.load_full();
        if table
            .can_go_stale
            .iter()
            .filter_map(|at| table.entries.get(*at))
            .any(|entry| entry.is_stale())
        {
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
        // A program may create a client per request, so the common case takes no lock.
        if let Some(cell) =
            self.table.load().services.get(&name).and_then(|service| service.cell.clone())
        {
            return cell;
        }
        let created = self.change_service(&name, |state| {
            let cell =
                state.cells.entry(name.clone()).or_insert_with(|| Arc::new(ServiceCell::new(desc)));
            Ok::<_, std::convert::Infallible>(Arc::clone(cell))
        });
        created.unwrap_or_else(|never| match never {})
    }
}

impl Host for Core {
    fn plan(&self, method: &'static MethodDesc) -> Plan {
        match self.table.load().resolve(method.full_name()) {
            Ok(resolved) => resolved.plan(),
            Err(error) => Plan { service: refuse(error), form: Form::Typed },
        }
    }
}

/// Returns a service that fails every call with `error`.
fn refuse(error: Error) -> CallService {
    CallService::from_fn(move |_call| std::future::ready(Err(error.clone())))
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("table", &self.table.load()).finish_non_exhaustive()
    }
}
