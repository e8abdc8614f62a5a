//! Deletes rows, including rows that are too long to be read.

use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, Statement, Transaction};

use crate::routes::sqlite::columns::select;

const DELETE: &str = "DELETE FROM routes WHERE service_name = ?1";

/// Deletes rows by name.
pub(super) struct DeleteRow<'tx> {
    tx: &'tx Transaction<'tx>,
    delete: Statement<'tx>,
}

impl<'tx> DeleteRow<'tx> {
    pub(super) fn prepare(tx: &'tx Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self { tx, delete: tx.prepare(DELETE)? })
    }

    /// Deletes the row with this name and returns the number of deleted rows.
    pub(super) fn row(&mut self, name: &str) -> rusqlite::Result<usize> {
        match self.delete.execute([name]) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                self.delete_without_triggers(name)
            }
            deleted => deleted,
        }
    }

    /// Deletes a row whose values exceed our length limit. The history trigger would have to load
    /// them, so it is disabled and the history entry is written here, with a marker in place of
    /// each value that is too long.
    fn delete_without_triggers(&self, name: &str) -> rusqlite::Result<usize> {
        let columns = select(&["strategy", "endpoint", "config"]);
        let record = format!(
            "INSERT INTO route_history(op, service_name, old_strategy, old_endpoint, old_config)
             SELECT 'delete', service_name, {columns} FROM routes WHERE service_name = ?1"
        );
        self.tx.execute(&record, [name])?;
        // The setting takes effect when a statement is prepared, and only for this connection.
        self.tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        let deleted = self.tx.execute(DELETE, [name]);
        self.tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        deleted
    }
}
