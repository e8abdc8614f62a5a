//! Columns that may hold any SQLite value.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::routes::row::{Field, MAX_TEXT};

/// Stands in for a value that is too long to load. No column of ours holds numbers, so it is taken
/// for no other value.
const TOO_LONG: i64 = i64::MIN;

/// Lists columns for a SELECT.
///
/// `octet_length` does not load the value, so that 16 MiB in a row cost nothing.
pub(super) fn select(columns: &[&str]) -> String {
    // Computed, because SQLite reads the literal of the smallest number as a float.
    let guarded = columns
        .iter()
        .map(|c| format!("CASE WHEN octet_length({c}) > {MAX_TEXT} THEN 1 << 63 ELSE {c} END"));
    guarded.collect::<Vec<_>>().join(", ")
}

/// Reads one of the columns that [`select`] got.
pub(super) fn field(row: &Row<'_>, at: usize) -> rusqlite::Result<Field> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Field::Null,
        ValueRef::Text(bytes) => str::from_utf8(bytes)
            .map_or(Field::Other { what: "text that is not UTF-8" }, Field::text),
        ValueRef::Blob(_) => Field::Other { what: "a blob" },
        ValueRef::Integer(TOO_LONG) => Field::TOO_LONG,
        ValueRef::Integer(_) | ValueRef::Real(_) => Field::Other { what: "a number" },
    })
}
