//! Building a table: by difference from the last one, without awaiting, dialling, or any lock that
//! a call takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use tower_layer::Layer;

use crate::call::{CallService, MethodDesc, RouteTag};
use crate::layer::FallbackLayer;
use crate::name::{Name, parent};
use crate::router::active_route::{ActiveRoute, Destination};
use crate::router::entry::{Cause, RouteEntry, RouteFault, is_unchanged};
use crate::router::flight::Flights;
use crate::router::layers::Layers;
use crate::router::local::{Local, RawService};
use crate::router::path::{Limits, Path, Traffic};
use crate::router::table::{MissingRow, Named, ResolvedRoute, ServiceEntry, Table};
use crate::routes::{Field, Route, RouteError, RouteRow, Snapshot, Strategy};
use crate::service::{Form, ServiceCell};
use crate::transport::{BuildContext, Calls, Transport};

/// Everything a table is built from. One lock guards it; calls never take that lock.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) cells: HashMap<Name, Arc<ServiceCell>>,
    pub(crate) raw: HashMap<Name, Arc<dyn RawService>>,
    pub(crate) transports: HashMap<String, Arc<dyn Transport>>,
    pub(crate) layers: Layers,
    /// Counts the changes of `layers`, so that stacks are built anew only then.
    pub(crate) layers_version: u64,
    pub(crate) snapshot: Snapshot,
    pub(crate) node: Option<String>,
    pub(crate) missing_row: MissingRow,
    pub(crate) closed: bool,
    pub(crate) flights: Flights,
    /// Rows that were added since the last read began, which may have missed them, with the
    /// generation that each made.
    pub(crate) added: Vec<(u64, RouteRow)>,
    /// Whether the table in force was built from all of this. Not so after code of the user's
    /// panicked in the middle of a change.
    pub(crate) in_force: bool,
}

