//! Building a table: by difference from the last one, without awaiting, dialling, or any lock that a call takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use tower_layer::Layer;

use crate::call::{CallService, RouteTag};
use crate::desc::MethodDesc;
use crate::layer::FallbackLayer;
use crate::name::{Name, parent};
use crate::quick::Quick;
use crate::router::flight::Flights;
use crate::router::layers::Layers;
use crate::router::local::{Local, RawService};
use crate::router::slot::{Cause, Slot, Trouble, is_unchanged};
use crate::router::table::{Known, MissingRow, Ready, Table};
use crate::router::target::{Place, Target};
use crate::routes::{Field, Route, RouteError, RouteRow, Snapshot, Strategy};
use crate::service::{Form, ServiceCell};
use crate::transport::{BuildContext, Transport};

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
}

impl State {
    /// Builds the table for what the state holds now, keeping of the old one what has not changed.
    pub(crate) fn build(&self, old: &Table) -> Table {
        let earlier = Earlier::of(old);
        let slots = self.snapshot.rows.iter().map(|row| self.slot(row, &earlier)).collect();
        Table::new(self.snapshot.generation, slots, self.services(old), self.missing_row, self.closed)
    }

    /// Says which methods of a cell may go straight to the implementation under a table.
    pub(crate) fn fast_methods<'a>(
        cell: &ServiceCell,
        table: &'a Table,
    ) -> impl Iterator<Item = &'static MethodDesc> + 'a {
        let methods = if cell.local().is_some() { cell.desc().methods() } else { &[] };
        let fast = |method: &&MethodDesc| table.resolve(method.full_name()).is_ok_and(|ready| ready.fast);
        methods.iter().copied().filter(|method| !method.is_no_cancel()).filter(fast)
    }

    fn slot(&self, row: &RouteRow, earlier: &Earlier<'_>) -> Arc<Slot> {
        let name = row_name(row);
        let before = earlier.find(row, name.as_ref());
        match before.filter(|slot| self.still_holds(slot, row)) {
            Some(slot) if self.is_finished(slot) => Arc::clone(slot),
            Some(slot) => Arc::new(self.finish(row, name, slot.target.clone(), slot.transport.clone(), None)),
            None => Arc::new(self.new_slot(row, name, before)),
        }
    }

    /// Says whether what stands around the target of a slot is still what should.
    fn is_finished(&self, slot: &Slot) -> bool {
        let stand_in = slot.target.as_deref().is_some_and(|target| self.stand_in(target).is_some());
        slot.layers == self.layers_version && slot.stand_in == stand_in
    }

    /// Says whether the target of a slot would come out the same if it were built again.
    fn still_holds(&self, slot: &Slot, row: &RouteRow) -> bool {
        let Some(target) = slot.target.as_ref().filter(|_| slot.row == *row && slot.trouble.is_none()) else {
            return false;
        };
        let same_transport = slot.transport.as_ref().is_none_or(|transport| {
            let now = self.transports.get(target.route.strategy().as_str());
            now.is_some_and(|now| Arc::ptr_eq(now, transport))
        });
        same_transport && target.remote().is_none_or(is_unchanged)
    }

    /// Builds what the row says. A bad row never changes where calls go: the route before it stays, with the reason beside it.
    fn new_slot(&self, row: &RouteRow, name: Option<Name>, before: Option<&Arc<Slot>>) -> Slot {
        let cause = match self.target(row, before.and_then(|slot| slot.target.as_deref())) {
            Ok((target, transport)) => return self.finish(row, name, Some(Arc::new(target)), transport, None),
            Err(cause) => cause,
        };
        let (target, transport) = before.map(|slot| (slot.target.clone(), slot.transport.clone())).unwrap_or_default();
        let elsewhere = cause == Cause::NoImplementation && target.is_none();
        if elsewhere && !name.as_ref().is_some_and(|name| self.uses(name)) {
            return self.finish(row, name, None, None, None);
        }
        let same = before.and_then(|slot| slot.trouble.as_ref()).filter(|trouble| trouble.cause == cause);
        let since = same.map_or_else(SystemTime::now, |trouble| trouble.since);
        if same.is_none() {
            tracing::warn!(name = %row.shown_name(), %cause, "a row is bad; the last good route of its name stays in force, or that of its service");
        }
        self.finish(row, name, target, transport, Some(Trouble { cause, since }))
    }

    fn finish(
        &self,
        row: &RouteRow,
        name: Option<Name>,
        target: Option<Arc<Target>>,
        transport: Option<Arc<dyn Transport>>,
        trouble: Option<Trouble>,
    ) -> Slot {
        if let Some(target) = &target {
            target.set_trouble(trouble.as_ref());
        }
        let ready = target.as_deref().map(|target| self.ready(target));
        let stand_in = target.as_deref().is_some_and(|target| self.stand_in(target).is_some());
        Slot { row: row.clone(), name, target, ready, trouble, transport, layers: self.layers_version, stand_in }
    }

    /// Builds what a row says. What the policies of the target before it have learnt is kept, if it leads to the same place.
    fn target(&self, row: &RouteRow, before: Option<&Target>) -> Result<(Target, Option<Arc<dyn Transport>>), Cause> {
        let route = Route::parse(row).map_err(Cause::Invalid)?;
        let home = route.config().home().map(Name::as_str);
        let at_home = home.is_some() && home == self.node.as_deref();
        let (place, transport) = match route.strategy() {
            Strategy::Noop => (Place::Noop, None),
            Strategy::Remote(word) if !at_home => self.remote(&route, word)?,
            _ => (self.local(route.name()).map(Place::Local).ok_or(Cause::NoImplementation)?, None),
        };
        let flight = self.flights.of(route.name());
        Ok((Target::new(route, place, &flight, before), transport))
    }

    fn remote(&self, route: &Route, word: &str) -> Result<(Place, Option<Arc<dyn Transport>>), Cause> {
        let transport = self.transports.get(word).ok_or_else(|| self.no_transport(word))?;
        let context = BuildContext::new(self.node.as_deref());
        // A transport can be the user's: its panic is one bad row, not the end of the watcher.
        let built = std::panic::catch_unwind(AssertUnwindSafe(|| transport.build(route, &context)));
        let panicked =
            |_| Err(RouteError::new(format_args!("the transport `{word}` panicked while it built this route")));
        let remote = built.unwrap_or_else(panicked).map_err(Cause::Invalid)?;
        Ok((Place::Remote(remote), Some(Arc::clone(transport))))
    }

    fn no_transport(&self, word: &str) -> Cause {
        let mut known: Vec<_> = self.transports.keys().cloned().chain(["local".into(), "noop".into()]).collect();
        known.sort();
        Cause::NoTransport { word: word.to_owned(), known }
    }

    /// Finds the implementation for a name, or for the service before its last dot.
    fn local(&self, name: &Name) -> Option<Local> {
        let own = |name: &str| {
            let typed = self.cells.get(name).and_then(|cell| cell.local().cloned()).map(Local::Typed);
            typed.or_else(|| self.raw.get(name).cloned().map(Local::Raw))
        };
        own(name.as_str()).or_else(|| own(parent(name.as_str())?))
    }

    fn services(&self, old: &Table) -> HashMap<Name, Known, BuildHasherDefault<Quick>> {
        let typed = self.cells.iter().map(|(name, cell)| {
            let local = cell.local().cloned().map(Local::Typed);
            (name, Known { cell: Some(Arc::clone(cell)), desc: Some(cell.desc()), local, unrouted: None })
        });
        let raw = self.raw.iter().map(|(name, raw)| {
            (name, Known { cell: None, desc: None, local: Some(Local::Raw(Arc::clone(raw))), unrouted: None })
        });
        let with_way = |(name, known): (&Name, Known)| {
            let kept = old.services.get(name).and_then(|before| before.unrouted.clone());
            let kept = kept.filter(|ready| ready.layers == self.layers_version);
            let unrouted = kept.or_else(|| known.local.as_ref().map(|local| self.unrouted(name, local)));
            (name.clone(), Known { unrouted, ..known })
        };
        typed.chain(raw).map(with_way).collect()
    }

    fn unrouted(&self, name: &Name, local: &Local) -> Ready {
        let tag = RouteTag::new(name.clone(), "local".into());
        let ready = self.layered(tag.clone(), local.service(), Form::Typed, true);
        Ready { tag: Some(Arc::new(tag)), ..ready }
    }

    fn ready(&self, target: &Target) -> Ready {
        let service = match self.stand_in(target) {
            Some(local) => CallService::new(FallbackLayer::new(target.stand_in(local)).layer(target.service())),
            None => target.service(),
        };
        self.layered(target.tag(), service, Ready::form_of(target), target.is_plain_local())
    }

    /// Finds what steps in for a remote service: an implementation that may be registered long after its row was read.
    fn stand_in(&self, target: &Target) -> Option<Local> {
        Some(target).filter(|target| target.falls_back()).and_then(|target| self.local(target.route.name()))
    }

    /// Puts the layers around a service. Behind one, a call can turn anywhere, so it goes as a value and never the fast way.
    fn layered(&self, tag: RouteTag, service: CallService, form: Form, fast: bool) -> Ready {
        let layers = self.layers_version;
        if !self.layers.any(tag.name().as_str()) {
            return Ready { service, form, fast, layers, tag: None };
        }
        Ready { service: self.layers.wrap(tag, service), form: Form::Typed, fast: false, layers, tag: None }
    }

    /// Says whether this process implements a service, or has clients of it.
    pub(crate) fn uses(&self, name: &Name) -> bool {
        let known = |name: &str| self.cells.contains_key(name) || self.raw.contains_key(name);
        known(name.as_str()) || parent(name.as_str()).is_some_and(known)
    }
}

