//! Builds one entry of a table from its row: reuses the previous entry if it is still current,
//! otherwise asks the transport for a new route, and falls back to the last good route on failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use tower_layer::Layer;

use crate::call::{CallService, RouteTag};
use crate::layer::FallbackLayer;
use crate::name::{Name, parent};
use crate::router::active_route::{ActiveRoute, Destination, ResolvedRoute};
use crate::router::entry::{RouteEntry, is_unchanged};
use crate::router::fault::{Cause, RouteFault};
use crate::router::local::Local;
use crate::router::reload::State;
use crate::routes::{Field, Route, RouteError, RouteRow, Strategy};
use crate::service::Form;
use crate::transport::{BuildContext, Calls, Transport};

impl State {
    /// Builds the entry of a row. Returns the previous entry itself if nothing about it changed.
    pub(super) fn entry(
        &self,
        row: &RouteRow,
        previous: Option<&Arc<RouteEntry>>,
    ) -> Arc<RouteEntry> {
        let name = previous.map_or_else(|| row_name(row), |entry| entry.name.clone());
        match previous.filter(|entry| self.is_route_current(entry, row)) {
            Some(entry) if self.is_wrapping_current(entry) => Arc::clone(entry),
            Some(entry) => {
                let (active, transport) = (entry.active.clone(), entry.transport.clone());
                Arc::new(self.finish_entry(row, name, active, transport, None))
            }
            None => Arc::new(self.new_entry(row, name, previous)),
        }
    }

    /// Returns whether the layers, the fallback and the known calls of an entry are still current.
    fn is_wrapping_current(&self, entry: &RouteEntry) -> bool {
        entry.layers_version == self.layers_version
            && entry.has_fallback == self.has_fallback(entry.active.as_deref())
            && entry.calls == self.calls_of(entry)
    }

    /// Returns whether building the route of an entry again would produce the same route.
    fn is_route_current(&self, entry: &RouteEntry, row: &RouteRow) -> bool {
        let Some(active) =
            entry.active.as_ref().filter(|_| entry.row == *row && entry.fault.is_none())
        else {
            return false;
        };
        let same_transport = entry.transport.as_ref().is_none_or(|transport| {
            let registered = self.transports.get(active.route.strategy().as_str());
            registered.is_some_and(|registered| Arc::ptr_eq(registered, transport))
        });
        same_transport
            && active.remote().is_none_or(is_unchanged)
            && self.still_fits_calls(entry, active)
    }

    /// Returns whether the transport still accepts the calls of a row. More may be known about them
    /// than when the row came into force.
    fn still_fits_calls(&self, entry: &RouteEntry, active: &ActiveRoute) -> bool {
        let calls = self.calls_of(entry);
        let context = BuildContext::new(self.node.as_deref(), calls);
        let fits =
            |transport: &Arc<dyn Transport>| transport.check_calls(&active.route, &context).is_ok();
        calls == entry.calls
            || entry
                .transport
                .as_ref()
                .is_none_or(|transport| catch_panic(|| fits(transport)).unwrap_or(false))
    }

    /// Returns what is known about the calls of a row. Rows without a transport have no use for it
    /// and get the default.
    fn calls_of(&self, entry: &RouteEntry) -> Calls {
        match &entry.active {
            Some(active) if entry.transport.is_some() => {
                self.known_calls(active.route.name(), active.was_called_raw())
            }
            _ => Calls::default(),
        }
    }

    /// Returns what is known about the calls of a name.
    pub(crate) fn calls(&self, name: &Name) -> Calls {
        self.known_calls(name, self.flights.of(name).was_called_raw())
    }

    fn known_calls(&self, name: &Name, was_called_raw: bool) -> Calls {
        let of_service = |name: &str| self.cells.get(name).map(|cell| cell.desc());
        let of_method = || {
            of_service(parent(name.as_str())?).filter(|desc| desc.method(name.as_str()).is_some())
        };
        let contract = of_service(name.as_str()).or_else(of_method);
        Calls { contract, raw: was_called_raw || self.raw.contains_key(name) }
    }

    /// Builds a new entry from a row. A bad row never changes where calls go: the previous route
    /// stays in force, and the entry records the fault.
    fn new_entry(
        &self,
        row: &RouteRow,
        name: Option<Name>,
        previous: Option<&Arc<RouteEntry>>,
    ) -> RouteEntry {
        let previous_route = previous.and_then(|entry| entry.active.as_deref());
        let cause = match self.active_route(row, previous_route) {
            Ok((active, transport)) => {
                return self.finish_entry(row, name, Some(Arc::new(active)), transport, None);
            }
            Err(cause) => cause,
        };
        let (active, transport) = previous
            .map(|entry| (entry.active.clone(), entry.transport.clone()))
            .unwrap_or_default();
        // A `local` row of a service that this process neither implements nor calls is the row of
        // another process, not a fault.
        let is_foreign = cause == Cause::NoImplementation && active.is_none();
        if is_foreign && !name.as_ref().is_some_and(|name| self.uses(name)) {
            return self.finish_entry(row, name, None, None, None);
        }
        let same_fault =
            previous.and_then(|entry| entry.fault.as_ref()).filter(|fault| fault.cause == cause);
        let since = same_fault.map_or_else(SystemTime::now, |fault| fault.since);
        if same_fault.is_none() {
            tracing::warn!(name = %row.shown_name(), %cause, "a row is bad; the last good route of its name stays in force, or that of its service");
        }
        self.finish_entry(row, name, active, transport, Some(RouteFault { cause, since }))
    }

