//! Secrets, which rows contain only as references.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::error::RouteError;

/// Reference to a secret. It is resolved later, off the threads of callers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretRef {
    /// An environment variable of the process: `env:NAME`.
    Env(String),
    /// A file: `file:/path`.
    File(PathBuf),
}

impl SecretRef {
    pub(super) const ALLOWED: &'static str =
        "a reference, `env:NAME` or `file:/path`, never the secret itself,";

    /// Parses `env:NAME` or `file:/path`.
    ///
    /// # Errors
    /// Returns an error if the text is neither. The error does not contain the text, because it may
    /// be the secret itself.
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

    /// Reads the secret: at most 64 KiB of text, without the line break that editors add at the end
    /// of a file.
    ///
    /// # Errors
    /// Returns an error if the secret is missing or is not text. The error names the reference,
    /// never the content.
    pub fn resolve(&self) -> Result<String, RouteError> {
        let unreadable = |reason: &dyn fmt::Display| {
            RouteError::new(format_args!("the secret `{self}` cannot be read: {reason}"))
        };
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|cause| unreadable(&cause))?,
            Self::File(path) => read_bounded(path).map_err(|cause| unreadable(&cause))?,
        };
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn is_reference(text: &str) -> bool {
        text.starts_with("env:") || text.starts_with("file:")
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    const MAX_LEN: u64 = 64 << 10;
    let mut text = String::new();
    File::open(path)?.take(MAX_LEN).read_to_string(&mut text)?;
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

/// Value of one header: a plain text or a reference to a secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// The text itself. `Debug` hides it, because some rows will contain a secret here regardless.
    Plain(String),
    /// A reference to the text.
    Secret(SecretRef),
}

impl HeaderValue {
    /// Returns whether the value is a reference.
    #[cfg(feature = "http")]
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Returns the text that goes into a request.
    ///
    /// # Errors
    /// See [`SecretRef::resolve`].
    pub fn resolve(&self) -> Result<String, RouteError> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Secret(reference) => reference.resolve(),
        }
    }

    /// Parses printable ASCII. A text that begins like a reference must be a valid one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const MAX_LEN: usize = 8 << 10;
        if SecretRef::is_reference(text) {
            return SecretRef::parse(text).ok().map(Self::Secret);
        }
        let printable = text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        (printable && text.len() <= MAX_LEN).then(|| Self::Plain(text.to_owned()))
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
            let error = SecretRef::parse(text).unwrap_err().to_string();
            assert!(error.contains("env:NAME") && !error.contains("12345"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_read_from_where_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-12345\n").unwrap();
        let reference = SecretRef::File(path);
        assert_eq!(reference.resolve().unwrap(), "sk-12345");
        let error_text =
            SecretRef::File(dir.path().join("gone")).resolve().unwrap_err().to_string();
        assert!(
            error_text.contains("gone") && error_text.contains("cannot be read"),
            "{error_text}"
        );
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
