//! The immutable table of the routes in force. A call reads one table from start to end.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::call::{Call, ServiceDesc};
use crate::error::{Error, ErrorKind};
use crate::fast_hash::FastHasher;
use crate::name::{Name, parent};
use crate::router::active_route::ResolvedRoute;
use crate::router::drain::closed;
use crate::router::entry::RouteEntry;
use crate::router::fault::RouteFault;
use crate::router::local::Local;
use crate::router::path::{Limits, Traffic};
use crate::service::ServiceCell;

/// Policy for calls whose name has no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingRow {
    /// The implementation registered in this process serves the call.
    #[default]
    Local,
    /// The call fails as [`NotRoutable`](ErrorKind::NotRoutable) until a row says where it goes.
    Refuse,
}

/// A map by name.
pub(crate) type Named<T> = HashMap<Name, T, BuildHasherDefault<FastHasher>>;

/// The routes in force at one moment. Shares the parts that a change does not affect with the
/// previous table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The generation of the source at which the rows were read.
    pub(crate) generation: u64,
    /// One entry per row, good or bad, in the order of the source.
    pub(crate) entries: Arc<Vec<Arc<RouteEntry>>>,
    /// Indices into `entries` by name.
    by_name: Arc<Named<usize>>,
    /// Indices of the entries that can become stale.
    pub(crate) can_go_stale: Arc<Vec<usize>>,
    /// Services that this process implements or has clients of.
    pub(crate) services: Arc<Named<Arc<ServiceEntry>>>,
    pub(crate) missing_row: MissingRow,
    pub(crate) closed: bool,
}

/// A service that this process implements or has clients of, apart from its rows.
#[derive(Clone, Debug)]
pub(crate) struct ServiceEntry {
    /// The cell that clients of a typed service hold; `None` for a raw service.
    pub(crate) cell: Option<Arc<ServiceCell>>,
    pub(crate) desc: Option<&'static ServiceDesc>,
    pub(crate) local: Option<Local>,
    /// The route of calls that match no row.
    pub(crate) unrouted: Option<ResolvedRoute>,
    /// Counts the calls that match no row, so that a row added later knows those in flight.
    pub(crate) traffic: Arc<Traffic>,
}

impl ServiceEntry {
    /// Counts an inbound call that matches no row.
    pub(crate) fn admit(&self, call: &mut Call) -> Result<(), Error> {
        self.traffic.admit(Limits::NONE, call)
    }
}

impl Table {
    /// Returns a table with other entries.
    pub(crate) fn with_entries(&self, generation: u64, entries: Vec<Arc<RouteEntry>>) -> Self {
        let same = |(one, other): (&Arc<RouteEntry>, &Arc<RouteEntry>)| {
            Arc::ptr_eq(one, other) || one.name == other.name
        };
        let same_names =
            entries.len() == self.entries.len() && entries.iter().zip(&*self.entries).all(same);
        let by_name =
            if same_names { Arc::clone(&self.by_name) } else { Arc::new(by_name(&entries)) };
        let can_go_stale = Arc::new(can_go_stale(&entries));
        Self { generation, entries: Arc::new(entries), by_name, can_go_stale, ..self.clone() }
    }

