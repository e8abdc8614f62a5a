//! Columns that may hold any SQLite value.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::routes::row::{Field, MAX_TEXT};

/// Lists columns for a SELECT, two results each: whether the value is too long, and the value if it is not.
///
/// `octet_length` does not load the value, so that 16 MiB in a row cost nothing.
pub(super) fn select(columns: &[&str]) -> String {
    let guarded = columns
        .iter()
        .map(|c| format!("octet_length({c}) > {MAX_TEXT}, CASE WHEN octet_length({c}) <= {MAX_TEXT} THEN {c} END"));
    guarded.collect::<Vec<_>>().join(", ")
}

/// Reads the column at this place of the list that [`select`] got.
pub(super) fn field(row: &Row<'_>, at: usize) -> rusqlite::Result<Field> {
    if row.get_ref(2 * at)? == ValueRef::Integer(1) {
        return Ok(Field::TOO_LONG);
    }
    Ok(match row.get_ref(2 * at + 1)? {
        ValueRef::Null => Field::Null,
        ValueRef::Text(bytes) => {
            str::from_utf8(bytes).map_or(Field::Other { what: "text that is not UTF-8" }, Field::text)
        }
        ValueRef::Blob(_) => Field::Other { what: "a blob" },
        ValueRef::Integer(_) | ValueRef::Real(_) => Field::Other { what: "a number" },
    })
}
