//! The two codecs: bincode between our own programs, JSON for everybody else.

mod bincode;
mod chunk;
mod guard;
mod json;
mod limits;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use limits::Limits;

/// Names how a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// bincode 2, standard configuration (little endian, variable-length integers): positional, for programs with the same contract.
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
    /// The cause in words, where the codec cannot carry the value.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, CodecError> {
        match self {
            Self::Bincode => bincode::encode(value),
            Self::Json => json::encode(value),
        }
    }

    /// Decodes a value that nobody has checked: bounded in memory and depth, and nothing may follow the value.
    ///
    /// # Errors
    /// The cause in words. It can quote field names, never values.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Self::Bincode => bincode::decode(bytes, Limits::default()),
            Self::Json => json::decode(bytes),
        }
    }
}

/// Says why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl CodecError {
    pub(crate) fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }
}

#[cfg(test)]
mod tests;