/// What a change of the state concerns; the rest of a table is taken from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns<'a> {
    Everything,
    /// The rows, not what is registered here.
    Rows,
    /// One row, which was added behind the others.
    NewRow(&'a Name),
    /// One service, which was registered, or which a client was made of.
    Service(&'a Name),
    /// What routes are built from beside their rows.
    Files,
}

impl State {
    /// Builds the table for what the state holds now, keeping of the old one what has not changed.
    /// None where nothing has.
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
            Concerns::Files => self.with_stale_slots(old),
        }
    }

    fn with_all_rows(&self, old: &Table, services: Arc<Named<Arc<ServiceEntry>>>) -> Table {
        let earlier = Earlier::of(old);
        let slots =
            self.snapshot.rows.iter().map(|row| self.slot(row, earlier.find(row))).collect();
        let mut table = old.with_slots(self.snapshot.generation, slots);
        table.services = services;
        table.missing_row = self.missing_row;
        table.closed = self.closed;
        table
    }

    fn is_next(&self, old: &Table, name: &Name) -> bool {
        self.snapshot.rows.len() == old.slots.len() + 1 && !old.has_row(name)
    }

    fn with_new_row(&self, old: &Table) -> Table {
        let new = self.snapshot.rows.last().map(|row| self.slot(row, None));
        old.with_changes(self.snapshot.generation, &[], new)
    }

    fn with_service(&self, old: &Table, name: &Name) -> Table {
        let concerned = old
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.name.as_ref().is_some_and(|row| row.is_of(name)));
        let built =
            concerned.map(|(at, before)| (at, before, self.slot(&before.row, Some(before))));
        let changed: Vec<_> = built
            .filter(|(_, before, slot)| !Arc::ptr_eq(before, slot))
            .map(|(at, _, slot)| (at, slot))
            .collect();
        let mut services = Named::clone(&old.services);
        services.extend(self.known(name, old).map(|known| (name.clone(), Arc::new(known))));
        let mut table = old.with_changes(old.generation, &changed, None);
        table.services = Arc::new(services);
        table
    }

    fn with_stale_slots(&self, old: &Table) -> Option<Table> {
        let stale = old.can_turn.iter().filter_map(|at| Some((*at, old.slots.get(*at)?)));
        let stale = stale.filter(|(_, slot)| slot.is_stale());
        let built = stale.map(|(at, slot)| (at, slot, self.slot(&slot.row, Some(slot))));
        let changed: Vec<_> = built
            .filter(|(_, before, slot)| !slot.is_same(before))
            .map(|(at, _, slot)| (at, slot))
            .collect();
        let generation = self.snapshot.generation;
        (!changed.is_empty() || generation != old.generation)
            .then(|| old.with_changes(generation, &changed, None))
    }

    /// The cells that a change can concern.
    pub(crate) fn cells_of(
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

    /// Says which methods of a cell may go straight to the implementation under a table.
    pub(crate) fn fast_methods<'a>(
        cell: &ServiceCell,
        table: &'a Table,
    ) -> impl Iterator<Item = &'static MethodDesc> + 'a {
        let methods = if cell.local().is_some() { cell.desc().methods() } else { &[] };
        let fast =
            |method: &&MethodDesc| table.resolve(method.full_name()).is_ok_and(|ready| ready.fast);
        methods.iter().copied().filter(|method| !method.is_no_cancel()).filter(fast)
    }

    fn slot(&self, row: &RouteRow, before: Option<&Arc<RouteEntry>>) -> Arc<RouteEntry> {
        let name = before.map_or_else(|| row_name(row), |slot| slot.name.clone());
        match before.filter(|slot| self.still_holds(slot, row)) {
            Some(slot) if self.is_finished(slot) => Arc::clone(slot),
            Some(slot) => {
                Arc::new(self.finish(row, name, slot.target.clone(), slot.transport.clone(), None))
            }
            None => Arc::new(self.new_slot(row, name, before)),
        }
    }

    /// Says whether what stands around the target of a slot is still what should.
    fn is_finished(&self, slot: &RouteEntry) -> bool {
        let stand_in = slot.target.as_deref().is_some_and(|target| self.stand_in(target).is_some());
        slot.layers == self.layers_version
            && slot.stand_in == stand_in
            && slot.calls == self.calls_of(slot)
    }

    /// Says whether the target of a slot would come out the same if it were built again.
    fn still_holds(&self, slot: &RouteEntry, row: &RouteRow) -> bool {
        let Some(target) =
            slot.target.as_ref().filter(|_| slot.row == *row && slot.trouble.is_none())
        else {
            return false;
        };
        let same_transport = slot.transport.as_ref().is_none_or(|transport| {
            let now = self.transports.get(target.route.strategy().as_str());
            now.is_some_and(|now| Arc::ptr_eq(now, transport))
        });
        same_transport && target.remote().is_none_or(is_unchanged) && self.still_fits(slot, target)
    }

    /// Says whether a row suits its calls, of which more may be known than when it came into force.
    fn still_fits(&self, slot: &RouteEntry, target: &ActiveRoute) -> bool {
        let calls = self.calls_of(slot);
        let context = BuildContext::new(self.node.as_deref(), calls);
        let fits =
            |transport: &Arc<dyn Transport>| transport.check_calls(&target.route, &context).is_ok();
        calls == slot.calls
            || slot
                .transport
                .as_ref()
                .is_none_or(|transport| guarded(|| fits(transport)).unwrap_or(false))
    }

    /// What is known of the calls of a row; nothing is asked of rows that need no transport.
    fn calls_of(&self, slot: &RouteEntry) -> Calls {
        match &slot.target {
            Some(target) if slot.transport.is_some() => {
                self.calls_by(target.route.name(), target.was_called_raw())
            }
            _ => Calls::default(),
        }
    }

    /// What is known of the calls of a name.
    pub(crate) fn calls(&self, name: &Name) -> Calls {
        self.calls_by(name, self.flights.of(name).was_called_raw())
    }

    fn calls_by(&self, name: &Name, was_called_raw: bool) -> Calls {
        let of_service = |name: &str| self.cells.get(name).map(|cell| cell.desc());
        let of_method = || {
            of_service(parent(name.as_str())?).filter(|desc| desc.method(name.as_str()).is_some())
        };
        let contract = of_service(name.as_str()).or_else(of_method);
        Calls { contract, raw: was_called_raw || self.raw.contains_key(name) }
    }

    /// Builds what the row says. A bad row never changes where calls go: the route before it stays,
    /// with the reason beside it.
    fn new_slot(
        &self,
        row: &RouteRow,
        name: Option<Name>,
        before: Option<&Arc<RouteEntry>>,
    ) -> RouteEntry {
        let cause = match self.target(row, before.and_then(|slot| slot.target.as_deref())) {
            Ok((target, transport)) => {
                return self.finish(row, name, Some(Arc::new(target)), transport, None);
            }
            Err(cause) => cause,
        };
        let (target, transport) =
            before.map(|slot| (slot.target.clone(), slot.transport.clone())).unwrap_or_default();
        let elsewhere = cause == Cause::NoImplementation && target.is_none();
        if elsewhere && !name.as_ref().is_some_and(|name| self.uses(name)) {
            return self.finish(row, name, None, None, None);
        }
        let same =
            before.and_then(|slot| slot.trouble.as_ref()).filter(|trouble| trouble.cause == cause);
        let since = same.map_or_else(SystemTime::now, |trouble| trouble.since);
        if same.is_none() {
            tracing::warn!(name = %row.shown_name(), %cause, "a row is bad; the last good route of its name stays in force, or that of its service");
        }
        self.finish(row, name, target, transport, Some(RouteFault { cause, since }))
    }

    fn finish(
        &self,
        row: &RouteRow,
        name: Option<Name>,
        target: Option<Arc<ActiveRoute>>,
        transport: Option<Arc<dyn Transport>>,
        trouble: Option<RouteFault>,
    ) -> RouteEntry {
        if let Some(target) = &target {
            target.set_trouble(trouble.as_ref());
        }
        let ready = target.as_deref().map(|target| self.ready(target));
        let stand_in = target.as_deref().is_some_and(|target| self.stand_in(target).is_some());
        let can_turn = RouteEntry::can_turn(row, target.as_deref(), trouble.as_ref());
        let (layers, calls) = (self.layers_version, Calls::default());
        let slot = RouteEntry {
            row: row.clone(),
            name,
            target,
            ready,
            trouble,
            transport,
            layers,
            calls,
            stand_in,
            can_turn,
        };
        RouteEntry { calls: self.calls_of(&slot), ..slot }
    }

    /// Builds what a row says. What the policies of the target before it have learnt is kept, if it
    /// leads to the same place.
    fn target(
        &self,
        row: &RouteRow,
        before: Option<&ActiveRoute>,
    ) -> Result<(ActiveRoute, Option<Arc<dyn Transport>>), Cause> {
        let route = Route::parse(row).map_err(Cause::Invalid)?;
        let home = route.config().home().map(Name::as_str);
        let at_home = home.is_some() && home == self.node.as_deref();
        let (place, transport) = match route.strategy() {
            Strategy::Noop => (Destination::Noop, None),
            Strategy::Remote(word) if !at_home => self.remote(&route, word)?,
            _ => (
                self.local(route.name()).map(Destination::Local).ok_or(Cause::NoImplementation)?,
                None,
            ),
        };
        let flight = self.flights.of(route.name());
        Ok((ActiveRoute::new(route, place, &flight, before), transport))
    }

    fn remote(
        &self,
        route: &Route,
        word: &str,
    ) -> Result<(Destination, Option<Arc<dyn Transport>>), Cause> {
        let transport = self.transports.get(word).ok_or_else(|| self.no_transport(word))?;
        let context = BuildContext::new(self.node.as_deref(), self.calls(route.name()));
        let build = || {
            transport.check_calls(route, &context).and_then(|()| transport.build(route, &context))
        };
        let built = guarded(build);
        let panicked = || {
            Err(RouteError::new(format_args!(
                "the transport `{word}` panicked while it built this route"
            )))
        };
        let remote = built.unwrap_or_else(panicked).map_err(Cause::Invalid)?;
        Ok((Destination::Remote(remote), Some(Arc::clone(transport))))
    }

    fn no_transport(&self, word: &str) -> Cause {
        let mut known: Vec<_> =
            self.transports.keys().cloned().chain(["local".into(), "noop".into()]).collect();
        known.sort();
        Cause::NoTransport { word: word.to_owned(), known }
    }

    /// Finds the implementation for a name, or for the service before its last dot.
    fn local(&self, name: &Name) -> Option<Local> {
        let own = |name: &str| {
            let typed =
                self.cells.get(name).and_then(|cell| cell.local().cloned()).map(Local::Typed);
            typed.or_else(|| self.raw.get(name).cloned().map(Local::Raw))
        };
        own(name.as_str()).or_else(|| own(parent(name.as_str())?))
    }

    fn services(&self, old: &Table) -> Named<Arc<ServiceEntry>> {
        let names = self.cells.keys().chain(self.raw.keys());
        names.filter_map(|name| Some((name.clone(), Arc::new(self.known(name, old)?)))).collect()
    }

    fn known(&self, name: &Name, old: &Table) -> Option<ServiceEntry> {
        // A client can be made of what is registered as bytes, and does not change what that is.
        let raw = self.raw.get(name).map(|raw| Local::Raw(Arc::clone(raw)));
        let cell = if raw.is_some() { None } else { Some(Arc::clone(self.cells.get(name)?)) };
        let typed = || cell.as_ref().and_then(|cell| cell.local().cloned()).map(Local::Typed);
        let local = raw.or_else(typed);
        let before = old.services.get(name);
        let new = || Traffic::new(&self.flights.of(name));
        let traffic = before.map_or_else(new, |before| Arc::clone(&before.traffic));
        let kept = before.and_then(|before| before.unrouted.clone());
        let kept = kept.filter(|ready| ready.layers == self.layers_version);
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

    /// What takes calls without a row. They are counted, so that a row that comes later knows what
    /// runs.
    fn unrouted(&self, name: &Name, local: &Local, traffic: &Arc<Traffic>) -> ResolvedRoute {
        let tag = RouteTag::new(name.clone(), "local".into());
        let path = Path::new(local.service(), Limits::NONE, Arc::clone(traffic), false);
        let ready =
            self.layered(tag.clone(), CallService::shared(Arc::new(path)), Form::Typed, true);
        ResolvedRoute { tag: Some(Arc::new(tag)), ..ready }
    }

    fn ready(&self, target: &ActiveRoute) -> ResolvedRoute {
        let service = match self.stand_in(target) {
            Some(local) => {
                CallService::new(FallbackLayer::new(target.stand_in(local)).layer(target.service()))
            }
            None => target.service(),
        };
        self.layered(target.tag(), service, ResolvedRoute::form_of(target), target.is_plain_local())
    }

    /// Finds what steps in for a remote service: an implementation that may be registered long
    /// after its row was read.
    fn stand_in(&self, target: &ActiveRoute) -> Option<Local> {
        Some(target)
            .filter(|target| target.falls_back())
            .and_then(|target| self.local(target.route.name()))
    }

    /// Puts the layers around a service. Behind one, a call can turn anywhere, so it goes as a
    /// value and never the fast way.
    fn layered(
        &self,
        tag: RouteTag,
        service: CallService,
        form: Form,
        fast: bool,
    ) -> ResolvedRoute {
        let layers = self.layers_version;
        if !self.layers.any(tag.name().as_str()) {
            return ResolvedRoute { service, form, fast, layers, tag: None };
        }
        ResolvedRoute {
            service: self.layers.wrap(tag, service),
            form: Form::Typed,
            fast: false,
            layers,
            tag: None,
        }
    }

    /// Says whether this process implements a service, or has clients of it.
    pub(crate) fn uses(&self, name: &Name) -> bool {
        let known = |name: &str| self.cells.contains_key(name) || self.raw.contains_key(name);
        known(name.as_str()) || parent(name.as_str()).is_some_and(known)
    }
}

