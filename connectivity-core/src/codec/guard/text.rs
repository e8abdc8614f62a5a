//! Numbers of JSON with a fraction, from their text: what `serde_json` makes of it can differ in the last digit, and has no error for a
//! number that 32 bits cannot hold, unless an application turns on features of its that are not ours to turn on.

use std::str::FromStr;

use serde::de::{Error, Expected, Unexpected, Visitor};

use crate::codec::fault::Fault;

/// Shows a visitor the number that stands in a text.
pub(super) fn visit<'de, F, V>(text: &str, visitor: V) -> Result<V::Value, Fault>
where
    F: FromStr + Into<f64>,
    V: Visitor<'de>,
{
    if let Ok(whole) = text.parse() {
        return visitor.visit_u64(whole);
    }
    // Not of zero, which has a sign here.
    if let Some(whole) = text.parse().ok().filter(|whole| *whole != 0) {
        return visitor.visit_i64(whole);
    }
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match text.parse::<F>().map(Into::into) {
        Ok(number) if is_number && number.is_finite() => visitor.visit_f64(number),
        Ok(_) if is_number => {
            Err(Fault::new(format!("a number that does not fit, where {} is expected", &visitor as &dyn Expected)))
        }
        _ => Err(Fault::invalid_type(kind(text), &visitor)),
    }
}

/// What a text of JSON is, that is no number.
fn kind(text: &str) -> Unexpected<'static> {
    match text.as_bytes().first() {
        Some(b'"') => Unexpected::Str(""),
        Some(b'[') => Unexpected::Seq,
        Some(b'{') => Unexpected::Map,
        Some(b't' | b'f') => Unexpected::Bool(true),
        _ => Unexpected::Unit,
    }
}
