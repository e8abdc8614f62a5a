//! State that the transport and the handler of a session share: its stage and its requests in
//! flight.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::RequestId;
use serde_json::Value;
use tokio::sync::watch;

use crate::mcp::protocol::message::{INVALID_REQUEST, OVERLOADED, refusal};
use crate::mcp::protocol::send_queue::SendObserver;

/// Requests of one session in flight; further requests are refused.
pub(super) const MAX_IN_FLIGHT: usize = 128;

/// Backpressure: no call of a session starts, and no request is read, while this many reply bytes
/// are unsent.
const MAX_UNSENT: usize = 4 << 20;

/// Stage of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Stage {
    /// Accepts requests.
    Open,
    /// Accepts no more requests; those in flight may finish.
    Ending,
    /// No client waits for replies any more.
    Gone,
}

/// Reason why a session stopped accepting requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it, or the server ended it.
    Closed,
    /// A message was longer than the limit.
    TooLong,
    /// The stream broke.
    Broken,
}

/// State that the transport and the handler of a session share.
#[derive(Debug)]
pub(super) struct Line {
    stage: watch::Sender<Stage>,
    /// Whether a request has been received.
    begun: watch::Sender<bool>,
    end_reason: Mutex<Option<End>>,
    in_flight: Mutex<HashMap<RequestId, Progress>>,
    in_flight_count: watch::Sender<usize>,
    /// Bytes of replies that are ready but not sent.
    unsent_bytes: watch::Sender<usize>,
}

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            begun: watch::Sender::new(false),
            end_reason: Mutex::default(),
            in_flight: Mutex::default(),
            in_flight_count: watch::Sender::new(0),
            unsent_bytes: watch::Sender::new(0),
        })
    }

    /// Advances the session to a stage; it never goes back.
    pub(super) fn advance(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = if stage > *now { stage } else { *now });
    }

    /// Waits until the session has reached a stage.
    pub(super) async fn wait_stage(&self, stage: Stage) {
        // Cannot fail: `self` holds the sender.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    pub(super) fn end_reason(&self) -> End {
        self.end_reason.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(End::Closed)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end_reason.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Stops accepting requests. The first reason is kept.
    pub(super) fn close(&self, end: End) {
        self.end_reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.advance(if end == End::Broken { Stage::Gone } else { Stage::Ending });
    }

    pub(super) fn close_broken(&self, cause: &io::Error) {
        tracing::debug!(%cause, "a session's answers could not be written");
        self.close(End::Broken);
    }

    fn update<T>(&self, change: impl FnOnce(&mut HashMap<RequestId, Progress>) -> T) -> T {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut in_flight);
        self.in_flight_count.send_replace(in_flight.len());
        outcome
    }

    /// Admits a request, or returns the response that refuses it.
    pub(super) fn admit(&self, id: &RequestId) -> Result<(), Value> {
        self.update(|in_flight| {
            if in_flight.contains_key(id) {
                return Err(refusal(
                    Some(id),
                    INVALID_REQUEST,
                    "a request of this id is in flight",
                ));
            }
            if in_flight.len() >= MAX_IN_FLIGHT {
                return Err(refusal(
                    Some(id),
                    OVERLOADED,
                    "too many requests of this session are in flight",
                ));
            }
            in_flight.insert(id.clone(), Progress { reply_bytes: 0, replied: false });
            self.begun.send_if_modified(|begun| !std::mem::replace(begun, true));
            Ok(())
        })
    }

    /// Waits for the first request.
    pub(super) async fn begun(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// Marks a request as replied. It stays in flight until its reply is sent: unread replies must
    /// not pile up.
    pub(super) fn mark_replied(&self, id: &RequestId) {
        self.update(|in_flight| in_flight.get_mut(id).map(|progress| progress.replied = true));
    }

    /// Removes a request that still runs; it gets no reply.
    pub(super) fn cancel(&self, id: &RequestId) {
        let runs = |progress: &Progress| !progress.replied;
        let removed = self.update(|in_flight| {
            in_flight.get(id).is_some_and(runs).then(|| in_flight.remove(id)).flatten()
        });
        self.release(removed);
    }

    /// Returns the observer of a reply in the send queue: its request stays in flight until the
    /// reply starts to be sent.
    pub(super) fn pending_reply(self: &Arc<Self>, id: RequestId) -> Arc<dyn SendObserver> {
        Arc::new(PendingReply { id, line: Arc::clone(self) })
    }

    fn reply_sent(&self, id: &RequestId) {
        let removed = self.update(|in_flight| in_flight.remove(id));
        self.release(removed);
    }

    /// Records the size of a reply that is ready.
    pub(super) fn reply_ready(&self, id: &RequestId, bytes: usize) {
        self.update(|in_flight| {
            if let Some(progress) = in_flight.get_mut(id) {
                progress.reply_bytes = bytes;
                self.unsent_bytes.send_modify(|unsent_bytes| *unsent_bytes += bytes);
            }
        });
    }

    fn release(&self, removed: Option<Progress>) {
        let reply_bytes = removed.map_or(0, |progress| progress.reply_bytes);
        if reply_bytes > 0 {
            self.unsent_bytes.send_modify(|unsent_bytes| {
                *unsent_bytes = unsent_bytes.saturating_sub(reply_bytes)
            });
        }
    }

    /// Waits until the unsent replies are under the limit. Calls hold no lock meanwhile: a call
    /// that blocks its thread must not keep others of its session from starting.
    pub(super) async fn wait_capacity(&self) {
        // Cannot fail: `self` holds the sender.
        let _ =
            self.unsent_bytes.subscribe().wait_for(|unsent_bytes| *unsent_bytes < MAX_UNSENT).await;
    }

    /// Waits until no request is in flight.
    pub(super) async fn wait_idle(&self) {
        let _ = self.in_flight_count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Progress of a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// Bytes of its reply, once that is ready.
    reply_bytes: usize,
    replied: bool,
}

/// Reply of a request in the send queue.
struct PendingReply {
    id: RequestId,
    line: Arc<Line>,
}

impl SendObserver for PendingReply {
    fn on_sent(&self) -> bool {
        self.line.reply_sent(&self.id);
        true
    }
}
