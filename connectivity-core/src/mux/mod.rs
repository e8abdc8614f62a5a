//! Many calls on one byte stream: what `quic` and `unix` share above their sockets.
//!
//! A client's [`Connection`] lives on the runtime of its caller: one task writes, one reads. The
//! other side's [`serve`] lives on an [IO thread](crate::transport::io), where methods that have
//! proven quick are polled once; the user's runtime runs all others.

mod client;
pub(crate) mod frame;
mod read_buffer;
mod server;

pub(crate) use client::{Connection, Feed, MuxDial, MuxRemote};
#[cfg(feature = "quic")]
pub(crate) use server::Streams;
pub(crate) use server::{Beginning, Client, Serving, StreamCall, serve};
