//! HTTP in both directions: the client of strategy `http`, the gateway, and the listener in front
//! of it. `docs/http.md` specifies the bytes.

#[cfg(feature = "http")]
pub(crate) mod client;
#[cfg(feature = "gateway")]
pub(crate) mod gateway;
#[cfg_attr(
    not(all(feature = "http", feature = "gateway")),
    allow(dead_code, reason = "each end of the wire uses its half")
)]
pub(crate) mod headers;
#[cfg(feature = "gateway")]
mod listener;

#[cfg(feature = "http")]
pub use client::HttpTransport;
#[cfg(feature = "gateway")]
pub use gateway::Gateway;
#[cfg(feature = "gateway")]
pub use listener::HttpListener;
