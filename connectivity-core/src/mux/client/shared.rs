//! State that the two tasks of a connection share with its callers, and the work that callers queue.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::in_flight::{InFlight, InFlightPermit};
use super::pending::Pending;
use super::request::{CallOutcome, Outgoing};
use crate::mux::frame::Role;

/// State that the tasks of a connection share with its callers.
pub(super) struct Shared {
    pub(super) pending: Pending,
    pub(super) in_flight: Arc<InFlight>,
    /// The last ping without a pong. A peer that pings without end gets one pong at a time.
    unanswered_ping: Mutex<Option<u64>>,
    /// On a stream for one call: whether its request has been written as a whole.
    pub(super) fully_written: AtomicBool,
    /// Counts reads, so that the writer can tell whether the server is alive.
    pub(super) reads: AtomicU64,
    /// Notifies tasks that wait for the first read, or for the end of the connection.
    pub(super) state_changed: Notify,
}

impl Shared {
    pub(super) fn new(role: Role) -> Self {
        Self {
            pending: Pending::default(),
            in_flight: Arc::default(),
            unanswered_ping: Mutex::default(),
            fully_written: AtomicBool::new(role == Role::Shared),
            reads: AtomicU64::new(0),
            state_changed: Notify::new(),
        }
    }

    pub(super) fn start_drain(&self) {
        self.in_flight.start_drain();
        self.state_changed.notify_waiters();
    }

    pub(super) fn close(&self, reason: &str) {
        self.pending.close(reason);
        self.state_changed.notify_waiters();
    }

    /// Returns the ping without a pong, locked.
    pub(super) fn unanswered_ping(&self) -> MutexGuard<'_, Option<u64>> {
        self.unanswered_ping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.in_flight.is_draining() && !self.pending.is_closed()
    }
}

/// Work for the writer.
pub(super) enum Work {
    Call {
        call: u64,
        outgoing: Outgoing,
        reply_tx: oneshot::Sender<CallOutcome>,
        permit: InFlightPermit,
    },
    /// Sends a ping.
    Ping,
    /// Cancels a call that its caller has dropped.
    Cancel(u64),
    /// Cancels a call that has ended on this side while its reply is still arriving.
    Stop(u64),
    /// Replies to the last ping.
    Pong,
}
