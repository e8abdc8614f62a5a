//! What the reader, the writer and the calls of one stream of a server share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::large::LargeCall;
use super::send_queue::SendQueue;
use super::serving::Serving;
use crate::call::{BoxFuture, Call, Reply};
use crate::codec::Codec;
use crate::context::Peer;
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;
use crate::transport::io::InlinePolicy;

/// Calls in flight on one stream; a call over that is refused as `Overloaded`.
pub(super) const MAX_IN_FLIGHT: usize = 4096;

/// Calls that the user's runtime has not polled yet; further ones wait in the backlog of their
/// stream. Otherwise one stream's calls would stand before all others', and each could make a large
/// reply before the first is sent.
const MAX_UNPOLLED: usize = 32;

/// While bodies of this many bytes wait in the backlog, no more requests are read.
const FULL_BACKLOG: usize = 4 << 20;

/// One stream of a client.
pub(crate) struct Stream {
    pub(super) serving: Serving,
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) send_queue: SendQueue,
    calls: Mutex<Calls>,
    /// Calls that wait for their inline poll, or are polled; not those whose poll overran.
    inline: AtomicUsize,
    /// Inline polls that run; those that overran run beside the next.
    polling: AtomicUsize,
    /// Whether calls were cancelled that may be polled.
    cancels: AtomicBool,
    /// The client has gone.
    closed: AtomicBool,
    /// Calls that have ended and wait for room in the send queue.
    unsent: AtomicUsize,
    /// Work that goes on when its call was cancelled: it counts until it has ended.
    detached: AtomicUsize,
    /// Wakes the reader when calls have begun.
    progress: Notify,
}

#[derive(Default)]
struct Calls {
    /// Calls that run in tasks of their own; without a handle until their task has been started.
    running: HashMap<u64, Option<AbortHandle>>,
    /// Calls that were cancelled while polls ran, and may be what is polled.
    cancelled: HashSet<u64>,
    /// Calls on the user's runtime that wait for their first poll, and those that wait to get
    /// there.
    unpolled: usize,
    backlog: VecDeque<IncomingCall>,
    backlog_bytes: usize,
    /// Calls are taken from the backlog: on a runtime that is shut down each would end at once, and
    /// take the next.
    begins: bool,
}

impl Calls {
    fn take_backlog(&mut self) -> Option<IncomingCall> {
        let call = self.backlog.pop_front()?;
        self.backlog_bytes -= call.size;
        Some(call)
    }
}

/// What a method number of this stream stands for.
pub(super) struct MethodEntry {
    pub(super) name: Name,
    /// Whether arguments in a positional codec mean the same here.
    pub(super) same_contract: bool,
    /// The shape here, in words, for a caller whose contract differs.
    pub(super) shape: String,
    pub(super) policy: Arc<InlinePolicy>,
    /// Whether its work goes on when nobody waits for it.
    pub(super) no_cancel: bool,
}

/// A call that was read and has not begun.
pub(super) struct IncomingCall {
    pub(super) stream: Arc<Stream>,
    pub(super) known: Arc<MethodEntry>,
    pub(super) number: u64,
    pub(super) codec: Codec,
    pub(super) message: Call,
    /// Bytes of the body.
    pub(super) size: usize,
    /// The memory of a large request, until the call has ended.
    pub(super) large: Option<LargeCall>,
}

impl Stream {
    pub(super) fn new(serving: Serving, peer: Option<Peer>) -> Self {
        Self {
            serving,
            peer: peer.map(Arc::new),
            send_queue: SendQueue::default(),
            calls: Mutex::default(),
            inline: AtomicUsize::new(0),
            polling: AtomicUsize::new(0),
            cancels: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            unsent: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            progress: Notify::new(),
        }
    }

    /// Lets the task of the stream flush replies and read on.
    pub(super) fn wake(&self) {
        self.send_queue.notify();
        self.progress.notify_one();
    }

    /// Waits until the calls that were queued for their inline poll have had it.
    pub(super) async fn inline_polled(&self) {
        while self.inline.load(Ordering::Acquire) > 0 {
            self.progress.notified().await;
        }
    }

    /// Returns whether more requests may be read: neither too many replies nor too many calls wait.
    pub(super) fn has_room(&self) -> bool {
        self.send_queue.has_room() && self.calls().backlog_bytes < FULL_BACKLOG
    }

