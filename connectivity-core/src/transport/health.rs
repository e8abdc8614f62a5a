//! The connection state of a route, for `inspect`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::transport::TransportState;

/// The connection state that a transport reports. Recording a success while the state is healthy
/// costs one atomic load.
#[derive(Debug)]
pub(crate) struct Health {
    healthy: AtomicBool,
    state: Mutex<TransportState>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { healthy: AtomicBool::new(false), state: Mutex::new(TransportState::Idle) }
    }

    pub(crate) fn state(&self) -> TransportState {
        self.lock().clone()
    }

    /// Returns whether the last attempt reached the peer.
    #[cfg(feature = "wire")]
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Records that a dial has started. A recorded failure is kept until the outcome is known.
    #[cfg(feature = "wire")]
    pub(crate) fn connecting(&self) {
        let mut state = self.lock();
        if !matches!(*state, TransportState::Failed { .. }) {
            *state = TransportState::Connecting;
            self.healthy.store(false, Ordering::Relaxed);
        }
    }

    /// Records that the peer was reached.
    pub(crate) fn reached(&self) {
        if !self.healthy.load(Ordering::Relaxed) {
            *self.lock() = TransportState::Connected;
            self.healthy.store(true, Ordering::Relaxed);
        }
    }

    /// Records that the peer was not reached. A series of failures keeps the time of the first.
    pub(crate) fn failed(&self, cause: String) {
        let mut state = self.lock();
        let since = match &*state {
            TransportState::Failed { since, .. } => *since,
            _ => SystemTime::now(),
        };
        *state = TransportState::Failed { why: cause, since };
        self.healthy.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, TransportState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
