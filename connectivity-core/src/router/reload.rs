//! Builds tables: each from the differences to the previous one, without awaiting, dialling, or
//! taking any lock that a call takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::call::{CallService, MethodDesc, RouteTag};
use crate::name::{Name, parent};
use crate::router::active_route::{ActiveRoute, Destination, ResolvedRoute};
use crate::router::entry::RouteEntry;
use crate::router::flight::Flights;
use crate::router::layers::Layers;
use crate::router::local::{Local, RawService};
use crate::router::path::{Limits, Path, Traffic};
use crate::router::table::{MissingRow, Named, ServiceEntry, Table};
use crate::routes::{Field, RouteRow, Snapshot};
use crate::service::{Form, ServiceCell};
use crate::transport::Transport;

/// Everything that tables are built from. One lock guards it; calls never take that lock.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) cells: HashMap<Name, Arc<ServiceCell>>,
    pub(crate) raw: HashMap<Name, Arc<dyn RawService>>,
    pub(crate) transports: HashMap<String, Arc<dyn Transport>>,
    pub(crate) layers: Layers,
    /// Counts the changes of `layers`. Layer stacks are rebuilt only when it changes.
    pub(crate) layers_version: u64,
    pub(crate) snapshot: Snapshot,
    pub(crate) node: Option<String>,
    pub(crate) missing_row: MissingRow,
    pub(crate) closed: bool,
    pub(crate) flights: Flights,
    /// Rows added since the current read of the source began, each with the generation that it
    /// made. That read may have missed them.
    pub(crate) added: Vec<(u64, RouteRow)>,
    /// Whether the table in force was built from all of this state. False after user code panicked
    /// in the middle of a change.
    pub(crate) in_force: bool,
}

/// The scope of a change of the state. The new table shares the rest with the previous table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns<'a> {
    Everything,
    /// The rows, but not the registered services.
    Rows,
    /// One row, appended after all others.
    NewRow(&'a Name),
    /// One service that was registered, or that a client was created for.
    Service(&'a Name),
    /// The files that rows refer to.
    Files,
}

impl State {
    /// Builds the table for the current state and reuses the unchanged parts of the old table.
    /// Returns `None` if nothing changed.
    pub(crate) fn build(&self, old: &Table, concerns: Concerns<'_>) -> Option<Table> {
        match concerns {
            Concerns::NewRow(name) if self.is_next(old, name) => Some(self.with_new_row(old)),
            Concerns::Everything | Concerns::Rows | Concerns::NewRow(_) => {
                let keep = concerns != Concerns::Everything;
                let services =
                    if keep { Arc::clone(&old.services) } else { Arc::new(self.services(old)) };
                Some(self.with_all_rows(old, services))
            }
            Concerns::Service(name) => Some(self.with_service(old, name)),
            Concerns::Files => self.with_stale_entries(old),
        }
    }

    fn with_all_rows(&self, old: &Table, services: Arc<Named<Arc<ServiceEntry>>>) -> Table {
        let earlier = Earlier::of(old);
        let entries =
            self.snapshot.rows.iter().map(|row| self.entry(row, earlier.find(row))).collect();
        let mut table = old.with_entries(self.snapshot.generation, entries);
        table.services = services;
        table.missing_row = self.missing_row;
        table.closed = self.closed;
        table
    }

    fn is_next(&self, old: &Table, name: &Name) -> bool {
        self.snapshot.rows.len() == old.entries.len() + 1 && !old.has_row(name)
    }

    fn with_new_row(&self, old: &Table) -> Table {
        let new = self.snapshot.rows.last().map(|row| self.entry(row, None));
        old.with_changes(self.snapshot.generation, &[], new)
    }

    fn with_service(&self, old: &Table, name: &Name) -> Table {
        let affected = old
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.name.as_ref().is_some_and(|row| row.is_of(name)));
        let built = affected
            .map(|(at, previous)| (at, previous, self.entry(&previous.row, Some(previous))));
        let changed: Vec<_> = built
            .filter(|(_, previous, entry)| !Arc::ptr_eq(previous, entry))
            .map(|(at, _, entry)| (at, entry))
            .collect();
        let mut services = Named::clone(&old.services);
        let service = self.service_entry(name, old);
        services.extend(service.map(|service| (name.clone(), Arc::new(service))));
        let mut table = old.with_changes(old.generation, &changed, None);
        table.services = Arc::new(services);
        table
    }

    fn with_stale_entries(&self, old: &Table) -> Option<Table> {
        let stale = old.can_go_stale.iter().filter_map(|at| Some((*at, old.entries.get(*at)?)));
        let stale = stale.filter(|(_, entry)| entry.is_stale());
        let built = stale.map(|(at, entry)| (at, entry, self.entry(&entry.row, Some(entry))));
        let changed: Vec<_> = built
            .filter(|(_, previous, entry)| !entry.is_same(previous))
            .map(|(at, _, entry)| (at, entry))
            .collect();
        let generation = self.snapshot.generation;
        (!changed.is_empty() || generation != old.generation)
            .then(|| old.with_changes(generation, &changed, None))
    }

    /// Returns the cells that a change can affect.
    pub(crate) fn affected_cells(
        &self,
        concerns: Concerns<'_>,
    ) -> impl Iterator<Item = &Arc<ServiceCell>> {
        let (one, all) = match concerns {
            Concerns::NewRow(name) | Concerns::Service(name) => (Some(name), None),
            Concerns::Everything | Concerns::Rows | Concerns::Files => {
                (None, Some(self.cells.values()))
            }
        };
        let of_one =
            one.into_iter().flat_map(|name| [Some(name.as_str()), name.parent()]).flatten();
        let of_one: Vec<_> = of_one.filter_map(|name| self.cells.get(name)).collect();
        of_one.into_iter().chain(all.into_iter().flatten())
    }

    /// Returns the methods of a cell that may take the fast path under a table.
    pub(crate) fn fast_methods<'a>(
        cell: &ServiceCell,
        table: &'a Table,
    ) -> impl Iterator<Item = &'static MethodDesc> + 'a {
        let methods = if cell.local().is_some() { cell.desc().methods() } else { &[] };
        let fast = |method: &&MethodDesc| {
            table.resolve(method.full_name()).is_ok_and(|resolved| resolved.fast)
        };
        methods.iter().copied().filter(|method| !method.is_no_cancel()).filter(fast)
    }

    fn services(&self, old: &Table) -> Named<Arc<ServiceEntry>> {
        let names = self.cells.keys().chain(self.raw.keys());
        let entry = |name: &Name| Some((name.clone(), Arc::new(self.service_entry(name, old)?)));
        names.filter_map(entry).collect()
    }

    fn service_entry(&self, name: &Name, old: &Table) -> Option<ServiceEntry> {
        // A typed client of a raw service does not turn it into a typed one.
        let raw = self.raw.get(name).map(|raw| Local::Raw(Arc::clone(raw)));
        let cell = if raw.is_some() { None } else { Some(Arc::clone(self.cells.get(name)?)) };
        let typed = || cell.as_ref().and_then(|cell| cell.local().cloned()).map(Local::Typed);
        let local = raw.or_else(typed);
        let previous = old.services.get(name);
        let new = || Traffic::new(&self.flights.of(name));
        let traffic = previous.map_or_else(new, |previous| Arc::clone(&previous.traffic));
        let kept = previous.and_then(|previous| previous.unrouted.clone());
        let kept = kept.filter(|resolved| resolved.layers_version == self.layers_version);
        let unrouted =
            kept.or_else(|| local.as_ref().map(|local| self.unrouted(name, local, &traffic)));
        Some(ServiceEntry {
            desc: cell.as_ref().map(|cell| cell.desc()),
            cell,
            local,
            unrouted,
            traffic,
        })
    }

    /// Builds the route of calls without a row. They are counted, so that a row that is added later
    /// knows the calls in flight.
    fn unrouted(&self, name: &Name, local: &Local, traffic: &Arc<Traffic>) -> ResolvedRoute {
        let tag = RouteTag::new(name.clone(), "local".into());
        let path = Path::new(local.service(), Limits::NONE, Arc::clone(traffic), false);
        let resolved =
            self.layered(tag.clone(), CallService::shared(Arc::new(path)), Form::Typed, true);
        ResolvedRoute { tag: Some(Arc::new(tag)), ..resolved }
    }

    /// Returns whether this process implements a service or has clients of it.
    pub(crate) fn uses(&self, name: &Name) -> bool {
        let contains = |name: &str| self.cells.contains_key(name) || self.raw.contains_key(name);
        contains(name.as_str()) || parent(name.as_str()).is_some_and(contains)
    }
}

