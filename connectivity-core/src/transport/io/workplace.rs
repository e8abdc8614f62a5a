//! Runs the work of calls that arrive over HTTP or MCP: inline on the IO thread, or on the user's
//! runtime.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{InlineCall, InlinePolicies, InlinePolicy, InlineQueue, IoThread, Waiter};

/// Maximum size in bytes of a request whose work may be polled inline: decoding a longer one takes
/// too long.
const INLINE_BYTES: usize = 16 * 1024;

/// Runs the work of calls: on the caller's task, or, for calls of an IO thread, where it does not
/// delay the sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workplace(Option<OffThread>);

#[derive(Clone, Debug)]
struct OffThread {
    user: Handle,
    policies: InlinePolicies,
    queue: InlineQueue<Work>,
}

impl Workplace {
    /// Creates a workplace for the connections of an IO thread. The implementations run on the
    /// runtime `user`.
    pub(crate) fn off_thread(
        thread: &IoThread<Work>,
        user: Handle,
        policies: InlinePolicies,
    ) -> Self {
        Self(Some(OffThread { user, policies, queue: thread.queue() }))
    }

    /// Returns the runtime of the implementations, if it differs from the caller's.
    #[cfg(feature = "mcp")]
    pub(crate) fn user(&self) -> Option<&Handle> {
        self.0.as_ref().map(|off_thread| &off_thread.user)
    }

    /// Runs the work of a call of `name`, which must be served here. `bytes` is the size of its
    /// request. Returns `None` if the work ended without a result: the user's runtime was shut
    /// down, or a layer of the user panicked.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the work.
    pub(crate) async fn run<T, F>(&self, name: &str, bytes: usize, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Some(off_thread) = &self.0 else { return Some(work.await) };
        let (sender, result) = oneshot::channel();
        let job = Job {
            work: Box::pin(work),
            sender,
            policy: off_thread.policies.of(name),
            user: off_thread.user.clone(),
        };
        if bytes <= INLINE_BYTES && job.policy.allows_inline() {
            off_thread.queue.append(&mut VecDeque::from([Work::new(job)]));
        } else {
            job.spawn();
        }
        result.await.ok()
    }
}

/// The work of one call, and the channel for its result.
struct Job<T, F> {
    work: Pin<Box<F>>,
    sender: oneshot::Sender<T>,
    policy: Arc<InlinePolicy>,
    user: Handle,
}

impl<T, F> Job<T, F>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    fn spawn(self) {
        self.user.clone().spawn(self.run());
    }

    /// Runs the work on the user's runtime, and records the duration of the first poll.
    async fn run(mut self) {
        if self.sender.is_closed() {
            return;
        }
        let began = Instant::now();
        let first = poll_fn(|cx| Poll::Ready(self.work.as_mut().poll(cx))).await;
        self.policy.record_spawned(began.elapsed());
        match first {
            Poll::Ready(value) => drop(self.sender.send(value)),
            Poll::Pending => self.finish().await,
        }
    }

    async fn finish(mut self) {
        tokio::select! {
            biased;
            () = self.sender.closed() => {}
            value = self.work => drop(self.sender.send(value)),
        }
    }

    /// Polls the work once. A result is stored for the observer of the poll; pending work continues
    /// on the user's runtime.
    fn poll_inline(mut self, slot: &ResultSlot<T>, clock: &mut Instant) {
        if self.sender.is_closed() {
            return;
        }
        let _user = self.user.enter();
        let mut cx = Context::from_waker(Waker::noop());
        let first = catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(&mut cx)));
        let began = std::mem::replace(clock, Instant::now());
        self.policy.record_inline(*clock - began);
        match first {
            Ok(Poll::Ready(value)) => slot.put(value, self.sender),
            Ok(Poll::Pending) => {
                let user = self.user.clone();
                user.spawn(self.finish());
                // Waking the runtime may take a while, which must not count for the next call.
                *clock = Instant::now();
            }
            // Panics of implementations are caught where they run, so this is one of a layer. The
            // dropped sender tells the caller that there is no result.
            Err(_panic) => {}
        }
    }
}

/// Queued work that is polled inline.
pub(crate) struct Work {
    job: Box<dyn Begin>,
    result: Arc<dyn Deliver>,
    policy: Arc<InlinePolicy>,
}

impl Work {
    fn new<T, F>(job: Job<T, F>) -> Self
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (slot, policy) = (Arc::new(ResultSlot(Mutex::new(None))), Arc::clone(&job.policy));
        let result = Arc::clone(&slot);
        Self { job: Box::new((job, slot)), result, policy }
    }
}

/// The two ways to start work.
trait Begin: Send {
    fn poll_inline(self: Box<Self>, clock: &mut Instant);
    fn spawn(self: Box<Self>);
}

impl<T, F> Begin for (Job<T, F>, Arc<ResultSlot<T>>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    fn poll_inline(self: Box<Self>, clock: &mut Instant) {
        let (job, slot) = *self;
        job.poll_inline(&slot, clock);
    }

    fn spawn(self: Box<Self>) {
        let (job, _slot) = *self;
        job.spawn();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl InlineCall for Work {
    type Waiter = Arc<dyn Deliver>;

    fn waiter(&self) -> &Self::Waiter {
        &self.result
    }

    fn policy(&self) -> &Arc<InlinePolicy> {
        &self.policy
    }

    fn poll(self, clock: &mut Instant) {
        self.job.poll_inline(clock);
    }

    fn spawn(self) {
        self.job.spawn();
    }
}

/// A result that is stored between two turns of the runtime, and sent inside of a turn.
struct ResultSlot<T>(Mutex<Option<(T, oneshot::Sender<T>)>>);

impl<T> ResultSlot<T> {
    fn put(&self, value: T, sender: oneshot::Sender<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((value, sender));
    }
}

/// Sends a stored result, if there is one.
pub(crate) trait Deliver: Send + Sync {
    fn deliver(&self);
}

impl<T: Send> Deliver for ResultSlot<T> {
    fn deliver(&self) {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((value, sender)) = stored {
            drop(sender.send(value));
        }
    }
}

impl Waiter for Arc<dyn Deliver> {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }

    fn polled(&self, _calls: usize) {
        self.deliver();
    }

    fn overran(&self) {
        self.deliver();
    }
}
