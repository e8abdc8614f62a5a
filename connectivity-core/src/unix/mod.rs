//! Strategy `unix`: the frames of `docs/wire.md` over a Unix socket, the fast first step when a
//! program is split into processes on one host.

mod address;
mod client;
mod listener;

pub use client::UnixTransport;
pub use listener::UnixListener;
