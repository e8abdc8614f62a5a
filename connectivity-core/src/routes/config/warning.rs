//! What is odd about a row that works all the same.

use std::fmt;

#[cfg(feature = "sqlite")]
use super::super::error::RouteError;
use super::super::error::printable;
use super::keys::KEYS;
use crate::name::shown;

/// Says what is odd about a row's config; the route works, and `inspect` shows this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWarning {
    key: String,
    text: String,
    /// Whether nothing knows the key.
    unknown: bool,
}

impl RouteWarning {
    /// Makes a warning about one key; a transport may add its own.
    #[must_use]
    pub fn new(key: &str, text: &str) -> Self {
        Self { key: shown(key), text: printable(text), unknown: false }
    }

    pub(super) fn unknown(key: &str) -> Self {
        let text = match nearest(key) {
            Some((near, _)) => format!("unknown key, ignored; did you mean `{near}`?"),
            None => "unknown key, ignored".to_owned(),
        };
        Self { unknown: true, ..Self::new(key, &text) }
    }

    /// The key, escaped and short.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(feature = "sqlite")]
impl RouteWarning {
    /// The same for whoever refuses the row because of it: that nothing knows the key.
    pub(in crate::routes) fn refusal(&self) -> Option<RouteError> {
        self.unknown.then(|| RouteError::config(&self.key, self.text.replacen(", ignored", "", 1)))
    }
}

impl fmt::Display for RouteWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config.{}: {}", self.key, self.text)
    }
}

/// Whether a key that a user's own transport may know looks like a misspelt key of ours.
pub(super) fn is_likely_typo(key: &str) -> bool {
    nearest(key).is_some_and(|(_, likeness)| likeness > 0.93)
}

fn nearest(key: &str) -> Option<(&'static str, f64)> {
    // Shortened first: the comparison costs length times length, and a key may be 1 MiB long.
    let key = shown(key);
    KEYS.iter()
        .map(|known| (known.name, strsim::jaro_winkler(&key, known.name)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, likeness)| *likeness > 0.8)
}
