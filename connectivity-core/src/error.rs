//! The error of a call, as plain data.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::name;

/// The maximum length of an error message, in bytes. Longer ones are truncated.
pub(crate) const MAX_MESSAGE: usize = 1024;

/// The serde type name of an error. The shape walk treats it as a leaf, so a new kind changes no
/// contract.
pub(crate) const WIRE_NAME: &str = "connectivity::Error";

/// The fields of an error on the wire.
pub(crate) const WIRE_FIELDS: &[&str] = &["kind", "name", "message"];

/// The error of a call that got no reply: its kind, its cause, and whether the server may have run
/// it.
///
/// It is plain data that can be cloned, compared and serialized, because the error type of your
/// service contains it:
///
/// ```
/// use connectivity_core::Error;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
/// enum BillingError {
///     #[error("card declined")]
///     Declined,
///     #[error(transparent)]
///     Connectivity(#[from] Error),
/// }
/// ```
///
/// A serialized error belongs to a nested call of the server. Deserialized, its `sent` is
/// [`Sent::Maybe`], and [`is_retryable_for`](Self::is_retryable_for) is false for every name.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    sent: Sent,
    relayed: bool,
    name: String,
    message: String,
}

impl Error {
    /// Creates the error of a call of `name`. Escapes an invalid name and truncates the message to
    /// 1 KiB.
    ///
    /// [`sent`](Self::sent) starts as the default of the kind: `No` for kinds that arise before
    /// anything is sent, `Yes` for [`Panicked`](ErrorKind::Panicked) and
    /// [`Internal`](ErrorKind::Internal), and `Maybe` for all others.
    #[must_use]
    pub fn new(kind: ErrorKind, name: impl AsRef<str>, message: impl Into<String>) -> Self {
        let name = name.as_ref();
        let name =
            if name::Name::parse(name).is_ok() { name.to_owned() } else { name::shown(name) };
        let message = truncated(message.into());
        Self(Box::new(Inner { kind, sent: kind.implied_sent(), relayed: false, name, message }))
    }

    /// Sets whether the server may have run the call.
    #[must_use]
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.0.sent = sent;
        self
    }

    /// Appends a note to the message.
    #[cfg(feature = "router")]
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        let message = std::mem::take(&mut self.0.message);
        self.0.message = truncated(format!("{message} ({note})"));
        self
    }

    /// Marks an error that an implementation returned, from a nested call or its own. Its `sent`
    /// does not describe the call of the implementation, which did run, so `No` becomes `Maybe`.
    #[cfg(feature = "router")]
    pub(crate) fn relay(mut self) -> Self {
        self.0.relayed = true;
        if self.0.sent == Sent::No {
            self.0.sent = Sent::Maybe;
        }
        self
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the name of the service or method whose call failed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the message: the cause in at most 1 KiB, without payloads or secrets.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns whether the server may have run the call.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Returns whether the error arrived inside a reply, and so belongs to a nested call of the
    /// server.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.0.relayed
    }

    /// Returns whether a retry of the call of `name` is safe and may succeed: the error belongs to
    /// that call, the server did not run it, and the cause is transient.
    #[must_use]
    pub fn is_retryable_for(&self, name: &str) -> bool {
        !self.0.relayed
            && self.0.sent == Sent::No
            && self.0.kind.is_transient()
            && self.0.name == name
    }
}

fn truncated(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let cut = message.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8());
        message.truncate(cut);
        message.push('…');
    }
    message
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name, self.0.kind)?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("name", &self.0.name)
            .field("message", &self.0.message)
            .field("sent", &self.0.sent)
            .field("relayed", &self.0.relayed)
            .finish()
    }
}

impl std::error::Error for Error {}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct(WIRE_NAME, WIRE_FIELDS.len())?;
        out.serialize_field("kind", self.0.kind.as_str())?;
        out.serialize_field("name", &self.0.name)?;
        out.serialize_field("message", &self.0.message)?;
        out.end()
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(WIRE_NAME, WIRE_FIELDS, ErrorVisitor)
    }
}

struct ErrorVisitor;

impl<'de> de::Visitor<'de> for ErrorVisitor {
    type Value = Error;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error with kind, name and message")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Error, A::Error> {
        let mut next = || seq.next_element::<String>().map(Option::unwrap_or_default);
        let (kind, name, message) = (next()?, next()?, next()?);
        Ok(relayed(&kind, &name, message))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Error, A::Error> {
        let (mut kind, mut name, mut message) = (None, String::new(), String::new());
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "kind" => kind = Some(map.next_value::<String>()?),
                "name" => name = map.next_value()?,
                "message" => message = map.next_value()?,
                _ => map.next_value::<de::IgnoredAny>().map(drop)?,
            }
        }
        // An object without a kind is something else: the error of a foreign tool, for example.
        let kind = kind.ok_or_else(|| de::Error::missing_field("kind"))?;
        Ok(relayed(&kind, &name, message))
    }
}

fn relayed(kind: &str, name: &str, message: String) -> Error {
    let mut error = Error::new(ErrorKind::from_word(kind), name, message).with_sent(Sent::Maybe);
    error.0.relayed = true;
    error
}

