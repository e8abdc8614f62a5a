//! Moves services by SQL, as an operator would: a thread with a connection of its own, which the
//! router knows nothing of.

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
use crate::signpost::Way;
use crate::statements::{self, Far};
use crate::world::World;

/// The time between two flips.
const PERIOD: Duration = Duration::from_millis(400);

/// A flip that is not in force by then is a fault.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the router is asked whether a flip is in force.
const LOOK: Duration = Duration::from_micros(50);

/// What happens to the rows, again and again: a way, or `None` for a row that is deleted.
///
/// `billing` goes every way there is, `catalog` does at another rhythm, and `billing.quote` has a
/// row of its own at times, which beats that of `billing`.
const ROUND: [(&str, Option<Way>); 25] = [
    ("billing", Some(Way::Http)),
    ("catalog", Some(Way::Quic)),
    ("billing", Some(Way::Unix)),
    ("catalog", Some(Way::Mcp)),
    ("billing.quote", Some(Way::Noop)),
    ("billing", Some(Way::Quic)),
    ("billing.quote", Some(Way::Local)),
    ("catalog", Some(Way::Unix)),
    ("billing.quote", Some(Way::Http)),
    ("billing", Some(Way::Mcp)),
    ("billing", Some(Way::Noop)),
    ("billing.quote", None),
    ("catalog", Some(Way::Http)),
    ("billing", Some(Way::Local)),
    ("billing.quote", Some(Way::Quic)),
    ("billing", Some(Way::Http)),
    ("catalog", Some(Way::Noop)),
    ("billing.quote", Some(Way::Unix)),
    ("billing", Some(Way::Unix)),
    ("billing.quote", Some(Way::Mcp)),
    ("catalog", Some(Way::Quic)),
    ("billing.quote", None),
    ("billing", Some(Way::Quic)),
    ("catalog", Some(Way::Local)),
    ("billing", Some(Way::Local)),
];

/// What a reader is told while rows change.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Flip(Flipped),
    /// Something else has happened.
    Note(String),
}

/// One flip that is in force.
#[derive(Clone, Debug)]
pub(crate) struct Flipped {
    pub(crate) sql: String,
    /// From the end of the statement until the router's table was swapped; unknown for a statement
    /// of somebody else.
    pub(crate) in_force_after: Option<Duration>,
}

/// Says why rows could not be flipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlipError {
    #[error("the routes file")]
    Sql(#[from] rusqlite::Error),
    #[error("{sql} was not in force within {PATIENCE:?}")]
    NotInForce { sql: String },
    #[error("{sql} made a bad row: {state:?}")]
    Bad { sql: String, state: Option<RouteState> },
    #[error("the second process was not killed, or not started again")]
    Process(#[from] io::Error),
    #[error("the restarted process cannot be called by {way}")]
    NotBack {
        way: &'static str,
        #[source]
        cause: ShopError,
    },
    #[error("the thread that flips rows panicked")]
    Panicked,
}

/// The thread that flips rows.
#[derive(Debug)]
pub(crate) struct Driver {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), FlipError>>,
}

impl Driver {
    /// Starts flipping the rows of the shop, and kills the second process once, after a time. Every
    /// flip that is in force is told; the channel closes early when a flip fails.
    pub(crate) fn start(
        monolith: &Monolith,
        kill_after: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<News>), FlipError> {
        let connection = open(&monolith.routes())?;
        let rows = BTreeMap::from([("billing", Way::Local), ("catalog", Way::Local)]);
        let (told, flips) = mpsc::unbounded_channel();
        let (stop, stopped) = channel();
        let operator = Operator {
            connection,
            router: monolith.router.clone(),
            far: monolith.second.far.clone(),
            second: Arc::clone(&monolith.second),
            journal: JournalClient::new(&monolith.router),
            runtime: Handle::current(),
            kill_at: Some(Instant::now() + kill_after),
            world: Arc::clone(&monolith.world),
            rows,
            told,
        };
        let thread = thread::spawn(move || operator.run(&stopped));
        Ok((Self { stop, thread }, flips))
    }

    /// Stops after the flip under way, and says what went wrong.
    pub(crate) fn stop(self) -> Result<(), FlipError> {
        drop(self.stop);
        self.thread.join().unwrap_or(Err(FlipError::Panicked))
    }
}