    /// Waits for what [`has_room`](Self::has_room) asks.
    pub(super) async fn room(&self) {
        self.send_queue.room().await;
        while self.calls().backlog_bytes >= FULL_BACKLOG {
            self.progress.notified().await;
        }
    }

    /// Waits until a reply may be queued. No further call of the backlog begins meanwhile.
    async fn room_for_reply(self: &Arc<Self>) {
        if !self.send_queue.has_room() {
            let _unsent = UnsentReply::new(self);
            self.send_queue.room().await;
        }
    }

    /// Counts calls that are queued for their inline poll.
    pub(super) fn queue_inline(&self, calls: usize) {
        self.inline.fetch_add(calls, Ordering::Relaxed);
    }

    /// Counts calls that have had their inline poll, or that overran.
    pub(super) fn end_inline(&self, calls: usize) {
        self.inline.fetch_sub(calls, Ordering::Release);
    }

    /// Returns how many calls are in flight, and whether this number is among those that run.
    pub(super) fn in_flight(&self, number: u64) -> (usize, bool) {
        let calls = self.calls();
        let attached =
            calls.running.len() + calls.backlog.len() + self.inline.load(Ordering::Relaxed);
        (attached.max(self.detached.load(Ordering::Relaxed)), calls.running.contains_key(&number))
    }

    /// Ends a call whose caller has gone.
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
                self.cancels.store(true, Ordering::Release);
            }
            None => {}
        }
    }

    /// Counts an inline poll for as long as it runs. What is cancelled meanwhile does not go on
    /// after it.
    pub(super) fn begin_poll(&self) -> Polling<'_> {
        self.polling.fetch_add(1, Ordering::Relaxed);
        Polling(self)
    }

    /// Ends all calls: the client has gone.
    pub(super) fn close(&self) {
        let (running, _backlog) = {
            let mut calls = self.calls();
            self.closed.store(true, Ordering::Release);
            calls.backlog_bytes = 0;
            (std::mem::take(&mut calls.running), std::mem::take(&mut calls.backlog))
        };
        running.into_values().flatten().for_each(|task| task.abort());
    }

    /// Returns whether the client has gone, and nobody waits for calls any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Begins a call on the user's runtime, once those before it have had their first poll.
    pub(super) fn begin(self: &Arc<Self>, call: IncomingCall) {
        {
            let mut calls = self.calls();
            // Calls may still come out of the queue of an IO thread. Nobody empties the backlog by
            // then, and it holds the stream.
            if self.is_closed() {
                return;
            }
            calls.backlog_bytes += call.size;
            calls.backlog.push_back(call);
        }
        self.begin_backlog();
    }

    /// Begins calls of the backlog on the user's runtime, as many as may wait there, while there is
    /// room for their replies.
    pub(super) fn begin_backlog(self: &Arc<Self>) {
        {
            let mut calls = self.calls();
            if calls.backlog.is_empty() || std::mem::replace(&mut calls.begins, true) {
                return;
            }
        }
        while let Some(call) = self.next_of_backlog() {
            Self::spawn(call);
        }
    }

    fn next_of_backlog(&self) -> Option<IncomingCall> {
        let mut calls = self.calls();
        // Under the lock: whoever makes room and finds that somebody begins calls already relies on
        // that one to see it.
        let has_room = self.send_queue.has_room() && self.unsent.load(Ordering::Acquire) == 0;
        let next =
            if calls.unpolled < MAX_UNPOLLED && has_room { calls.take_backlog() } else { None };
        calls.unpolled += usize::from(next.is_some());
        calls.begins = next.is_some();
        next
    }

    fn spawn(call: IncomingCall) {
        let IncomingCall { stream, known, number, codec, message, large, .. } = call;
        let unpolled = Unpolled(Arc::clone(&stream));
        let (inbound, policy) = (stream.serving.inbound.clone(), Arc::clone(&known.policy));
        stream.spawn_task(&known, number, codec, large, async move {
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

    /// Notes that a call runs, unless it was cancelled during its inline poll.
    fn runs(&self, call: u64) -> bool {
        let mut calls = self.calls();
        let goes_on = !calls.cancelled.remove(&call);
        if goes_on {
            calls.running.insert(call, None);
        }
        goes_on
    }

    /// Lets the user's runtime go on with a call that is pending.
    pub(super) fn go_on(
        self: &Arc<Self>,
        known: &Arc<MethodEntry>,
        number: u64,
        codec: Codec,
        work: BoxFuture<'static, Result<Reply, Error>>,
    ) {
        if !self.is_closed() {
            self.spawn_task(known, number, codec, None, work);
        }
    }

    fn spawn_task(
        self: &Arc<Self>,
        known: &Arc<MethodEntry>,
        call: u64,
        codec: Codec,
        large: Option<LargeCall>,
        work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
    ) {
        if !self.runs(call) {
            return;
        }
        let (stream, known) = (Arc::clone(self), Arc::clone(known));
        let mut unanswered =
            Unanswered { stream, call, known, codec, answered: false, _large: large };
        // Not under the lock: on a runtime that is shut down the task is dropped, and answers,
        // before this returns.
        let task = self.serving.user.spawn(async move {
            let result = work.await;
            unanswered.stream.room_for_reply().await;
            unanswered.answer(result);
        });
        let mut calls = self.calls();
        match calls.running.get_mut(&call) {
            Some(running) if !self.is_closed() => *running = Some(task.abort_handle()),
            // Cancelled since, or over.
            _ => task.abort(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inline poll that runs.
pub(super) struct Polling<'a>(&'a Stream);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let is_last = self.0.polling.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && self.0.cancels.load(Ordering::Acquire) {
            let mut calls = self.0.calls();
            // Another may have begun, and its call have been cancelled.
            if self.0.polling.load(Ordering::Acquire) == 0 {
                calls.cancelled.clear();
                self.0.cancels.store(false, Ordering::Release);
            }
        }
    }
}

/// Work of a `#[no_cancel]` method, until it has ended.
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

/// A call that waits for its first poll on the user's runtime.
struct Unpolled(Arc<Stream>);

impl Drop for Unpolled {
    fn drop(&mut self) {
        self.0.calls().unpolled -= 1;
        self.0.begin_backlog();
        self.0.progress.notify_one();
    }
}

/// A call that has ended and waits for room in the send queue.
struct UnsentReply<'a>(&'a Arc<Stream>);

impl<'a> UnsentReply<'a> {
    fn new(stream: &'a Arc<Stream>) -> Self {
        stream.unsent.fetch_add(1, Ordering::AcqRel);
        Self(stream)
    }
}

impl Drop for UnsentReply<'_> {
    fn drop(&mut self) {
        if self.0.unsent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.begin_backlog();
        }
    }
}

