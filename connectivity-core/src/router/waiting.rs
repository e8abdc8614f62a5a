//! Queue of rows that could not be added when their services were registered, because another
//! writer held the source.

use std::collections::BTreeSet;

use crate::name::Name;
use crate::routes::SourceError;

/// The names that wait for a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitingRows {
    names: BTreeSet<Name>,
    /// The error of the last attempt; `None` if another writer held the source.
    error: Option<SourceError>,
}

impl WaitingRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Adds a name. Returns whether the queue was empty.
    pub(crate) fn add(&mut self, name: &Name) -> bool {
        let first = self.names.is_empty();
        self.names.insert(name.clone());
        first
    }

    /// Returns all names. Their rows are added together or not at all.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        self.names.clone()
    }

    pub(crate) fn failed(&mut self, error: Option<SourceError>) {
        self.error = error;
    }

    /// Removes names that have a row now, or for which none can be added.
    pub(crate) fn done(&mut self, names: &BTreeSet<Name>) {
        self.names.retain(|name| !names.contains(name));
        self.error = None;
    }

    /// Returns the warning that `inspect` shows, if any rows are queued.
    pub(crate) fn warning(&self) -> Option<String> {
        let names: Vec<_> = self.names.iter().map(Name::as_str).collect();
        let rows = match &names[..] {
            [] => return None,
            [name] => format!("a row for `{name}`"),
            names => format!("rows for `{}`", names.join("`, `")),
        };
        let reason = self.error.as_ref().map(ToString::to_string);
        let reason = reason.unwrap_or_else(|| "another transaction holds the routes".to_owned());
        Some(format!(
            "{rows} could not be added yet: {reason}; it is tried again until it succeeds"
        ))
    }
}
