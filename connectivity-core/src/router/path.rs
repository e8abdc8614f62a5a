//! The path of a call between the layers and the destination of its route: counts calls, applies
//! the limits of the row, and ends calls in time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use crate::call::{Admission, Admits, BoxFuture, Call, CallService, Erased, Held, Reply};
use crate::context::timed_out;
use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::router::drain::{RouteDrain, drained};
use crate::router::flight::Flight;
use crate::routes::RouteConfig;

/// Default timeout of remote calls whose row sets none, so that no call hangs forever because a
/// timeout was forgotten.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// A remote call starts to watch for the end of its route's drain after this time. Most calls are
/// answered earlier and never pay for it.
const DRAIN_WATCH_DELAY: Duration = Duration::from_millis(50);

/// The limits that a row sets for its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    timeout: Option<Duration>,
    concurrency: Option<usize>,
    drain: Duration,
}

impl Limits {
    pub(crate) fn of(config: &RouteConfig, remote: bool) -> Self {
        let timeout = config.timeout.or(remote.then_some(REMOTE_TIMEOUT));
        Self { timeout, concurrency: config.concurrency, drain: config.drain }
    }

    /// The limits of calls without a row.
    pub(crate) const NONE: Self = Self { timeout: None, concurrency: None, drain: Duration::ZERO };

    pub(crate) fn none(self) -> bool {
        self.timeout.is_none() && self.concurrency.is_none()
    }

    /// Returns how long calls in flight may continue after their route was replaced.
    pub(crate) fn drain(self) -> Duration {
        self.drain
    }

    /// Shortens the deadline of a call to the timeout of the row.
    fn shorten(self, call: &mut Call) {
        if let Some(limit) = self.timeout {
            call.context_mut().limit(limit);
        }
    }
}

/// The calls of one route: the in-flight count of its row, and the end of the route's drain.
pub(crate) struct Traffic {
    flight: Arc<Flight>,
    drain: Arc<RouteDrain>,
    /// Locked only by calls that fail.
    last_failure: Mutex<Option<LastFailure>>,
    /// The fault of a newer row of this name. Read only by calls that fail.
    fault: Mutex<Option<String>>,
}

/// The error of a call that failed, and when it failed.
#[derive(Clone, Debug)]
pub(crate) struct LastFailure {
    pub(crate) error: Error,
    pub(crate) at: SystemTime,
}

impl Traffic {
    /// Creates the traffic of a new route of a row.
    pub(crate) fn new(flight: &Arc<Flight>) -> Arc<Self> {
        let traffic = Arc::new(Self {
            flight: Arc::clone(flight),
            drain: Arc::default(),
            last_failure: Mutex::default(),
            fault: Mutex::default(),
        });
        flight.add_route(&traffic.drain);
        traffic
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flight.in_flight()
    }

    /// Counts an inbound call until its work has ended.
    pub(crate) fn admit(self: &Arc<Self>, limits: Limits, call: &mut Call) -> Result<(), Error> {
        self.enter(limits, call)?;
        call.admit(Admission::new(Arc::clone(self) as _));
        Ok(())
    }

    fn enter(&self, limits: Limits, call: &Call) -> Result<(), Error> {
        if self.flight.enter(limits.concurrency) {
            return Ok(());
        }
        let limit = limits.concurrency.unwrap_or_default();
        let error = call
            .failed(ErrorKind::Overloaded, format_args!("the route allows {limit} calls at once"));
        Err(self.failed(error))
    }

    pub(crate) fn flight(&self) -> &Flight {
        &self.flight
    }

    pub(crate) fn drain(&self) -> &RouteDrain {
        &self.drain
    }

    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        self.failure().clone()
    }

    pub(crate) fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Records a failure and returns it. Adds a note if a faulty row should have replaced this
    /// route.
    fn failed(&self, error: Error) -> Error {
        let error = match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) if !error.is_relayed() => error.with_note(fault),
            _ => error,
        };
        *self.failure() = Some(LastFailure { error: error.clone(), at: SystemTime::now() });
        error
    }

    fn failure(&self) -> MutexGuard<'_, Option<LastFailure>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Admits for Traffic {
    fn leave(&self) {
        self.flight.leave();
    }
}

/// Guard of an admitted call, which counts as in flight until the guard is dropped.
struct Admitted(Arc<Path>);

impl Admitted {
    fn new(path: Arc<Path>, call: &Call) -> Result<Self, Error> {
        path.traffic.enter(path.limits, call).map(|()| Self(path))
    }

    fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.traffic().flight.leave();
    }
}

/// The service between the layers and the destination of a route.
pub(crate) struct Path {
    inner: CallService,
    limits: Limits,
    traffic: Arc<Traffic>,
    /// Whether the calls leave the process.
    is_remote: bool,
}

impl Path {
    pub(crate) fn new(
        inner: CallService,
        limits: Limits,
        traffic: Arc<Traffic>,
        is_remote: bool,
    ) -> Self {
        Self { inner, limits, traffic, is_remote }
    }
}

impl Erased for Path {
    fn call(self: Arc<Self>, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        let limits = self.limits;
        let admitted = match Admitted::new(self, &call) {
            Ok(admitted) => admitted,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        limits.shorten(&mut call);
        if call.method().is_none() {
            admitted.traffic().flight.note_raw_call();
        }
        if admitted.0.is_remote {
            return call_remote(admitted, call);
        }
        let admitted = Held::by(admitted, &mut call);
        let work = admitted.0.inner.send(call);
        Box::pin(async move {
            // `service::run` enforces the deadline around the implementation.
            work.await.map_err(|error| admitted.traffic().failed(error))
        })
    }
}

fn call_remote(admitted: Admitted, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    let (name, now) = (call.full_name().clone(), Instant::now());
    // Every remote route has a timeout: that of its row or the default.
    let deadline = call.context().deadline().unwrap_or_else(|| now + REMOTE_TIMEOUT);
    let work = admitted.0.inner.send(call);
    let drain_watch = deadline.min(now + DRAIN_WATCH_DELAY);
    Box::pin(bound_remote(admitted, work, name, drain_watch, deadline))
}

/// Drives a remote call. Ends it at its deadline, whatever the transport does, or when the drain of
/// its route is over.
async fn bound_remote(
    admitted: Admitted,
    mut work: BoxFuture<'static, Result<Reply, Error>>,
    name: Name,
    drain_watch: Instant,
    deadline: Instant,
) -> Result<Reply, Error> {
    let traffic = admitted.traffic();
    tokio::select! {
        biased;
        reply = &mut work => return reply.map_err(|error| traffic.failed(error)),
        () = sleep_until(drain_watch) => {}
    }
    if drain_watch == deadline {
        return Err(traffic.failed(timed_out(name.as_str())));
    }
    let reply = tokio::select! {
        biased;
        reply = work => reply,
        () = sleep_until(deadline) => Err(timed_out(name.as_str())),
        () = traffic.drain.over() => Err(drained(name.as_str())),
    };
    reply.map_err(|error| traffic.failed(error))
}
