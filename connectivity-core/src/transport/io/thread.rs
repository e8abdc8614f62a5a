//! One runtime for sockets, and whichever thread drives it.
//!
//! An [`IoThread`] is a current-thread runtime and the thread that drives it. Measured beside the
//! user's multi-thread runtime: implementations that compute there leave the sockets alone, and a
//! call that is answered at once costs no wake-up across threads.
//!
//! Inline calls are polled *between* two turns of the runtime, when nobody drives it. So a poll
//! that lasts holds up the sockets for two looks of the [`Watchdog`](super::watchdog). The blocked
//! thread ends when the implementation returns; its answer is still delivered.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

use super::driver::Driver;
use super::inline_policy::InlinePolicy;
use super::watchdog::{RUNNING, Watchdog, Watched};

/// Calls that are polled before replies are flushed: clients go on with the first while the last
/// are computed.
const BATCH: usize = 16;

/// A call that waits for its inline poll.
pub(crate) trait InlineCall: Send + 'static {
    /// Who is told of the poll.
    type Waiter: Waiter;

    /// Returns who is told of the poll.
    fn waiter(&self) -> &Self::Waiter;

    /// Returns what is known of the method.
    fn policy(&self) -> &Arc<InlinePolicy>;

    /// Polls the call once, within the user's runtime. `clock` is the time of a moment ago, and
    /// then of the end.
    fn poll(self, clock: &mut Instant);

    /// Begins the call on the user's runtime instead: its method has blocked a thread since it was
    /// queued.
    fn spawn(self);
}

/// Who waits for calls to be polled.
pub(crate) trait Waiter: Clone + Send + 'static {
    /// Returns whether both are the same.
    fn is(&self, other: &Self) -> bool;

    /// So many calls were polled, or are still being polled and must not be waited for. Called
    /// inside the runtime: waking its tasks costs no system call there.
    fn polled(&self, calls: usize);

    /// A poll that overran has ended after all.
    fn overran(&self);
}

/// The IO threads of one listener. They end when this is dropped.
pub(crate) struct IoThreads<C: InlineCall> {
    threads: Vec<IoThread<C>>,
}

/// Completes when all threads of a listener have ended, and with them their sockets.
pub(crate) struct Ended(mpsc::Receiver<()>);

impl Ended {
    pub(crate) async fn wait(mut self) {
        // Nothing is ever sent: this ends when every thread has dropped its sender.
        let _ = self.0.recv().await;
    }
}

impl<C: InlineCall> IoThreads<C> {
    /// Starts `count` threads, named after the strategy.
    pub(crate) fn start(strategy: &str, count: usize) -> io::Result<(Self, Ended)> {
        let watchdog = Arc::new(Watchdog::default());
        let (alive, ended) = mpsc::channel(1);
        let start =
            |n| IoThread::start(format!("connectivity-{strategy}-{n}"), &watchdog, alive.clone());
        let threads = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
        let watched = threads.iter().map(|thread| {
            let shared: Weak<Shared<C>> = Arc::downgrade(&thread.shared);
            shared as Weak<dyn Watched>
        });
        watchdog.start(watched.collect())?;
        Ok((Self { threads }, Ended(ended)))
    }

    pub(crate) fn get(&self, n: usize) -> &IoThread<C> {
        &self.threads[n]
    }
}

impl<C: InlineCall> fmt::Debug for IoThreads<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoThreads").field("threads", &self.threads.len()).finish()
    }
}

/// One runtime and whichever thread drives it.
pub(crate) struct IoThread<C: InlineCall> {
    handle: Handle,
    shared: Arc<Shared<C>>,
}

impl<C: InlineCall> IoThread<C> {
    fn start(name: String, watchdog: &Arc<Watchdog>, alive: mpsc::Sender<()>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared {
            name,
            runtime: Mutex::new(Some(Arc::new(runtime))),
            queue: Mutex::new(Queue::default()),
            poll: AtomicU64::new(0),
            driver: Driver::default(),
            ended: AtomicBool::new(false),
            alive: Mutex::new(Some(alive)),
            watchdog: Arc::clone(watchdog),
        });
        Arc::clone(&shared).take_over()?;
        Ok(Self { handle, shared })
    }

    /// The runtime of the sockets.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where calls of connections on this thread wait to be polled inline.
    pub(crate) fn queue(&self) -> InlineQueue<C> {
        InlineQueue(Arc::clone(&self.shared))
    }
}

