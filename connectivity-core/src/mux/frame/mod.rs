//! Frames of `quic` and `unix`: encodes and decodes them without I/O. `docs/wire.md` specifies the
//! format for other languages.

mod content;
mod decode;
mod encode;
mod names;
mod preamble;

pub(crate) use content::{CallFailure, Declaration, Frame, Reply, Request};
pub(crate) use decode::{Decoder, WireError};
pub(crate) use encode::{Encoder, RequestHead};
pub(crate) use names::{ClientNames, ServerNames};
pub(crate) use preamble::{PREAMBLE, Role, read_preamble, write_preamble};

/// The length of a frame's head, in bytes.
pub(crate) const HEAD: usize = 16;

/// The longest body that shares a stream with other calls. A longer request gets a stream of its
/// own; a longer reply is split into parts of this size.
pub(crate) const MAX_SMALL_BODY: usize = 64 * 1024;

/// The largest write buffer that is kept for the next write. Sequential small calls reuse one
/// buffer, and an idle stream holds little memory.
pub(crate) const MAX_RETAINED: usize = 4 * 1024;

/// The most bytes before the body of a request: a name, a trace parent and 8 KiB of metadata, with
/// room for growth.
pub(crate) const MAX_SECTIONS: usize = 16 * 1024;

/// The longest frame of a shared stream, without its head.
pub(crate) const MAX_SMALL_FRAME: usize = MAX_SMALL_BODY + MAX_SECTIONS + 64;

#[cfg(test)]
mod tests;
