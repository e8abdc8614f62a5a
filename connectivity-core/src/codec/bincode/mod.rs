//! bincode 2, whose crate writes and is named in this file only, and a decoder of our own.
//!
//! The crate is no longer maintained (RUSTSEC-2025-0141) and pinned. It bounds neither depth nor
//! elements, and its errors show values, so [`decoder`] reads what it writes. What is written is
//! looked at by [`checked`]: values that cannot be carried by position.

mod access;
mod decoder;
mod reader;

use bincode::config::Configuration;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checked::{self, Check};
use super::{CodecError, Limits, chunk};
use decoder::Decoder;

const CONFIG: Configuration = bincode::config::standard();

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    let check = Check::default();
    let bytes = chunk::cut(|out| {
        bincode::serde::encode_into_writer(check.value(value), Out(out), CONFIG)
            .map_err(|error| failed(&check, error))
    })?;
    if check.is_over(bytes.len()) { Err(CodecError::uncarried(checked::SPARSE)) } else { Ok(bytes) }
}

fn failed(check: &Check, error: EncodeError) -> CodecError {
    match (check.found(), error) {
        (Some(what), _) => CodecError::uncarried(what),
        (None, EncodeError::OtherString(text)) => CodecError::refused(text),
        (None, EncodeError::Serde(_)) => {
            CodecError::uncarried("a sequence or a map that does not tell how long it is")
        }
        (None, error) => CodecError::refused(error.to_string()),
    }
}

/// Appends what bincode writes.
struct Out<'a>(&'a mut BytesMut);

impl Writer for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, CodecError> {
    let mut decoder = Decoder::new(bytes, limits);
    let value = T::deserialize(&mut decoder).map_err(CodecError::undecoded)?;
    match decoder.reader.left() {
        0 => Ok(value),
        left => Err(CodecError::new(format_args!("{left} bytes follow the value"))),
    }
}

#[cfg(test)]
mod tests;
