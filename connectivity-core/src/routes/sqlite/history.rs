//! Every change of a row, before and after.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row};

use super::columns::{field, select};
use super::schema;
use super::store::Store;
use crate::routes::row::{Field, RouteRow};
use crate::routes::source::SourceError;

/// Tells how a row changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It was updated in place.
    Update,
    /// It took the place of another one, by `INSERT OR REPLACE`.
    Replace,
    /// It is gone.
    Delete,
    /// Something that this version does not know, or that somebody wrote into the history by hand.
    Unknown,
}

/// Holds one change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The generation that the change made.
    pub generation: u64,
    /// When, by the clock of whoever wrote.
    pub at: SystemTime,
    /// What was done; a rename is a delete and an insert.
    pub kind: ChangeKind,
    /// The name as it stood in the row, good or bad.
    pub name: Field,
    /// The row before, if there was one.
    pub before: Option<RouteRow>,
    /// The row after, if there is one.
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

/// Reads the newest changes, newest first.
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

/// The generation of the newest change, or that of the file, where nothing is kept.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(id) FROM route_history", [], |row| row.get(0))?;
    match newest {
        Some(newest) => Ok(newest),
        None => Ok(schema::meta(connection, "generation")?.unwrap_or(0)),
    }
}

/// The oldest generation from which on every change up to the newest is kept.
pub(super) fn oldest_without_hole(connection: &Connection, newest: i64) -> rusqlite::Result<i64> {
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
    // The history keeps 10,000 rows, so looking for a name among them needs no index.
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

/// Reads one row; what tells about the change itself begins at `rest`.
fn change(row: &Row<'_>, rest: usize) -> rusqlite::Result<Change> {
    let name = field(row, 0)?;
    let generation = row.get::<_, i64>(rest)?;
    let at_ms = row.get::<_, i64>(rest + 1)?;
    let kind = row.get_ref(rest + 2)?.as_str().unwrap_or_default().into();
    Ok(Change {
        generation: u64::try_from(generation).unwrap_or(0),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0)),
        kind,
        before: image(row, &name, 1)?,
        after: image(row, &name, 4)?,
        name,
    })
}

/// Reads the row as it was on one side of the change. A route always has a strategy, so NULL there
/// means no row.
fn image(row: &Row<'_>, name: &Field, at: usize) -> rusqlite::Result<Option<RouteRow>> {
    let strategy = field(row, at)?;
    if strategy == Field::Null {
        return Ok(None);
    }
    Ok(Some(RouteRow::from_fields(
        name.clone(),
        strategy,
        field(row, at + 1)?,
        field(row, at + 2)?,
    )))
}
