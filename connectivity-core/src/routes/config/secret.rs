//! Secrets stand in rows as references only.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    pub(super) const ALLOWED: &'static str =
        "a reference, `env:NAME` or `file:/path`, never the secret itself,";

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

    /// Reads the secret: at most 64 KiB of text; the line break that editors put at the end of a
    /// file is not part of it.
    ///
    /// # Errors
    /// When it is not there or no text; the reference is named, never what it holds.
    pub fn resolve(&self) -> Result<String, RouteError> {
        let missing = |why: &dyn fmt::Display| {
            RouteError::new(format_args!("the secret `{self}` cannot be read: {why}"))
        };
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|cause| missing(&cause))?,
            Self::File(path) => read_bounded(path).map_err(|cause| missing(&cause))?,
        };
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn is_reference(text: &str) -> bool {
        text.starts_with("env:") || text.starts_with("file:")
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    const LONGEST: u64 = 64 << 10;
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
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
    /// Says whether the text stands elsewhere.
    #[cfg(feature = "http")]
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Makes the text that goes into a request.
    ///
    /// # Errors
    /// As [`SecretRef::resolve`].
    pub fn resolve(&self) -> Result<String, RouteError> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Secret(reference) => reference.resolve(),
        }
    }

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
        for text in
            ["sk-12345", "env:", "env:A B", "env:9", "file:relative", "file:", "file:/a\nb", ""]
        {
            let shown = SecretRef::parse(text).unwrap_err().to_string();
            assert!(shown.contains("env:NAME") && !shown.contains("12345"), "{shown}");
        }
    }

    #[test]
    fn a_secret_is_read_from_where_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-12345\n").unwrap();
        let reference = SecretRef::File(path);
        assert_eq!(reference.resolve().unwrap(), "sk-12345");
        let gone = SecretRef::File(dir.path().join("gone")).resolve().unwrap_err().to_string();
        assert!(gone.contains("gone") && gone.contains("cannot be read"), "{gone}");
        assert!(SecretRef::Env("CONNECTIVITY_NO_SUCH_NAME".into()).resolve().is_err());
    }

    #[test]
    fn a_plain_header_value_is_not_printed() {
        let value = HeaderValue::parse("Bearer 12345").unwrap();
        assert_eq!(format!("{value:?}"), "Plain(..)");
        assert_eq!(
            HeaderValue::parse("env:KEY"),
            Some(HeaderValue::Secret(SecretRef::Env("KEY".to_owned())))
        );
        assert_eq!(HeaderValue::parse("env:"), None);
        assert_eq!(HeaderValue::parse("a\r\nX: y"), None);
        assert_eq!(HeaderValue::parse("é"), None);
        assert_eq!(HeaderValue::parse(&"x".repeat(9000)), None);
    }
}
