//! Columns that may hold any SQLite value.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::routes::row::{Field, MAX_TEXT};

/// Marker for a value that is too long to load. No column of the table holds numbers, so it cannot
/// be confused with a real value.
const TOO_LONG: i64 = i64::MIN;

/// Returns the column list of a SELECT that replaces values over the length limit with a marker.
///
/// `octet_length` does not load the value, so a value of 16 MiB costs nothing.
pub(super) fn select(columns: &[&str]) -> String {
    // Computed with a shift, because SQLite parses the literal of the smallest integer as a float.
    let guarded = columns
        .iter()
        .map(|c| format!("CASE WHEN octet_length({c}) > {MAX_TEXT} THEN 1 << 63 ELSE {c} END"));
    guarded.collect::<Vec<_>>().join(", ")
}

/// Reads a column that was selected with [`select`].
pub(super) fn field(row: &Row<'_>, index: usize) -> rusqlite::Result<Field> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Field::Null,
        ValueRef::Text(bytes) => str::from_utf8(bytes)
            .map_or(Field::Other { what: "text that is not UTF-8" }, Field::text),
        ValueRef::Blob(_) => Field::Other { what: "a blob" },
        ValueRef::Integer(TOO_LONG) => Field::TOO_LONG,
        ValueRef::Integer(_) | ValueRef::Real(_) => Field::Other { what: "a number" },
    })
}
