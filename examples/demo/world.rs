//! Who can be met at the end of a call, and where calls have to go.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::shop::ServedBy;
use crate::signpost::{Signposts, Way};

/// What the meter knows beside the calls themselves.
#[derive(Debug)]
pub(crate) struct World {
    here: u32,
    there: AtomicU32,
    pub(crate) signposts: Signposts,
}

impl World {
    /// Makes a world with this process in it.
    pub(crate) fn new(here: u32) -> Self {
        Self { here, there: AtomicU32::new(0), signposts: Signposts::new() }
    }

    /// Takes note of a second process, before it can answer.
    pub(crate) fn arrived(&self, process: u32) {
        self.there.store(process, Ordering::SeqCst);
    }

    /// The number of the second process.
    pub(crate) fn there(&self) -> u32 {
        self.there.load(Ordering::SeqCst)
    }

    /// Says which way a call went, by who answered; `None` for a stranger.
    pub(crate) fn way(&self, served_by: ServedBy) -> Option<Way> {
        let ServedBy { process, way } = served_by;
        let is_known = match way {
            Way::Noop => served_by == ServedBy::NOBODY,
            Way::Local => process == self.here,
            Way::Http | Way::Quic | Way::Unix => process == self.there(),
        };
        is_known.then_some(way)
    }
}
