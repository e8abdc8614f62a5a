//! Warns about methods whose values are sent as JSON because bincode cannot encode them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::CodecError;

/// Methods this process has already warned about. All are methods of its own contracts, so the set
/// stays small.
static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Logs a warning once per method. Every such value is encoded twice, and nothing else reports that
/// cost.
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
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    !warned.contains(method) && warned.insert(method.to_owned())
}
