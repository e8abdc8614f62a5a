//! Rows as the tools of the admin show them: without what may be a secret.

use std::time::UNIX_EPOCH;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use crate::routes::{Change, Field, RouteRow, StoredRoute};

/// Stands where a secret may be.
const HIDDEN: &str = "(hidden)";

/// What is said to whoever writes it back.
pub(super) const HIDDEN_AGAIN: &str = "config: `(hidden)` is no value; state all of the config, with secrets as `env:NAME` or `file:/path`, or leave the config out";

/// A row as it stands in the file.
pub(super) fn route(route: &StoredRoute) -> Value {
    let mut shown = serde_json::to_value(route).unwrap_or_default();
    if let Some(config) = shown.get_mut("config") {
        hide(config);
    }
    shown
}

/// A change of a row.
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

/// Hides values of headers, and keys, that stand there themselves; references to them may be seen.
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
        // A config that is no JSON may hold anything.
        Value::String(_) => *config = HIDDEN.into(),
        _ => {}
    }
}

/// Says whether a config was copied from one that something was hidden in.
pub(super) fn holds_hidden(config: &JsonObject) -> bool {
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
