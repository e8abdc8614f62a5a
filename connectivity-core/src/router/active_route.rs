//! What stands behind a name in the table: a route that was built, with what its row asks for.

use std::fmt;
use std::sync::Arc;

use crate::call::{Call, CallService, Reply, RouteTag};
use crate::context::after;
use crate::error::{Error, ErrorKind};
use crate::layer::breaker::BreakerState;
use crate::router::entry::RouteFault;
use crate::router::flight::Flight;
use crate::router::local::Local;
use crate::router::path::{LastFailure, Limits, Path, Traffic};
use crate::router::policies::Policies;
use crate::router::table::closed;
use crate::routes::{Route, Strategy};
use crate::transport::Remote;

/// Where a route leads.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Local(Local),
    Noop,
    Remote(Remote),
}

/// A route in force. It outlives the table it was built for while its row stays the same, and while
/// calls run in it.
pub(crate) struct ActiveRoute {
    pub(crate) route: Route,
    pub(crate) place: Destination,
    limits: Limits,
    policies: Policies,
    traffic: Arc<Traffic>,
}

impl ActiveRoute {
    /// Makes the target of a row. What its policies have learnt goes over from the target before
    /// it, where both lead to the same place.
    pub(crate) fn new(
        route: Route,
        place: Destination,
        flight: &Arc<Flight>,
        before: Option<&Self>,
    ) -> Self {
        let remote = matches!(place, Destination::Remote(_));
        let limits = Limits::of(route.config(), remote);
        let same = |old: &&Self| {
            old.route.strategy() == route.strategy() && old.route.endpoint() == route.endpoint()
        };
        let learnt = before.filter(same).map(|old| &old.policies);
        let policies =
            if remote { Policies::of(route.config(), learnt) } else { Policies::default() };
        Self { route, place, limits, policies, traffic: Traffic::new(flight) }
    }

    /// Tells layers by which row a call goes, and how it is really served: a row of another
    /// strategy can be at home here.
    pub(crate) fn tag(&self) -> RouteTag {
        let strategy = match self.place {
            Destination::Local(_) => Strategy::Local.word(),
            Destination::Noop => Strategy::Noop.word(),
            Destination::Remote(_) => self.route.strategy().word(),
        };
        RouteTag::new(self.route.name().clone(), strategy)
    }

    /// Says whether a typed call may skip everything but the implementation.
    pub(crate) fn is_plain_local(&self) -> bool {
        matches!(self.place, Destination::Local(_)) && self.limits.none()
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        match &self.place {
            Destination::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// Says whether calls of a raw service went by the row, by this route or one before.
    pub(crate) fn was_called_raw(&self) -> bool {
        self.traffic.flight().was_called_raw()
    }

    /// Counts the calls in flight of the row, those of its earlier routes among them.
    pub(crate) fn in_flight(&self) -> usize {
        self.traffic.in_flight()
    }

    /// Says whether the row wants the local implementation to step in.
    pub(crate) fn falls_back(&self) -> bool {
        self.remote().is_some() && self.route.config().fallback_to_local()
    }

    /// How the breaker stands, if the row asks for one.
    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        self.policies.breaker()
    }

    /// Notes what is wrong with the row that should have replaced this route: failures of its calls
    /// tell that.
    pub(crate) fn set_trouble(&self, trouble: Option<&RouteFault>) {
        self.traffic.set_trouble(trouble.map(RouteFault::to_string));
    }

    /// The last failure of a call through this route.
    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        self.traffic.last_failure()
    }

    /// What steps in for the remote service: the implementation, until the router is closed.
    pub(crate) fn stand_in(&self, local: Local) -> CallService {
        let traffic = Arc::clone(&self.traffic);
        CallService::from_fn(move |call| {
            if traffic.is_cut() {
                Box::pin(std::future::ready(Err(closed(call.name()))))
            } else {
                local.send(call)
            }
        })
    }

    /// The service of the route: the place it leads to, under what its row asks for.
    pub(crate) fn service(&self) -> CallService {
        let inner = match &self.place {
            Destination::Local(local) => local.service(),
            Destination::Noop => CallService::from_fn(noop),
            Destination::Remote(remote) => self.policies.around(remote.service()),
        };
        let leaves = matches!(self.place, Destination::Remote(_));
        CallService::shared(Arc::new(Path::new(
            inner,
            self.limits,
            Arc::clone(&self.traffic),
            leaves,
        )))
    }

    /// Counts a call that came from outside against the limit of the row.
    pub(crate) fn admit(&self, call: &mut Call) -> Result<(), Error> {
        self.traffic.admit(self.limits, call)
    }

    /// Gives calls in flight the time the row allows, then ends them. Called once, when another
    /// route has taken the place.
    pub(crate) fn retire(&self) {
        self.traffic.end_at(after(self.limits.drain()));
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

async fn noop(call: Call) -> Result<Reply, Error> {
    match call.method() {
        Some(method) => method
            .noop()
            .ok_or_else(|| call.failed(ErrorKind::Noop, "the method has no `#[noop = ..]` value")),
        None => Ok(Reply::raw(bytes::Bytes::new())),
    }
}
