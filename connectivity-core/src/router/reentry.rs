//! Notices code of the user's that calls back into the router which is waiting for it: it would
//! wait for itself, for ever.

use std::cell::Cell;

thread_local! {
    /// The router that this thread builds a table for.
    static BUILDING: Cell<usize> = const { Cell::new(0) };
}

/// Stands for as long as code of the user's may run under a lock of the router.
pub(super) struct Building {
    before: usize,
}

impl Building {
    /// Marks this thread as building for `router`. Another router may be called from there, and
    /// build in its turn.
    ///
    /// # Panics
    /// If it builds for this one already: where a transport's `build` did it, that is one bad row,
    /// and a test of the program tells.
    pub(super) fn begin<T>(router: &T) -> Self {
        let router = std::ptr::from_ref(router).addr();
        let before = BUILDING.replace(router);
        let building = Self { before };
        assert!(
            before != router,
            "a source, a transport or a layer changes the router that waits for it: do that from a task of its own"
        );
        building
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        BUILDING.set(self.before);
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
        assert!(catch_unwind(|| Building::begin(&one).before).is_err());
        drop(Building::begin(&other));
    }
}
