//! A call whose first poll happens on the thread that read its request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use super::stream::{IncomingCall, Known, Stream};
use crate::call::{BoxFuture, Call, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::transport::io::{InlineCall, InlinePolicy, Waiter};

/// A call that waits for its inline poll.
pub(crate) struct StreamCall {
    stream: Arc<Stream>,
    known: Arc<Known>,
    number: u64,
    codec: Codec,
    work: Work,
}

enum Work {
    Begun(BoxFuture<'static, Result<Reply, Error>>),
    /// Layers of the user's may block as well as implementations may: they are called where those are polled.
    Layered(Box<Call>),
}

impl StreamCall {
    pub(super) fn new(call: IncomingCall) -> Self {
        let IncomingCall { stream, known, number, codec, message, .. } = call;
        let inbound = &stream.serving.inbound;
        let work =
            if inbound.is_layered() { Work::Layered(Box::new(message)) } else { Work::Begun(inbound.send(message)) };
        Self { stream, known, number, codec, work }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl InlineCall for StreamCall {
    type Waiter = Arc<Stream>;

    fn waiter(&self) -> &Arc<Stream> {
        &self.stream
    }

    fn policy(&self) -> &Arc<InlinePolicy> {
        &self.known.policy
    }

    /// What is ready at once costs neither a task nor a wake-up; the user's runtime goes on with what is pending.
    fn poll(self, clock: &mut Instant) {
        let Self { stream, known, number, codec, work } = self;
        if stream.is_closed() {
            return;
        }
        let _user = stream.serving.user.enter();
        let _polling = stream.begin_poll();
        let first = AssertUnwindSafe(|| {
            let mut work = match work {
                Work::Begun(work) => work,
                Work::Layered(message) => stream.serving.inbound.send(*message),
            };
            let poll = work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
            (work, poll)
        });
        // Implementations are caught where they run; this is for a layer of the user's.
        let first = catch_unwind(first);
        let began = std::mem::replace(clock, Instant::now());
        known.policy.record_inline(*clock - began);
        match first {
            Ok((_, Poll::Ready(result))) => stream.send_queue.reply(number, known.name.as_str(), codec, result),
            Ok((work, Poll::Pending)) => {
                stream.go_on(&known, number, codec, work);
                // Waking the runtime may have taken a while; that is not the next call's.
                *clock = Instant::now();
            }
            Err(_panic) => {
                let error = Error::new(ErrorKind::Panicked, &known.name, "a layer of the server");
                stream.send_queue.reply(number, known.name.as_str(), codec, Err(error));
            }
        }
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
