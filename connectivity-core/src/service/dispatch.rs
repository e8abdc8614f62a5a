//! Dispatches a [`Call`] to an implementation.

use std::sync::Arc;

use crate::call::{BoxFuture, Call, Reply, ServiceDesc};
use crate::context::{self, Context};
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;
use crate::service::work::{CatchPanic, Within};
use crate::service::{Arguments, Method};

/// Dispatches calls to the methods of one service. Implemented by the macro.
pub trait Dispatch: Send + Sync + 'static {
    /// Returns the description of the service.
    fn desc(&self) -> &'static ServiceDesc;

    /// Runs the method at `index` of the description.
    fn dispatch(&self, index: usize, call: Call) -> BoxFuture<'static, Result<Reply, Error>>;
}

/// An implementation that can be registered. Created by the generated `BillingService::new(..)`.
pub trait Registrable {
    /// The object-safe form of the contract.
    type Dyn: ?Sized + Send + Sync + 'static;

    /// Returns the implementation for the fast path, and the dispatcher for all other calls.
    fn into_parts(self) -> (Arc<Self::Dyn>, Arc<dyn Dispatch>);
}

/// For generated code: fails a call of a method that the contract does not have.
pub fn unknown_method(call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    Box::pin(async move {
        Err(call
            .failed(ErrorKind::Unimplemented, "the service has no such method")
            .with_sent(Sent::No))
    })
}

/// Runs a call in an implementation, for every path but the fast path: in the call's context, until
/// its deadline, with a panic turned into an error. The panic's text stays in this process.
pub(crate) fn invoke(
    dispatch: &dyn Dispatch,
    call: Call,
) -> BoxFuture<'static, Result<Reply, Error>> {
    // Look the method up by name, not by the index of the caller's description: two contracts of
    // the same name may be linked into the program.
    match dispatch.desc().method(call.name()) {
        Some(method) => dispatch.dispatch(method.index(), call),
        None => unknown_method(call),
    }
}

/// For generated code: runs a call of the method `M`, whose arguments are passed to `work`: in the
/// call's context, until its deadline, with a panic turned into an error. Allocates a single box.
///
/// # Cancel safety
/// Dropping the future drops the work, unless the method is `#[no_cancel]`: its work then continues
/// in a task of its own.
pub fn serve<M: Method, F>(
    mut call: Call,
    work: impl FnOnce(<M::Args as Arguments>::Owned) -> F + Send + 'static,
) -> BoxFuture<'static, Result<Reply, Error>>
where
    F: Future<Output = M::Output> + Send + 'static,
{
    let (name, context) =
        (Name::from_static(M::DESC.full_name()), std::mem::take(call.context_mut()));
    let permits = call.take_permits();
    let work = async move {
        let _permits = permits;
        let work = call.into_args::<M>().map(work)?;
        Ok(Reply::of::<M>(work.await))
    };
    if M::DESC.is_no_cancel() {
        return run_detached(name, context, Box::pin(work));
    }
    run(name, context, work)
}

/// Runs the work of a call. See [`invoke`].
pub(crate) fn run(
    name: Name,
    context: Context,
    work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
) -> BoxFuture<'static, Result<Reply, Error>> {
    let deadline = context.deadline();
    let work =
        context::scope(context.serving_call(name.clone()), CatchPanic::new(name.clone(), work));
    Box::pin(Within::new(deadline, name, work))
}

/// Runs work that continues after the caller has dropped the future.
fn run_detached(
    name: Name,
    context: Context,
    work: BoxFuture<'static, Result<Reply, Error>>,
) -> BoxFuture<'static, Result<Reply, Error>> {
    let deadline = context.deadline();
    let work =
        context::scope(context.serving_call(name.clone()), CatchPanic::new(name.clone(), work));
    Box::pin(Within::new(deadline, name.clone(), detached(name, work)))
}

async fn detached(
    name: Name,
    work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
) -> Result<Reply, Error> {
    // The task is canceled only when its runtime shuts down.
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_gone| Err(Error::new(ErrorKind::Cancelled, name, "the runtime is gone")))
}
