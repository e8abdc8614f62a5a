//! Inline calls: the thread that read the request polls the call once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use super::stream::{IncomingCall, Stream};
use crate::error::{Error, ErrorKind};
use crate::transport::io::{InlineCall, InlinePolicy, Waiter};

/// A call that is queued for its inline poll.
pub(crate) struct StreamCall(IncomingCall);

impl StreamCall {
    pub(super) fn new(call: IncomingCall) -> Self {
        Self(call)
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }
}

impl InlineCall for StreamCall {
    type Waiter = Arc<Stream>;

    fn waiter(&self) -> &Arc<Stream> {
        &self.0.stream
    }

    fn policy(&self) -> &Arc<InlinePolicy> {
        &self.0.method.policy
    }

    /// Polls the call once. A call that completes costs neither a task nor a wake-up; one that is
    /// pending moves to the user's runtime.
    fn poll(self, clock: &mut Instant) {
        let IncomingCall { stream, method, number, codec, message, .. } = self.0;
        if stream.is_closed() {
            return;
        }
        let _user = stream.backend.user.enter();
        let _polling = stream.begin_poll();
        let polled = AssertUnwindSafe(|| {
            let mut work = stream.backend.inbound.send(message);
            let poll = work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
            (work, poll)
        });
        // Panics of implementations and layers are caught where they run. If anything else panics,
        // the caller gets an error and the thread goes on.
        let polled = catch_unwind(polled);
        let started = std::mem::replace(clock, Instant::now());
        method.policy.record_inline(*clock - started);
        match polled {
            Ok((_, Poll::Ready(result))) => {
                stream.send_queue.reply(number, method.name.as_str(), codec, result)
            }
            Ok((work, Poll::Pending)) => {
                stream.resume(&method, number, codec, work);
                // Waking the runtime may have taken a while; do not charge it to the next call.
                *clock = Instant::now();
            }
            Err(_panic) => {
                let error = Error::new(ErrorKind::Panicked, &method.name, "its server");
                stream.send_queue.reply(number, method.name.as_str(), codec, Err(error));
            }
        }
    }

    fn spawn(self) {
        let stream = Arc::clone(&self.0.stream);
        stream.start(self.0);
    }
}

impl Waiter for Arc<Stream> {
    fn is(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }

    fn polled(&self, calls: usize) {
        self.end_inline(calls);
        self.wake();
    }

    fn overran(&self) {
        self.wake();
    }
}
