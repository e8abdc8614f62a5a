//! Admission control for large requests: by the memory that their bodies take, for each origin and
//! for the listener.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::transport::Origin;

/// The memory of all large requests of a listener, and of one origin's.
const OF_LISTENER: usize = 512 << 20;
const OF_ORIGIN: usize = 128 << 20;

/// Memory is counted in pieces of this size.
const PIECE: usize = 64 * 1024;

/// How long a large request may wait for memory.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// How often the progress of a body is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes that a body must have grown by between two looks while others wait for its memory, and in
/// ten looks in any case.
const LEAST: usize = 64 * 1024;
const LOOKS: u32 = 10;

/// The large requests of one listener.
#[derive(Clone, Debug)]
pub(crate) struct LargeRequests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    origins: Mutex<HashMap<Origin, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

impl LargeRequests {
    pub(crate) fn new() -> Self {
        let all = Arc::new(Semaphore::new(OF_LISTENER / PIECE));
        Self(Arc::new(Inner { all, origins: Mutex::default(), waiting: AtomicUsize::new(0) }))
    }

    /// The share of an origin: the one that it has, while any of its connections is open.
    pub(crate) fn share_of(&self, origin: &Origin) -> LargeShare {
        let mut origins = self.0.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let own = origins.get(origin).and_then(Weak::upgrade).unwrap_or_else(|| {
            origins.retain(|_, share| share.strong_count() > 0);
            let own = Arc::new(Semaphore::new(OF_ORIGIN / PIECE));
            origins.insert(origin.clone(), Arc::downgrade(&own));
            own
        });
        LargeShare { listener: Arc::clone(&self.0), own }
    }
}

/// What one origin may take.
#[derive(Clone, Debug)]
pub(crate) struct LargeShare {
    listener: Arc<Inner>,
    own: Arc<Semaphore>,
}

/// The memory of one large request, until this is dropped.
#[derive(Debug)]
pub(crate) struct LargePermit {
    _memory: [OwnedSemaphorePermit; 2],
}

impl LargeShare {
    /// Waits for the memory of a body; `None` if there was none in time.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<LargePermit> {
        // No request is larger than a share, so none waits for ever.
        let pieces = u32::try_from(bytes.min(OF_ORIGIN).div_ceil(PIECE)).unwrap_or(u32::MAX);
        let _waiting = Waiting::new(&self.listener);
        let both = async {
            let own = Arc::clone(&self.own).acquire_many_owned(pieces).await.ok()?;
            let all = Arc::clone(&self.listener.all).acquire_many_owned(pieces).await.ok()?;
            Some(LargePermit { _memory: [own, all] })
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

/// Watches that a body arrives at least so fast.
#[derive(Debug)]
pub(crate) struct Progress {
    share: LargeShare,
    look: Instant,
    looks: u32,
    /// Bytes at the last look, and ten looks ago.
    last: usize,
    earlier: usize,
}

impl Progress {
    pub(crate) fn new(share: LargeShare) -> Self {
        Self { share, look: Instant::now() + LOOK, looks: 0, last: 0, earlier: 0 }
    }

    /// The time that was spent waiting for memory does not count.
    pub(crate) fn resume(&mut self) {
        self.look = Instant::now() + LOOK;
    }

    /// Completes when the body, of which `received` bytes are there, has come too slowly.
    ///
    /// # Cancel safety
    /// It goes on where it was.
    pub(crate) async fn too_slow(&mut self, received: usize) {
        loop {
            tokio::time::sleep_until(self.look).await;
            self.look = Instant::now() + LOOK;
            self.looks += 1;
            let stalls = received.saturating_sub(self.last) < LEAST && self.share.is_contended();
            self.last = received;
            if stalls {
                return;
            }
            if self.looks == LOOKS {
                let creeps = received.saturating_sub(self.earlier) < LEAST;
                (self.looks, self.earlier) = (0, received);
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
        for _ in 0..OF_ORIGIN / LARGEST {
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
        for n in 0..OF_LISTENER / OF_ORIGIN {
            let share = requests.share_of(&origin(i32::try_from(n).unwrap()));
            for _ in 0..OF_ORIGIN / (2 * PIECE) {
                held.push(share.acquire(2 * PIECE - 1).await.unwrap());
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
        assert_eq!(began.elapsed(), LOOK * LOOKS);
        let mut progress = Progress::new(share.clone());
        for n in 1..=3 * LOOKS as usize {
            let slow = timeout(LOOK, progress.too_slow(n * LEAST / 4)).await;
            assert!(slow.is_err(), "it comes, if slowly");
        }
        let _waiting = Waiting::new(&share.listener);
        assert!(timeout(2 * LOOK, progress.too_slow(8 * LEAST)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_passed_over_is_no_progress() {
        let share = LargeRequests::new().share_of(&origin(1));
        let _waiting = Waiting::new(&share.listener);
        let mut progress = Progress::new(share.clone());
        assert!(timeout(LOOK, progress.too_slow(2 * LEAST)).await.is_err());
        assert!(
            timeout(2 * LOOK, progress.too_slow(0)).await.is_ok(),
            "what was there has been taken"
        );
    }
}