/// A call that runs in a task of its own. If the task ends without an answer (its runtime is shut
/// down, say), the caller is told.
struct Unanswered {
    stream: Arc<Stream>,
    call: u64,
    known: Arc<MethodEntry>,
    codec: Codec,
    answered: bool,
    _large: Option<LargeCall>,
}

impl Unanswered {
    fn answer(&mut self, result: Result<Reply, Error>) {
        self.stream.calls().running.remove(&self.call);
        self.stream.send_queue.reply(self.call, self.known.name.as_str(), self.codec, result);
        self.answered = true;
        self.stream.send_queue.notify();
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            let message = "the work was cancelled";
            let error =
                Error::new(ErrorKind::Cancelled, &self.known.name, message).with_sent(Sent::Maybe);
            self.answer(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::call::Body;
    use crate::context::Context;
    use crate::router::Router;
    use crate::routes::MemoryRoutes;
    use crate::transport::Exposure;
    use crate::transport::io::InlinePolicies;

    #[tokio::test]
    async fn a_call_that_comes_after_the_end_does_not_keep_its_stream() {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        let stream = Arc::new(Stream::new(Serving::new(router.inbound(Exposure::all())), None));
        let full = Reply::raw(vec![b'x'; 5 << 20]);
        stream.send_queue.reply(1, "late", Codec::Json, Ok(full));
        let (name, policy) = (Name::from_static("late"), InlinePolicies::default().of("late"));
        let shape = String::new();
        let known = Arc::new(MethodEntry {
            name: name.clone(),
            same_contract: true,
            shape,
            policy,
            no_cancel: false,
        });
        let message = Call::received(name, Body::Raw(Bytes::new()), Context::new());
        let call = IncomingCall {
            stream: Arc::clone(&stream),
            known,
            number: 2,
            codec: Codec::Json,
            message,
            size: 0,
            large: None,
        };
        stream.close();
        stream.begin(call);
        let ended = Arc::downgrade(&stream);
        drop(stream);
        assert!(ended.upgrade().is_none(), "its backlog keeps it");
    }
}
