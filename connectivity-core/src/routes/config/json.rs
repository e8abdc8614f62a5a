//! From text to an object whose keys are unique.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::super::error::RouteError;
use crate::name::shown;

const EXAMPLE: &str = r#"write a JSON object such as {"timeout_ms":500}"#;

/// Reads the object of a row.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, RouteError> {
    let fail = |what: fmt::Arguments<'_>| {
        Err(RouteError::column("config", format_args!("it is {what}; {EXAMPLE}")))
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => unique(text).map(|()| map),
        Ok(other) => fail(format_args!("{}", kind(&other))),
        Err(e) => fail(format_args!("no JSON ({e})")),
    }
}

/// Says what a value is without showing it.
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

/// Refuses a key that stands twice: `serde_json` and SQLite's `json_extract` would each take
/// another one of the two.
fn unique(text: &str) -> Result<(), RouteError> {
    match serde_json::from_str(text) {
        Ok(Keys { twice: None }) => Ok(()),
        Ok(Keys { twice: Some(key) }) => Err(RouteError::column(
            "config",
            format_args!("the key `{}` stands twice; keep one", shown(&key)),
        )),
        // The text is an object, so this is the one other thing that the pass over the keys looks
        // into.
        Err(_) => {
            Err(RouteError::config("headers", "an object of header names and texts goes here"))
        }
    }
}

/// The first key that an object, or its `headers`, holds twice.
struct Keys {
    twice: Option<String>,
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
        let mut twice = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "headers" {
                twice = twice.or(map.next_value::<Keys>()?.twice);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if let Some(key) = seen.replace(key) {
                twice = twice.or(Some(key));
            }
        }
        Ok(Keys { twice })
    }
}
