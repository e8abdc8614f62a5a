//! Many calls on one byte stream: what `quic` and `unix` share above their sockets.
//!
//! A client's [`Connection`] lives on the runtime of its caller: one task writes, one reads. The other side's [`serve`] lives
//! where its listener puts it, polls implementations once in place, and hands what is pending to the user's runtime.

mod caller;
mod connection;
mod intake;
mod link;
mod outbox;
mod pace;
mod pending;
mod request;
mod serving;
mod turns;
mod writer;

pub(crate) use caller::Caller;
pub(crate) use connection::{Connection, Feed};
pub(crate) use link::MuxDial;
pub(crate) use serving::{Beginning, Serving, serve};
#[cfg(feature = "unix")]
pub(crate) use turns::Shares;
