//! Makes our tables, triggers and views, and tells when somebody has taken them away.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use crate::routes::strategy::Strategy;

const SCHEMA: &str = include_str!("schema.sql");
const GO_MADE: &str = include_str!("go_made.sql");
const ROW_NUMBERS: &str = include_str!("row_numbers.sql");

/// The version of the schema that this code makes; it stands in `meta`.
const VERSION: i64 = 2;

/// What stands in the file instead of a usable schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No table `routes`.
    NoTable,
    /// A table `routes` without this column.
    OtherTable(&'static str),
    /// A table `routes` that can be read.
    Table,
}

/// Looks whether the table `routes` is there and has the columns that are read.
pub(super) fn find(connection: &Connection) -> rusqlite::Result<Found> {
    let columns = columns(connection)?;
    if columns.is_empty() {
        return Ok(Found::NoTable);
    }
    let missing = ["service_name", "strategy", "endpoint", "config"]
        .into_iter()
        .find(|&c| columns.iter().all(|k| k != c));
    Ok(missing.map_or(Found::Table, Found::OtherTable))
}

/// Names the columns of `routes`.
pub(super) fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_table_info('routes')")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Makes what is missing, in one transaction; what is there stays, also a Go-made table.
pub(super) fn apply(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    apply_in(&tx)?;
    tx.commit()
}

pub(super) fn apply_in(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let words = probe(tx)?;
    if meta::<i64>(tx, "schema")?.is_some_and(|version| version < VERSION) {
        drop_ours(tx)?;
        tx.execute("UPDATE meta SET value = ?1 WHERE key = 'schema'", [VERSION])?;
    }
    create(tx, words.as_deref(), || has_row_numbers(tx))
}

/// Drops our triggers and views, whose text differs between versions.
pub(super) fn drop_ours(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for name in triggers(tx)?.keys() {
        tx.execute_batch(&format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\"")))?;
    }
    tx.execute_batch("DROP VIEW IF EXISTS history; DROP VIEW IF EXISTS set_route")
}

/// Which scripts a file needs.
#[derive(PartialEq, Eq)]
struct Kind {
    /// What the CHECK of a Go-made table allows.
    go_words: Option<Vec<String>>,
    /// Whether rows have numbers, by which an INSERT can hit another one.
    row_numbers: bool,
}

/// Runs the scripts for a file; `row_numbers` is asked when the table is there.
fn create(
    connection: &Connection,
    go_words: Option<&[String]>,
    row_numbers: impl FnOnce() -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    if go_words.is_some() {
        connection.execute_batch(GO_MADE)?;
    }
    connection.execute_batch(SCHEMA)?;
    if row_numbers()? {
        connection.execute_batch(ROW_NUMBERS)?;
    }
    connection.execute_batch(
        "DROP TRIGGER IF EXISTS cn_strategies_go; DELETE FROM meta WHERE key = 'go_words'",
    )?;
    match go_words {
        Some(words) => {
            add_words(connection, words)?;
            connection.execute(
                "INSERT INTO meta(key, value) VALUES ('go_words', ?1)",
                [words.join(",")],
            )?;
            connection.execute_batch(&narrow_strategies(words))
        }
        None => add_words(connection, &Strategy::BUILT_IN),
    }
}

fn has_row_numbers(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = 'routes' AND type = 'table' AND wr = 0";
    connection.prepare(query)?.exists([])
}

/// Adds words that `routes.strategy` may hold.
pub(super) fn add_words(
    connection: &Connection,
    words: &[impl AsRef<str>],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO strategies(name) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM strategies WHERE name = ?1)",
    )?;
    words.iter().try_for_each(|word| insert.execute([word.as_ref()]).map(drop))
}

/// Says at once what the CHECK of a Go-made table would only say when a row uses the word.
fn narrow_strategies(words: &[String]) -> String {
    // Words hold letters, digits, `_` and `-` only, so they need no quoting.
    format!(
        "CREATE TRIGGER cn_strategies_go BEFORE INSERT ON strategies WHEN NEW.name NOT IN ('{}') BEGIN
            SELECT RAISE(ABORT, 'strategies: this routes table was made by the Go original and can hold no other word; see: connectivity init --upgrade');
        END;",
        words.join("','")
    )
}

/// Whether the table cannot hold all of our words.
pub(super) fn is_narrow(tx: &Transaction<'_>) -> rusqlite::Result<bool> {
    Ok(probe(tx)?.is_some())
}

