//! The HTTP listener: a gateway behind the limits that a port in the open needs.
//!
//! `axum::serve` sets no timer, so this loop builds hyper's connections itself: a client that sends
//! its headers, its body or reads its answer too slowly is cut off, and the loop goes on whatever
//! `accept` says.

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

/// The threads of a listener; connections are dealt to them in turn, and the first accepts.
const THREADS: usize = 2;

/// Connections at once unless said.
const MAX_CONNECTIONS: usize = 1024;

type Configure = Box<dyn FnOnce(Gateway) -> Gateway + Send>;

/// Where MCP is answered.
#[cfg(feature = "mcp")]
const MCP_PATH: &str = "/mcp";

/// What makes the tools of a server into a router, for the callers of its gateway.
#[cfg(feature = "mcp")]
type Tools = Box<dyn FnOnce(Inbound, Authenticator, bool, Drain) -> axum::Router + Send>;

/// Listens for HTTP/1.1. Limits: head 64 KiB within 15 s, body 16 MiB within 30 s, an answer unread
/// for 15 s, 1,024 connections.
///
/// A connection over that takes the place of one of which no request runs, the oldest of the
/// address that has the most; while requests run on all, it waits. One address runs at most seven
/// eighths of the requests; one over that is refused as `Overloaded`, as is one that waits for 15 s
/// while its address leaves 64 MiB of answers unread.
///
/// Sockets have threads of their own, so that implementations that block theirs hold up no
/// connection. Methods that have proven quick are polled there once.
///
/// An address that other machines can reach needs a rule who may call: [`bearer`](Self::bearer), or
/// [`open_to_everyone`](Self::open_to_everyone). TLS is the matter of a proxy in front, or of
/// another strategy.
pub struct HttpListener {
    address: String,
    configure: Vec<Configure>,
    #[cfg(feature = "mcp")]
    tools: Option<Tools>,
    open_to_everyone: bool,
    max_connections: usize,
}

impl HttpListener {
    /// Listens on an address such as `127.0.0.1:8080`; port 0 lets the system choose.
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

    /// Changes the gateway behind the listener: its limits, its callers.
    #[must_use]
    pub fn gateway(mut self, configure: impl FnOnce(Gateway) -> Gateway + Send + 'static) -> Self {
        self.configure.push(Box::new(configure));
        self
    }

    /// Answers only requests with one of the bearer tokens given so; see [`Gateway::bearer`].
    #[must_use]
    pub fn bearer(self, name: impl Into<String>, token: impl Into<String>) -> Self {
        let (name, token) = (name.into(), token.into());
        self.gateway(move |gateway| gateway.bearer(name, token))
    }

    /// Answers MCP too, at `/mcp`: what is exposed, as tools, for the same callers. Give
    /// `configure` what [`Mcp`](crate::Mcp) should say beside that; `|mcp| mcp` does. A raw service
    /// called `mcp` cannot be reached here then.
    #[cfg(feature = "mcp")]
    #[must_use]
    pub fn mcp(
        mut self,
        configure: impl FnOnce(crate::Mcp) -> crate::Mcp + Send + 'static,
    ) -> Self {
        self.tools = Some(Box::new(move |inbound, callers, any_host, drain| {
            let mcp = crate::Mcp::new(inbound).of_gateway(callers, any_host);
            configure(mcp).into_drained_router(drain)
        }));
        self
    }

    /// Lets everybody call who can reach the address.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    /// Bounds the connections at once: 1,024 unless said.
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
        let tools = self
            .tools
            .map(|tools| tools(inbound, gateway.callers(), self.open_to_everyone, drain.clone()));
        #[cfg(not(feature = "mcp"))]
        let _ = drain;
        let app = App {
            gateway,
            #[cfg(feature = "mcp")]
            tools,
        };
        // It is registered with a runtime again by the thread that accepts.
        let socket = socket.into_std().map_err(cannot)?;
        Ok(Bound { socket, address, app })
    }
}

/// A listener that has its address.
struct Bound {
    socket: std::net::TcpListener,
    address: SocketAddr,
    app: App,
}

/// What a listener answers with.
struct App {
    gateway: Gateway,
    #[cfg(feature = "mcp")]
    tools: Option<axum::Router>,
}

impl App {
    /// Makes the router for the connections of one IO thread.
    fn on(&self, thread: &IoThread<Work>, policies: &InlinePolicies) -> axum::Router {
        let work = Workplace::apart(thread, Handle::current(), policies.clone());
        let app = self.gateway.clone().at(work).into_router();
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
            let (asked, max_connections) = (self.address.clone(), self.max_connections);
            let Bound { socket, address, app } = self.bind(inbound, &drain).await?;
            let started = IoThreads::start("http", THREADS);
            let (threads, ended) =
                started.map_err(|cause| ServeError::Bind { address: asked, cause })?;
            let policies = InlinePolicies::default();
            let apps = (0..THREADS)
                .map(|n| (threads.get(n).handle().clone(), app.on(threads.get(n), &policies)));
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
