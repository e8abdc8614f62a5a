//! Rows as the admin tools show them, without possible secrets.

use std::time::UNIX_EPOCH;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use crate::routes::{Change, Field, RouteRow, StoredRoute};

/// Placeholder for a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// Error text for a config that contains the placeholder.
pub(super) const HIDDEN_IN_CONFIG: &str = "config: `(hidden)` is no value; state all of the config, with secrets as `env:NAME` or `file:/path`, or leave the config out";

/// Returns a row as it is stored.
pub(super) fn route(route: &StoredRoute) -> Value {
    let mut output = serde_json::to_value(route).unwrap_or_default();
    if let Some(config) = output.get_mut("config") {
        hide(config);
    }
    output
}

/// Returns a change of a row.
pub(super) fn change(change: &Change) -> Value {
    let at = change.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "generation": change.generation,
        "at": at,
        "kind": format!("{:?}", change.kind).to_lowercase(),
        "name": text(&change.name),
        "before": change.before.as_ref().map(row),
        "after": change.after.as_ref().map(row),
    })
}

fn row(row: &RouteRow) -> Value {
    let mut config =
        text(row.config()).and_then(|config| serde_json::from_str(config).ok()).unwrap_or_default();
    hide(&mut config);
    json!({ "strategy": text(row.strategy()), "endpoint": text(row.endpoint()), "config": config })
}

fn text(field: &Field) -> Option<&str> {
    match field {
        Field::Text(text) => Some(text),
        _ => None,
    }
}

/// Hides literal values of headers and keys; references to such values stay visible.
fn hide(config: &mut Value) {
    match config {
        Value::Object(config) => secrets(config).for_each(|value| {
            let reference = value
                .as_str()
                .is_some_and(|text| text.starts_with("env:") || text.starts_with("file:"));
            if !reference {
                *value = HIDDEN.into();
            }
        }),
        // A config that is not valid JSON may contain anything.
        Value::String(_) => *config = HIDDEN.into(),
        _ => {}
    }
}

/// Returns whether a config contains the placeholder, copied from the output of a tool.
pub(super) fn contains_hidden(config: &JsonObject) -> bool {
    secrets(&mut config.clone()).any(|value| value == HIDDEN)
}

fn secrets(config: &mut JsonObject) -> impl Iterator<Item = &mut Value> {
    config.iter_mut().flat_map(|(key, value)| -> Vec<&mut Value> {
        match (key.as_str(), value) {
            ("headers", Value::Object(headers)) => headers.values_mut().collect(),
            ("headers" | "api_key", value) => vec![value],
            _ => vec![],
        }
    })
}
