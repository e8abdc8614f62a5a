//! The single service type of all layers, transports and implementations.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower::ServiceExt;
use tower_service::Service;

use crate::call::{Call, Reply};
use crate::error::Error;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A type-erased tower service of calls. Cheap to clone and shared by all callers of a route.
///
/// Implementations and transports, with or without layers, all have this type. Create one from any
/// tower service with [`new`](Self::new), or from a closure with [`from_fn`](Self::from_fn).
#[derive(Clone)]
pub struct CallService(Arc<dyn Erased>);

/// The type-erased service. It is called by `Arc`, so that the future can own the service instead
/// of reference counts of its parts.
pub(crate) trait Erased: Send + Sync {
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>>;
}

impl CallService {
    /// Erases the type of a tower service. The service is cloned for each call and polled to
    /// readiness first, as tower requires. A `CallService` is returned as it is.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        match (&service as &dyn Any).downcast_ref::<Self>() {
            Some(service) => service.clone(),
            None => Self(Arc::new(Tower(service))),
        }
    }

    /// Creates a service from a closure. It is always ready.
    pub fn from_fn<F, Fut>(f: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, Error>> + Send + 'static,
    {
        Self(Arc::new(Closure(f)))
    }

    #[cfg(feature = "router")]
    pub(crate) fn shared(service: Arc<dyn Erased>) -> Self {
        Self(service)
    }

    /// Sends a call.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call. Whether a remote server stops working on it depends on
    /// the transport.
    pub fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        self.clone().send_last(call)
    }

    /// Sends a call and consumes this handle of the service.
    pub(crate) fn send_last(self, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        self.0.call(call)
    }
}

impl Service<Call> for CallService {
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

impl fmt::Debug for CallService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallService")
    }
}

struct Tower<S>(S);

impl<S> Erased for Tower<S>
where
    S: Service<Call, Response = Reply, Error = Error, Future: Send> + Clone + Send + Sync + 'static,
{
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        let mut service = self.0.clone();
        // Nearly every service is ready, and its future then needs no wrapper. A service that is
        // not ready is polled again by `oneshot`, so the no-op waker loses no wake-up.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Box::pin(service.call(call)),
            Poll::Ready(Err(error)) => Box::pin(std::future::ready(Err(error))),
            Poll::Pending => Box::pin(service.oneshot(call)),
        }
    }
}

struct Closure<F>(F);

impl<F, Fut> Erased for Closure<F>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        Box::pin((self.0)(call))
    }
}
