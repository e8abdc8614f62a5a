//! A circuit breaker: stops calls to a far end that fails, and tries it again after a while.

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
pub(crate) use state::{serialize_utc, utc};

/// Counts the failures of a far end, and refuses calls to it while there are too many.
///
/// *Closed*, it lets every call pass; after `failures` of them in a row it *opens* and refuses all.
/// When `reset` has passed it is *half open*: one call at a time passes as a probe. After `probes`
/// successes it closes, after one failure it opens again. A probe that has no answer after another
/// `reset`, a second at the least, no longer keeps the next one back; how it ends still counts.
///
/// Clones share the state. While it is closed, a call that succeeds costs two loads and no lock.
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
    /// What every call reads; written under the lock of `guarded`, except that a success takes
    /// failures back.
    word: AtomicU64,
    guarded: Mutex<Guarded>,
    clock: Option<Clock>,
}

/// What a probe has to be answered in, however short the pause is: a far end that is slow must not
/// get one beside the other.
const PROBE_TIME: Duration = Duration::from_secs(1);

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

struct Guarded {
    settings: Settings,
    phase: Phase,
    /// How many probes there have been, to tell them apart.
    probes: u64,
}

/// When it opens, for how long, and what closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) failures: u32,
    pub(crate) reset: Duration,
    pub(crate) probes: u32,
}

impl Default for Settings {
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

/// The probe that keeps others back.
#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    began: Instant,
}

/// An epoch, which ends whenever the breaker opens, closes or is reset, and the failures in a row
/// while it is closed.
#[derive(Clone, Copy)]
struct Word {
    epoch: u32,
    failures: u32,
}

impl Word {
    const NOT_CLOSED: u32 = u32::MAX;

    fn read(bits: u64) -> Self {
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
    /// Begins a breaker: 5 failures, 30 s, 2 probes unless said.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder { settings: Settings::default(), clock: None }
    }

    /// Asks whether a call may go out: `None` while the breaker is open, and while another probe is
    /// out that began less than `reset`, or a second, ago. Say through the permit how the call
    /// ended.
    #[must_use]
    pub fn allow(&self) -> Option<Permit> {
        let word = self.word();
        if word.is_closed() {
            return Some(self.permit(word.epoch, None));
        }
        let mut guarded = self.lock();
        let probe = match guarded.phase {
            Phase::Closed => None,
            Phase::Open { at, .. } => {
                let pause = guarded.settings.reset;
                Some(self.probe(&mut guarded, Some((at, pause)), 0)?)
            }
            // A probe may hang for ever: who sends it need not bound its calls.
            Phase::HalfOpen { successes, probe } => {
                let pause = guarded.settings.reset.max(PROBE_TIME);
                Some(self.probe(
                    &mut guarded,
                    probe.map(|probe| (probe.began, pause)),
                    successes,
                )?)
            }
        };
        Some(self.permit(self.word().epoch, probe))
    }

    /// Begins a probe, unless it has to wait until a pause has passed since.
    fn probe(
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
        guarded.phase = Phase::HalfOpen { successes, probe: Some(Probe { number, began: now }) };
        Some(number)
    }

    /// Notes a success of a call without a permit. It counts only while the breaker is closed:
    /// nothing but a probe closes it.
    pub fn record_success(&self) {
        self.succeeded(self.word().epoch);
    }

    /// Notes a failure of a call without a permit. It counts only while the breaker is closed.
    pub fn record_failure(&self) {
        self.failed(self.word().epoch);
    }

    /// Closes it, whatever has been; calls that are out do not count any more.
    pub fn reset(&self) {
        let mut guarded = self.lock();
        guarded.phase = Phase::Closed;
        self.store(self.word().next(0));
    }

