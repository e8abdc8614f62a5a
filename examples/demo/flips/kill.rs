//! The second process is killed in the middle of a run, with calls in flight on every wire, and
//! started again.

use std::thread;
use std::time::{Duration, Instant};

use super::{FlipError, News, Operator, PERIOD};
use crate::signpost::Way;
use crate::statements;

/// Where the services are when it happens: each method on a wire of its own.
const SPREAD: [(&str, Way); 3] =
    [("catalog", Way::Http), ("billing", Way::Unix), ("billing.quote", Way::Quic)];

/// What a supervisor takes to start a process again.
const DOWN: Duration = Duration::from_millis(200);

/// A restarted process that cannot be called by then is a fault.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The pause after a call that found nobody.
const PAUSE: Duration = Duration::from_millis(5);

impl Operator {
    pub(super) fn kill_and_restart(&mut self) -> Result<(), FlipError> {
        let before = self.rows.clone();
        for (row, way) in SPREAD {
            self.move_to(row, Some(way))?;
        }
        thread::sleep(PERIOD);
        let killed = self.world.there();
        self.world.outage.begin();
        self.runtime.block_on(self.second.kill())?;
        self.world.outage.died();
        self.tell(News::Note(format!(
            "kill -KILL {killed}   -- the second process is gone, calls in flight and all"
        )));
        thread::sleep(DOWN);
        self.runtime.block_on(self.second.start_again(&self.world))?;
        for way in Way::FAR {
            self.reach(way)?;
        }
        self.world.outage.end();
        let (back, after) =
            (self.world.there(), self.world.outage.lasted().unwrap_or_default().as_millis());
        self.tell(News::Note(format!(
            "process {back} is in its place   -- serves on every wire {after} ms after the kill"
        )));
        for (row, _) in SPREAD {
            self.move_to(row, before.get(row).copied())?;
        }
        Ok(())
    }

    /// Waits until a call this way is answered. Routes to one endpoint share a connection, so that
    /// the rows that lead there have a new one from then on.
    fn reach(&self, way: Way) -> Result<(), FlipError> {
        self.execute(&(statements::delete("journal") + &self.far.insert("journal", way)))?;
        let start = Instant::now();
        loop {
            match self.runtime.block_on(self.journal.counts()) {
                Ok(_) => return Ok(()),
                Err(cause) if start.elapsed() > BACK_WITHIN => {
                    return Err(FlipError::NotBack { way: way.word(), cause });
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
}
