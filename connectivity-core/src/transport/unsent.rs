//! Process-wide limit on unsent bytes, over all connections of all listeners.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Backpressure: while the process has this many unsent bytes, only connections with few unsent
/// bytes of their own continue, whose clients read their replies.
const PROCESS_LIMIT: usize = 256 << 20;

/// Unsent bytes that a connection may always have.
const CONNECTION_ALLOWANCE: usize = 64 * 1024;

/// Granularity of a connection's count, so that small replies do not touch the counter that all
/// threads share.
const STEP: usize = 64 * 1024;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// The unsent bytes of one connection. They count toward those of the process until this is
/// dropped.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    counted: usize,
}

impl Unsent {
    /// Sets the number of unsent bytes of the connection.
    pub(crate) fn set(&mut self, bytes: usize) {
        let steps = bytes / STEP * STEP;
        if steps > self.counted {
            TOTAL.fetch_add(steps - self.counted, Ordering::Relaxed);
        } else if steps < self.counted {
            TOTAL.fetch_sub(self.counted - steps, Ordering::Relaxed);
        }
        self.counted = steps;
    }

    /// Returns whether the connection may produce more bytes.
    pub(crate) fn has_room(&self) -> bool {
        self.counted <= CONNECTION_ALLOWANCE || TOTAL.load(Ordering::Relaxed) < PROCESS_LIMIT
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_process_leaves_room_to_who_reads() {
        let (mut greedy, mut modest) = (Unsent::default(), Unsent::default());
        greedy.set(PROCESS_LIMIT - STEP);
        modest.set(2 * CONNECTION_ALLOWANCE);
        assert!(!greedy.has_room() && !modest.has_room());
        modest.set(CONNECTION_ALLOWANCE - 1);
        assert!(modest.has_room(), "it has nothing to wait for");
        drop(greedy);
        modest.set(2 * CONNECTION_ALLOWANCE);
        assert!(modest.has_room());
    }
}
