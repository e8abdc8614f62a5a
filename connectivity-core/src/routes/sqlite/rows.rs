//! Reads rows within limits: a view named `routes` may produce any number of rows of any size.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, ffi};

use super::columns::{field, select};
use super::lineage::Lineage;
use super::schema;
use crate::name::Name;
use crate::routes::row::{Field, RouteRow};
use crate::routes::source::Snapshot;

const MAX_ROWS: usize = 1_000_000;
/// Upper bound of the text in all rows together.
const MAX_BYTES: usize = 256 << 20;

/// Reads every row, and the state of the file that they belong to.
///
/// Always reads the full table: it takes 0.3 ms for 1,000 rows and 30 ms for 100,000, and cannot
/// miss a change that left no history.
pub(super) fn read(connection: &mut Connection) -> rusqlite::Result<(Snapshot, Lineage)> {
    static SELECT: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM routes", columns()));
    let tx = connection.transaction()?;
    let generation = schema::meta::<i64>(&tx, "generation")?.unwrap_or(0);
    let lineage = Lineage::read(&tx, generation)?;
    let mut statement = tx.prepare(&SELECT)?;
    let rows = bounded(statement.query_map([], row)?, |row| row)?;
    Ok((Snapshot { generation: u64::try_from(generation).unwrap_or(0), rows }, lineage))
}

/// Reads the rows with these names.
pub(super) fn read_some(
    connection: &mut Connection,
    names: &[&Name],
) -> rusqlite::Result<Snapshot> {
    static SELECT: LazyLock<String> =
        LazyLock::new(|| format!("SELECT {} FROM routes WHERE service_name = ?1", columns()));
    let tx = connection.transaction()?;
    let generation = schema::meta::<i64>(&tx, "generation")?.unwrap_or(0);
    let mut statement = tx.prepare(&SELECT)?;
    let mut rows = Vec::new();
    for name in names {
        rows.extend(bounded(statement.query_map([name.as_str()], row)?, |row| row)?);
    }
    Ok(Snapshot { generation: u64::try_from(generation).unwrap_or(0), rows })
}

/// Returns the column list of a SELECT for [`row`].
pub(super) fn columns() -> String {
    select(&["service_name", "strategy", "endpoint", "config"])
}

/// Reads one row that was selected with [`columns`].
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<RouteRow> {
    Ok(RouteRow::from_fields(field(row, 0)?, field(row, 1)?, field(row, 2)?, field(row, 3)?))
}

/// Collects rows up to a limit of their number and of their text.
pub(super) fn bounded<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    row: impl Fn(&T) -> &RouteRow,
) -> rusqlite::Result<Vec<T>> {
    let (mut collected, mut bytes) = (Vec::new(), 0);
    for item in rows {
        let item = item?;
        bytes += text_len(row(&item));
        if collected.len() == MAX_ROWS {
            return Err(limit_error(format!(
                "there are more than {MAX_ROWS} rows; a view may be without end"
            )));
        }
        if bytes > MAX_BYTES {
            return Err(limit_error(format!(
                "the rows hold more than {} MiB of text",
                MAX_BYTES >> 20
            )));
        }
        collected.push(item);
    }
    Ok(collected)
}

fn text_len(row: &RouteRow) -> usize {
    let text_len = |field: &Field| if let Field::Text(text) = field { text.len() } else { 0 };
    [row.name(), row.strategy(), row.endpoint(), row.config()].into_iter().map(text_len).sum()
}

fn limit_error(text: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), Some(text))
}
