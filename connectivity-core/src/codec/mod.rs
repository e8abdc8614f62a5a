//! The two codecs: bincode between programs that share a contract, JSON for all other peers.

mod bincode;
mod byte_string;
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

pub(crate) use byte_string::Whole;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// bincode 2, standard configuration (little endian, variable-length integers). It is
    /// positional, so both programs need the same contract.
    Bincode,
    /// JSON with named arguments.
    Json,
}

impl Codec {
    /// Returns the name of the codec as rows spell it.
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
    /// Returns an error if the codec cannot represent the value: bincode cannot encode a struct
    /// that skips a field, and JSON cannot encode infinite numbers or `Some(None)`, for example. A
    /// value that does encode also decodes to the same value.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, CodecError> {
        match self {
            Self::Bincode => bincode::encode(value),
            Self::Json => json::encode(value),
        }
    }

    /// Encodes a value of a method, falling back to JSON if bincode cannot represent it. Returns
    /// the codec used.
    pub(crate) fn encode_or_json<T: Serialize + ?Sized>(
        self,
        value: &T,
        method: &str,
    ) -> Result<Encoded, CodecError> {
        match self.encode(value) {
            Err(cause) if self != Self::Json && cause.is_unencodable() => {
                fallback::warn_once(method, &cause);
                Self::Json.encode(value).map(|bytes| (Self::Json, bytes))
            }
            encoded => encoded.map(|bytes| (self, bytes)),
        }
    }

    /// Decodes an untrusted value, with limits on memory and depth. Trailing bytes are an error.
    ///
    /// The elements of all sequences and maps may take 16 bytes of memory per byte of the body,
    /// plus 64 MiB.
    ///
    /// # Errors
    /// Returns an error that says what is wrong, at which path, and what was expected. It quotes
    /// nothing of the body.
    pub fn decode<T: DeserializeOwned + 'static>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let limits = Limits::of(bytes.len());
        let Whole(value) = match self {
            Self::Bincode => bincode::decode(bytes, limits)?,
            Self::Json => json::decode(bytes, limits)?,
        };
        Ok(value)
    }

    /// Returns whether a value round-trips: encoding the decoded value gives the same bytes. A
    /// value whose own `Serialize` fails counts as round-tripping, because it never reaches the
    /// wire.
    pub(crate) fn round_trips<T: Serialize + DeserializeOwned + 'static>(self, value: &T) -> bool {
        let bytes = match self.encode(value) {
            Ok(bytes) => bytes,
            Err(cause) => return !cause.is_unencodable(),
        };
        let encoded_again = self.decode::<T>(&bytes).and_then(|decoded| self.encode(&decoded));
        encoded_again.is_ok_and(|again| again == bytes)
    }
}

/// An encoded value and the codec that encoded it.
pub(crate) type Encoded = (Codec, Bytes);

/// The error of encoding or decoding a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    message: String,
    /// Path to the faulty value; empty at the root.
    path: String,
    reason: Reason,
}

/// Why encoding or decoding failed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    /// The bytes are malformed, or do not match the type.
    Bytes,
    /// This codec cannot represent the value; the other codec may.
    Unencodable,
    /// The type's `Serialize` failed. Its message may quote the value.
    Refused(Private),
}

/// A message for the log of this process only; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
struct Private(String);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl CodecError {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self { message: text.to_string(), path: String::new(), reason: Reason::Bytes }
    }

    fn unencodable(text: impl fmt::Display) -> Self {
        Self { reason: Reason::Unencodable, ..Self::new(text) }
    }

    fn refused(cause: String) -> Self {
        let reason = Reason::Refused(Private(cause));
        Self { reason, ..Self::new("its type refuses to be serialized") }
    }

    fn undecodable(fault: Fault) -> Self {
        let (message, path) = fault.into_message_and_path();
        Self { message, path, reason: Reason::Bytes }
    }

    /// Returns whether the codec cannot represent the value, so that the other codec is worth a
    /// try.
    pub(crate) fn is_unencodable(&self) -> bool {
        self.reason == Reason::Unencodable
    }

    /// Returns the message of the type's own `Serialize`. It may quote the value, so it is for the
    /// log only.
    pub(crate) fn private_cause(&self) -> Option<&str> {
        match &self.reason {
            Reason::Refused(Private(cause)) => Some(cause),
            Reason::Bytes | Reason::Unencodable => None,
        }
    }

    /// Formats the error for the arguments of a method: the first step of each path is the name of
    /// an argument.
    pub(crate) fn of_arguments(&self) -> String {
        match &*self.path {
            "" => format!("the arguments: {}", self.message),
            path => format!("the argument `{path}`: {}", self.message),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests;
