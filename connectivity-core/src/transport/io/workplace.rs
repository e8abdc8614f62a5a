//! Where the work of a call is done that came in as a request of HTTP or MCP.

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

/// The longest request whose work may be polled inline, in bytes: decoding a longer one takes a
/// while.
const INLINE_BYTES: usize = 16 * 1024;

/// Runs the work of calls: where they came in, or, for those of an IO thread, where it holds up no
/// socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workplace(Option<Apart>);

#[derive(Clone, Debug)]
struct Apart {
    user: Handle,
    policies: InlinePolicies,
    queue: InlineQueue<Work>,
}

impl Workplace {
    /// For the connections of an IO thread, whose implementations belong to the runtime `user`.
    pub(crate) fn apart(thread: &IoThread<Work>, user: Handle, policies: InlinePolicies) -> Self {
        Self(Some(Apart { user, policies, queue: thread.queue() }))
    }

    /// Returns the runtime that implementations belong to, where that is another than the caller's.
    #[cfg(feature = "mcp")]
    pub(crate) fn user(&self) -> Option<&Handle> {
        self.0.as_ref().map(|apart| &apart.user)
    }

    /// Runs the work of a call of `name`, which must be served here, and whose request was so many
    /// bytes long. `None` if the work ended without a result: the user's runtime is shut down, or a
    /// layer of the user's panicked.
    ///
    /// # Cancel safety
    /// The work ends when the future is dropped.
    pub(crate) async fn run<T, F>(&self, name: &str, bytes: usize, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Some(apart) = &self.0 else { return Some(work.await) };
        let (sender, result) = oneshot::channel();
        let job = Job {
            work: Box::pin(work),
            sender,
            policy: apart.policies.of(name),
            user: apart.user.clone(),
        };
        if bytes <= INLINE_BYTES && job.policy.allows_inline() {
            apart.queue.append(&mut VecDeque::from([Work::new(job)]));
        } else {
            job.spawn();
        }
        result.await.ok()
    }
}

/// The work of one call, and who waits for it.
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

    /// Runs on the user's runtime, and records how long the first poll takes.
    async fn run(mut self) {
        if self.sender.is_closed() {
            return;
        }
        let began = Instant::now();
        let first = poll_fn(|cx| Poll::Ready(self.work.as_mut().poll(cx))).await;
        self.policy.record_spawned(began.elapsed());
        match first {
            Poll::Ready(value) => drop(self.sender.send(value)),
            Poll::Pending => self.go_on().await,
        }
    }

    async fn go_on(mut self) {
        tokio::select! {
            biased;
            () = self.sender.closed() => {}
            value = self.work => drop(self.sender.send(value)),
        }
    }

    /// Polls once. What is ready at once is left for whoever is told of the poll; the user's
    /// runtime goes on with what is pending.
    fn poll_inline(mut self, made: &Made<T>, clock: &mut Instant) {
        if self.sender.is_closed() {
            return;
        }
        let _user = self.user.enter();
        let mut cx = Context::from_waker(Waker::noop());
        let first = catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(&mut cx)));
        let began = std::mem::replace(clock, Instant::now());
        self.policy.record_inline(*clock - began);
        match first {
            Ok(Poll::Ready(value)) => made.put(value, self.sender),
            Ok(Poll::Pending) => {
                let user = self.user.clone();
                user.spawn(self.go_on());
                // Waking the runtime may have taken a while; that is not the next call's.
                *clock = Instant::now();
            }
            // Implementations are caught where they run. Whoever waits hears that there is no
            // result.
            Err(_panic) => {}
        }
    }
}

/// Work that waits for its inline poll.
pub(crate) struct Work {
    job: Box<dyn Begin>,
    made: Arc<dyn Deliver>,
    policy: Arc<InlinePolicy>,
}

impl Work {
    fn new<T, F>(job: Job<T, F>) -> Self
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (made, policy) = (Arc::new(Made(Mutex::new(None))), Arc::clone(&job.policy));
        let there = Arc::clone(&made);
        Self { job: Box::new((job, there)), made, policy }
    }
}

/// The two ways in which work begins.
trait Begin: Send {
    fn poll_inline(self: Box<Self>, clock: &mut Instant);
    fn spawn(self: Box<Self>);
}

impl<T, F> Begin for (Job<T, F>, Arc<Made<T>>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    fn poll_inline(self: Box<Self>, clock: &mut Instant) {
        let (job, made) = *self;
        job.poll_inline(&made, clock);
    }

    fn spawn(self: Box<Self>) {
        let (job, _made) = *self;
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
        &self.made
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

/// A result that was made between two turns of the runtime, and is sent inside of one.
struct Made<T>(Mutex<Option<(T, oneshot::Sender<T>)>>);

impl<T> Made<T> {
    fn put(&self, value: T, sender: oneshot::Sender<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((value, sender));
    }
}

/// Sends a result, once it was made.
pub(crate) trait Deliver: Send + Sync {
    fn deliver(&self);
}

impl<T: Send> Deliver for Made<T> {
    fn deliver(&self) {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((value, sender)) = made {
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
