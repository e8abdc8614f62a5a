//! Counts calls in flight, up to a limit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts calls in flight. It checks before it counts, so a call that is refused keeps no other one
/// out.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// Counts one more call, unless there are `limit` already.
    pub(crate) fn enter(&self, limit: Option<usize>) -> bool {
        let Some(limit) = limit else {
            self.0.fetch_add(1, Ordering::AcqRel);
            return true;
        };
        let more = |busy| (busy < limit).then_some(busy + 1);
        self.0.try_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// Ends a call; returns how many are left.
    pub(crate) fn leave(&self) -> usize {
        self.0.fetch_sub(1, Ordering::SeqCst) - 1
    }

    pub(crate) fn busy(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
