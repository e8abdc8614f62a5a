//! Threads that run the sockets of a listener, and go on when an implementation blocks one of them.
//!
//! An [`IoThread`] is a current-thread runtime and the thread that drives it. Measured beside the user's multi-thread runtime:
//! implementations that compute there leave the sockets alone, and a call that is answered at once costs no wake-up across threads.
//!
//! Inline calls are polled *between* two turns of the runtime, when nobody drives it:
//!
//! ```text
//! runtime: read frames -> queue calls ─┐                          ┌─> flush replies, read frames -> ..
//! thread:                              └─> poll a call, and another ┘
//! watchdog:      .    .    .    .    . the same poll as at the last look? another thread takes the runtime over
//! ```
//!
//! So a poll that lasts holds up the sockets for two looks of the [`Watchdog`](super::watchdog). The blocked thread ends when the
//! implementation returns; its answer is still delivered.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

use super::inline::InlineCall;
use super::stream::{Known, Stream};
use super::watchdog::Watchdog;

/// Calls that are polled before replies are flushed: clients go on with the first while the last are computed.
const BATCH: usize = 16;

/// The lowest bit of `Shared::poll`: a poll runs.
const RUNNING: u64 = 1;

/// The IO threads of one listener. They end when this is dropped.
pub(crate) struct IoThreads {
    threads: Vec<IoThread>,
}

/// Completes when all threads of a listener have ended, and with them their sockets.
pub(crate) struct Ended(mpsc::Receiver<()>);

impl Ended {
    pub(crate) async fn wait(mut self) {
        // Nothing is ever sent: this ends when every thread has dropped its sender.
        let _ = self.0.recv().await;
    }
}

impl IoThreads {
    /// Starts `count` threads, named after the strategy.
    pub(crate) fn start(strategy: &str, count: usize) -> io::Result<(Self, Ended)> {
        let watchdog = Arc::new(Watchdog::default());
        let (alive, ended) = mpsc::channel(1);
        let start = |n| IoThread::start(format!("connectivity-{strategy}-{n}"), &watchdog, alive.clone());
        let threads = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
        watchdog.start(threads.iter().map(|thread| Arc::downgrade(&thread.shared)).collect())?;
        Ok((Self { threads }, Ended(ended)))
    }

    pub(crate) fn get(&self, n: usize) -> &IoThread {
        &self.threads[n]
    }
}

impl fmt::Debug for IoThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoThreads").field("threads", &self.threads.len()).finish()
    }
}

/// One runtime and whichever thread drives it.
pub(crate) struct IoThread {
    handle: Handle,
    shared: Arc<Shared>,
}

impl IoThread {
    fn start(name: String, watchdog: &Arc<Watchdog>, alive: mpsc::Sender<()>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared {
            name,
            runtime: Mutex::new(Some(Arc::new(runtime))),
            queue: Mutex::default(),
            poll: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            alive: Mutex::new(Some(alive)),
            watchdog: Arc::clone(watchdog),
        });
        shared.take_over()?;
        Ok(Self { handle, shared })
    }

    /// The runtime of the sockets.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where calls of connections on this thread wait to be polled inline.
    pub(super) fn queue(&self) -> InlineQueue {
        InlineQueue(Arc::clone(&self.shared))
    }
}

impl Drop for IoThread {
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
#[derive(Clone)]
pub(super) struct InlineQueue(Arc<Shared>);

impl InlineQueue {
    /// Queues a batch of calls.
    pub(super) fn append(&self, calls: &mut VecDeque<InlineCall>) {
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

/// What the threads that drive one runtime, one after the other, share with the watchdog.
pub(super) struct Shared {
    name: String,
    /// Taken when the listener ends. Who polls a call does not hold it: sockets must not live as long as user code blocks.
    runtime: Mutex<Option<Arc<Runtime>>>,
    queue: Mutex<Queue>,
    /// The number of the last inline poll, and whether it runs.
    poll: AtomicU64,
    ended: AtomicBool,
    alive: Mutex<Option<mpsc::Sender<()>>>,
    watchdog: Arc<Watchdog>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<InlineCall>,
    /// What was polled last: when the poll overran, another thread marks the method.
    running: Option<Arc<Known>>,
    /// Streams whose calls were polled, and how many. They are woken from inside the runtime: that costs no system call.
    polled: Vec<(Arc<Stream>, usize)>,
    /// Wakes the runtime's turn.
    waker: Option<Waker>,
    stopped: bool,
}

/// Why a turn of the runtime ended.
enum Turn {
    CallsWait,
    Stopped,
}

impl Shared {
    /// Starts a thread that drives the runtime from here on.
    pub(super) fn take_over(self: &Arc<Self>) -> io::Result<()> {
        if let Some(blocked) = &self.queue().running {
            blocked.policy.overran();
        }
        let shared = Arc::clone(self);
        thread::Builder::new().name(self.name.clone()).spawn(move || shared.drive())?;
        Ok(())
    }

    fn drive(self: &Arc<Self>) {
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
            let stream = Arc::clone(call.stream());
            {
                let _user = stream.serving.user.enter();
                call.poll(&mut clock);
            }
            let next = poll + 2;
            if self.poll.compare_exchange(poll, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // Another thread has woken the stream already, before its reply was there.
                stream.wake();
                return false;
            }
            poll = next;
        }
        self.give_up(poll)
    }

    /// Runs the sockets until calls wait to be polled.
    async fn turn(&self) -> Turn {
        let polled = std::mem::take(&mut self.queue().polled);
        for (stream, calls) in polled {
            stream.end_inline(calls);
            stream.wake();
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
            // The streams that were woken have their turn before the next batch.
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
    fn next_call(&self) -> Option<InlineCall> {
        let mut queue = self.queue();
        let call = queue.calls.pop_front()?;
        match queue.polled.last_mut() {
            Some((last, calls)) if Arc::ptr_eq(last, call.stream()) => *calls += 1,
            _ => queue.polled.push((Arc::clone(call.stream()), 1)),
        }
        if !queue.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, call.known())) {
            queue.running = Some(Arc::clone(call.known()));
        }
        Some(call)
    }

    /// The number of the last inline poll.
    pub(super) fn poll(&self) -> u64 {
        self.poll.load(Ordering::SeqCst)
    }

    /// Takes the runtime from the thread whose poll this is; false if the poll does not run any more.
    pub(super) fn give_up(&self, poll: u64) -> bool {
        let is_running = poll & RUNNING != 0;
        is_running && self.poll.compare_exchange(poll, poll & !RUNNING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
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

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}
