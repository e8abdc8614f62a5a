//! The services of a router as tools of the Model Context Protocol, on rmcp: over stdio, Streamable
//! HTTP and QUIC. `docs/mcp-over-quic.md` has the bytes of the last.

#[cfg(feature = "sqlite")]
mod admin;
mod catalogue;
mod handler;
mod http;
mod line;
mod quic;
mod raw;
mod services;
mod session;
mod stdio;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::context::Peer;
use crate::http::gateway::Authenticator;
#[cfg(feature = "sqlite")]
use crate::router::Router;
#[cfg(feature = "sqlite")]
use crate::routes::SourceError;
use crate::transport::Drain;
use crate::transport::Inbound;
use crate::transport::io::Workplace;

pub use quic::McpListener;
pub use raw::RawForm;

use catalogue::{Catalogue, Spelling};
use services::Services;

/// The longest message unless said, in bytes.
const MAX_MESSAGE: usize = 10 << 20;

/// How long a call may take unless its client asks for less or more.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that a client may ask for unless said.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// Offers the exposed services of a router as tools to agents: every method is a tool of its full
/// name.
///
/// A tool's description is the doc comment of its method; the schemas of what it takes and gives
/// come from the types, with no derive of their own; `#[readonly]` and `#[idempotent]` are its
/// annotations. A value that is no object is given as `{"result": ..}`. The error type of the
/// contract, and what is ours to refuse (`{"kind","name","message"}`), are results with `isError`.
/// Tools come and go with services, and a row `noop` takes those away that have no answer for it;
/// clients are told, over HTTP those that listen for it (2026-07-28), since there are no sessions.
///
/// ```no_run
/// use connectivity_core::{Exposure, Mcp, Router};
///
/// # async fn serve(router: Router) -> std::io::Result<()> {
/// // For an agent's host that starts this program:
/// Mcp::new(router.inbound(Exposure::services(["billing"]))).serve_stdio().await
/// # }
/// ```
///
/// ```no_run
/// # use connectivity_core::{Exposure, Mcp, Router};
/// # fn mount(router: Router, token: String) -> axum::Router {
/// // In an axum application, at a path of its own:
/// let mcp = Mcp::new(router.inbound(Exposure::services(["billing"]))).bearer("agent", token);
/// axum::Router::new().nest("/mcp", mcp.into_router())
/// # }
/// ```
///
/// A client may ask for less or more time than 30 s by `connectivity/timeout-ms` in the `_meta` of
/// its request; `traceparent` in it goes along with the call. A request that is cancelled, or whose
/// client has gone, ends the call's work.
#[derive(Clone)]
pub struct Mcp {
    offer: Offer,
    raw: HashMap<String, RawForm>,
    callers: Authenticator,
    hosts: Vec<String>,
    spelling: Spelling,
    timeout: Duration,
    max_timeout: Duration,
    max_message: usize,
}

#[derive(Clone, Debug)]
enum Offer {
    Services(Inbound),
    #[cfg(feature = "sqlite")]
    Admin(Router, crate::routes::Admin),
}

/// What sessions share.
#[derive(Debug)]
struct Inner {
    catalogue: Catalogue,
    timeout: Duration,
    max_timeout: Duration,
    max_message: usize,
    /// Where tools are called.
    work: Workplace,
}

impl Mcp {
    /// Offers what others may call here.
    #[must_use]
    pub fn new(inbound: Inbound) -> Self {
        Self::of(Offer::Services(inbound))
    }

    /// Offers the tools that read and change the rows of a router (`routes.list`, `routes.get`,
    /// `routes.upsert`, `routes.set_strategy`, `routes.delete`, `routes.history`,
    /// `routes.rollback`, `services.inspect`), and no service: they are a catalogue of their own.
    ///
    /// A change is only tried, unless the call says `"dry_run": false`. Over HTTP these tools are
    /// for authenticated callers only: [`bearer`](Self::bearer), or a [`Peer`] that a middleware of
    /// yours puts into the request's extensions. Over QUIC, an address that other machines reach
    /// needs client certificates. Plain values of headers in a row are not shown.
    ///
    /// # Errors
    /// When the rows are in no SQLite file.
    #[cfg(feature = "sqlite")]
    pub fn admin(router: &Router) -> Result<Self, SourceError> {
        Ok(Self::of(Offer::Admin(router.clone(), router.admin()?)))
    }