    /// Shows how it stands. It is half open when the next call would be a probe, though none has
    /// come yet.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let guarded = self.lock();
        match guarded.phase {
            Phase::Closed => BreakerState::Closed { failures: self.word().failures },
            Phase::HalfOpen { successes, .. } => BreakerState::HalfOpen { successes },
            Phase::Open { at, .. }
                if self.now().saturating_duration_since(at) >= guarded.settings.reset =>
            {
                BreakerState::HalfOpen { successes: 0 }
            }
            Phase::Open { since, .. } => {
                let until = since.checked_add(guarded.settings.reset).unwrap_or(since);
                BreakerState::Open { since, until }
            }
        }
    }

    /// Goes on with other settings: what is open stays open, until the new time has passed.
    pub(crate) fn retune(&self, settings: Settings) {
        self.lock().settings = settings;
    }

    fn permit(&self, epoch: u32, probe: Option<u64>) -> Permit {
        Permit { breaker: self.clone(), epoch, probe, told: false }
    }

    fn succeeded(&self, epoch: u32) {
        // The usual case: nothing to take back, and nothing to write.
        if self.word().failures == 0 {
            return;
        }
        let _ = self.0.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            let word = Word::read(bits);
            (word.is_closed() && word.epoch == epoch).then(|| Word { failures: 0, ..word }.bits())
        });
    }

    fn failed(&self, epoch: u32) {
        let mut guarded = self.lock();
        let threshold = guarded.settings.failures;
        let counted = self.0.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            let word = Word::read(bits);
            let failures = word.failures.saturating_add(1);
            let after = if failures < threshold {
                Word { failures, ..word }
            } else {
                word.next(Word::NOT_CLOSED)
            };
            (word.is_closed() && word.epoch == epoch).then(|| after.bits())
        });
        if counted.is_ok() && !self.word().is_closed() {
            guarded.phase = self.opened();
        }
    }

    /// A probe of the half-open breaker has ended: well, badly, or without a word.
    fn probed(&self, epoch: u32, number: u64, well: Option<bool>) {
        let mut guarded = self.lock();
        let word = self.word();
        let Phase::HalfOpen { successes, probe } = guarded.phase else { return };
        if word.epoch != epoch {
            return;
        }
        let probe = probe.filter(|probe| probe.number != number);
        guarded.phase = match well {
            None => Phase::HalfOpen { successes, probe },
            Some(true) if successes.saturating_add(1) < guarded.settings.probes => {
                Phase::HalfOpen { successes: successes + 1, probe }
            }
            Some(true) => {
                self.store(word.next(0));
                Phase::Closed
            }
            Some(false) => {
                self.store(word.next(Word::NOT_CLOSED));
                self.opened()
            }
        };
    }

    fn opened(&self) -> Phase {
        Phase::Open { at: self.now(), since: SystemTime::now() }
    }

    fn word(&self) -> Word {
        Word::read(self.0.word.load(Ordering::Acquire))
    }

    fn store(&self, word: Word) {
        self.0.word.store(word.bits(), Ordering::Release);
    }

    fn now(&self) -> Instant {
        self.0.clock.as_ref().map_or_else(Instant::now, |clock| clock())
    }

    /// Nothing that can panic runs under the lock but the clock, which writes nothing.
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
    settings: Settings,
    clock: Option<Clock>,
}

impl CircuitBreakerBuilder {
    /// Failures in a row that open it: 5 unless said, 1 at the least.
    pub fn failures(mut self, failures: u32) -> Self {
        self.settings.failures = failures.clamp(1, Word::NOT_CLOSED - 1);
        self
    }

    /// How long it stays open before it lets a probe pass: 30 s unless said.
    pub fn reset(mut self, reset: Duration) -> Self {
        self.settings.reset = reset;
        self
    }

    /// Successes of probes that close it again: 2 unless said, 1 at the least.
    pub fn probes(mut self, probes: u32) -> Self {
        self.settings.probes = probes.max(1);
        self
    }

    /// Takes the time from elsewhere, for tests; tokio's clock unless said.
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Makes the breaker, closed.
    #[must_use]
    pub fn build(self) -> CircuitBreaker {
        let guarded =
            Mutex::new(Guarded { settings: self.settings, phase: Phase::Closed, probes: 0 });
        CircuitBreaker(Arc::new(Inner { word: AtomicU64::new(0), guarded, clock: self.clock }))
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CircuitBreakerBuilder").field(&self.settings).finish()
    }
}

/// The leave to send one call, from [`CircuitBreaker::allow`].
///
/// Dropped without a verdict it says nothing of the far end, and gives the place of a probe back;
/// dropped by a panic it is a failure. A verdict on a call that began before the breaker opened,
/// closed or was reset does not count.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing of how its call ended"]
pub struct Permit {
    breaker: CircuitBreaker,
    epoch: u32,
    /// The number of the probe, if the call is one.
    probe: Option<u64>,
    told: bool,
}

impl Permit {
    /// Says that the far end answered.
    pub fn success(mut self) {
        self.tell(true);
    }

    /// Says that the far end did not do its work.
    pub fn failure(mut self) {
        self.tell(false);
    }

    fn tell(&mut self, well: bool) {
        self.told = true;
        match (self.probe, well) {
            (Some(number), _) => self.breaker.probed(self.epoch, number, Some(well)),
            (None, true) => self.breaker.succeeded(self.epoch),
            (None, false) => self.breaker.failed(self.epoch),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        if std::thread::panicking() {
            self.tell(false);
        } else if let Some(number) = self.probe {
            self.breaker.probed(self.epoch, number, None);
        }
    }
}
