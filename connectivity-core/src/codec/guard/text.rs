//! Numbers of 32 bits with a fraction, from their text: what `serde_json` says of one that 32 bits
//! cannot hold names no place.

use serde::de::{Error, Expected, Unexpected, Visitor};

use crate::codec::fault::Fault;

/// Shows a visitor the number that stands in a text.
pub(super) fn visit<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    if let Ok(whole) = text.parse() {
        return visitor.visit_u64(whole);
    }
    // Not of zero, which has a sign here.
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
