//! State that the reader, the writer and the calls of one server stream share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::backend::{Backend, MethodEntry};
use super::large::LargeCall;
use super::send_queue::SendQueue;
use crate::call::{BoxFuture, Call, Reply};
use crate::codec::Codec;
use crate::context::Peer;
use crate::error::{Error, ErrorKind, Sent};

/// The most calls in flight on one stream; a call over that is refused as `Overloaded`.
pub(super) const MAX_IN_FLIGHT: usize = 4096;

/// The most calls of one stream that the user's runtime has not polled yet; further calls wait in
/// the backlog of the stream. Without this limit one stream's calls would run before those of all
/// others, and each could produce a large reply before the first is sent.
const MAX_UNPOLLED: usize = 32;

/// Backpressure: stop reading requests while the bodies in the backlog have this many bytes.
const MAX_BACKLOG_BYTES: usize = 4 << 20;

/// One stream of a client.
pub(crate) struct Stream {
    pub(super) backend: Backend,
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) send_queue: SendQueue,
    calls: Mutex<Calls>,
    /// Calls that are queued for their inline poll or are being polled; not those whose poll
    /// overran.
    inline: AtomicUsize,
    /// Inline polls in progress. One that overran runs concurrently with the next.
    polling: AtomicUsize,
    /// Whether `Calls::cancelled` may hold calls.
    has_cancelled: AtomicBool,
    /// Whether the client has gone.
    closed: AtomicBool,
    /// Completed calls that wait for room in the send queue.
    unsent_replies: AtomicUsize,
    /// Work of `#[no_cancel]` methods, which goes on after its call was cancelled; counts until it
    /// has ended.
    detached: AtomicUsize,
    /// Wakes the reader when calls have started.
    progress: Notify,
}

#[derive(Default)]
struct Calls {
    /// Calls that run in tasks of their own; `None` until the task has been spawned.
    running: HashMap<u64, Option<AbortHandle>>,
    /// Calls that were cancelled during inline polls, and may be among those being polled.
    cancelled: HashSet<u64>,
    /// Calls on the user's runtime that wait for their first poll; `backlog` holds the calls that
    /// wait to get there.
    unpolled: usize,
    backlog: VecDeque<IncomingCall>,
    backlog_bytes: usize,
    /// Whether a loop is already starting calls of the backlog. On a runtime that is shut down each
    /// call ends at once and would recurse into starting the next.
    is_starting: bool,
}

impl Calls {
    fn take_backlog(&mut self) -> Option<IncomingCall> {
        let call = self.backlog.pop_front()?;
        self.backlog_bytes -= call.size;
        Some(call)
    }
}

/// A call that was received and not started yet.
pub(super) struct IncomingCall {
    pub(super) stream: Arc<Stream>,
    pub(super) method: Arc<MethodEntry>,
    pub(super) number: u64,
    pub(super) codec: Codec,
    pub(super) message: Call,
    /// The length of the body, in bytes.
    pub(super) size: usize,
    /// The memory of a large request, until the call has ended.
    pub(super) large: Option<LargeCall>,
}

impl Stream {
    pub(super) fn new(backend: Backend, peer: Option<Peer>) -> Self {
        Self {
            backend,
            peer: peer.map(Arc::new),
            send_queue: SendQueue::default(),
            calls: Mutex::default(),
            inline: AtomicUsize::new(0),
            polling: AtomicUsize::new(0),
            has_cancelled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            unsent_replies: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            progress: Notify::new(),
        }
    }

    /// Wakes the stream's task to flush replies and read on.
    pub(super) fn wake(&self) {
        self.send_queue.notify();
        self.progress.notify_one();
    }

    /// Waits until the calls that are queued for an inline poll have been polled.
    pub(super) async fn inline_polled(&self) {
        while self.inline.load(Ordering::Acquire) > 0 {
            self.progress.notified().await;
        }
    }

    /// Returns whether more requests may be read: neither too many reply bytes nor too large a
    /// backlog.
    pub(super) fn has_room(&self) -> bool {
        self.send_queue.has_room() && self.calls().backlog_bytes < MAX_BACKLOG_BYTES
    }

    /// Waits until [`has_room`](Self::has_room) holds.
    pub(super) async fn wait_for_room(&self) {
        self.send_queue.wait_for_room().await;
        while self.calls().backlog_bytes >= MAX_BACKLOG_BYTES {
            self.progress.notified().await;
        }
    }

    /// Waits until a reply may be queued. No further call of the backlog starts meanwhile.
    async fn wait_for_reply_room(self: &Arc<Self>) {
        if !self.send_queue.has_room() {
            let _unsent = UnsentReply::new(self);
            self.send_queue.wait_for_room().await;
        }
    }

