//! Where small values are encoded: one after the other in a chunk of the thread, so that few of
//! them cost an allocation.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

use super::CodecError;

/// Small enough that a body somebody keeps does not hold much beside it, large enough for some
/// dozens of bodies.
const CHUNK: usize = 4 * 1024;

/// With less room than this a new chunk is begun, or the old one if all its bodies are gone.
const ROOM: usize = 256;

thread_local! {
    static NEXT: Cell<BytesMut> = Cell::default();
}

/// Lets `write` append one value, and cuts it off.
pub(super) fn cut(
    write: impl FnOnce(&mut BytesMut) -> Result<(), CodecError>,
) -> Result<Bytes, CodecError> {
    // A value that encodes another one while it is encoded finds no chunk and makes one of its own.
    let mut chunk = NEXT.take();
    if chunk.capacity() < ROOM {
        chunk.reserve(CHUNK);
    }
    let written = write(&mut chunk);
    let bytes = chunk.split().freeze();
    if bytes.len() <= CHUNK {
        NEXT.set(chunk);
    }
    written.map(|()| bytes)
}