    fn of(offer: Offer) -> Self {
        Self {
            offer,
            raw: HashMap::new(),
            callers: Authenticator::default(),
            hosts: Vec::new(),
            spelling: Spelling::Full,
            timeout: TIMEOUT,
            max_timeout: MAX_TIMEOUT,
            max_message: MAX_MESSAGE,
        }
    }

    /// Makes a tool of an exposed raw service, which is none otherwise, and says how its bytes
    /// stand in JSON.
    #[must_use]
    pub fn raw(mut self, name: impl Into<String>, form: RawForm) -> Self {
        self.raw.insert(name.into(), form);
        self
    }

    /// Names tools for hosts of agents that take letters, digits, `_` and `-` only, 64 at most:
    /// `billing__charge` for `billing.charge`. A tool whose name would be longer, or that of
    /// another, is left out, and the log says so.
    #[must_use]
    pub fn plain_names(self) -> Self {
        Self { spelling: Spelling::Plain, ..self }
    }

    /// Bounds a call whose client asks for nothing: 30 s unless said.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }

    /// Bounds what a client may ask for: 5 minutes unless said.
    #[must_use]
    pub fn max_timeout(self, limit: Duration) -> Self {
        Self { max_timeout: limit, ..self }
    }

    /// Bounds a message: 10 MiB unless said. A longer one is refused as too large: over HTTP with
    /// 413, over a stream by an error with its id, and the session goes on. One without end, three
    /// times the limit, ends it.
    #[must_use]
    pub fn max_message_bytes(self, limit: usize) -> Self {
        Self { max_message: limit, ..self }
    }

    /// Over HTTP, answers only requests with one of the tokens given so; see
    /// [`Gateway::bearer`](crate::Gateway::bearer).
    #[must_use]
    pub fn bearer(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.callers.add_bearer(Peer::new("bearer", name), token.into());
        self
    }

    /// Over HTTP, answers requests that a browser sends from a page of this origin, such as
    /// `https://agents.example.com`. Without it a request with an `Origin` is refused.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.callers.add_origin(origin.into());
        self
    }

    /// Over HTTP, answers requests for this host, such as `mcp.example.com`, or for any, by `*`.
    /// Without it only loopback names are answered, unless there is a [`bearer`](Self::bearer): so
    /// no page can reach the tools by a name of its own for this machine.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Serves one session over the standard input and output of this process, until its input ends.
    /// Nothing else may write to the output: let logs go to the standard error.
    ///
    /// The host that started the process may leave answers unread for as long as it likes. While 4
    /// MiB of them wait, no further call begins and no request is read.
    ///
    /// # Errors
    /// When the streams break, or a message has no end.
    ///
    /// # Cancel safety
    /// Dropping the future ends the session and its calls.
    pub async fn serve_stdio(self) -> io::Result<()> {
        stdio::serve(self.into_inner(Workplace::default())).await
    }

    /// Makes an axum router that answers MCP at its root: mount it at a path of its own, such as
    /// `/mcp`.
    ///
    /// A [`Peer`] that a middleware of yours puts into the request's extensions is who
    /// implementations see as the authenticated caller.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        let (callers, hosts) = (self.callers.clone(), self.hosts.clone());
        http::router(self.into_inner(Workplace::default()), callers, &hosts, None)
    }

    /// The same, for a server that will stop: who listens for changes must not hold that up. Its
    /// requests come in on IO threads, and are answered on the runtime that this is called on.
    pub(crate) fn into_drained_router(self, drain: Drain) -> axum::Router {
        let (callers, hosts) = (self.callers.clone(), self.hosts.clone());
        http::router(
            self.into_inner(Workplace::default()),
            callers,
            &hosts,
            Some((drain, Handle::current())),
        )
    }

    /// Answers the callers of a gateway, by any name of this machine if everybody may call.
    pub(crate) fn of_gateway(mut self, callers: Authenticator, any_host: bool) -> Self {
        self.hosts.extend(any_host.then(|| "*".to_owned()));
        Self { callers, ..self }
    }

    fn into_inner(self, work: Workplace) -> Arc<Inner> {
        let Self { offer, raw, spelling, timeout, max_timeout, max_message, .. } = self;
        let catalogue = match offer {
            Offer::Services(inbound) => Catalogue::Services(Services::new(inbound, raw, spelling)),
            #[cfg(feature = "sqlite")]
            Offer::Admin(router, admin) => {
                Catalogue::Admin(admin::AdminTools::new(router, admin, spelling))
            }
        };
        Arc::new(Inner { catalogue, timeout, max_timeout, max_message, work })
    }
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp")
            .field("offer", &self.offer)
            .field("callers", &self.callers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
