//! The server's side: requests in, calls begun, answers out.

mod inline;
mod large;
mod reading;
mod send_queue;
mod serving;
mod stream;

pub(crate) use inline::StreamCall;
#[cfg(feature = "quic")]
pub(crate) use large::Streams;
pub(crate) use serving::{Beginning, Client, Serving, serve};