/// Lookup of the entries of the previous table by row.
struct Earlier<'a> {
    table: &'a Table,
    /// Entries of rows without a valid name, by the name that is displayed for them. They are kept
    /// only for the time since when they are bad.
    nameless: HashMap<Cow<'static, str>, &'a Arc<RouteEntry>>,
}

impl<'a> Earlier<'a> {
    fn of(table: &'a Table) -> Self {
        let nameless = table.entries.iter().filter(|entry| entry.name.is_none());
        Self { table, nameless: nameless.map(|entry| (entry.row.shown_name(), entry)).collect() }
    }

    fn find(&self, row: &RouteRow) -> Option<&'a Arc<RouteEntry>> {
        let named =
            if let Field::Text(text) = row.name() { self.table.own_entry(text) } else { None };
        let nameless = || {
            if self.nameless.is_empty() {
                None
            } else {
                self.nameless.get(&row.shown_name()).copied()
            }
        };
        named.or_else(nameless)
    }
}

/// Retires the remote routes that the new table no longer holds: starts the drain of their calls.
pub(crate) fn retire_replaced(old: &Table, new: &Table) {
    let kept: HashSet<_> = new
        .entries_not_in(old)
        .filter_map(|entry| entry.active.as_ref())
        .map(Arc::as_ptr)
        .collect();
    let is_kept = |active: &Arc<ActiveRoute>| {
        let now =
            new.own_entry(active.route.name().as_str()).and_then(|entry| entry.active.as_ref());
        now.is_some_and(|now| Arc::ptr_eq(now, active)) || kept.contains(&Arc::as_ptr(active))
    };
    let routes = old.entries_not_in(new).filter_map(|entry| entry.active.as_ref());
    routes
        .filter(|active| active.remote().is_some() && !is_kept(active))
        .for_each(|active| active.retire());
}

/// Logs a warning for each `noop` row that was deleted: a service that was switched off runs again,
/// and nothing else reports that.
pub(crate) fn warn_of_switched_on(old: &Table, new: &Table) {
    let names = old
        .entries_not_in(new)
        .filter(|entry| is_noop(entry))
        .filter_map(|entry| entry.name.as_ref());
    for name in names.filter(|name| !new.has_row(name) && new.resolve(name.as_str()).is_ok()) {
        match new.entry(name.as_str()) {
            Some(entry) if is_noop(entry) => {}
            Some(_) => {
                tracing::warn!(%name, "its row `noop` is gone: calls go by the row of the service again")
            }
            None => {
                tracing::warn!(%name, "its row `noop` is gone: calls go to the implementation in this process again")
            }
        }
    }
}

fn is_noop(entry: &RouteEntry) -> bool {
    entry.active.as_deref().is_some_and(|active| matches!(active.destination, Destination::Noop))
}
