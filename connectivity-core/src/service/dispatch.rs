//! The way of an envelope into an implementation.

use std::sync::Arc;

use crate::call::{BoxFuture, Call, Reply};
use crate::context;
use crate::desc::ServiceDesc;
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;
use crate::service::work::{CatchPanic, Within};

/// Takes envelopes for one service; the macro implements it.
pub trait Dispatch: Send + Sync + 'static {
    /// Describes the service.
    fn desc(&self) -> &'static ServiceDesc;

    /// Runs the method at `index` of the description.
    fn dispatch(&self, index: usize, call: Call) -> BoxFuture<'static, Result<Reply, Error>>;
}

/// An implementation, ready to register: made by the generated `BillingService::new(..)`.
pub trait Registrable {
    /// The object-safe form of the contract.
    type Dyn: ?Sized + Send + Sync + 'static;

    /// Takes it apart into what the two paths of a call need.
    fn into_parts(self) -> (Arc<Self::Dyn>, Arc<dyn Dispatch>);
}

/// For generated code: answers a call of a method that the contract does not have.
pub fn unknown_method(call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    Box::pin(
        async move { Err(call.failed(ErrorKind::Unimplemented, "the service has no such method").with_sent(Sent::No)) },
    )
}

/// Runs a call in an implementation, as every path but the fast one does: in the call's context, for no longer than its
/// deadline, and with a panic turned into an error whose text stays here.
pub(crate) fn invoke(dispatch: &dyn Dispatch, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    // By name, not by the index that the caller's description has: two contracts of one name may be linked in.
    let Some(method) = dispatch.desc().method(call.name()) else {
        return unknown_method(call);
    };
    let (name, context) = (Name::from_static(method.full_name()), std::mem::take(call.context_mut()));
    run(name, method.is_no_cancel(), context, dispatch.dispatch(method.index(), call))
}

/// Runs the work of a call; see [`invoke`]. With `detach` it goes on when nobody waits for it any more.
pub(crate) fn run(
    name: Name,
    detach: bool,
    context: context::Context,
    work: BoxFuture<'static, Result<Reply, Error>>,
) -> BoxFuture<'static, Result<Reply, Error>> {
    let deadline = context.deadline();
    let work = context::scope(context.serving_call(name.clone()), CatchPanic::new(name.clone(), work));
    match deadline {
        None if detach => Box::pin(detached(name, work)),
        None => Box::pin(work),
        deadline if detach => Box::pin(Within::new(deadline, name.clone(), detached(name, work))),
        deadline => Box::pin(Within::new(deadline, name, work)),
    }
}

async fn detached(
    name: Name,
    work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
) -> Result<Reply, Error> {
    // The task ends early only when its runtime does.
    tokio::spawn(work).await.unwrap_or_else(|_gone| Err(Error::new(ErrorKind::Cancelled, name, "the runtime is gone")))
}
