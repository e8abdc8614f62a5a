//! Raw rows, as whatever stands in the table.

use std::borrow::Cow;
use std::fmt;

use crate::name::shown;

/// The longest text that a column may hold, in bytes; a source must not load a longer one.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// Holds one column of a raw row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// NULL.
    Null,
    /// A text of at most 1 MiB.
    Text(String),
    /// Something that no route can use; only what it is gets kept, because it may be 16 MiB long.
    Other {
        /// What it is: `a blob`, `a number`, `text that is not UTF-8`, `longer than 1 MiB`.
        what: &'static str,
    },
}

impl Field {
    /// Takes a text, unless it is longer than 1 MiB.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.len() > MAX_TEXT { Self::TOO_LONG } else { Self::Text(text) }
    }

    pub(super) const TOO_LONG: Self = Self::Other { what: "longer than 1 MiB" };
}

impl From<Option<&str>> for Field {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }
}

/// Holds one row as it was read, good or bad.
///
/// Two equal rows mean the same, so a reload compares rows by value and keeps what did not change.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteRow {
    name: Field,
    strategy: Field,
    endpoint: Field,
    config: Field,
}

impl RouteRow {
    /// Makes a row of texts.
    #[must_use]
    pub fn new(name: &str, strategy: &str, endpoint: Option<&str>, config: &str) -> Self {
        Self::from_fields(
            Field::text(name),
            Field::text(strategy),
            endpoint.into(),
            Field::text(config),
        )
    }

    /// Makes a row of whatever a source found.
    #[must_use]
    pub const fn from_fields(name: Field, strategy: Field, endpoint: Field, config: Field) -> Self {
        Self { name, strategy, endpoint, config }
    }

    /// The column `service_name`.
    #[must_use]
    pub const fn name(&self) -> &Field {
        &self.name
    }

    /// The column `strategy`.
    #[must_use]
    pub const fn strategy(&self) -> &Field {
        &self.strategy
    }

    /// The column `endpoint`.
    #[must_use]
    pub const fn endpoint(&self) -> &Field {
        &self.endpoint
    }

    /// The column `config`.
    #[must_use]
    pub const fn config(&self) -> &Field {
        &self.config
    }

    /// Names the row for people, whatever its name column holds: escaped and short.
    #[must_use]
    pub fn shown_name(&self) -> Cow<'static, str> {
        match &self.name {
            Field::Text(text) => shown(text).into(),
            Field::Null => "(NULL)".into(),
            Field::Other { what } => format!("({what})").into(),
        }
    }
}

/// Shows how long the config is instead of its text, which may hold plain header values.
impl fmt::Debug for RouteRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config: &dyn fmt::Debug = match &self.config {
            Field::Text(text) => &format_args!("{} bytes", text.len()),
            other => other,
        };
        f.debug_struct("RouteRow")
            .field("name", &self.name)
            .field("strategy", &self.strategy)
            .field("endpoint", &self.endpoint)
            .field("config", config)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_compare_by_value_not_by_joined_text() {
        let row = RouteRow::new("a", "http", Some("x|1"), "{}");
        assert_eq!(row, row.clone());
        assert_ne!(row, RouteRow::new("a", "http", Some("x"), "1|{}"));
        assert_ne!(
            RouteRow::new("a", "local", None, "{}"),
            RouteRow::new("a", "local", Some(""), "{}")
        );
    }

    #[test]
    fn debug_does_not_show_the_config() {
        let row = RouteRow::new("a", "http", None, r#"{"headers":{"A":"hunter2"}}"#);
        let text = format!("{row:?}");
        assert!(
            text.contains("http") && text.contains("27 bytes") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_name_is_shown_whatever_it_is() {
        let named =
            |name| RouteRow::from_fields(name, Field::Null, Field::Null, Field::Null).shown_name();
        assert_eq!(named(Field::Null), "(NULL)");
        assert_eq!(named(Field::Other { what: "a blob" }), "(a blob)");
        assert!(!named(Field::text("\u{1b}[2J")).contains('\u{1b}'));
        assert_eq!(named(Field::text("x".repeat(MAX_TEXT + 1))), "(longer than 1 MiB)");
    }
}