/// Asks a transport, which can be the user's: its panic is one bad row, not the end of the watcher.
fn guarded<T>(ask: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(ask)).ok()
}

/// What the rows of the last table became.
struct Earlier<'a> {
    table: &'a Table,
    /// Rows whose name is none, as they are shown: all there is to keep of them is since when they
    /// are bad.
    nameless: HashMap<Cow<'static, str>, &'a Arc<RouteEntry>>,
}

impl<'a> Earlier<'a> {
    fn of(table: &'a Table) -> Self {
        let nameless = table.slots.iter().filter(|slot| slot.name.is_none());
        Self { table, nameless: nameless.map(|slot| (slot.row.shown_name(), slot)).collect() }
    }

    fn find(&self, row: &RouteRow) -> Option<&'a Arc<RouteEntry>> {
        let named =
            if let Field::Text(text) = row.name() { self.table.own_slot(text) } else { None };
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

/// The name of a row, where it is one.
fn row_name(row: &RouteRow) -> Option<Name> {
    match row.name() {
        Field::Text(text) => Name::parse(text).ok(),
        _ => None,
    }
}

/// Lets the routes that a new table no longer holds finish their calls.
pub(crate) fn retire_replaced(old: &Table, new: &Table) {
    let kept: HashSet<_> =
        new.others_than(old).filter_map(|slot| slot.target.as_ref()).map(Arc::as_ptr).collect();
    let is_kept = |target: &Arc<ActiveRoute>| {
        let now = new.own_slot(target.route.name().as_str()).and_then(|slot| slot.target.as_ref());
        now.is_some_and(|now| Arc::ptr_eq(now, target)) || kept.contains(&Arc::as_ptr(target))
    };
    let targets = old.others_than(new).filter_map(|slot| slot.target.as_ref());
    targets
        .filter(|target| target.remote().is_some() && !is_kept(target))
        .for_each(|target| target.retire());
}

/// Warns of rows `noop` that are gone: what was switched off runs again, and nothing else says so.
pub(crate) fn warn_of_switched_on(old: &Table, new: &Table) {
    let names =
        old.others_than(new).filter(|slot| is_noop(slot)).filter_map(|slot| slot.name.as_ref());
    for name in names.filter(|name| !new.has_row(name) && new.resolve(name.as_str()).is_ok()) {
        match new.slot(name.as_str()) {
            Some(slot) if is_noop(slot) => {}
            Some(_) => {
                tracing::warn!(%name, "its row `noop` is gone: calls go by the row of the service again")
            }
            None => {
                tracing::warn!(%name, "its row `noop` is gone: calls go to the implementation in this process again")
            }
        }
    }
}

fn is_noop(slot: &RouteEntry) -> bool {
    slot.target.as_deref().is_some_and(|target| matches!(target.place, Destination::Noop))
}
