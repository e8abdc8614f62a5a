//! Multiplexes many calls on one byte stream: the layer that `quic` and `unix` share above their
//! sockets.
//!
//! A client's [`Connection`] lives on the runtime of its caller: one task writes, one reads. The
//! server's [`serve`] lives on an [IO thread](crate::transport::io), where methods that have proven
//! quick are polled once; the user's runtime runs all others.
//!
//! # Example
//!
//! The first call on a new shared stream, byte for byte: `billing.charge(42)`, in bincode and
//! without a deadline, returns 7. The fingerprint of its contract is `0x0123456789abcdef`. Every
//! frame begins with a head of 16 bytes: length of the content, kind, flags, two reserved bytes,
//! call number. `docs/wire.md` is the specification; a test in `frame/tests.rs` reads the bytes
//! from here and checks them.
//!
//! The client starts the tasks of the stream (`client/connection/mod.rs`). The writer
//! (`client/writer.rs`) sends the preamble (`frame/preamble.rs`) and a ping. The client sends no
//! call before it has received the pong.
//!
//! ```text
//!     43 4e 57 01 00 00 00 00                  "CNW", version 1, role 0: shared
//!
//!     00 00 00 00 06 00 00 00                  no content, kind 6: ping
//!     00 00 00 00 00 00 00 00                  number 0
//! ```
//!
//! The server reads the preamble (`server/serving.rs`), then the frames (`server/reading.rs`). The
//! pong goes out through its send queue (`server/send_queue.rs`).
//!
//! ```text
//!     00 00 00 00 07 00 00 00                  no content, kind 7: pong
//!     00 00 00 00 00 00 00 00                  number 0
//! ```
//!
//! The client encodes the arguments (`client/caller.rs`, `client/request.rs`) and takes the
//! connection of the link (`client/link.rs`), which queues the call under the next call number
//! (`client/connection/mod.rs`). The writer assigns method number 0 to the name (`frame/names.rs`),
//! registers the call as pending (`client/pending.rs`) and encodes the request (`frame/encode.rs`).
//! The first request with a number declares the name; later ones omit that section.
//!
//! ```text
//!     25 00 00 00 01 00 00 00                  37 bytes of content, kind 1: request
//!     01 00 00 00 00 00 00 00                  call 1
//!     00 00 00 00                              method number 0
//!     01                                       codec: bincode
//!     00 00 00 00                              no deadline
//!     19 00                                    25 bytes of sections
//!     01 16 00                                 section 1, declaration: 22 bytes
//!     ef cd ab 89 67 45 23 01                  fingerprint
//!     62 69 6c 6c 69 6e 67 2e 63 68 61 72 67 65    "billing.charge"
//!     2a                                       body: the arguments, 42
//! ```
//!
//! The server collects the bytes (`read_buffer/mod.rs`), decodes the frame (`frame/decode.rs`),
//! resolves the method number (`frame/names.rs`) and runs the call: one poll on the IO thread if
//! the method has proven quick (`server/inline.rs`), otherwise a task on the user's runtime
//! (`server/stream.rs`). The reply goes out through the send queue (`server/send_queue.rs`).
//!
//! ```text
//!     02 00 00 00 02 00 00 00                  2 bytes of content, kind 2: reply
//!     01 00 00 00 00 00 00 00                  call 1
//!     01                                       codec: bincode
//!     07                                       body: the value, 7
//! ```
//!
//! The client's reading task decodes the frame (`client/connection/mod.rs`) and hands the reply to
//! the call that waits for it (`client/pending.rs`).

mod client;
pub(crate) mod frame;
mod read_buffer;
mod server;

pub(crate) use client::{Connection, Feed, MuxDial, MuxRemote};
#[cfg(feature = "quic")]
pub(crate) use server::Streams;
pub(crate) use server::{Beginning, Client, Serving, StreamCall, serve};
