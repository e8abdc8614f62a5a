//! Calls that wait for their answer on one connection.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::connection::{CallOutcome, InFlightPermit};
use crate::fast_hash::FastHasher;
use crate::mux::frame::{Frame, Reply};

/// The calls of one connection whose requests may have left.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: Mutex<Calls>,
    /// Whether `Calls::closed` says why; asked before every call.
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<u64, Waiting, BuildHasherDefault<FastHasher>>,
    /// Why no more calls are taken.
    closed: Option<String>,
}

/// One call that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    answer: oneshot::Sender<CallOutcome>,
    max_reply: usize,
    _place: InFlightPermit,
    /// The parts so far of a reply that comes in parts.
    begun: Option<Box<(Reply, BytesMut)>>,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was for a call here, or for one that is gone.
    Yes,
    /// The call's reply is over its limit: tell the other side to stop.
    TooLarge,
}

impl Pending {
    /// Lets a call wait; gives the answer's place back if the connection is closed.
    pub(super) fn insert(
        &self,
        call: u64,
        max_reply: usize,
        answer: oneshot::Sender<CallOutcome>,
        place: InFlightPermit,
    ) -> Result<(), oneshot::Sender<CallOutcome>> {
        let mut calls = self.lock();
        if calls.closed.is_some() {
            return Err(answer);
        }
        calls.waiting.insert(call, Waiting { answer, max_reply, _place: place, begun: None });
        Ok(())
    }

    /// Forgets a call whose caller has gone; false if it was answered already.
    pub(super) fn forget(&self, call: u64) -> bool {
        self.lock().waiting.remove(&call).is_some()
    }

    /// Takes calls back whose requests did not leave. When what it returns is dropped, their
    /// callers hear that nothing was sent.
    pub(super) fn take_back(&self, calls: &[u64]) -> Vec<Waiting> {
        let mut waiting = self.lock();
        calls.iter().filter_map(|call| waiting.waiting.remove(call)).collect()
    }

    /// Hands an answer to whoever waits for it.
    pub(super) fn take(&self, frame: Frame) -> Taken {
        match frame {
            Frame::Reply(reply) if reply.more => self.begin(reply),
            Frame::Reply(reply) => self.finish(reply.call, |max| checked(reply, max)),
            Frame::Part { call, more, body } => self.part(call, more, &body),
            Frame::CallFailure(failure) => {
                self.finish(failure.call, |_| CallOutcome::CallFailure(failure))
            }
            _ => Taken::Yes,
        }
    }

    fn finish(&self, call: u64, outcome: impl FnOnce(usize) -> CallOutcome) -> Taken {
        // The lock is not held while the caller is woken.
        let waiting = self.lock().waiting.remove(&call);
        if let Some(waiting) = waiting {
            // Nobody listens any more when the caller has just gone.
            let _ = waiting.answer.send(outcome(waiting.max_reply));
        }
        Taken::Yes
    }

    fn begin(&self, mut reply: Reply) -> Taken {
        let mut calls = self.lock();
        if let Some(waiting) = calls.waiting.get_mut(&reply.call) {
            let body = BytesMut::from(&*std::mem::take(&mut reply.body));
            waiting.begun = Some(Box::new((reply, body)));
        }
        Taken::Yes
    }

    fn part(&self, call: u64, more: bool, part: &[u8]) -> Taken {
        let mut calls = self.lock();
        let Some(waiting) = calls.waiting.get_mut(&call) else { return Taken::Yes };
        let Some((_, body)) = waiting.begun.as_deref_mut() else { return Taken::Yes };
        body.extend_from_slice(part);
        let too_large = body.len() > waiting.max_reply;
        if more && !too_large {
            return Taken::Yes;
        }
        let Some(Waiting { answer, max_reply, begun: Some(begun), .. }) =
            calls.waiting.remove(&call)
        else {
            return Taken::Yes;
        };
        let (mut reply, body) = *begun;
        reply.body = body.freeze();
        let _ = answer.send(checked(reply, max_reply));
        if more { Taken::TooLarge } else { Taken::Yes }
    }

    /// Ends every call that waits, and takes no more.
    pub(super) fn close(&self, why: &str) {
        let mut calls = self.lock();
        if calls.closed.is_some() {
            return;
        }
        calls.closed = Some(why.to_owned());
        self.is_closed.store(true, Ordering::Release);
        for (_, waiting) in calls.waiting.drain() {
            let _ = waiting.answer.send(CallOutcome::Lost(why.to_owned()));
        }
    }

    pub(super) fn closed(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checked(reply: Reply, max_reply: usize) -> CallOutcome {
    let Reply { codec, app_error, body, .. } = reply;
    if body.len() > max_reply {
        CallOutcome::TooLarge
    } else {
        CallOutcome::Reply { codec, app_error, body }
    }
}
