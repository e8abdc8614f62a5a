//! The bincode 2 codec: the `bincode` crate encodes, and a decoder of this crate decodes. Only this
//! file names the `bincode` crate.
//!
//! The crate is pinned, because it is no longer maintained (RUSTSEC-2025-0141). It limits neither
//! depth nor elements, and its errors quote values, so [`decoder`] reads the format instead. While
//! a value is encoded, [`checked`] rejects values that a positional format cannot represent.

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
            .map_err(|error| encode_error(&check, error))
    })?;
    if check.exceeds_limits(bytes.len()) {
        Err(CodecError::unencodable(checked::SPARSE))
    } else {
        Ok(bytes)
    }
}

fn encode_error(check: &Check, error: EncodeError) -> CodecError {
    match (check.take_reason(), error) {
        (Some(reason), _) => CodecError::unencodable(reason),
        (None, EncodeError::OtherString(text)) => CodecError::refused(text),
        (None, EncodeError::Serde(_)) => {
            CodecError::unencodable("a sequence or a map that does not tell how long it is")
        }
        (None, error) => CodecError::refused(error.to_string()),
    }
}

/// Appends the output of bincode to a buffer.
struct Out<'a>(&'a mut BytesMut);

impl Writer for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, CodecError> {
    let mut decoder = Decoder::new(bytes, limits);
    let value = T::deserialize(&mut decoder).map_err(CodecError::undecodable)?;
    match decoder.reader.left() {
        0 => Ok(value),
        trailing => Err(CodecError::new(format_args!("{trailing} bytes follow the value"))),
    }
}

#[cfg(test)]
mod tests;
