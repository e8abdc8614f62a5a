//! Inbound calls: dispatch from listeners to the implementations of this process.

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

/// The services that peers may call. A service is exposed only if it is named.
#[derive(Clone, Debug)]
pub struct Exposure(Option<HashSet<String, BuildHasherDefault<FastHasher>>>);

impl Exposure {
    /// Exposes these services with all their methods. A name with a dot exposes only that method.
    pub fn services<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Exposes every service that is or will be registered.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// Returns whether peers may call this name.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        names.contains(name) || parent(name).is_some_and(|service| names.contains(service))
    }

    /// Returns the exposed names, sorted; `None` if everything is exposed.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut names: Vec<_> = self.0.as_ref()?.iter().map(String::as_str).collect();
        names.sort_unstable();
        Some(names)
    }
}

/// The exposed implementations of a router, as [`Inbound`] needs them. As a service, it serves one
/// call.
pub(crate) trait ExposedServices: Erased {
    /// Returns the names that are exposed.
    fn exposure(&self) -> &Exposure;

    /// See [`Inbound::method`].
    fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error>;

    /// Tags a call of an exposed name with its target for the layers. Layers also see other calls,
    /// without a tag.
    fn tagged(&self, call: Call) -> Call;

    /// See [`Inbound::listed`].
    #[cfg(feature = "mcp")]
    fn listed(&self) -> Vec<Listed>;

    /// See [`Inbound::tables`].
    #[cfg(feature = "mcp")]
    fn tables(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// A tower service over the exposed implementations of a router. Listeners send their calls to it.
///
/// It serves only implementations of this process and forwards nothing. The `noop` and
/// `concurrency` of a row apply to its calls too. Panics become typed errors, and the deadline in a
/// call's context is enforced.
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

    /// Adds a tower layer around all inbound calls, outside of the existing layers. A panic in a
    /// layer fails the call.
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
        // Panics of implementations are caught where they run. This catches those of layers:
        // listeners rely on a reply to every call.
        let service = CallService::new(RecoveryLayer::new().layer(layer.layer(self.service)));
        Self { service, layered: true, ..self }
    }

    /// Returns the description of a method of an exposed service, with which a listener can decode
    /// its arguments; `None` for a raw service.
    ///
    /// # Errors
    /// Returns the same errors as a call of that name:
    /// [`NotRoutable`](crate::ErrorKind::NotRoutable),
    /// [`Unimplemented`](crate::ErrorKind::Unimplemented) or [`Closed`](crate::ErrorKind::Closed).
    pub fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error> {
        self.exposed.method(name)
    }

    /// Returns what peers can call, sorted by name: the methods of typed services and the names of
    /// raw ones. Methods that a `noop` row turns off are left out unless they have a noop value.
    #[cfg(feature = "mcp")]
    pub(crate) fn listed(&self) -> Vec<Listed> {
        self.exposed.listed()
    }

    /// Returns a counter of table swaps. The result of [`listed`](Self::listed) may change with
    /// each swap.
    #[cfg(feature = "mcp")]
    pub(crate) fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.exposed.tables()
    }

    /// Dispatches one call to its implementation and returns the reply.
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

/// A method or raw service that peers can call.
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
