//! The way in: calls from outside, for the implementations of this process.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::call::{BoxFuture, Call, CallService, Reply};
use crate::desc::MethodDesc;
use crate::error::{Error, ErrorKind};
use crate::name::parent;
use crate::router::core::Core;
use crate::router::table::{Known, closed};
use crate::router::target::{Admitted, Place};

/// Which services others may call. Nothing is exposed that is not named.
#[derive(Clone, Debug)]
pub struct Exposure(Option<HashSet<String>>);

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
}

impl Inbound {
    pub(crate) fn new(core: Arc<Core>, exposed: Exposure) -> Self {
        let exposed = Arc::new(exposed);
        let (bottom, names) = (Arc::clone(&core), Arc::clone(&exposed));
        let service = CallService::from_fn(move |call| {
            let admitted = admit(&bottom, &names, call);
            async move {
                let (service, call, _admitted) = admitted?;
                service.send(call).await
            }
        });
        Self { core, exposed, service }
    }

    /// Puts a tower layer around all calls coming in, outside of those that are there.
    #[must_use]
    pub fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<CallService>,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send> + Clone + Send + Sync + 'static,
    {
        let service = CallService::new(layer.layer(self.service));
        Self { service, ..self }
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
        local.check(name)?;
        Ok(local.method(name))
    }

    /// Answers one call.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the implementation's work, unless the method is `#[no_cancel]`.
    pub fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
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
        f.debug_struct("Inbound").field("exposed", &self.exposed).finish_non_exhaustive()
    }
}

/// Finds who answers a call, and counts it against its row.
fn admit(core: &Core, exposed: &Exposure, call: Call) -> Result<(CallService, Call, Option<Admitted>), Error> {
    let table = core.table();
    if table.closed {
        return Err(closed(call.name()));
    }
    let local = exposed_local(table.known(call.name()), exposed, call.name())?;
    local.check(call.name())?;
    let call = match local.method(call.name()) {
        Some(method) => call.with_method(method),
        None => call,
    };
    match table.slot(call.name()).and_then(|slot| slot.target.as_ref()) {
        Some(target) if matches!(target.place, Place::Noop) => Ok((target.service(), call, None)),
        Some(target) => {
            let admitted = target.admit(&call)?;
            Ok((local.service(call.name()), call, Some(admitted)))
        }
        None => Ok((local.service(call.name()), call, None)),
    }
}

fn exposed_local<'a>(
    known: Option<&'a Known>,
    exposed: &Exposure,
    name: &str,
) -> Result<&'a crate::router::local::Local, Error> {
    let local = known.and_then(|known| known.local.as_ref()).filter(|_| exposed.covers(name));
    local.ok_or_else(|| Error::new(ErrorKind::NotRoutable, name, "no service of this name is exposed here"))
}
