//! Moves services by SQL, as an operator would: a thread with its own connection, unknown to the
//! router.

mod kill;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use connectivity_core::{RouteState, Router};
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::journal::JournalClient;
use crate::meter::Method;
use crate::monolith::Monolith;
use crate::second_process::SecondProcess;
use crate::shop::ShopError;
use crate::statements::{self, Endpoints};
use crate::strategy::Strategy;
use crate::world::World;

/// The time between two flips.
const PERIOD: Duration = Duration::from_millis(400);

/// Timeout until a flip is in force.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often to check whether a flip is in force.
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// The cycle of changes: a strategy for a row, or `None` to delete it.
///
/// `billing` goes through every strategy, `catalog` changes at a different rhythm, and
/// `billing.quote` has its own row at times, which takes precedence over that of `billing`.
const ROUND: [(&str, Option<Strategy>); 25] = [
    ("billing", Some(Strategy::Http)),
    ("catalog", Some(Strategy::Quic)),
    ("billing", Some(Strategy::Unix)),
    ("catalog", Some(Strategy::Mcp)),
    ("billing.quote", Some(Strategy::Noop)),
    ("billing", Some(Strategy::Quic)),
    ("billing.quote", Some(Strategy::Local)),
    ("catalog", Some(Strategy::Unix)),
    ("billing.quote", Some(Strategy::Http)),
    ("billing", Some(Strategy::Mcp)),
    ("billing", Some(Strategy::Noop)),
    ("billing.quote", None),
    ("catalog", Some(Strategy::Http)),
    ("billing", Some(Strategy::Local)),
    ("billing.quote", Some(Strategy::Quic)),
    ("billing", Some(Strategy::Http)),
    ("catalog", Some(Strategy::Noop)),
    ("billing.quote", Some(Strategy::Unix)),
    ("billing", Some(Strategy::Unix)),
    ("billing.quote", Some(Strategy::Mcp)),
    ("catalog", Some(Strategy::Quic)),
    ("billing.quote", None),
    ("billing", Some(Strategy::Quic)),
    ("catalog", Some(Strategy::Local)),
    ("billing", Some(Strategy::Local)),
];

/// An event to report while rows change.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Flip(Flipped),
    /// Any other event.
    Note(String),
}

/// A flip that is in force.
#[derive(Clone, Debug)]
pub(crate) struct Flipped {
    pub(crate) sql: String,
    /// From the end of the statement until the router swapped its table. Unknown for a statement of
    /// another program.
    pub(crate) in_force_after: Option<Duration>,
}

/// The reason why rows could not be flipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlipError {
    #[error("the routes file")]
    Sql(#[from] rusqlite::Error),
    #[error("{sql} was not in force within {TIMEOUT:?}")]
    NotInForce { sql: String },
    #[error("{sql} made a bad row: {state:?}")]
    Bad { sql: String, state: Option<RouteState> },
    #[error("the second process was not killed, or not started again")]
    Process(#[from] io::Error),
    #[error("the restarted process cannot be called by {strategy}")]
    NotBack {
        strategy: &'static str,
        #[source]
        cause: ShopError,
    },
    #[error("the thread that flips rows panicked")]
    Panicked,
}

/// A handle to the thread that flips rows.
#[derive(Debug)]
pub(crate) struct Driver {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), FlipError>>,
}

impl Driver {
    /// Starts flipping the rows of the shop, and kills the second process once, after `kill_after`.
    /// Sends every flip that is in force. The channel closes early when a flip fails.
    pub(crate) fn start(
        monolith: &Monolith,
        kill_after: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Event>), FlipError> {
        let connection = open(&monolith.routes())?;
        let rows = BTreeMap::from([("billing", Strategy::Local), ("catalog", Strategy::Local)]);
        let (events, flips) = mpsc::unbounded_channel();
        let (stop, stopped) = channel();
        let operator = Operator {
            connection,
            router: monolith.router.clone(),
            endpoints: monolith.second.endpoints.clone(),
            second: Arc::clone(&monolith.second),
            journal: JournalClient::new(&monolith.router),
            runtime: Handle::current(),
            kill_at: Some(Instant::now() + kill_after),
            world: Arc::clone(&monolith.world),
            rows,
            events,
        };
        let thread = thread::spawn(move || operator.run(&stopped));
        Ok((Self { stop, thread }, flips))
    }

    /// Stops after the flip in progress and returns its error, if any.
    pub(crate) fn stop(self) -> Result<(), FlipError> {
        drop(self.stop);
        self.thread.join().unwrap_or(Err(FlipError::Panicked))
    }
}

