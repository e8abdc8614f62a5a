//! The handle inside a generated client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::call::{
    Body, BoxFuture, Call, CallService, MethodDesc, Reply, ServiceDesc, arguments_failed,
};
use crate::codec::Codec;
use crate::error::Error;
use crate::service::{
    Args, Arguments, Dispatch, Form, Host, ImplSlot, Method, Plan, Registrable, ServiceCell,
    ServiceRegistry, invoke,
};

/// A client's handle to a service. `D` is the object-safe form of the contract.
pub struct Handle<D: ?Sized> {
    cell: Arc<ServiceCell>,
    host: Arc<dyn Host>,
    timeout: Option<Duration>,
    /// The implementation, once it is registered. Always empty if the cell belongs to another
    /// contract.
    local: Arc<ImplSlot<D>>,
}

impl<D: ?Sized + Send + Sync + 'static> Handle<D> {
    /// Finds the service in a router.
    pub fn new<R: ServiceRegistry + ?Sized>(router: &R, desc: &'static ServiceDesc) -> Self {
        let (cell, host) = router.service_cell(desc);
        let local = cell.slot().unwrap_or_default();
        Self { cell, host, timeout: None, local }
    }

    /// Creates a handle that calls an implementation without a router, for tests.
    pub fn direct<R: Registrable<Dyn = D>>(service: R) -> Self {
        let (typed, dispatch) = service.into_parts();
        let cell = ServiceCell::new(dispatch.desc());
        cell.set_local(typed, Arc::clone(&dispatch));
        cell.set_fast(
            cell.desc().methods().iter().copied().filter(|method| !method.is_no_cancel()),
        );
        let local = cell.slot().unwrap_or_default();
        Self { cell: Arc::new(cell), host: Arc::new(Direct(dispatch)), timeout: None, local }
    }

    /// Creates a handle that calls an implementation without a router and encodes whatever passes
    /// between the two, for tests.
    pub fn rehearse<R: Registrable<Dyn = D>>(service: R) -> Self {
        let (_, dispatch) = service.into_parts();
        let cell = Arc::new(ServiceCell::new(dispatch.desc()));
        let host = Arc::new(Rehearsal(dispatch));
        Self { cell, host, timeout: None, local: Arc::default() }
    }

    /// Returns a handle whose calls have a timeout of `limit`. A row or a surrounding deadline may
    /// set a shorter one.
    ///
    /// The returned handle has a cell that is never fast, so that the fast path need not check for
    /// a timeout.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        let cell = Arc::new(ServiceCell::new(self.cell.desc()));
        let timeout = Some(self.timeout.map_or(limit, |old| old.min(limit)));
        Self { cell, host: Arc::clone(&self.host), timeout, local: Arc::default() }
    }

    /// Borrows the local implementation if calls of `M` may take the fast path now.
    #[inline]
    #[must_use]
    pub fn fast<M: Method>(&self) -> Option<&D> {
        if !self.cell.is_fast(const { M::DESC.index() }) {
            return None;
        }
        self.local.get().map(|service| &**service)
    }

    /// Sends a call of `M` by its route. The route is read and its layers are called here, before
    /// anything is awaited.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    #[cold]
    pub fn slow<'a, M: Method>(
        &self,
        arguments: <M::Args as Arguments>::Given<'_>,
    ) -> CallFuture<'a, M> {
        CallFuture::Slow(match self.prepare::<M>(arguments) {
            Ok((service, call)) => service.send_last(call),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        })
    }

    fn prepare<M: Method>(
        &self,
        arguments: <M::Args as Arguments>::Given<'_>,
    ) -> Result<(CallService, Call), Error> {
        let Plan { service, form } = self.host.plan(M::DESC);
        let body = match form {
            Form::Typed => Body::typed(Args::<M, _>::new(M::Args::into_form(arguments))),
            Form::Encoded(requested) => {
                let arguments = Args::<M, _>::new(M::Args::lend(arguments));
                let encoded =
                    M::DESC.codec(requested).encode_or_json(&arguments, M::DESC.full_name());
                let (codec, bytes) =
                    encoded.map_err(|cause| arguments_failed(M::DESC.full_name(), &cause))?;
                Body::Encoded(codec, bytes)
            }
        };
        let mut call = Call::of(M::DESC, body);
        if let Some(limit) = self.timeout {
            *call.context_mut() = std::mem::take(call.context_mut()).with_timeout(limit);
        }
        Ok((service, call))
    }
}

/// The future of a call of `M`, on the fast path or by its route. One type for both, so that a
/// client's future holds one of them and nothing is boxed twice.
#[expect(clippy::exhaustive_enums, reason = "generated code makes it")]
pub enum CallFuture<'a, M: Method> {
    /// The future of the implementation.
    Fast(BoxFuture<'a, M::Output>),
    /// The future of a route.
    Slow(BoxFuture<'static, Result<Reply, Error>>),
}

impl<M: Method> Future for CallFuture<'_, M> {
    type Output = M::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Output> {
        match self.get_mut() {
            Self::Fast(output) => output.as_mut().poll(cx),
            Self::Slow(reply) => reply.as_mut().poll(cx).map(Reply::into_output::<M>),
        }
    }
}

impl<M: Method> fmt::Debug for CallFuture<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast(_) => "Fast",
            Self::Slow(_) => "Slow",
        })
    }
}

impl<D: ?Sized> Clone for Handle<D> {
    fn clone(&self) -> Self {
        let Self { cell, host, timeout, local } = self;
        Self {
            cell: Arc::clone(cell),
            host: Arc::clone(host),
            timeout: *timeout,
            local: Arc::clone(local),
        }
    }
}

impl<D: ?Sized> fmt::Debug for Handle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.cell.desc().name()).finish()
    }
}

/// The host of a client without a router. All calls are local.
struct Direct(Arc<dyn Dispatch>);

impl Host for Direct {
    fn plan(&self, _method: &'static MethodDesc) -> Plan {
        let dispatch = Arc::clone(&self.0);
        let service = CallService::from_fn(move |call| invoke(&*dispatch, call));
        Plan { service, form: Form::Typed }
    }
}

/// The host of a client that encodes and decodes as a transport would. All calls are local.
struct Rehearsal(Arc<dyn Dispatch>);

impl Host for Rehearsal {
    fn plan(&self, _method: &'static MethodDesc) -> Plan {
        let dispatch = Arc::clone(&self.0);
        let service = CallService::from_fn(move |call: Call| -> BoxFuture<'static, _> {
            // As on a wire, the reply has the codec of the request.
            let codec = match call.body() {
                Body::Encoded(codec, _) => *codec,
                _ => Codec::Bincode,
            };
            let (name, reply) = (call.name().to_owned(), invoke(&*dispatch, call));
            Box::pin(async move { encoded(&name, codec, &reply.await?) })
        });
        Plan { service, form: Form::Encoded(Codec::Bincode) }
    }
}

/// Returns a reply as it arrives from another process.
fn encoded(name: &str, requested: Codec, reply: &Reply) -> Result<Reply, Error> {
    let (codec, bytes) = reply.encode(name, requested)?;
    Ok(Reply::encoded(codec.unwrap_or(requested), bytes, reply.is_app_error()))
}
