//! bincode 2: the only file that names the crate, so that it can be replaced.
//!
//! The crate is no longer maintained (RUSTSEC-2025-0141) and pinned; what this file adds is what its users must not forget:
//! a limit on memory, on depth, on elements without bytes, and the check that the whole body was read.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::guard::Guard;
use super::{CodecError, Limits, chunk};

/// bincode charges the width a value has in memory, not on the wire, so the limit stands well above the 16 MiB that a body may have.
const MEMORY: usize = 128 << 20;

const DECODE: Configuration<LittleEndian, Varint, Limit<MEMORY>> = bincode::config::standard().with_limit::<MEMORY>();

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    chunk::cut(|out| {
        bincode::serde::encode_into_writer(value, Out(out), bincode::config::standard()).map_err(CodecError::new)
    })
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
    let guard = Guard::new(limits.depth, bytes.len().saturating_add(limits.free_elements));
    let seed = guard.seed::<T>();
    let (value, read) = bincode::serde::seed_decode_from_slice(seed, bytes, DECODE).map_err(CodecError::new)?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError::new(format_args!("{} bytes follow the value", bytes.len() - read)))
    }
}
