//! Which history the rows that were read belong to.

use rusqlite::{Connection, OptionalExtension};

use super::connection::data_version;
use super::schema;

/// The state of the file at the time of a read, to compare a later content with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    file: Option<String>,
    generation: i64,
    mark: Option<Vec<u8>>,
    /// Counts the commits that the connection has seen.
    version: i64,
}

impl Lineage {
    /// Reads it inside of the transaction that reads the rows.
    pub(super) fn read(connection: &Connection, generation: i64) -> rusqlite::Result<Self> {
        let (file, mark) = (schema::meta(connection, "file_id")?, mark(connection, generation));
        Ok(Self { file, generation, mark, version: data_version(connection)? })
    }

    /// Returns whether no commit came since, as far as the connection can tell that read this.
    pub(super) fn is_newest(&self, connection: &Connection) -> bool {
        data_version(connection).is_ok_and(|version| version == self.version)
    }

    /// Returns whether the history of another content of the file contains this one.
    pub(super) fn continues_in(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let file: Option<String> = schema::meta(connection, "file_id")?;
        let generation = schema::meta(connection, "generation")?.unwrap_or(0);
        let mark = mark(connection, self.generation);
        // An old change may have been pruned.
        let same_mark = mark.is_none() || self.mark.is_none() || mark == self.mark;
        Ok(file == self.file && generation >= self.generation && same_mark)
    }
}

/// The mark of a change, where there is a history and it is kept.
fn mark(connection: &Connection, generation: i64) -> Option<Vec<u8>> {
    let query = "SELECT mark FROM route_history WHERE id = ?1 AND typeof(mark) = 'blob'";
    connection.query_row(query, [generation], |row| row.get(0)).optional().unwrap_or_default()
}
