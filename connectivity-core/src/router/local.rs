//! Implementations registered in this process, typed and raw.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{BoxFuture, Call, CallService, Erased, MethodDesc, Reply, ServiceDesc};
use crate::error::{Error, ErrorKind};
use crate::service::{self, Dispatch};

/// An implementation registered in this process.
#[derive(Clone)]
pub(crate) enum Local {
    Typed(Arc<dyn Dispatch>),
    Raw(Arc<dyn RawService>),
}

impl Local {
    /// Returns the implementation as a service: the innermost of every path but the fast path.
    pub(crate) fn service(&self) -> CallService {
        CallService::shared(Arc::new(self.clone()))
    }

    /// Sends one call to the implementation.
    pub(crate) fn send(&self, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        match self {
            Self::Typed(dispatch) => service::invoke(&**dispatch, call),
            Self::Raw(raw) => {
                let (name, context) =
                    (call.full_name().clone(), std::mem::take(call.context_mut()));
                let (raw, permits) = (Arc::clone(raw), call.take_permits());
                service::run(name, context, async move {
                    let _permits = permits;
                    raw.call(call.into_bytes()?).await.map(Reply::raw).map_err(Error::relay)
                })
            }
        }
    }

    pub(crate) fn desc(&self) -> Option<&'static ServiceDesc> {
        match self {
            Self::Typed(dispatch) => Some(dispatch.desc()),
            Self::Raw(_) => None,
        }
    }

    /// Finds the method of an inbound name, `None` for a raw service. Fails for a name that reaches
    /// the service but none of its methods.
    pub(crate) fn find(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error> {
        let Some(desc) = self.desc() else { return Ok(None) };
        if let Some(method) = desc.method(name) {
            return Ok(Some(method));
        }
        let methods: Vec<_> = desc.methods().iter().map(|method| method.full_name()).collect();
        let hint = format!("name one of its methods: {}", methods.join(", "));
        Err(Error::new(ErrorKind::Unimplemented, name, hint))
    }
}

impl Erased for Local {
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        self.send(call)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.desc().is_some() { "Typed" } else { "Raw" })
    }
}

/// A service of bytes without a contract. Implemented by every `async` closure from [`Bytes`] to
/// `Result<Bytes, Error>`.
pub trait RawService: Send + Sync + 'static {
    /// Answers one call.
    ///
    /// # Cancel safety
    /// The router drops the future when the call is canceled or its deadline passes, so
    /// implementations must tolerate that at every `.await`.
    fn call(&self, bytes: Bytes) -> BoxFuture<'static, Result<Bytes, Error>>;
}

impl<F, Fut> RawService for F
where
    F: Fn(Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
{
    fn call(&self, bytes: Bytes) -> BoxFuture<'static, Result<Bytes, Error>> {
        Box::pin(self(bytes))
    }
}
