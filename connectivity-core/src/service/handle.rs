//! What a generated client holds.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Body, BoxFuture, Call, CallService};
use crate::context;
use crate::desc::{MethodDesc, ServiceDesc};
use crate::error::{Error, ErrorKind, Sent};
use crate::service::{
    Args, ArgumentRefs, Dispatch, Form, Host, Method, Plan, Registrable, ServiceCell, ServiceRegistry, invoke,
};

/// The client's hold on a service `D`, the object-safe form of a contract.
pub struct Handle<D: ?Sized> {
    cell: Arc<ServiceCell>,
    service: PhantomData<fn() -> Arc<D>>,
}

impl<D: ?Sized + Send + Sync + 'static> Handle<D> {
    /// Finds the service in a router.
    pub fn new<R: ServiceRegistry + ?Sized>(router: &R, desc: &'static ServiceDesc) -> Self {
        Self::of(router.service_cell(desc))
    }

    /// Calls an implementation without a router: for tests.
    pub fn direct<R: Registrable<Dyn = D>>(service: R) -> Self {
        let (typed, dispatch) = service.into_parts();
        let desc = dispatch.desc();
        let cell = ServiceCell::new(desc, Arc::new(Direct(Arc::clone(&dispatch))));
        let set = cell.set_local(Parts(typed, dispatch));
        debug_assert!(set, "a new cell is empty");
        cell.set_fast(desc.methods().iter().copied().filter(|method| !method.is_no_cancel()));
        Self::of(Arc::new(cell))
    }

    /// Gives every call through the returned handle `limit` at the most; a row or a surrounding deadline may ask for less.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        Self::of(Arc::new(self.cell.with_timeout(limit)))
    }

    fn of(cell: Arc<ServiceCell>) -> Self {
        Self { cell, service: PhantomData }
    }

    /// Borrows the local implementation, if calls of `M` go straight to it now.
    #[inline]
    pub fn fast<M: Method>(&self) -> Option<&D> {
        self.cell.fast::<D>(const { M::DESC.index() })
    }

    /// Sends a call of `M` wherever its route says. The route is read here, before anything is awaited.
    #[cold]
    pub fn slow<'a, M, R>(&self, arguments: R) -> BoxFuture<'a, Result<M::Ok, M::Err>>
    where
        M: Method,
        R: ArgumentRefs<Owned = M::Args>,
    {
        let sending = prepare::<M, R>(&self.cell, arguments);
        Box::pin(async move {
            match sending {
                Ok((service, call)) => deliver::<M>(service, call).await?.into_result::<M>(),
                Err(error) => Err(error.into()),
            }
        })
    }
}

fn prepare<M, R>(cell: &ServiceCell, arguments: R) -> Result<(CallService, Call), Error>
where
    M: Method,
    R: ArgumentRefs<Owned = M::Args>,
{
    let Plan { service, form } = cell.plan(M::DESC);
    let body = match form {
        Form::Typed => Body::typed(Args::<M, _>::new(arguments.into_owned())),
        Form::Encoded(codec) => {
            let encoded = codec.encode(&Args::<M, R>::new(arguments));
            let failed = |cause| Error::new(ErrorKind::Encode, M::DESC.full_name(), format!("the arguments: {cause}"));
            Body::Encoded(codec, encoded.map_err(failed)?)
        }
    };
    let mut call = Call::of(M::DESC, body);
    if let Some(limit) = cell.timeout() {
        *call.context_mut() = std::mem::take(call.context_mut()).with_timeout(limit);
    }
    Ok((service, call))
}

/// Sends the call; one that must not be cancelled goes on in a task of its own when the caller has gone.
async fn deliver<M: Method>(service: CallService, call: Call) -> Result<crate::Reply, M::Err> {
    if !M::DESC.is_no_cancel() {
        return Ok(service.send(call).await?);
    }
    match context::spawn(service.send(call)).await {
        Ok(reply) => Ok(reply?),
        Err(cause) => Err(lost_task(M::DESC, &cause).into()),
    }
}

fn lost_task(method: &MethodDesc, cause: &tokio::task::JoinError) -> Error {
    let kind = if cause.is_panic() { ErrorKind::Panicked } else { ErrorKind::Cancelled };
    Error::new(kind, method.full_name(), "").with_sent(Sent::Maybe)
}

impl<D: ?Sized> Clone for Handle<D> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell), service: PhantomData }
    }
}

impl<D: ?Sized> fmt::Debug for Handle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.cell.desc().name()).finish()
    }
}

/// The host of a client without a router: everything is local.
struct Direct(Arc<dyn Dispatch>);

impl Host for Direct {
    fn plan(&self, _method: &'static MethodDesc) -> Plan {
        let dispatch = Arc::clone(&self.0);
        let service = CallService::from_fn(move |call| invoke(Arc::clone(&dispatch), call));
        Plan { service, form: Form::Typed }
    }
}

/// An implementation that was taken apart already.
struct Parts<D: ?Sized>(Arc<D>, Arc<dyn Dispatch>);

impl<D: ?Sized + Send + Sync + 'static> Registrable for Parts<D> {
    type Dyn = D;

    fn into_parts(self) -> (Arc<D>, Arc<dyn Dispatch>) {
        (self.0, self.1)
    }
}
