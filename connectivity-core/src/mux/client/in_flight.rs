//! Calls in flight on one connection: their number, their bytes, and whether a drain waits for them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The most calls in flight on one connection, and the most bytes of their bodies: the server may
/// read slowly.
const MAX_IN_FLIGHT: usize = 16 * 1024;
const MAX_BYTES: usize = 256 << 20;

/// The calls in flight on one connection.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    calls: AtomicUsize,
    /// Bytes of the bodies of calls in flight.
    bytes: AtomicUsize,
    /// Whether the server has asked for no more calls.
    draining: AtomicBool,
    /// Notifies the writer that it may have nothing left to do.
    maybe_done: Notify,
}

impl InFlight {
    /// Counts one more call, unless too many are in flight.
    pub(super) fn acquire(self: &Arc<Self>, bytes: usize) -> Option<InFlightPermit> {
        let permit = InFlightPermit { in_flight: Arc::clone(self), bytes };
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (calls < MAX_IN_FLIGHT && before < MAX_BYTES).then_some(permit)
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn start_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.maybe_done.notify_one();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Returns whether the connection can be closed without losing a call.
    pub(super) fn is_done(&self) -> bool {
        self.draining.load(Ordering::Acquire) && self.calls.load(Ordering::Acquire) == 0
    }

    /// Waits until [`is_done`](Self::is_done) may have changed.
    pub(super) async fn maybe_done(&self) {
        self.maybe_done.notified().await;
    }
}

/// Permit of a call in flight: from when the call is queued until it has its reply, or the writer
/// drops it.
pub(super) struct InFlightPermit {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl fmt::Debug for InFlightPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlightPermit")
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.in_flight.calls.fetch_sub(1, Ordering::AcqRel);
        if self.in_flight.is_done() {
            self.in_flight.maybe_done.notify_one();
        }
    }
}
