//! Tells of methods whose values go as JSON, as bincode cannot carry them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::CodecError;

/// The methods that this process has told of. They are those of its own contracts, so they are few.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says it the first time for each method: every such value is encoded twice, and nothing else
/// shows that.
#[cold]
pub(super) fn warn_once(method: &str, cause: &CodecError) {
    if is_first(method) {
        tracing::warn!(
            method,
            "a value goes as JSON, because bincode cannot carry {cause}: always write the field, or set `codec` to `json` for the route"
        );
    }
}

fn is_first(method: &str) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    !told.contains(method) && told.insert(method.to_owned())
}
