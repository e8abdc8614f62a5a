//! Admission control for large requests: limits the memory of their bodies, per origin and per
//! listener.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::transport::Origin;

/// Memory budget for the large requests of a listener, and of one origin.
const PER_LISTENER: usize = 512 << 20;
const PER_ORIGIN: usize = 128 << 20;

/// Unit in which memory is acquired.
const UNIT: usize = 64 * 1024;

/// How long a large request may wait for admission.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Interval between progress checks of a body.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of a body that must arrive between two checks while other requests wait for memory, and in
/// any case within `LONG_CHECK` checks.
const MIN_PROGRESS: usize = 64 * 1024;
const LONG_CHECK: u32 = 10;

/// The memory budget for large requests of one listener.
#[derive(Clone, Debug)]
pub(crate) struct LargeRequests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: Arc<Semaphore>,
    origins: Mutex<HashMap<Origin, Weak<Semaphore>>>,
    /// Number of requests that wait for admission.
    waiting: AtomicUsize,
}

impl LargeRequests {
    pub(crate) fn new() -> Self {
        let total = Arc::new(Semaphore::new(PER_LISTENER / UNIT));
        Self(Arc::new(Inner { total, origins: Mutex::default(), waiting: AtomicUsize::new(0) }))
    }

    /// Returns the share of an origin. All connections of the origin use the same share as long as
    /// any of them is open.
    pub(crate) fn share_of(&self, origin: &Origin) -> LargeShare {
        let mut origins = self.0.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let own = origins.get(origin).and_then(Weak::upgrade).unwrap_or_else(|| {
            origins.retain(|_, share| share.strong_count() > 0);
            let own = Arc::new(Semaphore::new(PER_ORIGIN / UNIT));
            origins.insert(origin.clone(), Arc::downgrade(&own));
            own
        });
        LargeShare { listener: Arc::clone(&self.0), own }
    }
}

/// The memory budget of one origin.
#[derive(Clone, Debug)]
pub(crate) struct LargeShare {
    listener: Arc<Inner>,
    own: Arc<Semaphore>,
}

/// The admitted memory of one large request; dropping it releases the memory.
#[derive(Debug)]
pub(crate) struct LargePermit {
    _memory: [OwnedSemaphorePermit; 2],
}

impl LargeShare {
    /// Waits for the memory of a body of `bytes` bytes. Returns `None` after [`WAIT`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and acquires nothing.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<LargePermit> {
        // Capped at the share of an origin: a larger request would wait in vain.
        let units = u32::try_from(bytes.min(PER_ORIGIN).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let _waiting = Waiting::new(&self.listener);
        let both = async {
            let own = Arc::clone(&self.own).acquire_many_owned(units).await.ok()?;
            let total = Arc::clone(&self.listener.total).acquire_many_owned(units).await.ok()?;
            Some(LargePermit { _memory: [own, total] })
        };
        timeout(WAIT, both).await.ok()?
    }

    fn is_contended(&self) -> bool {
        self.listener.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(listener: &'a Inner) -> Self {
        listener.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&listener.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Enforces a minimum rate at which a body arrives.
#[derive(Debug)]
pub(crate) struct Progress {
    share: LargeShare,
    next_check: Instant,
    checks: u32,
    /// Bytes received at the last check, and at the last long check.
    last: usize,
    last_long: usize,
}

impl Progress {
    pub(crate) fn new(share: LargeShare) -> Self {
        Self {
            share,
            next_check: Instant::now() + CHECK_INTERVAL,
            checks: 0,
            last: 0,
            last_long: 0,
        }
    }

    /// Restarts the check interval after a wait for memory, which does not count.
    pub(crate) fn resume(&mut self) {
        self.next_check = Instant::now() + CHECK_INTERVAL;
    }

    /// Completes when the body, of which `received` bytes have arrived, is too slow.
    ///
    /// # Cancel safety
    /// The state is kept in `self`: dropping the future and calling again continues the checks.
    pub(crate) async fn too_slow(&mut self, received: usize) {
        loop {
            tokio::time::sleep_until(self.next_check).await;
            self.next_check = Instant::now() + CHECK_INTERVAL;
            self.checks += 1;
            let stalls =
                received.saturating_sub(self.last) < MIN_PROGRESS && self.share.is_contended();
            self.last = received;
            if stalls {
                return;
            }
            if self.checks == LONG_CHECK {
                let creeps = received.saturating_sub(self.last_long) < MIN_PROGRESS;
                (self.checks, self.last_long) = (0, received);
                if creeps {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 16 << 20;

    fn origin(n: i32) -> Origin {
        Origin::Process(Some(n))
    }

    #[tokio::test(start_paused = true)]
    async fn one_origin_leaves_memory_to_the_others() {
        let requests = LargeRequests::new();
        let (greedy, other) = (requests.share_of(&origin(1)), requests.share_of(&origin(2)));
        let mut held = Vec::new();
        for _ in 0..PER_ORIGIN / LARGEST {
            held.push(greedy.acquire(LARGEST).await.unwrap());
        }
        assert!(
            requests.share_of(&origin(1)).acquire(LARGEST).await.is_none(),
            "its connections have one share"
        );
        assert!(other.acquire(LARGEST).await.is_some());
        let next = tokio::spawn(async move { greedy.acquire(LARGEST).await });
        held.pop();
        assert!(next.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_origins_together_have_a_limit_and_many_small_bodies_fit() {
        let requests = LargeRequests::new();
        let mut held = Vec::new();
        for n in 0..PER_LISTENER / PER_ORIGIN {
            let share = requests.share_of(&origin(i32::try_from(n).unwrap()));
            for _ in 0..PER_ORIGIN / (2 * UNIT) {
                held.push(share.acquire(2 * UNIT - 1).await.unwrap());
            }
        }
        assert!(requests.share_of(&origin(-1)).acquire(LARGEST).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_come_slowly_only_while_nobody_waits() {
        let requests = LargeRequests::new();
        let share = requests.share_of(&origin(1));
        let began = Instant::now();
        let mut progress = Progress::new(share.clone());
        progress.too_slow(100).await;
        assert_eq!(began.elapsed(), CHECK_INTERVAL * LONG_CHECK);
        let mut progress = Progress::new(share.clone());
        for n in 1..=3 * LONG_CHECK as usize {
            let slow = timeout(CHECK_INTERVAL, progress.too_slow(n * MIN_PROGRESS / 4)).await;
            assert!(slow.is_err(), "it comes, if slowly");
        }
        let _waiting = Waiting::new(&share.listener);
        assert!(timeout(2 * CHECK_INTERVAL, progress.too_slow(8 * MIN_PROGRESS)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_passed_over_is_no_progress() {
        let share = LargeRequests::new().share_of(&origin(1));
        let _waiting = Waiting::new(&share.listener);
        let mut progress = Progress::new(share.clone());
        assert!(timeout(CHECK_INTERVAL, progress.too_slow(2 * MIN_PROGRESS)).await.is_err());
        assert!(
            timeout(2 * CHECK_INTERVAL, progress.too_slow(0)).await.is_ok(),
            "what was there has been taken"
        );
    }
}
