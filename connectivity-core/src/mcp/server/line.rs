//! What the transport of a session and whoever serves it share: how the session stands, and what is
//! in flight.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::RequestId;
use serde_json::Value;
use tokio::sync::watch;

use crate::mcp::protocol::message::{INVALID_REQUEST, OVERLOADED, refusal};
use crate::mcp::protocol::send_queue::SendObserver;

/// Requests of one session at once; what is over it is refused.
pub(super) const MAX_IN_FLIGHT: usize = 128;

/// Backpressure: no call of a session begins, and no request is read, while this many bytes of its
/// answers are unsent.
const MAX_UNSENT: usize = 4 << 20;

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Stage {
    /// Requests come in.
    Open,
    /// No more come; what is in flight may end.
    Ending,
    /// Nobody waits for an answer any more.
    Gone,
}

/// Why a session took no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its client has closed it, or it was asked to end.
    Closed,
    /// A message was longer than the limit.
    TooLong,
    /// The stream broke.
    Broken,
}

/// What the transport of a session and whoever serves it share.
#[derive(Debug)]
pub(super) struct Line {
    stage: watch::Sender<Stage>,
    /// Whether a request has come.
    begun: watch::Sender<bool>,
    end: Mutex<Option<End>>,
    in_flight: Mutex<HashMap<RequestId, Progress>>,
    idle: watch::Sender<usize>,
    /// Bytes of answers that have been made and have not left.
    unsent: watch::Sender<usize>,
}

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            begun: watch::Sender::new(false),
            end: Mutex::default(),
            in_flight: Mutex::default(),
            idle: watch::Sender::new(0),
            unsent: watch::Sender::new(0),
        })
    }

    /// Lets a session end, or ends it.
    pub(super) fn end(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = if stage > *now { stage } else { *now });
    }

    /// Waits until the session is at least at a stage.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender lives as long as this does.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    pub(super) fn why(&self) -> End {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(End::Closed)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes no more requests.
    pub(super) fn close(&self, end: End) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.end(if end == End::Broken { Stage::Gone } else { Stage::Ending });
    }

    pub(super) fn broken(&self, cause: &io::Error) {
        tracing::debug!(%cause, "a session's answers could not be written");
        self.close(End::Broken);
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<RequestId, Progress>) -> T) -> T {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut in_flight);
        self.idle.send_replace(in_flight.len());
        outcome
    }

    /// Counts a request, or says why it is refused.
    pub(super) fn admit(&self, id: &RequestId) -> Result<(), Value> {
        self.with(|in_flight| {
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
            in_flight.insert(id.clone(), Progress { made: 0, answered: false });
            self.begun.send_if_modified(|begun| !std::mem::replace(begun, true));
            Ok(())
        })
    }

    /// Waits for the first request.
    pub(super) async fn begun(&self) {
        // The sender lives as long as this does.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// The request has an answer, which counts until it leaves: answers that nobody reads must not
    /// pile up.
    pub(super) fn answers(&self, id: &RequestId) {
        self.with(|in_flight| in_flight.get_mut(id).map(|progress| progress.answered = true));
    }

    /// A request that still runs gets no answer any more.
    pub(super) fn cancelled(&self, id: &RequestId) {
        let runs = |progress: &Progress| !progress.answered;
        let ended = self.with(|in_flight| {
            in_flight.get(id).is_some_and(runs).then(|| in_flight.remove(id)).flatten()
        });
        self.sent(ended);
    }

    /// The answer of a request, for the outbox: the request is in flight until it leaves.
    pub(super) fn answer(self: &Arc<Self>, id: RequestId) -> Arc<dyn SendObserver> {
        Arc::new(PendingReply { id, line: Arc::clone(self) })
    }

    fn answered(&self, id: &RequestId) {
        let ended = self.with(|in_flight| in_flight.remove(id));
        self.sent(ended);
    }

    /// The answer of a request has been made, and is so long.
    pub(super) fn made(&self, id: &RequestId, bytes: usize) {
        self.with(|in_flight| {
            if let Some(progress) = in_flight.get_mut(id) {
                progress.made = bytes;
                self.unsent.send_modify(|unsent| *unsent += bytes);
            }
        });
    }

    fn sent(&self, ended: Option<Progress>) {
        let made = ended.map_or(0, |progress| progress.made);
        if made > 0 {
            self.unsent.send_modify(|unsent| *unsent = unsent.saturating_sub(made));
        }
    }

    /// Waits until there is room for more answers. Calls hold no lock meanwhile: one that blocks
    /// its thread must not keep the others of its session from beginning.
    pub(super) async fn room(&self) {
        // The sender lives as long as this does.
        let _ = self.unsent.subscribe().wait_for(|unsent| *unsent < MAX_UNSENT).await;
    }

    /// Waits until no request is in flight.
    pub(super) async fn is_idle(&self) {
        let _ = self.idle.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// How far a request in flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// Bytes of its answer, once that has been made.
    made: usize,
    answered: bool,
}

/// The answer of a request, on its way out.
struct PendingReply {
    id: RequestId,
    line: Arc<Line>,
}

impl SendObserver for PendingReply {
    fn on_sent(&self) -> bool {
        self.line.answered(&self.id);
        true
    }
}
