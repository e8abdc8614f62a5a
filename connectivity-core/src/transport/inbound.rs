//! The way in: calls from outside, for the implementations of this process.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::call::{BoxFuture, Call, CallService, Erased, MethodDesc, Reply};
use crate::error::Error;
use crate::fast_hash::FastHasher;
use crate::layer::RecoveryLayer;
use crate::name::parent;

/// Which services others may call. Nothing is exposed that is not named.
#[derive(Clone, Debug)]
pub struct Exposure(Option<HashSet<String, BuildHasherDefault<FastHasher>>>);

impl Exposure {
    /// Exposes these services, with all their methods; a name with a dot exposes that method alone.
    pub fn services<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Exposes every service that is or will be registered.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// Says whether calls of this name may come in.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        names.contains(name) || parent(name).is_some_and(|service| names.contains(service))
    }

    /// Shows the names, in order; `None` when everything is exposed.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut names: Vec<_> = self.0.as_ref()?.iter().map(String::as_str).collect();
        names.sort_unstable();
        Some(names)
    }
}

/// The exposed implementations of a router, as its [`Inbound`] needs them. As a service it answers
/// one call.
pub(crate) trait ExposedServices: Erased {
    /// Returns which they are.
    fn exposure(&self) -> &Exposure;

    /// See [`Inbound::method`].
    fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error>;

    /// Tells the layers what is called, where it is something that is exposed; they see other calls
    /// as well.
    fn tagged(&self, call: Call) -> Call;

    /// See [`Inbound::listed`].
    #[cfg(feature = "mcp")]
    fn listed(&self) -> Vec<Listed>;

    /// See [`Inbound::tables`].
    #[cfg(feature = "mcp")]
    fn tables(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// A service over the exposed implementations of a router: what a listener hands its calls to.
///
/// It knows implementations of this process only and forwards nothing. The `noop` and `concurrency`
/// of a row bind its calls as well; panics come out as typed errors; the deadline in a call's
/// context is kept.
#[derive(Clone)]
pub struct Inbound {
    exposed: Arc<dyn ExposedServices>,
    service: CallService,
    layered: bool,
}

impl Inbound {
    pub(crate) fn new(exposed: Arc<impl ExposedServices + 'static>) -> Self {
        let service: Arc<dyn Erased> = exposed.clone();
        Self { exposed, service: CallService::shared(service), layered: false }
    }

    /// Puts a tower layer around all calls coming in, outside of those that are there. A layer that
    /// panics fails the call.
    #[must_use]
    pub fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<CallService>,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        // Implementations are caught where they run; listeners rely on an answer to every call.
        let service = CallService::new(RecoveryLayer::new().layer(layer.layer(self.service)));
        Self { service, layered: true, ..self }
    }

    /// Describes the method of an exposed service, so that a listener can decode its arguments;
    /// `None` for a raw service.
    ///
    /// # Errors
    /// As for a call of that name: [`NotRoutable`](crate::ErrorKind::NotRoutable),
    /// [`Unimplemented`](crate::ErrorKind::Unimplemented) or [`Closed`](crate::ErrorKind::Closed).
    pub fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error> {
        self.exposed.method(name)
    }

    /// Lists what can be called: the methods of typed services and the names of raw ones, by name.
    /// What a row switches off, and has no answer of its own for, is left out.
    #[cfg(feature = "mcp")]
    pub(crate) fn listed(&self) -> Vec<Listed> {
        self.exposed.listed()
    }

    /// Counts the tables that were put in force: what is listed may be another after each.
    #[cfg(feature = "mcp")]
    pub(crate) fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.exposed.tables()
    }

    /// Answers one call.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the implementation's work, unless the method is `#[no_cancel]`.
    pub fn send(&self, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        if self.layered {
            call = self.exposed.tagged(call);
        }
        self.service.send(call)
    }
}

impl Service<Call> for Inbound {
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        self.send(call)
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("exposed", self.exposed.exposure()).finish_non_exhaustive()
    }
}

/// Something that can be called from outside.
#[cfg(feature = "mcp")]
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    Method(&'static MethodDesc),
    Raw(crate::Name),
}

#[cfg(feature = "mcp")]
impl Listed {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Method(method) => method.full_name(),
            Self::Raw(name) => name.as_str(),
        }
    }
}
