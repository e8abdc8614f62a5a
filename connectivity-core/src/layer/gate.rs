//! A counter of calls in flight with an optional limit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counter of calls in flight. It checks the limit before it counts, so a rejected call never takes
/// a permit from another one.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// Counts one more call and returns true, unless `limit` calls are in flight.
    pub(crate) fn enter(&self, limit: Option<usize>) -> bool {
        let Some(limit) = limit else {
            self.0.fetch_add(1, Ordering::AcqRel);
            return true;
        };
        let more = |busy| (busy < limit).then_some(busy + 1);
        self.0.try_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// Ends a call and returns how many are still in flight.
    pub(crate) fn leave(&self) -> usize {
        self.0.fetch_sub(1, Ordering::SeqCst) - 1
    }

    pub(crate) fn busy(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
