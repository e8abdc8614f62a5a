//! The HTTP listener: a gateway behind the limits that a port in the open needs.
//!
//! `axum::serve` sets no timer, so this loop builds hyper's connections itself: a client that sends its headers, its body or
//! reads its answer too slowly is cut off, and the loop goes on whatever `accept` says.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_stream::ClientStream;
use crate::call::BoxFuture;
#[cfg(feature = "mcp")]
use crate::gateway::Callers;
use crate::gateway::Gateway;
use crate::router::Inbound;
use crate::transport::{Drain, Listener, Listening, ServeError};

/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may leave an answer unread.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections at once unless said.
const MAX_CONNECTIONS: usize = 1024;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The pause after an `accept` that failed: out of descriptors, say. The loop goes on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Configure = Box<dyn FnOnce(Gateway) -> Gateway + Send>;

/// Where MCP is answered.
#[cfg(feature = "mcp")]
const MCP_PATH: &str = "/mcp";

/// What makes the tools of a server into a router, for the callers of its gateway.
#[cfg(feature = "mcp")]
type Tools = Box<dyn FnOnce(Inbound, Callers, bool, Drain) -> axum::Router + Send>;

/// Listens for HTTP/1.1. Limits: head 64 KiB within 15 s, body 16 MiB within 30 s, an answer unread for 15 s, 1,024
/// connections; a connection over that waits for its turn.
///
/// An address that other machines can reach needs a rule who may call: [`bearer`](Self::bearer), or
/// [`open_to_everyone`](Self::open_to_everyone). TLS is the matter of a proxy in front, or of another strategy.
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

    /// Answers MCP too, at `/mcp`: what is exposed, as tools, for the same callers. Give `configure` what [`Mcp`](crate::Mcp) should say
    /// beside that; `|mcp| mcp` does. A raw service called `mcp` cannot be reached here then.
    #[cfg(feature = "mcp")]
    #[must_use]
    pub fn mcp(mut self, configure: impl FnOnce(crate::Mcp) -> crate::Mcp + Send + 'static) -> Self {
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
        let listener = TcpListener::bind(&self.address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let gateway = Gateway::new(inbound.clone());
        let gateway = self.configure.into_iter().fold(gateway, |gateway, configure| configure(gateway));
        if !address.ip().to_canonical().is_loopback() && !self.open_to_everyone && !gateway.is_closed_to_strangers() {
            return Err(ServeError::NoIdentityRule { address: address.to_string() });
        }
        #[cfg(feature = "mcp")]
        let tools = self.tools.map(|tools| tools(inbound, gateway.callers(), self.open_to_everyone, drain.clone()));
        #[cfg(not(feature = "mcp"))]
        let _ = drain;
        let app = gateway.into_router();
        #[cfg(feature = "mcp")]
        let app = match tools {
            Some(tools) => app.nest(MCP_PATH, tools),
            None => app,
        };
        Ok(Bound { listener, address, app, max_connections: self.max_connections })
    }
}

/// A listener that has its address.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    app: axum::Router,
    max_connections: usize,
}

impl fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener for HttpListener {
    fn listen(self: Box<Self>, inbound: Inbound, drain: Drain) -> BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            let Bound { listener, address, app, max_connections } = self.bind(inbound, &drain).await?;
            Ok(Listening::new(address, serve(listener, app, max_connections, drain)))
        })
    }
}

async fn serve(listener: TcpListener, app: axum::Router, max_connections: usize, mut drain: Drain) {
    let places = Arc::new(Semaphore::new(max_connections));
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => break,
            (stream, place) = accept(&listener, &places) => {
                let connection = connection(stream, app.clone());
                let watched = connections.watch(connection);
                let mut cut = drain.clone();
                tokio::spawn(async move {
                    let _place = place;
                    tokio::select! {
                        ended = watched => note_end(ended),
                        () = cut.over() => {}
                    }
                });
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = drain.over() => {}
    }
}

/// Waits for a place and a client, in this order: who finds no place waits in the backlog of the system.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed; without a permit the connection would merely go uncounted.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(cause) => {
                tracing::warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

type Connection = http1::Connection<TokioIo<ClientStream<TcpStream>>, TowerToHyperService<axum::Router>>;

fn connection(stream: TcpStream, app: axum::Router) -> Connection {
    if let Err(cause) = stream.set_nodelay(true) {
        tracing::debug!(%cause, "TCP_NODELAY");
    }
    let io = TokioIo::new(ClientStream::new(stream, STALL_TIMEOUT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, TowerToHyperService::new(app))
}

fn note_end(ended: Result<(), hyper::Error>) {
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a connection ended");
    }
}
