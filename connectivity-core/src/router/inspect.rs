//! Introspection: snapshots of a router's rows, routes and services.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::error::ErrorKind;
use crate::layer::breaker::BreakerState;
use crate::router::active_route::ActiveRoute;
use crate::router::core::Core;
use crate::router::entry::RouteEntry;
use crate::router::fault::RouteFault;
use crate::router::path::LastFailure;
use crate::router::table::Table;
use crate::routes::printable;
use crate::transport::{Remote, TransportState};
use crate::utc;

/// A snapshot of a router's routes and services. Hostile texts are escaped. Times serialize as UTC
/// texts in RFC 3339 format: `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The generation of the routes in force; grows with every change of a row.
    pub generation: u64,
    /// Every row, in the order of the source.
    pub routes: Vec<RouteInfo>,
    /// Services that this process implements or has clients of.
    pub services: Vec<ServiceInfo>,
    /// Problems that affect all routes, such as a source that cannot be read or missing triggers.
    pub warnings: Vec<String>,
    /// Whether the router was closed.
    pub closed: bool,
}

impl Inspection {
    /// Finds a route by the name of its row.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&RouteInfo> {
        self.routes.iter().find(|route| route.name == name)
    }
}

/// One row and the route built from it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The name in the row.
    pub name: String,
    /// The strategy that serves calls now. If the row is bad, that of the last good row.
    pub strategy: Option<String>,
    /// The endpoint of the route in force.
    pub endpoint: Option<String>,
    /// Whether the row is in force.
    pub state: RouteState,
    /// Whether an implementation of this name is registered here.
    pub has_local: bool,
    /// Calls in flight through the route, without those on the fast path to a local implementation.
    pub in_flight: usize,
    /// The state of the connection, for a remote route.
    pub transport: Option<TransportState>,
    /// The state of the circuit breaker, for a remote route whose row asks for one.
    pub breaker: Option<BreakerState>,
    /// The last failure of a call through the route since the row came into force. Calls on the
    /// fast path and the error type of a contract do not count.
    pub last_error: Option<LastError>,
    /// Harmless oddities of the row or its server.
    pub warnings: Vec<String>,
}

/// A failure of a call. Its time serializes as a text such as `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastError {
    /// The kind of the failure; serialized as its word.
    #[serde(serialize_with = "word")]
    pub kind: ErrorKind,
    /// The message of the error.
    pub message: String,
    /// When the call failed.
    #[serde(serialize_with = "utc::serialize")]
    pub at: SystemTime,
}

fn word<S: Serializer>(kind: &ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl From<LastFailure> for LastError {
    fn from(LastFailure { error, at }: LastFailure) -> Self {
        Self { kind: error.kind(), message: printable(error.message()), at }
    }
}

/// The state of a row. Times serialize as texts such as `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouteState {
    /// Calls go where the row says.
    InForce,
    /// The row is faulty.
    Bad {
        /// The fault, and how to fix it.
        why: String,
        /// When the row became bad.
        #[serde(serialize_with = "utc::serialize")]
        since: SystemTime,
        /// The strategy of the last good row, which serves calls meanwhile, if there is one.
        meanwhile: Option<String>,
    },
    /// The row says `local`, but this process neither implements nor calls the service. The row
    /// belongs to another process.
    NotServedHere,
}

/// A service that this process implements or has clients of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// The name.
    pub name: String,
    /// Whether an implementation is registered.
    pub has_local: bool,
    /// The full names of its methods; empty for a raw service.
    pub methods: Vec<&'static str>,
}

pub(crate) fn inspect(core: &Core) -> Inspection {
    let table = core.table();
    let mut warnings = core.source().warnings();
    if let Some((cause, since)) = core.read_error() {
        let age = since.elapsed().unwrap_or_default().as_secs();
        warnings.push(format!(
            "the routes cannot be read since {age} s, the last ones stay in force: {cause}"
        ));
    }
    warnings.extend(core.waiting_rows().warning());
    Inspection {
        generation: table.generation,
        routes: table.entries.iter().map(|entry| route(&table, entry)).collect(),
        services: services(&table),
        warnings,
        closed: table.closed,
    }
}

fn route(table: &Table, entry: &RouteEntry) -> RouteInfo {
    let active = entry.active.as_deref();
    let local = entry
        .name
        .as_ref()
        .and_then(|name| table.service(name.as_str()))
        .and_then(|service| service.local.as_ref());
    let remote = active.and_then(ActiveRoute::remote);
    RouteInfo {
        name: entry.row.shown_name().into_owned(),
        strategy: active.map(|active| active.route.strategy().to_string()),
        endpoint: active.and_then(|active| active.route.endpoint()).map(str::to_owned),
        state: state(entry),
        has_local: local.is_some(),
        in_flight: active.map_or(0, ActiveRoute::in_flight),
        transport: remote.map(|remote| escaped(remote.state())),
        breaker: active.and_then(ActiveRoute::breaker),
        last_error: active.and_then(ActiveRoute::last_failure).map(LastError::from),
        warnings: match active {
            Some(active) => warnings(active, entry.has_fallback),
            None if entry.fault.is_none() => vec![RouteFault::NOT_SERVED_HERE.to_owned()],
            None => Vec::new(),
        },
    }
}

fn warnings(active: &ActiveRoute, has_fallback: bool) -> Vec<String> {
    let of_row = active.route.config().warnings.iter().map(ToString::to_string);
    let no_fallback = active.falls_back() && !has_fallback;
    let no_fallback =
        no_fallback.then(|| "config.fallback: nothing of this name is registered here".to_owned());
    let of_remote = active.remote().map(Remote::warnings).unwrap_or_default();
    of_row.chain(no_fallback).chain(of_remote.iter().map(|text| printable(text))).collect()
}

/// Escapes the text of a transport state, which may come from the server.
fn escaped(state: TransportState) -> TransportState {
    match state {
        TransportState::Failed { why, since } => {
            TransportState::Failed { why: printable(&why), since }
        }
        state => state,
    }
}

fn state(entry: &RouteEntry) -> RouteState {
    match (&entry.fault, &entry.active) {
        (None, Some(_)) => RouteState::InForce,
        (None, None) => RouteState::NotServedHere,
        (Some(RouteFault { cause, since }), active) => RouteState::Bad {
            why: cause.to_string(),
            since: *since,
            meanwhile: active.as_ref().map(|active| active.route.strategy().to_string()),
        },
    }
}

pub(crate) fn services(table: &Table) -> Vec<ServiceInfo> {
    let mut services: Vec<_> = table
        .services
        .iter()
        .map(|(name, service)| ServiceInfo {
            name: name.to_string(),
            has_local: service.local.is_some(),
            methods: service
                .desc
                .map(|desc| desc.methods().iter().map(|method| method.full_name()).collect())
                .unwrap_or_default(),
        })
        .collect();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    services
}
