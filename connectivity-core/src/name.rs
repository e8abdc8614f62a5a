//! Names of services and methods: parsed once, trusted afterwards.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest name that a row, a URL or a raw service may have, in bytes.
pub(crate) const MAX_NAME: usize = 256;

/// The longest name of a typed service, in bytes: a method's full name must fit into a DNS-like
/// budget on every strategy.
pub(crate) const MAX_SERVICE: usize = 63;

/// The name of a service (`billing`) or a method (`billing.charge`), spelled the same in SQL, URLs,
/// MCP, CLI, metrics and logs.
///
/// A name starts with an ASCII letter or digit, continues with ASCII letters, digits and `_ . : -`,
/// does not end with a dot, has no two consecutive dots, and has at most 256 bytes. Names are case
/// sensitive.
///
/// ```
/// use connectivity_core::Name;
///
/// let name = Name::parse("billing.charge")?;
/// assert_eq!(name.parent(), Some("billing"));
/// assert!(Name::parse("bill ing").is_err());
/// # Ok::<(), connectivity_core::NameError>(())
/// ```
#[derive(Clone)]
pub struct Name(Text);

/// Text that is cheap to clone, because every call carries its name.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// Parses a name, as rows, URLs and raw services may spell it.
    ///
    /// # Errors
    /// The error names the rule that the text breaks. It quotes the text escaped and shortened.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(Self(Text::Shared(text.into())))
    }

    /// Parses the name of a typed service: no dot, no colon, at most 63 bytes.
    ///
    /// # Errors
    /// The error names the rule that the text breaks.
    pub fn parse_service(text: &str) -> Result<Self, NameError> {
        check(text)?;
        if text.len() > MAX_SERVICE {
            return Err(NameError::new(text, "a service name has at most 63 bytes"));
        }
        if text.contains(['.', ':']) {
            return Err(NameError::new(
                text,
                "a service name holds letters, digits, `_` and `-` only",
            ));
        }
        Ok(Self(Text::Shared(text.into())))
    }

    /// Wraps a name that the macro has checked at compile time.
    pub(crate) const fn from_static(text: &'static str) -> Self {
        Self(Text::Static(text))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }

    /// Returns whether this is the name of `service` or of one of its methods.
    #[cfg(feature = "router")]
    pub(crate) fn is_of(&self, service: &Self) -> bool {
        self == service || self.parent() == Some(service.as_str())
    }

    /// Returns the part before the last dot: the service of a method, if the name has a dot.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        parent(self.as_str())
    }
}

/// Returns the part of a name before its last dot.
pub(crate) fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(parent, _)| parent)
}

fn check(text: &str) -> Result<(), NameError> {
    let fail = |rule| Err(NameError::new(text, rule));
    if text.is_empty() {
        return fail("a name is not empty");
    }
    if text.len() > MAX_NAME {
        return fail("a name has at most 256 bytes");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return fail("a name begins with a letter or digit");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b)) {
        return fail("a name holds letters, digits, `_`, `.`, `:` and `-` only");
    }
    if text.ends_with('.') || text.contains("..") {
        return fail("a name does not end in a dot and holds no two dots in a row");
    }
    Ok(())
}

// Compare and hash as text, for both variants: `Borrow<str>` requires it.

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// The error of a text that is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{escaped}` is no name: {rule}")]
pub struct NameError {
    escaped: String,
    rule: &'static str,
}

impl NameError {
    fn new(text: &str, rule: &'static str) -> Self {
        Self { escaped: shown(text), rule }
    }
}

/// Escapes and shortens an unchecked text, so that it is safe to print to a terminal or a log.
pub(crate) fn shown(text: &str) -> String {
    const LIMIT: usize = 64;
    let mut out: String = text.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_rows_of_the_go_original_hold() {
        for good in ["billing", "billing.charge", "dbsync:replica-1", "a", "9lives", "a_b-c.d:e"] {
            assert_eq!(Name::parse(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn refuses_everything_else_and_says_why() {
        for (bad, rule) in [
            ("", "not empty"),
            (".a", "begins with"),
            ("a.", "end in a dot"),
            ("a..b", "two dots"),
            ("a b", "letters, digits"),
            ("a/b", "letters, digits"),
            ("é", "begins with"),
            ("a\0", "letters, digits"),
            (&"a".repeat(257), "at most 256"),
        ] {
            let text = Name::parse(bad).unwrap_err().to_string();
            assert!(text.contains(rule), "{bad:?}: {text}");
        }
        assert!(Name::parse(&"a".repeat(256)).is_ok());
    }

    #[test]
    fn a_service_name_is_stricter() {
        assert!(Name::parse_service("order_book").is_ok());
        assert!(Name::parse_service("a.b").is_err());
        assert!(Name::parse_service("a:b").is_err());
        assert!(Name::parse_service(&"a".repeat(63)).is_ok());
        assert!(Name::parse_service(&"a".repeat(64)).is_err());
    }

    #[test]
    fn hostile_text_is_escaped_and_short() {
        let text = Name::parse(&format!("\u{1b}[2J{}", "x".repeat(5000))).unwrap_err().to_string();
        assert!(!text.contains('\u{1b}') && text.len() < 400, "{text}");
    }
}
