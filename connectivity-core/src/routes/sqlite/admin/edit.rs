//! Changes of a single row.

use std::fmt;

use rusqlite::{Statement, Transaction};

use super::RouteCheck;
use super::deletion::DeleteRow;
use super::error::{AdminError, TransactionError};
use super::stored;
use crate::name::shown;
use crate::routes::config::RouteWarning;
use crate::routes::route::Route;
use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::store::read_strategies;

/// Desired content of a row. Fields that are not set keep their value in an existing row, and are
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
    /// Creates a spec for the service or method `name`, served by `strategy`.
    pub fn new(name: impl Into<String>, strategy: impl Into<String>) -> Self {
        Self { name: name.into(), strategy: strategy.into(), endpoint: None, config: None }
    }

    /// Sets the endpoint. An empty text removes it.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }

    /// Sets the whole config, a JSON object.
    pub fn config(self, json: impl Into<String>) -> Self {
        Self { config: Some(json.into()), ..self }
    }

    /// Returns the resulting row.
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

/// Omits the config, which may contain plain header values.
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
    check_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    let before = row(tx, &spec.name)?;
    write(tx, spec, before.as_ref(), check_strategy)
}

pub(super) fn set_strategy(
    tx: &Transaction<'_>,
    spec: &RouteSpec,
    check_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    match row(tx, &spec.name)? {
        Some(before) => write(tx, spec, Some(&before), check_strategy),
        None => Err(not_found(tx, &spec.name)?.into()),
    }
}

pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Result<(), TransactionError> {
    match DeleteRow::prepare(tx)?.row(name)? {
        0 => Err(not_found(tx, name)?.into()),
        _ => Ok(()),
    }
}

fn write(
    tx: &Transaction<'_>,
    spec: &RouteSpec,
    before: Option<&RouteRow>,
    check_strategy: &RouteCheck,
) -> Result<(), TransactionError> {
    let row = spec.row(before);
    let route = check(&sorted_strategies(tx)?, &row)?;
    check_strategy(&route).map_err(AdminError::from)?;
    // Only reject unknown keys that this change sets. The router warns about existing ones; an old
    // mistake must not block a change of the strategy.
    let mut new_warnings = route.config().warnings.iter().filter(|_| spec.config.is_some());
    if let Some(error) = new_warnings.find_map(RouteWarning::refusal) {
        return Err(error.into());
    }
    UpsertRow::prepare(tx)?.row(&row).map_err(TransactionError::Sqlite)
}

/// Returns the strategies that the file lists, sorted.
pub(super) fn sorted_strategies(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut strategies = read_strategies(tx)?;
    strategies.sort();
    Ok(strategies)
}

/// Validates a row as a router does, and checks that the file lists its strategy.
pub(super) fn check(strategies: &[String], row: &RouteRow) -> Result<Route, AdminError> {
    match row.strategy() {
        Field::Text(word) if !strategies.contains(word) => {
            Err(AdminError::UnknownStrategy { word: shown(word), known: strategies.to_vec() })
        }
        _ => Ok(Route::parse(row)?),
    }
}

/// Writes rows whose columns are text or NULL. Writing a row that is already equal makes no change.
pub(super) struct UpsertRow<'tx> {
    update: Statement<'tx>,
    insert: Statement<'tx>,
}

impl<'tx> UpsertRow<'tx> {
    pub(super) fn prepare(tx: &'tx Transaction<'_>) -> rusqlite::Result<Self> {
        // Not ON CONFLICT, because it runs the INSERT triggers first.
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
        // Not valid UTF-8 if it cannot be read as text.
        let other = other.map(|other| shown(&other)).unwrap_or_default();
        let similarity = strsim::jaro_winkler(&name, &other);
        if similarity > best {
            (nearest, best) = (Some(other), similarity);
        }
    }
    Ok(AdminError::NotFound { name, nearest })
}
