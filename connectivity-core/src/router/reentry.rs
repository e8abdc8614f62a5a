//! Detects re-entrant use of a router from a transport, layer or source, which would deadlock.

use std::cell::Cell;

thread_local! {
    /// The address of the router for which this thread builds a table; 0 for none.
    static BUILDING: Cell<usize> = const { Cell::new(0) };
}

/// Guard that marks this thread while user code may run under a lock of the router.
pub(super) struct Building {
    previous: usize,
}

impl Building {
    /// Marks this thread as building for `router`. User code may call another router, which then
    /// builds its own table on this thread.
    ///
    /// # Panics
    /// If this thread already builds for `router`. If the `build` of a transport caused it, the
    /// panic becomes one bad row, which a test of the program reveals.
    pub(super) fn begin<T>(router: &T) -> Self {
        let router = std::ptr::from_ref(router).addr();
        let previous = BUILDING.replace(router);
        let building = Self { previous };
        assert!(
            previous != router,
            "a source, a transport or a layer changes the router that waits for it: do that from a task of its own"
        );
        building
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        BUILDING.set(self.previous);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_thread_may_build_for_two_routers_but_not_twice_for_one() {
        let (one, other) = (1, 2);
        let _one = Building::begin(&one);
        drop(Building::begin(&other));
        assert!(catch_unwind(|| Building::begin(&one).previous).is_err());
        drop(Building::begin(&other));
    }
}
