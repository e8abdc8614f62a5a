//! bincode 2: the only file that names the crate, so that it can be replaced.
//!
//! The crate is no longer maintained (RUSTSEC-2025-0141) and pinned. What stands around it is what its users must not forget: bounds on
//! memory and depth ([`guard`](super::guard)), values that cannot be carried by position ([`checked`](super::checked)), and the check
//! that the whole body was read.

use bincode::config::Configuration;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checked::{self, Check};
use super::guard::Guard;
use super::{CodecError, Limits, chunk};

/// Its limit counts the width of each number in memory and refuses honest bodies, so it is not used: texts and bytes are lent by the body,
/// and the guard counts the rest.
const CONFIG: Configuration = bincode::config::standard();

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    let check = Check::default();
    let bytes = chunk::cut(|out| {
        bincode::serde::encode_into_writer(check.value(value), Out(out), CONFIG).map_err(|error| failed(&check, error))
    })?;
    if check.is_over(bytes.len()) { Err(CodecError::uncarried(checked::SPARSE)) } else { Ok(bytes) }
}

fn failed(check: &Check, error: EncodeError) -> CodecError {
    match (check.found(), error) {
        (Some(what), _) => CodecError::uncarried(what),
        (None, EncodeError::OtherString(text)) => CodecError::refused(text),
        (None, EncodeError::Serde(_)) => CodecError::uncarried("a sequence or a map that does not tell how long it is"),
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
    let guard = Guard::new(bytes.len(), limits);
    let decoded = bincode::serde::seed_decode_from_slice(guard.seed::<T>(), bytes, CONFIG);
    let (value, read) = decoded.map_err(|error| CodecError::undecoded(guard.fault(error)))?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError::new(format_args!("{} bytes follow the value", bytes.len() - read)))
    }
}
