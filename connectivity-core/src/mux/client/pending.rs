//! The calls of one connection that wait for their replies.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::in_flight::InFlightPermit;
use super::request::CallOutcome;
use crate::fast_hash::FastHasher;
use crate::mux::frame::{Frame, Reply};

/// The calls of one connection whose requests may have been sent.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: Mutex<Calls>,
    /// Whether `Calls::closed` is set; read before every call.
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<u64, Waiting, BuildHasherDefault<FastHasher>>,
    /// Why the connection accepts no more calls.
    closed: Option<String>,
}

/// A call that waits for its reply.
#[derive(Debug)]
pub(super) struct Waiting {
    reply_tx: oneshot::Sender<CallOutcome>,
    max_reply: usize,
    _permit: InFlightPermit,
    /// The parts received so far of a reply that comes in parts.
    partial: Option<Box<(Reply, BytesMut)>>,
}

/// The outcome of a received frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The frame belonged to a call that waits, or to one that is gone.
    Done,
    /// The call's reply exceeds its limit: the server should stop sending it.
    TooLarge,
}

impl Pending {
    /// Registers a call; returns the sender of its outcome if the connection is closed.
    pub(super) fn insert(
        &self,
        call: u64,
        max_reply: usize,
        reply_tx: oneshot::Sender<CallOutcome>,
        permit: InFlightPermit,
    ) -> Result<(), oneshot::Sender<CallOutcome>> {
        let mut calls = self.lock();
        if calls.closed.is_some() {
            return Err(reply_tx);
        }
        calls.waiting.insert(call, Waiting { reply_tx, max_reply, _permit: permit, partial: None });
        Ok(())
    }

    /// Removes a call whose caller has dropped it. Returns `false` if it already has its reply.
    pub(super) fn remove(&self, call: u64) -> bool {
        self.lock().waiting.remove(&call).is_some()
    }

    /// Removes calls whose requests were not sent. Dropping the returned entries tells their
    /// callers that nothing was sent.
    pub(super) fn take_unsent(&self, calls: &[u64]) -> Vec<Waiting> {
        let mut waiting = self.lock();
        calls.iter().filter_map(|call| waiting.waiting.remove(call)).collect()
    }

    /// Delivers a reply to the call that waits for it.
    pub(super) fn deliver(&self, frame: Frame) -> Delivery {
        match frame {
            Frame::Reply(reply) if reply.more => self.begin_parts(reply),
            Frame::Reply(reply) => self.finish(reply.call, |max| check_size(reply, max)),
            Frame::Part { call, more, body } => self.part(call, more, &body),
            Frame::CallFailure(failure) => {
                self.finish(failure.call, |_| CallOutcome::CallFailure(failure))
            }
            _ => Delivery::Done,
        }
    }

    fn finish(&self, call: u64, outcome: impl FnOnce(usize) -> CallOutcome) -> Delivery {
        // Release the lock before the caller is woken.
        let waiting = self.lock().waiting.remove(&call);
        if let Some(waiting) = waiting {
            // The receiver is gone if the caller has just dropped the call.
            let _ = waiting.reply_tx.send(outcome(waiting.max_reply));
        }
        Delivery::Done
    }

    fn begin_parts(&self, mut reply: Reply) -> Delivery {
        let mut calls = self.lock();
        if let Some(waiting) = calls.waiting.get_mut(&reply.call) {
            let body = BytesMut::from(&*std::mem::take(&mut reply.body));
            waiting.partial = Some(Box::new((reply, body)));
        }
        Delivery::Done
    }

    fn part(&self, call: u64, more: bool, part: &[u8]) -> Delivery {
        let mut calls = self.lock();
        let Some(waiting) = calls.waiting.get_mut(&call) else { return Delivery::Done };
        let Some((_, body)) = waiting.partial.as_deref_mut() else { return Delivery::Done };
        body.extend_from_slice(part);
        let too_large = body.len() > waiting.max_reply;
        if more && !too_large {
            return Delivery::Done;
        }
        let Some(Waiting { reply_tx, max_reply, partial: Some(partial), .. }) =
            calls.waiting.remove(&call)
        else {
            return Delivery::Done;
        };
        let (mut reply, body) = *partial;
        reply.body = body.freeze();
        let _ = reply_tx.send(check_size(reply, max_reply));
        if more { Delivery::TooLarge } else { Delivery::Done }
    }

    /// Ends every waiting call, and accepts no more.
    pub(super) fn close(&self, reason: &str) {
        let mut calls = self.lock();
        if calls.closed.is_some() {
            return;
        }
        calls.closed = Some(reason.to_owned());
        self.is_closed.store(true, Ordering::Release);
        for (_, waiting) in calls.waiting.drain() {
            let _ = waiting.reply_tx.send(CallOutcome::Lost(reason.to_owned()));
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

fn check_size(reply: Reply, max_reply: usize) -> CallOutcome {
    let Reply { codec, app_error, body, .. } = reply;
    if body.len() > max_reply {
        CallOutcome::TooLarge
    } else {
        CallOutcome::Reply { codec, app_error, body }
    }
}
