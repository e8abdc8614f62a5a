//! A circuit breaker that stops calls to a failing server and probes it again after a pause.

mod service;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use service::{Breaker, BreakerFuture, BreakerLayer};
pub use state::BreakerState;

/// Circuit breaker: counts the failures of a server and rejects calls while there are too many.
///
/// It starts *closed* and admits every call. After `failures` failures in a row it *opens* and
/// rejects all calls. Once `reset` has elapsed it is *half open*: it admits one call at a time as a
/// probe. After `probes` successful probes it closes; after one failed probe it opens again. A
/// probe still unanswered after another `reset` (at least one second) no longer blocks the next
/// probe, but its result still counts.
///
/// Clones share their state. While closed, a successful call costs two atomic loads and no lock.
///
/// ```
/// use connectivity_core::{BreakerState, CircuitBreaker};
///
/// let breaker = CircuitBreaker::builder().failures(1).build();
/// breaker.allow().expect("it begins closed").failure();
/// assert!(breaker.allow().is_none());
/// breaker.reset();
/// assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
/// ```
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Inner>);

struct Inner {
    /// Packed state that every call reads. It is written under the lock of `guarded`, except that a
    /// success may clear the failure count without the lock.
    packed: AtomicU64,
    guarded: Mutex<Guarded>,
    clock: Option<Clock>,
}

/// Shortest time that a probe gets before the next one is admitted, however short `reset` is: a
/// slow server must not get two probes at once.
const PROBE_TIME: Duration = Duration::from_secs(1);

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

struct Guarded {
    config: BreakerConfig,
    phase: Phase,
    /// Number of probes so far; identifies each probe.
    probes: u64,
}

/// Thresholds and timing of a circuit breaker: when it opens, for how long, and what closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures in a row that open the breaker: `breaker_failures` of a row. Default 5.
    pub failures: u32,
    /// How long the breaker stays open: `breaker_reset_ms`. Default 30 s.
    pub reset: Duration,
    /// Successful probes that close the breaker: `breaker_probes`. Default 2.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, reset: Duration::from_secs(30), probes: 2 }
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { at: Instant, since: SystemTime },
    HalfOpen { successes: u32, probe: Option<Probe> },
}

/// The probe that currently blocks further probes.
#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    started: Instant,
}

/// The epoch and, while the breaker is closed, the failures in a row. A new epoch starts whenever
/// the breaker opens, closes or is reset.
#[derive(Clone, Copy)]
struct Packed {
    epoch: u32,
    failures: u32,
}

impl Packed {
    const NOT_CLOSED: u32 = u32::MAX;

    fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        Self { epoch: u32::from_be_bytes([a, b, c, d]), failures: u32::from_be_bytes([e, f, g, h]) }
    }

    fn bits(self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.failures)
    }

    fn is_closed(self) -> bool {
        self.failures != Self::NOT_CLOSED
    }

    fn next(self, failures: u32) -> Self {
        Self { epoch: self.epoch.wrapping_add(1), failures }
    }
}