/// Opens a connection to a routes file; any number may be open at once.
pub(crate) fn open(routes: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(routes)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

struct Operator {
    connection: Connection,
    router: Router,
    far: Far,
    second: Arc<SecondProcess>,
    journal: JournalClient,
    runtime: Handle,
    /// When the second process is killed, until it was.
    kill_at: Option<Instant>,
    world: Arc<World>,
    rows: BTreeMap<&'static str, Way>,
    told: mpsc::UnboundedSender<News>,
}

impl Operator {
    fn run(mut self, stopped: &Receiver<()>) -> Result<(), FlipError> {
        self.put_up_signs();
        for (row, way) in ROUND.into_iter().cycle() {
            if stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            if self.kill_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.kill_and_restart()?;
            }
            self.move_to(row, way)?;
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // Nobody listens any more when the run ends early.
        let _ = self.told.send(news);
    }

    fn move_to(&mut self, row: &'static str, way: Option<Way>) -> Result<(), FlipError> {
        if self.rows.get(row).copied() != way {
            let flipped = self.flip(row, way)?;
            self.tell(News::Flip(flipped));
        }
        Ok(())
    }

    fn flip(&mut self, row: &'static str, way: Option<Way>) -> Result<Flipped, FlipError> {
        let moved = Method::ALL.into_iter().filter(|method| method.rows().contains(&row));
        moved.for_each(|method| self.world.signposts.take_down(method));
        let sql = self.sql(row, way);
        let in_force_after = self.execute(&sql)?;
        self.check(row, way, &sql)?;
        match way {
            Some(way) => self.rows.insert(row, way),
            None => self.rows.remove(row),
        };
        self.put_up_signs();
        Ok(Flipped { sql, in_force_after: Some(in_force_after) })
    }

    fn sql(&self, row: &str, way: Option<Way>) -> String {
        match way {
            None => statements::delete(row),
            Some(way) if self.rows.contains_key(row) => self.far.update(row, way),
            Some(way) => self.far.insert(row, way),
        }
    }

    /// Says how long it took from the end of the statement until it was in force.
    fn execute(&self, sql: &str) -> Result<Duration, FlipError> {
        self.connection.execute_batch(sql)?;
        let committed = Instant::now();
        let now = "SELECT value FROM meta WHERE key = 'generation'";
        let generation: i64 = self.connection.query_row(now, [], |row| row.get(0))?;
        let generation = generation.cast_unsigned();
        while self.router.generation() < generation {
            if committed.elapsed() > PATIENCE {
                return Err(FlipError::NotInForce { sql: sql.to_owned() });
            }
            thread::sleep(LOOK);
        }
        Ok(committed.elapsed())
    }

    /// Asks the router itself what it made of the row.
    fn check(&self, row: &str, way: Option<Way>, sql: &str) -> Result<(), FlipError> {
        let inspection = self.router.inspect();
        let found = inspection.route(row);
        let strategy = found.and_then(|found| found.strategy.as_deref());
        if strategy == way.map(Way::word)
            && found.is_none_or(|found| found.state == RouteState::InForce)
        {
            return Ok(());
        }
        Err(FlipError::Bad { sql: sql.to_owned(), state: found.map(|found| found.state.clone()) })
    }

    /// Puts up the signs that are down: those of methods that other rows serve have not moved.
    fn put_up_signs(&self) {
        let posts = &self.world.signposts;
        for method in Method::ALL.into_iter().filter(|&method| posts.read(method).way().is_none()) {
            if let Some(&way) = method.rows().iter().find_map(|row| self.rows.get(row)) {
                posts.put_up(method, way);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_as_it_began_and_each_step_changes_something() {
        let begin = BTreeMap::from([("billing", Way::Local), ("catalog", Way::Local)]);
        let mut rows = begin.clone();
        for (row, way) in ROUND {
            assert_ne!(rows.get(row).copied(), way, "{row}");
            match way {
                Some(way) => rows.insert(row, way),
                None => rows.remove(row),
            };
        }
        assert_eq!(rows, begin);
        for way in Way::ALL {
            assert!(ROUND.iter().any(|&(row, to)| row == "billing" && to == Some(way)), "{way:?}");
        }
    }
}
