//! The error of an invalid row.

use std::fmt;

/// Maximum length of a message in bytes: a row may hold megabytes, a log line must not.
pub(super) const MAX_MESSAGE: usize = 1024;

/// Error of one row: the invalid column or key, its value, and the remedy.
///
/// It is plain data, so that a table can keep it next to the route that stays active. The message
/// is at most 1 KiB long and safe to print.
///
/// ```
/// use connectivity_core::RouteError;
///
/// let error = RouteError::config("timeout_ms", "a number from 1 to 86400000 goes here, but it is a text");
/// assert!(error.to_string().starts_with("config.timeout_ms: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RouteError {
    message: String,
}

impl RouteError {
    /// Creates an error about the row as a whole.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { message: printable(&text.to_string()) }
    }

    /// Creates an error about the column `endpoint`.
    pub fn endpoint(text: impl fmt::Display) -> Self {
        Self::column("endpoint", text)
    }

    /// Creates an error about one key of the column `config`.
    pub fn config(key: &str, text: impl fmt::Display) -> Self {
        Self::new(format_args!("config.{key}: {text}"))
    }

    pub(super) fn column(column: &str, text: impl fmt::Display) -> Self {
        Self::new(format_args!("{column}: {text}"))
    }
}

/// Escapes characters that a terminal would interpret and cuts long texts. Quotes stay unescaped,
/// because the messages use many of them.
pub(crate) fn printable(text: &str) -> String {
    const CUT: &str = " …";
    let mut out = String::with_capacity(text.len().min(MAX_MESSAGE));
    for c in text.chars() {
        let before = out.len();
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
        if out.len() > MAX_MESSAGE - CUT.len() {
            out.truncate(before);
            out.push_str(CUT);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_column_or_key() {
        assert_eq!(RouteError::endpoint("is missing").to_string(), "endpoint: is missing");
        assert_eq!(RouteError::config("codec", "no").to_string(), "config.codec: no");
    }

    #[test]
    fn a_message_is_short_and_harmless() {
        let hostile = format!("\u{1b}[2J\u{202e}{}", "é".repeat(100_000));
        let text = RouteError::new(hostile).to_string();
        assert!(text.len() <= MAX_MESSAGE && text.ends_with('…'), "{}", text.len());
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(RouteError::new(r#"say {"a":1}"#).to_string(), r#"say {"a":1}"#);
    }
}
