//! Who can be met at the end of a call, and where calls have to go.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::outage::Outage;
use crate::shop::ServedBy;
use crate::signpost::{Signposts, Way};

/// What the meter knows beside the calls themselves.
#[derive(Debug)]
pub(crate) struct World {
    here: u32,
    /// The second process, and the one before it that was killed; 0 is nobody.
    there: AtomicU32,
    killed: AtomicU32,
    pub(crate) outage: Outage,
    pub(crate) signposts: Signposts,
}

impl World {
    /// Makes a world with this process in it.
    pub(crate) fn new(here: u32) -> Self {
        let [there, killed] = [0; 2].map(AtomicU32::new);
        Self { here, there, killed, outage: Outage::default(), signposts: Signposts::new() }
    }

    /// Takes note of a second process, before it can answer.
    pub(crate) fn arrived(&self, process: u32) {
        self.killed.store(self.there(), Ordering::SeqCst);
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
            // An answer may be looked at after the process that gave it was killed.
            Way::Http | Way::Quic | Way::Unix | Way::Mcp => {
                process == self.there() || process == self.killed.load(Ordering::SeqCst)
            }
        };
        is_known.then_some(way)
    }
}
