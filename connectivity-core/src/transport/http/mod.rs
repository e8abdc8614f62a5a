//! Strategy `http`: calls as POST requests, to our own gateway, to the Go original's, or to a server of any kind.
//!
//! A row addresses what it names: under the row `billing` with the endpoint `http://10.0.0.5:8080/billing`, the method `charge`
//! is `POST http://10.0.0.5:8080/billing.charge`. The bytes of both ways are described in `docs/http.md`.

#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod endpoint;
#[cfg(feature = "http")]
pub(crate) mod guard;
#[cfg_attr(
    not(all(feature = "http", feature = "gateway")),
    allow(dead_code, reason = "each end of the wire uses its half")
)]
pub(crate) mod headers;
#[cfg(feature = "http")]
mod reply;
#[cfg(feature = "http")]
mod sending;

#[cfg(feature = "http")]
pub use client::HttpTransport;
#[cfg(feature = "mcp")]
pub(crate) use client::{can_change, guarded_client, own_headers};
#[cfg(feature = "mcp")]
pub(crate) use endpoint::Endpoint;
#[cfg(feature = "mcp")]
pub(crate) use reply::{kind_of, not_answered, sent_of};
#[cfg(feature = "mcp")]
pub(crate) use sending::Departure;
