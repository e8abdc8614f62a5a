//! Back to what rows were.

use std::collections::BTreeMap;

use rusqlite::{ErrorCode, Transaction};

use super::edit::{Put, check, known, not_found};
use super::error::{AdminError, TransactionError};
use super::stored::{self, Find};
use super::take_away::Delete;
use crate::routes::error::RouteError;
use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::history::{self, Change};

/// Reports what a rollback did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollbackReport {
    /// What changed, newest first.
    pub changes: Vec<Change>,
    /// Rows that were bad at that generation. Each text names one, says what is wrong with it, and
    /// whether it is now what it was then, or stays as it is because the file refuses it.
    pub bad: Vec<RouteError>,
}

/// Puts rows back to what they were at a generation: what they were before the first change after
/// it. Returns what was wrong with them.
pub(super) fn rollback(
    tx: &Transaction<'_>,
    generation: u64,
    name: Option<&str>,
) -> Result<Vec<RouteError>, TransactionError> {
    let after = reachable(tx, generation)?;
    let mut then: BTreeMap<String, Option<RouteRow>> = BTreeMap::new();
    // Newest first, so that the first change after the generation has the last word.
    for change in history::since(tx, name, after)? {
        if let Field::Text(name) = change.name {
            then.insert(name, change.before);
        }
    }
    if let Some(name) = name.filter(|name| !then.contains_key(*name))
        && stored::read(tx, name)?.is_none()
    {
        return Err(not_found(tx, name)?.into());
    }
    let mut restore = Restore {
        find: Find::prepare(tx)?,
        delete: Delete::prepare(tx)?,
        put: Put::prepare(tx)?,
        known: known(tx)?,
        of_one: name.is_some(),
        bad: Vec::new(),
    };
    then.into_iter().try_for_each(|(name, row)| restore.row(&name, row))?;
    Ok(restore.bad)
}

/// Its statements are prepared once: each has all triggers in it.
struct Restore<'tx> {
    find: Find<'tx>,
    delete: Delete<'tx>,
    put: Put<'tx>,
    /// The words that the file knows as strategies.
    known: Vec<String>,
    /// Whether one row was asked for by name.
    of_one: bool,
    bad: Vec<RouteError>,
}

impl Restore<'_> {
    fn row(&mut self, name: &str, then: Option<RouteRow>) -> Result<(), TransactionError> {
        let now = self.find.row(name)?.map(stored::StoredRoute::into_row);
        match then {
            then if then == now => Ok(()),
            None => self.delete.row(name).map(drop).map_err(TransactionError::Sqlite),
            Some(then) => self.checked(&then),
        }
    }

    fn checked(&mut self, row: &RouteRow) -> Result<(), TransactionError> {
        let Err(cause) = check(&self.known, row) else {
            return self.put.row(row).map_err(TransactionError::Sqlite);
        };
        let name = row.shown_name();
        if self.of_one {
            let text =
                format_args!("the row `{name}` of that generation would be bad today: {cause}");
            return Err(RouteError::new(text).into());
        }
        let told = match self.put_bad(row)? {
            true => {
                RouteError::new(format_args!("the row `{name}` is bad, as it was then: {cause}"))
            }
            false => RouteError::new(format_args!("the row `{name}` stays as it is now: {cause}")),
        };
        self.bad.push(told);
        Ok(())
    }

    /// Restores a bad row, unless the file refuses it or the history does not hold its values.
    fn put_bad(&mut self, row: &RouteRow) -> Result<bool, TransactionError> {
        let columns = [row.name(), row.strategy(), row.endpoint(), row.config()];
        if columns.iter().any(|column| matches!(column, Field::Other { .. })) {
            return Ok(false);
        }
        match self.put.row(row) {
            Ok(()) => Ok(true),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Makes sure that the history tells every change after a generation: its numbers have no holes.
fn reachable(tx: &Transaction<'_>, generation: u64) -> Result<i64, TransactionError> {
    let newest = history::newest(tx)?;
    let oldest = history::oldest_without_hole(tx, newest)?;
    match i64::try_from(generation).ok().filter(|wanted| (oldest..=newest).contains(wanted)) {
        Some(wanted) => Ok(wanted),
        None => Err(AdminError::NoSuchGeneration {
            generation,
            oldest: u64::try_from(oldest).unwrap_or(0),
            newest: u64::try_from(newest).unwrap_or(0),
        }
        .into()),
    }
}
