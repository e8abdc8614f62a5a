//! Thread-local buffer into which values are encoded back to back, so that few small values cost an
//! allocation.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

use super::CodecError;

/// Small enough that a retained body keeps little other memory alive, large enough for some dozens
/// of bodies.
const CHUNK: usize = 4 * 1024;

/// Below this remaining capacity, `reserve` starts a new chunk, or reuses the current one if all
/// its bodies have been dropped.
const MIN_CAPACITY: usize = 256;

thread_local! {
    static CURRENT: Cell<BytesMut> = Cell::default();
}

/// Splits off the bytes of one value that `write` appends to the chunk.
pub(super) fn cut(
    write: impl FnOnce(&mut BytesMut) -> Result<(), CodecError>,
) -> Result<Bytes, CodecError> {
    // Re-entrant: a value that encodes another value from its `Serialize` finds an empty chunk here
    // and allocates its own.
    let mut chunk = CURRENT.take();
    if chunk.capacity() < MIN_CAPACITY {
        chunk.reserve(CHUNK);
    }
    let written = write(&mut chunk);
    let bytes = chunk.split().freeze();
    if bytes.len() <= CHUNK {
        CURRENT.set(chunk);
    }
    written.map(|()| bytes)
}
