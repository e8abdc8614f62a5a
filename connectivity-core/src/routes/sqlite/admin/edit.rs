//! Changes of one row.

use std::fmt;

use rusqlite::{Statement, Transaction};

use super::RouteCheck;
use super::error::{AdminError, TransactionError};
use super::stored;
use super::take_away::Delete;
use crate::name::shown;
use crate::routes::config::RouteWarning;
use crate::routes::route::Route;
use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::store::known_words;

/// States what a row should say. What is not stated stays as it is in a row that is there, and is
/// empty in a new one.
///
/// ```
/// use connectivity_core::RouteSpec;
///
/// let spec = RouteSpec::new("billing", "quic").endpoint("10.0.0.5:4433").config(r#"{"timeout_ms":500}"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a spec does nothing until it is given to `Admin::upsert`"]
pub struct RouteSpec {
    name: String,
    strategy: String,
    endpoint: Option<String>,
    config: Option<String>,
}

impl RouteSpec {
    /// States the name of a service or method, and how it is served.
    pub fn new(name: impl Into<String>, strategy: impl Into<String>) -> Self {
        Self { name: name.into(), strategy: strategy.into(), endpoint: None, config: None }
    }

    /// States where the transport goes; an empty text takes the endpoint away.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }

    /// States the config as a whole, a JSON object.
    pub fn config(self, json: impl Into<String>) -> Self {
        Self { config: Some(json.into()), ..self }
    }

    /// The row that comes of it.
    fn row(&self, before: Option<&RouteRow>) -> RouteRow {
        let endpoint = match &self.endpoint {
            Some(text) if text.is_empty() => Field::Null,
            Some(text) => Field::text(text),
            None => before.map_or(Field::Null, |row| row.endpoint().clone()),
        };
        let config = match &self.config {
            Some(json) => Field::text(json),
            None => before.map_or_else(|| Field::text("{}"), |row| row.config().clone()),
        };
        RouteRow::from_fields(
            Field::text(&self.name),
            Field::text(&self.strategy),
            endpoint,
            config,
        )
    }
}

/// Leaves the config out, which may hold plain header values.
impl fmt::Debug for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSpec")
            .field("name", &self.name)
            .field("strategy", &self.strategy)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

pub(super) fn upsert(
    tx: &Transaction<'_>,
    spec: &RouteSpec,
    of_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    let before = row(tx, &spec.name)?;
    write(tx, spec, before.as_ref(), of_strategy)
}

pub(super) fn set_strategy(
    tx: &Transaction<'_>,
    spec: &RouteSpec,
    of_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    match row(tx, &spec.name)? {
        Some(before) => write(tx, spec, Some(&before), of_strategy),
        None => Err(not_found(tx, &spec.name)?.into()),
    }
}

pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Result<(), TransactionError> {
    match Delete::prepare(tx)?.row(name)? {
        0 => Err(not_found(tx, name)?.into()),
        _ => Ok(()),
    }
}

fn write(
    tx: &Transaction<'_>,
    spec: &RouteSpec,
    before: Option<&RouteRow>,
    of_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    let row = spec.row(before);
    let route = check(&known(tx)?, &row)?;
    of_strategy(&route).map_err(AdminError::from)?;
    // What stood there before is the router's to warn of: an old mistake must not be in the way of
    // a move.
    let mut stated = route.config().warnings().iter().filter(|_| spec.config.is_some());
    if let Some(error) = stated.find_map(RouteWarning::refusal) {
        return Err(error.into());
    }
    Put::prepare(tx)?.row(&row).map_err(TransactionError::Sqlite)
}

/// The words that the file knows as strategies, sorted.
pub(super) fn known(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut known = known_words(tx)?;
    known.sort();
    Ok(known)
}

/// Checks a row as a router does, and its strategy against what the file allows.
pub(super) fn check(known: &[String], row: &RouteRow) -> Result<Route, AdminError> {
    match row.strategy() {
        Field::Text(word) if !known.contains(word) => {
            Err(AdminError::UnknownStrategy { word: shown(word), known: known.to_vec() })
        }
        _ => Ok(Route::parse(row)?),
    }
}

/// Writes rows whose columns are texts or NULL. One that says the same already makes no change.
pub(super) struct Put<'tx> {
    update: Statement<'tx>,
    insert: Statement<'tx>,
}

impl<'tx> Put<'tx> {
    pub(super) fn prepare(tx: &'tx Transaction<'_>) -> rusqlite::Result<Self> {
        // Not ON CONFLICT, which lets the triggers of an INSERT run first.
        let update =
            "UPDATE routes SET strategy = ?1, endpoint = ?2, config = ?3 WHERE service_name = ?4";
        let insert =
            "INSERT INTO routes(strategy, endpoint, config, service_name) VALUES (?1, ?2, ?3, ?4)";
        Ok(Self { update: tx.prepare(update)?, insert: tx.prepare(insert)? })
    }

    pub(super) fn row(&mut self, row: &RouteRow) -> rusqlite::Result<()> {
        let columns = [row.strategy(), row.endpoint(), row.config(), row.name()].map(text);
        if self.update.execute(columns)? == 0 {
            self.insert.execute(columns)?;
        }
        Ok(())
    }
}

fn text(field: &Field) -> Option<&str> {
    match field {
        Field::Text(text) => Some(text),
        _ => None,
    }
}

fn row(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<RouteRow>> {
    Ok(stored::read(tx, name)?.map(stored::StoredRoute::into_row))
}

pub(super) fn not_found(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<AdminError> {
    let mut statement =
        tx.prepare("SELECT service_name FROM routes WHERE typeof(service_name) = 'text'")?;
    let name = shown(name);
    let (mut nearest, mut best) = (None, 0.8);
    for other in statement.query_map([], |row| row.get::<_, String>(0))? {
        // Not valid UTF-8, if it cannot be read.
        let other = other.map(|other| shown(&other)).unwrap_or_default();
        let likeness = strsim::jaro_winkler(&name, &other);
        if likeness > best {
            (nearest, best) = (Some(other), likeness);
        }
    }
    Ok(AdminError::NotFound { name, nearest })
}
