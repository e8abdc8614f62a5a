//! Rebuilds a table made by Go, so that it accepts every strategy.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::connection::{self, Mode, file_error, sqlite_error};
use super::handle::Handle;
use super::rows;
use super::schema::{self, Found};
use crate::routes::row::RouteRow;
use crate::routes::source::SourceError;

/// Result of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// Whether the table `routes` was rebuilt; otherwise only triggers and views were rewritten.
    pub rebuilt: bool,
    /// Rows without a name. The new table cannot hold them, and no client could call them.
    pub left_out: Vec<RouteRow>,
}

const COLUMNS: [&str; 5] = ["service_name", "strategy", "endpoint", "config", "updated_at"];

/// Not `ALTER TABLE`, which cannot drop a CHECK; and not `PRAGMA writable_schema`, which can
/// corrupt the file.
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
    let failed = |e: rusqlite::Error| sqlite_error(path, "cannot be upgraded", &e);
    if schema::find(&connection).map_err(failed)? != Found::Table {
        return Err(file_error(
            path,
            "there is no table `routes` of ours or Go's in it; check the path",
        ));
    }
    let extra: Vec<String> = schema::columns(&connection)
        .map_err(failed)?
        .into_iter()
        .filter(|c| !COLUMNS.contains(&c.as_str()))
        .collect();
    if !extra.is_empty() {
        let extra = extra.join(", ");
        return Err(file_error(
            path,
            format_args!(
                "the table `routes` has columns that would be lost: {extra}; drop them first"
            ),
        ));
    }
    connection::use_wal(path, &connection)?;
    run(&mut connection).map_err(failed)
}

fn run(connection: &mut Connection) -> rusqlite::Result<UpgradeReport> {
    // DROP TABLE would delete the rows that reference a route. Foreign keys cannot be turned off
    // inside a transaction.
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rebuilt = schema::rejects_built_in(&tx)?;
    // Drop views and triggers first: they would refer to a missing table during the rename.
    schema::drop_own_objects(&tx)?;
    let mut left_out = Vec::new();
    if rebuilt {
        left_out = read_nameless_rows(&tx)?;
        let foreign_objects = read_foreign_objects(&tx)?;
        tx.execute_batch(REBUILD)?;
        foreign_objects.iter().try_for_each(|sql| tx.execute_batch(sql))?;
    }
    schema::apply_in(&tx)?;
    tx.commit()?;
    Ok(UpgradeReport { rebuilt, left_out })
}

/// Returns the indexes and triggers of other programs on the table, which the rebuild would drop.
fn read_foreign_objects(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    tx.prepare(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'routes' AND type IN ('index', 'trigger') AND sql IS NOT NULL
            AND name NOT IN ('idx_routes_strategy', 'trg_routes_updated_at')",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

fn read_nameless_rows(tx: &Transaction<'_>) -> rusqlite::Result<Vec<RouteRow>> {
    let sql = format!("SELECT {} FROM routes WHERE service_name IS NULL", rows::columns());
    let mut statement = tx.prepare(&sql)?;
    rows::bounded(statement.query_map([], rows::row)?, |row| row)
}
