//! How many bytes wait to be sent by this process, on all connections of its listeners.

use std::sync::atomic::{AtomicUsize, Ordering};

/// While this many bytes are unsent, only connections with little of their own go on: those that
/// read.
const PROCESS: usize = 256 << 20;

/// What a connection may always have unsent.
const OWN: usize = 64 * 1024;

/// A connection's count is in steps of this size, so that small replies do not touch what all
/// threads share.
const STEP: usize = 64 * 1024;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// The unsent bytes of one connection, counted among those of the process until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    counted: usize,
}

impl Unsent {
    /// States how many bytes of the connection are unsent.
    pub(crate) fn set(&mut self, bytes: usize) {
        let steps = bytes / STEP * STEP;
        if steps > self.counted {
            TOTAL.fetch_add(steps - self.counted, Ordering::Relaxed);
        } else if steps < self.counted {
            TOTAL.fetch_sub(self.counted - steps, Ordering::Relaxed);
        }
        self.counted = steps;
    }

    /// Returns whether the connection may make more bytes.
    pub(crate) fn has_room(&self) -> bool {
        self.counted <= OWN || TOTAL.load(Ordering::Relaxed) < PROCESS
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
        greedy.set(PROCESS - STEP);
        modest.set(2 * OWN);
        assert!(!greedy.has_room() && !modest.has_room());
        modest.set(OWN - 1);
        assert!(modest.has_room(), "it has nothing to wait for");
        drop(greedy);
        modest.set(2 * OWN);
        assert!(modest.has_room());
    }
}
