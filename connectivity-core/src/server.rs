//! The server: exposes services of a router through one or more listeners.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, CallService, Reply};
use crate::error::Error;
use crate::name::Name;
use crate::router::Router;
use crate::transport::{Drain, DrainSwitch, Listener, ServeError};
use crate::transport::{Exposure, Inbound};

/// Serves the services registered here to other processes.
///
/// ```no_run
/// # use connectivity_core::{Router, Server};
/// # use std::time::Duration;
/// # async fn serve(router: Router) -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder(&router).expose(["billing"]).http("127.0.0.1:8080").start().await?;
/// // ... until it is time to go:
/// server.shutdown(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping a server closes its connections at once, without a drain. Use
/// [`shutdown`](Self::shutdown) for a graceful shutdown.
pub struct Server {
    switch: DrainSwitch,
    addresses: Vec<(&'static str, String)>,
    listeners: JoinSet<()>,
    /// The strategy of a listener that ended without a shutdown.
    ended: watch::Sender<Option<&'static str>>,
}

impl Server {
    /// Returns a builder of a server for the services of a router.
    pub fn builder(router: &Router) -> ServerBuilder {
        ServerBuilder {
            router: router.clone(),
            exposed: None,
            listeners: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// Returns the address of a listener by its strategy: `server.address("http")` is
    /// `127.0.0.1:8080`. If the listener was bound to port 0, this is the port that the system
    /// chose.
    #[must_use]
    pub fn address(&self, strategy: &str) -> Option<&str> {
        self.addresses
            .iter()
            .find(|(word, _)| *word == strategy)
            .map(|(_, address)| address.as_str())
    }

    /// Waits until a listener ends without a shutdown, and returns its strategy. A supervised
    /// program can exit then and be restarted. The event is also logged.
    ///
    /// # Cancel safety
    /// Dropping the future only ends the wait.
    pub async fn listener_ended(&self) -> &'static str {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|strategy| *strategy) {
            Ok(Some(strategy)) => strategy,
            // `self` owns the sender, so the channel is open.
            _ => std::future::pending().await,
        }
    }

    /// Serves until the program is asked to stop, by Ctrl-C or, on Unix, by SIGTERM; then shuts down
    /// as [`shutdown`](Self::shutdown) does. The last line of the `main` of a program that only
    /// serves.
    ///
    /// # Errors
    /// Returns an error if a listener ends by itself, so that a supervisor can start the program
    /// again, or if the signals cannot be watched.
    ///
    /// # Cancel safety
    /// Dropping the future before a signal drops the server, which closes at once.
    pub async fn run_until_signal(self, limit: Duration) -> Result<(), ServeError> {
        let stopped = tokio::select! {
            strategy = self.listener_ended() => {
                Err(ServeError::ListenerEnded { strategy: strategy.to_owned() })
            }
            signalled = signalled() => signalled.map_err(ServeError::Signals),
        };
        self.shutdown(limit).await;
        stopped
    }

    /// Shuts down gracefully: stops accepting calls, gives calls in flight `limit` to complete,
    /// then ends the rest. Returns one second after `limit` at the latest.
    ///
    /// # Cancel safety
    /// From the first poll on, the listeners drain on their own threads even if the future is
    /// dropped. A future dropped before its first poll drops the server, which closes at once.
    pub async fn shutdown(mut self, limit: Duration) {
        self.switch.begin(limit);
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        // Listeners end the remaining calls at the limit. The extra second is for those that do
        // not.
        let _ = tokio::time::timeout(limit.saturating_add(Duration::from_secs(1)), ended).await;
        self.listeners.abort_all();
    }
}

/// Waits for Ctrl-C, or for SIGTERM, with which service managers stop a program.
async fn signalled() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Builder of a [`Server`]: its exposed services, listeners and layers.
#[must_use = "a builder does nothing until `start`"]
pub struct ServerBuilder {
    router: Router,
    exposed: Option<Exposure>,
    listeners: Vec<(&'static str, Box<dyn Listener>)>,
    layers: Vec<Box<dyn FnOnce(Inbound) -> Inbound + Send>>,
}

impl ServerBuilder {
    /// Exposes these services with all their methods. A name with a dot exposes only that method.
    /// Nothing else is reachable.
    pub fn expose<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.exposed = Some(Exposure::services(names));
        self
    }