/// Finds the words that the CHECK of a table allows: `None` when it has no CHECK or allows all of
/// ours.
fn probe(tx: &Transaction<'_>) -> rusqlite::Result<Option<Vec<String>>> {
    if !has_check(tx)? {
        return Ok(None);
    }
    // Rolled back as a whole. Our own triggers would get in the way, if some of them are there
    // already.
    tx.execute_batch(
        "SAVEPOINT probe; DROP TRIGGER IF EXISTS cn_routes_check_insert; DROP TRIGGER IF EXISTS cn_routes_inserted",
    )?;
    let allowed = candidates(tx)?
        .into_iter()
        .filter_map(|word| allows(tx, &word).map(|yes| yes.then_some(word)).transpose());
    let allowed: rusqlite::Result<Vec<String>> = allowed.collect();
    tx.execute_batch("ROLLBACK TO probe; RELEASE probe")?;
    Ok(Some(allowed?).filter(|words| {
        Strategy::BUILT_IN.iter().any(|ours| words.iter().all(|word| word != ours))
    }))
}

fn has_check(connection: &Connection) -> rusqlite::Result<bool> {
    let sql: Option<String> = connection
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'routes'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(sql.is_some_and(|sql| sql.to_ascii_uppercase().contains("CHECK")))
}

/// Our words, one of an older Go version, and what rows hold already.
fn candidates(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut words: Vec<String> =
        Strategy::BUILT_IN.into_iter().chain(["grpc"]).map(str::to_owned).collect();
    let mut used = connection.prepare("SELECT DISTINCT strategy FROM routes")?;
    for word in used.query_map([], |row| Ok(row.get::<_, String>(0).ok()))? {
        words.extend(word?.filter(|word| Strategy::parse(word).is_ok()));
    }
    Ok(words)
}

fn allows(connection: &Connection, word: &str) -> rusqlite::Result<bool> {
    let insert = "INSERT INTO routes(service_name, strategy) VALUES (hex(randomblob(16)), ?1)";
    match connection.execute(insert, [word]) {
        Ok(_) => Ok(true),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether there is nothing to make; a newer schema is left alone.
pub(super) fn is_complete(connection: &Connection) -> rusqlite::Result<bool> {
    match meta::<i64>(connection, "schema")? {
        None => Ok(false),
        Some(version) if version > VERSION => Ok(true),
        Some(_) => Ok(troubles(connection)?.is_empty()),
    }
}

/// Compares the triggers in the file with ours; each trouble is one sentence that says what to do.
pub(super) fn troubles(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if let Some(version) = meta::<i64>(connection, "schema")?.filter(|&version| version > VERSION) {
        let text = format!(
            "the schema is version {version}, this program knows {VERSION}; triggers were not compared"
        );
        return Ok(vec![text]);
    }
    let found = triggers(connection)?;
    let (mut missing, mut altered) = (Vec::new(), Vec::new());
    for (name, sql) in wanted(connection)? {
        match found.get(&name) {
            None => missing.push(name),
            Some(other) if *other != sql => altered.push(name),
            Some(_) => {}
        }
    }
    let told = [
        (
            "triggers are missing, so typos or changes may pass unnoticed",
            missing,
            "put them back: connectivity init",
        ),
        (
            "triggers have another text than this version's",
            altered,
            "rewrite them: connectivity init --upgrade",
        ),
    ];
    let told = told.iter().filter(|(_, names, _)| !names.is_empty());
    Ok(told
        .map(|(what, names, advice)| format!("{what}: {}; {advice}", names.join(", ")))
        .collect())
}

/// The triggers as SQLite itself would store them for this file: made in memory, because it trims
/// their text its own way.
fn wanted(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let kind = Kind { go_words: go_words(connection)?, row_numbers: has_row_numbers(connection)? };
    // Making them takes far longer than all the rest of an `inspect`.
    static LAST: Mutex<Option<(Kind, BTreeMap<String, String>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, triggers)) = last.as_ref().filter(|(known, _)| *known == kind) {
        return Ok(triggers.clone());
    }
    let memory = Connection::open_in_memory()?;
    if kind.go_words.is_some() {
        memory.execute_batch(
            "CREATE TABLE routes (service_name, strategy, endpoint, config, updated_at)",
        )?;
    }
    create(&memory, kind.go_words.as_deref(), || Ok(kind.row_numbers))?;
    let triggers = triggers(&memory)?;
    *last = Some((kind, triggers.clone()));
    Ok(triggers)
}

/// The words that the CHECK of a Go-made table allows; `None` where the table can hold any.
pub(super) fn go_words(connection: &Connection) -> rusqlite::Result<Option<Vec<String>>> {
    let words: Option<String> = meta(connection, "go_words")?;
    // Checked, because they become part of a statement and anybody may have written them.
    let checked = |words: String| {
        words.split(',').filter(|w| Strategy::parse(w).is_ok()).map(str::to_owned).collect()
    };
    Ok(words.map(checked))
}

/// Our triggers, by name.
pub(super) fn triggers(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare(r"SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'cn\_%' ESCAPE '\'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// One value of the table `meta`, if both are there and of that type.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'";
    if connection.query_row(exists, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let value = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| Ok(row.get(0).ok()))
        .optional()?;
    Ok(value.flatten())
}
