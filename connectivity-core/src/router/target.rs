//! What stands behind a name in the table: a route that was built, with what its row asks for.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::{Call, CallService, Reply};
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::router::local::Local;
use crate::routes::{Route, RouteConfig};
use crate::transport::Remote;

/// Where a route leads.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Local(Local),
    Noop,
    Remote(Remote),
}

/// A route in force. It outlives the table it was built for while its row stays the same, and while calls run in it.
pub(crate) struct Target {
    pub(crate) route: Route,
    pub(crate) place: Place,
    limits: Limits,
    traffic: Arc<Traffic>,
}

/// What a row allows its calls.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeout: Option<Duration>,
    concurrency: Option<usize>,
    drain: Duration,
}

impl Limits {
    fn of(config: &RouteConfig, remote: bool) -> Self {
        let timeout = config.timeout().or(remote.then_some(REMOTE_TIMEOUT));
        Self { timeout, concurrency: config.concurrency(), drain: config.drain() }
    }

    fn none(self) -> bool {
        self.timeout.is_none() && self.concurrency.is_none()
    }

    /// Gives a call no more time than the row allows.
    fn shorten(self, call: &mut Call) {
        if let Some(limit) = self.timeout {
            *call.context_mut() = std::mem::take(call.context_mut()).with_timeout(limit);
        }
    }
}

/// The cap of a remote call whose row names none: no call hangs for ever because somebody forgot a number.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

impl Target {
    pub(crate) fn new(route: Route, place: Place) -> Self {
        let limits = Limits::of(route.config(), matches!(place, Place::Remote(_)));
        Self { route, place, limits, traffic: Arc::default() }
    }

    /// Says whether a typed call may skip everything but the implementation.
    pub(crate) fn is_plain_local(&self) -> bool {
        matches!(self.place, Place::Local(_)) && self.limits.none()
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        match &self.place {
            Place::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.traffic.in_flight.load(Ordering::Relaxed)
    }

    /// The service of the route: the place it leads to, under what its row asks for.
    pub(crate) fn service(&self) -> CallService {
        let inner = match &self.place {
            Place::Local(local) => local.service(self.route.name().as_str()),
            Place::Noop => CallService::from_fn(noop),
            Place::Remote(remote) => remote.service().clone(),
        };
        let (limits, traffic) = (self.limits, Arc::clone(&self.traffic));
        match self.place {
            Place::Remote(_) => {
                CallService::from_fn(move |call| out(inner.clone(), limits, Arc::clone(&traffic), call))
            }
            _ => CallService::from_fn(move |call| here(inner.clone(), limits, Arc::clone(&traffic), call)),
        }
    }

    /// Counts a call that came from outside against the limit of the row.
    pub(crate) fn admit(&self, call: &Call) -> Result<Admitted, Error> {
        Traffic::admit(&self.traffic, self.limits.concurrency, call)
    }

    /// Waits until no call is in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.traffic.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Ends the calls in flight now; says how many there were.
    pub(crate) fn cut(&self) -> usize {
        self.traffic.end_at(Instant::now());
        self.in_flight()
    }

    /// Gives calls in flight the time the row allows, then ends them. Called once, when another route has taken the place.
    pub(crate) fn retire(&self) {
        self.traffic.end_at(Instant::now() + self.limits.drain);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", self.route.name()).field("strategy", self.route.strategy()).finish()
    }
}

/// Calls in flight, and the end of the route they run in.
#[derive(Default)]
struct Traffic {
    in_flight: AtomicUsize,
    ends: OnceLock<Instant>,
    retired: Notify,
    idle: Notify,
}

impl Traffic {
    fn admit(this: &Arc<Self>, limit: Option<usize>, call: &Call) -> Result<Admitted, Error> {
        let admitted = Admitted(Arc::clone(this));
        let before = this.in_flight.fetch_add(1, Ordering::AcqRel);
        match limit {
            Some(limit) if before >= limit => {
                Err(call.failed(ErrorKind::Overloaded, format_args!("the route allows {limit} calls at once")))
            }
            _ => Ok(admitted),
        }
    }

    fn end_at(&self, end: Instant) {
        if self.ends.set(end).is_ok() {
            self.retired.notify_waiters();
        }
    }

    /// Ends when the route has been replaced and its drain time is over.
    async fn drained(&self) {
        let retired = self.retired.notified();
        let end = match self.ends.get() {
            Some(end) => *end,
            None => {
                retired.await;
                self.ends.get().copied().unwrap_or_else(Instant::now)
            }
        };
        tokio::time::sleep_until(end).await;
    }
}

/// A call that counts as in flight until this is dropped.
pub(crate) struct Admitted(Arc<Traffic>);

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// A call that stays in the process: its deadline is kept where the implementation runs.
async fn here(inner: CallService, limits: Limits, traffic: Arc<Traffic>, mut call: Call) -> Result<Reply, Error> {
    let _admitted = Traffic::admit(&traffic, limits.concurrency, &call)?;
    limits.shorten(&mut call);
    inner.send(call).await
}

/// A call that leaves the process: it ends at its deadline whatever the transport does, and when its route has been drained.
async fn out(inner: CallService, limits: Limits, traffic: Arc<Traffic>, mut call: Call) -> Result<Reply, Error> {
    let _admitted = Traffic::admit(&traffic, limits.concurrency, &call)?;
    limits.shorten(&mut call);
    let (name, deadline) = (call.name().to_owned(), call.context().deadline());
    let work = inner.send(call);
    // Every remote route has a time limit, its row's or ours.
    let deadline = deadline.unwrap_or_else(|| Instant::now() + REMOTE_TIMEOUT);
    tokio::select! {
        biased;
        reply = work => reply,
        () = tokio::time::sleep_until(deadline) => Err(timed_out(&name)),
        () = traffic.drained() => Err(drained(&name)),
    }
}

fn drained(name: &str) -> Error {
    let message = "the route was replaced, and its drain time is over";
    Error::new(ErrorKind::Closed, name, message).with_sent(Sent::Maybe)
}

async fn noop(call: Call) -> Result<Reply, Error> {
    match call.method() {
        Some(method) => {
            method.noop().ok_or_else(|| call.failed(ErrorKind::Noop, "the method has no `#[noop = ..]` value"))
        }
        None => Ok(Reply::raw(bytes::Bytes::new())),
    }
}
