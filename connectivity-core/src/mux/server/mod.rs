//! Server side of a stream: reads requests, runs their calls, sends the replies.

mod backend;
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
