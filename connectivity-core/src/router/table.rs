//! The immutable set of routes in force. A call reads one table from start to end.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::call::{Call, CallService, RouteTag, ServiceDesc};
use crate::error::{Error, ErrorKind};
use crate::fast_hash::FastHasher;
use crate::name::{Name, parent};
use crate::router::active_route::ActiveRoute;
use crate::router::entry::{RouteEntry, RouteFault};
use crate::router::local::Local;
use crate::router::path::{Limits, Traffic};
use crate::service::{Form, Plan, ServiceCell};

/// What happens to a call whose name has no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingRow {
    /// The implementation registered in this process takes it.
    #[default]
    Local,
    /// It is refused as [`NotRoutable`](ErrorKind::NotRoutable), until a row says where it goes.
    Refuse,
}

/// A map by name.
pub(crate) type Named<T> = HashMap<Name, T, BuildHasherDefault<FastHasher>>;

/// The routes in force at one moment. Parts that a change does not concern are shared with the
/// table before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The generation of the source that the rows were read at.
    pub(crate) generation: u64,
    /// One for each row, good or bad, in the order of the source.
    pub(crate) slots: Arc<Vec<Arc<RouteEntry>>>,
    /// Places in `slots` by name.
    by_name: Arc<Named<usize>>,
    /// Places of slots that can turn stale.
    pub(crate) can_turn: Arc<Vec<usize>>,
    /// Services that this process implements or has clients of.
    pub(crate) services: Arc<Named<Arc<ServiceEntry>>>,
    pub(crate) missing_row: MissingRow,
    pub(crate) closed: bool,
}

/// What this process knows of a service beside its rows.
#[derive(Clone, Debug)]
pub(crate) struct ServiceEntry {
    /// What clients of a typed service hold.
    pub(crate) cell: Option<Arc<ServiceCell>>,
    pub(crate) desc: Option<&'static ServiceDesc>,
    pub(crate) local: Option<Local>,
    /// What takes calls where no row does.
    pub(crate) unrouted: Option<ResolvedRoute>,
    /// Calls that no row takes, for one that comes later to count.
    pub(crate) traffic: Arc<Traffic>,
}

/// A route under its layers, ready for calls.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedRoute {
    pub(crate) service: CallService,
    pub(crate) form: Form,
    /// Whether a typed call may go past all of it, straight to the implementation.
    pub(crate) fast: bool,
    /// Which set of layers stands around it.
    pub(crate) layers: u64,
    /// What layers of calls from outside are told; only where the way is that of a service, not of
    /// a row.
    pub(crate) tag: Option<Arc<RouteTag>>,
}

impl ServiceEntry {
    /// Counts a call from outside that no row takes.
    pub(crate) fn admit(&self, call: &mut Call) -> Result<(), Error> {
        self.traffic.admit(Limits::NONE, call)
    }
}

impl ResolvedRoute {
    pub(crate) fn plan(&self) -> Plan {
        Plan { service: self.service.clone(), form: self.form }
    }

    /// How a target without layers wants its arguments.
    pub(crate) fn form_of(target: &ActiveRoute) -> Form {
        target.remote().map_or(Form::Typed, |remote| Form::Encoded(remote.codec()))
    }
}

impl Table {
    /// Makes a table with other slots.
    pub(crate) fn with_slots(&self, generation: u64, slots: Vec<Arc<RouteEntry>>) -> Self {
        let same = |(one, other): (&Arc<RouteEntry>, &Arc<RouteEntry>)| {
            Arc::ptr_eq(one, other) || one.name == other.name
        };
        let same_names =
            slots.len() == self.slots.len() && slots.iter().zip(&*self.slots).all(same);
        let by_name =
            if same_names { Arc::clone(&self.by_name) } else { Arc::new(by_name(&slots)) };
        let can_turn = Arc::new(can_turn(&slots));
        Self { generation, slots: Arc::new(slots), by_name, can_turn, ..self.clone() }
    }

