//! Creates the tables, triggers and views of this crate, and detects that some are missing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use crate::routes::strategy::Strategy;

const SCHEMA: &str = include_str!("schema.sql");
const GO_MADE: &str = include_str!("go_made.sql");
const ROW_NUMBERS: &str = include_str!("row_numbers.sql");

/// Schema version that this code creates, stored in `meta`.
const VERSION: i64 = 2;

/// Result of checking a file for the table `routes`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no table `routes`.
    NoTable,
    /// The table `routes` lacks this column, so it belongs to another program.
    OtherTable(&'static str),
    /// The table `routes` is readable.
    Table,
}

/// Checks that the table `routes` exists and has the columns that are read.
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

/// Returns the column names of `routes`.
pub(super) fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_table_info('routes')")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Creates missing objects in one transaction. Existing ones stay, including a table made by Go.
pub(super) fn apply(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    apply_in(&tx)?;
    tx.commit()
}

pub(super) fn apply_in(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let words = allowed_by_check(tx)?;
    if meta::<i64>(tx, "schema")?.is_some_and(|version| version < VERSION) {
        drop_own_objects(tx)?;
        tx.execute("UPDATE meta SET value = ?1 WHERE key = 'schema'", [VERSION])?;
    }
    create(tx, words.as_deref(), || has_row_numbers(tx))
}

/// Drops the triggers and views of this crate, because their text differs between versions.
pub(super) fn drop_own_objects(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for name in triggers(tx)?.keys() {
        tx.execute_batch(&format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\"")))?;
    }
    tx.execute_batch("DROP VIEW IF EXISTS history; DROP VIEW IF EXISTS set_route")
}

/// Properties of a file that decide which scripts apply.
#[derive(PartialEq, Eq)]
struct Kind {
    /// Strategies that the CHECK of a table made by Go allows.
    go_words: Option<Vec<String>>,
    /// Whether the table has rowids, through which an INSERT can replace an unrelated row.
    row_numbers: bool,
}

/// Runs the scripts for a file. `row_numbers` is called once the table exists.
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
            connection.execute_batch(&restrict_strategies(words))
        }
        None => add_words(connection, Strategy::BUILT_IN),
    }
}

fn has_row_numbers(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = 'routes' AND type = 'table' AND wr = 0";
    connection.prepare(query)?.exists([])
}

/// Adds strategies that `routes.strategy` may hold.
pub(super) fn add_words(
    connection: &Connection,
    words: &[impl AsRef<str>],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO strategies(name) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM strategies WHERE name = ?1)",
    )?;
    words.iter().try_for_each(|word| insert.execute([word.as_ref()]).map(drop))
}

/// Returns a trigger that rejects a strategy at once. Without it the CHECK of a table made by Go
/// would only fail when a row uses the strategy.
fn restrict_strategies(words: &[String]) -> String {
    // Strategies only contain letters, digits, `_` and `-`, so they need no quoting.
    format!(
        "CREATE TRIGGER cn_strategies_go BEFORE INSERT ON strategies WHEN NEW.name NOT IN ('{}') BEGIN
            SELECT RAISE(ABORT, 'strategies: this routes table was made by the Go original and can hold no other word; see: connectivity init --upgrade');
        END;",
        words.join("','")
    )
}

/// Returns whether the table rejects some of the built-in strategies.
pub(super) fn rejects_built_in(tx: &Transaction<'_>) -> rusqlite::Result<bool> {
    Ok(allowed_by_check(tx)?.is_some())
}

/// Finds the strategies that the CHECK of a table allows. Returns `None` if it has no CHECK or
/// allows all built-in strategies.
fn allowed_by_check(tx: &Transaction<'_>) -> rusqlite::Result<Option<Vec<String>>> {
    if !has_check(tx)? {
        return Ok(None);
    }
    // The probe is rolled back as a whole. Our own triggers would interfere, if some of them exist
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
        Strategy::BUILT_IN.iter().any(|built_in| words.iter().all(|word| word != built_in))
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

/// Returns the strategies to probe: the built-in ones, one of an older Go version, and those that
/// rows already use.
fn candidates(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut words: Vec<String> =
        Strategy::BUILT_IN.iter().copied().chain(["grpc"]).map(str::to_owned).collect();
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

/// Returns whether all objects exist and are current. A newer schema counts as complete and is left
/// alone.
pub(super) fn is_complete(connection: &Connection) -> rusqlite::Result<bool> {
    match meta::<i64>(connection, "schema")? {
        None => Ok(false),
        Some(version) if version > VERSION => Ok(true),
        Some(_) => Ok(trigger_warnings(connection)?.is_empty()),
    }
}

/// Compares the triggers in the file with those of this version. Each problem is one sentence with
/// the remedy.
pub(super) fn trigger_warnings(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if let Some(version) = meta::<i64>(connection, "schema")?.filter(|&version| version > VERSION) {
        let text = format!(
            "the schema is version {version}, this program knows {VERSION}; triggers were not compared"
        );
        return Ok(vec![text]);
    }
    let found = triggers(connection)?;
    let (mut missing, mut altered) = (Vec::new(), Vec::new());
    for (name, sql) in expected_triggers(connection)? {
        match found.get(&name) {
            None => missing.push(name),
            Some(other) if *other != sql => altered.push(name),
            Some(_) => {}
        }
    }
    let reports = [
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
    let reports = reports.iter().filter(|(_, names, _)| !names.is_empty());
    Ok(reports
        .map(|(problem, names, advice)| format!("{problem}: {}; {advice}", names.join(", ")))
        .collect())
}

/// Returns the triggers as SQLite would store them for this file. They are created in memory,
/// because SQLite normalizes their text in its own way.
fn expected_triggers(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let kind = Kind { go_words: go_words(connection)?, row_numbers: has_row_numbers(connection)? };
    // Creating the triggers takes far longer than the rest of an `inspect`.
    static CACHE: Mutex<Option<(Kind, BTreeMap<String, String>)>> = Mutex::new(None);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, triggers)) = cache.as_ref().filter(|(cached, _)| *cached == kind) {
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
    *cache = Some((kind, triggers.clone()));
    Ok(triggers)
}

/// Returns the strategies that the CHECK of a table made by Go allows, or `None` if it allows any.
pub(super) fn go_words(connection: &Connection) -> rusqlite::Result<Option<Vec<String>>> {
    let words: Option<String> = meta(connection, "go_words")?;
    // Validated, because they become part of a statement and any user may have written them.
    let checked = |words: String| {
        words.split(',').filter(|w| Strategy::parse(w).is_ok()).map(str::to_owned).collect()
    };
    Ok(words.map(checked))
}

/// Returns the triggers of this crate by name.
pub(super) fn triggers(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare(r"SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'cn\_%' ESCAPE '\'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Returns a value of the table `meta`, if the table and the key exist and the value has this type.
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
