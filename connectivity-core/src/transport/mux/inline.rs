//! A call whose first poll happens on the thread that read its request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use super::stream::{IncomingCall, Known, Stream};
use crate::error::{Error, ErrorKind};

/// A call that waits for its inline poll.
pub(super) struct InlineCall(IncomingCall);

impl InlineCall {
    pub(super) fn new(call: IncomingCall) -> Self {
        call.stream.queue_inline();
        Self(call)
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.0.stream
    }

    pub(super) fn known(&self) -> &Arc<Known> {
        &self.0.known
    }

    /// Polls the implementation once: what is ready at once costs neither a task nor a wake-up, and the user's runtime goes on with
    /// what is pending. Returns how long the poll took.
    pub(super) fn poll(self) -> (Arc<Stream>, Duration) {
        let (stream, began) = (Arc::clone(&self.0.stream), Instant::now());
        let user = stream.serving.user.clone();
        let _user = user.enter();
        poll(self.0);
        stream.end_inline();
        (stream, began.elapsed())
    }
}

fn poll(call: IncomingCall) {
    let IncomingCall { stream, known, number, codec, message, .. } = call;
    if !stream.is_wanted(number) {
        return;
    }
    let first = AssertUnwindSafe(|| {
        let mut work = stream.serving.inbound.send(message);
        let poll = work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
        (work, poll)
    });
    // Implementations are caught where they run; this is for a layer of the user's.
    match catch_unwind(first) {
        Ok((_, Poll::Ready(result))) => stream.send_queue.reply(number, known.name.as_str(), codec, result),
        Ok((work, Poll::Pending)) => stream.go_on(&known, number, codec, work),
        Err(_panic) => {
            let error = Error::new(ErrorKind::Panicked, &known.name, "a layer of the server");
            stream.send_queue.reply(number, known.name.as_str(), codec, Err(error));
        }
    }
}
