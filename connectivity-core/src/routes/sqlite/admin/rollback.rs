//! Back to what rows were.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::edit::{check, not_found, put};
use super::error::{AdminError, Refusal};
use super::stored;
use crate::routes::error::RouteError;
use crate::routes::row::{Field, RouteRow};
use crate::routes::sqlite::history;

/// Puts rows back to what they were at a generation: what they were before the first change after it.
pub(super) fn rollback(tx: &Transaction<'_>, generation: u64, name: Option<&str>) -> Result<(), Refusal> {
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
    then.into_iter().try_for_each(|(name, row)| restore(tx, &name, row))
}

fn restore(tx: &Transaction<'_>, name: &str, row: Option<RouteRow>) -> Result<(), Refusal> {
    let now = stored::read(tx, name)?.map(stored::StoredRoute::into_row);
    match row {
        row if row == now => Ok(()),
        None => tx.execute("DELETE FROM routes WHERE service_name = ?1", [name]).map(drop).map_err(Refusal::Sqlite),
        Some(row) => {
            check(tx, &row).map_err(|refusal| about(&row, refusal))?;
            put(tx, &row).map_err(Refusal::Sqlite)
        }
    }
}

/// Says which row it is that would be bad: there may be many.
fn about(row: &RouteRow, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Admin(cause) => RouteError::new(format_args!(
            "the row `{}` of that generation would be bad today: {cause}",
            row.shown_name()
        ))
        .into(),
        sqlite @ Refusal::Sqlite(_) => sqlite,
    }
}

/// Makes sure that the history tells every change after a generation: its numbers have no holes.
fn reachable(tx: &Transaction<'_>, generation: u64) -> Result<i64, Refusal> {
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
