//! Strategy `http`: sends calls as POST requests to a gateway of this crate, to one of the Go
//! original, or to any other HTTP server.
//!
//! An endpoint stands for the name of its row: under the row `billing` with the endpoint
//! `http://10.0.0.5:8080/billing`, the method `charge` is `POST
//! http://10.0.0.5:8080/billing.charge`. `docs/http.md` specifies the bytes of both directions.

mod endpoint;
pub(crate) mod guard;
mod inputs;
mod remote;
mod reply;
mod security;
mod sending;
mod transport;

pub use transport::HttpTransport;

#[cfg(feature = "mcp")]
pub(crate) use endpoint::Endpoint;
#[cfg(feature = "mcp")]
pub(crate) use inputs::{BuildInputs, row_headers};
#[cfg(feature = "mcp")]
pub(crate) use reply::{kind_of, not_answered, sent_of};
#[cfg(feature = "mcp")]
pub(crate) use sending::Departure;
#[cfg(feature = "mcp")]
pub(crate) use transport::guarded_client;
