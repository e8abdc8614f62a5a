//! Offers the services of a router as tools of the Model Context Protocol, on rmcp: over stdio,
//! Streamable HTTP and QUIC. `docs/mcp-over-quic.md` specifies the bytes over QUIC.

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
mod tool;
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
pub use tool::RawForm;

use catalogue::Catalogue;
use services::Services;
use tool::Spelling;

/// Default size limit of a message, in bytes.
const MAX_MESSAGE: usize = 10 << 20;

/// Default timeout of a call whose client requests none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Default limit of the timeout that a client may request.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// MCP server that offers the exposed services of a router as tools to agents. Each method is a
/// tool with the method's full name.
///
/// The description of a tool is the doc comment of its method. The schemas of its arguments and its
/// value come from the types, without extra derives; `#[readonly]` and `#[idempotent]` become its
/// annotations. A value that is not an object is wrapped: `{"result": ..}`. The error type of the
/// contract, and refusals by this crate (`{"kind","name","message","sent"}`), are results with
/// `isError`. Tools appear and disappear with their services, and a row `noop` removes the tools
/// that have no noop value. Clients are notified of such changes; over HTTP, which has no sessions,
/// only clients that listen for them (2026-07-28).
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
/// A client may request a timeout other than 30 s with `connectivity/timeout-ms` in the `_meta` of
/// its request; `traceparent` there is passed on with the call. A call is cancelled when its
/// request is cancelled or its client has gone.
#[derive(Clone)]
pub struct Mcp {
    offer: Offer,
    raw: HashMap<String, RawForm>,
    authenticator: Authenticator,
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

/// State that sessions share.
#[derive(Debug)]
struct Inner {
    catalogue: Catalogue,
    timeout: Duration,
    max_timeout: Duration,
    max_message: usize,
    /// Runtime on which tools are called.
    work: Workplace,
}

impl Mcp {
    /// Creates a server that offers the services exposed by `inbound`.
    #[must_use]
    pub fn new(inbound: Inbound) -> Self {
        Self::with_offer(Offer::Services(inbound))
    }

    /// Creates a server that offers the tools for reading and changing the rows of a router
    /// (`routes.list`, `routes.get`, `routes.upsert`, `routes.set_strategy`, `routes.delete`,
    /// `routes.history`, `routes.rollback`, `services.inspect`), and no services: the admin tools
    /// are a catalogue of their own.
    ///
    /// A change is a dry run unless the call says `"dry_run": false`. Over HTTP these tools require
    /// an authenticated caller: by [`bearer`](Self::bearer), or by a [`Peer`] that a middleware of
    /// yours adds to the request's extensions. Over QUIC, an address that other machines can reach
    /// requires client certificates. Literal values of headers in a row are hidden.
    ///
    /// # Errors
    /// Fails if the rows are not in a SQLite file.
    #[cfg(feature = "sqlite")]
    pub fn admin(router: &Router) -> Result<Self, SourceError> {
        Ok(Self::with_offer(Offer::Admin(router.clone(), router.admin()?)))
    }

    fn with_offer(offer: Offer) -> Self {
        Self {
            offer,
            raw: HashMap::new(),
            authenticator: Authenticator::default(),
            hosts: Vec::new(),
            spelling: Spelling::Full,
            timeout: TIMEOUT,
            max_timeout: MAX_TIMEOUT,
            max_message: MAX_MESSAGE,
        }
    }

    /// Offers an exposed raw service as a tool; raw services are not tools by default. `form` is
    /// the representation of its bytes in JSON.
    #[must_use]
    pub fn raw(mut self, name: impl Into<String>, form: RawForm) -> Self {
        self.raw.insert(name.into(), form);
        self
    }

    /// Spells tool names for agent hosts that accept only letters, digits, `_` and `-`, at most 64
    /// characters: `billing__charge` for `billing.charge`. A tool is left out, and logged, if its
    /// name would be longer or is taken.
    #[must_use]
    pub fn plain_names(self) -> Self {
        Self { spelling: Spelling::Plain, ..self }
    }

    /// Sets the timeout of a call whose client requests none. Default: 30 s.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }

    /// Sets the limit of the timeout that a client may request. Default: 5 minutes.
    #[must_use]
    pub fn max_timeout(self, limit: Duration) -> Self {
        Self { max_timeout: limit, ..self }
    }

    /// Sets the size limit of a message. Default: 10 MiB. A larger message is refused as too large:
    /// over HTTP with status 413, over a stream by an error with its id, after which the session
    /// continues. A message that exceeds three times the limit ends the session.
    #[must_use]
    pub fn max_message_bytes(self, limit: usize) -> Self {
        Self { max_message: limit, ..self }
    }

    /// Over HTTP, requires one of the tokens added by this method; see
    /// [`Gateway::bearer`](crate::Gateway::bearer).
    #[must_use]
    pub fn bearer(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.authenticator.add_bearer(Peer::new("bearer", name), token.into());
        self
    }

    /// Over HTTP, allows requests that a browser sends from a page of this origin, such as
    /// `https://agents.example.com`. By default a request with an `Origin` is refused.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.authenticator.add_origin(origin.into());
        self
    }

    /// Over HTTP, allows requests for this host, such as `mcp.example.com`, or for any host (`*`).
    /// By default only loopback names are allowed, unless a [`bearer`](Self::bearer) is set: a page
    /// must not reach the tools by pointing a name of its own at this machine (DNS rebinding).
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Serves one session over the standard input and output of this process, until its input ends.
    /// Nothing else may write to standard output: send logs to standard error.
    ///
    /// The host that started the process may leave replies unread for as long as it likes. While 4
    /// MiB of replies are unsent, no further call starts and no request is read.
    ///
    /// # Errors
    /// Fails if the streams break, or if a message exceeds three times the size limit.
    ///
    /// # Cancel safety
    /// Dropping the future ends the session and cancels its calls.
    pub async fn serve_stdio(self) -> io::Result<()> {
        stdio::serve(self.into_inner(Workplace::default())).await
    }

    /// Builds an axum router that serves MCP at its root: nest it at a path of its own, such as
    /// `/mcp`.
    ///
    /// If a middleware of yours adds a [`Peer`] to the request's extensions, implementations see it
    /// as the authenticated caller.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        let (authenticator, hosts) = (self.authenticator.clone(), self.hosts.clone());
        http::router(self.into_inner(Workplace::default()), authenticator, &hosts, None)
    }

    /// Builds a router for a server that drains: clients that listen for changes must not delay the
    /// shutdown. Requests arrive on IO threads and are handled on the runtime that calls this.
    pub(crate) fn into_drained_router(self, drain: Drain) -> axum::Router {
        let (authenticator, hosts) = (self.authenticator.clone(), self.hosts.clone());
        http::router(
            self.into_inner(Workplace::default()),
            authenticator,
            &hosts,
            Some((drain, Handle::current())),
        )
    }

    /// Sets the authentication of a gateway. `any_host` allows requests for any host name, for a
    /// gateway that is open to everyone.
    pub(crate) fn of_gateway(mut self, authenticator: Authenticator, any_host: bool) -> Self {
        self.hosts.extend(any_host.then(|| "*".to_owned()));
        Self { authenticator, ..self }
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
            .field("callers", &self.authenticator)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
