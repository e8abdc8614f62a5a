//! How the connection of a route stands, for `inspect`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::transport::TransportState;

/// The state that a transport reports. Noting a success while all is well costs one load.
#[derive(Debug)]
pub(crate) struct Health {
    well: AtomicBool,
    state: Mutex<TransportState>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { well: AtomicBool::new(false), state: Mutex::new(TransportState::Idle) }
    }

    pub(crate) fn state(&self) -> TransportState {
        self.lock().clone()
    }

    /// Says whether the last attempt reached the other side.
    #[cfg(feature = "wire")]
    pub(crate) fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// The other side is being dialled; a failure that stands is kept until the outcome is known.
    #[cfg(feature = "wire")]
    pub(crate) fn connecting(&self) {
        let mut state = self.lock();
        if !matches!(*state, TransportState::Failed { .. }) {
            *state = TransportState::Connecting;
            self.well.store(false, Ordering::Relaxed);
        }
    }

    /// The other side was reached.
    pub(crate) fn reached(&self) {
        if !self.well.load(Ordering::Relaxed) {
            *self.lock() = TransportState::Connected;
            self.well.store(true, Ordering::Relaxed);
        }
    }

    /// The other side was not reached; an unbroken series of failures keeps the time of the first.
    pub(crate) fn failed(&self, why: String) {
        let mut state = self.lock();
        let since = match &*state {
            TransportState::Failed { since, .. } => *since,
            _ => SystemTime::now(),
        };
        *state = TransportState::Failed { why, since };
        self.well.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, TransportState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
