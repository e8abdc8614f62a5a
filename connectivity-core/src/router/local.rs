//! Implementations registered in this process, typed and raw.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{BoxFuture, Call, CallService, Reply};
use crate::desc::{MethodDesc, ServiceDesc};
use crate::error::{Error, ErrorKind};
use crate::service::{self, Dispatch};

/// An implementation that calls can be sent into.
#[derive(Clone)]
pub(crate) enum Local {
    Typed(Arc<dyn Dispatch>),
    Raw(Arc<dyn RawService>),
}

impl Local {
    /// The bottom of every path into it but the fast one.
    pub(crate) fn service(&self, name: &str) -> CallService {
        match self {
            Self::Typed(dispatch) => {
                let dispatch = Arc::clone(dispatch);
                CallService::from_fn(move |call| service::invoke(Arc::clone(&dispatch), call))
            }
            Self::Raw(raw) => {
                let (raw, name) = (Arc::clone(raw), Arc::<str>::from(name));
                CallService::from_fn(move |call| serve_raw(Arc::clone(&raw), Arc::clone(&name), call))
            }
        }
    }

    pub(crate) fn desc(&self) -> Option<&'static ServiceDesc> {
        match self {
            Self::Typed(dispatch) => Some(dispatch.desc()),
            Self::Raw(_) => None,
        }
    }

    /// Finds the method that a name from outside means.
    pub(crate) fn method(&self, name: &str) -> Option<&'static MethodDesc> {
        self.desc()?.method(name)
    }

    /// Refuses a name that reaches the service but none of its methods.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        let Some(desc) = self.desc() else { return Ok(()) };
        if desc.method(name).is_some() {
            return Ok(());
        }
        let methods: Vec<_> = desc.methods().iter().map(|method| method.full_name()).collect();
        let hint = format!("name one of its methods: {}", methods.join(", "));
        Err(Error::new(ErrorKind::Unimplemented, name, hint))
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.desc().is_some() { "Typed" } else { "Raw" })
    }
}

/// A service of bytes. Implemented by every `async` closure from [`Bytes`] to `Result<Bytes, Error>`.
pub trait RawService: Send + Sync + 'static {
    /// Answers one call.
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

async fn serve_raw(raw: Arc<dyn RawService>, name: Arc<str>, call: Call) -> Result<Reply, Error> {
    service::run(&name, false, call, move |call| {
        Box::pin(async move { raw.call(call.into_bytes()?).await.map(Reply::raw).map_err(Error::relay) })
    })
    .await
}
