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

#[cfg(any(feature = "mcp", feature = "embed"))]
pub(crate) use endpoint::Endpoint;
#[cfg(any(feature = "mcp", feature = "embed"))]
pub(crate) use inputs::BuildInputs;
#[cfg(feature = "embed")]
pub(crate) use inputs::refers_to_files;
#[cfg(feature = "mcp")]
pub(crate) use inputs::row_headers;
#[cfg(any(feature = "mcp", feature = "embed"))]
pub(crate) use reply::kind_of;
#[cfg(feature = "mcp")]
pub(crate) use reply::{not_answered, sent_of};
#[cfg(feature = "embed")]
pub(crate) use reply::{read_body, send_error};
#[cfg(feature = "embed")]
pub(crate) use security::warning as unverified_warning;
#[cfg(any(feature = "mcp", feature = "embed"))]
pub(crate) use sending::Departure;
#[cfg(any(feature = "mcp", feature = "embed"))]
pub(crate) use transport::guarded_client;
