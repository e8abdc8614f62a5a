//! The way in: the counterpart of a transport.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::BoxFuture;
use crate::context::after;
use crate::transport::Inbound;

/// Takes calls from outside for an [`Inbound`], on the runtime that starts it: HTTP is one, and
/// yours can be another.
pub trait Listener: Send + 'static {
    /// Binds, and returns once calls can come in.
    ///
    /// The listener serves until the [`Drain`] begins; then it takes no more calls, lets those in
    /// flight end, and is over when the future in [`Listening`] is.
    fn listen(
        self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>>;
}

/// A listener at work.
pub struct Listening {
    address: String,
    done: BoxFuture<'static, ()>,
}

impl Listening {
    /// States where the listener can be reached, and what ends when it is over.
    pub fn new(
        address: impl fmt::Display,
        done: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { address: address.to_string(), done: Box::pin(done) }
    }

    /// Says where the listener can be reached, as its strategy spells endpoints' hosts:
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

/// Tells listeners when to stop taking calls, and when to cut those that are left.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Option<Instant>>);

impl Drain {
    /// Makes a drain and the switch that begins it.
    pub(crate) fn new() -> (DrainSwitch, Self) {
        let (sender, receiver) = watch::channel(None);
        (DrainSwitch(sender), Self(receiver))
    }

    /// Waits until no more calls are to be taken. It also begins when the server was dropped.
    pub async fn begun(&mut self) {
        let _ = self.0.wait_for(Option::is_some).await;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits until calls in flight are to be cut.
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

/// Says why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing was exposed.
    #[error("nothing is exposed: name services with `expose([..])`, or say `expose_all()`")]
    NothingExposed,
    /// No listener was asked for.
    #[error("no listener: say where to listen, for example `http(\"127.0.0.1:8080\")`")]
    NoListener,
    /// A name that is exposed is none.
    #[error("a name in `expose`")]
    Name(#[from] crate::NameError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// Others could reach the listener, and nothing says who may call.
    #[error(
        "{address} can be reached from other machines: say who may call with `bearer(name, token)` over HTTP, `Tls::client_ca(file)` over QUIC, or `open_to_everyone()`"
    )]
    NoIdentityRule {
        /// The address.
        address: String,
    },
}
