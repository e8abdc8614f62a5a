//! Rows as stored in the file.

use rusqlite::{Connection, OptionalExtension, Row, Statement};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::rows;

/// A row as stored in the file, valid or not, with the time of its last change.
///
/// The JSON form is the one that the original Go implementation writes: `service_name`, `strategy`,
/// `endpoint` (omitted if empty), `config` as an object, and `updated_at`. A config that is not
/// JSON is written as a string, and a value that is not text as null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoute {
    row: RouteRow,
    updated_at: Option<i64>,
}

impl StoredRoute {
    /// Returns the row, which [`Route::parse`](crate::Route::parse) validates.
    #[must_use]
    pub const fn row(&self) -> &RouteRow {
        &self.row
    }

    /// Returns the time of the last change in seconds since 1970, or `None` if the column holds no
    /// integer.
    #[must_use]
    pub const fn updated_at(&self) -> Option<i64> {
        self.updated_at
    }

    pub(super) fn into_row(self) -> RouteRow {
        self.row
    }
}

impl Serialize for StoredRoute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (row, endpoint) =
            (&self.row, text(self.row.endpoint()).filter(|text| !text.is_empty()));
        let mut out =
            serializer.serialize_struct("StoredRoute", 4 + usize::from(endpoint.is_some()))?;
        out.serialize_field("service_name", &text(row.name()))?;
        out.serialize_field("strategy", &text(row.strategy()))?;
        match endpoint {
            Some(endpoint) => out.serialize_field("endpoint", endpoint)?,
            None => out.skip_field("endpoint")?,
        }
        out.serialize_field("config", &config(row.config()))?;
        out.serialize_field("updated_at", &self.updated_at)?;
        out.end()
    }
}

fn text(field: &Field) -> Option<&str> {
    match field {
        Field::Text(text) => Some(text),
        _ => None,
    }
}

fn config(field: &Field) -> serde_json::Value {
    match field {
        Field::Null => serde_json::json!({}),
        Field::Text(text) if text.is_empty() => serde_json::json!({}),
        Field::Text(text) => match serde_json::from_str(text) {
            Ok(serde_json::Value::Null) => serde_json::json!({}),
            json => json.unwrap_or_else(|_| text.as_str().into()),
        },
        Field::Other { .. } => serde_json::Value::Null,
    }
}

/// Reads all rows, sorted by name.
pub(super) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<StoredRoute>> {
    let mut statement = connection.prepare(&format!("{} ORDER BY service_name", query()))?;
    rows::bounded(statement.query_map([], stored)?, StoredRoute::row)
}

/// Reads the row with this name.
pub(super) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<StoredRoute>> {
    FindRow::prepare(connection)?.row(name)
}

/// Prepared query of rows by name.
pub(super) struct FindRow<'c>(Statement<'c>);

impl<'c> FindRow<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.prepare(&query_by_name()).map(Self)
    }

    pub(super) fn row(&mut self, name: &str) -> rusqlite::Result<Option<StoredRoute>> {
        self.0.query_row([name], stored).optional()
    }
}

fn query() -> String {
    format!("SELECT {}, updated_at FROM routes", rows::columns())
}

/// A separate statement: combining it with the query for all rows would keep SQLite from using the
/// index.
pub(in crate::routes::sqlite) fn query_by_name() -> String {
    format!("{} WHERE service_name = ?1", query())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRoute> {
    Ok(StoredRoute { row: rows::row(row)?, updated_at: row.get(4).ok() })
}
