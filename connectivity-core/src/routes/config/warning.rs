//! Warnings about a row that still works.

use std::fmt;

#[cfg(feature = "sqlite")]
use super::super::error::RouteError;
use super::super::error::printable;
use crate::name::shown;

/// Warning about one key of a row's config. The route works, and `inspect` shows the warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWarning {
    key: String,
    text: String,
    /// Whether the key is unknown.
    unknown: bool,
}

impl RouteWarning {
    /// Creates a warning about one key. A transport may add its own.
    #[must_use]
    pub fn new(key: &str, text: &str) -> Self {
        Self { key: shown(key), text: printable(text), unknown: false }
    }

    /// Creates the warning about a key that is not among the known ones.
    pub(super) fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let text = match nearest(key, known) {
            Some((suggestion, _)) => format!("unknown key, ignored; did you mean `{suggestion}`?"),
            None => "unknown key, ignored".to_owned(),
        };
        Self { unknown: true, ..Self::new(key, &text) }
    }

    /// Returns the key, escaped and shortened.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(feature = "sqlite")]
impl RouteWarning {
    /// Returns the warning as an error if the key is unknown, for callers that reject such a row.
    pub(in crate::routes) fn refusal(&self) -> Option<RouteError> {
        self.unknown.then(|| RouteError::config(&self.key, self.text.replacen(", ignored", "", 1)))
    }
}

impl fmt::Display for RouteWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config.{}: {}", self.key, self.text)
    }
}

/// Returns whether a key that a user's own transport may define looks like a typo of a known key.
pub(super) fn is_likely_typo(key: &str, known: impl Iterator<Item = &'static str>) -> bool {
    nearest(key, known).is_some_and(|(_, similarity)| similarity > 0.93)
}

fn nearest(key: &str, known: impl Iterator<Item = &'static str>) -> Option<(&'static str, f64)> {
    // Shorten the key first: the comparison takes quadratic time, and a key may be 1 MiB long.
    let key = shown(key);
    known
        .map(|name| (name, strsim::jaro_winkler(&key, name)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, similarity)| *similarity > 0.8)
}