impl CircuitBreaker {
    /// Returns a builder. Defaults: 5 failures, 30 s, 2 probes.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder { config: BreakerConfig::default(), clock: None }
    }

    /// Admits or rejects a call. Returns `None` while the breaker is open, and while another probe
    /// is in flight that started less than `reset` (at least one second) ago. Report the result of
    /// the call through the permit.
    #[must_use]
    pub fn allow(&self) -> Option<Permit> {
        let packed = self.packed();
        if packed.is_closed() {
            return Some(self.permit(packed.epoch, None));
        }
        let mut guarded = self.lock();
        let probe = match guarded.phase {
            Phase::Closed => None,
            Phase::Open { at, .. } => {
                let pause = guarded.config.reset;
                Some(self.start_probe(&mut guarded, Some((at, pause)), 0)?)
            }
            // A probe may never end: its caller need not set a deadline.
            Phase::HalfOpen { successes, probe } => {
                let pause = guarded.config.reset.max(PROBE_TIME);
                Some(self.start_probe(
                    &mut guarded,
                    probe.map(|probe| (probe.started, pause)),
                    successes,
                )?)
            }
        };
        Some(self.permit(self.packed().epoch, probe))
    }

    /// Starts a probe, unless the pause since the given instant has not elapsed yet.
    fn start_probe(
        &self,
        guarded: &mut Guarded,
        wait: Option<(Instant, Duration)>,
        successes: u32,
    ) -> Option<u64> {
        let now = self.now();
        if wait.is_some_and(|(since, pause)| now.saturating_duration_since(since) < pause) {
            return None;
        }
        guarded.probes += 1;
        let number = guarded.probes;
        guarded.phase = Phase::HalfOpen { successes, probe: Some(Probe { number, started: now }) };
        Some(number)
    }

    /// Records a success of a call that has no permit. It counts only while the breaker is closed,
    /// because only a probe closes the breaker.
    pub fn record_success(&self) {
        self.on_success(self.packed().epoch);
    }

    /// Records a failure of a call that has no permit. It counts only while the breaker is closed.
    pub fn record_failure(&self) {
        self.on_failure(self.packed().epoch);
    }

    /// Closes the breaker from any state. Results of calls in flight no longer count.
    pub fn reset(&self) {
        let mut guarded = self.lock();
        guarded.phase = Phase::Closed;
        self.store(self.packed().next(0));
    }

    /// Returns the current state. It is half open as soon as the next call would be a probe, even
    /// if no probe has started yet.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let guarded = self.lock();
        match guarded.phase {
            Phase::Closed => BreakerState::Closed { failures: self.packed().failures },
            Phase::HalfOpen { successes, .. } => BreakerState::HalfOpen { successes },
            Phase::Open { at, .. }
                if self.now().saturating_duration_since(at) >= guarded.config.reset =>
            {
                BreakerState::HalfOpen { successes: 0 }
            }
            Phase::Open { since, .. } => {
                let until = since.checked_add(guarded.config.reset).unwrap_or(since);
                BreakerState::Open { since, until }
            }
        }
    }

    /// Replaces the config. An open breaker stays open until the new `reset` has elapsed.
    pub(crate) fn retune(&self, config: BreakerConfig) {
        self.lock().config = config;
    }

    fn permit(&self, epoch: u32, probe: Option<u64>) -> Permit {
        Permit { breaker: self.clone(), epoch, probe, reported: false }
    }

    fn on_success(&self, epoch: u32) {
        // The common case: there is no failure to clear, so nothing is written.
        if self.packed().failures == 0 {
            return;
        }
        let _ = self.0.packed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            let packed = Packed::from_bits(bits);
            (packed.is_closed() && packed.epoch == epoch)
                .then(|| Packed { failures: 0, ..packed }.bits())
        });
    }

    fn on_failure(&self, epoch: u32) {
        let mut guarded = self.lock();
        let threshold = guarded.config.failures;
        let updated = self.0.packed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            let packed = Packed::from_bits(bits);
            let failures = packed.failures.saturating_add(1);
            let next = if failures < threshold {
                Packed { failures, ..packed }
            } else {
                packed.next(Packed::NOT_CLOSED)
            };
            (packed.is_closed() && packed.epoch == epoch).then(|| next.bits())
        });
        if updated.is_ok() && !self.packed().is_closed() {
            guarded.phase = self.open_phase();
        }
    }

    /// Records the end of a probe; `success` is `None` if the probe ended without a verdict.
    fn on_probe_end(&self, epoch: u32, number: u64, success: Option<bool>) {
        let mut guarded = self.lock();
        let packed = self.packed();
        let Phase::HalfOpen { successes, probe } = guarded.phase else { return };
        if packed.epoch != epoch {
            return;
        }
        let probe = probe.filter(|probe| probe.number != number);
        guarded.phase = match success {
            None => Phase::HalfOpen { successes, probe },
            Some(true) if successes.saturating_add(1) < guarded.config.probes => {
                Phase::HalfOpen { successes: successes + 1, probe }
            }
            Some(true) => {
                self.store(packed.next(0));
                Phase::Closed
            }
            Some(false) => {
                self.store(packed.next(Packed::NOT_CLOSED));
                self.open_phase()
            }
        };
    }

    fn open_phase(&self) -> Phase {
        Phase::Open { at: self.now(), since: SystemTime::now() }
    }

    fn packed(&self) -> Packed {
        Packed::from_bits(self.0.packed.load(Ordering::Acquire))
    }

    fn store(&self, packed: Packed) {
        self.0.packed.store(packed.bits(), Ordering::Release);
    }

    fn now(&self) -> Instant {
        self.0.clock.as_ref().map_or_else(Instant::now, |clock| clock())
    }

    /// Recovers a poisoned lock: only the clock can panic under it, and the clock writes nothing.
    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.0.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CircuitBreaker").field(&self.state()).finish()
    }
}

/// Settings of a [`CircuitBreaker`].
#[must_use = "a builder does nothing until it is built"]
pub struct CircuitBreakerBuilder {
    config: BreakerConfig,
    clock: Option<Clock>,
}

impl CircuitBreakerBuilder {
    /// Sets the failures in a row that open the breaker. Default 5, minimum 1.
    pub fn failures(mut self, failures: u32) -> Self {
        self.config.failures = failures.clamp(1, Packed::NOT_CLOSED - 1);
        self
    }

    /// Sets how long the breaker stays open before it admits a probe. Default 30 s.
    pub fn reset(mut self, reset: Duration) -> Self {
        self.config.reset = reset;
        self
    }

    /// Sets the successful probes that close the breaker. Default 2, minimum 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.config.probes = probes.max(1);
        self
    }

    /// Sets the clock, for tests. Default: tokio's clock.
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Builds the breaker, in the closed state.
    #[must_use]
    pub fn build(self) -> CircuitBreaker {
        let guarded = Mutex::new(Guarded { config: self.config, phase: Phase::Closed, probes: 0 });
        CircuitBreaker(Arc::new(Inner { packed: AtomicU64::new(0), guarded, clock: self.clock }))
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CircuitBreakerBuilder").field(&self.config).finish()
    }
}

/// Permission to send one call, returned by [`CircuitBreaker::allow`].
///
/// Dropped without a verdict, it counts neither as a success nor as a failure, and a probe releases
/// its permit; dropped by a panic, it counts as a failure. A verdict on a call that started before
/// the breaker opened, closed or was reset does not count.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing of how its call ended"]
pub struct Permit {
    breaker: CircuitBreaker,
    epoch: u32,
    /// The number of the probe, if the call is one.
    probe: Option<u64>,
    reported: bool,
}

impl Permit {
    /// Reports that the server answered.
    pub fn success(mut self) {
        self.report(true);
    }

    /// Reports that the server failed to do its work.
    pub fn failure(mut self) {
        self.report(false);
    }

    fn report(&mut self, success: bool) {
        self.reported = true;
        match (self.probe, success) {
            (Some(number), _) => self.breaker.on_probe_end(self.epoch, number, Some(success)),
            (None, true) => self.breaker.on_success(self.epoch),
            (None, false) => self.breaker.on_failure(self.epoch),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        if std::thread::panicking() {
            self.report(false);
        } else if let Some(number) = self.probe {
            self.breaker.on_probe_end(self.epoch, number, None);
        }
    }
}