    /// Makes a table with other slots for some of the rows, and with one row more.
    pub(crate) fn with_changes(
        &self,
        generation: u64,
        changed: &[(usize, Arc<RouteEntry>)],
        new: Option<Arc<RouteEntry>>,
    ) -> Self {
        let mut table = Self { generation, ..self.clone() };
        if changed.is_empty() && new.is_none() {
            return table;
        }
        let mut slots = Vec::with_capacity(self.slots.len() + 1);
        slots.extend(self.slots.iter().cloned());
        let mut can_turn = new.as_ref().is_some_and(|slot| slot.can_turn);
        for (at, slot) in changed {
            if let Some(before) = slots.get_mut(*at) {
                can_turn |= before.can_turn || slot.can_turn;
                *before = Arc::clone(slot);
            }
        }
        if let Some(slot) = new {
            Arc::make_mut(&mut table.by_name)
                .extend(slot.name.clone().map(|name| (name, slots.len())));
            slots.push(slot);
        }
        if can_turn {
            table.can_turn = Arc::new(self::can_turn(&slots));
        }
        table.slots = Arc::new(slots);
        table
    }

    /// Finds the row for a name: its own, or that of the service before its last dot. A row of a
    /// method's own that is bad, and never was good, does not change where its calls go: they go by
    /// the row of the service.
    pub(crate) fn slot(&self, name: &str) -> Option<&Arc<RouteEntry>> {
        let of_service = || self.own_slot(parent(name)?);
        match self.own_slot(name) {
            Some(own) if own.trouble.is_none() || own.target.is_some() => Some(own),
            Some(own) => of_service().filter(|service| service.target.is_some()).or(Some(own)),
            None => of_service(),
        }
    }

    /// Finds the row of a name's own.
    pub(crate) fn own_slot(&self, name: &str) -> Option<&Arc<RouteEntry>> {
        self.slots.get(*self.by_name.get(name)?)
    }

    /// Returns the slots that do not stand at the same place in another table.
    pub(crate) fn others_than(&self, other: &Self) -> impl Iterator<Item = &Arc<RouteEntry>> {
        // None at all where the two share them.
        let slots = if Arc::ptr_eq(&self.slots, &other.slots) { &[] } else { &self.slots[..] };
        let other = Arc::clone(&other.slots);
        let stays =
            move |at: usize, slot| other.get(at).is_some_and(|other| Arc::ptr_eq(slot, other));
        slots.iter().enumerate().filter(move |(at, slot)| !stays(*at, slot)).map(|(_, slot)| slot)
    }

    /// Returns whether a name has a row of its own.
    pub(crate) fn has_row(&self, name: &Name) -> bool {
        self.by_name.contains_key(name)
    }

    /// Finds what this process knows of the service that a name belongs to. Methods are what a
    /// typed service has; a raw one is called by its own name only.
    pub(crate) fn known(&self, name: &str) -> Option<&ServiceEntry> {
        let of_service = || self.services.get(parent(name)?).filter(|known| known.desc.is_some());
        self.services.get(name).or_else(of_service).map(Arc::as_ref)
    }

    /// Says what takes a call of this name: the most specific row, or the implementation registered
    /// here.
    pub(crate) fn resolve(&self, name: &str) -> Result<&ResolvedRoute, Error> {
        if self.closed {
            return Err(closed(name));
        }
        match self.slot(name) {
            Some(slot) => slot.ready.as_ref().ok_or_else(|| slot_error(name, slot)),
            None => self.unrouted(name),
        }
    }

    fn unrouted(&self, name: &str) -> Result<&ResolvedRoute, Error> {
        let refused = |message| Err(Error::new(ErrorKind::NotRoutable, name, message));
        match (self.missing_row, self.known(name).and_then(|known| known.unrouted.as_ref())) {
            (MissingRow::Local, Some(ready)) => Ok(ready),
            (MissingRow::Refuse, Some(_)) => {
                refused("no row has this name, and this router refuses calls without one")
            }
            (_, None) => refused("no row has this name, and nothing is registered here"),
        }
    }
}

fn by_name(slots: &[Arc<RouteEntry>]) -> Named<usize> {
    slots
        .iter()
        .enumerate()
        .filter_map(|(at, slot)| slot.name.clone().map(|name| (name, at)))
        .collect()
}

fn can_turn(slots: &[Arc<RouteEntry>]) -> Vec<usize> {
    slots.iter().enumerate().filter(|(_, slot)| slot.can_turn).map(|(at, _)| at).collect()
}

pub(crate) fn closed(name: &str) -> Error {
    Error::new(ErrorKind::Closed, name, "the router is closed").with_sent(crate::Sent::No)
}

fn slot_error(name: &str, slot: &RouteEntry) -> Error {
    let (kind, message) = match &slot.trouble {
        Some(trouble) => (trouble.cause.kind(), trouble.cause.to_string()),
        None => (ErrorKind::NotRoutable, RouteFault::NOT_SERVED_HERE.to_owned()),
    };
    Error::new(kind, name, message)
}
