//! Rebuilds a Go-made table, so that it can hold every strategy.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::connection::{self, Mode, about, explain};
use super::handle::Handle;
use super::rows;
use super::schema::{self, Found};
use crate::routes::row::RouteRow;
use crate::routes::source::SourceError;

/// Says what an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// Whether the table `routes` was made anew; otherwise only triggers and views were.
    pub rebuilt: bool,
    /// Rows without a name, which the new table cannot hold and nobody could ever call.
    pub left_out: Vec<RouteRow>,
}

const COLUMNS: [&str; 5] = ["service_name", "strategy", "endpoint", "config", "updated_at"];

/// Not `ALTER TABLE`, which cannot drop a CHECK; and not `PRAGMA writable_schema`, which can lose
/// the file.
const REBUILD: &str = "
    CREATE TABLE routes_new (
        service_name TEXT PRIMARY KEY NOT NULL,
        strategy     TEXT NOT NULL,
        endpoint     TEXT,
        config       TEXT DEFAULT '{}',
        updated_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
    );
    INSERT INTO routes_new SELECT service_name, strategy, endpoint, config, updated_at FROM routes WHERE service_name IS NOT NULL;
    DROP TABLE routes;
    ALTER TABLE routes_new RENAME TO routes;
";

pub(super) fn upgrade(path: &Path) -> Result<UpgradeReport, SourceError> {
    let mut connection = Handle::open(path, Mode::Write)?.connection;
    let failed = |e: rusqlite::Error| explain(path, "cannot be upgraded", &e);
    if schema::find(&connection).map_err(failed)? != Found::Table {
        return Err(about(
            path,
            "there is no table `routes` of ours or Go's in it; check the path",
        ));
    }
    let others: Vec<String> = schema::columns(&connection)
        .map_err(failed)?
        .into_iter()
        .filter(|c| !COLUMNS.contains(&c.as_str()))
        .collect();
    if !others.is_empty() {
        let others = others.join(", ");
        return Err(about(
            path,
            format_args!(
                "the table `routes` has columns that would be lost: {others}; drop them first"
            ),
        ));
    }
    connection::use_wal(path, &connection)?;
    run(&mut connection).map_err(failed)
}

fn run(connection: &mut Connection) -> rusqlite::Result<UpgradeReport> {
    // DROP TABLE would delete the rows that point at a route. It cannot be turned off inside a
    // transaction.
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rebuilt = schema::is_narrow(&tx)?;
    // Views and triggers first: they would name a table that is not there while it is renamed.
    schema::drop_ours(&tx)?;
    let mut left_out = Vec::new();
    if rebuilt {
        left_out = nameless(&tx)?;
        let theirs = objects_of_others(&tx)?;
        tx.execute_batch(REBUILD)?;
        theirs.iter().try_for_each(|sql| tx.execute_batch(sql))?;
    }
    schema::apply_in(&tx)?;
    tx.commit()?;
    Ok(UpgradeReport { rebuilt, left_out })
}

/// Somebody else's indexes and triggers on the table, which a rebuild takes with it.
fn objects_of_others(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    tx.prepare(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'routes' AND type IN ('index', 'trigger') AND sql IS NOT NULL
            AND name NOT IN ('idx_routes_strategy', 'trg_routes_updated_at')",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

fn nameless(tx: &Transaction<'_>) -> rusqlite::Result<Vec<RouteRow>> {
    let sql = format!("SELECT {} FROM routes WHERE service_name IS NULL", rows::columns());
    let mut statement = tx.prepare(&sql)?;
    rows::bounded(statement.query_map([], rows::row)?, |row| row)
}
