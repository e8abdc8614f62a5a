//! Strategy `unix`: the frames of `docs/wire.md` over a Unix socket, the fast first step of a split
//! on one host.

mod address;
mod client;
mod listener;
mod users;

pub use client::UnixTransport;
pub use listener::UnixListener;
