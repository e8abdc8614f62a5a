//! The frames of `quic` and `unix`: bytes to values and back, without I/O. `docs/wire.md` describes
//! them for other languages.

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

/// The fixed part of every frame, in bytes.
pub(crate) const HEAD: usize = 16;

/// The longest body that travels between other calls' frames; a longer request has a stream of its
/// own, a longer reply is cut into parts of this size.
pub(crate) const MAX_SMALL_BODY: usize = 64 * 1024;

/// The longest write whose buffer is kept for the next: a call at a time needs no new one, and what
/// is idle holds little.
pub(crate) const KEPT: usize = 4 * 1024;

/// What may stand before the body of a request: a name, a trace parent and 8 KiB of metadata, with
/// room to grow.
pub(crate) const MAX_SECTIONS: usize = 16 * 1024;

/// The longest frame of a stream that many calls share, without its head.
pub(crate) const MAX_SMALL_FRAME: usize = MAX_SMALL_BODY + MAX_SECTIONS + 64;

#[cfg(test)]
mod tests;
