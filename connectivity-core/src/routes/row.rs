//! Raw rows, as read from the table.

use std::borrow::Cow;
use std::fmt;

use crate::name::shown;

/// Maximum length of a text column, in bytes. A source must not load a longer text.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// One column of a raw row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// NULL.
    Null,
    /// Text of at most 1 MiB.
    Text(String),
    /// A value that no route can use. Only its description is kept, because the value may be 16 MiB
    /// long.
    Other {
        /// Description of the value: `a blob`, `a number`, `text that is not UTF-8`, `longer than 1
        /// MiB`.
        what: &'static str,
    },
}

impl Field {
    /// Creates a text field, or `Other` if the text is longer than 1 MiB.
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

/// One row as it was read, valid or not.
///
/// Equal rows mean the same route, so a reload compares rows by value and keeps the routes whose
/// rows did not change.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteRow {
    name: Field,
    strategy: Field,
    endpoint: Field,
    config: Field,
}

impl RouteRow {
    /// Creates a row from text columns.
    #[must_use]
    pub fn new(name: &str, strategy: &str, endpoint: Option<&str>, config: &str) -> Self {
        Self::from_fields(
            Field::text(name),
            Field::text(strategy),
            endpoint.into(),
            Field::text(config),
        )
    }

    /// Creates a row from arbitrary columns.
    #[must_use]
    pub const fn from_fields(name: Field, strategy: Field, endpoint: Field, config: Field) -> Self {
        Self { name, strategy, endpoint, config }
    }

    /// Returns the column `service_name`.
    #[must_use]
    pub const fn name(&self) -> &Field {
        &self.name
    }

    /// Returns the column `strategy`.
    #[must_use]
    pub const fn strategy(&self) -> &Field {
        &self.strategy
    }

    /// Returns the column `endpoint`.
    #[must_use]
    pub const fn endpoint(&self) -> &Field {
        &self.endpoint
    }

    /// Returns the column `config`.
    #[must_use]
    pub const fn config(&self) -> &Field {
        &self.config
    }

    /// Returns a printable name of the row: escaped, shortened, and defined for any content of the
    /// name column.
    #[must_use]
    pub fn shown_name(&self) -> Cow<'static, str> {
        match &self.name {
            Field::Text(text) => shown(text).into(),
            Field::Null => "(NULL)".into(),
            Field::Other { what } => format!("({what})").into(),
        }
    }
}

/// Prints the length of the config instead of its text, which may contain plain header values.
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