    /// Returns a table with some entries replaced, and with at most one entry appended.
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
        let mut entries = Vec::with_capacity(self.entries.len() + 1);
        entries.extend(self.entries.iter().cloned());
        let mut can_go_stale = new.as_ref().is_some_and(|entry| entry.can_go_stale);
        for (at, entry) in changed {
            if let Some(before) = entries.get_mut(*at) {
                can_go_stale |= before.can_go_stale || entry.can_go_stale;
                *before = Arc::clone(entry);
            }
        }
        if let Some(entry) = new {
            Arc::make_mut(&mut table.by_name)
                .extend(entry.name.clone().map(|name| (name, entries.len())));
            entries.push(entry);
        }
        if can_go_stale {
            table.can_go_stale = Arc::new(self::can_go_stale(&entries));
        }
        table.entries = Arc::new(entries);
        table
    }

    /// Finds the entry for a name: its own, or that of the service before its last dot. A method's
    /// own row that is bad and never was good does not change where calls go: they follow the row
    /// of the service.
    pub(crate) fn entry(&self, name: &str) -> Option<&Arc<RouteEntry>> {
        let of_service = || self.own_entry(parent(name)?);
        match self.own_entry(name) {
            Some(own) if own.fault.is_none() || own.active.is_some() => Some(own),
            Some(own) => of_service().filter(|service| service.active.is_some()).or(Some(own)),
            None => of_service(),
        }
    }

    /// Finds the entry whose row has exactly this name.
    pub(crate) fn own_entry(&self, name: &str) -> Option<&Arc<RouteEntry>> {
        self.entries.get(*self.by_name.get(name)?)
    }

    /// Returns the entries that are not at the same index in another table.
    pub(crate) fn entries_not_in(&self, other: &Self) -> impl Iterator<Item = &Arc<RouteEntry>> {
        // Tables that share their entries have no difference.
        let entries =
            if Arc::ptr_eq(&self.entries, &other.entries) { &[] } else { &self.entries[..] };
        let other = Arc::clone(&other.entries);
        let stays =
            move |at: usize, entry| other.get(at).is_some_and(|other| Arc::ptr_eq(entry, other));
        entries
            .iter()
            .enumerate()
            .filter(move |(at, entry)| !stays(*at, entry))
            .map(|(_, entry)| entry)
    }

    /// Returns whether a name has a row of its own.
    pub(crate) fn has_row(&self, name: &Name) -> bool {
        self.by_name.contains_key(name)
    }

    /// Finds the service that a name belongs to. Only typed services have methods; a raw service is
    /// called by its own name.
    pub(crate) fn service(&self, name: &str) -> Option<&ServiceEntry> {
        let of_service =
            || self.services.get(parent(name)?).filter(|service| service.desc.is_some());
        self.services.get(name).or_else(of_service).map(Arc::as_ref)
    }

    /// Finds the route of a call: that of the most specific row, or the implementation registered
    /// here.
    pub(crate) fn resolve(&self, name: &str) -> Result<&ResolvedRoute, Error> {
        if self.closed {
            return Err(closed(name));
        }
        match self.entry(name) {
            Some(entry) => entry.resolved.as_ref().ok_or_else(|| entry_error(name, entry)),
            None => self.unrouted(name),
        }
    }

    fn unrouted(&self, name: &str) -> Result<&ResolvedRoute, Error> {
        let refused = |message| Err(Error::new(ErrorKind::NotRoutable, name, message));
        match (self.missing_row, self.service(name).and_then(|service| service.unrouted.as_ref())) {
            (MissingRow::Local, Some(resolved)) => Ok(resolved),
            (MissingRow::Refuse, Some(_)) => {
                refused("no row has this name, and this router refuses calls without one")
            }
            (_, None) => refused("no row has this name, and nothing is registered here"),
        }
    }
}

fn by_name(entries: &[Arc<RouteEntry>]) -> Named<usize> {
    entries
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| entry.name.clone().map(|name| (name, at)))
        .collect()
}

fn can_go_stale(entries: &[Arc<RouteEntry>]) -> Vec<usize> {
    entries.iter().enumerate().filter(|(_, entry)| entry.can_go_stale).map(|(at, _)| at).collect()
}

fn entry_error(name: &str, entry: &RouteEntry) -> Error {
    let (kind, message) = match &entry.fault {
        Some(fault) => (fault.cause.kind(), fault.cause.to_string()),
        None => (ErrorKind::NotRoutable, RouteFault::NOT_SERVED_HERE.to_owned()),
    };
    Error::new(kind, name, message)
}
