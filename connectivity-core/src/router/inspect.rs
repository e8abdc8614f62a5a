//! What a router says of itself.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::error::ErrorKind;
use crate::layer::breaker::{BreakerState, serialize_utc};
use crate::router::active_route::ActiveRoute;
use crate::router::core::Core;
use crate::router::entry::{RouteEntry, RouteFault};
use crate::router::path::LastFailure;
use crate::router::table::Table;
use crate::routes::printable;
use crate::transport::{Remote, TransportState};

/// Everything a router can say of its routes at one moment. Hostile texts are escaped. Serialized,
/// every time is a text of UTC, as in RFC 3339: `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Which change of the routes is in force.
    pub generation: u64,
    /// Every row, in the order of the source.
    pub routes: Vec<RouteInfo>,
    /// Services that this process implements or has clients of.
    pub services: Vec<ServiceInfo>,
    /// Troubles that concern all routes: a source that cannot be read, triggers that are missing.
    pub warnings: Vec<String>,
    /// Whether the router was closed.
    pub closed: bool,
}

impl Inspection {
    /// Finds a row by name.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&RouteInfo> {
        self.routes.iter().find(|route| route.name == name)
    }
}

/// One row, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The name in the row.
    pub name: String,
    /// How calls are served now: of the last good row, if this one is bad.
    pub strategy: Option<String>,
    /// Where they go now.
    pub endpoint: Option<String>,
    /// Whether the row is in force.
    pub state: RouteState,
    /// Whether an implementation of this name is registered here.
    pub has_local: bool,
    /// Calls in flight through the route; not those that go straight to a local implementation.
    pub in_flight: usize,
    /// How the connection stands, for a remote route.
    pub transport: Option<TransportState>,
    /// How the circuit breaker stands, for a remote route whose row asks for one.
    pub breaker: Option<BreakerState>,
    /// The last failure of a call through the route since the row came into force; what went
    /// straight to a local implementation, and the error type of a contract, are none.
    pub last_error: Option<LastError>,
    /// What is odd about the row or its far end but harmless.
    pub warnings: Vec<String>,
}

/// A call that failed. Serialized, its time is a text such as `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastError {
    /// What kind of failure it was; serialized as its word.
    #[serde(serialize_with = "word")]
    pub kind: ErrorKind,
    /// The cause in words.
    pub message: String,
    /// When it was.
    #[serde(serialize_with = "serialize_utc")]
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

/// Whether a row is in force. Serialized, a time is a text such as `2026-08-02T10:11:12Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouteState {
    /// Calls go where the row says.
    InForce,
    /// The row is wrong.
    Bad {
        /// What is wrong, and what to do.
        why: String,
        /// Since when.
        #[serde(serialize_with = "serialize_utc")]
        since: SystemTime,
        /// What serves calls meanwhile: the strategy of the last good row, or nothing.
        meanwhile: Option<String>,
    },
    /// The row says `local`, and nothing here implements or calls the service: it is another
    /// process's row.
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
    /// The full names of its methods; none for a raw service.
    pub methods: Vec<&'static str>,
}

pub(crate) fn inspect(core: &Core) -> Inspection {
    let table = core.table();
    let mut warnings = core.source().warnings();
    if let Some((cause, since)) = core.source_error() {
        let age = since.elapsed().unwrap_or_default().as_secs();
        warnings.push(format!(
            "the routes cannot be read since {age} s, the last ones stay in force: {cause}"
        ));
    }
    warnings.extend(core.waiting_rows().warning());
    Inspection {
        generation: table.generation,
        routes: table.slots.iter().map(|slot| route(&table, slot)).collect(),
        services: services(&table),
        warnings,
        closed: table.closed,
    }
}

fn route(table: &Table, slot: &RouteEntry) -> RouteInfo {
    let target = slot.target.as_deref();
    let local = slot
        .name
        .as_ref()
        .and_then(|name| table.known(name.as_str()))
        .and_then(|known| known.local.as_ref());
    let remote = target.and_then(ActiveRoute::remote);
    RouteInfo {
        name: slot.row.shown_name().into_owned(),
        strategy: target.map(|target| target.route.strategy().to_string()),
        endpoint: target.and_then(|target| target.route.endpoint()).map(str::to_owned),
        state: state(slot),
        has_local: local.is_some(),
        in_flight: target.map_or(0, ActiveRoute::in_flight),
        transport: remote.map(|remote| shown(remote.state())),
        breaker: target.and_then(ActiveRoute::breaker),
        last_error: target.and_then(ActiveRoute::last_failure).map(LastError::from),
        warnings: match target {
            Some(target) => warnings(target, slot.stand_in),
            None if slot.trouble.is_none() => vec![RouteFault::NOT_SERVED_HERE.to_owned()],
            None => Vec::new(),
        },
    }
}

fn warnings(target: &ActiveRoute, stand_in: bool) -> Vec<String> {
    let of_row = target.route.config().warnings().iter().map(ToString::to_string);
    let nobody = target.falls_back() && !stand_in;
    let nobody =
        nobody.then(|| "config.fallback: nothing of this name is registered here".to_owned());
    let of_remote = target.remote().map(Remote::warnings).unwrap_or_default();
    of_row.chain(nobody).chain(of_remote.iter().map(|text| printable(text))).collect()
}

/// What a transport says can come from its far end.
fn shown(state: TransportState) -> TransportState {
    match state {
        TransportState::Failed { why, since } => {
            TransportState::Failed { why: printable(&why), since }
        }
        state => state,
    }
}

fn state(slot: &RouteEntry) -> RouteState {
    match (&slot.trouble, &slot.target) {
        (None, Some(_)) => RouteState::InForce,
        (None, None) => RouteState::NotServedHere,
        (Some(RouteFault { cause, since }), target) => RouteState::Bad {
            why: cause.to_string(),
            since: *since,
            meanwhile: target.as_ref().map(|target| target.route.strategy().to_string()),
        },
    }
}

pub(crate) fn services(table: &Table) -> Vec<ServiceInfo> {
    let mut services: Vec<_> = table
        .services
        .iter()
        .map(|(name, known)| ServiceInfo {
            name: name.to_string(),
            has_local: known.local.is_some(),
            methods: known
                .desc
                .map(|desc| desc.methods().iter().map(|method| method.full_name()).collect())
                .unwrap_or_default(),
        })
        .collect();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    services
}
