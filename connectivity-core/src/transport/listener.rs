//! Listeners: the server side of a transport.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::BoxFuture;
use crate::context::after;
use crate::transport::Inbound;

/// Accepts calls from peers for an [`Inbound`], on the runtime that starts it. HTTP is one
/// implementation; users can write others.
pub trait Listener: Send + 'static {
    /// Binds the address, and returns once peers can call.
    ///
    /// The listener serves until the [`Drain`] begins. Then it accepts no more calls and lets those
    /// in flight finish. It has ended when the future in [`Listening`] completes.
    ///
    /// # Cancel safety
    /// Dropping the future before it completes should release the address, as it does for the
    /// listeners of this crate. Dropping the [`Listening`] does not stop a listener; only the drain
    /// does.
    fn listen(
        self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>>;
}

/// A running listener.
pub struct Listening {
    address: String,
    done: BoxFuture<'static, ()>,
}

impl Listening {
    /// Creates a running listener from its address and a future that completes when it has ended.
    pub fn new(
        address: impl fmt::Display,
        done: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { address: address.to_string(), done: Box::pin(done) }
    }

    /// Returns the address of the listener, as its strategy spells hosts of endpoints:
    /// `127.0.0.1:8080`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn into_done(self) -> BoxFuture<'static, ()> {
        self.done
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The signal for graceful shutdown: tells listeners when to stop accepting calls, and when to
/// abort those still in flight.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Option<Instant>>);

impl Drain {
    /// Creates a drain and the switch that begins it.
    pub(crate) fn new() -> (DrainSwitch, Self) {
        let (sender, receiver) = watch::channel(None);
        (DrainSwitch(sender), Self(receiver))
    }

    /// Waits until listeners must stop accepting calls. A drain also begins when the server is
    /// dropped.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect. Once the drain has begun, every further call returns at
    /// once.
    pub async fn begun(&mut self) {
        let _ = self.0.wait_for(Option::is_some).await;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits until calls in flight must be aborted: the deadline of the drain, or the drop of the
    /// server.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect. The next call waits for the same deadline.
    pub async fn over(&mut self) {
        let end = match self.0.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or_else(Instant::now),
            Err(_dropped) => Instant::now(),
        };
        tokio::time::sleep_until(end).await;
    }
}

/// Begins a [`Drain`].
#[derive(Debug)]
pub(crate) struct DrainSwitch(watch::Sender<Option<Instant>>);

impl DrainSwitch {
    pub(crate) fn begin(&self, limit: Duration) {
        let end = after(limit);
        self.0.send_modify(|drain| *drain = Some(drain.map_or(end, |before| before.min(end))));
    }
}

/// The error of starting or running a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing was exposed.
    #[error("nothing is exposed: name services with `expose([..])`, or say `expose_all()`")]
    NothingExposed,
    /// No listener was configured.
    #[error("no listener: say where to listen, for example `http(\"127.0.0.1:8080\")`")]
    NoListener,
    /// A name to expose is invalid.
    #[error("a name in `expose`")]
    Name(#[from] crate::NameError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// Other machines can reach the listener, and no rule says who may call.
    #[error(
        "{address} can be reached from other machines: say who may call with `bearer(name, token)` over HTTP, `Tls::client_ca(file)` over QUIC, or `open_to_everyone()`"
    )]
    NoIdentityRule {
        /// The address.
        address: String,
    },
    /// A listener ended by itself while the server was running; the log has its reason.
    #[error("the listener of strategy `{strategy}` has ended by itself")]
    ListenerEnded {
        /// The strategy.
        strategy: String,
    },
    /// The signals that stop a program cannot be watched.
    #[error("cannot wait for Ctrl-C or SIGTERM")]
    Signals(#[source] std::io::Error),
}
