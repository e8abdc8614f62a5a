//! Detects whether the file still contains the history that the last read belongs to.

use rusqlite::{Connection, OptionalExtension};

use super::connection::data_version;
use super::schema;

/// State of the file at the time of a read, compared with later content of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    file: Option<String>,
    generation: i64,
    mark: Option<Vec<u8>>,
    /// `data_version` of the connection, which changes with every commit of another connection.
    version: i64,
}

impl Lineage {
    /// Reads the state. Call it within the transaction that reads the rows.
    pub(super) fn read(connection: &Connection, generation: i64) -> rusqlite::Result<Self> {
        let (file, mark) = (schema::meta(connection, "file_id")?, mark(connection, generation));
        Ok(Self { file, generation, mark, version: data_version(connection)? })
    }

    /// Returns whether there was no commit since. `connection` must be the one that read this
    /// state.
    pub(super) fn is_newest(&self, connection: &Connection) -> bool {
        data_version(connection).is_ok_and(|version| version == self.version)
    }

    /// Returns whether the content behind `connection` continues the history of this state.
    pub(super) fn is_continued_by(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let file: Option<String> = schema::meta(connection, "file_id")?;
        let generation = schema::meta(connection, "generation")?.unwrap_or(0);
        let mark = mark(connection, self.generation);
        // The entry may have been pruned.
        let same_mark = mark.is_none() || self.mark.is_none() || mark == self.mark;
        Ok(file == self.file && generation >= self.generation && same_mark)
    }
}

/// Returns the mark of a history entry, if the history contains it.
fn mark(connection: &Connection, generation: i64) -> Option<Vec<u8>> {
    let query = "SELECT mark FROM route_history WHERE id = ?1 AND typeof(mark) = 'blob'";
    connection.query_row(query, [generation], |row| row.get(0)).optional().unwrap_or_default()
}
