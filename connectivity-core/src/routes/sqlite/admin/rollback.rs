//! Restores rows to an earlier generation.

use std::collections::BTreeMap;

use rusqlite::{ErrorCode, Transaction};

use super::deletion::DeleteRow;
use super::edit::{UpsertRow, check, not_found, sorted_strategies};
use super::error::{AdminError, TransactionError};
use super::stored::{self, FindRow};
use crate::routes::error::RouteError;
use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::history::{self, Change};

/// Result of a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollbackReport {
    /// The changes, newest first.
    pub changes: Vec<Change>,
    /// Errors of rows that were invalid at that generation. Each message names the row and its
    /// fault, and whether the row was restored regardless or kept because the file rejected it.
    pub bad: Vec<RouteError>,
}

/// Restores rows to a generation: each row becomes what it was before the first change after that
/// generation. Returns the errors of invalid rows.
pub(super) fn rollback(
    tx: &Transaction<'_>,
    generation: u64,
    name: Option<&str>,
) -> Result<Vec<RouteError>, TransactionError> {
    let after = check_reachable(tx, generation)?;
    let mut earlier: BTreeMap<String, Option<RouteRow>> = BTreeMap::new();
    // Newest first, so that the oldest change after the generation wins.
    for change in history::since(tx, name, after)? {
        if let Field::Text(name) = change.name {
            earlier.insert(name, change.before);
        }
    }
    if let Some(name) = name.filter(|name| !earlier.contains_key(*name))
        && stored::read(tx, name)?.is_none()
    {
        return Err(not_found(tx, name)?.into());
    }
    let mut restore = Restore {
        find: FindRow::prepare(tx)?,
        delete: DeleteRow::prepare(tx)?,
        upsert: UpsertRow::prepare(tx)?,
        strategies: sorted_strategies(tx)?,
        single_row: name.is_some(),
        invalid: Vec::new(),
    };
    earlier.into_iter().try_for_each(|(name, row)| restore.row(&name, row))?;
    Ok(restore.invalid)
}

/// Restores rows. Its statements are prepared once, because each of them includes all triggers.
struct Restore<'tx> {
    find: FindRow<'tx>,
    delete: DeleteRow<'tx>,
    upsert: UpsertRow<'tx>,
    /// Strategies that the file lists.
    strategies: Vec<String>,
    /// Whether the rollback is limited to one named row.
    single_row: bool,
    invalid: Vec<RouteError>,
}

impl Restore<'_> {
    fn row(&mut self, name: &str, earlier: Option<RouteRow>) -> Result<(), TransactionError> {
        let current = self.find.row(name)?.map(stored::StoredRoute::into_row);
        match earlier {
            earlier if earlier == current => Ok(()),
            None => self.delete.row(name).map(drop).map_err(TransactionError::Sqlite),
            Some(earlier) => self.restore(&earlier),
        }
    }

    fn restore(&mut self, row: &RouteRow) -> Result<(), TransactionError> {
        let Err(cause) = check(&self.strategies, row) else {
            return self.upsert.row(row).map_err(TransactionError::Sqlite);
        };
        let name = row.shown_name();
        if self.single_row {
            let text =
                format_args!("the row `{name}` of that generation would be bad today: {cause}");
            return Err(RouteError::new(text).into());
        }
        let report = match self.upsert_invalid(row)? {
            true => {
                RouteError::new(format_args!("the row `{name}` is bad, as it was then: {cause}"))
            }
            false => RouteError::new(format_args!("the row `{name}` stays as it is now: {cause}")),
        };
        self.invalid.push(report);
        Ok(())
    }

    /// Restores an invalid row. Returns false if the file rejects it or the history lacks its
    /// values.
    fn upsert_invalid(&mut self, row: &RouteRow) -> Result<bool, TransactionError> {
        let columns = [row.name(), row.strategy(), row.endpoint(), row.config()];
        if columns.iter().any(|column| matches!(column, Field::Other { .. })) {
            return Ok(false);
        }
        match self.upsert.row(row) {
            Ok(()) => Ok(true),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Checks that the history contains every change after a generation, that is that its ids have no
/// gaps.
fn check_reachable(tx: &Transaction<'_>, generation: u64) -> Result<i64, TransactionError> {
    let newest = history::newest(tx)?;
    let oldest = history::oldest_contiguous(tx, newest)?;
    match i64::try_from(generation).ok().filter(|requested| (oldest..=newest).contains(requested)) {
        Some(requested) => Ok(requested),
        None => Err(AdminError::NoSuchGeneration {
            generation,
            oldest: u64::try_from(oldest).unwrap_or(0),
            newest: u64::try_from(newest).unwrap_or(0),
        }
        .into()),
    }
}
