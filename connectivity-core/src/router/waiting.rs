//! Rows that could not be added when their services were registered, because somebody else was
//! writing.

use std::collections::BTreeSet;

use crate::name::Name;
use crate::routes::SourceError;

/// The names that wait for a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitingRows {
    names: BTreeSet<Name>,
    /// Why the last attempt failed, where it was not for another writer.
    why: Option<SourceError>,
}

impl WaitingRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Notes one more; says whether it is the first.
    pub(crate) fn add(&mut self, name: &Name) -> bool {
        let first = self.names.is_empty();
        self.names.insert(name.clone());
        first
    }

    /// All names; rows are added for all or none of them.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        self.names.clone()
    }

    pub(crate) fn failed(&mut self, why: Option<SourceError>) {
        self.why = why;
    }

    /// Forgets names that have a row now, or can have none.
    pub(crate) fn done(&mut self, names: &BTreeSet<Name>) {
        self.names.retain(|name| !names.contains(name));
        self.why = None;
    }

    /// What `inspect` says of them.
    pub(crate) fn warning(&self) -> Option<String> {
        let names: Vec<_> = self.names.iter().map(Name::as_str).collect();
        let rows = match &names[..] {
            [] => return None,
            [name] => format!("a row for `{name}`"),
            names => format!("rows for `{}`", names.join("`, `")),
        };
        let why = self.why.as_ref().map(ToString::to_string);
        let why = why.unwrap_or_else(|| "another transaction holds the routes".to_owned());
        Some(format!("{rows} could not be added yet: {why}; it is tried again until it succeeds"))
    }
}
