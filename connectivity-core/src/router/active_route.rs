//! A built route with the limits and policies of its row, and the same route wrapped for calls.

use std::fmt;
use std::sync::Arc;

use crate::call::{Call, CallService, Reply, RouteTag};
use crate::context::after;
use crate::error::{Error, ErrorKind};
use crate::layer::breaker::BreakerState;
use crate::router::drain::closed;
use crate::router::fault::RouteFault;
use crate::router::flight::Flight;
use crate::router::local::Local;
use crate::router::path::{LastFailure, Limits, Path, Traffic};
use crate::router::policies::Policies;
use crate::routes::{Route, Strategy};
use crate::service::{Form, Plan};
use crate::transport::Remote;

/// The destination of a route.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Local(Local),
    Noop,
    Remote(Remote),
}

/// A route in force. It outlives the table it was built for as long as its row stays the same or
/// calls are in flight on it.
pub(crate) struct ActiveRoute {
    pub(crate) route: Route,
    pub(crate) destination: Destination,
    limits: Limits,
    policies: Policies,
    traffic: Arc<Traffic>,
}

impl ActiveRoute {
    /// Creates the route of a row. Takes over the policies' state from the previous route if both
    /// have the same strategy and endpoint.
    pub(crate) fn new(
        route: Route,
        destination: Destination,
        flight: &Arc<Flight>,
        previous: Option<&Self>,
    ) -> Self {
        let remote = matches!(destination, Destination::Remote(_));
        let limits = Limits::of(route.config(), remote);
        let same = |old: &&Self| {
            old.route.strategy() == route.strategy() && old.route.endpoint() == route.endpoint()
        };
        let old_policies = previous.filter(same).map(|old| &old.policies);
        let policies =
            if remote { Policies::of(route.config(), old_policies) } else { Policies::default() };
        Self { route, destination, limits, policies, traffic: Traffic::new(flight) }
    }

    /// Returns the tag that tells layers the row of a call and the strategy that really serves it:
    /// a row with a remote strategy is local in its home process.
    pub(crate) fn tag(&self) -> RouteTag {
        let strategy = match self.destination {
            Destination::Local(_) => Strategy::Local.word(),
            Destination::Noop => Strategy::Noop.word(),
            Destination::Remote(_) => self.route.strategy().word(),
        };
        RouteTag::new(self.route.name().clone(), strategy)
    }

    /// Returns whether a typed call may skip everything but the implementation.
    pub(crate) fn is_plain_local(&self) -> bool {
        matches!(self.destination, Destination::Local(_)) && self.limits.none()
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        match &self.destination {
            Destination::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// Returns whether the row has had raw calls, through this route or an earlier one.
    pub(crate) fn was_called_raw(&self) -> bool {
        self.traffic.flight().was_called_raw()
    }

    /// Returns the number of calls in flight of the row, including those of its earlier routes.
    pub(crate) fn in_flight(&self) -> usize {
        self.traffic.in_flight()
    }

    /// Returns whether the row asks for a fallback to the local implementation.
    pub(crate) fn falls_back(&self) -> bool {
        self.remote().is_some() && self.route.config().fallback_to_local
    }

    /// Returns the state of the circuit breaker, if the row asks for one.
    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        self.policies.breaker()
    }

    /// Records the fault of the row that should have replaced this route. Errors of its calls
    /// mention the fault.
    pub(crate) fn set_fault(&self, fault: Option<&RouteFault>) {
        self.traffic.set_fault(fault.map(RouteFault::to_string));
    }

    /// Returns the last failure of a call through this route.
    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        self.traffic.last_failure()
    }

    /// Returns the fallback service: the local implementation, until the router is closed.
    pub(crate) fn fallback_service(&self, local: Local) -> CallService {
        let traffic = Arc::clone(&self.traffic);
        CallService::from_fn(move |call| {
            if traffic.drain().is_cut() {
                Box::pin(std::future::ready(Err(closed(call.name()))))
            } else {
                local.send(call)
            }
        })
    }

    /// Returns the service of the route: its destination behind the limits and policies of the row.
    pub(crate) fn service(&self) -> CallService {
        let inner = match &self.destination {
            Destination::Local(local) => local.service(),
            Destination::Noop => CallService::from_fn(noop),
            Destination::Remote(remote) => self.policies.wrap(remote.service()),
        };
        let is_remote = matches!(self.destination, Destination::Remote(_));
        CallService::shared(Arc::new(Path::new(
            inner,
            self.limits,
            Arc::clone(&self.traffic),
            is_remote,
        )))
    }

    /// Counts an inbound call against the concurrency limit of the row.
    pub(crate) fn admit(&self, call: &mut Call) -> Result<(), Error> {
        self.traffic.admit(self.limits, call)
    }

    /// Starts the drain: calls in flight may run for the row's drain time, then they are ended.
    /// Called once, when another route has replaced this one.
    pub(crate) fn retire(&self) {
        self.traffic.drain().end_at(after(self.limits.drain()));
    }
}

impl fmt::Debug for ActiveRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveRoute")
            .field("name", self.route.name())
            .field("strategy", self.route.strategy())
            .finish()
    }
}

/// A route with its fallback and layers, as calls use it.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedRoute {
    pub(crate) service: CallService,
    pub(crate) form: Form,
    /// Whether a typed call may take the fast path straight to the implementation.
    pub(crate) fast: bool,
    /// The version of the layers around the route.
    pub(crate) layers_version: u64,
    /// The tag for layers of inbound calls. Set only on the route of a service without a row.
    pub(crate) tag: Option<Arc<RouteTag>>,
}

impl ResolvedRoute {
    pub(crate) fn plan(&self) -> Plan {
        Plan { service: self.service.clone(), form: self.form }
    }

    /// Returns the form in which a route without layers takes its arguments.
    pub(crate) fn form_of(active: &ActiveRoute) -> Form {
        active.remote().map_or(Form::Typed, |remote| Form::Encoded(remote.codec()))
    }
}

async fn noop(call: Call) -> Result<Reply, Error> {
    match call.method() {
        Some(method) => method
            .noop()
            .ok_or_else(|| call.failed(ErrorKind::Noop, "the method has no `#[noop = ..]` value")),
        None => Ok(Reply::raw(bytes::Bytes::new())),
    }
}
