//! Strategy `mcp`: sends calls as tool calls, over QUIC in the protocol of the Go original, or over
//! Streamable HTTP. rmcp runs the session.
//!
//! Each route has a [`Link`] to its endpoint, as in `quic`: one session that all calls share,
//! dialed on first use and redialed after it breaks. `docs/mcp-over-quic.md` specifies the bytes on
//! the wire.

mod answer;
mod caller;
mod dial;
mod http;
mod refusal;
mod requests;
mod response_filter;
mod session;
mod stream;
mod ticket;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::http::client::BuildInputs;
use crate::http::client::guard::Guard;
use crate::quic::endpoints::Endpoints;
use crate::routes::{Route, RouteError};
use crate::tls;
use crate::transport::link::{Link, Links};
use crate::transport::{BuildContext, Remote, Transport};

use caller::McpRemote;
use dial::McpDial;

/// Transport that calls tools of MCP servers: rows with `strategy = 'mcp'`.
///
/// The endpoint is a host and a port (`10.0.0.5:4434`; QUIC, as served by a
/// [`McpListener`](crate::McpListener) and by the Go original), or a URL
/// (`https://tools.example.com/mcp`; Streamable HTTP). A method calls the tool of its own name. A
/// raw service, or a row for one method, calls the tool that `tool_name` names. All calls of a
/// route share one session with up to 128 calls in flight; further calls wait.
///
/// URLs reach only public addresses unless allowed otherwise, as with
/// [`HttpTransport`](crate::HttpTransport). Certificates are verified as the row specifies; its
/// files are reloaded within 2 s after they change.
///
/// ```
/// use connectivity_core::McpTransport;
///
/// let on_premises = McpTransport::new().allow_internal();
/// ```
#[derive(Clone)]
pub struct McpTransport {
    guard: Guard,
    links: Arc<Links<Key, McpDial>>,
    endpoints: Arc<Endpoints>,
}

/// Properties that routes must have in common to share a session.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    endpoint: String,
    /// TLS settings of the row, and the contents of the files that it refers to.
    tls: String,
    headers: Vec<(String, Vec<u8>)>,
    max_reply: usize,
}

impl McpTransport {
    /// Creates a transport whose URLs reach only public addresses.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: Guard::new(), links: Arc::default(), endpoints: Arc::default() }
    }

    /// Returns the transport of a router that names none: the environment may open networks.
    pub(crate) fn of_environment() -> Self {
        Self { guard: Guard::of_environment(), ..Self::new() }
    }

    /// Allows URLs that lead to loopback and private networks; see
    /// [`HttpTransport::allow_internal`](crate::HttpTransport::allow_internal).
    #[must_use]
    pub fn allow_internal(mut self) -> Self {
        self.guard.allow_internal();
        self
    }

    /// Allows URLs that lead to one more network.
    #[must_use]
    pub fn allow(mut self, net: IpNet) -> Self {
        self.guard.allow(net);
        self
    }

    fn dial(&self, route: &Route) -> Result<McpDial, RouteError> {
        let endpoint =
            route.endpoint().ok_or_else(|| RouteError::endpoint("strategy mcp needs one"))?;
        if endpoint.contains("://") {
            McpDial::http(endpoint, route.config(), &self.guard)
        } else {
            McpDial::quic(endpoint, route.config(), Arc::clone(&self.endpoints))
        }
    }

    /// Returns the link to the endpoint of a route, creating it if necessary.
    fn link(&self, route: &Route, inputs: &BuildInputs) -> Result<Arc<Link<McpDial>>, RouteError> {
        let (dial, config) = (self.dial(route)?, route.config());
        let headers = inputs
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_owned()));
        let key = Key {
            endpoint: route.endpoint().unwrap_or_default().to_owned(),
            tls: format!("{:?} {:?}", &config.tls, inputs.files()),
            headers: headers.collect(),
            max_reply: config.max_reply_bytes,
        };
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
        let config = route.config();
        let inputs = BuildInputs::read(config)?;
        let link = self.link(route, &inputs)?;
        let unverified = tls::warning(&config.tls);
        let remote = McpRemote::remote(route, Arc::clone(&link)).with_warnings(move || {
            unverified.iter().cloned().chain(link.dial().warning()).collect()
        });
        Ok(inputs.watch(remote, config))
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        self.dial(route).map(drop)
    }

    fn check_calls(&self, route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        caller::check(route, context)
    }
}
