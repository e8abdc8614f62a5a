//! The processes that can serve a call, and the expected strategies.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::outage::Outage;
use crate::shop::ServedBy;
use crate::strategy::{ExpectedStrategies, Strategy};

/// The context that the meter needs besides the calls themselves.
#[derive(Debug)]
pub(crate) struct World {
    first_pid: u32,
    /// The second process, and its predecessor that was killed. 0 means none.
    second_pid: AtomicU32,
    killed: AtomicU32,
    pub(crate) outage: Outage,
    pub(crate) expected: ExpectedStrategies,
}

impl World {
    /// Creates the context of this process.
    pub(crate) fn new(first_pid: u32) -> Self {
        let [second_pid, killed] = [0; 2].map(AtomicU32::new);
        Self {
            first_pid,
            second_pid,
            killed,
            outage: Outage::default(),
            expected: ExpectedStrategies::new(),
        }
    }

    /// Records a second process before it can answer.
    pub(crate) fn started(&self, process: u32) {
        self.killed.store(self.second_pid(), Ordering::SeqCst);
        self.second_pid.store(process, Ordering::SeqCst);
    }

    /// Returns the id of the second process.
    pub(crate) fn second_pid(&self) -> u32 {
        self.second_pid.load(Ordering::SeqCst)
    }

    /// Returns the strategy of a reply, or `None` if its origin is unknown.
    pub(crate) fn strategy(&self, served_by: ServedBy) -> Option<Strategy> {
        let ServedBy { process, strategy } = served_by;
        let is_known = match strategy {
            Strategy::Noop => served_by == ServedBy::NOBODY,
            Strategy::Local => process == self.first_pid,
            // A reply may be checked after the process that sent it was killed.
            Strategy::Http | Strategy::Quic | Strategy::Unix | Strategy::Mcp => {
                process == self.second_pid() || process == self.killed.load(Ordering::SeqCst)
            }
        };
        is_known.then_some(strategy)
    }
}
