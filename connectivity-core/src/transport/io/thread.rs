//! A runtime for sockets, and the thread that currently drives it.
//!
//! An [`IoThread`] is a current-thread runtime and the thread that drives it. Measurements against
//! the user's multi-thread runtime show two benefits: implementations that compute there do not
//! delay the sockets, and a call that replies at once needs no wakeup across threads.
//!
//! Inline calls are polled *between* two turns of the runtime, when no thread drives it. So a long
//! poll delays the sockets for two checks of the [`Watchdog`](super::watchdog) at most. The blocked
//! thread exits when the implementation returns; its reply is still delivered.

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

/// Flush replies after this many inline calls, so that clients can process the first replies while
/// the last are computed.
const BATCH: usize = 16;

/// A queued call that is polled inline.
pub(crate) trait InlineCall: Send + 'static {
    /// The observer of the poll.
    type Waiter: Waiter;

    /// Returns the observer of the poll.
    fn waiter(&self) -> &Self::Waiter;

    /// Returns the inline policy of the method.
    fn policy(&self) -> &Arc<InlinePolicy>;

    /// Polls the call once, in the context of the user's runtime. `clock` holds the start time, and
    /// is set to the end time.
    fn poll(self, clock: &mut Instant);

    /// Spawns the call on the user's runtime instead, because its method has blocked a thread since
    /// the call was queued.
    fn spawn(self);
}

/// The observer of inline polls, such as a stream that flushes the replies.
pub(crate) trait Waiter: Clone + Send + 'static {
    /// Returns whether both are the same observer.
    fn is(&self, other: &Self) -> bool;

    /// Handles that `calls` calls were polled, or are still being polled and must not be waited
    /// for. It is called inside the runtime, where waking a task costs no system call.
    fn polled(&self, calls: usize);

    /// Handles that a poll that overran has returned.
    fn overran(&self);
}

/// The IO threads of one listener. They exit when this is dropped.
pub(crate) struct IoThreads<C: InlineCall> {
    threads: Vec<IoThread<C>>,
}

/// Completes when all threads of a listener have exited and their sockets are closed.
pub(crate) struct Ended(mpsc::Receiver<()>);

impl Ended {
    pub(crate) async fn wait(mut self) {
        // No message is ever sent: `recv` returns when every thread has dropped its sender.
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

/// A runtime and the thread that currently drives it.
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

    /// Returns the handle of the socket runtime.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the queue of inline calls from connections on this thread.
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

/// A queue of inline calls for the thread that drives a runtime.
pub(crate) struct InlineQueue<C: InlineCall>(Arc<Shared<C>>);

impl<C: InlineCall> InlineQueue<C> {
    /// Queues a batch of calls and wakes the thread.
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

/// The state shared by the watchdog and the threads that drive a runtime in succession.
struct Shared<C: InlineCall> {
    name: String,
    /// Taken when the listener ends. A thread that polls a call holds no reference to it, so that
    /// blocked user code does not keep the sockets open.
    runtime: Mutex<Option<Arc<Runtime>>>,
    queue: Mutex<Queue<C>>,
    /// The number of the last inline poll, with the [`RUNNING`] bit.
    poll: AtomicU64,
    /// The thread that currently drives the runtime.
    driver: Driver,
    ended: AtomicBool,
    alive: Mutex<Option<mpsc::Sender<()>>>,
    watchdog: Arc<Watchdog>,
}

struct Queue<C: InlineCall> {
    calls: VecDeque<C>,
    /// The policy of the last polled method. If the poll overruns, the next thread records it
    /// there.
    running: Option<Arc<InlinePolicy>>,
    /// Observers of polled calls, with the number of calls. They are notified from inside the
    /// runtime.
    polled: Vec<(C::Waiter, usize)>,
    /// Wakes the current turn of the runtime.
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
    CallsQueued,
    Stopped,
}

impl<C: InlineCall> Shared<C> {
    fn drive(&self) {
        self.driver.set_current();
        while let Some(runtime) = self.runtime() {
            let turn = runtime.block_on(self.turn());
            drop(runtime);
            let still_driving = match turn {
                Turn::CallsQueued => self.poll_batch(),
                Turn::Stopped => return self.end(),
            };
            if !still_driving {
                return;
            }
        }
    }

    /// Polls a batch of calls. Returns false if another thread has taken over the runtime.
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
                // The next thread has already notified the observer, before there was a reply.
                waiter.overran();
                return false;
            }
            poll = next;
        }
        self.give_up(poll)
    }

    /// Notifies the observers of polled calls, and runs the sockets until calls are queued.
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
                return Poll::Ready(Turn::CallsQueued);
            }
            // Let the notified tasks run before the next batch.
            flushed = true;
            queue.waker = Some(cx.waker().clone());
            if !queue.calls.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Takes the next call from the queue, and records that it is polled.
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

    /// Drops the runtime with all its tasks and sockets.
    fn end(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(runtime);
        // Drop the calls outside of the lock: their drop runs user code.
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
