//! How many retries may go out beside the calls.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The seconds that count: the one that runs, and ten whole ones before, so that no ten seconds see
/// more than is allowed.
const SECONDS: usize = 11;

/// Bounds the retries of everything that shares it, so that they cannot bury a far end that is down
/// already: 20 % of the calls of the last ten seconds, and 10 a second beside, which a quiet route
/// saves up to 100.
///
/// Clones share what is left.
#[derive(Clone)]
pub struct RetryBudget(Arc<Mutex<Window>>);

/// What went out in the last seconds. The budget of tower forgets the first of its ten windows too
/// early by one, and so lets more through than it says in the seconds after.
struct Window {
    percent: u64,
    beside: u64,
    began: Instant,
    second: usize,
    seconds: [Sent; SECONDS],
}

#[derive(Clone, Copy, Default)]
struct Sent {
    calls: u64,
    retries: u64,
}

impl RetryBudget {
    /// Makes a budget of `percent` of the calls, and `per_second` beside.
    #[must_use]
    pub fn new(percent: u32, per_second: u32) -> Self {
        let beside = u64::from(per_second) * (SECONDS as u64 - 1);
        let (began, seconds) = (Instant::now(), [Sent::default(); SECONDS]);
        Self(Arc::new(Mutex::new(Window {
            percent: percent.into(),
            beside,
            began,
            second: 0,
            seconds,
        })))
    }

    /// Notes a call, which pays for a part of a retry.
    pub(super) fn deposit(&self) {
        let mut window = self.lock();
        window.now().calls += 1;
    }

    /// Pays for a retry, if there is enough left.
    pub(super) fn withdraw(&self) -> bool {
        let mut window = self.lock();
        window.now();
        let sum = |of: fn(&Sent) -> u64| window.seconds.iter().map(of).sum::<u64>();
        let allowed = sum(|sent| sent.calls).saturating_mul(window.percent) / 100 + window.beside;
        let enough = sum(|sent| sent.retries) < allowed;
        if enough {
            window.now().retries += 1;
        }
        enough
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// The second that runs; those that have passed since the last call are empty.
    fn now(&mut self) -> &mut Sent {
        let second =
            usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX).max(self.second);
        for passed in 1..=(second - self.second).min(SECONDS) {
            self.seconds[(self.second + passed) % SECONDS] = Sent::default();
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
            .field("beside", &window.beside)
            .finish()
    }
}
