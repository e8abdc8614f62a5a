//! Checks JSON before it becomes a `serde_json::Value`, as MCP requires: an integer beyond 64 bits
//! would silently become a floating point number.

use super::CodecError;

/// Returns an error if `json` has an integer that a `serde_json::Value` cannot represent exactly.
pub(crate) fn check(json: &[u8]) -> Result<(), CodecError> {
    if numbers(json).any(is_too_wide) {
        return Err(CodecError::new(
            "an integer of more than 64 bits, which MCP cannot carry: send it as a string",
        ));
    }
    Ok(())
}

/// Returns the number literals in `json`, skipping strings.
fn numbers(json: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let (&first, after) = rest.split_first()?;
            match first {
                b'"' => rest = after_string(after),
                b'-' | b'0'..=b'9' => {
                    let end =
                        rest.iter().position(|&byte| !is_of_number(byte)).unwrap_or(rest.len());
                    let (number, after) = rest.split_at(end);
                    rest = after;
                    return std::str::from_utf8(number).ok();
                }
                _ => rest = after,
            }
        }
    })
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => return after,
            b'\\' => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    rest
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || b"+-.eE".contains(&byte)
}

fn is_too_wide(number: &str) -> bool {
    let is_whole = number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    is_whole
        && number.len() > 18
        && number.parse::<u64>().is_err()
        && number.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn integers_beyond_64_bits_are_refused_and_nothing_else_is() {
        for json in [
            "18446744073709551616",
            "[1,-9223372036854775809]",
            r#"{"a\\":170141183460469231731687303715884105727}"#,
        ] {
            let error = check(json.as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains("more than 64 bits") && !error.contains("1701"),
                "{json}: {error}"
            );
        }
        let json = r#"{"18446744073709551616":["18446744073709551616\\\"18446744073709551616", 18446744073709551615, -9223372036854775808, 1e40, 36893488147419103232.0]}"#;
        let strings = "18446744073709551616\\\"18446744073709551616";
        let numbers = json!([strings, u64::MAX, i64::MIN, 1e40, 36_893_488_147_419_103_232.0]);
        assert_eq!(check(json.as_bytes()), Ok(()));
        assert_eq!(
            serde_json::from_str::<Value>(json).unwrap(),
            json!({"18446744073709551616": numbers})
        );
    }
}
