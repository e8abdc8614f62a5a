//! Client side of a stream: calls are queued, one task writes them, another reads the replies.

mod caller;
mod connection;
mod in_flight;
mod link;
mod pending;
mod request;
mod shared;
mod writer;

pub(crate) use caller::MuxRemote;
pub(crate) use connection::{Connection, Feed};
pub(crate) use link::MuxDial;
