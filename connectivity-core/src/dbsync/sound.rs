//! Verifies that a received file is a sound database.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::routes::{MayFail, immutable_uri};

/// How long the check of a file may take, and SQLite's steps between two looks at the clock.
const LIMIT: Duration = Duration::from_secs(60);
const STEPS: i32 = 10_000;

/// The first bytes of a database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Opens a file that nobody writes, for reading: without locks, and without files beside it.
pub(super) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(immutable_uri(path), flags)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON",
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(connection)
}

/// Checks that a file is a sound database, and that it holds ordinary tables and indexes only,
/// unless `any_schema` allows the rest. The error says what is wrong.
pub(super) fn check(path: &Path, any_schema: bool) -> Result<(), String> {
    let mut header = [0; HEADER.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() || header != *HEADER {
        return Err("it is no SQLite database".to_owned());
    }
    let damaged = |cause: rusqlite::Error| format!("it is no sound SQLite database: {cause}");
    let mut connection = open_immutable(path).map_err(damaged)?;
    let began = Instant::now();
    let is_over = move || began.elapsed() > LIMIT;
    connection.progress_handler(STEPS, Some(is_over)).checked().map_err(damaged)?;
    if !any_schema && let Some(found) = beyond_tables(&connection).map_err(damaged)? {
        return Err(format!("it has {found}, and only tables and indexes are taken"));
    }
    let sql = "PRAGMA quick_check(1)";
    match connection.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(damaged)? {
        ok if ok == "ok" => Ok(()),
        _ => Err("it is no sound SQLite database".to_owned()),
    }
}

/// Returns the kind of something in the schema that is neither table nor index: a reader that takes
/// it for a table could run into a query without end.
fn beyond_tables(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql =
        "SELECT CASE WHEN type = 'table' THEN 'virtual table' ELSE type END FROM sqlite_schema
               WHERE type NOT IN ('table', 'index') OR type = 'table' AND rootpage = 0
               ORDER BY 1 LIMIT 1";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let kind = |row: &rusqlite::Row<'_>| Ok(format!("a {}", row.get::<_, String>(0)?));
    rows.next()?.map(kind).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(sql: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x #?.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        (dir, path)
    }

    #[test]
    fn tables_are_sound_and_what_may_be_without_end_is_refused() {
        let (_dir, path) = database("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1), (2)");
        check(&path, false).unwrap();
        for (sql, found) in [
            (
                "CREATE VIEW v AS WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT * FROM n",
                "a view",
            ),
            (
                "CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END",
                "a trigger",
            ),
            ("CREATE VIRTUAL TABLE f USING fts5(a)", "a virtual table"),
        ] {
            let (_dir, path) = database(sql);
            let error = check(&path, false).unwrap_err();
            assert!(error.contains(found), "{error}");
            check(&path, true).unwrap();
        }
    }

    #[test]
    fn a_database_with_a_byte_of_its_tree_changed_is_refused() {
        let (_dir, path) = database(
            "CREATE TABLE t (a); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) INSERT INTO t SELECT hex(randomblob(40)) FROM n",
        );
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2 * 4096 + 8..2 * 4096 + 40].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        assert!(check(&path, false).unwrap_err().contains("sound"));
    }
}
