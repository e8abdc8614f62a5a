//! Kills the second process in the middle of a run, with calls in flight on every wire, and
//! restarts it.

use std::thread;
use std::time::{Duration, Instant};

use super::{Event, FlipError, Operator, PERIOD};
use crate::statements;
use crate::strategy::Strategy;

/// The rows during the kill: each method on a wire of its own.
const SPREAD: [(&str, Strategy); 3] =
    [("catalog", Strategy::Http), ("billing", Strategy::Unix), ("billing.quote", Strategy::Quic)];

/// How long a supervisor takes to restart a process.
const RESTART_DELAY: Duration = Duration::from_millis(200);

/// Timeout until the restarted process can be called.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The pause after a failed connection attempt.
const RETRY_DELAY: Duration = Duration::from_millis(5);

impl Operator {
    pub(super) fn kill_and_restart(&mut self) -> Result<(), FlipError> {
        let before = self.rows.clone();
        for (row, strategy) in SPREAD {
            self.move_to(row, Some(strategy))?;
        }
        thread::sleep(PERIOD);
        let killed = self.world.second_pid();
        self.world.outage.begin();
        self.runtime.block_on(self.second.kill())?;
        self.world.outage.died();
        self.report(Event::Note(format!(
            "kill -KILL {killed}   -- the second process is gone, calls in flight and all"
        )));
        thread::sleep(RESTART_DELAY);
        self.runtime.block_on(self.second.start_again(&self.world))?;
        for strategy in Strategy::REMOTE {
            self.reach(strategy)?;
        }
        self.world.outage.end();
        let (back, after) =
            (self.world.second_pid(), self.world.outage.lasted().unwrap_or_default().as_millis());
        self.report(Event::Note(format!(
            "process {back} is in its place   -- serves on every wire {after} ms after the kill"
        )));
        for (row, _) in SPREAD {
            self.move_to(row, before.get(row).copied())?;
        }
        Ok(())
    }

    /// Waits until a call by this strategy succeeds. Routes to one endpoint share a connection, so
    /// all rows that lead there then use a new one.
    fn reach(&self, strategy: Strategy) -> Result<(), FlipError> {
        self.execute(
            &(statements::delete("journal") + &self.endpoints.insert("journal", strategy)),
        )?;
        let start = Instant::now();
        loop {
            match self.runtime.block_on(self.journal.counts()) {
                Ok(_) => return Ok(()),
                Err(cause) if start.elapsed() > BACK_WITHIN => {
                    return Err(FlipError::NotBack { strategy: strategy.as_str(), cause });
                }
                Err(_) => thread::sleep(RETRY_DELAY),
            }
        }
    }
}