impl<C: InlineCall> Drop for IoThread<C> {
    fn drop(&mut self) {
        let waker = {
            let mut queue = self.shared.queue();
            queue.stopped = true;
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Queues calls for the thread that drives a runtime.
pub(crate) struct InlineQueue<C: InlineCall>(Arc<Shared<C>>);

impl<C: InlineCall> InlineQueue<C> {
    /// Queues a batch of calls.
    pub(crate) fn append(&self, calls: &mut VecDeque<C>) {
        let waker = {
            let mut queue = self.0.queue();
            queue.calls.append(calls);
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<C: InlineCall> Clone for InlineQueue<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: InlineCall> fmt::Debug for InlineQueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InlineQueue").field(&self.0.name).finish()
    }
}

/// What the threads that drive one runtime, one after the other, share with the watchdog.
struct Shared<C: InlineCall> {
    name: String,
    /// Taken when the listener ends. Who polls a call does not hold it: sockets must not live as
    /// long as user code blocks.
    runtime: Mutex<Option<Arc<Runtime>>>,
    queue: Mutex<Queue<C>>,
    /// The number of the last inline poll, and whether it runs.
    poll: AtomicU64,
    /// The thread that drives the runtime now.
    driver: Driver,
    ended: AtomicBool,
    alive: Mutex<Option<mpsc::Sender<()>>>,
    watchdog: Arc<Watchdog>,
}

struct Queue<C: InlineCall> {
    calls: VecDeque<C>,
    /// The method that was polled last: when the poll overran, another thread marks it.
    running: Option<Arc<InlinePolicy>>,
    /// Whose calls were polled, and how many. They are told from inside the runtime.
    polled: Vec<(C::Waiter, usize)>,
    /// Wakes the runtime's turn.
    waker: Option<Waker>,
    stopped: bool,
}

impl<C: InlineCall> Default for Queue<C> {
    fn default() -> Self {
        Self {
            calls: VecDeque::new(),
            running: None,
            polled: Vec::new(),
            waker: None,
            stopped: false,
        }
    }
}

/// Why a turn of the runtime ended.
enum Turn {
    CallsWait,
    Stopped,
}

impl<C: InlineCall> Shared<C> {
    fn drive(&self) {
        self.driver.set_current();
        while let Some(runtime) = self.runtime() {
            let turn = runtime.block_on(self.turn());
            drop(runtime);
            let go_on = match turn {
                Turn::CallsWait => self.poll_batch(),
                Turn::Stopped => return self.end(),
            };
            if !go_on {
                return;
            }
        }
    }

    /// Polls a batch of calls; false if another thread drives the runtime by now.
    fn poll_batch(&self) -> bool {
        let mut poll = (self.poll.load(Ordering::Relaxed) + 2) | RUNNING;
        self.poll.store(poll, Ordering::SeqCst);
        self.watchdog.notice();
        let mut clock = Instant::now();
        for _ in 0..BATCH {
            let Some(call) = self.next_call() else { break };
            let waiter = call.waiter().clone();
            if call.policy().allows_inline() {
                call.poll(&mut clock);
            } else {
                call.spawn();
            }
            let next = poll + 2;
            if self.poll.compare_exchange(poll, next, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                // Another thread has told of the poll already, before its reply was there.
                waiter.overran();
                return false;
            }
            poll = next;
        }
        self.give_up(poll)
    }

    /// Runs the sockets until calls wait to be polled.
    async fn turn(&self) -> Turn {
        let polled = std::mem::take(&mut self.queue().polled);
        for (waiter, calls) in polled {
            waiter.polled(calls);
        }
        let mut flushed = false;
        std::future::poll_fn(|cx| {
            let mut queue = self.queue();
            if queue.stopped {
                return Poll::Ready(Turn::Stopped);
            }
            if !queue.calls.is_empty() && flushed {
                return Poll::Ready(Turn::CallsWait);
            }
            // Who was told has its turn before the next batch.
            flushed = true;
            queue.waker = Some(cx.waker().clone());
            if !queue.calls.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Takes the next call off the queue, and notes that it is polled.
    fn next_call(&self) -> Option<C> {
        let mut queue = self.queue();
        let call = queue.calls.pop_front()?;
        match queue.polled.last_mut() {
            Some((last, calls)) if last.is(call.waiter()) => *calls += 1,
            _ => queue.polled.push((call.waiter().clone(), 1)),
        }
        if !queue.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, call.policy())) {
            queue.running = Some(Arc::clone(call.policy()));
        }
        Some(call)
    }

    /// Drops the runtime, with all tasks and sockets in it.
    fn end(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(runtime);
        // What is dropped is the user's, and not under the lock.
        drop(std::mem::take(&mut self.queue().calls));
        self.ended.store(true, Ordering::Release);
        self.watchdog.wake();
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: InlineCall> Watched for Shared<C> {
    fn take_over(self: Arc<Self>) -> io::Result<()> {
        if let Some(blocked) = &self.queue().running {
            blocked.overran();
        }
        thread::Builder::new().name(self.name.clone()).spawn(move || self.drive())?;
        Ok(())
    }

    fn poll(&self) -> u64 {
        self.poll.load(Ordering::SeqCst)
    }

    fn driver(&self) -> &Driver {
        &self.driver
    }

    fn give_up(&self, poll: u64) -> bool {
        let is_running = poll & RUNNING != 0;
        is_running
            && self
                .poll
                .compare_exchange(poll, poll & !RUNNING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