/// What the rows of the last table became.
struct Earlier<'a> {
    named: HashMap<&'a Name, &'a Arc<Slot>>,
    /// Rows whose name is none, as they are shown: all there is to keep of them is since when they are bad.
    nameless: HashMap<Cow<'static, str>, &'a Arc<Slot>>,
}

impl<'a> Earlier<'a> {
    fn of(old: &'a Table) -> Self {
        let named = old.slots.iter().filter_map(|slot| slot.name.as_ref().map(|name| (name, slot))).collect();
        let nameless = old.slots.iter().filter(|slot| slot.name.is_none());
        Self { named, nameless: nameless.map(|slot| (slot.row.shown_name(), slot)).collect() }
    }

    fn find(&self, row: &RouteRow, name: Option<&Name>) -> Option<&'a Arc<Slot>> {
        match name {
            Some(name) => self.named.get(name).copied(),
            None => self.nameless.get(&row.shown_name()).copied(),
        }
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
    let kept: HashSet<_> = new.slots.iter().filter_map(|slot| slot.target.as_ref()).map(Arc::as_ptr).collect();
    let targets = old.slots.iter().filter_map(|slot| slot.target.as_ref());
    for target in targets.filter(|target| target.remote().is_some() && !kept.contains(&Arc::as_ptr(target))) {
        target.retire();
    }
}

/// Warns of rows `noop` that are gone: what was switched off runs again, and nothing else says so.
pub(crate) fn warn_of_switched_on(old: &Table, new: &Table) {
    let names = old.slots.iter().filter(|slot| is_noop(slot)).filter_map(|slot| slot.name.as_ref());
    for name in names.filter(|name| !new.has_row(name) && new.resolve(name.as_str()).is_ok()) {
        match new.slot(name.as_str()) {
            Some(slot) if is_noop(slot) => {}
            Some(_) => tracing::warn!(%name, "its row `noop` is gone: calls go by the row of the service again"),
            None => {
                tracing::warn!(%name, "its row `noop` is gone: calls go to the implementation in this process again")
            }
        }
    }
}

fn is_noop(slot: &Slot) -> bool {
    slot.target.as_deref().is_some_and(|target| matches!(target.place, Place::Noop))
}
