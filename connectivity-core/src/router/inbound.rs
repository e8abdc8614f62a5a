//! The way in: calls from outside, for the implementations of this process.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::call::MethodDesc;
use crate::call::{BoxFuture, Call, CallService, Erased, Held, Reply};
use crate::error::{Error, ErrorKind};
use crate::layer::RecoveryLayer;
use crate::name::parent;
use crate::quick::Quick;
use crate::router::core::Core;
use crate::router::local::Local;
use crate::router::table::{Known, closed};
use crate::router::target::Place;

/// Which services others may call. Nothing is exposed that is not named.
#[derive(Clone, Debug)]
pub struct Exposure(Option<HashSet<String, BuildHasherDefault<Quick>>>);

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

/// A service over the exposed implementations of a router: what a listener hands its calls to.
///
/// It knows implementations of this process only and forwards nothing. The `noop` and `concurrency` of a row bind its calls
/// as well; panics come out as typed errors; the deadline in a call's context is kept.
#[derive(Clone)]
pub struct Inbound {
    core: Arc<Core>,
    exposed: Arc<Exposure>,
    service: CallService,
    layered: bool,
}

impl Inbound {
    pub(crate) fn new(core: Arc<Core>, exposed: Exposure) -> Self {
        let exposed = Arc::new(exposed);
        let bottom = Bottom { core: Arc::clone(&core), exposed: Arc::clone(&exposed) };
        let service = CallService::shared(Arc::new(bottom));
        Self { core, exposed, service, layered: false }
    }

    /// Puts a tower layer around all calls coming in, outside of those that are there. A layer that panics fails the call.
    #[must_use]
    pub fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<CallService>,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send> + Clone + Send + Sync + 'static,
    {
        // Implementations are caught where they run; listeners rely on an answer to every call.
        let service = CallService::new(RecoveryLayer::new().layer(layer.layer(self.service)));
        Self { service, layered: true, ..self }
    }

    /// Describes the method of an exposed service, so that a listener can decode its arguments; `None` for a raw service.
    ///
    /// # Errors
    /// As for a call of that name: [`NotRoutable`](ErrorKind::NotRoutable), [`Unimplemented`](ErrorKind::Unimplemented) or
    /// [`Closed`](ErrorKind::Closed).
    pub fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error> {
        let table = self.core.table();
        if table.closed {
            return Err(closed(name));
        }
        let local = exposed_local(table.known(name), &self.exposed, name)?;
        local.find(name)
    }

    /// Lists what can be called: the methods of typed services and the names of raw ones, by name. What a row switches off, and
    /// has no answer of its own for, is left out.
    #[cfg(feature = "mcp")]
    pub(crate) fn listed(&self) -> Vec<Listed> {
        let table = self.core.table();
        let mut listed: Vec<_> = table.services.iter().flat_map(|(name, known)| Listed::of(name, known)).collect();
        listed.retain(|listed| self.exposed.covers(listed.name()) && !listed.is_off(&table));
        listed.sort_by(|one, other| one.name().cmp(other.name()));
        listed
    }

    /// Counts the tables that were put in force: what is listed may be another after each.
    #[cfg(feature = "mcp")]
    pub(crate) fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.core.tables()
    }

    /// Answers one call.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the implementation's work, unless the method is `#[no_cancel]`.
    pub fn send(&self, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        if self.layered {
            call = self.tagged(call);
        }
        self.service.send(call)
    }

    /// Tells the layers what is called, where it is something that is exposed; they see other calls as well.
    fn tagged(&self, mut call: Call) -> Call {
        let table = self.core.now();
        let known = table.known(call.name());
        let Ok(local) = exposed_local(known, &self.exposed, call.name()) else { return call };
        let Ok(method) = local.find(call.name()) else { return call };
        if let Some(tag) = known.and_then(|known| known.unrouted.as_ref()?.tag.clone()) {
            call.set_route(tag);
        }
        match method {
            Some(method) => call.with_method(method),
            None => call,
        }
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
        f.debug_struct("Inbound").field("exposed", &self.exposed).finish_non_exhaustive()
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
    fn of(name: &crate::Name, known: &Known) -> Vec<Self> {
        match known.local.as_ref().map(Local::desc) {
            Some(Some(desc)) => desc.methods().iter().copied().map(Self::Method).collect(),
            Some(None) => vec![Self::Raw(name.clone())],
            None => Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Method(method) => method.full_name(),
            Self::Raw(name) => name.as_str(),
        }
    }

    /// Says whether every call would be refused as `Noop`.
    fn is_off(&self, table: &crate::router::table::Table) -> bool {
        let target = table.slot(self.name()).and_then(|slot| slot.target.as_ref());
        let noop = target.is_some_and(|target| matches!(target.place, Place::Noop));
        noop && !matches!(self, Self::Method(method) if method.noop().is_some())
    }
}

/// The innermost service of an [`Inbound`].
struct Bottom {
    core: Arc<Core>,
    exposed: Arc<Exposure>,
}

impl Erased for Bottom {
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        self.answer(call).unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }
}

impl Bottom {
    /// Finds who answers a call, and counts it against its row.
    fn answer(&self, call: Call) -> Result<BoxFuture<'static, Result<Reply, Error>>, Error> {
        let table = self.core.now();
        if table.closed {
            return Err(closed(call.name()));
        }
        let local = exposed_local(table.known(call.name()), &self.exposed, call.name())?;
        let mut call = match local.find(call.name())? {
            Some(method) => call.with_method(method),
            None => call,
        };
        let Some(target) = table.slot(call.name()).and_then(|slot| slot.target.as_ref()) else {
            return Ok(local.send(call));
        };
        if matches!(target.place, Place::Noop) {
            return Ok(target.service().send(call));
        }
        let admitted = Held::by(target.admit(&call)?, &mut call);
        let work = local.send(call);
        Ok(Box::pin(async move {
            let _admitted = admitted;
            work.await
        }))
    }
}

fn exposed_local<'a>(known: Option<&'a Known>, exposed: &Exposure, name: &str) -> Result<&'a Local, Error> {
    let local = known.and_then(|known| known.local.as_ref()).filter(|_| exposed.covers(name));
    local.ok_or_else(|| Error::new(ErrorKind::NotRoutable, name, "no service of this name is exposed here"))
}
