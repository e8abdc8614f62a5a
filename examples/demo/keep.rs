//! `--keep`: leaves the rows to the user and shows every change of them.

use std::error::Error;
use std::thread;
use std::time::Duration;

use connectivity_core::{Router, Server};
use rusqlite::Connection;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::flips::{self, Event, Flipped};
use crate::monolith::Monolith;
use crate::second_process::DRAIN;
use crate::strategy::Strategy;

/// How often to check whether a row has changed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A gateway of this process, and a thread that reads the history of the rows.
#[derive(Debug)]
pub(crate) struct Keep {
    gateway: Server,
}

impl Keep {
    /// Starts both. The channel receives the changes of rows.
    pub(crate) async fn start(
        monolith: &Monolith,
    ) -> Result<(Self, UnboundedReceiver<Event>), Box<dyn Error>> {
        let services = ["orders", "billing", "catalog"];
        let gateway =
            Server::builder(&monolith.router).expose(services).http("127.0.0.1:0").start().await?;
        let (events, changes) = mpsc::unbounded_channel();
        let (connection, router) = (flips::open(&monolith.routes())?, monolith.router.clone());
        thread::spawn(move || follow(&connection, &router, &events));
        Ok((Self { gateway }, changes))
    }

    /// Returns statements and commands to try.
    pub(crate) fn hints(&self, monolith: &Monolith) -> String {
        let (routes, endpoints) = (monolith.routes(), &monolith.second.endpoints);
        let (routes, gateway) =
            (routes.display(), self.gateway.address("http").unwrap_or_default());
        let update = |strategy| endpoints.update("billing", strategy).replace(';', " RETURNING *");
        let [http, quic, unix, mcp, local] =
            [Strategy::Http, Strategy::Quic, Strategy::Unix, Strategy::Mcp, Strategy::Local]
                .map(update);
        let second = &endpoints.http;
        format!(
            r#"The rows are yours: {routes}

  sqlite3 {routes} "{http}"
  sqlite3 {routes} "{quic}"
  sqlite3 {routes} "{unix}"
  sqlite3 {routes} "{mcp}"
  sqlite3 {routes} "INSERT INTO routes(service_name, strategy) VALUES ('billing.quote', 'noop') RETURNING *"
  sqlite3 {routes} "{local}"
  sqlite3 {routes} "UPDATE routes SET strategy='htpp' WHERE service_name='billing'"     (a typo: nothing changes)

  curl --json '{{"cents":450,"quantity":2}}' http://{second}/billing.quote      (the second process)
  curl --json '{{"customer":1,"item":"tea","quantity":2,"think_ms":0}}' http://{gateway}/orders.place      (this one; says who served what, and how)

Ctrl-C ends.
"#
        )
    }

    /// Stops accepting calls from outside.
    pub(crate) async fn end(self) {
        self.gateway.shutdown(DRAIN).await;
    }
}

/// Sends each change of a row until the receiver is gone.
fn follow(connection: &Connection, router: &Router, events: &UnboundedSender<Event>) {
    let mut seen = router.generation();
    while !events.is_closed() {
        thread::sleep(POLL_INTERVAL);
        let now = router.generation();
        if now != seen {
            for sql in changes(connection, seen, now).unwrap_or_default() {
                let _ = events.send(Event::Flip(Flipped { sql, in_force_after: None }));
            }
            seen = now;
        }
    }
}

fn changes(connection: &Connection, after: u64, until: u64) -> rusqlite::Result<Vec<String>> {
    let sql =
        "SELECT op || ' ' || service_name || ': ' || coalesce(old_strategy, '(no row)') || ' -> '
                   || coalesce(new_strategy, '(no row)') || coalesce(' ' || new_endpoint, '')
                 FROM history WHERE generation > ?1 AND generation <= ?2 ORDER BY generation";
    connection
        .prepare(sql)?
        .query_map([after, until].map(u64::cast_signed), |row| row.get(0))?
        .collect()
}
