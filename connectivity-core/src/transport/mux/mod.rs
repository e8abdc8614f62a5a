//! Many calls on one byte stream: what `quic` and `unix` share above their sockets.
//!
//! A client's [`Connection`] lives on the runtime of its caller: one task writes, one reads. The other side's [`serve`] lives on an
//! [IO thread](super::io), where methods that have proven quick are polled once; the user's runtime runs all others.

mod caller;
mod connection;
mod inline;
mod intake;
mod large;
mod link;
mod pending;
mod reading;
mod request;
mod send_queue;
mod serving;
mod stream;
mod writer;

pub(crate) use caller::Caller;
pub(crate) use connection::{Connection, Feed};
pub(crate) use inline::StreamCall;
#[cfg(feature = "quic")]
pub(crate) use large::Streams;
pub(crate) use link::MuxDial;
pub(crate) use serving::{Beginning, Client, Serving, serve};