    /// Counts calls that are queued for their inline poll.
    pub(super) fn queue_inline(&self, calls: usize) {
        self.inline.fetch_add(calls, Ordering::Relaxed);
    }

    /// Uncounts calls whose inline poll has ended or overran.
    pub(super) fn end_inline(&self, calls: usize) {
        self.inline.fetch_sub(calls, Ordering::Release);
    }

    /// Returns how many calls are in flight, and whether `number` is one of those that run.
    pub(super) fn in_flight(&self, number: u64) -> (usize, bool) {
        let calls = self.calls();
        let attached =
            calls.running.len() + calls.backlog.len() + self.inline.load(Ordering::Relaxed);
        (attached.max(self.detached.load(Ordering::Relaxed)), calls.running.contains_key(&number))
    }

    /// Cancels a call whose caller has dropped it.
    pub(super) fn cancel(&self, number: u64) {
        let mut calls = self.calls();
        if let Some(at) = calls.backlog.iter().position(|call| call.number == number) {
            let dropped = calls.backlog.remove(at);
            calls.backlog_bytes -= dropped.as_ref().map_or(0, |call| call.size);
            return;
        }
        match calls.running.remove(&number) {
            Some(task) => {
                drop(calls);
                task.inspect(AbortHandle::abort);
            }
            None if self.polling.load(Ordering::Acquire) > 0
                && calls.cancelled.len() < MAX_IN_FLIGHT =>
            {
                calls.cancelled.insert(number);
                self.has_cancelled.store(true, Ordering::Release);
            }
            None => {}
        }
    }

    /// Counts an inline poll until the guard is dropped. A call that is cancelled meanwhile is not
    /// resumed after the poll.
    pub(super) fn begin_poll(&self) -> Polling<'_> {
        self.polling.fetch_add(1, Ordering::Relaxed);
        Polling(self)
    }

    /// Cancels all calls, because the client has gone.
    pub(super) fn close(&self) {
        let (running, _backlog) = {
            let mut calls = self.calls();
            self.closed.store(true, Ordering::Release);
            calls.backlog_bytes = 0;
            (std::mem::take(&mut calls.running), std::mem::take(&mut calls.backlog))
        };
        running.into_values().flatten().for_each(|task| task.abort());
    }

    /// Returns whether the client has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Starts a call on the user's runtime, once the calls before it have had their first poll.
    pub(super) fn start(self: &Arc<Self>, call: IncomingCall) {
        {
            let mut calls = self.calls();
            // An IO thread's queue may still deliver calls. After the end no task empties the
            // backlog, and a call in it would keep the stream alive.
            if self.is_closed() {
                return;
            }
            calls.backlog_bytes += call.size;
            calls.backlog.push_back(call);
        }
        self.start_backlog();
    }

    /// Starts calls of the backlog on the user's runtime, up to the limit of unpolled calls and
    /// while there is room for replies.
    pub(super) fn start_backlog(self: &Arc<Self>) {
        {
            let mut calls = self.calls();
            if calls.backlog.is_empty() || std::mem::replace(&mut calls.is_starting, true) {
                return;
            }
        }
        while let Some(call) = self.next_startable() {
            Self::spawn(call);
        }
    }

    fn next_startable(&self) -> Option<IncomingCall> {
        let mut calls = self.calls();
        // Check under the lock: a task that makes room while another starts calls relies on the
        // other to see it.
        let has_room =
            self.send_queue.has_room() && self.unsent_replies.load(Ordering::Acquire) == 0;
        let next =
            if calls.unpolled < MAX_UNPOLLED && has_room { calls.take_backlog() } else { None };
        calls.unpolled += usize::from(next.is_some());
        calls.is_starting = next.is_some();
        next
    }

    fn spawn(call: IncomingCall) {
        let IncomingCall { stream, method, number, codec, message, large, .. } = call;
        let unpolled = Unpolled(Arc::clone(&stream));
        let (inbound, policy) = (stream.backend.inbound.clone(), Arc::clone(&method.policy));
        stream.spawn_task(&method, number, codec, large, async move {
            let began = Instant::now();
            let mut work = inbound.send(message);
            let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            policy.record_spawned(began.elapsed());
            drop(unpolled);
            match first {
                Poll::Ready(result) => result,
                Poll::Pending => work.await,
            }
        });
    }

    /// Registers a call as running. Returns `false` if it was cancelled during its inline poll.
    fn register(&self, call: u64) -> bool {
        let mut calls = self.calls();
        let is_wanted = !calls.cancelled.remove(&call);
        if is_wanted {
            calls.running.insert(call, None);
        }
        is_wanted
    }

    /// Resumes a pending call on the user's runtime.
    pub(super) fn resume(
        self: &Arc<Self>,
        method: &Arc<MethodEntry>,
        number: u64,
        codec: Codec,
        work: BoxFuture<'static, Result<Reply, Error>>,
    ) {
        if !self.is_closed() {
            self.spawn_task(method, number, codec, None, work);
        }
    }

    fn spawn_task(
        self: &Arc<Self>,
        method: &Arc<MethodEntry>,
        call: u64,
        codec: Codec,
        large: Option<LargeCall>,
        work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
    ) {
        if !self.register(call) {
            return;
        }
        let (stream, method) = (Arc::clone(self), Arc::clone(method));
        let mut guard = ReplyGuard { stream, call, method, codec, replied: false, _large: large };
        // Not under the lock: on a runtime that is shut down, `spawn` drops the task before it
        // returns, and the drop sends the reply.
        let task = self.backend.user.spawn(async move {
            let result = work.await;
            guard.stream.wait_for_reply_room().await;
            guard.reply(result);
        });
        let mut calls = self.calls();
        match calls.running.get_mut(&call) {
            Some(running) if !self.is_closed() => *running = Some(task.abort_handle()),
            // The call was cancelled meanwhile, or has ended.
            _ => task.abort(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of an inline poll in progress.
pub(super) struct Polling<'a>(&'a Stream);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let is_last = self.0.polling.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && self.0.has_cancelled.load(Ordering::Acquire) {
            let mut calls = self.0.calls();
            // Another poll may have begun, and its call may have been cancelled.
            if self.0.polling.load(Ordering::Acquire) == 0 {
                calls.cancelled.clear();
                self.0.has_cancelled.store(false, Ordering::Release);
            }
        }
    }
}

