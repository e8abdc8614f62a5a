//! Rows as they stand in the file.

use rusqlite::Connection;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::columns::{field, select};

/// Holds a row as it stands in the file, good or bad, with the time of its last change.
///
/// As JSON it is what the Go original writes: `service_name`, `strategy`, `endpoint` (left out if empty), `config` as an object,
/// and `updated_at`. A config that is no JSON comes as a text, and what is no text at all as null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoute {
    row: RouteRow,
    updated_at: Option<i64>,
}

impl StoredRoute {
    /// The row; [`Route::parse`](crate::Route::parse) checks it.
    #[must_use]
    pub const fn row(&self) -> &RouteRow {
        &self.row
    }

    /// When it was last changed, in seconds since 1970; `None` if something else stands there.
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
        let (row, endpoint) = (&self.row, text(self.row.endpoint()).filter(|text| !text.is_empty()));
        let mut out = serializer.serialize_struct("StoredRoute", 4 + usize::from(endpoint.is_some()))?;
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

/// Reads one row, or all by name.
pub(super) fn read(connection: &Connection, name: Option<&str>) -> rusqlite::Result<Vec<StoredRoute>> {
    let columns = select(&["service_name", "strategy", "endpoint", "config"]);
    let sql =
        format!("SELECT {columns}, updated_at FROM routes WHERE ?1 IS NULL OR service_name = ?1 ORDER BY service_name");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([name], |row| {
        let columns = RouteRow::from_fields(field(row, 0)?, field(row, 1)?, field(row, 2)?, field(row, 3)?);
        Ok(StoredRoute { row: columns, updated_at: row.get(4).ok() })
    })?;
    rows.collect()
}
