//! The HTTP listener: a gateway behind the limits that a public port needs.
//!
//! `axum::serve` sets no timers, so this module builds hyper's connections itself. A client that
//! sends its headers or its body, or reads its response, too slowly is cut off, and the accept loop
//! survives every error of `accept`.

mod accept;
mod client_stream;
mod requests;
mod seat;

use std::fmt;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::accept::Accepting;
use crate::call::BoxFuture;
#[cfg(feature = "mcp")]
use crate::http::gateway::Authenticator;
use crate::http::gateway::Gateway;
use crate::transport::Inbound;
use crate::transport::io::{InlinePolicies, IoThread, IoThreads, Work, Workplace};
use crate::transport::{Drain, Listener, Listening, ServeError};

/// The IO threads of a listener. Connections are assigned to them round-robin; the first thread
/// accepts.
const THREADS: usize = 2;

/// The default limit of connections.
const MAX_CONNECTIONS: usize = 1024;

type Configure = Box<dyn FnOnce(Gateway) -> Gateway + Send>;

/// The path of MCP.
#[cfg(feature = "mcp")]
const MCP_PATH: &str = "/mcp";

/// Builds the router of the MCP tools, for the clients that the gateway serves.
#[cfg(feature = "mcp")]
type Tools = Box<dyn FnOnce(Inbound, Authenticator, bool, Drain) -> axum::Router + Send>;

/// Listens for HTTP/1.1. Limits: a request's head of 64 KiB within 15 s, a body of 16 MiB within 30
/// s, 15 s for a response that is not read, 1,024 connections.
///
/// Above the limit, a new connection evicts one without a running request: the oldest one of the
/// address that has the most. While requests run on all connections, the new one waits. One address
/// may run at most seven eighths of the requests. A request over that is refused as `Overloaded`,
/// as is one that has waited for 15 s while its address leaves 64 MiB of responses unread.
///
/// Sockets have threads of their own, so that implementations that block their threads delay no
/// connection. Methods that have proven quick are polled once on these threads.
///
/// An address that other machines can reach needs a rule about who may call:
/// [`bearer`](Self::bearer) or [`open_to_everyone`](Self::open_to_everyone). For TLS use a reverse
/// proxy, or another strategy.
pub struct HttpListener {
    address: String,
    configure: Vec<Configure>,
    #[cfg(feature = "mcp")]
    tools: Option<Tools>,
    open_to_everyone: bool,
    max_connections: usize,
}

impl HttpListener {
    /// Creates a listener for an address such as `127.0.0.1:8080`; with port 0 the system chooses
    /// one.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            configure: Vec::new(),
            #[cfg(feature = "mcp")]
            tools: None,
            open_to_everyone: false,
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Configures the gateway behind the listener: its limits and its clients.
    #[must_use]
    pub fn gateway(mut self, configure: impl FnOnce(Gateway) -> Gateway + Send + 'static) -> Self {
        self.configure.push(Box::new(configure));
        self
    }

    /// Serves only requests with one of the bearer tokens added this way; see [`Gateway::bearer`].
    #[must_use]
    pub fn bearer(self, name: impl Into<String>, token: impl Into<String>) -> Self {
        let (name, token) = (name.into(), token.into());
        self.gateway(move |gateway| gateway.bearer(name, token))
    }

    /// Also serves MCP, at `/mcp`: the exposed services as tools, for the same clients. `configure`
    /// sets further options of [`Mcp`](crate::Mcp); `|mcp| mcp` sets none. A raw service called
    /// `mcp` cannot be reached here then.
    #[cfg(feature = "mcp")]
    #[must_use]
    pub fn mcp(
        mut self,
        configure: impl FnOnce(crate::Mcp) -> crate::Mcp + Send + 'static,
    ) -> Self {
        self.tools = Some(Box::new(move |inbound, authenticator, any_host, drain| {
            let mcp = crate::Mcp::new(inbound).of_gateway(authenticator, any_host);
            configure(mcp).into_drained_router(drain)
        }));
        self
    }

    /// Accepts calls from every client that can reach the address.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    /// Limits the number of connections; the default is 1,024.
    #[must_use]
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    async fn bind(self, inbound: Inbound, drain: &Drain) -> Result<Bound, ServeError> {
        let cannot = |cause| ServeError::Bind { address: self.address.clone(), cause };
        let socket = TcpListener::bind(&self.address).await.map_err(cannot)?;
        let address = socket.local_addr().map_err(cannot)?;
        let gateway = Gateway::new(inbound.clone());
        let gateway =
            self.configure.into_iter().fold(gateway, |gateway, configure| configure(gateway));
        if !address.ip().to_canonical().is_loopback()
            && !self.open_to_everyone
            && !gateway.is_closed_to_strangers()
        {
            return Err(ServeError::NoIdentityRule { address: address.to_string() });
        }
        #[cfg(feature = "mcp")]
        let tools = self.tools.map(|tools| {
            tools(inbound, gateway.authenticator(), self.open_to_everyone, drain.clone())
        });
        #[cfg(not(feature = "mcp"))]
        let _ = drain;
        let app = App {
            gateway,
            #[cfg(feature = "mcp")]
            tools,
        };
        // The accepting thread registers the socket with its own runtime.
        let socket = socket.into_std().map_err(cannot)?;
        Ok(Bound { socket, address, app })
    }
}

/// A listener that is bound to its address.
struct Bound {
    socket: std::net::TcpListener,
    address: SocketAddr,
    app: App,
}

/// The application behind a listener.
struct App {
    gateway: Gateway,
    #[cfg(feature = "mcp")]
    tools: Option<axum::Router>,
}

impl App {
    /// Returns the axum router for the connections of one IO thread.
    fn router_on(&self, thread: &IoThread<Work>, policies: &InlinePolicies) -> axum::Router {
        let work = Workplace::off_thread(thread, Handle::current(), policies.clone());
        let app = self.gateway.clone().with_workplace(work).into_router();
        #[cfg(feature = "mcp")]
        let app = match &self.tools {
            Some(tools) => app.nest(MCP_PATH, tools.clone()),
            None => app,
        };
        app
    }
}

impl fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener for HttpListener {
    fn listen(
        self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            let (requested, max_connections) = (self.address.clone(), self.max_connections);
            let Bound { socket, address, app } = self.bind(inbound, &drain).await?;
            let started = IoThreads::start("http", THREADS);
            let (threads, ended) =
                started.map_err(|cause| ServeError::Bind { address: requested, cause })?;
            let policies = InlinePolicies::default();
            let apps = (0..THREADS).map(|n| {
                (threads.get(n).handle().clone(), app.router_on(threads.get(n), &policies))
            });
            let accepting = Accepting::new(apps.collect(), max_connections, drain);
            let first = threads.get(0).handle().clone();
            first.spawn(async move {
                accepting.run(socket).await;
                drop(threads);
            });
            Ok(Listening::new(address, ended.wait()))
        })
    }
}
