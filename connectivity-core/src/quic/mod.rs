//! Strategy `quic`: the frames of `docs/wire.md` over QUIC (RFC 9000), ALPN `connectivity/1`.

pub(crate) mod admission;
pub(crate) mod binding;
mod client;
mod close;
pub(crate) mod dialer;
pub(crate) mod endpoints;
mod listener;
pub(crate) mod socket;
mod threads;

pub use client::QuicTransport;
pub use listener::QuicListener;

/// The ALPN protocol ID: name and version of the protocol.
const ALPN: &[u8] = b"connectivity/1";
