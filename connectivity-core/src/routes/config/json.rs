//! Parses the text of `config` into an object with unique keys.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::super::error::RouteError;
use crate::name::shown;

const EXAMPLE: &str = r#"write a JSON object such as {"timeout_ms":500}"#;

/// Parses the JSON object of a row.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, RouteError> {
    let fail = |found: fmt::Arguments<'_>| {
        Err(RouteError::column("config", format_args!("it is {found}; {EXAMPLE}")))
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => check_unique(text).map(|()| map),
        Ok(other) => fail(format_args!("{}", kind(&other))),
        Err(e) => fail(format_args!("no JSON ({e})")),
    }
}

/// Returns the type of a value, for messages that must not show the value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Rejects duplicate keys: `serde_json` and SQLite's `json_extract` would each use a different one
/// of the two values.
fn check_unique(text: &str) -> Result<(), RouteError> {
    match serde_json::from_str(text) {
        Ok(Keys { duplicate: None }) => Ok(()),
        Ok(Keys { duplicate: Some(key) }) => Err(RouteError::column(
            "config",
            format_args!("the key `{}` stands twice; keep one", shown(&key)),
        )),
        // The text is an object, so `headers` is the only other value that this pass looks into.
        Err(_) => {
            Err(RouteError::config("headers", "an object of header names and texts goes here"))
        }
    }
}

/// First duplicate key of an object or of its `headers`.
struct Keys {
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut seen = HashSet::new();
        let mut duplicate = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "headers" {
                duplicate = duplicate.or(map.next_value::<Keys>()?.duplicate);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if let Some(key) = seen.replace(key) {
                duplicate = duplicate.or(Some(key));
            }
        }
        Ok(Keys { duplicate })
    }
}
