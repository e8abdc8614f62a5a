//! What the calls of a route go through between its layers and its place: they are counted, limited
//! and ended in time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::call::{Admission, Admits, BoxFuture, Call, CallService, Erased, Held, Reply};
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;
use crate::router::flight::Flight;
use crate::routes::RouteConfig;

/// The cap of a remote call whose row names none: no call hangs for ever because somebody forgot a
/// number.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// A call younger than this does not look whether its route has gone. Most are answered earlier and
/// never ask.
const YOUNG: Duration = Duration::from_millis(50);

/// What a row allows its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    timeout: Option<Duration>,
    concurrency: Option<usize>,
    drain: Duration,
}

impl Limits {
    pub(crate) fn of(config: &RouteConfig, remote: bool) -> Self {
        let timeout = config.timeout().or(remote.then_some(REMOTE_TIMEOUT));
        Self { timeout, concurrency: config.concurrency(), drain: config.drain() }
    }

    /// What calls without a row are held to.
    pub(crate) const NONE: Self = Self { timeout: None, concurrency: None, drain: Duration::ZERO };

    pub(crate) fn none(self) -> bool {
        self.timeout.is_none() && self.concurrency.is_none()
    }

    /// How long calls in flight may go on when their route has been replaced.
    pub(crate) fn drain(self) -> Duration {
        self.drain
    }

    /// Gives a call no more time than the row allows.
    fn shorten(self, call: &mut Call) {
        if let Some(limit) = self.timeout {
            call.context_mut().limit(limit);
        }
    }
}

/// The calls of one route: the row's calls in flight, and the end of the route.
pub(crate) struct Traffic {
    flight: Arc<Flight>,
    ends: Mutex<Option<Instant>>,
    retired: Notify,
    cut: AtomicBool,
    /// Touched by calls that fail.
    last_failure: Mutex<Option<LastFailure>>,
    /// What is wrong with a newer row of that name; read by calls that fail.
    trouble: Mutex<Option<String>>,
}

/// A call that failed, and when.
#[derive(Clone, Debug)]
pub(crate) struct LastFailure {
    pub(crate) error: Error,
    pub(crate) at: SystemTime,
}

impl Traffic {
    /// Begins a route of a row.
    pub(crate) fn new(flight: &Arc<Flight>) -> Arc<Self> {
        let traffic = Arc::new(Self {
            flight: Arc::clone(flight),
            ends: Mutex::default(),
            retired: Notify::new(),
            cut: AtomicBool::new(false),
            last_failure: Mutex::default(),
            trouble: Mutex::default(),
        });
        flight.add_route(&traffic);
        traffic
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flight.in_flight()
    }

    /// Counts a call from outside until its work has ended.
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

    /// Ends what is in flight now, for good.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.end_at(Instant::now());
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        self.failure().clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Takes note of a failure, and hands it on. It says so if the route should have been replaced
    /// by now.
    fn failed(&self, error: Error) -> Error {
        let error = match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(trouble) if !error.is_relayed() => error.with_note(trouble),
            _ => error,
        };
        *self.failure() = Some(LastFailure { error: error.clone(), at: SystemTime::now() });
        error
    }

    fn failure(&self) -> MutexGuard<'_, Option<LastFailure>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends calls at this time, if not earlier.
    pub(crate) fn end_at(&self, end: Instant) {
        let mut ends = self.ends();
        *ends = Some(ends.map_or(end, |before| before.min(end)));
        drop(ends);
        self.retired.notify_waiters();
    }

    fn ends(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when the route has been replaced and its drain time is over.
    async fn drained(&self) {
        loop {
            let retired = self.retired.notified();
            let end = *self.ends();
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                () = retired => {}
            }
        }
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

/// A call on its path that counts as in flight until this is dropped.
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

/// The path of a route's calls.
pub(crate) struct Path {
    inner: CallService,
    limits: Limits,
    traffic: Arc<Traffic>,
    /// Whether the calls leave the process.
    leaves: bool,
}

impl Path {
    pub(crate) fn new(
        inner: CallService,
        limits: Limits,
        traffic: Arc<Traffic>,
        leaves: bool,
    ) -> Self {
        Self { inner, limits, traffic, leaves }
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
        if admitted.0.leaves {
            return out(admitted, call);
        }
        let admitted = Held::by(admitted, &mut call);
        let work = admitted.0.inner.send(call);
        Box::pin(async move {
            // The deadline is kept where the implementation runs.
            work.await.map_err(|error| admitted.traffic().failed(error))
        })
    }
}

fn out(admitted: Admitted, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    let (name, now) = (call.full_name().clone(), Instant::now());
    // Every remote route has a time limit, its row's or ours.
    let deadline = call.context().deadline().unwrap_or_else(|| now + REMOTE_TIMEOUT);
    let work = admitted.0.inner.send(call);
    Box::pin(outside(admitted, work, name, deadline.min(now + YOUNG), deadline))
}

/// A call that leaves the process: it ends at its deadline whatever the transport does, and when
/// its route has been drained.
async fn outside(
    admitted: Admitted,
    mut work: BoxFuture<'static, Result<Reply, Error>>,
    name: Name,
    young: Instant,
    deadline: Instant,
) -> Result<Reply, Error> {
    let traffic = admitted.traffic();
    tokio::select! {
        biased;
        reply = &mut work => return reply.map_err(|error| traffic.failed(error)),
        () = sleep_until(young) => {}
    }
    if young == deadline {
        return Err(traffic.failed(timed_out(name.as_str())));
    }
    let reply = tokio::select! {
        biased;
        reply = work => reply,
        () = sleep_until(deadline) => Err(timed_out(name.as_str())),
        () = traffic.drained() => Err(drained(name.as_str())),
    };
    reply.map_err(|error| traffic.failed(error))
}

fn drained(name: &str) -> Error {
    let message = "the route was replaced, and its drain time is over";
    Error::new(ErrorKind::Closed, name, message).with_sent(Sent::Maybe)
}