/// Whether the server may have run a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "no, perhaps and yes are all the answers there are")]
pub enum Sent {
    /// The call did not run.
    No,
    /// The call may have run.
    Maybe,
    /// The call ran, at least in part.
    Yes,
}

impl Sent {
    /// Returns the word of the wire formats: `no`, `maybe`, `yes`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Maybe => "maybe",
            Self::Yes => "yes",
        }
    }

    /// Parses the word. Unknown words are `Maybe`, which promises nothing.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "no" => Self::No,
            "yes" => Self::Yes,
            _ => Self::Maybe,
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $word:literal, $text:literal;)+) => {
        /// The kind of a failure. Encoded as its word; unknown words decode as
        /// [`Remote`](Self::Remote).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[doc = $doc])+ $kind,)+ }

        impl ErrorKind {
            /// Every kind, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Returns the word of the kind, as in wire formats, metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word),+ }
            }

            /// Parses the word of a kind. Unknown words are [`Remote`](Self::Remote).
            #[must_use]
            pub fn from_word(word: &str) -> Self {
                match word { $($word => Self::$kind,)+ _ => Self::Remote }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text),+ }
            }
        }
    };
}

kinds! {
    /// No row and no local implementation has this name.
    NotRoutable = "not_routable", "no route and no local implementation";
    /// The row of this name is bad, and no earlier good route is in force.
    RouteInvalid = "route_invalid", "the route is invalid";
    /// The row names a transport that this router does not have.
    NoTransport = "no_transport", "no such transport";
    /// No connection to the server.
    Connect = "connect", "cannot connect";
    /// The circuit breaker is open.
    CircuitOpen = "circuit_open", "the circuit is open";
    /// The deadline passed.
    Timeout = "timeout", "the deadline passed";
    /// A limit on calls in flight was reached.
    Overloaded = "overloaded", "too many calls in flight";
    /// The implementation panicked.
    Panicked = "panicked", "the implementation panicked";
    /// The call was cancelled before it completed.
    Cancelled = "cancelled", "the call was cancelled";
    /// A request or a reply exceeds its size limit.
    TooLarge = "too_large", "over the size limit";
    /// The arguments or the reply cannot be encoded.
    Encode = "encode", "cannot be encoded";
    /// The arguments or the reply cannot be decoded.
    Decode = "decode", "cannot be decoded";
    /// Client and server have different contracts.
    Contract = "contract", "the contracts differ";
    /// The service has no such method.
    Unimplemented = "unimplemented", "not implemented";
    /// The route is `noop`, and the method has no `#[noop = ..]` value.
    Noop = "noop", "switched off by a noop route";
    /// The caller is not authenticated.
    Unauthenticated = "unauthenticated", "not authenticated";
    /// The caller may not do this.
    Denied = "denied", "not allowed";
    /// The implementation failed internally. The cause is in the log of its process.
    Internal = "internal", "internal error";
    /// The server failed with a kind unknown to this version.
    Remote = "remote", "the other side failed";
    /// The router or the connection is closed.
    Closed = "closed", "closed";
}

impl ErrorKind {
    /// Returns the default `sent` of errors of this kind.
    const fn implied_sent(self) -> Sent {
        match self {
            Self::NotRoutable
            | Self::RouteInvalid
            | Self::NoTransport
            | Self::Connect
            | Self::CircuitOpen => Sent::No,
            Self::Overloaded | Self::Encode | Self::Unimplemented | Self::Noop => Sent::No,
            Self::Unauthenticated | Self::Denied | Self::Contract => Sent::No,
            Self::Panicked | Self::Internal => Sent::Yes,
            _ => Sent::Maybe,
        }
    }

    /// Returns whether the same call may succeed a moment later.
    const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Connect | Self::Overloaded | Self::CircuitOpen | Self::Closed | Self::Timeout
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own_and_reads_back() {
        for &kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_word(kind.as_str()), kind);
        }
        assert_eq!(ErrorKind::from_word("a word of next year"), ErrorKind::Remote);
    }

    #[test]
    fn only_what_did_not_run_and_may_pass_is_retryable() {
        let error = Error::new(ErrorKind::Connect, "billing.charge", "refused");
        assert!(error.is_retryable_for("billing.charge"));
        assert!(
            !error.is_retryable_for("orders.place"),
            "a nested call's error is not about the outer call"
        );
        assert!(!error.clone().with_sent(Sent::Maybe).is_retryable_for("billing.charge"));
        assert!(!Error::new(ErrorKind::NotRoutable, "a", "").is_retryable_for("a"));
    }

    #[test]
    fn a_serialized_error_is_relayed_and_never_retryable() {
        let text =
            serde_json::to_string(&Error::new(ErrorKind::Connect, "billing", "refused")).unwrap();
        assert_eq!(text, r#"{"kind":"connect","name":"billing","message":"refused"}"#);
        let back: Error = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (back.kind(), back.sent(), back.is_relayed()),
            (ErrorKind::Connect, Sent::Maybe, true)
        );
        assert!(!back.is_retryable_for("billing"));
    }

    #[test]
    fn hostile_texts_are_bounded() {
        let error = Error::new(ErrorKind::Remote, "\u{1b}[31m", "é".repeat(5000));
        assert!(error.message().len() <= MAX_MESSAGE && error.message().ends_with('…'));
        assert!(!error.to_string().contains('\u{1b}'));
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
