//! How a route is served.

use std::borrow::Cow;
use std::fmt;

use super::error::RouteError;
use crate::name::shown;

/// The longest strategy word; the table `strategies` has the same rule.
const MAX_WORD: usize = 64;

/// Says how a route is served: here, not at all, or by a transport.
///
/// ```
/// use connectivity_core::Strategy;
///
/// assert_eq!(Strategy::parse("local")?, Strategy::Local);
/// assert_eq!(Strategy::parse("quic")?.as_str(), "quic");
/// assert!(Strategy::parse("QUIC").is_err());
/// # Ok::<(), connectivity_core::RouteError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// By the implementation that this process registered.
    Local,
    /// Not at all: a feature switched off.
    Noop,
    /// By the transport of this name.
    Remote(String),
}

impl Strategy {
    /// The words that every routes table knows from the start.
    pub const BUILT_IN: [&'static str; 8] =
        ["local", "noop", "quic", "http", "mcp", "unix", "dbsync", "embed"];

    /// Checks a word as it stands in the column `strategy`; whether there is such a transport is
    /// the router's question.
    ///
    /// # Errors
    /// When the text is no word of lower-case letters, digits, `_` and `-` that begins with a
    /// letter.
    pub fn parse(word: &str) -> Result<Self, RouteError> {
        match word {
            "local" => Ok(Self::Local),
            "noop" => Ok(Self::Noop),
            _ if is_word(word) => Ok(Self::Remote(word.to_owned())),
            _ => Err(RouteError::column(
                "strategy",
                format_args!(
                    "`{}` is no strategy; use a word such as `local`, `quic` or `http`",
                    shown(word)
                ),
            )),
        }
    }

    /// The word, as the column spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Noop => "noop",
            Self::Remote(word) => word,
        }
    }

    /// The word, to keep: without an allocation where every routes table knows it, because a table
    /// has one for each row.
    pub(crate) fn word(&self) -> Cow<'static, str> {
        let known = Self::BUILT_IN.into_iter().find(|known| *known == self.as_str());
        known.map_or_else(|| self.as_str().to_owned().into(), Cow::Borrowed)
    }

    /// Whether calls leave this process by a transport.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

fn is_word(word: &str) -> bool {
    word.len() <= MAX_WORD
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_went_in() {
        for word in Strategy::BUILT_IN.into_iter().chain(["my-transport_2", &"a".repeat(64)]) {
            assert_eq!(Strategy::parse(word).unwrap().to_string(), word);
        }
        assert!(Strategy::parse("quic").unwrap().is_remote());
        assert!(!Strategy::Local.is_remote() && !Strategy::Noop.is_remote());
    }

    #[test]
    fn everything_else_is_refused() {
        for word in ["", "Local", "quic ", "9p", "-a", "a.b", "é", "a\0", &"a".repeat(65)] {
            let text = Strategy::parse(word).unwrap_err().to_string();
            assert!(text.starts_with("strategy: ") && text.contains("use a word"), "{text}");
        }
    }
}
