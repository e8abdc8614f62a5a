//! The slot of one connection among those of its listener.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::transport::connection_slots::{ConnectionSlot, Opening};
use crate::transport::{ConnectionSlots, Origin};

/// A connection's slot. While no request of the connection runs, a newer connection may take it.
#[derive(Debug)]
pub(super) struct Seat {
    connection_slots: ConnectionSlots,
    origin: Origin,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle(Opening),
    /// The number of running requests, and their slot. The next request may begin just before the
    /// last one's response is dropped.
    Busy(usize, ConnectionSlot),
    /// A newer connection has taken the slot, or this connection was refused one.
    Lost,
}

impl Seat {
    pub(super) fn new(connection_slots: ConnectionSlots, origin: Origin) -> Arc<Self> {
        let state = Mutex::new(State::Idle(connection_slots.open(origin.clone())));
        Arc::new(Self { connection_slots, origin, state })
    }

    /// Begins a request. Returns `None` if the connection has no slot for it.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Lost) {
            State::Idle(opening) => self.establish(opening),
            State::Busy(requests, slot) => State::Busy(requests + 1, slot),
            State::Lost => State::Lost,
        };
        matches!(*state, State::Busy(..)).then(|| Busy(Arc::clone(self)))
    }

    fn establish(&self, mut opening: Opening) -> State {
        if opening.is_evicted() {
            return State::Lost;
        }
        opening.establish(self.origin.clone()).map_or(State::Lost, |slot| State::Busy(1, slot))
    }

    /// Completes when a newer connection takes the slot while no request runs.
    pub(super) fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.state() {
            State::Idle(opening) => opening.poll_evicted(cx),
            // The connection's task polls again when its request has ended.
            State::Busy(..) | State::Lost => Poll::Pending,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running request, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = match std::mem::replace(&mut *state, State::Lost) {
            State::Busy(1, slot) => {
                drop(slot);
                State::Idle(self.0.connection_slots.open(self.0.origin.clone()))
            }
            State::Busy(requests, slot) => State::Busy(requests - 1, slot),
            other => other,
        };
    }
}
