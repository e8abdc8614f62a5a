//! The tables of the source: their columns, keys and indexes.

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::SyncError;
use super::filter::TableFilter;

/// The name under which the source is attached.
pub(super) const SOURCE: &str = "source";

/// A table of the source.
pub(super) struct Table {
    /// The name, spelled as in the schema.
    pub(super) name: String,
    /// Its `CREATE TABLE`.
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    pub(super) indexes: Vec<Index>,
    pub(super) without_rowid: bool,
    pub(super) strict: bool,
}

/// A column of a table.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) declared_type: String,
    pub(super) not_null: bool,
    /// The place in the primary key, from 1; 0 if it is no part of it.
    pub(super) key: u32,
    pub(super) generated: bool,
}

/// An index of a table.
pub(super) struct Index {
    pub(super) name: String,
    /// Its `CREATE INDEX`; `None` if a constraint of the table made it.
    pub(super) sql: Option<String>,
    pub(super) unique: bool,
    /// Whether the primary key made it.
    pub(super) is_primary_key: bool,
    pub(super) partial: bool,
    pub(super) columns: Vec<IndexColumn>,
}

/// A column of an index. Its name is `None` if it is an expression.
pub(super) struct IndexColumn {
    pub(super) name: Option<String>,
    pub(super) collation: String,
    pub(super) descending: bool,
}

/// Quotes an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Reads a table of the source, by a name in any case, as SQLite compares names.
    pub(super) fn read(connection: &Connection, filter: &TableFilter) -> Result<Self, SyncError> {
        let failed = |cause: rusqlite::Error| SyncError::filter(&filter.table, cause);
        let (name, without_rowid, strict) = find(connection, &filter.table)?;
        let sql = create_statement(connection, &name).map_err(failed)?;
        let columns = columns(connection, &name).map_err(failed)?;
        let indexes = indexes(connection, &name).map_err(failed)?;
        Ok(Self { name, sql, columns, indexes, without_rowid, strict })
    }

    /// Returns the collation of each column.
    ///
    /// SQLite tells the collation of an index's column only, so an empty table is made of the same
    /// statement, with an index on each column.
    pub(super) fn collations(&self) -> rusqlite::Result<Vec<String>> {
        let scratch = Connection::open_in_memory()?;
        scratch.execute_batch(&self.sql)?;
        let collation = |(at, column): (usize, &Column)| {
            let (table, column) = (quoted(&self.name), quoted(&column.name));
            scratch.execute_batch(&format!("CREATE INDEX probe{at} ON {table} ({column})"))?;
            let sql = "SELECT coll FROM pragma_index_xinfo(?1) WHERE seqno = 0";
            scratch.query_row(sql, [format!("probe{at}")], |row| row.get(0))
        };
        self.columns.iter().enumerate().map(collation).collect()
    }
}

/// Finds an ordinary table, and returns its name and whether it is without rowid and strict.
fn find(connection: &Connection, name: &str) -> Result<(String, bool, bool), SyncError> {
    let sql = "SELECT name, type, wr, strict FROM pragma_table_list
               WHERE schema = ?1 AND name = ?2 COLLATE NOCASE";
    let found = connection
        .query_row(sql, [SOURCE, name], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()
        .map_err(|cause| SyncError::filter(name, cause))?;
    let Some((found, kind, without_rowid, strict)) = found else {
        return Err(SyncError::filter(name, "the database has no such table"));
    };
    let problem = match kind.as_str() {
        _ if name.to_ascii_lowercase().starts_with("sqlite_") => "it is a table of SQLite itself",
        "table" => return Ok((found, without_rowid, strict)),
        "view" => "it is a view; publish the tables that it reads, or a table made of it",
        "shadow" => "it belongs to a virtual table, and may hold what the filter hides",
        _ => "it is a virtual table; publish the tables that its content comes from",
    };
    Err(SyncError::filter(name, problem))
}

fn create_statement(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    let sql = format!("SELECT sql FROM {SOURCE}.sqlite_schema WHERE type = 'table' AND name = ?1");
    connection.query_row(&sql, [table], |row| row.get(0))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1, ?2)";
    let column = |row: &Row<'_>| {
        Ok(Column {
            name: row.get(0)?,
            declared_type: row.get(1)?,
            not_null: row.get(2)?,
            key: row.get(3)?,
            generated: row.get::<_, i64>(4)? != 0,
        })
    };
    connection.prepare(sql)?.query_map([table, SOURCE], column)?.collect()
}

fn indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Index>> {
    let sql = format!(
        "SELECT list.name, sql, \"unique\", origin = 'pk', partial
         FROM pragma_index_list(?1, ?2) AS list
         LEFT JOIN {SOURCE}.sqlite_schema AS made ON made.type = 'index' AND made.name = list.name
         ORDER BY list.name"
    );
    let index = |row: &Row<'_>| {
        Ok(Index {
            name: row.get(0)?,
            sql: row.get(1)?,
            unique: row.get(2)?,
            is_primary_key: row.get(3)?,
            partial: row.get(4)?,
            columns: Vec::new(),
        })
    };
    let mut statement = connection.prepare(&sql)?;
    let mut indexes: Vec<Index> =
        statement.query_map([table, SOURCE], index)?.collect::<rusqlite::Result<_>>()?;
    for index in &mut indexes {
        index.columns = index_columns(connection, &index.name)?;
    }
    Ok(indexes)
}

fn index_columns(connection: &Connection, index: &str) -> rusqlite::Result<Vec<IndexColumn>> {
    let sql =
        "SELECT name, coll, \"desc\" FROM pragma_index_xinfo(?1, ?2) WHERE key ORDER BY seqno";
    let column = |row: &Row<'_>| {
        Ok(IndexColumn { name: row.get(0)?, collation: row.get(1)?, descending: row.get(2)? })
    };
    connection.prepare(sql)?.query_map([index, SOURCE], column)?.collect()
}
