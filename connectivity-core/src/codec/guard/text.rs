//! Decodes `f32` from JSON text, so that a number beyond its range is reported with its path; the
//! error of `serde_json` has none.

use serde::de::{Error, Expected, Unexpected, Visitor};

use crate::codec::fault::Fault;

/// Parses `text` as a number and passes it to the visitor.
pub(super) fn visit<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    if let Ok(whole) = text.parse() {
        return visitor.visit_u64(whole);
    }
    // Not for zero: `-0` has to stay a float to keep its sign.
    if let Some(whole) = text.parse().ok().filter(|whole| *whole != 0) {
        return visitor.visit_i64(whole);
    }
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match text.parse::<f32>() {
        Ok(number) if is_number && number.is_finite() => visitor.visit_f32(number),
        Ok(_) if is_number => Err(Fault::new(format!(
            "a number that does not fit, where {} is expected",
            &visitor as &dyn Expected
        ))),
        _ => Err(Fault::invalid_type(kind(text), &visitor)),
    }
}

/// Returns the kind of a JSON value that is not a number.
fn kind(text: &str) -> Unexpected<'static> {
    match text.as_bytes().first() {
        Some(b'"') => Unexpected::Str(""),
        Some(b'[') => Unexpected::Seq,
        Some(b'{') => Unexpected::Map,
        Some(b't' | b'f') => Unexpected::Bool(true),
        _ => Unexpected::Unit,
    }
}
