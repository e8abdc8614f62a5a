//! A call whose first poll happens on the thread that read its request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use super::stream::{IncomingCall, Stream};
use crate::error::{Error, ErrorKind};
use crate::transport::io::{InlineCall, InlinePolicy, Waiter};

/// A call that waits for its inline poll.
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
        &self.0.known.policy
    }

    /// What is ready at once costs neither a task nor a wake-up; the user's runtime goes on with
    /// what is pending.
    fn poll(self, clock: &mut Instant) {
        let IncomingCall { stream, known, number, codec, message, .. } = self.0;
        if stream.is_closed() {
            return;
        }
        let _user = stream.serving.user.enter();
        let _polling = stream.begin_poll();
        let first = AssertUnwindSafe(|| {
            let mut work = stream.serving.inbound.send(message);
            let poll = work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
            (work, poll)
        });
        // Implementations and layers are caught where they run. Were anything else to panic, its
        // caller is told and the thread goes on.
        let first = catch_unwind(first);
        let began = std::mem::replace(clock, Instant::now());
        known.policy.record_inline(*clock - began);
        match first {
            Ok((_, Poll::Ready(result))) => {
                stream.send_queue.reply(number, known.name.as_str(), codec, result)
            }
            Ok((work, Poll::Pending)) => {
                stream.go_on(&known, number, codec, work);
                // Waking the runtime may have taken a while; that is not the next call's.
                *clock = Instant::now();
            }
            Err(_panic) => {
                let error = Error::new(ErrorKind::Panicked, &known.name, "its server");
                stream.send_queue.reply(number, known.name.as_str(), codec, Err(error));
            }
        }
    }

    fn spawn(self) {
        let stream = Arc::clone(&self.0.stream);
        stream.begin(self.0);
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
