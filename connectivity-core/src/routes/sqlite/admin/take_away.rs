//! Deleting rows, those too that are too long to be read.

use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, Statement, Transaction};

use crate::routes::sqlite::columns::select;

const DELETE: &str = "DELETE FROM routes WHERE service_name = ?1";

/// Deletes rows by their names.
pub(super) struct Delete<'tx> {
    tx: &'tx Transaction<'tx>,
    usual: Statement<'tx>,
}

impl<'tx> Delete<'tx> {
    pub(super) fn prepare(tx: &'tx Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self { tx, usual: tx.prepare(DELETE)? })
    }

    /// Deletes the row of a name; returns how many there were.
    pub(super) fn row(&mut self, name: &str) -> rusqlite::Result<usize> {
        match self.usual.execute([name]) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::TooBig) => self.past_triggers(name),
            deleted => deleted,
        }
    }

    /// Deletes a row whose values SQLite does not load for us. The trigger that writes the history
    /// has to load them, so it is kept out, and the history is written here, with a mark where a
    /// value was too long.
    fn past_triggers(&self, name: &str) -> rusqlite::Result<usize> {
        let columns = select(&["strategy", "endpoint", "config"]);
        let note = format!(
            "INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config)
             SELECT 'delete', service_name, {columns} FROM routes WHERE service_name = ?1"
        );
        self.tx.execute(&note, [name])?;
        // Read when a statement is prepared, and of this connection only.
        self.tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        let deleted = self.tx.execute(DELETE, [name]);
        self.tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        deleted
    }
}
