//! The two codecs: bincode between our own programs, JSON for everybody else.

mod bincode;
mod checked;
mod chunk;
mod fallback;
mod fault;
mod guard;
mod json;
mod limits;
#[cfg(feature = "mcp")]
pub(crate) mod value;

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use fault::Fault;
use limits::Limits;

/// Names how a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// bincode 2, standard configuration (little endian, variable-length integers): positional, for
    /// programs with the same contract.
    Bincode,
    /// JSON with named arguments.
    Json,
}

impl Codec {
    /// Spells the codec as rows do.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
        }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// The cause in words, where the codec cannot carry the value: bincode no struct that leaves a
    /// field out, JSON no infinite number and no `Some(None)`, for example. What is encoded is read
    /// back as it was.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, CodecError> {
        match self {
            Self::Bincode => bincode::encode(value),
            Self::Json => json::encode(value),
        }
    }

    /// Encodes a value of a method, as JSON what bincode cannot carry; says which of the two it is.
    pub(crate) fn encode_or_json<T: Serialize + ?Sized>(
        self,
        value: &T,
        method: &str,
    ) -> Result<Encoded, CodecError> {
        match self.encode(value) {
            Err(cause) if self != Self::Json && cause.is_uncarried() => {
                fallback::warn_once(method, &cause);
                Self::Json.encode(value).map(|bytes| (Self::Json, bytes))
            }
            encoded => encoded.map(|bytes| (self, bytes)),
        }
    }

    /// Decodes a value that nobody has checked: bounded in memory and depth, and nothing may follow
    /// the value.
    ///
    /// The elements of its sequences and maps may take 16 bytes of memory for each byte of the
    /// body, and 64 MiB beside.
    ///
    /// # Errors
    /// The cause in words: what is wrong where, and what is expected. It quotes nothing of the
    /// body.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let limits = Limits::of(bytes.len());
        match self {
            Self::Bincode => bincode::decode(bytes, limits),
            Self::Json => json::decode(bytes, limits),
        }
    }

    /// Says whether a value comes back as it was: encoding what was decoded gives the same bytes. A
    /// value that cannot be encoded at all by the will of its type is no loss.
    pub(crate) fn returns<T: Serialize + DeserializeOwned>(self, value: &T) -> bool {
        let bytes = match self.encode(value) {
            Ok(bytes) => bytes,
            Err(cause) => return !cause.is_uncarried(),
        };
        let again = self.decode::<T>(&bytes).and_then(|back| self.encode(&back));
        again.is_ok_and(|again| again == bytes)
    }
}

/// What was encoded, and by which codec.
pub(crate) type Encoded = (Codec, Bytes);

/// Says why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    what: String,
    /// The path to it; empty at the root.
    place: String,
    why: Blame,
}

/// Whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Blame {
    /// The bytes are not what they should be.
    Bytes,
    /// The codec cannot carry the value; the other one may.
    Uncarried,
    /// The type does not let itself be encoded, for a reason that may quote the value.
    Refused(Private),
}

/// A text for the log of this process.
#[derive(Clone, PartialEq, Eq)]
struct Private(String);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl CodecError {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self { what: text.to_string(), place: String::new(), why: Blame::Bytes }
    }

    fn uncarried(what: impl fmt::Display) -> Self {
        Self { why: Blame::Uncarried, ..Self::new(what) }
    }

    fn refused(why: String) -> Self {
        Self { why: Blame::Refused(Private(why)), ..Self::new("its type refuses to be serialized") }
    }

    fn undecoded(fault: Fault) -> Self {
        let (what, place) = fault.into_words();
        Self { what, place, why: Blame::Bytes }
    }

    /// Says whether the codec is what cannot carry the value.
    pub(crate) fn is_uncarried(&self) -> bool {
        self.why == Blame::Uncarried
    }

    /// What the type says for itself. It may quote the value, so it is for the log only.
    pub(crate) fn private_cause(&self) -> Option<&str> {
        match &self.why {
            Blame::Refused(Private(cause)) => Some(cause),
            Blame::Bytes | Blame::Uncarried => None,
        }
    }

    /// The same of the arguments of a method, which are the first names of all places.
    pub(crate) fn of_arguments(&self) -> String {
        match &*self.place {
            "" => format!("the arguments: {}", self.what),
            place => format!("the argument `{place}`: {}", self.what),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "`{}`: ", self.place)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests;