    /// Assembles an entry from its parts: wraps the route in its fallback and layers, and hands the
    /// fault to the route.
    fn finish_entry(
        &self,
        row: &RouteRow,
        name: Option<Name>,
        active: Option<Arc<ActiveRoute>>,
        transport: Option<Arc<dyn Transport>>,
        fault: Option<RouteFault>,
    ) -> RouteEntry {
        if let Some(active) = &active {
            active.set_fault(fault.as_ref());
        }
        let resolved = active.as_deref().map(|active| self.resolved(active));
        let has_fallback = self.has_fallback(active.as_deref());
        let can_go_stale = RouteEntry::can_go_stale(row, active.as_deref(), fault.as_ref());
        let (layers_version, calls) = (self.layers_version, Calls::default());
        let entry = RouteEntry {
            row: row.clone(),
            name,
            active,
            resolved,
            fault,
            transport,
            layers_version,
            calls,
            has_fallback,
            can_go_stale,
        };
        RouteEntry { calls: self.calls_of(&entry), ..entry }
    }

    /// Builds the route of a row, with the transport that built it, if any. The state of the
    /// previous route's policies carries over if both routes have the same destination.
    fn active_route(
        &self,
        row: &RouteRow,
        previous: Option<&ActiveRoute>,
    ) -> Result<(ActiveRoute, Option<Arc<dyn Transport>>), Cause> {
        let route = Route::parse(row).map_err(Cause::Invalid)?;
        let home = route.config().home.as_ref().map(Name::as_str);
        let at_home = home.is_some() && home == self.node.as_deref();
        let (destination, transport) = match route.strategy() {
            Strategy::Noop => (Destination::Noop, None),
            Strategy::Remote(word) if !at_home => self.remote_destination(&route, word)?,
            _ => {
                let local = self.local(route.name()).ok_or(Cause::NoImplementation)?;
                (Destination::Local(local), None)
            }
        };
        let flight = self.flights.of(route.name());
        Ok((ActiveRoute::new(route, destination, &flight, previous), transport))
    }

    /// Asks the transport of a strategy to build the destination of a route.
    fn remote_destination(
        &self,
        route: &Route,
        word: &str,
    ) -> Result<(Destination, Option<Arc<dyn Transport>>), Cause> {
        let transport = self.transports.get(word).ok_or_else(|| self.no_transport(word))?;
        let context = BuildContext::new(self.node.as_deref(), self.calls(route.name()));
        let build = || {
            transport.check_calls(route, &context).and_then(|()| transport.build(route, &context))
        };
        let panicked = || {
            Err(RouteError::new(format_args!(
                "the transport `{word}` panicked while it built this route"
            )))
        };
        let remote = catch_panic(build).unwrap_or_else(panicked).map_err(Cause::Invalid)?;
        Ok((Destination::Remote(remote), Some(Arc::clone(transport))))
    }

    fn no_transport(&self, word: &str) -> Cause {
        let mut available: Vec<_> =
            self.transports.keys().cloned().chain(["local".into(), "noop".into()]).collect();
        available.sort();
        Cause::NoTransport { word: word.to_owned(), available }
    }

    /// Finds the implementation of a name, or of the service before its last dot.
    fn local(&self, name: &Name) -> Option<Local> {
        let own = |name: &str| {
            let typed =
                self.cells.get(name).and_then(|cell| cell.local().cloned()).map(Local::Typed);
            typed.or_else(|| self.raw.get(name).cloned().map(Local::Raw))
        };
        own(name.as_str()).or_else(|| own(parent(name.as_str())?))
    }

    /// Wraps a route in its fallback and its layers.
    fn resolved(&self, active: &ActiveRoute) -> ResolvedRoute {
        let service = match self.fallback(active) {
            Some(local) => {
                let fallback = FallbackLayer::new(active.fallback_service(local));
                CallService::new(fallback.layer(active.service()))
            }
            None => active.service(),
        };
        self.layered(active.tag(), service, ResolvedRoute::form_of(active), active.is_plain_local())
    }

    /// Finds the local implementation that a remote route falls back to. It may be registered long
    /// after the row was read.
    fn fallback(&self, active: &ActiveRoute) -> Option<Local> {
        Some(active)
            .filter(|active| active.falls_back())
            .and_then(|active| self.local(active.route.name()))
    }

    fn has_fallback(&self, active: Option<&ActiveRoute>) -> bool {
        active.is_some_and(|active| self.fallback(active).is_some())
    }

    /// Wraps a service in the layers of its name. A layer may send a call to any service, so calls
    /// under a layer carry their arguments as values and never take the fast path.
    pub(super) fn layered(
        &self,
        tag: RouteTag,
        service: CallService,
        form: Form,
        fast: bool,
    ) -> ResolvedRoute {
        let layers_version = self.layers_version;
        if !self.layers.any(tag.name().as_str()) {
            return ResolvedRoute { service, form, fast, layers_version, tag: None };
        }
        ResolvedRoute {
            service: self.layers.wrap(tag, service),
            form: Form::Typed,
            fast: false,
            layers_version,
            tag: None,
        }
    }
}

/// Runs code of a transport, which may be the user's. A panic there is one bad row and must not end
/// the watcher.
fn catch_panic<T>(code: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(code)).ok()
}

/// Returns the name of a row if it is valid.
fn row_name(row: &RouteRow) -> Option<Name> {
    match row.name() {
        Field::Text(text) => Name::parse(text).ok(),
        _ => None,
    }
}
