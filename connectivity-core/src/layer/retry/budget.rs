//! Budget that bounds the number of retries.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Seconds in the window: the current one and the ten full ones before it, so that no span of ten
/// seconds exceeds the budget.
const SECONDS: usize = 11;

/// Bounds the retries of all layers that share it, so that retries cannot overload a server that is
/// already down. Default: 20 % of the calls of the last ten seconds plus 10 a second, of which an
/// idle route saves up to 100.
///
/// Clones share what is left of the budget.
#[derive(Clone)]
pub struct RetryBudget(Arc<Mutex<Window>>);

/// Sliding window of the calls and retries of the last seconds. Tower's budget drops the first of
/// its ten windows one window too early, and so admits more retries than documented in the seconds
/// after.
struct Window {
    percent: u64,
    reserve: u64,
    started: Instant,
    second: usize,
    seconds: [Counts; SECONDS],
}

#[derive(Clone, Copy, Default)]
struct Counts {
    calls: u64,
    retries: u64,
}

impl RetryBudget {
    /// Creates a budget of `percent` of the calls plus `per_second` retries.
    #[must_use]
    pub fn new(percent: u32, per_second: u32) -> Self {
        let reserve = u64::from(per_second) * (SECONDS as u64 - 1);
        let (started, seconds) = (Instant::now(), [Counts::default(); SECONDS]);
        Self(Arc::new(Mutex::new(Window {
            percent: percent.into(),
            reserve,
            started,
            second: 0,
            seconds,
        })))
    }

    /// Counts a call, which adds a part of a retry to the budget.
    pub(super) fn deposit(&self) {
        let mut window = self.lock();
        window.current().calls += 1;
    }

    /// Takes a retry from the budget; returns false if not enough is left.
    pub(super) fn withdraw(&self) -> bool {
        let mut window = self.lock();
        window.current();
        let sum = |of: fn(&Counts) -> u64| window.seconds.iter().map(of).sum::<u64>();
        let allowed =
            sum(|counts| counts.calls).saturating_mul(window.percent) / 100 + window.reserve;
        let enough = sum(|counts| counts.retries) < allowed;
        if enough {
            window.current().retries += 1;
        }
        enough
    }

    /// Recovers a poisoned lock: no code panics under it.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Returns the counts of the current second, after clearing the seconds that passed since the
    /// last access.
    fn current(&mut self) -> &mut Counts {
        let second = usize::try_from(self.started.elapsed().as_secs())
            .unwrap_or(usize::MAX)
            .max(self.second);
        for passed in 1..=(second - self.second).min(SECONDS) {
            self.seconds[(self.second + passed) % SECONDS] = Counts::default();
        }
        self.second = second;
        &mut self.seconds[second % SECONDS]
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(20, 10)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.lock();
        f.debug_struct("RetryBudget")
            .field("percent", &window.percent)
            .field("beside", &window.reserve)
            .finish()
    }
}
