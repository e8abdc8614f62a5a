//! The history of rows: every change, with the row before and after.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row};

use super::columns::{field, select};
use super::schema;
use super::store::Store;
use crate::routes::row::{Field, RouteRow};
use crate::routes::source::SourceError;

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The row was added.
    Insert,
    /// The row was updated in place.
    Update,
    /// The row replaced another one, by `INSERT OR REPLACE`.
    Replace,
    /// The row was deleted.
    Delete,
    /// A kind that this version does not know, or an entry that was written by hand.
    Unknown,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Generation created by the change.
    pub generation: u64,
    /// Time of the change, by the clock of the writer.
    pub at: SystemTime,
    /// Kind of the change. A rename is a delete and an insert.
    pub kind: ChangeKind,
    /// The name as stored in the row, valid or not.
    pub name: Field,
    /// The row before the change, if it existed.
    pub before: Option<RouteRow>,
    /// The row after the change, if it exists.
    pub after: Option<RouteRow>,
}

impl From<&str> for ChangeKind {
    fn from(word: &str) -> Self {
        match word {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "replace" => Self::Replace,
            "delete" => Self::Delete,
            _ => Self::Unknown,
        }
    }
}

/// Reads the latest changes, newest first.
pub(super) fn read(
    store: &Store,
    name: Option<&str>,
    limit: usize,
) -> Result<Vec<Change>, SourceError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    store.with_reader("reading history", |connection| query(connection, name, 0, limit))
}

/// Reads all changes after a generation, newest first.
pub(super) fn since(
    connection: &Connection,
    name: Option<&str>,
    generation: i64,
) -> rusqlite::Result<Vec<Change>> {
    query(connection, name, generation, i64::MAX)
}

/// Returns the generation of the latest change, or the generation of the file if the history is
/// empty.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(id) FROM route_history", [], |row| row.get(0))?;
    match newest {
        Some(newest) => Ok(newest),
        None => Ok(schema::meta(connection, "generation")?.unwrap_or(0)),
    }
}

/// Returns the oldest generation after which the history contains every change up to the newest.
pub(super) fn oldest_contiguous(connection: &Connection, newest: i64) -> rusqlite::Result<i64> {
    let mut oldest = newest;
    let mut statement = connection.prepare("SELECT id FROM route_history ORDER BY id DESC")?;
    for id in statement.query_map([], |row| row.get::<_, i64>(0))? {
        if id? != oldest {
            break;
        }
        oldest -= 1;
    }
    Ok(oldest)
}

fn query(
    connection: &Connection,
    name: Option<&str>,
    after: i64,
    limit: i64,
) -> rusqlite::Result<Vec<Change>> {
    // The history keeps 10,000 rows, so filtering by name needs no index.
    let columns = [
        "service_name",
        "old_strategy",
        "old_endpoint",
        "old_config",
        "new_strategy",
        "new_endpoint",
        "new_config",
    ];
    let sql = format!(
        "SELECT {}, id, CAST(at_ms AS INTEGER), CAST(op AS TEXT) FROM route_history
          WHERE id > ?2 AND (?1 IS NULL OR service_name = ?1) ORDER BY id DESC LIMIT ?3",
        select(&columns)
    );
    let mut statement = connection.prepare(&sql)?;
    let changes = statement.query_map((name, after, limit), |row| change(row, columns.len()))?;
    changes.collect()
}

/// Reads one history entry. The columns about the change itself begin at `offset`.
fn change(row: &Row<'_>, offset: usize) -> rusqlite::Result<Change> {
    let name = field(row, 0)?;
    let generation = row.get::<_, i64>(offset)?;
    let at_ms = row.get::<_, i64>(offset + 1)?;
    let kind = row.get_ref(offset + 2)?.as_str().unwrap_or_default().into();
    Ok(Change {
        generation: u64::try_from(generation).unwrap_or(0),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0)),
        kind,
        before: image(row, &name, 1)?,
        after: image(row, &name, 4)?,
        name,
    })
}

/// Reads the row before or after the change. A route always has a strategy, so NULL means that
/// there was no row.
fn image(row: &Row<'_>, name: &Field, offset: usize) -> rusqlite::Result<Option<RouteRow>> {
    let strategy = field(row, offset)?;
    if strategy == Field::Null {
        return Ok(None);
    }
    Ok(Some(RouteRow::from_fields(
        name.clone(),
        strategy,
        field(row, offset + 1)?,
        field(row, offset + 2)?,
    )))
}