    /// Exposes every service that is registered now or later.
    pub fn expose_all(mut self) -> Self {
        self.exposed = Some(Exposure::all());
        self
    }

    /// Adds a tower layer around all inbound calls. The first layer added is the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<CallService> + Send + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.layers.push(Box::new(move |inbound| inbound.layer(&layer)));
        self
    }

    /// Listens for HTTP on an address such as `127.0.0.1:8080`, with the limits of
    /// [`HttpListener`](crate::HttpListener).
    #[cfg(feature = "gateway")]
    pub fn http(self, address: impl Into<String>) -> Self {
        self.listener("http", crate::HttpListener::new(address))
    }

    /// Listens for QUIC on an address such as `0.0.0.0:4433`, with this identity.
    #[cfg(feature = "quic")]
    pub fn quic(self, address: impl Into<String>, tls: crate::Tls) -> Self {
        self.listener("quic", crate::QuicListener::new(address, tls))
    }

    /// Listens for agents on an address such as `0.0.0.0:4434`, with this identity: serves the
    /// exposed services as MCP tools over QUIC, with the limits of
    /// [`McpListener`](crate::McpListener).
    #[cfg(feature = "mcp")]
    pub fn mcp(self, address: impl Into<String>, tls: crate::Tls) -> Self {
        self.listener("mcp", crate::McpListener::new(address, tls))
    }

    /// Listens on a Unix socket such as `/run/app/billing.sock`, for peers of this process's user.
    #[cfg(feature = "unix")]
    pub fn unix(self, address: impl Into<String>) -> Self {
        self.listener("unix", crate::UnixListener::new(address))
    }

    /// Adds a custom listener, or one with custom settings, under the name of its strategy.
    pub fn listener(mut self, strategy: &'static str, listener: impl Listener) -> Self {
        self.listeners.push((strategy, Box::new(listener)));
        self
    }

    /// Binds all listeners and returns once they accept calls.
    ///
    /// # Errors
    /// Fails if a setting is missing or a listener cannot be bound. No listener runs then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the listeners that were already bound.
    pub async fn start(self) -> Result<Server, ServeError> {
        let exposed = self.exposed.ok_or(ServeError::NothingExposed)?;
        for name in exposed.names().into_iter().flatten() {
            Name::parse(name)?;
        }
        if self.listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        self.router.warn_of_unregistered(&exposed);
        let inbound = self
            .layers
            .into_iter()
            .rev()
            .fold(self.router.inbound(exposed), |inbound, layer| layer(inbound));
        let (switch, drain) = Drain::new();
        let ended = watch::Sender::new(None);
        let mut server = Server { switch, addresses: Vec::new(), listeners: JoinSet::new(), ended };
        for (strategy, listener) in self.listeners {
            let listening = listener.listen(inbound.clone(), drain.clone()).await?;
            tracing::info!(strategy, address = listening.address(), "listening");
            server.addresses.push((strategy, listening.address().to_owned()));
            let (done, drain, ended) = (listening.into_done(), drain.clone(), server.ended.clone());
            server.listeners.spawn(async move {
                // In a task of its own, because the listener may be user code and may panic.
                let mut listener = JoinSet::from_iter([done]);
                let outcome = listener.join_next().await;
                if !drain.has_begun() {
                    let panicked = outcome.is_some_and(|outcome| outcome.is_err());
                    tracing::error!(
                        strategy,
                        panicked,
                        "a listener has ended by itself, and takes no more calls"
                    );
                    ended.send_replace(Some(strategy));
                }
            });
        }
        Ok(server)
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners: Vec<_> = self.listeners.iter().map(|(strategy, _)| strategy).collect();
        f.debug_struct("ServerBuilder")
            .field("exposed", &self.exposed)
            .field("listeners", &listeners)
            .finish_non_exhaustive()
    }
}
