//! The strategy of a route.

use std::borrow::Cow;
use std::fmt;

use super::error::RouteError;
use crate::name::shown;

/// Maximum length of a strategy name; the table `strategies` enforces the same limit.
const MAX_NAME: usize = 64;

/// How a route is served: in this process, not at all, or by a transport.
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
    /// Served by the implementation registered in this process.
    Local,
    /// Not served: the feature is switched off.
    Noop,
    /// Served by the transport with this name.
    Remote(String),
}

impl Strategy {
    /// Strategy names that every routes table contains from the start.
    pub const BUILT_IN: &'static [&'static str] =
        &["local", "noop", "quic", "http", "mcp", "unix", "dbsync", "embed"];

    /// Parses a value of the column `strategy`. It does not check that a transport with this name
    /// exists; the router does.
    ///
    /// # Errors
    /// Returns an error unless the text consists of lower-case letters, digits, `_` and `-` and
    /// begins with a letter.
    pub fn parse(word: &str) -> Result<Self, RouteError> {
        match word {
            "local" => Ok(Self::Local),
            "noop" => Ok(Self::Noop),
            _ if is_valid_name(word) => Ok(Self::Remote(word.to_owned())),
            _ => Err(RouteError::column(
                "strategy",
                format_args!(
                    "`{}` is no strategy; use a word such as `local`, `quic` or `http`",
                    shown(word)
                ),
            )),
        }
    }

    /// Returns the name as stored in the column.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Noop => "noop",
            Self::Remote(word) => word,
        }
    }

    /// Returns the name as a `Cow`, without an allocation for built-in strategies, because a table
    /// stores one per row.
    pub(crate) fn word(&self) -> Cow<'static, str> {
        let built_in = Self::BUILT_IN.iter().copied().find(|built_in| *built_in == self.as_str());
        built_in.map_or_else(|| self.as_str().to_owned().into(), Cow::Borrowed)
    }

    /// Returns whether a transport carries the calls to another process.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

fn is_valid_name(word: &str) -> bool {
    word.len() <= MAX_NAME
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
        for word in Strategy::BUILT_IN.iter().copied().chain(["my-transport_2", &"a".repeat(64)]) {
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
