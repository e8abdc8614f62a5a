//! Strategy `mcp`: calls as tool calls, over QUIC as the Go original speaks it, or over Streamable HTTP. The session is rmcp's.
//!
//! A row's route has a [`Link`] to its endpoint, as `quic` has: one session that all calls share, dialled when it is needed, and again
//! when it broke. `docs/mcp-over-quic.md` has the bytes.

mod answer;
mod caller;
mod dial;
mod http;
mod session;
mod sieve;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::routes::{Route, RouteError};
use crate::transport::http::guard::Guard;
use crate::transport::link::{Link, Links};
use crate::transport::quic::endpoints::Endpoints;
use crate::transport::{BuildContext, Remote, Transport, http as web, tls};

use caller::Caller;
use dial::McpDial;

/// Calls tools of MCP servers: rows with `strategy = 'mcp'`.
///
/// The endpoint is a host and a port (`10.0.0.5:4434`: QUIC, as a [`McpListener`](crate::McpListener) and the Go original serve it), or a
/// URL (`https://tools.example.com/mcp`: Streamable HTTP). A method calls the tool of its own name; a raw service, or a row of one
/// method, the tool that `tool_name` names. All calls of a route share a session, 128 at once; those over that wait for their turn.
///
/// URLs lead to public addresses only, unless told otherwise, as with [`HttpTransport`](crate::HttpTransport). Certificates are
/// verified as the row says; its files are read again within 2 s after they changed.
///
/// ```
/// use connectivity_core::McpTransport;
///
/// let on_premises = McpTransport::new().allow_internal();
/// ```
#[derive(Clone)]
pub struct McpTransport {
    guard: Guard,
    links: Arc<Links<String, McpDial>>,
    endpoints: Arc<Endpoints>,
}

impl McpTransport {
    /// Makes a transport whose URLs reach public addresses.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: Guard::new(), links: Arc::default(), endpoints: Arc::default() }
    }

    /// Lets URLs reach loopback and private networks too; see [`HttpTransport::allow_internal`](crate::HttpTransport::allow_internal).
    #[must_use]
    pub fn allow_internal(mut self) -> Self {
        self.guard.allow_internal();
        self
    }

    /// Lets URLs reach one network more.
    #[must_use]
    pub fn allow(mut self, net: IpNet) -> Self {
        self.guard.allow(net);
        self
    }

    /// Finds or makes the link of a route: those that differ in nothing that a session depends on share it.
    fn link(&self, route: &Route, endpoint: &str) -> Result<Arc<Link<McpDial>>, RouteError> {
        let config = route.config();
        let dial = if endpoint.contains("://") {
            McpDial::http(endpoint, config, &self.guard)?
        } else {
            McpDial::quic(endpoint, config, Arc::clone(&self.endpoints))?
        };
        let (tls, limit) = (config.tls(), config.max_reply_bytes());
        let key = format!("{endpoint} {tls:?} {:?} {limit} {:?}", tls::files_digest(tls), web::own_headers(config)?);
        Ok(self.links.get(key, || dial))
    }
}

impl Default for McpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTransport").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Transport for McpTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let endpoint = route.endpoint().ok_or_else(|| RouteError::endpoint("strategy mcp needs one"))?;
        let config = route.config().clone();
        let (files, headers) = (tls::files_digest(config.tls()), web::own_headers(&config)?);
        let (remote, unverified) = (Caller::remote(route, self.link(route, endpoint)?), tls::warning(config.tls()));
        Ok(remote.with_warnings(move || unverified.iter().cloned().collect()).with_unchanged(move || {
            tls::files_digest(config.tls()) == files && web::own_headers(&config).is_ok_and(|now| now == headers)
        }))
    }
}
