//! Tests on real files in temporary directories, written through plain connections and the sqlite3
//! shell of the system.

mod admin;
mod endless;
mod go_made;
mod opening;
mod reading;
mod typos;
mod watching;

use std::path::PathBuf;
use std::process::Command;

use rusqlite::Connection;
use tempfile::TempDir;

use super::SqliteRoutes;
use crate::Name;
use crate::routes::{RouteRow, RouteSource};

/// A routes file in its own directory.
struct File {
    dir: TempDir,
    path: PathBuf,
}

impl File {
    /// Returns a path without a file.
    fn missing() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routes.db");
        Self { dir, path }
    }

    /// Creates a file with our schema.
    fn with_schema() -> (Self, SqliteRoutes) {
        let file = Self::missing();
        let routes = SqliteRoutes::open_or_create(&file.path).unwrap();
        (file, routes)
    }

    /// Opens a plain connection, as another program would.
    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection
    }

    /// Runs statements on a plain connection, as another program would.
    fn sql(&self, sql: &str) -> Result<(), String> {
        self.connect().execute_batch(sql).map_err(|e| e.to_string())
    }

    fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn generation(&self) -> i64 {
        self.number("SELECT value FROM meta WHERE key = 'generation'")
    }

    /// Runs statements in the sqlite3 shell, which is older than the linked library. Fails on a
    /// machine without the shell.
    fn shell(&self, sql: &str) -> Result<String, String> {
        let output = Command::new("sqlite3")
            .arg(&self.path)
            .arg(sql)
            .output()
            .expect("the tests need the sqlite3 shell");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Reads all rows, sorted by name.
fn rows(routes: &SqliteRoutes) -> Vec<RouteRow> {
    let mut rows = routes.read().unwrap().rows;
    rows.sort_by_key(|row| row.shown_name().into_owned());
    rows
}
