//! The client's side: calls go into a queue, one task writes them, one reads the answers.

mod caller;
mod connection;
mod link;
mod pending;
mod request;
mod writer;

pub(crate) use caller::MuxRemote;
pub(crate) use connection::{Connection, Feed};
pub(crate) use link::MuxDial;