/// Guard of the work of a `#[no_cancel]` method, until it has ended.
pub(super) struct Detached(Arc<Stream>);

impl Detached {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        stream.detached.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(stream))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.detached.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Guard of a call that waits for its first poll on the user's runtime.
struct Unpolled(Arc<Stream>);

impl Drop for Unpolled {
    fn drop(&mut self) {
        self.0.calls().unpolled -= 1;
        self.0.start_backlog();
        self.0.progress.notify_one();
    }
}

/// Guard of a completed call that waits for room in the send queue.
struct UnsentReply<'a>(&'a Arc<Stream>);

impl<'a> UnsentReply<'a> {
    fn new(stream: &'a Arc<Stream>) -> Self {
        stream.unsent_replies.fetch_add(1, Ordering::AcqRel);
        Self(stream)
    }
}

impl Drop for UnsentReply<'_> {
    fn drop(&mut self) {
        if self.0.unsent_replies.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.start_backlog();
        }
    }
}

/// A call that runs in a task of its own. If the task ends without a reply (for example because its
/// runtime is shut down), dropping this sends an error to the caller.
struct ReplyGuard {
    stream: Arc<Stream>,
    call: u64,
    method: Arc<MethodEntry>,
    codec: Codec,
    replied: bool,
    _large: Option<LargeCall>,
}

impl ReplyGuard {
    fn reply(&mut self, result: Result<Reply, Error>) {
        self.stream.calls().running.remove(&self.call);
        self.stream.send_queue.reply(self.call, self.method.name.as_str(), self.codec, result);
        self.replied = true;
        self.stream.send_queue.notify();
    }
}

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        if !self.replied {
            let message = "the work was cancelled";
            let error =
                Error::new(ErrorKind::Cancelled, &self.method.name, message).with_sent(Sent::Maybe);
            self.reply(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::call::Body;
    use crate::context::Context;
    use crate::name::Name;
    use crate::router::Router;
    use crate::routes::MemoryRoutes;
    use crate::transport::Exposure;
    use crate::transport::io::InlinePolicies;

    #[tokio::test]
    async fn a_call_that_comes_after_the_end_does_not_keep_its_stream() {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        let stream = Arc::new(Stream::new(Backend::new(router.inbound(Exposure::all())), None));
        let full = Reply::raw(vec![b'x'; 5 << 20]);
        stream.send_queue.reply(1, "late", Codec::Json, Ok(full));
        let (name, policy) = (Name::from_static("late"), InlinePolicies::default().of("late"));
        let shape = String::new();
        let method = Arc::new(MethodEntry {
            name: name.clone(),
            same_contract: true,
            shape,
            policy,
            no_cancel: false,
        });
        let message = Call::received(name, Body::Raw(Bytes::new()), Context::new());
        let call = IncomingCall {
            stream: Arc::clone(&stream),
            method,
            number: 2,
            codec: Codec::Json,
            message,
            size: 0,
            large: None,
        };
        stream.close();
        stream.start(call);
        let ended = Arc::downgrade(&stream);
        drop(stream);
        assert!(ended.upgrade().is_none(), "its backlog keeps it");
    }
}