/// Opens a connection to a routes file. Several may be open at once.
pub(crate) fn open(routes: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(routes)?;
    connection.busy_timeout(TIMEOUT)?;
    Ok(connection)
}

struct Operator {
    connection: Connection,
    router: Router,
    endpoints: Endpoints,
    second: Arc<SecondProcess>,
    journal: JournalClient,
    runtime: Handle,
    /// When to kill the second process. `None` once it was killed.
    kill_at: Option<Instant>,
    world: Arc<World>,
    rows: BTreeMap<&'static str, Strategy>,
    events: mpsc::UnboundedSender<Event>,
}

impl Operator {
    fn run(mut self, stopped: &Receiver<()>) -> Result<(), FlipError> {
        self.set_expected();
        for (row, strategy) in ROUND.into_iter().cycle() {
            if stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            if self.kill_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.kill_and_restart()?;
            }
            self.move_to(row, strategy)?;
        }
        Ok(())
    }

    fn report(&self, event: Event) {
        // The receiver is gone if the run ends early.
        let _ = self.events.send(event);
    }

    fn move_to(&mut self, row: &'static str, strategy: Option<Strategy>) -> Result<(), FlipError> {
        if self.rows.get(row).copied() != strategy {
            let flipped = self.flip(row, strategy)?;
            self.report(Event::Flip(flipped));
        }
        Ok(())
    }

    fn flip(
        &mut self,
        row: &'static str,
        strategy: Option<Strategy>,
    ) -> Result<Flipped, FlipError> {
        let moved = Method::ALL.into_iter().filter(|method| method.rows().contains(&row));
        moved.for_each(|method| self.world.expected.clear(method));
        let sql = self.sql(row, strategy);
        let in_force_after = self.execute(&sql)?;
        self.check(row, strategy, &sql)?;
        match strategy {
            Some(strategy) => self.rows.insert(row, strategy),
            None => self.rows.remove(row),
        };
        self.set_expected();
        Ok(Flipped { sql, in_force_after: Some(in_force_after) })
    }

    fn sql(&self, row: &str, strategy: Option<Strategy>) -> String {
        match strategy {
            None => statements::delete(row),
            Some(strategy) if self.rows.contains_key(row) => self.endpoints.update(row, strategy),
            Some(strategy) => self.endpoints.insert(row, strategy),
        }
    }

    /// Executes a statement. Returns the time from its end until it was in force.
    fn execute(&self, sql: &str) -> Result<Duration, FlipError> {
        self.connection.execute_batch(sql)?;
        let committed = Instant::now();
        let now = "SELECT value FROM meta WHERE key = 'generation'";
        let generation: i64 = self.connection.query_row(now, [], |row| row.get(0))?;
        let generation = generation.cast_unsigned();
        while self.router.generation() < generation {
            if committed.elapsed() > TIMEOUT {
                return Err(FlipError::NotInForce { sql: sql.to_owned() });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(committed.elapsed())
    }

    /// Asserts that the router has the row in force.
    fn check(&self, row: &str, strategy: Option<Strategy>, sql: &str) -> Result<(), FlipError> {
        let inspection = self.router.inspect();
        let found = inspection.route(row);
        let in_force = found.and_then(|found| found.strategy.as_deref());
        if in_force == strategy.map(Strategy::as_str)
            && found.is_none_or(|found| found.state == RouteState::InForce)
        {
            return Ok(());
        }
        Err(FlipError::Bad { sql: sql.to_owned(), state: found.map(|found| found.state.clone()) })
    }

    /// Sets the expected strategies that are cleared. Methods that other rows serve have not moved.
    fn set_expected(&self) {
        let expected = &self.world.expected;
        for method in
            Method::ALL.into_iter().filter(|&method| expected.read(method).strategy().is_none())
        {
            if let Some(&strategy) = method.rows().iter().find_map(|row| self.rows.get(row)) {
                expected.set(method, strategy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_as_it_began_and_each_step_changes_something() {
        let begin = BTreeMap::from([("billing", Strategy::Local), ("catalog", Strategy::Local)]);
        let mut rows = begin.clone();
        for (row, strategy) in ROUND {
            assert_ne!(rows.get(row).copied(), strategy, "{row}");
            match strategy {
                Some(strategy) => rows.insert(row, strategy),
                None => rows.remove(row),
            };
        }
        assert_eq!(rows, begin);
        for strategy in Strategy::ALL {
            assert!(
                ROUND.iter().any(|&(row, to)| row == "billing" && to == Some(strategy)),
                "{strategy:?}"
            );
        }
    }
}
