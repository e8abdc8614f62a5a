//! Secrets stand in rows as references only.

use std::fmt;
use std::path::PathBuf;

use super::super::error::RouteError;

/// Says where a secret stands; it is read elsewhere, off the callers' threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretRef {
    /// In the environment of the process: `env:NAME`.
    Env(String),
    /// In a file: `file:/path`.
    File(PathBuf),
}

impl SecretRef {
    pub(super) const ALLOWED: &'static str = "a reference, `env:NAME` or `file:/path`, never the secret itself,";

    /// Reads `env:NAME` or `file:/path`.
    ///
    /// # Errors
    /// When the text is neither; the text is not shown, because it may be the secret itself.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if let Some(name) = text.strip_prefix("env:").filter(|name| is_variable(name)) {
            return Ok(Self::Env(name.to_owned()));
        }
        text.strip_prefix("file:")
            .filter(|path| !path.contains(char::is_control))
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .map(Self::File)
            .ok_or_else(|| RouteError::new(format_args!("{} goes here", Self::ALLOWED)))
    }

    fn is_reference(text: &str) -> bool {
        text.starts_with("env:") || text.starts_with("file:")
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// Holds the value of one header: a text, or where it stands.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// The text itself; `Debug` hides it, because some rows will hold a secret there all the same.
    Plain(String),
    /// A reference.
    Secret(SecretRef),
}

impl HeaderValue {
    /// Takes printable ASCII; what begins like a reference must be a good one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const LONGEST: usize = 8 << 10;
        if SecretRef::is_reference(text) {
            return SecretRef::parse(text).ok().map(Self::Secret);
        }
        let printable = text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        (printable && text.len() <= LONGEST).then(|| Self::Plain(text.to_owned()))
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(..)"),
            Self::Secret(reference) => f.debug_tuple("Secret").field(reference).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_comes_back_as_it_went_in() {
        for text in ["env:API_KEY", "env:_x9", "file:/run/secrets/key"] {
            assert_eq!(SecretRef::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_secret_itself_is_refused_and_never_shown() {
        for text in ["sk-12345", "env:", "env:A B", "env:9", "file:relative", "file:", "file:/a\nb", ""] {
            let shown = SecretRef::parse(text).unwrap_err().to_string();
            assert!(shown.contains("env:NAME") && !shown.contains("12345"), "{shown}");
        }
    }

    #[test]
    fn a_plain_header_value_is_not_printed() {
        let value = HeaderValue::parse("Bearer 12345").unwrap();
        assert_eq!(format!("{value:?}"), "Plain(..)");
        assert_eq!(HeaderValue::parse("env:KEY"), Some(HeaderValue::Secret(SecretRef::Env("KEY".to_owned()))));
        assert_eq!(HeaderValue::parse("env:"), None);
        assert_eq!(HeaderValue::parse("a\r\nX: y"), None);
        assert_eq!(HeaderValue::parse("é"), None);
        assert_eq!(HeaderValue::parse(&"x".repeat(9000)), None);
    }
}
